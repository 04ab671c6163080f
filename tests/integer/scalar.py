"""The whole arithmetic once more, in plain Python integers, loop by loop, as C would run it. Slow;
shares no code with the engine.
"""

from __future__ import annotations

import math
from fractions import Fraction

from nas_engine.integer.model import IntegerConvolution, IntegerModel
from nas_engine.network.graph import Node

Plane = list[list[list[int]]]
"""One tensor, ``[row][column][channel]``."""


def divide(a: int, b: int) -> int:
    """Divide as C does: towards zero."""
    return a // b if a >= 0 else -(-a // b)


def quantize_multiplier(real: float) -> tuple[int, int]:
    if real == 0:
        return 0, 0
    fraction, shift = math.frexp(real)
    multiplier = math.floor(Fraction(fraction) * 2**31 + Fraction(1, 2))
    if multiplier == 2**31:
        multiplier, shift = 2**30, shift + 1
    return (0, 0) if shift < -31 else (multiplier, shift)


def high_mul(a: int, b: int) -> int:
    if a == b == -(2**31):
        return 2**31 - 1
    product = a * b
    return divide(product + (2**30 if product >= 0 else 1 - 2**30), 2**31)


def divide_by_pot(x: int, exponent: int) -> int:
    mask = 2**exponent - 1
    return (x >> exponent) + (1 if (x & mask) > (mask >> 1) + (1 if x < 0 else 0) else 0)


def requantise(x: int, multiplier: int, shift: int) -> int:
    return divide_by_pot(high_mul(x * 2 ** max(shift, 0), multiplier), max(-shift, 0))


def add(value1: int, scale1: float, value2: int, scale2: float, scale_out: float) -> int:
    twice = 2 * max(scale1, scale2)
    total = requantise(value1 * 2**20, *quantize_multiplier(scale1 / twice)) + requantise(
        value2 * 2**20, *quantize_multiplier(scale2 / twice)
    )
    return requantise(total, *quantize_multiplier(twice / (2**20 * scale_out)))


def level_range(bits: int, signed: bool) -> tuple[int, int, int]:
    return (0, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (-128, -128, -129 + 2**bits)


def run(model: IntegerModel, image: list[list[list[int]]]) -> dict[str, Plane]:
    """Return every tensor of one image, given as ``[row][column][channel]`` of 0..255."""
    values: dict[str, Plane] = {
        model.image: [[[pixel - 128 for pixel in place] for place in row] for row in image]
    }
    for step in model.nodes:
        out = model.tensor(step.output)
        make = MAKERS[step.kind]
        values[step.output] = [
            [make(model, step, values, y, x) for x in range(out.width)] for y in range(out.height)
        ]
    return values


def _window(step: Node, plane: Plane, y: int, x: int) -> list[tuple[int, int, list[int]]]:
    """Return the kernel place and the channels of every real element under the window of an output
    place.
    """
    found = []
    for i in range(step.kernel_height):
        for j in range(step.kernel_width):
            row, column = (
                y * step.stride + i - step.padding[0],
                x * step.stride + j - step.padding[2],
            )
            if 0 <= row < len(plane) and 0 <= column < len(plane[0]):
                found.append((i, j, plane[row][column]))
    return found


def _convolved(
    model: IntegerModel, step: Node, values: dict[str, Plane], y: int, x: int
) -> list[int]:
    assert isinstance(step, IntegerConvolution)
    source, target = model.tensor(step.input), model.tensor(step.output)
    zero_in = level_range(source.bits, source.signed)[0]
    zero_out, low, high = level_range(target.bits, target.signed)
    weights: list[list[list[list[int]]]] = step.weights.tolist()
    scales: list[float] = step.weight_scale.tolist()
    biases: list[int] = step.bias.tolist()
    window = _window(step, values[step.input], y, x)
    results = []
    for o, (scale, bias) in enumerate(zip(scales, biases, strict=True)):
        acc = 0
        for i, j, channels in window:
            if step.kind == "depthwise":
                acc += (channels[o] - zero_in) * weights[o][i][j][0]
            else:
                acc += sum(
                    (value - zero_in) * weight
                    for value, weight in zip(channels, weights[o][i][j], strict=True)
                )
        acc = acc * 2 ** (8 - step.weight_bits) + bias
        own_scale = target.scale if step.addition is None else step.addition.scale
        result = requantise(acc, *quantize_multiplier(source.scale * scale / own_scale))
        if step.shortcut is not None:
            shortcut = model.tensor(step.shortcut)
            operand = (
                values[shortcut.name][y][x][o] - level_range(shortcut.bits, shortcut.signed)[0]
            )
            own = min(max(result, -128), 127)
            result = add(operand, shortcut.scale, own, own_scale, target.scale)
        results.append(min(max(result + zero_out, low), high))
    return results


def _averaged(
    model: IntegerModel, step: Node, values: dict[str, Plane], y: int, x: int
) -> list[int]:
    target = model.tensor(step.output)
    _, low, high = level_range(target.bits, target.signed)
    window = _window(step, values[step.input], y, x)
    results = []
    for c in range(target.channels):
        acc, n = sum(channels[c] for _, _, channels in window), len(window)
        mean = divide(acc + n // 2, n) if acc > 0 else divide(acc - n // 2, n)
        results.append(min(max(mean, low), high))
    return results


def _largest(
    model: IntegerModel, step: Node, values: dict[str, Plane], y: int, x: int
) -> list[int]:
    window = [channels for _, _, channels in _window(step, values[step.input], y, x)]
    return [max(column) for column in zip(*window, strict=True)]


def _summed(model: IntegerModel, step: Node, values: dict[str, Plane], y: int, x: int) -> list[int]:
    target, operands = model.tensor(step.output), [model.tensor(name) for name in step.inputs]
    zero_out, low, high = level_range(target.bits, target.signed)
    results = []
    for c in range(target.channels):
        first, second = (
            values[each.name][y][x][c] - level_range(each.bits, each.signed)[0] for each in operands
        )
        total = add(first, operands[0].scale, second, operands[1].scale, target.scale)
        results.append(min(max(total + zero_out, low), high))
    return results


def _clamped(
    model: IntegerModel, step: Node, values: dict[str, Plane], y: int, x: int
) -> list[int]:
    source, target = model.tensor(step.input), model.tensor(step.output)
    zero_in = level_range(source.bits, source.signed)[0]
    zero_out, low, high = level_range(target.bits, target.signed)
    return [min(max(v - zero_in + zero_out, low), high) for v in values[step.input][y][x]]


MAKERS = {
    "conv": _convolved,
    "depthwise": _convolved,
    "average_pool": _averaged,
    "max_pool": _largest,
    "add": _summed,
    "clamp": _clamped,
}
