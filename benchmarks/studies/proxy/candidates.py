"""Training-free predictors of accuracy: the QE-Score, trivial figures, and changes to the score.

All take a layer table and bits and return one number per network; larger should be better. The
QE-Score as published is one of them and is what the product maximises; the others are candidates
that the study judges.

Effectiveness is DeepMAD's rho, depth over width (``nas_engine.costs.effectiveness``); they limit it
from above. Their entropy of a stage is ln(r^2 C) times the sum of the log fan-ins up to it, r and C
its resolution and channels; they weigh five stages 1, 1, 1, 1, 8.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.statistics import mean_rank
from nas_engine.costs import compute
from nas_engine.costs.effectiveness import convolutions, effectiveness, log_fan_in
from nas_engine.costs.flash import flash
from nas_engine.costs.memory import MEMORY_MODELS
from nas_engine.costs.sram import peak_sram
from nas_engine.layers import Floats, LayerTable
from nas_engine.scoring.path_noise import PATH_NOISE_FORMS, path_noise
from nas_engine.scoring.qe_score import ScoreSettings, qe_score, stage_terms

Widths = npt.NDArray[Any]

PUBLISHED = "QE-Score as published"
RHO_LIMITS = (0.7, 1.0)
"""Limits on effectiveness that are tried; DeepMAD's lie between 0.1 and 2."""
LAYER_LIMITS = (20, 26)
"""Limits on convolutions that are tried."""
SIGMAS = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 12.0)
"""Both sides of the calibration grid, quantisation steps."""


def limited(score: Floats, measure: Floats, limit: float) -> Floats:
    """Return the score where a measure keeps its limit; elsewhere less than every such score, the
    less the more it exceeds.
    """
    return np.where(measure <= limit, score, score.min() - 1.0 - np.maximum(measure - limit, 0.0))


def stage_scores(table: LayerTable, w_bits: Widths, a_bits: Widths) -> Floats:
    """Return the entropies S_i of the score's stages, without their weights, ``(stages, n)``."""
    stages = table.frame.n_score_stages
    return stage_terms(table, w_bits, a_bits, ScoreSettings(stage_weights=(1.0,) * stages))


