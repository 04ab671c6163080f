"""AllocationProblem: variables, the widths allowed for each, and the costs of a choice.

The variables are the tensors whose widths are free.

Every allocator solves the same problem: choose one width for each *variable* such that all
*constraints* hold. The choices of all variables stand one after the other in vectors of length
``n``, so that an allocation is a 0/1 vector ``x`` with a single 1 per variable, and what it costs
is ``fixed + linear . x + x' quadratic x / 2``. A peak is as many constraints as it has terms.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from nas_engine.errors import InputError

Floats = npt.NDArray[np.float64]
"""Array of float64."""

Levels = npt.NDArray[np.intp]
"""Index of the chosen width of each variable, ``(variables,)``; 0 is the narrowest."""

WEIGHTS, ACTIVATIONS = "weights", "activations"
"""The two kinds of variables."""

TOLERANCE = 1e-6
"""How far above its limit a cost may come from rounding of floats; costs are counted in bytes, bits
or operations."""


class InfeasibleAllocationError(InputError):
    """No choice of widths meets a constraint.

    Attributes:
        constraint: The one that cannot be met.
        smallest: What the narrowest choice costs.
    """

    def __init__(self, constraint: Constraint, smallest: float, remedy: str) -> None:
        self.constraint = constraint
        self.smallest = smallest
        self.remedy = remedy
        super().__init__(constraint.name, smallest, remedy)

    def __str__(self) -> str:
        unit = f" {self.constraint.unit}" if self.constraint.unit else ""
        return (
            f"no choice of bits fits: the smallest possible {self.constraint.name} is "
            f"{self.smallest:,.6g}{unit}, "
            f"the limit is {self.constraint.limit:,.6g}{unit}; {self.remedy}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """One width to choose: of one tensor, or of several that must share it.

    Raises:
        InputError: Widths that are not ascending or not from 2 to 8, or no tensor.
    """

    name: str
    """Name in tables, such as ``"s1.b1.expand weights"``."""
    kind: str
    """``WEIGHTS`` or ``ACTIVATIONS``."""
    layers: tuple[str, ...]
    """Layers whose weights, or whose input tensors, have this width."""
    bits: tuple[int, ...]
    """Widths to choose from, ascending."""
    elements: int
    """Numbers stored at this width, all tensors together."""

    def __post_init__(self) -> None:
        if self.kind not in (WEIGHTS, ACTIVATIONS):
            raise InputError(
                f"{self.name}: kind is {self.kind!r}; expected '{WEIGHTS}' or '{ACTIVATIONS}'"
            )
        if not self.layers:
            raise InputError(f"{self.name}: no layers; expected at least one")
        if (
            not self.bits
            or list(self.bits) != sorted(set(self.bits))
            or not 2 <= self.bits[0] <= self.bits[-1] <= 8
        ):
            raise InputError(
                f"{self.name}: widths are {list(self.bits)}; expected some of 2 to 8, ascending"
            )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Constraint:
    """``fixed + linear . x + x' quadratic x / 2 <= limit``. No entry is negative."""

    name: str
    """Name in messages, such as ``"peak SRAM at s1.b1.expand"``."""
    resource: str
    """Limited resource: constraints of one resource are terms of one peak, as ``"peak SRAM"``.
    """
    unit: str
    """``"B"``, ``"bits"`` or empty for a count."""
    limit: float
    """The most that is allowed; infinity for none."""
    fixed: float = 0.0
    """Cost that does not depend on any choice."""
    linear: Floats
    """Cost of each choice, ``(n,)``."""
    quadratic: Floats | None = None
    """Cost of each pair of choices, ``(n, n)``, symmetric with a zero diagonal, or ``None`` for
    none."""

    def __post_init__(self) -> None:
        for name in ("linear", "quadratic"):
            array = getattr(self, name)
            if array is not None:
                array = np.array(array, np.float64)
                array.flags.writeable = False
                object.__setattr__(self, name, array)
        if self.linear.min(initial=0.0) < 0 or (
            self.quadratic is not None and self.quadratic.min(initial=0.0) < 0
        ):
            raise InputError(f"{self.name}: a choice has a negative cost; expected 0 or more")


