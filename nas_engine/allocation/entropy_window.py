"""Entropy window: more bits for layers whose outputs carry more information.

Source: Qin et al., Scientific Reports 15, 2025.

The abstract says: the entropy of each layer's output in the forward pass, smoothed by a sliding
window; a dynamic threshold from the smoothed average entropy; bits by that threshold; window and
threshold tuned by Optuna. The body could not be read. So the estimator, the axis of the window, the
formula of the threshold, the number of thresholds and their bits are chosen here; each is a field
of ``EntropyWindow``. Tuning on trained networks is ``nas_engine.training.entropy_study``; the
allocator here trains nothing: it takes the lowest thresholds that fit.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product
from typing import ClassVar

import numpy as np

from nas_engine.allocation.allocator import LossModel, allocation_of
from nas_engine.allocation.baselines import nearest_level
from nas_engine.allocation.moves import feasible_start
from nas_engine.allocation.problem import ACTIVATIONS, WEIGHTS, AllocationProblem, Floats, Levels
from nas_engine.allocation.records import BitAllocation, Evidence
from nas_engine.errors import InputError, UnknownNameError
from nas_engine.names import Method

BATCHES, DEPTH = "batches", "depth"
"""Axes of the window: the last batches of one layer, or the neighbours of a layer."""

_FLAT = 1e-9
"""Bits; entropies that lie closer together than this say nothing about the layers."""

_GRID = 32
"""Alphas of each kind in the grid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EntropyWindow:
    """Settings of one assignment, with defaults chosen here.

    Raises:
        InputError: A window below 1, a negative spread, or a width that is not from 2 to 8.
        UnknownNameError: Another axis.
    """

    estimator: str = "histogram"
    """Estimator: one of ``Evidence.entropies``."""
    window: int = 8
    """Batches, or layers, that are averaged; more than there are means all."""
    axis: str = BATCHES
    """``"batches"`` or ``"depth"``."""
    weight_alpha: float = 1.0
    """Where the thresholds of weights lie: 1 centres them on the mean entropy, larger is higher and
    gives fewer bits."""
    activation_alpha: float = 1.0
    """The same for activations."""
    spread: float = 1.0
    """Distance from the lowest to the highest threshold, in parts of the range of entropies."""
    widths: tuple[int, ...] = ()
    """Widths to give, ascending; a variable that may not have one takes its next one below. Empty
    for all that each may have."""

    def __post_init__(self) -> None:
        if self.axis not in (BATCHES, DEPTH):
            raise UnknownNameError("axis of the entropy window", self.axis, (BATCHES, DEPTH))
        if self.window < 1:
            raise InputError(f"the entropy window is {self.window}; expected at least 1")
        if (
            not self.spread >= 0.0
            or not np.isfinite([self.spread, self.weight_alpha, self.activation_alpha]).all()
        ):
            raise InputError(
                f"thresholds {self.weight_alpha}, {self.activation_alpha} with spread "
                f"{self.spread}; expected finite numbers, spread >= 0"
            )
        if list(self.widths) != sorted(set(self.widths)) or any(
            not 2 <= width <= 8 for width in self.widths
        ):
            raise InputError(
                f"widths of the entropy window are {list(self.widths)}; expected some of 2 to 8, "
                "ascending"
            )


