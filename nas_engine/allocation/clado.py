"""Allocators that minimise a predicted loss.

Sums of single losses, HAWQ's, and with cross terms CLADO and Gauss-Newton CLADO.

All four are one integer program with different figures, solved by ``iqp.solve``: ``linear . x + x'
quadratic x / 2`` over one choice per variable inside the limits. The objective is the predicted
change of the mean loss, in nats (HAWQ's has no unit).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from nas_engine.allocation.allocator import LossModel, allocation_of
from nas_engine.allocation.iqp import solve
from nas_engine.allocation.moves import feasible_start
from nas_engine.allocation.problem import AllocationProblem
from nas_engine.allocation.quadratic import monotone_losses, objective_of, pair_noise
from nas_engine.allocation.records import FEASIBLE, OPTIMAL, BitAllocation, Evidence, Sensitivity
from nas_engine.names import Method

MOST_PAIR_NOISE = 0.5
"""Noise of the pair terms, in parts of ``sqrt(G_ii G_jj)``, above which single losses decide alone.
Chosen here: on synthetic instances cross terms began to do harm between 0.15 and 0.2; on a trained
ResNet-20 with 256 images the noise is 0.3, and with the eigenvalues clipped they still did good
(``benchmarks.allocators``)."""

PROVEN = 1e-6
"""Relative gap of objective and bound that counts as none."""


@dataclass(frozen=True, slots=True)
class Diagonal:
    """Sum of measured single losses.

    CLADO's own control without cross terms ("naive" in the authors' code).
    """

    name: ClassVar[str] = Method.DIAGONAL
    summary: ClassVar[str] = (
        "the smallest sum of measured single losses (CLADO without cross terms)"
    )
    needs: ClassVar[tuple[str, ...]] = ("singles",)

    def model(self, problem: AllocationProblem, evidence: Evidence) -> LossModel:
        """Return the single losses, made monotone in the width."""
        assert evidence.singles is not None
        return monotone_losses(problem, evidence.singles.losses), None

    def allocate(
        self,
        problem: AllocationProblem,
        evidence: Evidence,
        *,
        seed: int = 0,
        time_limit_s: float = 20.0,
    ) -> BitAllocation:
        """Return the best widths for that sum."""
        return _solved(problem, self.name, self.model(problem, evidence), seed, time_limit_s)


@dataclass(frozen=True, slots=True)
class Hawq:
    """HAWQ-V2 and -V3 (Dong et al. 2020; Yao et al. 2021).

    Mean Hessian trace times squared perturbation, summed over the tensors.
    """

    name: ClassVar[str] = Method.HAWQ
    summary: ClassVar[str] = (
        "the smallest sum of mean Hessian trace times squared perturbation (HAWQ-V2, -V3)"
    )
    needs: ClassVar[tuple[str, ...]] = ("hessian",)

    def model(self, problem: AllocationProblem, evidence: Evidence) -> LossModel:
        """Return HAWQ's costs, made monotone in the width."""
        assert evidence.hessian is not None
        return monotone_losses(problem, evidence.hessian), None

    def allocate(
        self,
        problem: AllocationProblem,
        evidence: Evidence,
        *,
        seed: int = 0,
        time_limit_s: float = 20.0,
    ) -> BitAllocation:
        """Return the best widths for that sum."""
        return _solved(problem, self.name, self.model(problem, evidence), seed, time_limit_s)


@dataclass(frozen=True, slots=True)
class Clado:
    """CLADO (Deng et al., DAC 2025): positive semi-definite matrix of single and pair losses.

    The matrix is the projection of the measured losses.

    New here: the monotone safeguard on the single losses, and leaving out pairs below the noise.
    """

    projection: str = "clip"
    """How the matrix is made positive semi-definite, one of ``quadratic.PROJECTIONS``; ``"clip"``
    is the paper's."""
    most_noise: float = MOST_PAIR_NOISE
    """Pair noise above which the single losses decide alone."""

    name: ClassVar[str] = Method.CLADO
    summary: ClassVar[str] = "the smallest predicted loss with measured cross terms (CLADO)"
    needs: ClassVar[tuple[str, ...]] = ("pairs",)

    def model(self, problem: AllocationProblem, evidence: Evidence) -> LossModel:
        """Return CLADO's objective, or its diagonal where the pairs are noise."""
        assert evidence.pairs is not None
        return _model(problem, evidence, evidence.pairs, self.projection, self.most_noise)[0]

    def allocate(
        self,
        problem: AllocationProblem,
        evidence: Evidence,
        *,
        seed: int = 0,
        time_limit_s: float = 20.0,
    ) -> BitAllocation:
        """Return the best widths for that objective; a note says where the pairs were left out."""
        assert evidence.pairs is not None
        model, notes, details = _model(
            problem, evidence, evidence.pairs, self.projection, self.most_noise
        )
        return _solved(problem, self.name, model, seed, time_limit_s, notes, details)