class AllocationProblem:
    """Variables and constraints, with the positions of every choice.

    Args:
        variables: What to choose, at least one; names differ.
        constraints: What must hold; none leaves every width free.
        remedy: What a user can do when nothing fits, for the message.

    Raises:
        InputError: Two variables of one name, or arrays of another length than ``n``.
    """

    def __init__(
        self,
        variables: Iterable[Variable],
        constraints: Iterable[Constraint] = (),
        *,
        remedy: str = "raise the limit",
    ) -> None:
        self.variables = tuple(variables)
        self.constraints = tuple(constraints)
        self.remedy = remedy
        names = [variable.name for variable in self.variables]
        if not names or len(set(names)) < len(names):
            raise InputError(
                "an allocation problem needs at least one variable, each with a name of its own"
            )
        counts = [len(variable.bits) for variable in self.variables]
        self.n = sum(counts)
        """Number of choices, all variables together."""
        self.first: Levels = np.array([0, *accumulate(counts[:-1])], np.intp)
        """Position of each variable's narrowest choice, ``(variables,)``."""
        self.counts: Levels = np.array(counts, np.intp)
        """Number of choices of each variable, ``(variables,)``."""
        for constraint in self.constraints:
            shapes = [
                array.shape
                for array in (constraint.linear, constraint.quadratic)
                if array is not None
            ]
            if shapes not in ([(self.n,)], [(self.n,), (self.n, self.n)]):
                raise InputError(
                    f"{constraint.name}: costs have shapes {shapes}; expected ({self.n},) and "
                    f"({self.n}, {self.n})"
                )

    @cached_property
    def owner(self) -> Levels:
        """Variable of each choice, ``(n,)``."""
        return np.repeat(np.arange(len(self.variables)), self.counts)

    @cached_property
    def choice_bits(self) -> Levels:
        """Width of each choice, ``(n,)``."""
        return np.array([bits for variable in self.variables for bits in variable.bits], np.intp)

    @cached_property
    def widest(self) -> Levels:
        """The widest choice of every variable, ``(variables,)``."""
        return self.counts - 1

    @cached_property
    def narrowest(self) -> Levels:
        """The narrowest choice of every variable, ``(variables,)``."""
        return np.zeros_like(self.counts)

    @cached_property
    def fingerprint(self) -> str:
        """Text that differs when the variables do.

        Constraints do not count, since measurements serve every budget.
        """
        text = repr([(v.name, v.kind, v.layers, v.bits, v.elements) for v in self.variables])
        return hashlib.sha256(text.encode()).hexdigest()

    def positions(self, levels: Levels) -> Levels:
        """Return the positions of an allocation's choices, ``(variables,)``."""
        return np.asarray(self.first + levels)

    def bits(self, levels: Levels) -> tuple[int, ...]:
        """Return the width of each variable."""
        return tuple(int(width) for width in self.choice_bits[self.positions(levels)])

    def levels(self, bits: Sequence[int]) -> Levels:
        """Return the levels of widths, one per variable.

        Raises:
            InputError: A width that a variable may not have.
        """
        if len(bits) != len(self.variables):
            raise InputError(
                f"{len(bits)} widths; expected {len(self.variables)}, one per variable"
            )
        for variable, width in zip(self.variables, bits, strict=True):
            if width not in variable.bits:
                allowed = ", ".join(map(str, variable.bits))
                raise InputError(
                    f"{variable.name}: {width} bits are not allowed here; expected one of {allowed}"
                )
        return np.array(
            [
                variable.bits.index(width)
                for variable, width in zip(self.variables, bits, strict=True)
            ],
            np.intp,
        )

    def costs(self, levels: Levels) -> Floats:
        """Return what an allocation costs in each constraint, ``(constraints,)``."""
        at = self.positions(levels)
        return np.array([cost_of(constraint, at) for constraint in self.constraints])

    def is_feasible(self, levels: Levels) -> bool:
        """Return whether an allocation meets every constraint."""
        at = self.positions(levels)
        return all(
            cost_of(constraint, at) <= constraint.limit + TOLERANCE
            for constraint in self.constraints
        )

    def usage(self, levels: Levels) -> dict[str, tuple[float, float]]:
        """Return the cost and limit of each resource.

        Those of its constraint that comes nearest to its limit.
        """
        found: dict[str, tuple[float, float]] = {}
        for constraint, cost in zip(self.constraints, self.costs(levels), strict=True):
            before = found.get(constraint.resource)
            if before is None or constraint.limit - cost < before[1] - before[0]:
                found[constraint.resource] = (float(cost), constraint.limit)
        return found

    def mean_bits(self, levels: Levels, kind: str) -> float:
        """Return the mean width of all numbers of a kind; nan if there are none.

        Weighted by how many they are.
        """
        widths = self.bits(levels)
        parts = [
            (v.elements, bits)
            for v, bits in zip(self.variables, widths, strict=True)
            if v.kind == kind
        ]
        total = sum(count for count, _ in parts)
        return sum(count * bits for count, bits in parts) / total if total else float("nan")

    def require_feasible(self) -> None:
        """Check that no constraint alone makes the problem impossible, whatever the others say.

        Raises:
            InfeasibleAllocationError: The constraint that is exceeded most, in parts of its limit,
                and the smallest possible.
        """
        worst, excess = None, 0.0
        for constraint in self.constraints:
            over = self.smallest(constraint) - constraint.limit
            if over > TOLERANCE and over / max(abs(constraint.limit), 1.0) > excess:
                worst, excess = constraint, over / max(abs(constraint.limit), 1.0)
        if worst is not None:
            raise InfeasibleAllocationError(worst, self.smallest(worst), self.remedy)

    def smallest(self, constraint: Constraint) -> float:
        """Return a cost that no allocation falls below.

        Every choice and every pair of variables counts at its cheapest.

        Where costs grow with the width it is the cost of the narrowest choice.
        """
        least = constraint.fixed + float(np.minimum.reduceat(constraint.linear, self.first).sum())
        if constraint.quadratic is not None:
            blocks = np.minimum.reduceat(
                np.minimum.reduceat(constraint.quadratic, self.first, axis=0), self.first, axis=1
            )
            least += 0.5 * float(blocks.sum() - np.trace(blocks))
        return least


def cost_of(constraint: Constraint, positions: Levels) -> float:
    """Return what the choices at ``positions``, ``(variables,)``, cost in a constraint."""
    cost = constraint.fixed + float(constraint.linear[positions].sum())
    if constraint.quadratic is not None:
        cost += 0.5 * float(constraint.quadratic[np.ix_(positions, positions)].sum())
    return cost
