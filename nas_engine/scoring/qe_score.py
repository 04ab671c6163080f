"""QE-Score: the entropy of a quantised network's last feature map.

Source: Sun et al., NeurIPS 2022. Computed for a whole population.

    t     = ln(K^2 C) / 2 + ln(S(sigma_A, b_A) * S(sigma_W, b_W)) - ln sigma_A
            per convolution, C = 1 for depth-wise
    S_i   = sum of t from the input to the end of stage i + ln(C_out of the stage's last block)
    score = sum_i alpha_i S_i

Stages end just before each stride-2 block; stage 0 is the stem; the head belongs to the last stage;
the classifier does not count. Residuals, ReLU, stride and resolution do not enter. What the score
cannot see is written in docs/qe_score.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nas_engine.encoding import Frame
from nas_engine.errors import InputError
from nas_engine.layers import Floats, LayerTable
from nas_engine.scoring.quantised_gaussian import MAX_BITS, log_std_table

PAPER_STAGE_WEIGHTS = (0.0, 0.0, 1.0, 1.0, 6.0)
"""alpha of the paper, for five stages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreSettings:
    """Parameters of the QE-Score.

    Raises:
        InputError: A sigma that is not above 0, or stage weights that are negative or all zero.
    """

    sigma_a: float = 5.0
    """Standard deviation of activations in quantisation steps; the paper's Gaussian calibration
    gives 5."""
    sigma_w: float = 4.0
    """Standard deviation of weights in quantisation steps; the paper's Gaussian calibration gives
    4."""
    stage_weights: tuple[float, ...] = PAPER_STAGE_WEIGHTS
    """alpha, one weight per stage from the stem on."""

    def __post_init__(self) -> None:
        for name in ("sigma_a", "sigma_w"):
            if not 0.1 <= getattr(self, name) <= 1000:
                raise InputError(
                    f"{name.replace('_', '-')} is {getattr(self, name)}; expected 0.1 to 1000 "
                    "quantisation steps (the paper: 5 and 4)"
                )
        if not all(0 <= weight <= 1e6 for weight in self.stage_weights) or not any(
            self.stage_weights
        ):
            raise InputError(
                f"stage weights are {self.stage_weights}; expected numbers from 0 to 1e6, not all "
                "0, such as 0,0,1,1,6"
            )


def stage_coefficients(frame: Frame, settings: ScoreSettings) -> Floats:
    """Return the weight of a convolution of each QE-Score stage, ``(score stages,)``.

    The weight is ``sum_{i >= stage} alpha_i``.

    Raises:
        InputError: The number of stage weights does not fit the network.
    """
    n_stages = 1 + frame.score_stages[-1]
    if len(settings.stage_weights) != n_stages:
        given = ",".join(f"{weight:g}" for weight in settings.stage_weights)
        raise InputError(
            f"stage weights {given} are {len(settings.stage_weights)} values; this network has "
            f"{n_stages} stages, give {n_stages}"
        )
    return np.cumsum(np.asarray(settings.stage_weights)[::-1])[::-1]


def layer_coefficients(table: LayerTable, settings: ScoreSettings) -> Floats:
    """Return the weight of one unit of ``t`` at each layer, ``(layers, n)``.

    It is 0 for the classifier and rows that a network lacks.
    """
    per_stage = stage_coefficients(table.frame, settings)
    residual = np.append(per_stage[np.asarray(table.frame.score_stages)], 0.0).take(
        table.stage, mode="clip"
    )
    rows = np.empty((table.frame.n_layers, table.n))
    rows[0], rows[-2], rows[-1] = per_stage[0], per_stage[-1], 0.0
    rows[1:-2:3], rows[2:-2:3], rows[3:-2:3] = residual, residual, residual
    return rows


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
    per_stage = stage_coefficients(frame, settings)
    log_channels, log_sigma = np.log(table.stage_channels), np.log(settings.sigma_a)
    # a stage: its first residual takes the channels of the stage before, the others its own
    terms = np.log(table.stage_bottleneck)
    terms += 2.0 * np.log(table.stage_kernel)
    terms += log_channels
    terms -= 6.0 * log_sigma
    terms *= table.depth
    terms[1:] += log_channels[:-1]
    terms[0] += np.log(table.stem_channels)
    terms -= log_channels
    score = np.asarray((0.5 * per_stage[np.asarray(frame.score_stages)]) @ terms)
    score += per_stage[0] * (0.5 * np.log(frame.stem_kernel**2 * frame.input_channels) - log_sigma)
    score += per_stage[-1] * (0.5 * log_channels[-1] - log_sigma)
    for weight, channels in zip(settings.stage_weights, _stage_channels(table), strict=True):
        if weight:
            score += weight * np.log(channels)
    return score


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


def _stage_channels(table: LayerTable) -> list[Floats]:
    """Output channels of the last block of each QE-Score stage, each ``(n,)``.

    The head ends the last stage.
    """
    channels = [table.stem_channels] * (table.frame.score_stages[-1] + 1)
    for stage, score_stage in enumerate(table.frame.score_stages):
        channels[score_stage] = table.stage_channels[stage]
    channels[-1] = table.head_channels
    return channels
