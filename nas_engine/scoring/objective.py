"""Objective of a search: the QE-Score, the least path noise, or a function of a user's file.

A function of a file gets whole populations, as the scores that ship do:

    def score(table, w_bits, a_bits):
        return ...  # one number per network, larger is better, shape (n,)

``table`` is a ``LayerTable`` of ``n`` networks, ``w_bits`` and ``a_bits`` are the widths of every
layer, ``(layers, n)``, 0 where a network has no layer.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from nas_engine.errors import FileFormatError, InputError, shortened
from nas_engine.layers import Floats, LayerTable
from nas_engine.parts import FAILURES, SCORE, digest, load, registered, told
from nas_engine.scoring.path_noise import PATH_NOISE_FORMS, path_noise

QE_SCORE = "qe-score"
"""Objective of a search that names none."""

PATH_NOISE = "path-noise-without-stem"
"""Form of path noise that searches limit: of the three, what the best network trained so far was
found with (docs/qe_score.md)."""

Score = Callable[[LayerTable, Any, Any], Any]
"""Function that takes a table and the widths of weights and inputs, and returns ``(n,)``."""


def check_objective(given: str) -> str:
    """Return an objective as it is kept: a name, or an absolute path, ``:`` and a function's name.

    Raises:
        InputError: Neither; or a file without such a function, or one that fails.
    """
    if given == QE_SCORE or given in PATH_NOISE_FORMS:
        return given
    place, colon, function = given.rpartition(":")
    if not colon and given not in (known := registered(SCORE)):
        names = ", ".join((QE_SCORE, *PATH_NOISE_FORMS, *known))
        raise InputError(
            f"--score is '{shortened(given)}'; expected {names}, or FILE.py:FUNCTION such as "
            "my_proxy.py:score"
        )
    kept = f"{os.path.abspath(place)}:{function}" if place.endswith(".py") else given
    _function.cache_clear()  # a search runs the text that is there when it is asked for
    _function(kept)
    return kept


def objective_digest(objective: str) -> str:
    """Return what tells apart two objectives of one name: the digest of the file, if it is one.

    Raises:
        UnreadableError: The file cannot be read.
    """
    if objective == QE_SCORE or objective in PATH_NOISE_FORMS:
        return hashlib.sha256(b"").hexdigest()
    return digest(objective, _function(objective))


def objective_values(objective: str, table: LayerTable, w_bits: Any, a_bits: Any) -> Floats:
    """Return the objective of each network but for the QE-Score, larger is better, ``(n,)``.

    Raises:
        FileFormatError: A function that fails, or does not return ``n`` finite numbers.
    """
    if objective in PATH_NOISE_FORMS:
        return -path_noise(table, w_bits, a_bits, PATH_NOISE_FORMS[objective])
    path, _, name = objective.rpartition(":")
    path = path or objective
    try:
        values = np.asarray(_function(objective)(table, w_bits, a_bits), np.float64)
    except (MemoryError, OSError):
        raise
    except FAILURES as error:
        raise _failed(path, f"{name}() fails with {told(error)}") from error
    if values.shape != (table.n,):
        raise _failed(path, f"{name}() returns shape {values.shape} for {table.n} networks")
    if not np.isfinite(values).all():
        odd = values[~np.isfinite(values)][0]
        raise _failed(path, f"{name}() returns {odd} for {(~np.isfinite(values)).sum()} networks")
    return values


@functools.cache
def _function(objective: str) -> Score:
    found: Score = load(SCORE, objective)
    return found


def _failed(path: str, problem: str) -> FileFormatError:
    return FileFormatError(
        path, f"{problem}; expected one finite number per network, (n,), larger is better"
    )
