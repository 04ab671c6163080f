"""Records that allocators take and return: sensitivities, entropies, and the allocation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nas_engine.allocation.problem import Floats, Levels

OPTIMAL, FEASIBLE, HEURISTIC = "optimal", "feasible", "heuristic"
"""``BitAllocation.status``: proven optimal; best found, with a bound; by a rule that has no
objective or no bound."""


def _freeze(record: Any, *names: str) -> None:
    for name in names:
        array = getattr(record, name)
        if array is not None:
            array = np.array(array, np.float64)
            array.flags.writeable = False
            object.__setattr__(record, name, array)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sensitivity:
    """Change of the loss when tensors are quantised.

    ``x' matrix x / 2`` predicts the change for an allocation ``x``.

    Positions are those of ``AllocationProblem``. Changes count from a reference network that has
    every variable at its widest choice (or from the float network): there all entries of the
    reference are zero.
    """

    method: str
    """``"gauss-newton"`` or ``"measured"``."""
    matrix: Floats
    """Omega: twice the loss change of single choices on the diagonal, cross terms off it, zero
    within a variable, ``(n, n)``, nats."""
    losses: Floats
    """Measured change of the mean loss by each choice alone, ``(n,)``, nats."""
    standard_errors: Floats
    """Standard error of ``losses`` over the images, ``(n,)``."""
    halves: Floats | None = None
    """The matrix from the even and from the odd images, ``(2, n, n)``: how far they are apart is
    the noise of the matrix."""
    images: int
    """Images measured on."""
    base_loss: float
    """Mean loss of the reference network, nats."""
    passes: float = 0.0
    """Forward passes of the whole network that the measurement was worth."""
    seconds: float = 0.0
    """Wall time of the measurement."""

    def __post_init__(self) -> None:
        _freeze(self, "matrix", "losses", "standard_errors", "halves")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LayerEntropies:
    """Entropies of the tensors that variables stand for, batch by batch, in bits."""

    estimator: str
    """``"histogram"`` or ``"gaussian"``."""
    values: Floats
    """Mean entropy of the tensors of each variable in each batch, ``(batches, variables)``: of the
    output of the variable's layers for weights, of the tensor itself for activations."""

    def __post_init__(self) -> None:
        _freeze(self, "values")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evidence:
    """Measurements and widths known of the network; an allocator says what it needs."""

    given: Levels | None = None
    """Widths that came with the network, from QBR, as levels."""
    singles: Sensitivity | None = None
    """From single choices: measured losses on the diagonal, the Gauss-Newton matrix."""
    pairs: Sensitivity | None = None
    """From measured pairs: CLADO's matrix."""
    hessian: Floats | None = None
    """HAWQ's cost of each choice, mean Hessian trace times squared perturbation, ``(n,)``."""
    entropies: tuple[LayerEntropies, ...] = ()
    """One record per estimator."""

    def __post_init__(self) -> None:
        _freeze(self, "hessian")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BitAllocation:
    """Result of an allocator."""

    method: str
    """Its name."""
    levels: Levels
    """Index of the chosen width of each variable, ``(variables,)``."""
    bits: tuple[int, ...]
    """Width of each variable."""
    objective: float
    """Objective of the allocator at its choice; nan if it minimises nothing."""
    bound: float
    """No feasible choice has a smaller objective; minus infinity where nothing is known, nan
    without objective."""
    status: str
    """``OPTIMAL``, ``FEASIBLE`` or ``HEURISTIC``."""
    seconds: float
    """Wall time."""
    notes: tuple[str, ...] = ()
    """Messages for the user, one sentence each, such as a fall-back to the diagonal."""
    details: dict[str, Any] = field(default_factory=dict)
    """Figures of the allocator's own, such as nodes or the tuned window."""

    @property
    def gap(self) -> float:
        """Relative distance of objective and bound, 0 when proven.

        Infinity without a bound, nan without an objective.
        """
        if np.isnan(self.objective):
            return float("nan")
        return max(0.0, self.objective - self.bound) / max(abs(self.objective), 1e-12)
