"""Iterated local search for the integer quadratic program.

Single moves, swaps of two variables, and kicks.

The search keeps the gradient of the objective and of every quadratic constraint up to date, so that
the change of *all* single moves is one vector and the change of *all* pairs of moves one matrix. It
is bounded by work and not by time: the same seed gives the same answer on a busy machine. Sizes of
kicks and the amount of work are chosen here, on 53 variables with 3 and 7 widths.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nas_engine.allocation.problem import (
    TOLERANCE,
    AllocationProblem,
    Floats,
    InfeasibleAllocationError,
    Levels,
)

KICKS = 15
"""Most kicks of one search, for each variable that has a choice."""

WORK = 1.2e8
"""Entries of pair matrices looked at in one search: about a second."""

LEAST_LOOKS = 200
"""Pair matrices looked at in any case, however large they are."""

REPAIRS = 200
"""Kicks of the search for a first feasible allocation, where the narrowest is forbidden."""

MOST_KICKED = 6
"""Most variables that one kick changes."""


class Program:
    """Objective and constraints in the form that the searches use.

    The objective is ``linear . x + x' pairs x / 2``.

    Entries of one variable have no meaning off the diagonal, since ``x_b x_c = 0``; on the diagonal
    ``x_b^2 = x_b``. So the diagonal moves to the linear part, and all blocks of single variables
    become zero. Constraints without a limit are left out.
    """

    def __init__(
        self, problem: AllocationProblem, linear: Floats, quadratic: Floats | None
    ) -> None:
        self.problem = problem
        self.owner = problem.owner
        self.same = self.owner[:, None] == self.owner[None, :]
        self.linear = np.array(linear, np.float64)
        self.pairs: Floats | None = None
        self.blocks: Floats | None = None
        if quadratic is not None:
            quadratic = 0.5 * (quadratic + quadratic.T)
            self.blocks = np.where(self.same, quadratic, 0.0)
            self.linear += 0.5 * np.diagonal(quadratic)
            pairs = np.where(self.same, 0.0, quadratic)
            self.pairs = pairs if pairs.any() else None
        kept = [constraint for constraint in problem.constraints if np.isfinite(constraint.limit)]
        plain = [constraint for constraint in kept if constraint.quadratic is None]
        crossed = [constraint for constraint in kept if constraint.quadratic is not None]
        self.rows = np.array([constraint.linear for constraint in plain]).reshape(
            len(plain), problem.n
        )
        self.rooms = np.array([constraint.limit - constraint.fixed for constraint in plain])
        self.cross_rows = np.array([constraint.linear for constraint in crossed]).reshape(
            len(crossed), problem.n
        )
        self.cross_rooms = np.array([constraint.limit - constraint.fixed for constraint in crossed])
        self.cross = [
            np.where(self.same, 0.0, c.quadratic) for c in crossed if c.quadratic is not None
        ]

    def objective(self, levels: Levels) -> float:
        """Return the objective of an allocation."""
        at = self.problem.positions(levels)
        value = float(self.linear[at].sum())
        if self.pairs is not None:
            value += 0.5 * float(self.pairs[np.ix_(at, at)].sum())
        return value


@dataclass(slots=True)
class _State:
    """Allocation with the sums that its moves need.

    ``at`` are the positions chosen, ``(variables,)``.
    """

    at: Levels
    slope: Floats
    """Gradient of the objective, ``(n,)``."""
    room: Floats
    """Slack of each linear constraint."""
    cross_slope: Floats
    """Gradients of the quadratic constraints, ``(quadratic constraints, n)``."""
    cross_room: Floats
    """Slack of each quadratic constraint."""


def _state(program: Program, levels: Levels) -> _State:
    at = program.problem.positions(levels)
    slope = program.linear.copy()
    if program.pairs is not None:
        slope += program.pairs[at].sum(axis=0)
    cross_pairs = np.array([matrix[at].sum(axis=0) for matrix in program.cross]).reshape(
        program.cross_rows.shape
    )
    cross_slope = program.cross_rows + cross_pairs
    used = program.cross_rows[:, at].sum(axis=1) + 0.5 * cross_pairs[:, at].sum(axis=1)
    return _State(
        at,
        slope,
        program.rooms - program.rows[:, at].sum(axis=1),
        cross_slope,
        program.cross_rooms - used,
    )


def _move(program: Program, state: _State, choice: int) -> None:
    variable = program.owner[choice]
    before = state.at[variable]
    state.room -= program.rows[:, choice] - program.rows[:, before]
    state.cross_room -= state.cross_slope[:, choice] - state.cross_slope[:, before]
    if program.pairs is not None:
        state.slope += program.pairs[choice] - program.pairs[before]
    for slope, matrix in zip(state.cross_slope, program.cross, strict=True):
        slope += matrix[choice] - matrix[before]
    state.at[variable] = choice


def _single_changes(program: Program, state: _State) -> tuple[Floats, Floats, Floats]:
    """Return the changes of objective, linear and quadratic constraints for each choice.

    Each choice is taken instead of its variable's present one.
    """
    now = state.at[program.owner]
    return (
        state.slope - state.slope[now],
        program.rows - program.rows[:, now],
        state.cross_slope - state.cross_slope[:, now],
    )


def _fitting(state: _State, rows: Floats, cross: Floats) -> npt.NDArray[np.bool_]:
    """Return which choices, taken alone, leave all constraints met, ``(n,)``."""
    within = (rows <= state.room[:, None] + TOLERANCE).all(axis=0)
    return np.asarray(within & (cross <= state.cross_room[:, None] + TOLERANCE).all(axis=0))


def _second_difference(matrix: Floats, now: Levels) -> Floats:
    """Return the joint change of two moves beyond the sum of each alone.

    For all pairs of choices.
    """
    once = matrix - matrix[now]
    return np.asarray(once - once[:, now])


def _descend(program: Program, state: _State, smallest: float) -> float:
    """Take the best improving move until there is none: singles first, then swaps.

    Return the work done.
    """
    work = 0.0
    while True:
        change, rows, cross = _single_changes(program, state)
        fits = _fitting(state, rows, cross)
        best = int(np.argmin(np.where(fits, change, np.inf)))
        work += change.size
        if fits[best] and change[best] < -smallest:
            _move(program, state, best)
            continue
        pair = _best_pair(program, state, change, rows, cross, smallest)
        work += change.size**2
        if pair is None:
            return work
        for choice in pair:
            _move(program, state, choice)


def _best_pair(
    program: Program, state: _State, change: Floats, rows: Floats, cross: Floats, smallest: float
) -> tuple[int, int] | None:
    """Return the two moves of different variables that improve most, or ``None``."""
    now = state.at[program.owner]
    gain = change[:, None] + change[None, :]
    if program.pairs is not None:
        gain += _second_difference(program.pairs, now)
    good = (gain < -smallest) & ~program.same
    order = (
        np.argsort(state.room / (np.abs(program.rooms) + 1e-300))
        if len(state.room)
        else np.zeros(0, np.intp)
    )
    for k in order[:2]:
        good &= rows[k][:, None] <= (state.room[k] + TOLERANCE) - rows[k][None, :]
    first, second = np.nonzero(good)
    keep = first < second
    first, second = first[keep], second[keep]
    for k in order[2:]:
        keep = rows[k][first] + rows[k][second] <= state.room[k] + TOLERANCE
        first, second = first[keep], second[keep]
    for k, matrix in enumerate(program.cross):
        a, b = now[first], now[second]
        extra = matrix[first, second] - matrix[first, b] - matrix[a, second] + matrix[a, b]
        keep = cross[k][first] + cross[k][second] + extra <= state.cross_room[k] + TOLERANCE
        first, second = first[keep], second[keep]
    if not len(first):
        return None
    best = int(np.argmin(gain[first, second]))
    return int(first[best]), int(second[best])


def _excess(program: Program, state: _State) -> float:
    """Return by how much constraints are exceeded, each relative to its limit, all together."""
    over = np.maximum(-state.room - TOLERANCE, 0) / np.maximum(np.abs(program.rooms), 1.0)
    cross = np.maximum(-state.cross_room - TOLERANCE, 0) / np.maximum(
        np.abs(program.cross_rooms), 1.0
    )
    return float(over.sum() + cross.sum())


def _make_fit(program: Program, state: _State) -> bool:
    """Take single moves until all constraints hold; return True if they do.

    Each move has the smallest rise of the objective per excess removed.
    """
    scale, cross_scale = (
        np.maximum(np.abs(program.rooms), 1.0)[:, None],
        np.maximum(np.abs(program.cross_rooms), 1.0)[:, None],
    )
    excess = _excess(program, state)
    while excess > 0:
        change, rows, cross = _single_changes(program, state)
        after = (np.maximum(rows - state.room[:, None] - TOLERANCE, 0) / scale).sum(axis=0)
        after += (np.maximum(cross - state.cross_room[:, None] - TOLERANCE, 0) / cross_scale).sum(
            axis=0
        )
        removed = excess - after
        useful = removed > 1e-12 * max(excess, 1e-12)
        if not useful.any():
            return False
        # A move that also lowers the objective is best of all; among those, the one that lowers it
        # most.
        rate = np.where(change > 0, change / np.where(useful, removed, 1.0), change)
        _move(program, state, int(np.argmin(np.where(useful, rate, np.inf))))
        excess = _excess(program, state)
    return True


def _kick(program: Program, levels: Levels, rng: np.random.Generator, most: int) -> Levels:
    counts = program.problem.counts
    levels = levels.copy()
    free = np.flatnonzero(counts > 1)
    some = rng.choice(free, size=min(len(free), int(rng.integers(1, most + 1))), replace=False)
    levels[some] = np.clip(
        levels[some] + rng.choice([-2, -1, 1, 2], size=len(some)), 0, counts[some] - 1
    )
    return levels


def feasible_start(program: Program, seed: int = 0) -> Levels:
    """Return a feasible allocation.

    The narrowest, or where pairs of widths are forbidden one that a short search finds near it.

    Raises:
        InfeasibleAllocationError: None was found.
    """
    problem = program.problem
    if problem.is_feasible(problem.narrowest):
        return problem.narrowest
    problem.require_feasible()
    rng = np.random.default_rng(seed)
    best, least = problem.narrowest, float("inf")
    for turn in range(REPAIRS if (problem.counts > 1).any() else 1):
        state = _state(
            program, _kick(program, best, rng, MOST_KICKED) if turn else problem.narrowest
        )
        _make_fit(program, state)
        levels = state.at - problem.first
        if problem.is_feasible(levels):
            return levels
        excess = _excess(program, state)
        if excess <= least:
            best, least = levels, excess
    over = [
        cost - constraint.limit
        for cost, constraint in zip(problem.costs(best), problem.constraints, strict=True)
    ]
    worst = problem.constraints[int(np.argmax(over))]
    raise InfeasibleAllocationError(
        worst, float(problem.costs(best)[int(np.argmax(over))]), problem.remedy
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Found:
    """Result of a local search."""

    levels: Levels
    """The best feasible allocation."""
    objective: float
    """Its objective."""
    found_at_s: float
    """When it was found, seconds after the search began."""


def local_search(
    program: Program, *, seed: int = 0, start: Levels | None = None, kicks: int | None = None
) -> Found:
    """Search for a small objective.

    Three descents (from the narrowest allocation, from the widest one narrowed until it fits, and
    from ``start``) are followed by kicks: some variables change at random, constraints are met
    again, and the search descends from there. An equal objective with wider widths counts as
    better.

    Args:
        program: What to minimise.
        seed: Of the kicks.
        start: An allocation to start from too; one that does not fit is narrowed.
        kicks: Most kicks; ``None`` for ``KICKS`` per variable.

    Raises:
        InfeasibleAllocationError: No feasible allocation was found.
    """
    began = time.perf_counter()
    problem, rng = program.problem, np.random.default_rng(seed)
    narrow = feasible_start(program, seed)
    scale = float(np.abs(program.linear).max(initial=0.0)) + (
        float(np.abs(program.pairs).max()) if program.pairs is not None else 0.0
    )
    smallest = 1e-12 * max(scale, 1e-300)
    best, lowest, found_at, done = narrow, program.objective(narrow), 0.0, 0.0

    def try_from(levels: Levels, base: Levels, base_value: float) -> tuple[Levels, float]:
        """Descend from ``levels``; return where that ends, or the base where it ends higher."""
        nonlocal best, lowest, found_at, done
        state = _state(program, levels)
        if not _make_fit(program, state):
            return base, base_value
        done += _descend(program, state, smallest)
        reached = _widen(program, state, smallest)
        value = program.objective(reached)
        if _better(value, reached, lowest, best, smallest) and problem.is_feasible(reached):
            best, lowest, found_at = reached, value, time.perf_counter() - began
        return (reached, value) if value <= base_value + smallest else (base, base_value)

    starts = [narrow, problem.widest] + ([np.array(start, np.intp)] if start is not None else [])
    for levels in starts:
        try_from(levels, narrow, float("inf"))
    here, value = best, lowest
    if (problem.counts > 1).any():
        for turn in range(_most_kicks(program) if kicks is None else kicks):
            if done > max(WORK, LEAST_LOOKS * problem.n**2):
                break
            here, value = try_from(
                _kick(program, here, rng, min(2 + turn % 5, MOST_KICKED)), here, value
            )
            if turn % 50 == 49:
                here, value = best, lowest
    return Found(levels=best, objective=lowest, found_at_s=found_at)


def descend(program: Program, levels: Levels, smallest: float = 0.0) -> Levels | None:
    """Return the allocation that single moves and swaps lead to; ``None`` if it cannot fit.

    The start is narrowed first until it fits.
    """
    state = _state(program, levels)
    if not _make_fit(program, state):
        return None
    _descend(program, state, smallest)
    return np.asarray(state.at - program.problem.first)


def widen(program: Program, levels: Levels, smallest: float = 0.0) -> Levels:
    """Return a feasible allocation with single variables widened as long as that costs nothing."""
    return _widen(program, _state(program, levels), smallest)


def _most_kicks(program: Program) -> int:
    """Return the number of kicks.

    A linear objective leaves little to find, and its proof is quick.
    """
    free = int((program.problem.counts > 1).sum())
    return KICKS * free if program.pairs is not None else free


def _better(
    value: float, levels: Levels, other: float, other_levels: Levels, smallest: float
) -> bool:
    """Return whether an allocation is lower, or as low and wider."""
    return value < other - smallest or (
        value <= other + smallest and int(levels.sum()) > int(other_levels.sum())
    )


def _widen(program: Program, state: _State, smallest: float) -> Levels:
    """Widen single variables as long as that costs nothing; return the levels."""
    while True:
        change, rows, cross = _single_changes(program, state)
        fits = _fitting(state, rows, cross)
        free = fits & (change <= smallest) & (np.arange(len(change)) > state.at[program.owner])
        if not free.any():
            return np.asarray(state.at - program.problem.first)
        _move(program, state, int(np.flatnonzero(free)[-1]))
