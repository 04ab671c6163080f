"""Packed weights and constants hold the model's numbers, and the quick rounding is only chosen
where it is exact.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from nas_engine.exporters.packing import FAST_ACCUMULATOR, FAST_SHIFTS, PackedLayer, pack_layer
from nas_engine.integer.model import IntegerConvolution
from nas_engine.network.graph import NetworkError
from nas_engine.network.kernels import Kernel
from tests.exporters.dense_layers import Layer, layer_under_test
from tests.exporters.kernels import elements


def unpacked(packed: PackedLayer, step: IntegerConvolution) -> npt.NDArray[np.int64]:
    """Return the weights ``[O, taps]``, read one by one as the layouts are described."""
    channels, taps, bits = len(step.weights), step.weights[0].size, step.weight_bits
    numbers = elements(packed.weights.tobytes(), channels * taps, bits)
    if packed.kernel.layout == "words-w4":
        numbers = (numbers - 2 ** (bits - 1)).reshape(
            channels // 2, -1, 2, 2, 32 // bits // 2
        )  # pair, word, channel, half, number
        found = np.zeros((channels, taps), np.int64)
        for pair, word, channel, half, number in np.ndindex(numbers.shape):
            tap = word * (32 // bits) + number // 2 * 4 + number % 2 + 2 * half
            found[2 * pair + channel, tap] = numbers[pair, word, channel, half, number]
        return found
    numbers = iter((numbers ^ 2 ** (bits - 1)) - 2 ** (bits - 1))
    found = np.zeros((channels, taps), np.int64)
    for first in range(0, channels, 2):
        for begin in range(0, taps, 4):
            for channel in range(first, min(first + 2, channels)):
                for tap in range(begin, min(begin + 4, taps)):
                    found[channel, tap] = next(numbers)
    return found


@settings(max_examples=80, deadline=None)
@given(
    layer=st.builds(
        Layer,
        kernel=st.sampled_from([1, 1, 1, 3]),
        height=st.sampled_from([3, 7]),
        channels=st.one_of(st.integers(1, 20), st.sampled_from([16, 32])),
        outputs=st.integers(1, 12),
        weight_bits=st.integers(2, 8),
        in_bits=st.integers(2, 8),
        in_signed=st.booleans(),
        coarser=st.sampled_from([1.0, 1e-6, 1e6]),
        seed=st.integers(0, 2**32 - 1),
    )
)
def test_nothing_is_lost(layer: Layer) -> None:
    try:
        model = layer.model()
    except NetworkError:
        assume(False)
    step, source = layer_under_test(model), model.tensor("source output")
    packed = pack_layer(step, source, model.tensor(step.output))
    channels, flat = len(step.weights), step.weights.reshape(len(step.weights), -1).astype(int)
    assert len(packed.weights) == -(-step.weights.size * step.weight_bits // 32)
    assert packed.weights.dtype == packed.constants.dtype == np.uint32
    np.testing.assert_array_equal(unpacked(packed, step), flat)
    assert packed.kernel.native == packed.kernel.layout.startswith("words")
    multiple = {8: 8, 4: 8}.get(step.weight_bits)
    native = (
        multiple is not None
        and layer.kernel == 1
        and flat.shape[1] % multiple == 0
        and channels % 2 == 0
        and (step.weight_bits == 8 or source.bits < 8 or layer.height * layer.width < 16)
    )
    assert packed.kernel.native == native
    if native:
        assert (packed.kernel.name, packed.kernel.layout) == (
            f"nas_pointwise_w{step.weight_bits}",
            f"words-w{step.weight_bits}",
        )
    else:
        assert (packed.kernel.name, packed.kernel.layout) == (
            "nas_pointwise_stream" if layer.kernel == 1 else "nas_convolution_stream",
            "stream-pairs",
        )

    content = packed.constants.tobytes()
    assert len(packed.constants) == -(-9 * channels // 4)
    offset = source.low - source.zero_point
    for channel, weights in enumerate(flat.tolist()):
        expected = int(step.bias[channel]) + offset * sum(weights) * 2**step.weight_shift
        assert int.from_bytes(content[4 * channel :][:4], "little") == expected % 2**32
        multiplier, shift = (
            int(step.requantizer.multiplier[channel]),
            int(step.requantizer.shift[channel]),
        )
        assert int.from_bytes(content[4 * (channels + channel) :][:4], "little") == multiplier
        stored = int.from_bytes(content[8 * channels + channel :][:1], "little", signed=True)
        assert stored == (shift if multiplier else -1)
        assert not packed.fast_rounding or stored in FAST_SHIFTS
    assert not packed.fast_rounding or step.bounds.shifted < FAST_ACCUMULATOR


def test_depthwise_is_a_plain_stream() -> None:
    model = Layer(kernel=3, channels=5, outputs=5, weight_bits=3).model()
    conv = layer_under_test(model)
    step = dataclasses.replace(conv, kind="depthwise", weights=conv.weights[..., :1])
    packed = pack_layer(step, model.tensor(step.input), model.tensor(step.output))
    assert packed.kernel == Kernel(name="nas_depthwise_3x3", layout="stream")
    assert not packed.kernel.native
    numbers = elements(packed.weights.tobytes(), 45, 3)
    np.testing.assert_array_equal((numbers ^ 4) - 4, step.weights.reshape(-1))


def test_tensors_of_another_layer_are_refused() -> None:
    model = Layer().model()
    step = layer_under_test(model)
    with pytest.raises(
        ValueError, match="tested: got 'image' as its input; expected 'source output'"
    ):
        pack_layer(step, model.tensor("image"), model.tensor(step.output))
