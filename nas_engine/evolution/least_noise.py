"""Least path noise that a short evolution finds within a problem's budgets."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

from nas_engine.evolution.problem import SearchProblem
from nas_engine.evolution.search import SearchSettings, done, init, step
from nas_engine.scoring.objective import PATH_NOISE

SETTINGS = SearchSettings(candidates=12_288, population=256, chunk=1024, chunks=1)
"""Settings of the evolution: seconds, and the same for every seed of a search (chosen here)."""


def least_path_noise(problem: SearchProblem, settings: SearchSettings = SETTINGS) -> float:
    """Return the least path noise found, infinity where no network fits.

    Args:
        problem: Budgets and space; its objective and limit on path noise do not count.
        settings: Settings of the evolution.
    """
    limits = {name: limit for name, limit in problem.limits.items() if name != "path_noise"}
    asked = replace(problem, limits=limits, objective=PATH_NOISE)
    state = init(asked, settings, itertools.starmap)
    while not done(state, settings):
        state = step(state, asked, settings, itertools.starmap)
    return math.inf if state.best_score is None else -state.best_score
