"""The allocators by name, and the one way to call them."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np

from nas_engine.allocation.allocator import Allocator, MissingEvidenceError, allocation_of
from nas_engine.allocation.baselines import Given, Random, Uniform
from nas_engine.allocation.clado import Clado, Diagonal, GaussNewton, Hawq
from nas_engine.allocation.entropy_window import EntropyWindowAllocator
from nas_engine.allocation.greedy import Greedy
from nas_engine.allocation.moves import feasible_start
from nas_engine.allocation.problem import AllocationProblem
from nas_engine.allocation.records import (
    OPTIMAL,
    BitAllocation,
    Evidence,
    LayerEntropies,
    Sensitivity,
)
from nas_engine.errors import InputError, UnknownNameError
from nas_engine.parts import ALLOCATOR, blamed

ALLOCATORS: dict[str, Allocator] = {
    allocator.name: allocator
    for allocator in (
        Uniform(),
        Random(),
        Given(),
        Greedy(),
        Diagonal(),
        Hawq(),
        Clado(),
        GaussNewton(),
        EntropyWindowAllocator(),
    )
}
"""Allocators by the name that ``--method`` takes; ``adopt`` adds those of users."""

NO_LIMIT_BINDS = "no limit binds: every variable has its widest choice"
"""The note of an allocation that no limit holds back."""


def allocate(
    name: str,
    problem: AllocationProblem,
    evidence: Evidence,
    *,
    seed: int = 0,
    time_limit_s: float = 20.0,
) -> BitAllocation:
    """Return the widths that an allocator chooses; they meet every constraint.

    Where the widest choice of every variable meets them at once, that is the answer of every
    method, without objective: losses count from there, and no method may talk itself into narrower
    widths by noise. The one that keeps given widths keeps them.

    Args:
        name: A key of ``ALLOCATORS``.
        problem: Variables and constraints.
        evidence: What was measured; the fields that the allocator needs must be there.
        seed: For allocators that draw.
        time_limit_s: Seconds for a proof; the best found so far is returned after them.

    Raises:
        UnknownNameError: A name that is not in the table.
        MissingEvidenceError: Something the allocator needs was not measured.
        InfeasibleAllocationError: A constraint that no choice can meet.
        InputError: Evidence of another problem, or with entries that are no numbers.
    """
    if name not in ALLOCATORS:
        raise UnknownNameError("method", name, ALLOCATORS)
    allocator = ALLOCATORS[name]
    for field in allocator.needs:
        value = getattr(evidence, field)
        if value is None or (isinstance(value, tuple) and not value):
            raise MissingEvidenceError(name, field)
        _check(problem, field, value)
    began = time.perf_counter()
    if "given" not in allocator.needs and problem.is_feasible(problem.widest):
        return allocation_of(
            problem,
            name,
            problem.widest,
            status=OPTIMAL,
            seconds=time.perf_counter() - began,
            notes=(NO_LIMIT_BINDS,),
        )
    feasible_start(problem)
    with blamed(ALLOCATOR, name, allocator):
        found = allocator.allocate(problem, evidence, seed=seed, time_limit_s=time_limit_s)
        if not problem.is_feasible(found.levels):
            raise AssertionError(f"its widths do not fit: {problem.usage(found.levels)}")
    return replace(found, seconds=time.perf_counter() - began)


def _check(problem: AllocationProblem, field: str, value: Any) -> None:
    """Check that evidence has the sizes of the problem and only finite numbers.

    Raises:
        InputError: What is wrong, and where first.
    """
    n, variables = problem.n, len(problem.variables)
    if isinstance(value, Sensitivity):
        _check_array(problem, f"{field}: loss", value.losses, (n,))
        _check_array(problem, f"{field}: matrix", value.matrix, (n, n))
        if value.halves is not None:
            for half in value.halves:
                _check_array(problem, f"{field}: matrix of half the images", half, (n, n))
    elif isinstance(value, tuple):
        for record in value:
            assert isinstance(record, LayerEntropies)
            if record.values.ndim != 2 or not len(record.values):
                raise InputError(
                    f"{field}: shape {record.values.shape}; expected (batches, {variables}) with "
                    "at least one batch"
                )
            broken = ~np.isfinite(record.values).all(axis=0)
            _check_array(
                problem,
                f"{field} ({record.estimator})",
                np.where(broken, np.nan, 0.0),
                (variables,),
            )
    elif field == "given":
        _check_array(problem, field, np.asarray(value, np.float64), (variables,))
        wrong = np.flatnonzero((np.asarray(value) < 0) | (np.asarray(value) >= problem.counts))
        if wrong.size:
            variable = problem.variables[wrong[0]]
            raise InputError(
                f"{field}: level {value[wrong[0]]} of {variable.name}; expected 0 to "
                f"{len(variable.bits) - 1}"
            )
    else:
        _check_array(problem, field, value, (n,))


def _check_array(
    problem: AllocationProblem, what: str, values: Any, shape: tuple[int, ...]
) -> None:
    if values.shape != shape:
        raise InputError(
            f"{what}: shape {values.shape}; expected {shape}: it was measured for another problem, "
            "measure again"
        )
    bad = np.argwhere(~np.isfinite(values))
    if bad.size:
        names = [_place(problem, index, size) for index, size in zip(bad[0], shape, strict=True)]
        at = " and ".join(dict.fromkeys(name for name in names if name))
        raise InputError(
            f"{what} of {at} is {values[tuple(bad[0])]}; expected a number: measure again, with "
            "another set of images"
        )


def _place(problem: AllocationProblem, index: int, size: int) -> str:
    """Return the meaning of a position.

    A choice in arrays of length ``n``, a variable in those of that length.
    """
    if size == problem.n:
        return (
            f"{problem.variables[problem.owner[index]].name} at {problem.choice_bits[index]} bits"
        )
    return problem.variables[index].name if size == len(problem.variables) else ""
