"""QBR, second part: weight bits under the Flash budget.

A knapsack, solved by its Lagrangian and filled up greedily.

Flash is a *sum*. Each step to the next width of a layer has a gain and a cost in bytes; ln S is
concave in the width, so the steps of a layer come in falling order of gain per byte. Bisection on
the price of a byte finds, for each network, the price at which the chosen steps just fit; what is
left of the budget takes the best steps that still fit, until none does. The gap to the exact
optimum is below the gain of a single step.

Source: the idea is Sun et al., NeurIPS 2022 ("raise or lower weight bits so that the model size
approaches the Flash budget"); the algorithm is chosen here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from nas_engine.costs.flash import fixed_flash, weight_bytes
from nas_engine.evolution.problem import SearchProblem
from nas_engine.evolution.qbr_activations import width_gain
from nas_engine.layers import Floats, LayerTable
from nas_engine.scoring.quantised_gaussian import log_std_table

BISECTIONS = 12
"""Halvings of the price interval (about 40 nats wide); what they leave open, the greedy fill
closes."""

_INNER = slice(1, -1)
"""Layers whose widths are free: all but stem and classifier."""

_Levels = npt.NDArray[np.int8]


def split_units(values: Floats, tied: bool) -> Floats:
    """Return the layers grouped into units that share their widths.

    Args:
        values: ``(3 * residuals + 1, n)``, the free layers.
        tied: Whether the three layers of an inverted residual share their widths.

    Returns:
        ``(parts, units, n)``: one part and a unit per layer, or three parts and a unit per inverted
        residual, the head's unit last.
    """
    if not tied:
        return values[None]
    head = np.stack([values[-1], np.zeros_like(values[-1]), np.zeros_like(values[-1])])
    return np.concatenate(
        [values[:-1].reshape(-1, 3, values.shape[1]).swapaxes(0, 1), head[:, None]], axis=1
    )


def join_units(values: npt.NDArray[Any], tied: bool) -> npt.NDArray[Any]:
    """Return values of units, ``(units, n)``, repeated by layer, ``(3 * residuals + 1, n)``."""
    return np.concatenate([np.repeat(values[:-1], 3, axis=0), values[-1:]]) if tied else values


def price_keys(worth: Floats, cost: Floats) -> Floats:
    """Return ln(worth / cost) of each unit, minus infinity where there is no cost.

    A ten-thousandth puts equals in a fixed order.
    """
    key = np.log(worth / np.maximum(cost, 1.0))
    key += np.linspace(0.0, 1e-4, key.shape[0])[:, None]
    key[cost == 0] = -np.inf
    return key


def refine_weights(
    problem: SearchProblem, table: LayerTable, coefficients: Floats
) -> npt.NDArray[np.int16]:
    """Return the best weight widths that fit the Flash budget.

    Args:
        problem: Budget, sigma, widths.
        table: ``n`` networks.
        coefficients: Worth of each layer, ``(layers, n)``, above 0.

    Returns:
        Weight width of each layer, ``(layers, n)``, 0 in rows that a network does not have; the
        smallest widths where none fit.
    """
    model, tied, end_bits = (
        problem.model,
        problem.space.tie_block_bits,
        problem.space.end_bits,
    )
    room = problem.flash_bytes - fixed_flash(model, table)
    for end in (0, -1):
        room = room - weight_bytes(model, table.weights[end], float(end_bits))
    parts = split_units(table.weights[_INNER], tied)
    cost = parts.sum(axis=0)
    key = price_keys(split_units(coefficients[_INNER], tied).sum(axis=0), cost)
    options = np.array(problem.weight_options, np.int16)
    widths, gain = options.astype(np.float64), step_gains(options, problem.score.sigma_w)

    low = np.full(table.n, gain.min(initial=0.0) + key.min(initial=0.0, where=cost > 0) - 1.0)
    high = np.full(table.n, gain.max(initial=0.0) + key.max(initial=0.0) + 1.0)
    for _ in range(BISECTIONS):
        price = 0.5 * (low + high)
        fits = (
            weight_bytes(model, parts, widths.take(_level(key, price, gain))).sum(axis=(0, 1))
            <= room
        )
        np.copyto(high, price, where=fits)
        np.copyto(low, price, where=~fits)
    level = _level(key, high, gain)
    left = room - weight_bytes(model, parts, widths.take(level)).sum(axis=(0, 1))
    level *= left >= 0
    _fill(
        np.stack([weight_bytes(model, parts, width).sum(axis=0) for width in widths]),
        gain,
        key,
        level,
        left,
    )

    w_bits = np.zeros((table.frame.n_layers, table.n), np.int16)
    w_bits[_INNER] = join_units(options.take(level), tied) * (table.weights[_INNER] > 0)
    w_bits[0] = end_bits
    w_bits[-1] = end_bits if table.frame.class_count else 0
    return w_bits


def step_gains(options: npt.NDArray[np.int16], sigma: float) -> Floats:
    """Return the log gain per bit of the step above each option but the last.

    It is that of a layer of coefficient 1, and falls from step to step.
    """
    return np.asarray(
        np.log(np.diff(width_gain(log_std_table(sigma)[options], options)) / np.diff(options))
    )


def _level(key: Floats, price: Floats, gain: Floats) -> _Levels:
    """Return how many steps each unit climbs at a price per byte, ``(units, n)``."""
    level = np.zeros(key.shape, np.int8)
    for step in gain:
        level += (key >= price - step).view(np.int8)
    return level


def _fill(stored: Floats, gain: Floats, key: Floats, level: _Levels, left: Floats) -> None:
    """Raise levels in place, best gain per byte first, until no step fits into what is left.

    Args:
        stored: Bytes of each unit at each level, ``(levels, units, n)``.
        gain: Log gain per bit of the step above each level but the last.
        key: ln(worth / weights) of each unit, ``(units, n)``; minus infinity where there is none.
        level: Levels, ``(units, n)``.
        left: Bytes left, negative where nothing fits, ``(n,)``; used up.
    """
    units, n = level.shape
    none = np.full(
        (1, units, n), np.nan
    )  # above the top there is no step; a comparison with nan is false
    cost_of = np.concatenate([np.diff(stored, axis=0), none]).reshape(len(stored), -1)
    cost_of[:, np.isneginf(key.reshape(-1))] = np.nan
    gain_of = np.append(gain, -np.inf)
    flat_level, flat_key = level.reshape(-1), key.reshape(-1)
    place = np.arange(units * n)
    cost = cost_of[flat_level, place].reshape(units, n)
    rate = (gain_of.take(flat_level) + flat_key).reshape(units, n)
    columns = np.arange(n)
    while True:
        best, position = (
            np.where(cost <= left, rate, -np.inf).argmax(axis=0),
            np.arange(columns.size),
        )
        step = cost[best, position]
        some = np.flatnonzero(step <= left)
        if some.size == 0:
            return
        best, column = best[some], columns[some]
        left[some] -= step[some]
        at = best * n + column
        flat_level[at] += 1
        now = flat_level[at]
        cost[best, some], rate[best, some] = cost_of[now, at], gain_of.take(now) + flat_key[at]
        if some.size < columns.size / 2:  # most are done: go on with the rest only
            columns, cost, rate, left = column, cost[:, some], rate[:, some], left[some]
