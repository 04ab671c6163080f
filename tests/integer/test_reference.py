"""The reference, the fast way and the plain way, against the scalar implementation."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import integer_reference
from nas_engine.architecture import (
    Architecture,
    Bits,
    Block,
    Classifier,
    Convolution,
    dump_architecture,
)
from nas_engine.errors import InputError
from nas_engine.integer.arithmetic import (
    multiply_by_quantized_multiplier,
    quantize_multiplier,
)
from nas_engine.integer.fast import FastProgram, _fits_float64
from nas_engine.integer.lowering import lower
from nas_engine.integer.model import IntegerConvolution, IntegerModel
from nas_engine.integer.reference import predict, run, trace
from nas_engine.network.graph import KINDS, NetworkError, value_range
from nas_engine.testing.networks import Untrained, branching_record, random_images, random_model
from tests.integer import scalar


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32 - 1))
def test_fast_and_plain_equal_the_scalar_loops(seed: int) -> None:
    model = random_model(seed)
    images = random_images(model, 2, seed)
    fast, plain = trace(model, images), trace(model, images, fast=False)
    assert list(fast) == list(plain) == [model.image, *(step.output for step in model.nodes)]
    for number, image in enumerate(images.tolist()):
        for name, expected in scalar.run(model, image).items():
            assert fast[name].dtype == np.int8
            np.testing.assert_array_equal(fast[name][number], expected)
            np.testing.assert_array_equal(plain[name][number], expected)


@pytest.mark.parametrize("seed", range(6))
def test_no_result_depends_on_what_lay_in_scratch(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = random_model(seed)
    images = random_images(model, 2, seed)
    temporary = FastProgram._temporary

    def spoilt(program: FastProgram, purpose: str, shape: tuple[int, ...], dtype: Any) -> Any:
        found = temporary(program, purpose, shape, dtype)
        found.fill(np.nan if np.issubdtype(dtype, np.floating) else -1)
        return found

    expected = trace(model, images, fast=False)
    monkeypatch.setattr(FastProgram, "_temporary", spoilt)
    found = trace(model, images)
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32 - 1))
def test_every_kind_of_node_equals_the_scalar_loops(seed: int) -> None:
    model = lower(branching_record(seed))
    images = random_images(model, 3, seed)
    fast, plain = trace(model, images), trace(model, images, fast=False)
    assert {node.kind for node in model.nodes} == set(KINDS)
    for number, image in enumerate(images.tolist()):
        for name, expected in scalar.run(model, image).items():
            np.testing.assert_array_equal(plain[name][number], expected, err_msg=name)
            np.testing.assert_array_equal(fast[name][number], expected, err_msg=name)
    if len(model.outputs) > 1:
        with pytest.raises(NetworkError, match=r"^classes: are none, the outputs are '.*', '.*';"):
            run(model, images)
    else:
        np.testing.assert_array_equal(run(model, images), plain[model.logits][:, 0, 0])


@settings(max_examples=15)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 21), threads=st.integers(1, 3))
def test_result_depends_on_neither_threads_nor_neighbours(seed: int, n: int, threads: int) -> None:
    model = random_model(seed)
    images = random_images(model, n, seed)
    together = run(model, images, threads=threads)
    assert together.shape == (n, len(model.classes))
    np.testing.assert_array_equal(
        together, np.concatenate([run(model, image[None], threads=1) for image in images])
    )
    np.testing.assert_array_equal(
        predict(model, images), [row.tolist().index(max(row.tolist())) for row in together]
    )


def test_values_stay_in_their_ranges_and_reach_them() -> None:
    reached = set()
    for seed in range(100):
        model = random_model(seed)
        values = trace(model, random_images(model, 4))
        for tensor in model.tensors:
            assert tensor.low <= values[tensor.name].min()
            assert values[tensor.name].max() <= tensor.high
            ends = (
                values[tensor.name].min() == tensor.low,
                values[tensor.name].max() == tensor.high,
            )
            reached.add((tensor.bits, tensor.signed, *ends))
    for bits, signed in itertools.product(range(2, 9), (False, True)):
        assert (bits, signed, True, True) in reached


def test_no_images() -> None:
    model = random_model(0)
    assert run(model, random_images(model, 0)).shape == (0, len(model.classes))


def test_first_of_equal_logits_wins() -> None:
    built = Untrained((1, 1, 1), np.random.default_rng(0))
    built.layer("classifier", 3, 1, 1, 8, 8, signed=True)
    layer = built.steps[0]
    same = {
        name: getattr(layer, name)[:1].repeat(3, axis=0)
        for name in ("weights", "weight_scale", "gain", "offset")
    }
    built.steps[0] = dataclasses.replace(layer, **same)
    model = lower(built.network())
    assert (
        predict(model, np.arange(256, dtype=np.uint8).reshape(256, 1, 1, 1)).tolist() == [0] * 256
    )


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((1, 2, 2, 3), np.uint8),
        np.zeros((1, 1, 1, 1), np.int8),
        np.zeros((1, 1, 1), np.uint8),
        [[[[0]]]],
    ],
    ids=["shape", "type", "no batch", "list"],
)
def test_wrong_images(images: object) -> None:
    built = Untrained((1, 1, 1), np.random.default_rng(0))
    built.layer("classifier", 3, 1, 1, 8, 8, signed=True)
    with pytest.raises(InputError, match=r"expected an array of uint8 \[N, 1, 1, 1\]"):
        run(lower(built.network()), images)  # type: ignore[arg-type]


def wide_layer(
    kind: str, *, w_bits: int, channels: int, gain: float, signed: bool = False
) -> IntegerModel:
    """Return a network whose sums need more than float32, or whose accumulators need more than
    float64.
    """
    built = Untrained((4, 4, 2), np.random.default_rng(1))
    stem = built.layer("stem", channels, 1, 1, 8, 8)
    built.tensors[-1] = replaced = dataclasses.replace(stem, scale=1.0)
    built.steps[-1] = dataclasses.replace(built.steps[-1], offset=np.full(channels, 200.0))
    built.layer(
        "wide",
        channels if kind == "depthwise" else 4,
        3,
        1,
        w_bits,
        8,
        kind=kind,
        source=replaced,
        signed=signed,
    )
    layer = built.steps[-1]
    weights = np.full_like(layer.weights, 2 ** (w_bits - 1) - 1)
    weights[..., 0] = built.rng.integers(-3, 4, weights.shape[:-1])
    built.steps[-1] = dataclasses.replace(layer, weights=weights, gain=layer.gain * gain)
    built.pool("pool", 4, 1)
    built.layer("classifier", 2, 1, 1, 8, 8, signed=True)
    return lower(built.network())


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("channels", [16, 40, 100, 300])
def test_wide_layers(channels: int, signed: bool) -> None:
    model = wide_layer("conv", w_bits=8, channels=channels, gain=0.3, signed=signed)
    images = random_images(model, 3)
    quick, plain = trace(model, images), trace(model, images, fast=False)
    for name, values in plain.items():
        np.testing.assert_array_equal(quick[name], values)
    bounds = [
        step.bounds.accumulator for step in model.nodes if isinstance(step, IntegerConvolution)
    ]
    assert max(bounds) > 2**22


@settings(max_examples=200)
@given(data=st.data())
def test_requantisation_in_float64_is_exact(data: st.DataObject) -> None:
    """Around every place where rounding could differ: multipliers of any size, accumulators next to
    the ties.
    """
    real = (
        data.draw(st.floats(2.0**-34, 8.0))
        if data.draw(st.booleans())
        else 2.0 ** data.draw(st.integers(-34, 3))
    )
    multiplier, shift = (int(value) for value in quantize_multiplier(real))
    most = 2**21 - 1 >> max(shift, 0)
    near = data.draw(st.integers(-260, 260))
    centre = int((near + 0.5) / real) if real else 0
    accs = [a for a in range(centre - 20, centre + 21) if abs(a) <= most // 2] + data.draw(
        st.lists(st.integers(-most // 2, most // 2))
    )
    bias = data.draw(st.integers(-most // 2, most // 2))
    if not accs or not _fits_float64(most // 2, 0, bias, shift):
        return
    for signed in (False, True):
        _, low, high = value_range(8, signed)
        zero = 0 if signed else -128
        expected = np.clip(
            multiply_by_quantized_multiplier(accs, multiplier, shift) + zero, low, high
        )
        got = requantised(accs, bias, real, signed)
        np.testing.assert_array_equal(got, expected)
        assert expected.tolist() == [
            min(max(scalar.requantise(a, multiplier, shift) + zero, low), high) for a in accs
        ]


@pytest.mark.parametrize("bias", [0, 1 - 2**30, 2**30 - 12345])
def test_requantisation_beside_ties_of_large_sums(bias: int) -> None:
    """Sums so large that float64 cannot hold their product with a multiplier, chosen such that its
    last bits decide.
    """
    for acc in range(5, 120, 4):
        multiplier = round((3 * acc // 4 + 0.5) * 2**31 / acc)
        for nearby in (multiplier - 1, multiplier, multiplier + 1):
            got = requantised([acc, -acc], bias, nearby / 2**31, True)
            assert got.tolist() == [scalar.requantise(value, nearby, 0) for value in (acc, -acc)]


def test_sums_beyond_float32() -> None:
    """Sums above 2^24 that a bias brings back to a few levels: every unit of them shows."""
    built = Untrained((2, 3, 1200), np.random.default_rng(0))
    out = built.layer("layer", 4, 1, 1, 8, 8, signed=True)
    built.tensors[-1] = dataclasses.replace(out, scale=1 / 128)
    weights = np.full((4, 1, 1, 1200), 127)
    weights[:, 0, 0, 0] = [1, 2, 3, 4]
    largest = weights.sum(axis=(1, 2, 3)) * 127
    ones = np.ones(4)
    layer = dataclasses.replace(
        built.steps[-1], weights=weights, weight_scale=ones, gain=ones, offset=-largest / 128
    )
    built.steps[-1] = layer
    built.pool("pool", 3, 1, padding=(0, 1, 0, 0))
    built.layer("classifier", 2, 1, 1, 8, 8, signed=True)
    model = lower(built.network())
    images = np.full((20, 2, 3, 1200), 255, np.uint8)
    images[..., 0] -= np.random.default_rng(1).integers(0, 30, (20, 2, 3), np.uint8)
    values = trace(model, images)["layer output"]
    assert largest.min() > 2**24
    np.testing.assert_array_equal(values, (images[..., :1].astype(int) - 255) * [1, 2, 3, 4])


def requantised(accs: list[int], bias: int, real: float, signed: bool) -> np.ndarray:
    """Return what the fast way makes of accumulators: its own requantiser, fed with sums."""
    multiplier, shift = quantize_multiplier([real])
    built = Untrained((1, len(accs), 1), np.random.default_rng(0))
    built.layer("layer", 1, 1, 1, 8, 8, signed=signed)
    built.pool("pool", len(accs), 1, padding=(len(accs) // 2, (len(accs) - 1) // 2, 0, 0))
    built.layer("classifier", 1, 1, 1, 8, 8, signed=True)
    model = lower(built.network())
    step = model.nodes[0]
    assert isinstance(step, IntegerConvolution)
    changed = dataclasses.replace(
        step,
        bias=np.array([bias]),
        requantizer=dataclasses.replace(
            step.requantizer, multiplier=multiplier.astype(np.int32), shift=shift.astype(np.int32)
        ),
    )
    program = FastProgram(model, 1, {changed.output})
    target = model.tensor(changed.output)
    sums = np.array([accs], np.float64) - bias
    program._requantiser(changed, target, sums, [int(np.abs(sums).max())])()
    return program._levels(changed.output, 1).reshape(-1)


def test_benchmark_at_a_tiny_size(tmp_path) -> None:  # type: ignore[no-untyped-def]
    w4a4 = Bits(4, 4)
    blocks = (Block(kernel=3, stride=2, bottleneck=8, channels=4, bits=((w4a4,) * 3, (w4a4,) * 3)),)
    convolutions = [Convolution(kernel=k, stride=1, channels=4, bits=w4a4) for k in (3, 1)]
    net = Architecture(
        resolution=6,
        stem=convolutions[0],
        blocks=blocks,
        head=convolutions[1],
        classifier=Classifier(class_count=3, bits=w4a4),
    )
    (tmp_path / "net.yaml").write_text(dump_architecture(net), encoding="utf-8")
    rows = integer_reference.run(network=tmp_path / "net.yaml", images=4, compared=2)
    assert rows[-1].reached
    assert len(rows) == 3
