"""Greedy allocation by measured loss per byte saved.

From the widest, the cheapest step down first; then up again what fits.

Source of the idea: Houache, Traonmilin and Aujol 2026 ("Layerwise error attribution ..."), who
lower the layer with the smallest ``(s(b-) - s(b)) / ((b - b-) n)``, sensitivity per bit saved,
under one limit. New here: the measured loss in place of their score, the sum over several limits in
place of the bits, steps of more than one width, and the way back up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nas_engine.allocation.allocator import LossModel, allocation_of
from nas_engine.allocation.moves import (
    costs_of_moves,
    feasible_start,
    limits_of,
    moved,
    steps_of_moves,
)
from nas_engine.allocation.problem import TOLERANCE, AllocationProblem, Floats, Levels
from nas_engine.allocation.quadratic import monotone_losses
from nas_engine.allocation.records import BitAllocation, Evidence
from nas_engine.names import Method

_TINY = 1e-12
"""Least part of a limit's range that counts as a cost; a rise that costs less is free."""


@dataclass(frozen=True, slots=True)
class Greedy:
    """Greedy allocator, down and then up; see the module.

    Down by the smallest loss per byte relieved, up by the largest loss per byte spent.
    """

    name: ClassVar[str] = Method.GREEDY
    summary: ClassVar[str] = "from the widest down, the smallest measured loss per byte saved first"
    needs: ClassVar[tuple[str, ...]] = ("singles",)

    def model(self, problem: AllocationProblem, evidence: Evidence) -> LossModel:
        """Return the measured single losses, made monotone in the width."""
        assert evidence.singles is not None
        return monotone_losses(problem, evidence.singles.losses), None

    def allocate(
        self,
        problem: AllocationProblem,
        evidence: Evidence,
        *,
        seed: int = 0,
        time_limit_s: float = 20.0,
    ) -> BitAllocation:
        """Return widths that fit and of which none can be raised alone.

        The objective is the sum of measured single losses.
        """
        losses, _ = self.model(problem, evidence)
        levels, down = lowered(problem, losses)
        levels, up = raised(problem, losses, levels)
        objective = float(losses[problem.positions(levels)].sum())
        return allocation_of(
            problem,
            self.name,
            levels,
            objective=objective,
            details={"steps down": down, "steps up": up},
        )


def lowered(problem: AllocationProblem, losses: Floats) -> tuple[Levels, int]:
    """Return a feasible allocation below the widest, and the number of steps down.

    The number is 0 if the descent got stuck outside the limits and another start was taken.
    """
    levels, limits, scale = problem.widest, limits_of(problem), _scale(problem)
    steps = 0
    while not problem.is_feasible(levels):
        now = losses[problem.positions(levels)][problem.owner]
        excess = (np.maximum(problem.costs(levels) - limits, 0.0) / scale).sum()
        after = (
            np.maximum(costs_of_moves(problem, levels) - limits[:, None], 0.0) / scale[:, None]
        ).sum(axis=0)
        relief = np.where(steps_of_moves(problem, levels) < 0, excess - after, 0.0)
        open_moves = np.flatnonzero(relief > _TINY)
        if not open_moves.size:
            # Pairs of widths that the device forbids can block every single step.
            return feasible_start(problem), 0
        price = (losses - now)[open_moves] / relief[open_moves]
        levels = moved(problem, levels, int(open_moves[price.argmin()]))
        steps += 1
    return levels, steps


def raised(problem: AllocationProblem, losses: Floats, levels: Levels) -> tuple[Levels, int]:
    """Return an allocation of which no variable can be raised alone, and the number of steps up.

    The start is a feasible allocation.
    """
    limits, scale = limits_of(problem), _scale(problem)
    steps = 0
    while True:
        costs = costs_of_moves(problem, levels)
        fits = (costs <= limits[:, None] + TOLERANCE).all(axis=0)
        up = np.flatnonzero(fits & (steps_of_moves(problem, levels) > 0))
        if not up.size:
            return levels, steps
        gain = losses[problem.positions(levels)][problem.owner][up] - losses[up]
        spent = (
            np.maximum(costs[:, up] - problem.costs(levels)[:, None], 0.0) / scale[:, None]
        ).sum(axis=0)
        levels = moved(problem, levels, int(up[(gain / np.maximum(spent, _TINY)).argmax()]))
        steps += 1


def _scale(problem: AllocationProblem) -> Floats:
    """Return the unit of each constraint, ``(constraints,)``.

    The unit is the constraint's range from the narrowest to the widest (chosen here).

    Bytes of different memories cannot be added, parts of a range can. With one constraint the order
    is that of loss per byte. A constraint that even the widest choice meets counts nothing.
    """
    widest = problem.costs(problem.widest)
    span = np.abs(widest - problem.costs(problem.narrowest))
    return np.where(widest <= limits_of(problem) + TOLERANCE, np.inf, np.where(span > 0, span, 1.0))
