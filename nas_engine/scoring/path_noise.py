"""Path noise: noise that finite width and rounding add to a network's signal; small is better.

    P = sum over convolutions l of  s_l * ( k_n / n_l  +  k_f / f_l  +  N_w(w_l)  +  4 * N_a(a_l) )

``n_l`` output channels; ``f_l`` fan-in (kernel area times input channels of a group); ``w_l`` and
``a_l`` bits of weights and input; the classifier does not count. Behind every batch norm the signal
has power 1 again, so that only noise relative to it accumulates:

- a random ReLU layer of ``n`` channels shakes the squared norm of signal and gradient by a relative
  variance of 5/n, and the sum over layers decides whether training starts (Hanin, NeurIPS 2018;
  Hanin and Nica 2019);
- rounding to ``b`` bits adds ``N(b)``, the least mean squared error over the power of a unit
  Gaussian (``least_error``);
- a branch that ends in a batch norm adds power 1 to a stream of power ``v`` (De and Smith, NeurIPS
  2020): of its noise the share ``s = 1 / (1 + v)`` goes on (``stream_shares``).

The weights 1 and 4 of the rounding terms were read off fixed-precision MobileNetV2s, as are the
sigmas of the QE-Score: few bits of activations cost more than few bits of weights, which learn
around them. Figures against trained networks: ``python -m benchmarks.studies.proxy``.

It says what a path loses, not what a network can express: alone it is no objective (its minimum
leaves Flash unused), next to the QE-Score it is a limit or an axis. docs/qe_score.md has both.
"""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nas_engine.block_kinds import BLOCK_KINDS, KIND_NAMES, PLACES
from nas_engine.layers import (
    Bools,
    Floats,
    LayerTable,
    activated_units,
    by_kind,
    interleave,
    output_channels,
    rectified_inputs,
)
from nas_engine.scoring.quantised_gaussian import MAX_BITS

ACTIVATION_WEIGHT = 4.0
"""Weight of the rounding of activations against that of weights (chosen here, see above)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PathNoiseForm:
    """Weights of the terms that do not depend on bits."""

    width: float = 5.0
    """``k_n``, of the reciprocal of output channels."""
    fan_in: float = 0.0
    """``k_f``, of the reciprocal of the fan-in."""
    stem: bool = True
    """True if the stem's width counts; its rounding always does."""


PATH_NOISE_FORMS = {
    "path-noise": PathNoiseForm(),
    "path-noise-without-stem": PathNoiseForm(stem=False),
    "path-noise-without-stem-fan-in": PathNoiseForm(stem=False, fan_in=1.0),
}
"""Forms by name, fixed before any network was trained to judge them. The image has few channels, so
that the width of the stem may not matter; with the fan-in, kernels count."""

GRIDS = ("weight", "signed", "rectified")
"""Grids of training: weights within ``+-(2^(b-1) - 1)``, signed activations within ``-2^(b-1)`` and
``2^(b-1) - 1``, and activations behind a ReLU within 0 and ``2^b - 1``."""


def _grid(kind: str, bits: int) -> tuple[int, int]:
    half = 2 ** (bits - 1)
    return {"weight": (1 - half, half - 1), "signed": (-half, half - 1)}.get(
        kind, (0, 2 * half - 1)
    )


def _error(kind: str, bits: int, step: float) -> float:
    """Return the mean squared rounding error of N(0, 1), or of its positive part, at one step."""
    low, high = _grid(kind, bits)
    edges = [(level + 0.5) * step for level in range(low, high)]
    edges = [0.0 if kind == "rectified" else -math.inf, *edges, math.inf]
    total = 0.0
    for level, (a, b) in zip(range(low, high + 1), itertools.pairwise(edges), strict=True):
        c = level * step
        # integral of (x - c)^2 times the density, from its three moments over the cell
        density_a, density_b = (math.exp(-x * x / 2) / math.sqrt(2 * math.pi) for x in (a, b))
        first = density_a - density_b
        mass = (math.erf(b / math.sqrt(2)) - math.erf(a / math.sqrt(2))) / 2
        ends = (a * density_a if math.isfinite(a) else 0.0) - (
            b * density_b if math.isfinite(b) else 0.0
        )
        total += (1 + c * c) * mass + ends - 2 * c * first
    return total


@functools.cache
def least_error(kind: str, bits: int) -> float:
    """Return N(b): the least mean squared rounding error over the power of a unit Gaussian.

    Args:
        kind: One of ``GRIDS``; ``"rectified"`` is the positive part of the Gaussian.
        bits: Width, 2 to 8.

    Example:
        >>> round(least_error("weight", 2), 4)
        0.1902
    """
    shrink = (math.sqrt(5) - 1) / 2
    low, high = 1e-3, 3.0  # the error has one minimum over the step: golden-section search
    for _ in range(40):
        left, right = high - shrink * (high - low), low + shrink * (high - low)
        if _error(kind, bits, left) < _error(kind, bits, right):
            high = right
        else:
            low = left
    power = 0.5 if kind == "rectified" else 1.0
    return _error(kind, bits, (low + high) / 2) / power


