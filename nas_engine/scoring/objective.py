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
import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from nas_engine.errors import FileFormatError, InputError, shortened
from nas_engine.escaping import command_line
from nas_engine.layers import Floats, LayerTable
from nas_engine.reading import SMALL_FILE, regular_digest
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
    path, colon, function = given.rpartition(":")
    if not colon or not function.isidentifier() or not path.endswith(".py"):
        raise InputError(
            f"--score is '{shortened(given)}'; expected {QE_SCORE}, {', '.join(PATH_NOISE_FORMS)}, "
            "or FILE.py:FUNCTION such as my_proxy.py:score"
        )
    kept = f"{os.path.abspath(path)}:{function}"
    _function.cache_clear()  # a search runs the text that is there when it is asked for
    _function(kept)
    return kept


def is_program(objective: object) -> bool:
    """Return whether an objective is a function of a Python file, which runs as a program."""
    return isinstance(objective, str) and ":" in objective


def check_named(stored: object, given: object) -> None:
    """Check that no file of options brings a program along that the user does not name as well.

    Args:
        stored: Objective in the file of a run or of options.
        given: Objective of the command or call; ``None`` if it names none.

    Raises:
        InputError: A program, and the command names no objective.
    """
    if given is None and is_program(stored):
        raise InputError(
            f"--score: the options that are there name the program {shortened(str(stored), 300)}, "
            "which runs only if the command names it; look at it, and add "
            f"{command_line('--score', str(stored))} (in Python score=...)"
        )


def objective_digest(objective: str) -> str:
    """Return what tells apart two objectives of one name: the digest of the file, if it is one.

    Raises:
        UnreadableError: The file cannot be read.
    """
    if not is_program(objective):
        return hashlib.sha256(b"").hexdigest()
    return regular_digest(objective.rpartition(":")[0], SMALL_FILE)


def objective_values(objective: str, table: LayerTable, w_bits: Any, a_bits: Any) -> Floats:
    """Return the objective of each network but for the QE-Score, larger is better, ``(n,)``.

    Raises:
        FileFormatError: A function that fails, or does not return ``n`` finite numbers.
    """
    if objective in PATH_NOISE_FORMS:
        return -path_noise(table, w_bits, a_bits, PATH_NOISE_FORMS[objective])
    path, _, name = objective.rpartition(":")
    try:
        values = np.asarray(_function(objective)(table, w_bits, a_bits), np.float64)
    except (MemoryError, OSError):
        raise
    except Exception as error:
        raise _failed(path, f"{name}() fails with {_told(error)}") from error
    if values.shape != (table.n,):
        raise _failed(path, f"{name}() returns shape {values.shape} for {table.n} networks")
    if not np.isfinite(values).all():
        odd = values[~np.isfinite(values)][0]
        raise _failed(path, f"{name}() returns {odd} for {(~np.isfinite(values)).sum()} networks")
    return values


@functools.cache
def _function(objective: str) -> Score:
    path, _, name = objective.rpartition(":")
    if not os.path.isfile(path):
        raise FileFormatError(path, "cannot be read; give the path of an existing Python file")
    spec = importlib.util.spec_from_file_location(f"_score_of_{Path(path).stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (MemoryError, OSError):
        raise
    except Exception as error:
        raise _failed(path, f"cannot be run: {_told(error)}") from error
    found: Score | None = getattr(module, name, None)
    if not callable(found):
        raise FileFormatError(path, f"has no function '{name}'; give --score {path}:FUNCTION")
    return found


def _failed(path: str, problem: str) -> FileFormatError:
    return FileFormatError(
        path, f"{problem}; expected one finite number per network, (n,), larger is better"
    )


def _told(error: Exception) -> str:
    return shortened(f"{type(error).__name__}: {error}", 200)
