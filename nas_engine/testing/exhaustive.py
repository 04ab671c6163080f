"""Reference solutions: every allocation is tried."""

from __future__ import annotations

import numpy as np

from nas_engine.allocation.iqp import Solution
from nas_engine.allocation.moves import feasible_start
from nas_engine.allocation.problem import TOLERANCE, AllocationProblem, Floats, Levels
from nas_engine.testing.problems import every_allocation


def worth(
    problem: AllocationProblem, many: Levels, linear: Floats, quadratic: Floats | None = None
) -> Floats:
    """``linear . x + x' quadratic x / 2`` of many allocations, ``(allocations, variables)``."""
    at = problem.first + many
    values = linear[at].sum(axis=1)
    return np.asarray(
        values
        if quadratic is None
        else values + 0.5 * quadratic[at[:, :, None], at[:, None, :]].sum(axis=(1, 2))
    )


def feasible_ones(problem: AllocationProblem) -> Levels:
    """Return all allocations that meet all constraints, ``(allocations, variables)``, by levels."""
    every = np.array(list(every_allocation(problem)))
    for constraint in problem.constraints:
        cost = constraint.fixed + worth(problem, every, constraint.linear, constraint.quadratic)
        every = every[cost <= constraint.limit + TOLERANCE]
    return every


def solve(
    problem: AllocationProblem,
    linear: Floats,
    quadratic: Floats | None = None,
    *,
    time_limit_s: float = 20.0,
    seed: int = 0,
    start: Levels | None = None,
    prove: bool = True,
) -> Solution:
    """Of equal objectives the widest, as the solver does."""
    feasible_start(problem)
    fits = feasible_ones(problem)
    values = worth(problem, fits, linear, quadratic)
    widths = problem.choice_bits[problem.first + fits].sum(axis=1)
    best = int(np.lexsort((-widths, values))[0])
    least = float(values[best])
    return Solution(
        levels=fits[best],
        objective=least,
        bound=least if prove else -np.inf,
        nodes=len(fits),
        seconds=0.0,
        found_at_s=0.0,
    )