@dataclass(frozen=True, slots=True)
class GaussNewton:
    """CLADO with the Gauss-Newton matrix from single choices in place of measured pairs.

    No pair is ever run (chosen here).
    """

    projection: str = "none"
    """The matrix comes from one vector per choice, so over allocations it is positive semi-definite
    as it is. Its entries within a variable are left out, since no allocation meets them; a clip
    would take that for noise."""
    most_noise: float = MOST_PAIR_NOISE
    """Pair noise above which the single losses decide alone."""

    name: ClassVar[str] = Method.GAUSS_NEWTON
    summary: ClassVar[str] = (
        "the smallest predicted loss with Gauss-Newton cross terms from single choices"
    )
    needs: ClassVar[tuple[str, ...]] = ("singles",)

    def model(self, problem: AllocationProblem, evidence: Evidence) -> LossModel:
        """Return the Gauss-Newton objective, or the single losses if its cross terms are noise."""
        assert evidence.singles is not None
        return _model(problem, evidence, evidence.singles, self.projection, self.most_noise)[0]

    def allocate(
        self,
        problem: AllocationProblem,
        evidence: Evidence,
        *,
        seed: int = 0,
        time_limit_s: float = 20.0,
    ) -> BitAllocation:
        """Return the best widths for that objective.

        A note says where the cross terms were left out.
        """
        assert evidence.singles is not None
        model, notes, details = _model(
            problem, evidence, evidence.singles, self.projection, self.most_noise
        )
        return _solved(problem, self.name, model, seed, time_limit_s, notes, details)


def _model(
    problem: AllocationProblem,
    evidence: Evidence,
    measured: Sensitivity,
    projection: str,
    most_noise: float,
) -> tuple[LossModel, tuple[str, ...], dict[str, Any]]:
    """Return the objective of a matrix, with notes and details.

    Where the cross terms are noise it is the single losses.
    """
    noise = (
        float("nan") if measured.halves is None else pair_noise(measured.halves, measured.matrix)
    )
    if noise > most_noise:
        note = (
            f"the noise of the cross terms is {noise:.2g} of the losses, above {most_noise:g}: "
            "single losses alone decided; "
            "measure on more images"
        )
        losses = (evidence.singles or measured).losses  # measured on more images, as a rule
        return (
            (monotone_losses(problem, losses), None),
            (note,),
            {"pair noise": noise, "projection": "diagonal"},
        )
    notes = (
        ("the noise of the cross terms is not known: no halves were measured",)
        if np.isnan(noise)
        else ()
    )
    return (
        objective_of(measured, problem, projection),
        notes,
        {"pair noise": noise, "projection": projection},
    )


def _solved(
    problem: AllocationProblem,
    method: str,
    model: LossModel,
    seed: int,
    time_limit_s: float,
    notes: tuple[str, ...] = (),
    details: dict[str, Any] | None = None,
) -> BitAllocation:
    """Solve one program and record what is proven of it.

    None of these objectives is negative anywhere: sums of losses that are made monotone from 0, and
    forms that are positive semi-definite over allocations. So 0 is a bound even where a proof has
    not begun.
    """
    solution = solve(
        problem, *model, seed=seed, time_limit_s=time_limit_s, start=feasible_start(problem)
    )
    bound = min(max(solution.bound, 0.0), solution.objective)
    gap = (solution.objective - bound) / max(abs(solution.objective), 1e-12)
    status = OPTIMAL if gap <= PROVEN else FEASIBLE
    return allocation_of(
        problem,
        method,
        solution.levels,
        objective=solution.objective,
        bound=bound,
        status=status,
        notes=notes,
        details={**(details or {}), "nodes": solution.nodes, "found at s": solution.found_at_s},
    )
