"""0 differences to TFLite's reference kernels, tensor by tensor, through the project's own TFLite
files.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nas_engine.integer.lowering import lower
from nas_engine.integer.model import IntegerModel
from nas_engine.integer.reference import trace
from nas_engine.quantization.record import QuantisedTensor
from nas_engine.testing.networks import Untrained, random_images, same_padding
from tests.integer.tflite_runner import run_tflite


def assert_no_difference(model: IntegerModel, count: int = 3) -> None:
    images = random_images(model, count)
    ours = trace(model, images)
    theirs = run_tflite(model, images)
    for name, values in ours.items():
        np.testing.assert_array_equal(values, theirs[name], err_msg=name)


def finish(built: Untrained) -> IntegerModel:
    last = built.tensors[-1]
    size = max(last.height, last.width)
    if (last.height, last.width) == (size, size):
        built.pool("pool", size, 1)
    else:  # SAME padding makes one place of a longer side
        pads = [
            part
            for side in (last.height, last.width)
            for part in same_padding(side, size, size)[1:]
        ]
        built.pool("pool", size, size, padding=(pads[0], pads[1], pads[2], pads[3]))
    built.layer("classifier", 7, 1, 1, 8, 8, signed=True)
    return lower(built.network())


def limited(built: Untrained, bits: int) -> QuantisedTensor:
    """Give the tensor added last a range of fewer bits, with the scale that RELU6 needs."""
    step = float(np.float32(6 / (2**bits - 1)))
    layer = built.steps[-1]
    factor = (
        step / built.tensors[-1].scale * 2.0 ** (bits - 6)
    )  # four times as wide as would be right: the limit must bite
    built.tensors[-1] = replace(built.tensors[-1], bits=bits, scale=step)
    built.steps[-1] = replace(layer, gain=layer.gain * factor, offset=layer.offset * factor)
    return built.tensors[-1]


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("kind", ["conv", "depthwise"])
def test_convolution(kind: str, kernel: int, stride: int, signed: bool) -> None:
    for w_bits, size in ((8, (9, 6)), (4, (6, 6)), (3, (5, 8)), (2, (4, 4))):
        built = Untrained((*size, 3), np.random.default_rng(kernel + w_bits))
        built.layer("stem", 6, 3, 1, 8, 8, signed=signed)
        built.layer("layer", 6, kernel, stride, w_bits, 8, kind=kind, signed=signed)
        assert_no_difference(finish(built))


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 7])
def test_fewer_bits_through_a_fused_activation(bits: int) -> None:
    built = Untrained((7, 7, 3), np.random.default_rng(bits))
    for name, kind in (("stem", "conv"), ("layer", "depthwise"), ("head", "conv")):
        built.layer(name, 8, 3, 1, bits, 8, kind=kind)
        spec = limited(built, bits)
    model = finish(built)
    assert_no_difference(model)
    values = trace(model, random_images(model, 3))[spec.name]
    assert (values.min(), values.max()) == (-128, -129 + 2**bits)


@pytest.mark.parametrize(
    "scales", [(0.02, 0.02), (0.02, 0.05), (0.05, 0.0123), (0.001, 0.9), (0.9, 0.001)]
)
@pytest.mark.parametrize("signed", [False, True])
def test_addition(scales: tuple[float, float], signed: bool) -> None:
    for bits in (8, 4):
        built = Untrained((8, 8, 3), np.random.default_rng(bits))
        built.layer("stem", 8, 3, 1, 8, 8, signed=signed)
        stem = limited(built, bits) if bits < 8 and not signed else built.tensors[-1]
        if bits == 8:
            layer, factor = built.steps[-1], scales[0] / stem.scale
            built.tensors[-1] = stem = replace(stem, scale=scales[0])
            built.steps[-1] = replace(layer, gain=layer.gain * factor, offset=layer.offset * factor)
        built.layer("project", 8, 1, 1, 8, 8, signed=True, shortcut=stem)
        layer, factor = built.steps[-1], scales[1] / built.tensors[-1].scale
        built.tensors[-1] = replace(built.tensors[-1], scale=scales[1])
        built.steps[-1] = replace(layer, gain=layer.gain * factor, offset=layer.offset * factor)
        assert_no_difference(finish(built))


@pytest.mark.parametrize("size", [(4, 4), (5, 4), (7, 7), (1, 5)])
@pytest.mark.parametrize("signed", [False, True])
def test_average_pool(size: tuple[int, int], signed: bool) -> None:
    built = Untrained((*size, 2), np.random.default_rng(0))
    built.layer("stem", 5, 1, 1, 8, 8, signed=signed)
    for number, (kernel, stride) in enumerate([(2, 2), (3, 1), (3, 2)]):
        pads = [
            part
            for side in (built.tensors[-1].height, built.tensors[-1].width)
            for part in same_padding(side, kernel, stride)[1:]
        ]
        built.pool(f"pool {number}", kernel, stride, padding=(pads[0], pads[1], pads[2], pads[3]))
    assert_no_difference(finish(built))


def test_inverted_residuals_end_to_end() -> None:
    """Stem, residuals with and without stride, a shortcut, a pooled shortcut, head, pool,
    classifier, of mixed widths.
    """
    built = Untrained((16, 16, 3), np.random.default_rng(3))
    stream = built.layer("stem", 16, 3, 2, 8, 8)
    for block, (stride, w_bits, a_bits) in enumerate([(1, 4, 4), (2, 3, 5), (1, 2, 3), (1, 8, 8)]):
        built.layer(f"b{block}.expand", 24, 1, 1, w_bits, 8, source=stream)
        source = limited(built, a_bits) if a_bits < 8 else built.tensors[-1]
        built.layer(
            f"b{block}.depthwise", 24, 5, stride, w_bits, 8, kind="depthwise", source=source
        )
        filtered = limited(built, a_bits) if a_bits < 8 else built.tensors[-1]
        shortcut = built.pool(f"b{block}.pool", 2, 2, stream) if stride == 2 else stream
        stream = built.layer(
            f"b{block}.project",
            16,
            1,
            1,
            w_bits,
            8,
            source=filtered,
            signed=True,
            shortcut=shortcut,
        )
    built.layer("head", 40, 1, 1, 4, 8)
    assert_no_difference(finish(built), count=10)
