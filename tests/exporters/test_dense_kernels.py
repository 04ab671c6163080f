"""The C kernels of dense layers, value by value against the integer reference, under
AddressSanitizer and UBSan.
"""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from nas_engine.exporters.packing import FAST_ACCUMULATOR, FAST_SHIFTS, pack_layer
from nas_engine.integer.arithmetic import multiply_by_quantized_multiplier
from nas_engine.integer.reference import trace
from nas_engine.network.graph import NetworkError
from tests.exporters.dense_layers import Layer, layer_under_test
from tests.exporters.kernels import COMPILER, ROUNDING, Program, compiled

pytestmark = pytest.mark.skipif(not COMPILER, reason="needs a C compiler")

WIDTHS = list(itertools.product(range(2, 9), repeat=2))


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    with Program(compiled(tmp_path_factory.mktemp("kernels"))) as running:
        yield running


def check(program: Program, layer: Layer, *, in_place: bool = False) -> set[str]:
    """Compare a layer with the reference; return what was exercised."""
    try:
        model = layer.model()
    except NetworkError:  # an accumulator beyond int32: no such model is exported
        assume(False)
    step = layer_under_test(model)
    source, target = model.tensor(step.input), model.tensor(step.output)
    packed = pack_layer(step, source, target, in_place=in_place)
    images = np.random.default_rng(layer.seed).integers(
        0, 256, (1, layer.height, layer.width, 3), np.uint8
    )
    values = {name: array[0] for name, array in trace(model, images, threads=1).items()}
    seen = {packed.kernel.name, "fast" if packed.fast_rounding else "general"}
    ways = {(False, 0), (packed.fast_rounding or step.addition is not None, 0)}
    if packed.fast_rounding and packed.kernel.tiled:
        ways |= {(True, layer.seed % 4)}
    for fast, doublings in ways:
        found = program.run(
            model, step, packed, values, fast=fast, noise=layer.seed, doublings=doublings
        )
        np.testing.assert_array_equal(
            found,
            values[step.output],
            err_msg=f"{packed.kernel.name}, fast {fast}, {doublings} doublings: {layer}",
        )
    return seen


@pytest.mark.parametrize(("weight_bits", "in_bits"), WIDTHS)
def test_all_widths(program: Program, weight_bits: int, in_bits: int) -> None:
    rng = np.random.default_rng(8 * weight_bits + in_bits)
    seen: set[str] = set()
    for out_bits, channels, outputs in [
        (8, 16, 6),
        (in_bits, 32, 34),
        (int(rng.integers(2, 8)), 13, 19),
        (int(rng.integers(2, 8)), 12, 5),
    ]:
        in_signed, out_signed = (bool(value) for value in rng.integers(0, 2, 2))
        layer = Layer(
            height=3,
            width=int(rng.integers(1, 5)),
            channels=channels,
            outputs=outputs,
            weight_bits=weight_bits,
            in_bits=in_bits,
            out_bits=out_bits,
            in_signed=in_signed,
            out_signed=out_signed,
            seed=int(rng.integers(2**31)),
        )
        seen |= check(program, layer)
        seen |= check(program, replace(layer, stride=int(rng.integers(1, 3))), in_place=True)
        kernel = Layer(
            **{
                name: getattr(layer, name)
                for name in (
                    "weight_bits",
                    "in_bits",
                    "out_bits",
                    "in_signed",
                    "out_signed",
                    "seed",
                )
            },
            height=5,
            width=6,
            channels=3,
            outputs=outputs,
            kernel=3,
            stride=2,
            padding=(1, 1, 0, 1),
        )
        seen |= check(program, kernel)
        middle = replace(  # of a residual block: its sum, in a scale of the operand's own
            kernel,
            channels=channels,
            stride=int(rng.integers(1, 3)),
            shortcut_bits=out_bits,
            own=float(rng.choice([1.0, 0.3, 5.0])),
        )
        seen |= check(program, middle)
    native = {f"nas_pointwise_w{weight_bits}"} if weight_bits in (4, 8) else set()
    dense = {"nas_pointwise_stream", "nas_pointwise_rows", "nas_convolution_stream"}
    assert seen >= native | dense | {"fast"}


layers = st.builds(
    Layer,
    height=st.integers(1, 5),
    width=st.integers(1, 5),
    channels=st.one_of(st.integers(1, 40), st.sampled_from([8, 16, 24, 32, 48, 64])),
    outputs=st.integers(1, 40),
    stride=st.integers(1, 3),
    weight_bits=st.integers(2, 8),
    in_bits=st.integers(2, 8),
    out_bits=st.integers(2, 8),
    in_signed=st.booleans(),
    out_signed=st.booleans(),
    largest_weights=st.booleans(),
    largest_inputs=st.booleans(),
    coarser=st.sampled_from([1.0, 1.0, 1.0, 0.001, 1e-6, 3.0, 1000.0, 1e6]),
    seed=st.integers(0, 2**32 - 1),
)


