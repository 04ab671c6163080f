"""Plain scalar references: what the vectorised engine must compute, written from the formulas, one
network and one layer at a time.

Nothing here calls the engine but for the values that cross its border (``Architecture``, ``Bits``).
Slow and obvious on purpose.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from nas_engine.architecture import Architecture, Bits

ALPHAS = (0.0, 0.0, 1.0, 1.0, 6.0)
"""Stage weights of the paper."""


@functools.lru_cache(maxsize=256)
def quantised_std(sigma: float, bits: int) -> float:
    """Deviation of N(0, sigma^2) rounded to whole steps and clipped at +-2^(bits-1): the sum of
    level^2 * probability.
    """
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
    chained: bool = True
    """True on the chain from input to output: False for a 1x1 shortcut."""

    @property
    def weights(self) -> int:
        return self.kernel**2 * (1 if self.kind == "depthwise" else self.c_in) * self.c_out

    @property
    def macs(self) -> int:
        return self.weights * self.size_out**2


@dataclass(frozen=True, slots=True, kw_only=True)
class Residual:
    """Shape of one unit."""

    kind: str
    kernel: int
    c_in: int
    c_mid: int
    c_out: int
    size_in: int
    size_out: int
    waiting: int
    """Elements of its input that wait for the shortcut, after pooling; 0 without a shortcut, or
    with one of its own layer."""
    pooled: bool
    reshaped: bool
    """True if the shortcut is a 1x1 layer."""
    bits: tuple[Bits, ...]
    stage: int


def residuals(net: Architecture) -> Iterator[Residual]:
    size, c_in, stage = -(-net.resolution // net.stem.stride), net.stem.channels, 0
    for block in net.blocks:
        stage += block.stride == 2
        for i, bits in enumerate(block.bits):
            stride = block.stride if i == 0 else 1
            out = -(-size // stride)
            residual = block.kind == "residual"
            same = c_in == block.channels and not (residual and stride > 1)
            # a stride that leaves a 1x1 map as it is is no stride
            inverted = block.kind == "inverted-residual"
            pooled = same and out != size and net.pooled_shortcut and inverted
            shortcut = same and (out == size or pooled)
            middle = {"residual": block.channels, "depthwise-separable": c_in}
            yield Residual(
                kind=block.kind,
                kernel=block.kernel,
                c_in=c_in,
                c_mid=middle.get(block.kind, block.bottleneck),
                c_out=block.channels,
                size_in=size,
                size_out=out,
                waiting=c_in * out**2 if shortcut else 0,
                pooled=pooled,
                reshaped=residual and not same,
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
        steps = [
            ("pointwise", 1, r.c_in, r.c_mid, r.size_in, r.size_in),
            ("depthwise", r.kernel, r.c_mid, r.c_mid, r.size_in, r.size_out),
            ("pointwise", 1, r.c_mid, r.c_out, r.size_out, r.size_out),
        ]
        if r.kind == "depthwise-separable":
            del steps[0]
        if r.kind == "residual":
            steps = [
                ("conv", r.kernel, r.c_in, r.c_out, r.size_in, r.size_out),
                ("pointwise", 1, r.c_in, r.c_out, r.size_in, r.size_out),
                ("conv", r.kernel, r.c_out, r.c_out, r.size_out, r.size_out),
            ][:: 1 if r.reshaped else 2]
        for place, (step, bits) in enumerate(zip(steps, r.bits, strict=True)):
            kind, kernel, c_in, c_out, size_in, size_out = step
            found.append(
                Layer(
                    kind=kind,
                    kernel=kernel,
                    c_in=c_in,
                    c_out=c_out,
                    size_in=size_in,
                    size_out=size_out,
                    w=bits.w,
                    a=bits.a,
                    stage=r.stage,
                    chained=place != 1 or not r.reshaped,
                )
            )
        size, channels, stage = r.size_out, r.c_out, r.stage
    if head := net.head:
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
        channels = head.channels
    if net.classifier:
        bits = net.classifier.bits
        found.append(
            Layer(
                kind="dense",
                kernel=1,
                c_in=channels,
                c_out=net.classifier.class_count,
                size_in=1,
                size_out=1,
                w=bits.w,
                a=bits.a,
                stage=stage,
            )
        )
    return found


# --- score


def stage_terms(
    net: Architecture, alphas: Sequence[float] = ALPHAS, sigma_a: float = 5.0, sigma_w: float = 4.0
) -> list[float]:
    """alpha_i * S_i of each stage; the score is their sum."""
    convolutions = [layer for layer in layers(net) if layer.kind != "dense" and layer.chained]
    running, terms = 0.0, []
    for stage, alpha in enumerate(alphas):
        mine = [layer for layer in convolutions if layer.stage == stage]
        for layer in mine:
            fan_in = layer.kernel**2 * (1 if layer.kind == "depthwise" else layer.c_in)
            running += 0.5 * math.log(fan_in) - math.log(sigma_a)
            running += math.log(quantised_std(sigma_a, layer.a)) + math.log(
                quantised_std(sigma_w, layer.w)
            )
        terms.append(alpha * (running + math.log(mine[-1].c_out)))
    return terms


def qe_score(
    net: Architecture, alphas: Sequence[float] = ALPHAS, sigma_a: float = 5.0, sigma_w: float = 4.0
) -> float:
    return sum(stage_terms(net, alphas, sigma_a, sigma_w))


def worth(net: Architecture, alphas: Sequence[float] = ALPHAS) -> list[float]:
    """Weight of ln S at each convolution: those of its own stage and of all later ones.

    0 at a 1x1 shortcut.
    """
    convolutions = [layer for layer in layers(net) if layer.kind != "dense"]
    return [sum(alphas[one.stage :]) * one.chained for one in convolutions]


# --- computation


def macs(net: Architecture) -> int:
    return sum(layer.macs for layer in layers(net))


def bitops(net: Architecture) -> int:
    return sum(layer.macs * layer.w * layer.a for layer in layers(net))


def effectiveness(net: Architecture) -> float:
    """Depth over the geometric mean of the fan-ins, classifier and 1x1 shortcuts left out."""
    chain = [layer for layer in layers(net) if layer.kind != "dense" and layer.chained]
    fan_ins = [layer.weights // layer.c_out for layer in chain]
    return len(fan_ins) / math.prod(fan_ins) ** (1 / len(fan_ins))


def paper_bitops_over_64(net: Architecture) -> float:
    convolutions = [layer for layer in layers(net) if layer.kind != "dense"]
    total = bitops(net) / 64 + sum(3 * layer.c_out * layer.size_out**2 for layer in convolutions)
    return total + sum(r.c_in * r.size_in**2 for r in residuals(net) if r.pooled)


# --- Flash


def packed_flash(net: Architecture) -> list[int]:
    """Bytes per layer: weights in whole words; 9 bytes per output channel in whole words; a 52-byte
    record; what its pool and sum need.
    """
    sizes = [
        4 * (-(-layer.weights * layer.w // 32)) + 4 * (-(-layer.c_out * 9 // 4)) + 52
        for layer in layers(net)
    ]
    last = 0
    for r in residuals(net):
        last += len(r.bits)
        sizes[last] += 24 * (r.waiting > 0 or r.reshaped) + 52 * r.pooled
    if net.classifier:
        sizes[-1] += 52
    return sizes


def paper_flash(net: Architecture) -> list[float]:
    return [layer.weights * layer.w / 8 + 2 * layer.c_out for layer in layers(net)]


FLASH: dict[str, Callable[[Architecture], Sequence[float]]] = {
    "arena": packed_flash,
    "paper": paper_flash,
}


# --- SRAM: bytes live at each step


def tensor_bytes(model: str, elements: int, bits: int) -> float:
    """A tensor packed into 32-bit words, or in whole bits as the paper counts."""
    return 4 * (-(-elements * bits // 32)) if model == "arena" else elements * bits / 8


def _dense_scratch(model: str, taps: int, outputs: int, window: int = 1) -> int:
    """Per tap (in fours): two pixels at two bytes, up to 16 channels' weights (in pairs) at one
    byte, two gathered pixels at one byte.
    """
    gathered = 2 if window > 1 else 0
    return (
        4 * (-(-taps // 4)) * (2 * 2 + min(outputs + outputs % 2, 16) + gathered)
        if model == "arena"
        else 0
    )


def at_stem(model: str, net: Architecture, out_bits: int) -> float:
    size = -(-net.resolution // net.stem.stride)
    image, output = net.input_channels * net.resolution**2, net.stem.channels * size**2
    scratch = _dense_scratch(
        model, net.stem.kernel**2 * net.input_channels, net.stem.channels, net.stem.kernel
    )
    return tensor_bytes(model, image, 8) + tensor_bytes(model, output, out_bits) + scratch


def at_unit(model: str, r: Residual, a: int, b: int, c: int, out_bits: int) -> list[float]:
    """Live bytes at each layer of a unit.

    Args:
        model: Memory model.
        r: The unit.
        a: Width of its input.
        b: Width of the expanded tensor of an inverted residual.
        c: Width of the tensor that enters the last layer.
        out_bits: Width of its output.
    """
    entry = tensor_bytes(model, r.c_in * r.size_in**2, a)
    held, middle = (
        tensor_bytes(model, r.waiting, a),
        tensor_bytes(model, r.c_mid * r.size_out**2, c),
    )
    output = tensor_bytes(model, r.c_out * r.size_out**2, out_bits)
    last = middle + (max(output, held) if model == "arena" else output)
    if r.kind == "residual":
        taps = r.kernel**2
        side = (
            middle + max(entry, output) + _held_row(r, r.c_in * r.size_in, out_bits)
            if model == "arena"
            else middle + entry + output
        )
        live = [
            entry + middle + _dense_scratch(model, taps * r.c_in, r.c_out, r.kernel),
            side + _dense_scratch(model, r.c_in, r.c_out),
            last
            + (held if model == "paper" else 0)
            + _dense_scratch(model, taps * r.c_out, r.c_out, r.kernel),
        ]
        return live[:: 1 if r.reshaped else 2]
    project = last + _dense_scratch(model, r.c_mid, r.c_out)
    if r.kind == "depthwise-separable" and model == "arena" and not r.waiting:
        project += max(middle, output) - last + _held_row(r, r.size_out * r.c_mid, out_bits)
    if r.kind == "depthwise-separable":
        if model == "paper":
            return [entry + r.size_out**2 * c / 8, project]
        return [max(entry, held + middle) + _depthwise_scratch(r, a), project]
    expanded = tensor_bytes(model, r.c_mid * r.size_in**2, b)
    expand = entry + expanded + _dense_scratch(model, r.c_in, r.c_mid)
    if model == "paper":
        return [expand, held + expanded + r.size_out**2 * c / 8, project]
    return [expand, held + max(expanded, middle) + _depthwise_scratch(r, b), project]


def _held_row(r: Residual, before: int, out_bits: int) -> float:
    """A row of the output that a 1x1 layer over its input holds; all rows where they, or those of
    ``before`` elements, are no whole bytes at some width.
    """
    row = r.c_out * r.size_out
    held = row if row % 8 == before % 8 == 0 else row * r.size_out
    return tensor_bytes("arena", held, out_bits)


def _depthwise_scratch(r: Residual, entering: int) -> float:
    """Ring of packed input rows, weights at a byte, k rows of four channels at two bytes."""
    ring = tensor_bytes("arena", r.kernel * r.size_in * r.c_mid, entering)
    unpacked = 4 * (-(-(r.kernel**2) * r.c_mid // 4))
    return ring + unpacked + 2 * 4 * r.kernel * (r.size_in + r.size_in % 2 + 2 * (r.kernel // 2))


def at_head(model: str, net: Architecture, in_bits: int, out_bits: int) -> float:
    assert net.head is not None
    last = list(residuals(net))[-1]
    maps = tensor_bytes(model, last.c_out * last.size_out**2, in_bits) + tensor_bytes(
        model, net.head.channels * last.size_out**2, out_bits
    )
    return maps + _dense_scratch(model, last.c_out, net.head.channels)


def at_classifier(model: str, net: Architecture) -> float:
    assert net.classifier is not None
    last, bits, classes = (
        list(residuals(net))[-1],
        net.classifier.bits.a,
        net.classifier.class_count,
    )
    channels = net.head.channels if net.head else last.c_out
    pooled = tensor_bytes(model, channels, bits)
    pooling = pooled + tensor_bytes(model, channels * last.size_out**2, bits)
    return max(
        pooling,
        pooled + tensor_bytes(model, classes, 8) + _dense_scratch(model, channels, classes),
    )


def behind(net: Architecture) -> Bits:
    """Widths of the layer that takes the output of the last unit."""
    last = net.head or net.classifier
    assert last is not None
    return last.bits


def sram(model: str, net: Architecture) -> list[float]:
    """Bytes live at each layer."""
    rows = list(residuals(net))
    entering = [r.bits[0].a for r in rows] + [behind(net).a]
    live = [at_stem(model, net, entering[0])]
    for r, out_bits in zip(rows, entering[1:], strict=True):
        live += at_unit(model, r, r.bits[0].a, r.bits[-2].a, r.bits[-1].a, out_bits)
    if net.head:
        out_bits = net.classifier.bits.a if net.classifier else 8
        live.append(at_head(model, net, net.head.bits.a, out_bits))
    return [*live, at_classifier(model, net)] if net.classifier else live


def alphas_for(net: Architecture) -> tuple[float, ...]:
    """Stage weights of the right length for any network: the last ones of the paper, zeros in
    front.
    """
    stages = 1 + sum(block.stride == 2 for block in net.blocks)
    return (0.0,) * (stages - len(ALPHAS)) + ALPHAS[-stages:]
