"""Swaps on the real loss: the model of the loss proposes, the calibration loss decides.

Source of the idea: CASA (Yoshida and Ichikawa 2026), where cross terms gained nothing inside one
optimisation, and much as the ranking of pair swaps that were then accepted on the real calibration
loss. New here: swaps for any constraints, single moves as well, and no allocation tried twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from nas_engine.allocation.allocator import allocation_of
from nas_engine.allocation.moves import (
    changes,
    costs_of_moves,
    interactions,
    limits_of,
    moved,
    steps_of_moves,
)
from nas_engine.allocation.problem import TOLERANCE, AllocationProblem, Floats, Levels
from nas_engine.allocation.records import FEASIBLE, HEURISTIC, OPTIMAL, BitAllocation
from nas_engine.errors import InputError


def real_loss_swaps(
    problem: AllocationProblem,
    allocation: BitAllocation,
    linear: Floats,
    quadratic: Floats | None,
    loss: Callable[[Levels], float],
    *,
    rounds: int = 20,
    tried: int = 20,
    stop: Callable[[], bool] = lambda: False,
    watch: Callable[[int, float], None] = lambda evaluations, loss: None,
) -> BitAllocation:
    """Return the allocation after swaps that lowered the real loss.

    Its loss is never larger than that of the start.

    A round ranks all changes that keep every constraint (one variable to another width; or one
    variable a step down and another one or more steps up) by the change of the model, evaluates the
    best ``tried`` that were not evaluated before, and takes the one with the smallest loss if it is
    below that of the round's start. Rounds end when none is.

    Args:
        problem: Variables and constraints.
        allocation: Where to start; it is feasible.
        linear: Model of the loss: ``linear . x + x' quadratic x / 2`` ranks the changes, ``(n,)``.
            Where the allocation has an objective it is the model that it minimised.
        quadratic: ``(n, n)``, symmetric, or ``None``.
        loss: The real loss of an allocation on calibration images, nats. Values that are not finite
            are never accepted.
        rounds: Most rounds.
        tried: Most evaluations in a round.
        stop: Asked before every evaluation; on True the best so far is returned.
        watch: Called after every evaluation with their number and the smallest loss so far.

    Raises:
        InputError: A start that is not feasible.
    """
    if not problem.is_feasible(allocation.levels):
        raise InputError(
            f"swaps of '{allocation.method}' start at widths that do not fit; expected an "
            "allocation of this problem"
        )
    levels = np.array(allocation.levels, np.intp)
    counter = _Counter(loss, watch)
    before = least = counter(levels)
    accepted, done = 0, False
    for _ in range(rounds):
        best = levels
        for candidate in counter.fresh(_ranked(problem, levels, linear, quadratic), tried):
            if stop():
                done = True
                break
            value = counter(candidate)
            if value < least:
                least, best = value, candidate
        if best is levels:
            break
        levels, accepted = best, accepted + 1
        if done:
            break
    details = {
        "loss evaluations": len(counter.seen),
        "swaps accepted": accepted,
        "loss before swaps": before,
        "loss after swaps": least,
    }
    notes = allocation.notes + (
        (f"{counter.broken} losses were not finite and were skipped",) if counter.broken else ()
    )
    return _after(problem, allocation, levels, linear, quadratic, notes, details)


class _Counter:
    """The real loss with a memory: infinite where it is no number, and what was evaluated."""

    def __init__(
        self, loss: Callable[[Levels], float], watch: Callable[[int, float], None]
    ) -> None:
        self.loss, self.watch = loss, watch
        self.seen: dict[bytes, float] = {}
        self.broken = 0

    def __call__(self, levels: Levels) -> float:
        value = float(self.loss(levels))
        if not np.isfinite(value):
            self.broken += 1
            value = float("inf")
        self.seen[levels.tobytes()] = value
        self.watch(len(self.seen), min(self.seen.values()))
        return value

    def fresh(self, candidates: Iterator[Levels], most: int) -> Iterator[Levels]:
        """Yield up to ``most`` candidates that were not evaluated.

        The others are no better than the present allocation.
        """
        for candidate in candidates:
            if most <= 0:
                return
            if candidate.tobytes() not in self.seen:
                most -= 1
                yield candidate


def _ranked(
    problem: AllocationProblem, levels: Levels, linear: Floats, quadratic: Floats | None
) -> Iterator[Levels]:
    """Yield the feasible neighbours of an allocation, the largest predicted gain first.

    Equal ones come in the order of positions.
    """
    steps = steps_of_moves(problem, levels)
    limits = limits_of(problem) + TOLERANCE
    change, costs = changes(problem, levels, linear, quadratic), costs_of_moves(problem, levels)
    single = np.flatnonzero((costs <= limits[:, None]).all(axis=0) & (steps != 0))
    down, up = np.flatnonzero(steps == -1), np.flatnonzero(steps > 0)
    gain = change[down][:, None] + change[up][None, :]
    if quadratic is not None:
        gain = gain + interactions(problem, levels, quadratic, down, up)
    fits = problem.owner[down][:, None] != problem.owner[up][None, :]
    for row, (constraint, cost, limit) in enumerate(
        zip(problem.constraints, problem.costs(levels), limits, strict=True)
    ):
        both = costs[row, down][:, None] + costs[row, up][None, :] - cost
        if constraint.quadratic is not None:
            both = both + interactions(problem, levels, constraint.quadratic, down, up)
        fits &= both <= limit
    rows, columns = np.nonzero(fits)
    gains = np.concatenate([change[single], gain[rows, columns]])
    for index in np.argsort(gains, kind="stable"):
        if index < single.size:
            yield moved(problem, levels, int(single[index]))
        else:
            pair = index - single.size
            yield moved(problem, levels, int(down[rows[pair]]), int(up[columns[pair]]))


def _after(
    problem: AllocationProblem,
    start: BitAllocation,
    levels: Levels,
    linear: Floats,
    quadratic: Floats | None,
    notes: tuple[str, ...],
    details: dict[str, Any],
) -> BitAllocation:
    """Return the record after swaps.

    The model's objective moves with the widths, its bound stays, and a proof of optimality no
    longer holds.
    """
    objective, status = start.objective, start.status
    if levels.tolist() != start.levels.tolist():
        objective += _value(problem, levels, linear, quadratic) - _value(
            problem, start.levels, linear, quadratic
        )
        status = (
            FEASIBLE
            if status == OPTIMAL and not np.isnan(objective)
            else HEURISTIC
            if status == OPTIMAL
            else status
        )
    record = allocation_of(
        problem,
        start.method,
        levels,
        objective=objective,
        bound=start.bound,
        status=status,
        seconds=start.seconds,
        notes=notes,
    )
    return replace(record, details={**start.details, **details})


def _value(
    problem: AllocationProblem, levels: Levels, linear: Floats, quadratic: Floats | None
) -> float:
    at = problem.positions(levels)
    value = float(linear[at].sum())
    if quadratic is None:
        return value
    block = quadratic[np.ix_(at, at)]
    return value + 0.5 * float(block.sum())
