"""Plain scalar references: what the vectorised engine must compute, written from the formulas, one network and one layer at a time.

Nothing here calls the engine but for the values that cross its border (``Architecture``, ``Bits``). Slow and obvious on purpose.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from nas_engine.architecture import Architecture, Bits

ALPHAS = (0.0, 0.0, 1.0, 1.0, 6.0)
"""Stage weights of the paper."""


@functools.lru_cache(maxsize=256)
def quantised_std(sigma: float, bits: int) -> float:
    """Deviation of N(0, sigma^2) rounded to whole steps and clipped at +-2^(bits-1): the sum of level^2 * probability."""
    top = 2 ** (bits - 1)

    def beyond(x: float) -> float:  # P(X > x), accurate in the tail
        return math.erfc(x / sigma / math.sqrt(2)) / 2

    inside = (level**2 * (beyond(level - 0.5) - beyond(level + 0.5)) for level in range(1, top))
    return math.sqrt(2 * math.fsum([*inside, top**2 * beyond(top - 0.5)]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One convolution, or the classifier."""

    kind: str
    """conv, pointwise, depthwise or dense."""
    kernel: int
    c_in: int
    c_out: int
    size_in: int
    size_out: int
    w: int
    a: int
    stage: int
    """QE-Score stage."""

    @property
    def weights(self) -> int:
        return self.kernel**2 * (1 if self.kind == "depthwise" else self.c_in) * self.c_out

    @property
    def macs(self) -> int:
        return self.weights * self.size_out**2


@dataclass(frozen=True, slots=True, kw_only=True)
class Residual:
    """Shape of one inverted residual."""

    kernel: int
    c_in: int
    c_mid: int
    c_out: int
    size_in: int
    size_out: int
    waiting: int
    """Elements that wait for the shortcut during the depth-wise step, after pooling; 0 without a shortcut."""
    pooled: bool
    bits: tuple[Bits, Bits, Bits]
    stage: int