def _stage_sizes(table: LayerTable) -> tuple[Floats, Floats]:
    """Return ``ln C`` and ``ln r^2 C`` at the ends of the score's stages, ``(stages, n)``."""
    size, strides = table.frame.resolution, [table.frame.stem_strides, *table.frame.strides]
    channels = np.empty((table.frame.n_score_stages, table.n))
    areas = np.empty((table.frame.n_score_stages, 1))
    outputs = (table.stem_channels, *table.stage_channels)
    for score_stage, output, (stride,) in zip(
        table.score_stage[:, 0], outputs, strides, strict=True
    ):
        size = -(-size // stride)
        channels[score_stage], areas[score_stage] = output, size**2
    channels[-1] = table.head_channels
    return np.log(channels), np.log(areas * channels)


def stage_log_widths(table: LayerTable) -> Floats:
    """Return the sum of the log fan-ins from the input to the end of each of the score's stages,
    ``(stages, n)``.
    """
    last = table.frame.n_score_stages - 1
    of_residual = np.append(table.score_stage[1:, 0], last).take(table.stage, mode="clip")
    rows = np.full(table.weights.shape, last)
    rows[0] = 0
    rows[1:-2:3], rows[2:-2:3], rows[3:-2:3] = of_residual, of_residual, of_residual
    fan_in = log_fan_in(table)
    return np.stack([np.where(rows <= stage, fan_in, 0.0).sum(axis=0) for stage in range(last + 1)])


def with_weights(
    table: LayerTable, w_bits: Widths, a_bits: Widths, weights: tuple[float, ...]
) -> Floats:
    """Return the QE-Score under other stage weights, ``(n,)``."""
    return qe_score(table, w_bits, a_bits, ScoreSettings(stage_weights=weights))


def sigma_grid(
    table: LayerTable, w_bits: Widths, a_bits: Widths, weights: tuple[float, ...]
) -> dict[tuple[float, float], Floats]:
    """Return the QE-Score for every pair of sigma_A and sigma_W, ``(n,)`` each."""
    return {
        (a, w): qe_score(
            table, w_bits, a_bits, ScoreSettings(sigma_a=a, sigma_w=w, stage_weights=weights)
        )
        for a in SIGMAS
        for w in SIGMAS
    }


def trivial(table: LayerTable, w_bits: Widths, a_bits: Widths, model: str) -> dict[str, Floats]:
    """Return the figures that a score must beat, ``(n,)`` each."""
    active = convolutions(table)
    depth = active.sum(axis=0).astype(np.float64)
    return {
        "parameters": table.weights.sum(axis=0),
        "Flash": flash(MEMORY_MODELS[model], table, w_bits),
        "peak SRAM": peak_sram(MEMORY_MODELS[model], table, a_bits),
        "MACs": compute.macs(table),
        "BitOps": compute.bitops(MEMORY_MODELS[model], table, w_bits, a_bits),
        "depth (convolutions)": depth,
        "mean weight bits of the layers": (w_bits * active).sum(axis=0) / depth,
        "mean activation bits of the layers": (a_bits * active).sum(axis=0) / depth,
        "random": np.random.default_rng(0).random(table.n),
    }


def candidates(
    table: LayerTable, w_bits: Widths, a_bits: Widths, weights: tuple[float, ...]
) -> dict[str, Floats]:
    """Return the QE-Score as published and what might help it, ``(n,)`` each; none looks at an
    accuracy.

    Args:
        table: ``n`` networks.
        w_bits: Weight width of each layer, ``(layers, n)``.
        a_bits: Input width of each layer, ``(layers, n)``.
        weights: The score's stage weights.
    """
    score = with_weights(table, w_bits, a_bits, weights)
    eight = np.where(w_bits > 0, 8, 0).astype(w_bits.dtype)
    depth, rho = convolutions(table).sum(axis=0).astype(np.float64), effectiveness(table)
    stages, (log_channels, log_size) = stage_scores(table, w_bits, a_bits), _stage_sizes(table)
    many = len(weights) - 1
    alpha = np.array([*[1.0] * many, 8.0])
    macs, bitops = (
        compute.macs(table),
        compute.bitops(MEMORY_MODELS["arena"], table, w_bits, a_bits),
    )
    found = {
        PUBLISHED: score,
        "QE-Score, equal stage weights": with_weights(table, w_bits, a_bits, (1.0,) * (many + 1)),
        "QE-Score, last stage only": with_weights(table, w_bits, a_bits, (*[0.0] * many, 1.0)),
        "QE-Score, stage weights 1 and 8 for the last (DeepMAD)": with_weights(
            table, w_bits, a_bits, (*[1.0] * many, 8.0)
        ),
        "QE-Score with 8 bits everywhere (structure alone)": with_weights(
            table, eight, eight, weights
        ),
        "QE-Score per convolution": score / depth,
        "QE-Score, resolution term (sums times ln r^2 C)": np.array(weights)
        @ (log_size * (stages - log_channels)),
        "DeepMAD entropy (float)": alpha @ (log_size * stage_log_widths(table)),
        "small rho (depth over width)": -rho,
        "mean rank of QE-Score and MACs": mean_rank(score, macs),
        "mean rank of QE-Score and BitOps": mean_rank(score, bitops),
        "mean rank of QE-Score and small rho": mean_rank(score, -rho),
    }
    noises = {
        name: path_noise(table, w_bits, a_bits, form) for name, form in PATH_NOISE_FORMS.items()
    }
    found |= {f"small {name}": -noise for name, noise in noises.items()}
    found |= {
        f"QE-Score, rho at most {limit:g}": limited(score, rho, limit) for limit in RHO_LIMITS
    }
    return found | {
        f"QE-Score, at most {limit} convolutions": limited(score, depth, float(limit))
        for limit in LAYER_LIMITS
    }
