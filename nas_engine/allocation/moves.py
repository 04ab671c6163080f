"""Changes when one variable, or two, take another width: for all moves at once.

A *move* is a position ``p`` of the problem: the variable that owns it takes that choice, all others
stay as they are.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nas_engine.allocation import local_search
from nas_engine.allocation.problem import (
    TOLERANCE,
    AllocationProblem,
    Floats,
    InfeasibleAllocationError,
    Levels,
)
from nas_engine.errors import InputError

Bools = npt.NDArray[np.bool_]
"""Array of bool."""


def changes(
    problem: AllocationProblem, levels: Levels, linear: Floats, quadratic: Floats | None = None
) -> Floats:
    """Return the change of ``linear . x + x' quadratic x / 2`` with every move, ``(n,)``.

    It is 0 for the choices that stand.

    Entries of ``quadratic`` between two choices of one variable do not count, its diagonal does.
    """
    at = problem.positions(levels)
    now = at[problem.owner]
    change = linear - linear[now]
    if quadratic is not None:
        places = np.arange(problem.n)
        met = quadratic[:, at].sum(axis=1)
        # The move's own variable leaves its old choice: the entry of the pair (old, new) is no part
        # of the cost.
        change = change + met - quadratic[places, now] - met[now] + quadratic[now, now]
        change += 0.5 * (np.diag(quadratic) - quadratic[now, now])
    return np.asarray(change)


def interactions(
    problem: AllocationProblem, levels: Levels, quadratic: Floats, rows: Levels, columns: Levels
) -> Floats:
    """Return what two moves together change beyond the sum of both, ``(rows, columns)``.

    Args:
        problem: Whose positions they are.
        levels: Where the moves start.
        quadratic: ``(n, n)``, symmetric.
        rows: Positions of the first move.
        columns: Positions of the second move, of another variable; entries of one variable mean
            nothing.
    """
    now = problem.positions(levels)[problem.owner]
    left, above = now[rows], now[columns]
    mixed = quadratic[np.ix_(rows, above)] + quadratic[np.ix_(left, columns)]
    return np.asarray(quadratic[np.ix_(rows, columns)] - mixed + quadratic[np.ix_(left, above)])


def costs_of_moves(problem: AllocationProblem, levels: Levels) -> Floats:
    """Return the cost in each constraint after every move, ``(constraints, n)``."""
    parts = [
        cost + changes(problem, levels, constraint.linear, constraint.quadratic)
        for constraint, cost in zip(problem.constraints, problem.costs(levels), strict=True)
    ]
    return np.array(parts).reshape(len(problem.constraints), problem.n)


def limits_of(problem: AllocationProblem) -> Floats:
    """Return the limit of each constraint, ``(constraints,)``."""
    return np.array([constraint.limit for constraint in problem.constraints], np.float64)


def feasible_moves(problem: AllocationProblem, levels: Levels) -> Bools:
    """Return which moves meet every constraint, ``(n,)``."""
    return np.asarray(
        (costs_of_moves(problem, levels) <= limits_of(problem)[:, None] + TOLERANCE).all(axis=0)
    )


def moved(problem: AllocationProblem, levels: Levels, *moves: int) -> Levels:
    """Return an allocation after some moves."""
    new = levels.copy()
    for move in moves:
        owner = problem.owner[move]
        new[owner] = move - problem.first[owner]
    return new


def steps_of_moves(problem: AllocationProblem, levels: Levels) -> Levels:
    """Return the number of levels by which each move raises its variable, ``(n,)``.

    Negative for moves down.
    """
    return np.asarray(np.arange(problem.n) - problem.positions(levels)[problem.owner])


def feasible_start(problem: AllocationProblem) -> Levels:
    """Return some allocation that meets every constraint: the narrowest, unless it does not.

    It does not where a device forbids pairs of widths, or computes narrow widths more slowly; then
    it is searched for.

    Raises:
        InfeasibleAllocationError: A constraint that no choice can meet.
        InputError: Nothing was found, though no constraint alone is to blame.
    """
    if problem.is_feasible(problem.narrowest):
        return problem.narrowest
    problem.require_feasible()
    try:
        return local_search.feasible_start(local_search.Program(problem, np.zeros(problem.n), None))
    except InfeasibleAllocationError:
        names = ", ".join(dict.fromkeys(constraint.resource for constraint in problem.constraints))
        raise InputError(
            f"found no choice of bits that meets {names} together; {problem.remedy}"
        ) from None
