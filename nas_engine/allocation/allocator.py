"""Allocator interface.

An allocator is one class and one row of ``nas_engine.allocation.table``.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from nas_engine.allocation.problem import AllocationProblem, Floats, Levels
from nas_engine.allocation.records import HEURISTIC, BitAllocation, Evidence
from nas_engine.errors import InputError

EVIDENCE = {
    "given": "the widths that the network came with",
    "singles": "the loss of single widths (a measurement of singles)",
    "pairs": "the loss of pairs of widths (a measurement of pairs)",
    "hessian": "HAWQ's costs (a measurement of Hessian traces)",
    "entropies": "entropies of layers (a measurement of entropies)",
}
"""Fields of ``Evidence`` in words, for messages."""


LossModel = tuple[Floats, Floats | None]
"""``linear``, ``(n,)``, and ``quadratic``, ``(n, n)`` or none: ``linear . x + x' quadratic x / 2``
over allocations ``x``."""


class MissingEvidenceError(InputError):
    """An allocator needs what was not measured.

    Attributes:
        method: Name of the allocator.
        evidence: The field of ``Evidence`` that is missing.
    """

    def __init__(self, method: str, evidence: str) -> None:
        self.method = method
        self.evidence = evidence
        super().__init__(method, evidence)

    def __str__(self) -> str:
        what = EVIDENCE.get(self.evidence, self.evidence)
        return (
            f"method '{self.method}' needs {what}, and it is not there; measure it first, or "
            "choose another --method"
        )


class Allocator(Protocol):
    """One way to choose widths."""

    @property
    def name(self) -> str:
        """Name that ``--method`` takes."""

    @property
    def summary(self) -> str:
        """One line for tables and the help."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Fields of ``Evidence`` that it reads."""

    def model(self, problem: AllocationProblem, evidence: Evidence) -> LossModel | None:
        """Return the objective minimised for this evidence, or ``None`` if nothing is minimised.

        Evidence listed in ``needs`` is present.

        The value at its choice is ``BitAllocation.objective``. Swaps on the real loss are ranked by
        it.
        """

    def allocate(
        self,
        problem: AllocationProblem,
        evidence: Evidence,
        *,
        seed: int = 0,
        time_limit_s: float = 20.0,
    ) -> BitAllocation:
        """Return widths that meet every constraint, deterministic in problem, evidence and seed.

        ``nas_engine.allocation.table.allocate`` is what to call: it checks what comes in and what
        goes out, and it never asks an allocator about a problem that the widest choice everywhere
        solves.

        Args:
            problem: Variables and constraints; it can be solved.
            evidence: Measurements; the fields in ``needs`` are there and fit the problem.
            seed: For allocators that draw.
            time_limit_s: Seconds after which the best so far is returned; what needs less ignores
                it.

        Raises:
            InputError: Evidence that cannot be used for this problem.
        """


def allocation_of(
    problem: AllocationProblem,
    method: str,
    levels: Levels,
    *,
    objective: float = float("nan"),
    bound: float | None = None,
    status: str = HEURISTIC,
    seconds: float = 0.0,
    notes: tuple[str, ...] = (),
    details: dict[str, Any] | None = None,
) -> BitAllocation:
    """Return the record of a choice, with its array frozen.

    Without a ``bound`` it is minus infinity, nan without objective.
    """
    levels = np.array(levels, np.intp)
    levels.flags.writeable = False
    if bound is None:
        bound = float("nan") if np.isnan(objective) else float("-inf")
    return BitAllocation(
        method=method,
        levels=levels,
        bits=problem.bits(levels),
        objective=objective,
        bound=bound,
        status=status,
        seconds=seconds,
        notes=notes,
        details=details or {},
    )