@functools.cache
def _errors(kind: str) -> Floats:
    """Return N(b) for b = 0..8, shape ``(9,)``; 0 where there is no layer."""
    return np.array([0.0, 0.0] + [least_error(kind, bits) for bits in range(2, MAX_BITS + 1)])


def _rectified_sum(power: Floats) -> Floats:
    """Return the power behind a ReLU of N(0, 1) and a stream that is already rectified.

    The stream of power ``v`` is taken as the positive part of N(0, 2v) (chosen here): with
    probability 1/2 it is 0; else the sum is ``b + |g|``, whose power where it is positive is an
    integral over half a plane of two Gaussians, here in polar coordinates.
    """
    scale = np.sqrt(2.0 * power)
    angle = np.pi - np.arctan2(1.0, scale)
    square, turn = scale * scale, 2.0 * angle
    integral = (1 + square) / 2 * angle + (1 - square) / 4 * np.sin(turn)
    integral += scale / 2 * (1 - np.cos(turn))
    return np.asarray(0.25 + integral / np.pi)


def stream_shares(table: LayerTable) -> Floats:
    """Return the share of each unit's branch in the power of its stream, ``(residuals, n)``.

    It is ``1 / (1 + v)``, ``v`` the power of the stream that is added: 0 without a shortcut, 1 for
    one through a 1x1 layer (whose own noise has the same share), and else what the units before
    left: ``1 + k`` for the k-th one in a row of inverted residuals. A residual block ends in a
    ReLU behind the sum, which halves the power of what is symmetric: ``_rectified_sum``.
    """
    flags = np.array([kind.activated for kind in BLOCK_KINDS.values()])
    if not flags[list(table.kinds)].any():
        rows = np.arange(1.0, len(table.active) + 1)[:, None]
        starts = np.maximum.accumulate(rows * ~table.shortcut, axis=0)
        return np.asarray(table.active / (1.0 + rows - starts))
    shares, power = np.zeros_like(table.c_in), np.ones(table.n)
    rectified: Bools = np.ones(table.n, bool)
    for row in range(len(table.active)):
        kind = table.kinds[0] if table.kind is None else table.kind[row]
        activated = np.broadcast_to(flags[kind], (table.n,))
        projected = np.zeros(table.n, bool) if table.projected is None else table.projected[row]
        added = np.where(projected, 1.0, np.where(table.shortcut[row], power, 0.0))
        shares[row] = table.active[row] / (1.0 + added)
        behind_relu = np.where(
            rectified & ~projected & table.shortcut[row], _rectified_sum(power), (1.0 + added) / 2.0
        )
        power = np.where(table.active[row], np.where(activated, behind_relu, 1.0 + added), power)
        rectified = np.where(table.active[row], activated, rectified)
    return shares


def _reads(kind: int, place: int) -> bool:
    layer = BLOCK_KINDS[KIND_NAMES[kind]].layers[place]
    return layer is not None and layer.reads_input


def _input_errors(table: LayerTable, a_bits: npt.NDArray[Any]) -> Floats:
    """Return N of every layer's input, ``(layers, n)``.

    The input is signed behind a unit without a last activation, rectified elsewhere.
    """
    rectified, signed = (
        _errors(kind).take(a_bits, mode="clip") for kind in ("rectified", "signed")
    )
    entering = rectified_inputs(table)
    for place in range(PLACES):
        if not any(_reads(kind, place) for kind in table.kinds):
            continue
        reads = by_kind(
            table, place, lambda layer: np.full(table.active.shape, float(layer.reads_input))
        )
        rows = slice(1 + place, -2, PLACES)
        np.copyto(rectified[rows], signed[rows], where=(reads > 0) & ~entering)
    last = activated_units(table)[table.last_row - 1, np.arange(table.n)]
    rectified[-2] = np.where(last, rectified[-2], signed[-2])
    return np.asarray(rectified)


def path_noise(
    table: LayerTable,
    w_bits: npt.NDArray[Any],
    a_bits: npt.NDArray[Any],
    form: PathNoiseForm,
) -> Floats:
    """Return the path noise of each network; small is better.

    Args:
        table: ``n`` networks.
        w_bits: Weight width of each layer, ``(layers, n)``.
        a_bits: Input width of each layer, ``(layers, n)``.
        form: Weights of its terms, such as a row of ``PATH_NOISE_FORMS``.

    Returns:
        Noise relative to the signal at the logits, ``(n,)``.
    """
    shares = stream_shares(table)
    of_layers = interleave(table, 1.0, shares, shares, shares, 1.0, 0.0)
    exists = table.weights > 0
    width = np.zeros(exists.shape)
    channels = output_channels(table)
    np.divide(form.width, channels, out=width, where=exists)
    if form.fan_in:
        fan = np.zeros(exists.shape)
        np.divide(form.fan_in * channels, table.weights, out=fan, where=exists)
        width += fan
    if not form.stem:
        width[0] = 0.0
    noise = _input_errors(table, a_bits)
    noise *= ACTIVATION_WEIGHT
    noise += _errors("weight").take(w_bits, mode="clip")
    noise += width
    noise *= exists
    return np.asarray((of_layers * noise).sum(axis=0))
