"""QE-Score: the entropy of a quantised network's last feature map.

Source: Sun et al., NeurIPS 2022. Computed for a whole population.

    t     = ln(K^2 C) / 2 + ln(S(sigma_A, b_A) * S(sigma_W, b_W)) - ln sigma_A
            per convolution, C = 1 for depth-wise
    S_i   = sum of t from the input to the end of stage i + ln(C_out of the stage's last block)
    score = sum_i alpha_i S_i

Stages end just before each stride-2 block; stage 0 is the stem; a head belongs to the last stage;
the classifier does not count. Residuals, ReLU, stride and resolution do not enter. What the score
cannot see is written in docs/qe_score.md.

The terms of a unit are those of its layers on the chain (``nas_engine.block_kinds``): expand,
depth-wise and project; depth-wise and project; the two k x k convolutions of a residual, each as
any plain convolution, C its input channels. The 1x1 shortcut of a residual has none: it lies on no
chain, and the paper leaves shortcuts out (chosen here, since theirs have no weights).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt

from nas_engine.architecture import Architecture
from nas_engine.block_kinds import BLOCK_KINDS, BlockLayer
from nas_engine.encoding import Frame
from nas_engine.errors import InputError
from nas_engine.layers import Floats, LayerTable, by_kind, interleave, of_first
from nas_engine.ranges import SIGMA, STAGE_WEIGHT
from nas_engine.records import check
from nas_engine.scoring.quantised_gaussian import MAX_BITS, log_std_table

PAPER_STAGE_WEIGHTS = (0.0, 0.0, 1.0, 1.0, 6.0)
"""alpha of the paper, for five stages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreSettings:
    """Parameters of the QE-Score.

    Raises:
        InputError: A sigma that is not above 0, or stage weights that are negative or all zero.
    """

    sigma_a: Annotated[float, SIGMA] = 5.0
    """Standard deviation of activations in quantisation steps; the paper's Gaussian calibration
    gives 5."""
    sigma_w: Annotated[float, SIGMA] = 4.0
    """Standard deviation of weights in quantisation steps; the paper's Gaussian calibration gives
    4."""
    stage_weights: tuple[Annotated[float, STAGE_WEIGHT], ...] = PAPER_STAGE_WEIGHTS
    """alpha, one weight per stage from the stem on."""

    def __post_init__(self) -> None:
        check(self)
        if not any(self.stage_weights):
            raise InputError(
                f"stage weights are {self.stage_weights}; expected not all 0, such as 0,0,1,1,6"
            )

    def last(self, stages: int) -> ScoreSettings:
        """Return the settings of a network with so many stages: its weights are the last ones."""
        return replace(self, stage_weights=self.stage_weights[-stages:])


def default_stage_weights(network: Architecture) -> tuple[float, ...]:
    """Return the paper's weights for five stages.

    For fewer stages: the last ones of (0, 1, 1, 6); for more: zeros in front (chosen here).
    """
    stages = 1 + sum(block.stride == 2 for block in network.blocks)
    if stages == len(PAPER_STAGE_WEIGHTS):
        return PAPER_STAGE_WEIGHTS
    tail = PAPER_STAGE_WEIGHTS[1:][-stages:]
    return (0.0,) * (stages - len(tail)) + tail


def stage_coefficients(frame: Frame, settings: ScoreSettings) -> Floats:
    """Return the weight of a convolution of each QE-Score stage, ``(score stages,)``.

    The weight is ``sum_{i >= stage} alpha_i``.

    Raises:
        InputError: The number of stage weights does not fit the network.
    """
    n_stages = frame.n_score_stages
    if len(settings.stage_weights) != n_stages:
        given = ",".join(f"{weight:g}" for weight in settings.stage_weights)
        raise InputError(
            f"stage weights {given} are {len(settings.stage_weights)} values; this network has "
            f"{n_stages} stages, give {n_stages}"
        )
    return np.cumsum(np.asarray(settings.stage_weights)[::-1])[::-1]


def layer_coefficients(table: LayerTable, settings: ScoreSettings) -> Floats:
    """Return the weight of one unit of ``t`` at each layer, ``(layers, n)``.

    It is 0 for the classifier, 1x1 shortcuts, and rows that a network lacks.
    """
    stages = stage_coefficients(table.frame, settings)[table.score_stage]
    nothing = np.zeros((1, stages.shape[1]))
    per_stage = np.concatenate([stages[1:], nothing])
    if per_stage.shape[1] == 1:
        of_unit = per_stage[:, 0].take(table.stage, mode="clip")
    else:
        of_unit = np.take_along_axis(per_stage, table.stage, axis=0)
    scored = by_kind(table, 0, lambda layer: of_unit if layer.scored else np.zeros_like(of_unit))
    head = stages[-1] * table.frame.has_head
    return interleave(table, stages[0], of_first(table, scored), of_unit, of_unit, head, 0.0)


def qe_score(
    table: LayerTable, w_bits: npt.NDArray[Any], a_bits: npt.NDArray[Any], settings: ScoreSettings
) -> Floats:
    """Return the QE-Score of each network.

    Args:
        table: ``n`` networks.
        w_bits: Weight width of each layer, ``(layers, n)``.
        a_bits: Input width of each layer, ``(layers, n)``.
        settings: Sigmas and stage weights.

    Returns:
        Scores, ``(n,)``.

    Raises:
        InputError: The number of stage weights does not fit the network.
    """
    return structure_score(table, settings) + bits_score(
        layer_coefficients(table, settings), w_bits, a_bits, settings
    )