def residuals(net: Architecture) -> Iterator[Residual]:
    size, c_in, stage = -(-net.resolution // net.stem.stride), net.stem.channels, 0
    for block in net.blocks:
        stage += block.stride == 2
        for i, bits in enumerate(block.bits):
            stride = block.stride if i == 0 else 1
            out = -(-size // stride)
            same = c_in == block.channels
            # a stride that leaves a 1x1 map as it is is no stride
            pooled = same and out != size and net.pooled_shortcut
            shortcut = same and (out == size or pooled)
            yield Residual(
                kernel=block.kernel,
                c_in=c_in,
                c_mid=block.bottleneck,
                c_out=block.channels,
                size_in=size,
                size_out=out,
                waiting=c_in * out**2 if shortcut else 0,
                pooled=pooled,
                bits=bits,
                stage=stage,
            )
            size, c_in = out, block.channels


def layers(net: Architecture) -> list[Layer]:
    size = -(-net.resolution // net.stem.stride)
    stem = net.stem
    found = [
        Layer(
            kind="conv",
            kernel=stem.kernel,
            c_in=net.input_channels,
            c_out=stem.channels,
            size_in=net.resolution,
            size_out=size,
            w=stem.bits.w,
            a=stem.bits.a,
            stage=0,
        )
    ]
    stage = 0
    channels = stem.channels
    for r in residuals(net):
        steps = (
            ("pointwise", 1, r.c_in, r.c_mid, r.size_in, r.size_in),
            ("depthwise", r.kernel, r.c_mid, r.c_mid, r.size_in, r.size_out),
            ("pointwise", 1, r.c_mid, r.c_out, r.size_out, r.size_out),
        )
        for (kind, kernel, c_in, c_out, size_in, size_out), bits in zip(steps, r.bits, strict=True):
            found.append(
                Layer(
                    kind=kind, kernel=kernel, c_in=c_in, c_out=c_out, size_in=size_in, size_out=size_out, w=bits.w, a=bits.a, stage=r.stage
                )
            )
        size, channels, stage = r.size_out, r.c_out, r.stage
    head = net.head
    found.append(
        Layer(
            kind="pointwise",
            kernel=1,
            c_in=channels,
            c_out=head.channels,
            size_in=size,
            size_out=size,
            w=head.bits.w,
            a=head.bits.a,
            stage=stage,
        )
    )
    if net.classifier:
        bits = net.classifier.bits
        found.append(
            Layer(
                kind="dense",
                kernel=1,
                c_in=head.channels,
                c_out=net.classifier.classes,
                size_in=1,
                size_out=1,
                w=bits.w,
                a=bits.a,
                stage=stage,
            )
        )
    return found


# --- score


def stage_terms(net: Architecture, alphas: Sequence[float] = ALPHAS, sigma_a: float = 5.0, sigma_w: float = 4.0) -> list[float]:
    """alpha_i * S_i of each stage; the score is their sum."""
    convolutions = [layer for layer in layers(net) if layer.kind != "dense"]
    running, terms = 0.0, []
    for stage, alpha in enumerate(alphas):
        mine = [layer for layer in convolutions if layer.stage == stage]
        for layer in mine:
            fan_in = layer.kernel**2 * (1 if layer.kind == "depthwise" else layer.c_in)
            running += 0.5 * math.log(fan_in) - math.log(sigma_a)
            running += math.log(quantised_std(sigma_a, layer.a)) + math.log(quantised_std(sigma_w, layer.w))
        terms.append(alpha * (running + math.log(mine[-1].c_out)))
    return terms


def qe_score(net: Architecture, alphas: Sequence[float] = ALPHAS, sigma_a: float = 5.0, sigma_w: float = 4.0) -> float:
    return sum(stage_terms(net, alphas, sigma_a, sigma_w))


def worth(net: Architecture, alphas: Sequence[float] = ALPHAS) -> list[float]:
    """What ln S counts at each convolution: the weights of its own stage and of all later ones."""
    return [sum(alphas[layer.stage :]) for layer in layers(net) if layer.kind != "dense"]


# --- computation


def macs(net: Architecture) -> int:
    return sum(layer.macs for layer in layers(net))


def bitops(net: Architecture) -> int:
    return sum(layer.macs * layer.w * layer.a for layer in layers(net))


def effectiveness(net: Architecture) -> float:
    """Depth over the geometric mean of the fan-ins, the classifier left out."""
    fan_ins = [layer.weights // layer.c_out for layer in layers(net) if layer.kind != "dense"]
    return len(fan_ins) / math.prod(fan_ins) ** (1 / len(fan_ins))


def paper_bitops_over_64(net: Architecture) -> float:
    convolutions = [layer for layer in layers(net) if layer.kind != "dense"]
    total = bitops(net) / 64 + sum(3 * layer.c_out * layer.size_out**2 for layer in convolutions)
    return total + sum(r.c_in * r.size_in**2 for r in residuals(net) if r.pooled)


# --- Flash


def packed_flash(net: Architecture) -> list[int]:
    """Bytes per layer: weights in whole words; 9 bytes per output channel in whole words; a 52-byte record; what its pool and sum need."""
    sizes = [4 * (-(-layer.weights * layer.w // 32)) + 4 * (-(-layer.c_out * 9 // 4)) + 52 for layer in layers(net)]
    for i, r in enumerate(residuals(net)):
        sizes[3 * i + 3] += 24 * (r.waiting > 0) + 52 * r.pooled
    if net.classifier:
        sizes[-1] += 52
    return sizes


def paper_flash(net: Architecture) -> list[float]:
    return [layer.weights * layer.w / 8 + 2 * layer.c_out for layer in layers(net)]


FLASH: dict[str, Callable[[Architecture], Sequence[float]]] = {"arena": packed_flash, "paper": paper_flash}


# --- SRAM: bytes live at each step


def _tensor(model: str, elements: int, bits: int) -> float:
    return 4 * (-(-elements * bits // 32)) if model == "arena" else elements * bits / 8


def _dense_scratch(model: str, taps: int, outputs: int, window: int = 1) -> int:
    """Per tap (in fours): two pixels at two bytes, up to 16 channels' weights (in pairs) at one byte, two gathered pixels at one byte."""
    gathered = 2 if window > 1 else 0
    return 4 * (-(-taps // 4)) * (2 * 2 + min(outputs + outputs % 2, 16) + gathered) if model == "arena" else 0


def at_stem(model: str, net: Architecture, out_bits: int) -> float:
    size = -(-net.resolution // net.stem.stride)
    image, output = net.input_channels * net.resolution**2, net.stem.channels * size**2
    scratch = _dense_scratch(model, net.stem.kernel**2 * net.input_channels, net.stem.channels, net.stem.kernel)
    return _tensor(model, image, 8) + _tensor(model, output, out_bits) + scratch


def at_expand(model: str, r: Residual, a: int, b: int) -> float:
    tensors = _tensor(model, r.c_in * r.size_in**2, a) + _tensor(model, r.c_mid * r.size_in**2, b)
    return tensors + _dense_scratch(model, r.c_in, r.c_mid)


def at_depthwise(model: str, r: Residual, a: int, b: int, c: int) -> float:
    held, entry = _tensor(model, r.waiting, a), _tensor(model, r.c_mid * r.size_in**2, b)
    if model == "paper":
        return held + entry + r.size_out**2 * c / 8
    ring = _tensor(model, r.kernel * r.size_in * r.c_mid, b)
    unpacked = 4 * (-(-(r.kernel**2) * r.c_mid // 4))
    expanded = 2 * 4 * r.kernel * (r.size_in + r.size_in % 2 + 2 * (r.kernel // 2))
    return held + max(entry, _tensor(model, r.c_mid * r.size_out**2, c)) + ring + unpacked + expanded


def at_project(model: str, r: Residual, a: int, c: int, out_bits: int) -> float:
    entry, output = _tensor(model, r.c_mid * r.size_out**2, c), _tensor(model, r.c_out * r.size_out**2, out_bits)
    if model == "arena":
        output = max(output, _tensor(model, r.waiting, a))
    return entry + output + _dense_scratch(model, r.c_mid, r.c_out)


def at_head(model: str, net: Architecture, in_bits: int, out_bits: int) -> float:
    last = list(residuals(net))[-1]
    maps = _tensor(model, last.c_out * last.size_out**2, in_bits) + _tensor(model, net.head.channels * last.size_out**2, out_bits)
    return maps + _dense_scratch(model, last.c_out, net.head.channels)


def at_classifier(model: str, net: Architecture) -> float:
    assert net.classifier is not None
    size, bits, classes = list(residuals(net))[-1].size_out, net.classifier.bits.a, net.classifier.classes
    pooled = _tensor(model, net.head.channels, bits)
    pooling = pooled + _tensor(model, net.head.channels * size**2, bits)
    return max(pooling, pooled + _tensor(model, classes, 8) + _dense_scratch(model, net.head.channels, classes))


def sram(model: str, net: Architecture) -> list[float]:
    """Bytes live at each layer."""
    rows = list(residuals(net))
    entering = [r.bits[0].a for r in rows] + [net.head.bits.a]
    live = [at_stem(model, net, entering[0])]
    for r, out_bits in zip(rows, entering[1:], strict=True):
        a, b, c = (bits.a for bits in r.bits)
        live += [at_expand(model, r, a, b), at_depthwise(model, r, a, b, c), at_project(model, r, a, c, out_bits)]
    live.append(at_head(model, net, net.head.bits.a, net.classifier.bits.a if net.classifier else 8))
    return [*live, at_classifier(model, net)] if net.classifier else live


# --- optima for a fixed structure: all but stem and classifier are free


def with_bits(net: Architecture, bits: Sequence[Bits]) -> Architecture:
    """The same structure with other bits, given for all convolutions but the stem."""
    rest = iter(bits)
    blocks = tuple(replace(block, bits=tuple(tuple(next(rest) for _ in range(3)) for _ in block.bits)) for block in net.blocks)  # type: ignore[misc]
    return replace(net, blocks=blocks, head=replace(net.head, bits=next(rest)))


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
    """Exact largest sum of worth * ln S over the free activation widths within an SRAM budget; ``None`` if there is none.

    A chain: the state is the width of the stream, every pair (b, c) inside is tried for every pair of stream widths.
    Tied, b and c are the width of the stream.
    """
    rows, value_of = list(residuals(net)), {bits: math.log(quantised_std(sigma_a, bits)) for bits in options}
    gains = worth(net, alphas)[1:]
    if net.classifier and at_classifier(model, net) > budget:
        return None
    reached = {a: 0.0 for a in options if at_stem(model, net, a) <= budget}
    for i, r in enumerate(rows):
        u, v, x = gains[3 * i : 3 * i + 3]
        inside: dict[tuple[int, int], float] = {}  # best value for (stream width in, width c)
        for a, before in reached.items():
            for b in [a] if tied else options:
                if at_expand(model, r, a, b) > budget:
                    continue
                for c in [a] if tied else options:
                    if at_depthwise(model, r, a, b, c) <= budget:
                        total = before + u * value_of[a] + v * value_of[b] + x * value_of[c]
                        inside[a, c] = max(total, inside.get((a, c), -math.inf))
        reached = {}
        for (a, c), total in inside.items():
            for following in options:
                if at_project(model, r, a, c, following) <= budget:
                    reached[following] = max(total, reached.get(following, -math.inf))
    out_bits = net.classifier.bits.a if net.classifier else 8
    ends = [total + gains[-1] * value_of[a] for a, total in reached.items() if at_head(model, net, a, out_bits) <= budget]
    return max(ends, default=None)


def _flash_choices(
    net: Architecture, model: str, options: Sequence[int], alphas: Sequence[float], tied: bool, sigma_w: float
) -> tuple[float, list[list[tuple[float, float]]]]:
    """Bytes that are always there, and for each free layer (or group of tied ones) its choices (bytes, worth * ln S), by rising width."""
    free = [layer for layer in layers(net)[1:] if layer.kind != "dense"]
    total = sum(FLASH[model](net))

    def stored(layer: Layer, bits: int) -> float:
        return _tensor(model, layer.weights, bits)

    fixed = total - sum(stored(layer, layer.w) for layer in free)
    gains = worth(net, alphas)[1:]
    size = 3 if tied else 1
    groups = [range(first, min(first + size, len(free))) for first in range(0, len(free), size)]
    return fixed, [
        [
            (sum(stored(free[i], bits) for i in group), sum(gains[i] for i in group) * math.log(quantised_std(sigma_w, bits)))
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
    """Upper bound of the largest sum of worth * ln S over the free weight widths within a Flash budget: the knapsack's linear relaxation.

    Exact: the concave hull of each layer's choices, all steps by falling gain per byte, the last one taken in part.
    """
    fixed, choices = _flash_choices(net, model, options, alphas, tied, sigma_w)
    left, value, steps = budget - fixed, 0.0, []
    for layer in choices:
        hull: list[tuple[float, float]] = []
        for x, y in layer:
            while len(hull) > 1 and (y - hull[-1][1]) * (hull[-1][0] - hull[-2][0]) >= (hull[-1][1] - hull[-2][1]) * (x - hull[-1][0]):
                hull.pop()
            hull.append((x, y))
        left, value = left - hull[0][0], value + hull[0][1]
        steps += [((y1 - y0) / (x1 - x0), x1 - x0) for (x0, y0), (x1, y1) in itertools.pairwise(hull)]
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
    """Exact optimum of the same knapsack: layer by layer, keeping every (bytes, value) that no other one beats. For small networks."""
    fixed, choices = _flash_choices(net, model, options, alphas, tied, sigma_w)
    states = [(fixed, 0.0)]
    for layer in choices:
        grown = sorted((x + dx, -(y + dy)) for x, y in states for dx, dy in layer if x + dx <= budget)
        states, best = [], -math.inf
        for x, minus_y in grown:
            if -minus_y > best:
                best = -minus_y
                states.append((x, best))
    return max((y for _, y in states), default=None)


def best_tied(net: Architecture, model: str, budgets: tuple[float, float], pairs: Iterable[tuple[int, int]]) -> float | None:
    """Highest QE-Score over one (w, a) pair per inverted residual and one for the head; every combination is tried."""
    units = sum(block.depth for block in net.blocks)
    best = None
    for chosen in itertools.product([Bits(w, a) for w, a in pairs], repeat=units + 1):
        other = with_bits(net, [*(bits for bits in chosen[:-1] for _ in range(3)), chosen[-1]])
        if max(sram(model, other)) <= budgets[0] and sum(FLASH[model](other)) <= budgets[1]:
            score = qe_score(other, alphas_for(net))
            best = score if best is None else max(best, score)
    return best


def best_of_all(
    net: Architecture, model: str, budgets: tuple[float, float], pairs: Iterable[tuple[int, int]], limit: float = math.inf
) -> float | None:
    """Highest QE-Score over every combination of (w, a) pairs of the free convolutions, by brute force. For one inverted residual."""
    best = None
    free = 1 + 3 * sum(block.depth for block in net.blocks)
    for chosen in itertools.product([Bits(w, a) for w, a in pairs], repeat=free):
        other = with_bits(net, chosen)
        if max(sram(model, other)) <= budgets[0] and sum(FLASH[model](other)) <= budgets[1] and bitops(other) <= limit:
            score = qe_score(other, alphas_for(net))
            best = score if best is None else max(best, score)
    return best


def alphas_for(net: Architecture) -> tuple[float, ...]:
    """Stage weights of the right length for any network: the last ones of the paper, zeros in front."""
    stages = 1 + sum(block.stride == 2 for block in net.blocks)
    return (0.0,) * (stages - len(ALPHAS)) + ALPHAS[-stages:]
