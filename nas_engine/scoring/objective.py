"""Objective of a search: the QE-Score, the least path noise, or a function of the user's own."""

from __future__ import annotations

import hashlib
from typing import Any

from nas_engine.layers import Floats, LayerTable
from nas_engine.parts import SCORE
from nas_engine.population_functions import check_function, function_digest, function_values
from nas_engine.scoring.path_noise import PATH_NOISE_FORMS, path_noise

QE_SCORE = "qe-score"
"""Objective of a search that names none."""

PATH_NOISE = "path-noise-without-stem"
"""Form of path noise that searches limit: of the three, what the best network trained so far was
found with (docs/qe_score.md)."""


def check_objective(given: str) -> str:
    """Return an objective as it is kept: a name, or an absolute path, ``:`` and a function's name.

    Raises:
        InputError: Neither; or a file without such a function, or one that fails.
    """
    if given == QE_SCORE or given in PATH_NOISE_FORMS:
        return given
    return check_function(SCORE, given, names=(QE_SCORE, *PATH_NOISE_FORMS))


def objective_digest(objective: str) -> str:
    """Return what tells apart two objectives of one name: the digest of the file, if it is one.

    Raises:
        UnreadableError: The file cannot be read.
    """
    if objective == QE_SCORE or objective in PATH_NOISE_FORMS:
        return hashlib.sha256(b"").hexdigest()
    return function_digest(SCORE, objective)


def objective_values(objective: str, table: LayerTable, w_bits: Any, a_bits: Any) -> Floats:
    """Return the objective of each network but for the QE-Score, larger is better, ``(n,)``.

    Raises:
        FileFormatError: A function that fails, or does not return ``n`` finite numbers.
    """
    if objective in PATH_NOISE_FORMS:
        return -path_noise(table, w_bits, a_bits, PATH_NOISE_FORMS[objective])
    return function_values(SCORE, objective, table, w_bits, a_bits, expected="larger is better")
