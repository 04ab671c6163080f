"""Optima of the bits of one structure, by dynamic programming or brute force over the scalar
reference; stem and classifier keep theirs.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from nas_engine.architecture import Architecture, Bits
from tests.reference import (
    ALPHAS,
    FLASH,
    Layer,
    alphas_for,
    at_classifier,
    at_head,
    at_stem,
    at_unit,
    behind,
    bitops,
    layers,
    qe_score,
    quantised_std,
    residuals,
    sram,
    tensor_bytes,
    worth,
)


def with_bits(net: Architecture, bits: Sequence[Bits]) -> Architecture:
    """The same structure with other bits, given for all convolutions but the stem."""
    rest = iter(bits)
    blocks = tuple(
        replace(block, bits=tuple(tuple(next(rest) for _ in row) for row in block.bits))
        for block in net.blocks
    )
    return replace(net, blocks=blocks, head=net.head and replace(net.head, bits=next(rest)))


def best_activations(
    net: Architecture,
    model: str,
    budget: float,
    options: Sequence[int],
    alphas: Sequence[float] = ALPHAS,
    *,
    tied: bool = False,
    sigma_a: float = 5.0,
) -> float | None:
    """Exact largest sum of worth * ln S over the free activation widths within an SRAM budget;
    ``None`` if there is none.

    A chain: the state is the width of the stream, every pair (b, c) inside is tried for every pair
    of stream widths. Tied, b and c are the width of the stream; only an inverted residual has b.
    """
    rows, value_of = (
        list(residuals(net)),
        {bits: math.log(quantised_std(sigma_a, bits)) for bits in options},
    )
    gains = worth(net, alphas)[1:]
    if net.classifier and at_classifier(model, net) > budget:
        return None
    reached = {a: 0.0 for a in options if at_stem(model, net, a) <= budget}
    least = min(options)
    for r in rows:
        mine, gains = gains[: len(r.bits)], gains[len(r.bits) :]
        has_b = r.kind == "inverted-residual"
        of_input = mine[0] if has_b else sum(mine[:-1])
        inside: dict[tuple[int, int], float] = {}  # best value for (stream width in, width c)
        for a, before in reached.items():
            for b in options if has_b and not tied else [a]:
                for c in [a] if tied else options:
                    if max(at_unit(model, r, a, b, c, least)) <= budget:
                        total = before + of_input * value_of[a] + mine[-1] * value_of[c]
                        total += mine[1] * value_of[b] if has_b else 0.0
                        inside[a, c] = max(total, inside.get((a, c), -math.inf))
        reached = {}
        for (a, c), total in inside.items():  # what b bounds does not depend on the next width
            for following in options:
                if max(at_unit(model, r, a, least, c, following)) <= budget:
                    reached[following] = max(total, reached.get(following, -math.inf))
    if net.head is None:
        return reached.get(behind(net).a)
    out_bits = net.classifier.bits.a if net.classifier else 8
    ends = [
        total + gains[-1] * value_of[a]
        for a, total in reached.items()
        if at_head(model, net, a, out_bits) <= budget
    ]
    return max(ends, default=None)


def _flash_choices(
    net: Architecture,
    model: str,
    options: Sequence[int],
    alphas: Sequence[float],
    tied: bool,
    sigma_w: float,
) -> tuple[float, list[list[tuple[float, float]]]]:
    """Bytes that are always there, and for each free layer (or group of tied ones) its choices
    (bytes, worth * ln S), by rising width.
    """
    free = [layer for layer in layers(net)[1:] if layer.kind != "dense"]
    total = sum(FLASH[model](net))

    def stored(layer: Layer, bits: int) -> float:
        return tensor_bytes(model, layer.weights, bits)

    fixed = total - sum(stored(layer, layer.w) for layer in free)
    gains = worth(net, alphas)[1:]
    sizes = [len(r.bits) for r in residuals(net)] if tied else [1] * len(free)
    ends = [*itertools.accumulate(sizes, initial=0), len(free)]
    ends = list(dict.fromkeys(ends))
    groups = [range(first, end) for first, end in itertools.pairwise(ends)]
    return fixed, [
        [
            (
                sum(stored(free[i], bits) for i in group),
                sum(gains[i] for i in group) * math.log(quantised_std(sigma_w, bits)),
            )
            for bits in options
        ]
        for group in groups
    ]


def best_weights_bound(
    net: Architecture,
    model: str,
    budget: float,
    options: Sequence[int],
    alphas: Sequence[float] = ALPHAS,
    *,
    tied: bool = False,
    sigma_w: float = 4.0,
) -> float | None:
    """Upper bound of the largest sum of worth * ln S over the free weight widths within a Flash
    budget: the knapsack's linear relaxation.

    Exact: the concave hull of each layer's choices, all steps by falling gain per byte, the last
    one taken in part.
    """
    fixed, choices = _flash_choices(net, model, options, alphas, tied, sigma_w)
    left, value, steps = budget - fixed, 0.0, []
    for layer in choices:
        hull: list[tuple[float, float]] = []
        for x, y in layer:
            while len(hull) > 1 and (y - hull[-1][1]) * (hull[-1][0] - hull[-2][0]) >= (
                hull[-1][1] - hull[-2][1]
            ) * (x - hull[-1][0]):
                hull.pop()
            hull.append((x, y))
        left, value = left - hull[0][0], value + hull[0][1]
        steps += [
            ((y1 - y0) / (x1 - x0), x1 - x0) for (x0, y0), (x1, y1) in itertools.pairwise(hull)
        ]
    if left < 0:
        return None
    for rate, size in sorted(steps, reverse=True):
        value += rate * min(size, left)
        left -= min(size, left)
    return value


def best_weights(
    net: Architecture,
    model: str,
    budget: float,
    options: Sequence[int],
    alphas: Sequence[float] = ALPHAS,
    *,
    tied: bool = False,
    sigma_w: float = 4.0,
) -> float | None:
    """Exact optimum of the same knapsack: layer by layer, keeping every (bytes, value) that no
    other one beats. For small networks.
    """
    fixed, choices = _flash_choices(net, model, options, alphas, tied, sigma_w)
    states = [(fixed, 0.0)]
    for layer in choices:
        grown = sorted(
            (x + dx, -(y + dy)) for x, y in states for dx, dy in layer if x + dx <= budget
        )
        states, best = [], -math.inf
        for x, minus_y in grown:
            if -minus_y > best:
                best = -minus_y
                states.append((x, best))
    return max((y for _, y in states), default=None)


def best_tied(
    net: Architecture, model: str, budgets: tuple[float, float], pairs: Iterable[tuple[int, int]]
) -> float | None:
    """Highest QE-Score over one (w, a) pair per inverted residual and one for the head; every
    combination is tried.
    """
    sizes = [*(len(r.bits) for r in residuals(net)), *([1] if net.head else [])]
    best = None
    for chosen in itertools.product([Bits(w, a) for w, a in pairs], repeat=len(sizes)):
        other = with_bits(
            net, [bits for bits, n in zip(chosen, sizes, strict=True) for _ in range(n)]
        )
        if max(sram(model, other)) <= budgets[0] and sum(FLASH[model](other)) <= budgets[1]:
            score = qe_score(other, alphas_for(net))
            best = score if best is None else max(best, score)
    return best


def best_of_all(
    net: Architecture,
    model: str,
    budgets: tuple[float, float],
    pairs: Iterable[tuple[int, int]],
    limit: float = math.inf,
) -> float | None:
    """Highest QE-Score over every combination of (w, a) pairs of the free convolutions, by brute
    force. For one inverted residual.
    """
    best = None
    free = bool(net.head) + 3 * sum(block.depth for block in net.blocks)
    for chosen in itertools.product([Bits(w, a) for w, a in pairs], repeat=free):
        other = with_bits(net, chosen)
        if (
            max(sram(model, other)) <= budgets[0]
            and sum(FLASH[model](other)) <= budgets[1]
            and bitops(other) <= limit
        ):
            score = qe_score(other, alphas_for(net))
            best = score if best is None else max(best, score)
    return best
