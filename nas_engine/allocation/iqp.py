"""Integer quadratic program of CLADO.

A local search finds the allocation, branch and bound proves it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from nas_engine.allocation import branch_and_bound
from nas_engine.allocation.local_search import Program, local_search, widen
from nas_engine.allocation.problem import AllocationProblem, Floats, Levels
from nas_engine.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Solution:
    """The best allocation found, and how good any other can be."""

    levels: Levels
    """Index of the chosen width of each variable, ``(variables,)``."""
    objective: float
    """``linear . x + x' quadratic x / 2`` there."""
    bound: float
    """No feasible allocation has a smaller objective; minus infinity where nothing was proven."""
    nodes: int
    """Nodes of the proof; 0 without one."""
    seconds: float
    """Wall time."""
    found_at_s: float
    """When the allocation was found, seconds after the start."""

    @property
    def gap(self) -> float:
        """Relative distance of objective and bound; 0 when proven."""
        return max(0.0, self.objective - self.bound) / max(abs(self.objective), 1e-12)


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
    """Return the allocation that minimises ``linear . x + x' quadratic x / 2``.

    ``x`` are 0/1 choices, one per variable.

    A local search finds the allocation; it is bounded by work, so that a seed gives one answer.
    Branch and bound then proves it, or finds a better one; ``time_limit_s`` only cuts the proof
    short. Of allocations with equal objectives the wider one is returned.

    Args:
        problem: Variables and constraints; constraints may be linear or quadratic.
        linear: ``(n,)``.
        quadratic: ``(n, n)``, or ``None`` for a linear objective. Its symmetric part counts; it may
            be indefinite. Entries within one variable count on the diagonal only, since one choice
            excludes the others.
        time_limit_s: When to stop the proof, seconds from the start of the call.
        seed: Of the local search.
        start: An allocation that the local search starts from too.
        prove: Whether to run branch and bound; without it the bound is minus infinity.

    Raises:
        InputError: Arrays or a start of another size than the problem has, or numbers that are not
            finite.
        InfeasibleAllocationError: No allocation meets the constraints.
    """
    began = time.perf_counter()
    linear = _checked(linear, (problem.n,), "linear")
    quadratic = (
        None if quadratic is None else _checked(quadratic, (problem.n, problem.n), "quadratic")
    )
    if start is not None and (
        len(start) != len(problem.variables) or (start < 0).any() or (start > problem.widest).any()
    ):
        raise InputError(
            f"start is {list(start)}; expected a level for each of {len(problem.variables)} "
            "variables"
        )
    program = Program(problem, linear, quadratic)
    found = local_search(program, seed=seed, start=start)
    levels, objective, bound, nodes, found_at = (
        found.levels,
        found.objective,
        float("-inf"),
        0,
        found.found_at_s,
    )
    if prove:
        proof = branch_and_bound.prove(program, levels, objective, deadline=began + time_limit_s)
        if proof.objective < objective:
            levels = widen(program, proof.levels)
            objective, found_at = program.objective(levels), time.perf_counter() - began
        bound, nodes = min(proof.bound, objective), proof.nodes
    return Solution(
        levels=levels,
        objective=objective,
        bound=bound,
        nodes=nodes,
        seconds=time.perf_counter() - began,
        found_at_s=found_at,
    )


def _checked(array: Floats, shape: tuple[int, ...], name: str) -> Floats:
    array = np.asarray(array, np.float64)
    if array.shape != shape:
        raise InputError(f"{name} has shape {array.shape}; expected {shape}, one entry per choice")
    if not np.isfinite(array).all():
        raise InputError(
            f"{name} has entries that are not finite numbers; measure the sensitivities again"
        )
    return array