@settings(max_examples=120, deadline=None)
@given(layer=layers)
@example(
    layer=Layer(height=1, width=1, channels=1, outputs=1, weight_bits=2, in_bits=2, out_bits=2)
)
@example(layer=Layer(channels=5, outputs=3, weight_bits=7, in_bits=7, out_bits=7))
def test_pointwise(program: Program, layer: Layer) -> None:
    check(program, layer)


@settings(max_examples=120, deadline=None)
@given(layer=layers)
@example(layer=Layer(height=4, width=4, channels=8, outputs=16, stride=2))
@example(layer=Layer(height=4, width=4, channels=8, outputs=16))
@example(layer=Layer(height=5, width=5, channels=3, outputs=7, in_bits=3, out_bits=5))
def test_pointwise_over_its_own_input(program: Program, layer: Layer) -> None:
    check(program, layer, in_place=True)


@settings(max_examples=120, deadline=None)
@given(layer=layers, data=st.data())
def test_shortcut(program: Program, layer: Layer, data: st.DataObject) -> None:
    bits, kernel = data.draw(st.integers(2, 8)), data.draw(st.sampled_from([1, 1, 3]))
    layer = replace(
        layer,
        kernel=kernel,
        padding=(kernel // 2,) * 4,
        coarser=1.0,
        shortcut_bits=bits,
        shortcut_signed=data.draw(st.booleans()),
        same_scale=data.draw(st.booleans()),
        own=data.draw(st.sampled_from([0.0, 1.0, 0.3, 7.0, 2.0**18.99, 2.0**-19, 1e-9])),
        out_bits=data.draw(st.sampled_from([bits, layer.out_bits])),
    )
    check(program, layer)


@settings(max_examples=120, deadline=None)
@given(layer=layers, data=st.data())
def test_convolution(program: Program, layer: Layer, data: st.DataObject) -> None:
    kernel = data.draw(st.integers(2, 5))
    padding = tuple(data.draw(st.integers(0, kernel - 1)) for _ in range(4))
    assume(layer.height + padding[0] + padding[1] >= kernel)
    assume(layer.width + padding[2] + padding[3] >= kernel)
    check(
        program,
        replace(
            layer,
            channels=data.draw(st.sampled_from([*range(1, 10), 16, 24])),
            kernel=kernel,
            padding=padding,
        ),
    )


@pytest.mark.parametrize("weight_bits", [8, 4, 5])
def test_results_at_the_ends_of_int32(program: Program, weight_bits: int) -> None:
    """The stored zero, added to them, must not turn them around."""
    largest = {"largest_bias": True, "largest_weights": True, "largest_inputs": True}
    layer = Layer(channels=1, weight_bits=weight_bits, in_bits=2, out_signed=True, **largest)
    tested = layer_under_test(layer.model())
    assert tested.bounds.accumulator == 2**31 - 1
    assert (tested.requantizer.shift == 0).all()
    assert (tested.requantizer.multiplier > 2**31 - 100).all()
    check(program, layer)


def test_both_forms_of_rounding_at_their_extremes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    largest = FAST_ACCUMULATOR - 1
    ends = [0, 1, 2, 3, largest - 1, largest, 2**29, 2**29 - 1, 12345]
    totals = [*ends, *(-end for end in ends), *rng.integers(-largest, largest + 1, 12).tolist()]
    multipliers = [
        0,
        2**30,
        2**30 + 1,
        2**31 - 1,
        2**31 - 2,
        3 * 2**29,
        *rng.integers(2**30, 2**31, 6).tolist(),
    ]
    cases = [
        *itertools.product(
            totals, multipliers, (-shift for shift in FAST_SHIFTS), (0, 1, 8, 128, 255)
        )
    ]
    halves = [
        (side * ((2 * odd + 1) << (right - 1)), right)
        for right in range(1, 21)
        for odd in range(9)
        for side in (1, -1)
    ]
    # with a multiplier of 1/2, twice the number: exact halves before the second rounding, and their
    # neighbours
    cases += [
        (2 * half + near, 2**30, right, 128)
        for half, right in halves
        for near in (-2, -1, 0, 1, 2)
        if abs(2 * half) < largest - 2
    ]
    array = np.array(cases, "<i4")
    content = np.array([len(array)], "<u4").tobytes() + array.tobytes()
    program = compiled(tmp_path, ROUNDING)
    done = subprocess.run([str(program)], input=content, capture_output=True, check=True)
    general, quick = np.frombuffer(done.stdout, "<i4").reshape(-1, 2).T
    total, multiplier, right, zero = array.T.astype(np.int64)
    np.testing.assert_array_equal(
        general, multiply_by_quantized_multiplier(total, multiplier, -right) + zero
    )
    np.testing.assert_array_equal(quick, general)
