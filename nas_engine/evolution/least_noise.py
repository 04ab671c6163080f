"""Least path noise that a short evolution finds within a problem's budgets, class by class."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np

from nas_engine.evolution.problem import SearchProblem
from nas_engine.evolution.search import SearchSettings, done, init, step
from nas_engine.scoring.objective import PATH_NOISE

SETTINGS = SearchSettings(candidates=12_288, population=256, chunk=1024, chunks=1)
"""Settings of the evolution: seconds, and the same for every seed of a search (chosen here)."""

OF_CLASSES = replace(SETTINGS, candidates=49_152, chunk=2048)
"""Those where networks have classes (chosen here)."""


def least_path_noise(
    problem: SearchProblem, settings: SearchSettings | None = None
) -> dict[int, float]:
    """Return the least path noise found of all networks, at 0, and of each class, if they have any.

    Where no network fits it is infinite.

    Args:
        problem: Budgets and space; its objective and limit on path noise do not count.
        settings: Settings of the evolution, those of the problem by default.
    """
    limits = {name: limit for name, limit in problem.limits.items() if name != "path_noise"}
    asked = replace(problem, limits=limits, objective=PATH_NOISE, path_noise_axis=problem.classed)
    settings = settings or (OF_CLASSES if problem.classed else SETTINGS)
    state = init(asked, settings, itertools.starmap)
    while not done(state, settings):
        state = step(state, asked, settings, itertools.starmap)
    found = state.population.take(np.flatnonzero(state.population.violation == 0))
    least = {
        int(group): -float(found.score[found.group == group].max())
        for group in np.unique(found.group)
    }
    return {**least, 0: min(least.values(), default=math.inf)}
