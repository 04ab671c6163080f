"""QBR, second part: weight bits under the Flash budget, a knapsack solved by its Lagrangian and filled up greedily.

Flash is a *sum*. Each step to the next width of a layer has a gain and a cost in bytes; ln S is concave in the width,
so the steps of a layer come in falling order of gain per byte. Bisection on the price of a byte finds, for each
network, the price at which the chosen steps just fit; what is left of the budget takes the best steps that still fit,
until none does. The gap to the exact optimum is below the gain of a single step.

Source: the idea is Sun et al., NeurIPS 2022 ("raise or lower weight bits so that the model size approaches the Flash
budget"); the algorithm is ours.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from nas_engine.costs.flash import fixed_flash, weight_bytes
from nas_engine.evolution.problem import SearchProblem
from nas_engine.evolution.qbr_activations import width_gain
from nas_engine.layers import Bools, Floats, LayerTable
from nas_engine.scoring.quantised_gaussian import log_std_table

BISECTIONS = 12
"""Halvings of the price interval (about 40 nats wide); what they leave open, the greedy fill closes."""

_INNER = slice(1, -1)
"""Layers whose widths are free: all but stem and classifier."""

_Levels = npt.NDArray[np.int8]


def split_units(values: Floats, tied: bool) -> Floats:
    """Return the layers grouped into units that share their widths.

    Args:
        values: ``(3 * residuals + 1, n)``, the free layers.
        tied: Whether the three layers of an inverted residual share their widths.

    Returns:
        ``(parts, units, n)``: one part and a unit per layer, or three parts and a unit per inverted residual, the head's unit last.
    """
    if not tied:
        return values[None]
    head = np.stack([values[-1], np.zeros_like(values[-1]), np.zeros_like(values[-1])])
    return np.concatenate([values[:-1].reshape(-1, 3, values.shape[1]).swapaxes(0, 1), head[:, None]], axis=1)


def join_units(values: npt.NDArray[Any], tied: bool) -> npt.NDArray[Any]:
    """Return values of units, ``(units, n)``, repeated for each layer, ``(3 * residuals + 1, n)``."""
    return np.concatenate([np.repeat(values[:-1], 3, axis=0), values[-1:]]) if tied else values


def price_keys(worth: Floats, cost: Floats) -> Floats:
    """Return ln(worth / cost) of each unit, minus infinity where there is no cost; equals are put in a fixed order by a ten-thousandth."""
    key = np.log(worth / np.maximum(cost, 1.0))
    key += np.linspace(0.0, 1e-4, key.shape[0])[:, None]
    key[cost == 0] = -np.inf
    return key


def refine_weights(
    problem: SearchProblem, table: LayerTable, coefficients: Floats, a_bits: npt.NDArray[np.int16]
) -> tuple[npt.NDArray[np.int16], Bools]:
    """Return the best weight widths that fit the Flash budget.

    Args:
        problem: Budget, sigma, and which widths the device allows beside which activations.
        table: ``n`` networks.
        coefficients: Worth of each layer, ``(layers, n)``, above 0.
        a_bits: Input width of each layer, ``(layers, n)``.

    Returns:
        Weight width of each layer, ``(layers, n)``, and which networks fit, ``(n,)``; a network that does not has the smallest widths.
    """
    name, tied, end_bits = problem.memory_model, problem.space.tie_block_bits, float(problem.space.end_bits)
    room = problem.flash_bytes - fixed_flash(name, table)
    for end in (0, -1):
        room = room - weight_bytes(name, table.weights[end], end_bits)
    parts = split_units(table.weights[_INNER], tied)
    cost = parts.sum(axis=0)
    key = price_keys(split_units(coefficients[_INNER], tied).sum(axis=0), cost)
    ladder = _Ladder(problem, a_bits[_INNER][:: len(parts)])

    low = np.full(table.n, ladder.low + key.min(initial=0.0, where=cost > 0) - 1.0)
    high = np.full(table.n, ladder.high + key.max(initial=0.0) + 1.0)
    for _ in range(BISECTIONS):
        price = 0.5 * (low + high)
        fits = weight_bytes(name, parts, ladder.widths(ladder.level(key, price))).sum(axis=(0, 1)) <= room
        np.copyto(high, price, where=fits)
        np.copyto(low, price, where=~fits)
    level = ladder.level(key, high)
    left = room - weight_bytes(name, parts, ladder.widths(level)).sum(axis=(0, 1))
    fits = left >= 0
    level *= fits
    _fill(name, ladder, key, parts, level, left)

    w_bits = np.zeros_like(a_bits)
    w_bits[_INNER] = join_units(ladder.widths(level), tied) * (table.weights[_INNER] > 0)
    w_bits[0] = problem.space.end_bits
    w_bits[-1] = problem.space.end_bits if table.frame.classes else 0
    return w_bits, fits


def _fill(name: str, ladder: _Ladder, key: Floats, parts: Floats, level: _Levels, left: Floats) -> None:
    """Raise levels in place, best gain per byte first, until no step fits into what is left; ``left`` is negative where nothing fits, and used up."""

    units, n = level.shape
    stored = [weight_bytes(name, parts, ladder.widths(np.full_like(level, at))).sum(axis=0) for at in range(ladder.levels)]
    cost_of = np.stack([*(after - before for before, after in pairwise(stored)), np.full((units, n), np.inf)])
    cost_of[cost_of <= 0] = np.inf
    cost_of, gain_of = cost_of.reshape(ladder.levels, -1), ladder.gains().reshape(ladder.levels, -1)
    flat_level, flat_key = level.reshape(-1), key.reshape(-1)
    place = np.arange(units * n)
    cost = cost_of[flat_level, place].reshape(units, n)
    gain = (gain_of[flat_level, place % gain_of.shape[1]] + flat_key).reshape(units, n)
    columns = np.arange(n)
    while True:
        best, position = np.where(cost <= left, gain, -np.inf).argmax(axis=0), np.arange(columns.size)
        step = cost[best, position]
        some = np.flatnonzero(step <= left)
        if some.size == 0:
            return
        best, column = best[some], columns[some]
        left[some] -= step[some]
        at = best * n + column
        flat_level[at] += 1
        now = flat_level[at]
        cost[best, some], gain[best, some] = cost_of[now, at], gain_of[now, at % gain_of.shape[1]] + flat_key[at]
        if some.size < columns.size / 2:  # most are done: go on with the rest only
            columns, cost, gain, left = column, cost[:, some], gain[:, some], left[some]


class _Ladder:
    """The widths a unit may climb: one ladder for all where the device's rules allow, else one per activation width.

    Widths stand in ``_width[a, level]``, the last one repeated; the log gain per bit of the step above a level in
    ``_gain[a, level]``, minus infinity at the top.
    """

    def __init__(self, problem: SearchProblem, a_bits: npt.NDArray[np.int16]) -> None:
        space = problem.space
        log_std = log_std_table(problem.score.sigma_w)
        self.levels = len(space.weight_bits)
        self._width = np.zeros((9, self.levels))
        self._gain = np.full((9, self.levels), -np.inf)
        for a in space.activation_bits:
            widths = np.array([w for w in space.weight_bits if problem.allowed[w, a]], np.int16)
            if widths.size:
                self._width[a] = widths[-1]
                self._width[a, : widths.size] = widths
                self._gain[a, : widths.size - 1] = np.log(np.diff(width_gain(log_std[widths], widths)) / np.diff(widths))
        used = [a for a in space.activation_bits if self._width[a].any()]
        self._a_bits = a_bits
        if all((self._width[a] == self._width[used[0]]).all() for a in used):
            self._a_bits = np.broadcast_to(np.int16(used[0]), a_bits.shape)
        self._only = used[0] if self._a_bits is not a_bits else None
        known = self._gain[np.isfinite(self._gain)]
        self.low, self.high = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)

    def level(self, key: Floats, price: Floats) -> _Levels:
        """Return how many steps each unit climbs at a price per byte, ``(units, n)``."""
        level = np.zeros(key.shape, np.int8)
        for step in range(self.levels - 1):
            threshold = price - (self._gain[:, step][self._a_bits] if self._only is None else self._gain[self._only, step])
            level += (key >= threshold).view(np.int8)
        return level

    def widths(self, level: _Levels) -> Floats:
        """Return the widths at these levels, ``(units, n)``."""
        if self._only is not None:
            return np.asarray(self._width[self._only].take(level, mode="clip"))
        return np.asarray(self._width[self._a_bits, level])

    def gains(self) -> Floats:
        """Return the log gain per bit of the step above each level, ``(levels, units, n)``, or ``(levels, 1)`` where it is the same for all."""
        return self._gain[self._only][:, None] if self._only is not None else self._gain.T[:, self._a_bits]