def structure_score(table: LayerTable, settings: ScoreSettings) -> Floats:
    """Return the part of the score that does not depend on bits, ``(n,)``.

    Fan-in terms, channel terms and - ln sigma_A per convolution.
    """
    frame = table.frame
    stages = stage_coefficients(frame, settings)[table.score_stage]
    inputs, middles, outputs, kernels, layers = (
        float(counts[table.kinds[0]]) if table.kind is None else counts[table.stage_kind]
        for counts in _chain_counts()
    )
    log_channels, log_sigma = np.log(table.stage_channels), np.log(settings.sigma_a)
    # a stage: its first unit takes the channels of the stage before, the others its own
    terms = np.log(table.stage_bottleneck) if frame.plain else _log_bottleneck(table) * middles
    terms += (2.0 * kernels) * np.log(table.stage_kernel)
    terms += _times(inputs + outputs, log_channels)
    terms -= (2.0 * layers) * log_sigma
    terms *= table.depth
    before = np.concatenate([np.log(table.stem_channels)[None], log_channels[:-1]])
    terms += _times(inputs, before)
    terms -= _times(inputs, log_channels)
    halves = 0.5 * stages[1:]
    score = np.asarray(
        halves[:, 0] @ terms if halves.shape[1] == 1 else (halves * terms).sum(axis=0)
    )
    score += stages[0] * (0.5 * np.log(frame.stem_kernel**2 * frame.input_channels) - log_sigma)
    if frame.has_head:
        score += stages[-1] * (0.5 * log_channels[-1] - log_sigma)
    for weight, channels in zip(settings.stage_weights, _stage_channels(table), strict=True):
        if weight:
            score += weight * np.log(channels)
    return score


@functools.cache
def _chain_counts() -> tuple[Floats, ...]:
    """Return what the chain of one unit of each kind adds up, five arrays of shape ``(kinds,)``.

    Layers that take ``in``, ``mid`` and ``out`` channels (depth-wise ones none), layers with the
    kernel of the stage, layers.
    """
    chains = [
        [layer for layer in kind.layers if layer is not None and layer.scored]
        for kind in BLOCK_KINDS.values()
    ]

    def count(of: Callable[[BlockLayer], bool]) -> Floats:
        return np.array([float(sum(map(of, chain))) for chain in chains])

    def taking(channels: str) -> Floats:
        return count(lambda layer: layer.kind != "depthwise" and layer.inputs == channels)

    kernels, layers = count(lambda layer: layer.has_kernel), count(lambda layer: True)
    return taking("in"), taking("mid"), taking("out"), kernels, layers


def bits_score(
    coefficients: Floats,
    w_bits: npt.NDArray[Any],
    a_bits: npt.NDArray[Any],
    settings: ScoreSettings,
) -> Floats:
    """Return the part of the score that depends on bits, ``(n,)``.

    Coefficients as from ``layer_coefficients``.
    """
    logs = np.add.outer(log_std_table(settings.sigma_w), log_std_table(settings.sigma_a)).ravel()
    index = w_bits * np.int16(MAX_BITS + 1)
    index += a_bits
    values = logs.take(index, mode="clip")
    values *= coefficients
    return np.asarray(values.sum(axis=0))


def stage_terms(
    table: LayerTable, w_bits: npt.NDArray[Any], a_bits: npt.NDArray[Any], settings: ScoreSettings
) -> Floats:
    """Return the terms alpha_i S_i that make up the score, ``(score stages, n)``.

    Arguments as ``qe_score``.
    """
    stages = len(stage_coefficients(table.frame, settings))
    return np.stack(
        [
            qe_score(
                table,
                w_bits,
                a_bits,
                ScoreSettings(
                    sigma_a=settings.sigma_a,
                    sigma_w=settings.sigma_w,
                    stage_weights=tuple(w * (i == j) for j, w in enumerate(settings.stage_weights)),
                ),
            )
            if settings.stage_weights[i]
            else np.zeros(table.n)
            for i in range(stages)
        ]
    )


def _times(count: Floats | float, values: Floats) -> Floats:
    """Return a product, without the work of one by 1."""
    return values if isinstance(count, float) and count == 1.0 else np.asarray(count * values)


def _log_bottleneck(table: LayerTable) -> Floats:
    return np.asarray(np.log(np.maximum(table.stage_bottleneck, 1.0)))


def _stage_channels(table: LayerTable) -> list[Floats]:
    """Return output channels of the last block of each QE-Score stage, each ``(n,)``.

    The head, if there is one, ends the last stage; 1 where a network has fewer stages.
    """
    channels = [np.ones(table.n)] * table.frame.n_score_stages
    for stages, output in zip(
        table.score_stage, (table.stem_channels, *table.stage_channels), strict=True
    ):
        if stages.size == 1:
            channels[stages[0]] = output
            continue
        for stage in range(table.frame.n_score_stages):
            channels[stage] = np.where(stages == stage, output, channels[stage])
    return [*channels[:-1], table.head_channels]
