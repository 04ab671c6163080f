"""Allocators without measurements: uniform, random, and the widths from the search."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import ClassVar

import numpy as np

from nas_engine.allocation.allocator import LossModel, allocation_of
from nas_engine.allocation.moves import feasible_moves, feasible_start, moved, steps_of_moves
from nas_engine.allocation.problem import ACTIVATIONS, TOLERANCE, WEIGHTS, AllocationProblem, Levels
from nas_engine.allocation.records import BitAllocation, Evidence
from nas_engine.errors import InputError
from nas_engine.names import Method


@dataclass(frozen=True, slots=True)
class Uniform:
    """One width for all weights and one for all activations: the widest pair that fits.

    Widest is the pair with the largest sum; of equal sums the pair whose widths differ least, then
    the one with wider weights (chosen here). A variable that may not have the width takes the next
    below, or its narrowest.
    """

    name: ClassVar[str] = Method.UNIFORM
    summary: ClassVar[str] = (
        "one width for all weights and one for all activations, the widest pair that fits"
    )
    needs: ClassVar[tuple[str, ...]] = ()

    def model(self, problem: AllocationProblem, evidence: Evidence) -> LossModel | None:
        """Return ``None``: nothing is minimised."""
        return None

    def allocate(
        self,
        problem: AllocationProblem,
        evidence: Evidence,
        *,
        seed: int = 0,
        time_limit_s: float = 20.0,
    ) -> BitAllocation:
        """Return the widest pair that fits; see the class."""
        kinds = [
            kind
            for kind in (WEIGHTS, ACTIVATIONS)
            if any(v.kind == kind for v in problem.variables)
        ]
        options = [
            sorted({bits for v in problem.variables if v.kind == kind for bits in v.bits})
            for kind in kinds
        ]
        choices = sorted(
            product(*options), key=lambda pair: (-sum(pair), max(pair) - min(pair), -pair[0])
        )
        for pair in choices:
            widths = dict(zip(kinds, pair, strict=True))
            levels = levels_at(problem, widths)
            if problem.is_feasible(levels):
                return allocation_of(
                    problem,
                    self.name,
                    levels,
                    details={f"{kind} bits": width for kind, width in widths.items()},
                )
        note = "no pair of equal widths fits; the widths differ"
        return allocation_of(problem, self.name, feasible_start(problem), notes=(note,))


@dataclass(frozen=True, slots=True)
class Random:
    """Widths at random that fill the limits: a control for every rule that claims to know better.

    From the narrowest, one variable after the other, drawn evenly among those that can still rise,
    goes up to its next width that fits, until none can.
    """

    name: ClassVar[str] = Method.RANDOM
    summary: ClassVar[str] = "widths at random, raised until nothing more fits"
    needs: ClassVar[tuple[str, ...]] = ()

    def model(self, problem: AllocationProblem, evidence: Evidence) -> LossModel | None:
        """Return ``None``: nothing is minimised."""
        return None

    def allocate(
        self,
        problem: AllocationProblem,
        evidence: Evidence,
        *,
        seed: int = 0,
        time_limit_s: float = 20.0,
    ) -> BitAllocation:
        """Return a maximal choice, drawn with ``seed``."""
        rng = np.random.default_rng(seed)
        levels = feasible_start(problem)
        while True:
            up = np.flatnonzero(
                feasible_moves(problem, levels) & (steps_of_moves(problem, levels) > 0)
            )
            # The first move of each variable is the smallest step that fits: positions ascend with
            # the width.
            owners, first = np.unique(problem.owner[up], return_index=True)
            if not owners.size:
                return allocation_of(problem, self.name, levels, details={"seed": seed})
            levels = moved(problem, levels, int(up[first[rng.integers(owners.size)]]))


@dataclass(frozen=True, slots=True)
class Given:
    """The widths that came with the network, from QBR, as they are."""

    name: ClassVar[str] = Method.QBR
    summary: ClassVar[str] = "the widths that the search gave the network (QBR)"
    needs: ClassVar[tuple[str, ...]] = ("given",)

    def model(self, problem: AllocationProblem, evidence: Evidence) -> LossModel | None:
        """Return ``None``: nothing is minimised."""
        return None

    def allocate(
        self,
        problem: AllocationProblem,
        evidence: Evidence,
        *,
        seed: int = 0,
        time_limit_s: float = 20.0,
    ) -> BitAllocation:
        """Return the given widths.

        Raises:
            InputError: They do not fit.
        """
        assert evidence.given is not None
        levels = np.asarray(evidence.given, np.intp)
        smallest = problem.costs(problem.narrowest)
        for constraint, cost, least in zip(
            problem.constraints, problem.costs(levels), smallest, strict=True
        ):
            if cost > constraint.limit + TOLERANCE:
                unit = f" {constraint.unit}" if constraint.unit else ""
                raise InputError(
                    f"the widths that came with the network do not fit: {constraint.name} is "
                    f"{cost:,.6g}{unit}, the limit is "
                    f"{constraint.limit:,.6g}{unit}, the narrowest widths need {least:,.6g}{unit}; "
                    "choose another --method, "
                    f"or {problem.remedy}"
                )
        return allocation_of(problem, self.name, levels)


def levels_at(problem: AllocationProblem, widths: dict[str, int]) -> Levels:
    """Return the levels with one width per kind, ``(variables,)``.

    Where the width is not allowed: the next below, or the narrowest.
    """
    return np.array([nearest_level(v.bits, widths[v.kind]) for v in problem.variables], np.intp)


def nearest_level(bits: tuple[int, ...], width: int) -> int:
    """Return the index of the widest of ``bits`` that is at most ``width``, 0 if all are wider."""
    return max(0, int(np.searchsorted(bits, width, side="right")) - 1)