def smooth(values: Floats, window: int, axis: str = BATCHES) -> Floats:
    """Return the smoothed entropy of each layer, ``(layers,)``, in bits.

    Args:
        values: Entropies, ``(batches, layers)``, in bits; layers in the order of the network.
        window: Along batches, how many of the last ones are averaged. Along depth, how many
            neighbouring layers: the layer itself and ``window // 2`` on each side (an even window
            counts as the next odd one), fewer at the ends; over all batches.
        axis: ``"batches"`` or ``"depth"``.
    """
    if axis == BATCHES:
        return np.asarray(values[-window:].mean(axis=0))
    means = values.mean(axis=0)
    sums = np.concatenate([[0.0], np.cumsum(means)])
    places = np.arange(len(means))
    low, high = (
        np.maximum(places - window // 2, 0),
        np.minimum(places + window // 2 + 1, len(means)),
    )
    return np.asarray((sums[high] - sums[low]) / (high - low))


def critical_alphas(smoothed: Floats, count: int, spread: float) -> Floats:
    """Return the alpha below which each layer exceeds each threshold, ``(layers, count)``.

    There are ``count`` thresholds, lowest first.

    Threshold ``k`` is ``mean + (alpha_k - 1) (max - min)`` over the smoothed entropies of the
    layers of one kind, with ``alpha_k`` evenly from ``alpha - spread / 2`` to ``alpha + spread /
    2``. It follows the mean ("dynamic"). The form that the abstract suggests, ``alpha mean``,
    reaches the same thresholds; but it has no meaning for Gaussian entropies, whose zero depends on
    the scale of the tensor, and which are often negative. This one works for both, and alphas from
    0 to 2 always reach every layer. Where all entropies are equal the range is taken as 1 bit.
    """
    span = float(smoothed.max() - smoothed.min())
    places = (smoothed - smoothed.mean()) / (span if span > _FLAT else 1.0) + 1.0
    if span <= _FLAT:
        places = np.ones_like(places)
    offsets = spread * np.linspace(-0.5, 0.5, count) if count > 1 else np.zeros(count)
    return np.asarray(places[:, None] - offsets[None, :])


def assign(problem: AllocationProblem, evidence: Evidence, settings: EntropyWindow) -> Levels:
    """Return the levels that the thresholds give, whatever the constraints say, ``(variables,)``.

    A variable with ``m`` widths to choose from has ``m - 1`` thresholds; it takes as many steps up
    from its narrowest width as its smoothed entropy exceeds thresholds.

    Raises:
        InputError: No entropies of the estimator.
    """
    return _Ladder.of(problem, evidence, settings).levels(
        {WEIGHTS: settings.weight_alpha, ACTIVATIONS: settings.activation_alpha}
    )


@dataclass(frozen=True, slots=True)
class EntropyWindowAllocator:
    """The lowest thresholds that fit, without any training.

    Weights and activations have an alpha each. All pairs of alphas that change anything and fit are
    candidates; the one with the largest sum of mean widths of both kinds is taken, of equal ones
    that with wider weights. Limits are not filled up beyond that.
    """

    settings: EntropyWindow = field(default_factory=EntropyWindow)
    """Estimator, window, axis, spread and widths; its alphas are not used."""

    name: ClassVar[str] = Method.ENTROPY_WINDOW
    summary: ClassVar[str] = (
        "more bits where smoothed entropy exceeds a threshold, the lowest thresholds that fit (no "
        "training)"
    )
    needs: ClassVar[tuple[str, ...]] = ("entropies",)

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
        """Return the widest assignment that fits; see the class."""
        ladder = _Ladder.of(problem, evidence, self.settings)
        found = _lowest_that_fit(problem, ladder)
        if found is None:
            note = "no thresholds fit; the widths are some that do"
            return allocation_of(problem, self.name, feasible_start(problem), notes=(note,))
        levels, alphas = found
        details = {
            "estimator": self.settings.estimator,
            "window": self.settings.window,
            "axis": self.settings.axis,
            "spread": self.settings.spread,
            **{f"{kind} alpha": alpha for kind, alpha in alphas.items() if kind in ladder.kinds},
        }
        return allocation_of(problem, self.name, levels, details=details)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Ladder:
    """Choices of each variable at each alpha, and the alphas at which it leaves them."""

    choices: tuple[Levels, ...]
    """Levels each variable may be given, ascending."""
    criticals: tuple[Floats, ...]
    """For each variable, the alpha below which it exceeds each of its thresholds, descending."""
    kinds: tuple[str, ...]
    """Kind of each variable."""

    @staticmethod
    def of(problem: AllocationProblem, evidence: Evidence, settings: EntropyWindow) -> _Ladder:
        records = {record.estimator: record for record in evidence.entropies}
        if settings.estimator not in records:
            raise UnknownNameError("entropy estimator", settings.estimator, records)
        values = records[settings.estimator].values
        choices = tuple(
            np.unique([nearest_level(v.bits, width) for width in settings.widths or v.bits]).astype(
                np.intp
            )
            for v in problem.variables
        )
        kinds = tuple(variable.kind for variable in problem.variables)
        criticals: list[Floats] = [np.zeros(0)] * len(kinds)
        for kind in set(kinds):
            mine = [index for index, own in enumerate(kinds) if own == kind]
            smoothed = smooth(values[:, mine], settings.window, settings.axis)
            for place, index in enumerate(mine):
                criticals[index] = critical_alphas(
                    smoothed, len(choices[index]) - 1, settings.spread
                )[place]
        return _Ladder(choices=choices, criticals=tuple(criticals), kinds=kinds)

    def levels(self, alphas: dict[str, float]) -> Levels:
        """Return what the variables take at one alpha per kind, ``(variables,)``."""
        steps = [
            int((alphas[kind] < own).sum())
            for kind, own in zip(self.kinds, self.criticals, strict=True)
        ]
        return np.array(
            [choice[step] for choice, step in zip(self.choices, steps, strict=True)], np.intp
        )

    def alphas(self, kind: str) -> list[float]:
        """Return the alphas at which any variable of a kind changes, ascending.

        The first one is below them all.
        """
        own = [
            critical for critical, of in zip(self.criticals, self.kinds, strict=True) if of == kind
        ]
        found = sorted({float(alpha) for critical in own for alpha in critical})
        return [min(found, default=1.0) - 1.0, *found]


def _lowest_that_fit(
    problem: AllocationProblem, ladder: _Ladder
) -> tuple[Levels, dict[str, float]] | None:
    """Return the widest assignment that fits and its alphas; ``None`` if there is none.

    Along a staircase: the higher the weights' alpha, the lower may be that of the activations.
    Where costs grow with the width no pair of alphas beside the stairs can be better. Where they do
    not (pairs of widths that a device forbids), and no stair fits, a grid of at most ``_GRID``
    alphas of each kind is tried.
    """
    weights, activations = ladder.alphas(WEIGHTS), ladder.alphas(ACTIVATIONS)

    def fits(i: int, j: int) -> bool:
        return problem.is_feasible(
            ladder.levels({WEIGHTS: weights[i], ACTIVATIONS: activations[j]})
        )

    stairs, j = [], len(activations) - 1
    for i in range(len(weights)):
        while j and fits(i, j - 1):
            j -= 1
        if fits(i, j):
            stairs.append((i, j))
    if not stairs:
        grids = [
            np.unique(np.linspace(0, len(alphas) - 1, _GRID).astype(np.intp)).tolist()
            for alphas in (weights, activations)
        ]
        stairs = [(i, j) for i, j in product(*grids) if fits(i, j)]
    best: tuple[float, Levels, dict[str, float]] | None = None
    for i, j in stairs:
        alphas = {WEIGHTS: weights[i], ACTIVATIONS: activations[j]}
        levels = ladder.levels(alphas)
        worth = sum(problem.mean_bits(levels, kind) for kind in sorted(set(ladder.kinds)))
        if best is None or worth > best[0]:
            best = worth, levels, alphas
    return None if best is None else best[1:]
