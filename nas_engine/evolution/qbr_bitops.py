"""QBR, third part, with a BitOps limit: lower widths than SRAM and Flash allow.

The same Lagrangian as for Flash, on pairs of widths: of all pairs (w, a) only the concave hull of
gain over the product w * a is ever worth its price, so a network's pairs follow from one price per
BitOp, capped by the widths that the memory budgets gave. What is left of the limit takes single
steps, best gain per BitOp first; and since lowering has made room in SRAM and Flash, single widths
are raised at the end as long as all three hold. Ours: the papers refine for memory only.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from nas_engine.block_kinds import PLACES
from nas_engine.costs.compute import bitops
from nas_engine.costs.flash import flash
from nas_engine.costs.schedule import bit_costs
from nas_engine.costs.sram import peak_sram
from nas_engine.evolution.problem import SearchProblem
from nas_engine.evolution.qbr_activations import width_gain
from nas_engine.evolution.qbr_weights import BISECTIONS, join_units, price_keys, split_units
from nas_engine.layers import Floats, LayerTable, macs_per_layer
from nas_engine.scoring.quantised_gaussian import log_std_table

_INNER = slice(1, -1)
_Widths = npt.NDArray[np.int16]


def refine_bitops(
    problem: SearchProblem,
    table: LayerTable,
    coefficients: Floats,
    w_bits: _Widths,
    a_bits: _Widths,
) -> tuple[_Widths, _Widths]:
    """Return weight and activation widths that also meet the BitOps limit, where any do.

    Args:
        problem: The limit, sigmas and options.
        table: ``n`` networks.
        coefficients: Worth of each layer, ``(layers, n)``, above 0.
        w_bits: Weight width of each layer that SRAM and Flash allow, ``(layers, n)``.
        a_bits: Input width of each layer that SRAM and Flash allow, ``(layers, n)``.
    """
    tied = problem.space.tie_block_bits
    macs = macs_per_layer(table)
    room = problem.limit("bitops") - problem.model.extra_bitops(table)
    for end in (0, -1):
        room = room - macs[end] * w_bits[end] * a_bits[end]
    cost = split_units(macs[_INNER], tied).sum(axis=0)
    key = price_keys(split_units(coefficients[_INNER], tied).sum(axis=0), cost)
    # tied, a unit's last layer, which every kind has, speaks for all
    w_cap, a_cap = (
        np.concatenate([bits[PLACES:-2:PLACES], bits[-2:-1]]) if tied else bits[_INNER]
        for bits in (w_bits, a_bits)
    )
    shared = None if tied else table.projected
    w_gain = width_gain(log_std_table(problem.score.sigma_w), np.arange(9))
    a_gain = width_gain(log_std_table(problem.score.sigma_a), np.arange(9))
    hull_w, hull_a, slopes = _hull(problem, w_gain, a_gain)

    def widths(price: Floats) -> tuple[_Widths, _Widths]:
        vertex = np.zeros(key.shape, np.int8)
        for slope in slopes:
            vertex += (key >= price - slope).view(np.int8)
        a = np.minimum(hull_a.take(vertex), a_cap)
        if shared is not None:  # two layers that take one tensor: the narrower width for both
            lower = np.minimum(a[:-1:PLACES], a[1:-1:PLACES])
            for place in range(2):
                np.copyto(a[place:-1:PLACES], lower, where=shared)
        return np.minimum(hull_w.take(vertex), w_cap), a

    low = np.full(table.n, slopes.min(initial=0.0) + key.min(initial=0.0, where=cost > 0) - 1.0)
    high = np.full(table.n, slopes.max(initial=0.0) + key.max(initial=0.0) + 1.0)
    for _ in range(BISECTIONS):
        price = 0.5 * (low + high)
        w, a = widths(price)
        fits = (cost * (w * a)).sum(axis=0) <= room
        np.copyto(high, price, where=fits)
        np.copyto(low, price, where=~fits)
    w, a = widths(high)

    most = a_cap.copy()
    for place in range(0 if shared is None else 2):  # no step for one of two layers alone
        np.copyto(most[place:-1:PLACES], a[place:-1:PLACES], where=shared)
    _spend(problem, key, cost, room, (w, a), (w_cap, most), (w_gain, a_gain))

    bites = ((w < w_cap) | (a < a_cap)).any(axis=0)
    capped = ((w_cap < problem.weight_options[-1]) | (a_cap < problem.activation_options[-1])).any(
        axis=0
    )
    w_bits, a_bits = w_bits.copy(), a_bits.copy()
    exists = table.weights[_INNER] > 0
    w_bits[_INNER], a_bits[_INNER] = join_units(w, tied) * exists, join_units(a, tied) * exists
    if shared is not None:
        capped |= shared.any(axis=0)
    some = np.flatnonzero(bites & capped & ((cost * (w * a)).sum(axis=0) <= room))
    if some.size:  # what was lowered has made room in SRAM and Flash that other layers may use
        w_bits[:, some], a_bits[:, some] = _raise_within_all(
            problem, table.take(some), w_bits[:, some], a_bits[:, some]
        )
    return w_bits, a_bits


def _spend(
    problem: SearchProblem,
    key: Floats,
    cost: Floats,
    room: Floats,
    bits: tuple[_Widths, _Widths],
    caps: tuple[_Widths, _Widths],
    gains: tuple[Floats, Floats],
) -> None:
    """Raise widths in place by steps up to their caps, best gain per BitOp first, while they fit.

    Args:
        problem: Options.
        key: ln(worth / MACs) of each unit, ``(units, n)``.
        cost: MACs of each unit, ``(units, n)``.
        room: BitOps of all units together, ``(n,)``.
        bits: Weight and activation widths, each ``(units, n)``.
        caps: Their upper limits.
        gains: Gain of each width 0..8, of weights and of activations.
    """
    w, a = bits
    followings = (_next_width(problem.weight_options), _next_width(problem.activation_options))
    columns = np.flatnonzero((cost * (w * a)).sum(axis=0) <= room)
    while columns.size:
        left = room[columns] - (cost[:, columns] * (w[:, columns] * a[:, columns])).sum(axis=0)
        rates = []
        for width, other, cap, gain, following in zip(
            bits, (a, w), caps, gains, followings, strict=True
        ):
            now = width[:, columns]
            raised = following[now]
            product = (raised - now) * other[:, columns]
            added = cost[:, columns] * product
            ok = (raised > now) & (raised <= cap[:, columns]) & (added <= left) & (added > 0)
            per_bitop = np.log((gain[raised] - gain[now])[ok] / product[ok])
            rate = np.full(now.shape, -np.inf)
            rate[ok] = key[:, columns][ok] + per_bitop
            rates.append(rate)
        rate = np.concatenate(rates)
        best, position = rate.argmax(axis=0), np.arange(columns.size)
        some = rate[best, position] > -np.inf
        columns, best = columns[some], best[some]
        for part, (width, following) in enumerate(zip(bits, followings, strict=True)):
            mine = best // key.shape[0] == part
            row, column = best[mine] - part * key.shape[0], columns[mine]
            width[row, column] = following[width[row, column]]


def _raise_within_all(
    problem: SearchProblem, table: LayerTable, w_bits: _Widths, a_bits: _Widths
) -> tuple[_Widths, _Widths]:
    """Raise single widths, layer by layer, while SRAM, Flash and BitOps hold."""
    model, tied = problem.model, problem.space.tie_block_bits
    costs, last = bit_costs(model, table), table.frame.n_layers - 2
    weights = w_bits, _next_width(problem.weight_options)
    activations = a_bits, _next_width(problem.activation_options)
    shared = None if tied else table.projected
    steps: list[tuple[list[int], tuple[_Widths, _Widths], Any]] = []
    for unit, row in enumerate(range(1, last, PLACES)):
        for place in range(1 if tied else PLACES):
            group = [row, row + 1, row + 2] if tied else [row + place]
            alone = True if shared is None or place > 1 else ~shared[unit]
            steps += [(group, weights, True), (group, activations, alone)]
        if shared is not None:  # two layers that take one tensor
            steps.append(([row, row + 1], activations, shared[unit]))
    steps += [([last], weights, True), ([last], activations, True)]
    raised = True
    while raised:
        raised = False
        for group, (bits, following), mine in steps:
            before = bits[group]
            bits[group] = following[before]
            fits = (bitops(model, table, w_bits, a_bits) <= problem.limit("bitops")) & mine
            if bits is w_bits:
                fits &= flash(model, table, w_bits) <= problem.flash_bytes
            else:
                fits &= peak_sram(model, table, a_bits, costs) <= problem.arena_bytes
            raised |= bool((fits & (bits[group] > before).any(axis=0)).any())
            bits[group] = np.where(fits, bits[group], before)
    return w_bits, a_bits


def _next_width(options: tuple[int, ...]) -> _Widths:
    """Return the next option above each width 0..8; the top and 0 (no layer) stay."""
    return np.array(
        [next((o for o in options if 0 < width < o), width) for width in range(9)], np.int16
    )


def _hull(
    problem: SearchProblem, w_gain: Floats, a_gain: Floats
) -> tuple[_Widths, _Widths, Floats]:
    """Return the pairs on the concave hull of gain over product, and the log slopes."""
    options = [
        (w * a, w_gain[w] + a_gain[a], w, a)
        for w in problem.weight_options
        for a in problem.activation_options
    ]
    hull: list[tuple[int, float, int, int]] = []
    for point in sorted(options, key=lambda o: (o[0], -o[1])):
        if hull and (point[0] == hull[-1][0] or point[1] <= hull[-1][1]):
            continue
        while len(hull) > 1 and (point[1] - hull[-1][1]) * (hull[-1][0] - hull[-2][0]) >= (
            hull[-1][1] - hull[-2][1]
        ) * (point[0] - hull[-1][0]):
            hull.pop()
        hull.append(point)
    slopes = np.log([(b[1] - a[1]) / (b[0] - a[0]) for a, b in pairwise(hull)])
    return (
        np.array([p[2] for p in hull], np.int16),
        np.array([p[3] for p in hull], np.int16),
        slopes,
    )
