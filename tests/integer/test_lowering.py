"""Lowering against float arithmetic, bounds against all inputs, and every refusal."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas_engine.integer.arithmetic import round_half_away
from nas_engine.integer.bounds import accumulator_bounds, sum_range
from nas_engine.integer.lowering import lower
from nas_engine.integer.model import (
    LARGEST_SHIFT,
    LEAST_SHIFT,
    Addition,
    IntegerConvolution,
    IntegerModel,
    Requantizer,
)
from nas_engine.integer.reference import trace
from nas_engine.network.graph import NetworkError
from nas_engine.quantization.record import (
    QuantisedLayer,
    QuantisedNetwork,
    QuantisedTensor,
    weight_shift,
)
from nas_engine.testing.networks import Untrained, random_images, random_model, random_record


def small(**changes: Any) -> QuantisedNetwork:
    """Return a network of one 3 x 3 layer, a pool and a classifier; ``changes`` are those of the
    layer.
    """
    built = Untrained((4, 4, 2), np.random.default_rng(0))
    built.layer("layer", 5, 3, 1, 4, 8)
    built.steps[-1] = replace(built.steps[-1], **changes)
    built.pool("pool", 4, 1)
    built.layer("classifier", 3, 1, 1, 8, 8, signed=True)
    return built.network()


def float_output(network: QuantisedNetwork, step: QuantisedLayer, values: dict[str, Any]) -> Any:
    """Return a layer's real output in steps of its output tensor, unrounded and unclamped, from
    integer values of its inputs.
    """
    tensors = {tensor.name: tensor for tensor in network.tensors}

    def real(name: str) -> Any:
        return tensors[name].scale * (
            values[name].astype(np.float64) + (0 if tensors[name].signed else 128)
        )

    top, bottom, left, right = step.padding
    padded = np.pad(real(step.input), ((0, 0), (top, bottom), (left, right), (0, 0)))
    weights, out = step.weights * step.weight_scale[:, None, None, None], tensors[step.output]
    total = np.zeros((len(padded), out.height, out.width, out.channels))
    for i, j in itertools.product(range(step.kernel_height), range(step.kernel_width)):
        taps = padded[:, i:, j:][:, :: step.stride, :: step.stride][:, : out.height, : out.width]
        total += (
            taps * weights[:, i, j, 0] if step.kind == "depthwise" else taps @ weights[:, i, j].T
        )
    total = step.gain * total + step.offset
    with np.errstate(over="ignore"):
        return (total + (real(step.shortcut) if step.shortcut else 0)) / out.scale


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32 - 1))
def test_integers_follow_the_float_computation(seed: int) -> None:
    network = random_record(seed)
    model = lower(network)
    values = trace(model, random_images(model, 2, seed))
    lowered = {step.name: step for step in model.nodes if isinstance(step, IntegerConvolution)}
    for step in network.nodes:
        if not isinstance(step, QuantisedLayer):
            continue
        if step.shortcut is not None:
            continue  # its own result is kept in 8 bits before the addition, in float it is not
        spec = model.tensor(step.output)
        real = np.clip(float_output(network, step, values) + spec.zero_point, spec.low, spec.high)
        # Half a level for the last rounding; of an accumulator's unit, half for the bias and at
        # most one for the first rounding.
        requantizer = lowered[step.name].requantizer
        unit = np.ldexp(requantizer.multiplier.astype(np.float64), requantizer.shift - 31)
        assert (np.abs(values[step.output] - real) <= 0.5 + 1.5 * unit + 1e-4).all()


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_sign_of_the_gain(sign: float) -> None:
    plain = small(gain=np.full(5, 2.0))
    layer = plain.nodes[0]
    assert isinstance(layer, QuantisedLayer)
    turned = lower(small(gain=np.full(5, 2.0 * sign), weights=layer.weights * np.int8(sign)))
    original = lower(plain)
    for name in ("weights", "bias", "weight_scale"):
        np.testing.assert_array_equal(
            getattr(turned.nodes[0], name), getattr(original.nodes[0], name)
        )


def convolution(model: IntegerModel, index: int = 0) -> IntegerConvolution:
    step = model.nodes[index]
    assert isinstance(step, IntegerConvolution)
    return step


GAINS = st.one_of(
    st.sampled_from([0.0, 5e-324, 1e-30, 1e-12, 1.0]),
    st.floats(0, 1e-3),
    st.integers(-60, 0).map(lambda power: 2.0**power),
).flatmap(lambda gain: st.sampled_from([gain, -gain]))
OFFSETS = st.one_of(
    st.floats(-20, 20),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0.249188, -1e308, 2.0**31]),
)


def one_channel(
    gain: float, offset: float, layer: str, seed: int, bits: int
) -> tuple[QuantisedNetwork, QuantisedLayer]:
    """Return a network and that layer of it of which channel 0 has this gain and offset; the others
    are as they were.
    """
    built = Untrained((4, 4, 2), np.random.default_rng(seed))
    stream = built.layer("stem", 4, 3, 1, bits, 8)
    built.layer("expand", 6, 1, 1, bits, 5)
    filtered = built.layer("depthwise", 6, 3, 1, bits, 8, kind="depthwise")
    built.layer("project", 4, 1, 1, bits, 8, source=filtered, shortcut=stream, signed=True)
    built.layer("linear", 3, 1, 1, bits, 6, signed=True)
    built.pool("pool", 4, 1)
    built.layer("classifier", 3, 1, 1, 8, 8, signed=True)
    place = next(i for i, step in enumerate(built.steps) if step.name == layer)
    step = built.steps[place]
    assert isinstance(step, QuantisedLayer)
    column, shift = step.gain.copy(), step.offset.copy()
    column[0], shift[0] = gain, offset
    built.steps[place] = step = replace(step, gain=column, offset=shift)
    return built.network(), step


@settings(max_examples=150, deadline=None)
@given(
    gain=GAINS,
    offset=OFFSETS,
    layer=st.sampled_from(["stem", "expand", "depthwise", "project", "linear"]),
    seed=st.integers(0, 9),
    bits=st.sampled_from([2, 4, 8]),
)
def test_no_gain_or_offset_is_beyond_the_integers(
    gain: float, offset: float, layer: str, seed: int, bits: int
) -> None:
    network, step = one_channel(gain, offset, layer, seed, bits)
    model = lower(network)
    lowered = next(each for each in model.nodes if each.name == layer)
    assert isinstance(lowered, IntegerConvolution)
    assert lowered.requantizer.shift.min() >= -28
    values = trace(model, random_images(model, 2))
    target = model.tensor(step.output)
    if step.shortcut is None:
        real = np.clip(
            float_output(network, step, values) + target.zero_point, target.low, target.high
        )
    else:  # its own result, which is kept in int8, and the shortcut
        own = np.clip(float_output(network, replace(step, shortcut=None), values), -128, 127)
        shortcut = model.tensor(step.shortcut)
        real = (
            own
            + (values[step.shortcut] - float(shortcut.zero_point)) * shortcut.scale / target.scale
        )
        real = np.clip(real, target.low, target.high)
    found, real = values[step.output][..., 0], real[..., 0]
    if (
        not lowered.weights[0].any() and step.shortcut is None
    ):  # a constant: the level that rounding gives, and no other
        level = np.clip(
            round_half_away(np.clip(offset / target.scale, -1e9, 1e9)) + target.zero_point,
            target.low,
            target.high,
        )
        assert (found == level).all()
    unit = np.ldexp(
        float(lowered.requantizer.multiplier[0]), int(lowered.requantizer.shift[0]) - 31
    )
    coarse = (
        2.0**-8 * step.weights[0].size if unit < 2.0**-20 else 0.0
    )  # weights in a coarser unit, see docs/integer_model.md
    assert (
        np.abs(found - real)
        <= (0.5 if step.shortcut is None else 1.0) + 1.5 * unit + coarse + 2.0**-9
    ).all()


@pytest.mark.parametrize("gain", [0.0, 1e-12, -1e-30, 5e-324])
@pytest.mark.parametrize("offset", [0.0, 0.31, -0.2, 1e3, -1e30])
def test_silent_channels_give_their_offset(gain: float, offset: float) -> None:
    network = small(gain=np.full(5, gain), offset=np.full(5, offset))
    model = lower(network)
    layer, target = convolution(model), model.tensor("layer output")
    assert not layer.weights.any()
    values = trace(model, random_images(model, 2))["layer output"]
    expected = np.clip(np.rint(offset / target.scale) + target.zero_point, target.low, target.high)
    assert (values == expected).all()


def test_weight_shift() -> None:
    assert [weight_shift(bits) for bits in range(2, 9)] == [6, 5, 4, 3, 2, 1, 0]


def test_carried_shift() -> None:
    record = small(weight_bits=2, weights=np.random.default_rng(0).integers(-1, 2, (5, 3, 3, 2)))
    layer, source = convolution(lower(record)), record.nodes[0]
    assert isinstance(source, QuantisedLayer)
    assert layer.weight_shift == 6
    np.testing.assert_array_equal(
        layer.weight_scale, (source.weight_scale * np.abs(source.gain) / 64).astype(np.float32)
    )


def test_lowering_is_exact_in_its_weights() -> None:
    record = small()
    layer, source = convolution(lower(record)), record.nodes[0]
    assert isinstance(source, QuantisedLayer)
    np.testing.assert_array_equal(np.abs(layer.weights), np.abs(source.weights))
    scale = record.tensors[0].scale * layer.weight_scale.astype(np.float64)
    assert np.abs(layer.bias - source.offset / scale).max() <= 0.5


@settings(max_examples=40)
@given(
    weights=st.lists(st.integers(-3, 3), min_size=1, max_size=3),
    bias=st.integers(-50, 50),
    shift=st.integers(0, 2),
    data=st.data(),
)
def test_bounds_against_all_inputs(
    weights: list[int], bias: int, shift: int, data: st.DataObject
) -> None:
    low, high = data.draw(st.sampled_from([(0, 3), (-2, 1), (0, 7), (-4, 3)]))
    array = np.array(weights, np.int8).reshape(1, 1, 1, -1)
    sums = [
        sum(x * w for x, w in zip(xs, weights, strict=True))
        for xs in itertools.product(range(low, high + 1), repeat=len(weights))
    ]
    least, most = sum_range(array, low, high)
    assert (least[0], most[0]) == (min(sums), max(sums))
    bounds = accumulator_bounds("layer", (least, most), shift, [bias], [1])
    assert bounds.accumulator == max(abs((total << shift) + bias) for total in sums)
    assert bounds.shifted == 2 * bounds.accumulator


def test_bounds_hold_and_are_stored() -> None:
    for seed in range(5):
        for step in random_model(seed).nodes:
            if isinstance(step, IntegerConvolution):
                assert 0 <= step.bounds.accumulator <= step.bounds.shifted < 2**31


def test_arrays_cannot_be_written() -> None:
    record = small()
    for step in (record.nodes[0], lower(record).nodes[0]):
        with pytest.raises(ValueError, match="read-only"):
            step.weights[0] = 0  # type: ignore[union-attr]


@pytest.mark.parametrize(("shortcut", "own", "who"), [(19, 0, "'big'"), (0, 19, "the result")])
def test_addition_of_scales_out_of_proportion(shortcut: int, own: int, who: str) -> None:
    first = QuantisedTensor(
        name="big", height=1, width=1, channels=1, bits=8, signed=True, scale=2.0**shortcut
    )
    out = replace(first, name="out", scale=1.0)
    with pytest.raises(
        NetworkError,
        match=rf"out: the scale of {who} .* an addition needs scales of the same order",
    ):
        Addition.between(first, 2.0**own, out)
    almost = float(np.nextafter(np.float32(2.0**19), np.float32(0)))
    Addition.between(replace(first, scale=min(first.scale, almost)), min(2.0**own, almost), out)


def test_own_result_without_a_scale_has_that_of_the_output() -> None:
    network = random_record(3)
    scales = {tensor.name: tensor.scale for tensor in network.tensors}
    steps = tuple(
        replace(step, own_scale=scales[step.output])
        if isinstance(step, QuantisedLayer) and step.shortcut is not None
        else step
        for step in network.nodes
    )
    assert any(getattr(step, "own_scale", None) is not None for step in steps)
    images = random_images(lower(network), 2)
    explicit, implied = lower(replace(network, nodes=steps)), lower(network)
    for name, values in trace(implied, images).items():
        np.testing.assert_array_equal(trace(explicit, images)[name], values)
    for one, other in zip(explicit.nodes, implied.nodes, strict=True):
        assert getattr(one, "addition", None) == getattr(other, "addition", None)


IMAGE = QuantisedTensor(
    name="image", height=4, width=4, channels=2, bits=8, signed=True, scale=1 / 128
)
REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "kind": (
        lambda: small(kind="dense"),
        "layer: the kind is 'dense'; expected one of: conv, depthwise, average_pool",
    ),
    "weights beyond": (
        lambda: small(weight_bits=2),
        "layer: the weights .int8. are not whole numbers from -1 to 1 .2 bits.",
    ),
    "weights real": (
        lambda: small(weights=np.zeros((5, 3, 3, 2))),
        "layer: the weights .float64. are not whole numbers",
    ),
    "weights shape": (
        lambda: small(weights=np.zeros((5, 3, 2, 2), int)),
        r"shape \[5, 3, 2, 2\]; expected \[O, 3, 3, I\]",
    ),
    "weights channels": (
        lambda: small(weights=np.zeros((5, 3, 3, 4), int)),
        "layer: the weights take 4 channels; 'image' has 2",
    ),
    "weight bits": (
        lambda: small(weight_bits=9),
        "layer: weight bits is 9; expected a whole number from 2 to 8",
    ),
    "step": (
        lambda: small(weight_scale=np.zeros(5)),
        "layer: weight_scale holds 0.0; expected numbers above 0",
    ),
    "gain": (
        lambda: small(gain=np.full(5, np.nan)),
        r"layer: gain has shape \[5\] of float64; expected 5 finite numbers",
    ),
    "offset": (
        lambda: small(offset=np.zeros(4)),
        r"layer: offset has shape \[4\] of float64; expected 5 finite numbers",
    ),
    "stride": (
        lambda: small(stride=0),
        "layer: stride is 0; expected a whole number from 1 to 65,536",
    ),
    "padding": (
        lambda: small(padding=(1, 1, 1)),
        r"layer: padding is \(1, 1, 1\); expected \(top, bottom, left, right\)",
    ),
    "padding size": (
        lambda: small(padding=(3, 1, 1, 1)),
        "layer: padding is 3; expected a whole number from 0 to 2",
    ),
    "shape": (lambda: small(stride=2), "layer: 'layer output' is 4x4x5; expected 2x2x5"),
    "name": (
        lambda: small(name="a\nb"),
        "step: the name is .*; expected a text of 1 to 100 printable characters",
    ),
    "same name": (lambda: small(name="pool"), "pool: two steps have this name; give each its own"),
    "input": (
        lambda: small(inputs=("layer output",)),
        "layer: reads 'layer output' before a step has made it; put the steps in order",
    ),
    "output": (
        lambda: small(output="image"),
        "layer: writes 'image'; expected a tensor of the network that no other step writes",
    ),
    "shortcut": (
        lambda: small(shortcut="image"),
        "layer: the shortcut 'image' has another shape than 'layer output'; expected the same",
    ),
    "tensor bits": (
        lambda: replace(IMAGE, bits=1),
        "image: bits is 1; expected a whole number from 2 to 8",
    ),
    "tensor sign": (lambda: replace(IMAGE, signed=1), "image: signed is 1; expected true or false"),
    "tensor step": (
        lambda: replace(IMAGE, scale=-1.0),
        "image: the scale is -1.0; expected a finite number above 0",
    ),
    "tensor twice": (
        lambda: replace(small(), tensors=(IMAGE, *small().tensors)),
        "image: two tensors have this name",
    ),
    "tensor idle": (
        lambda: replace(small(), tensors=(replace(IMAGE, name="x"), *small().tensors)),
        "x: no step makes this tensor",
    ),
    "image": (
        lambda: replace(small(), inputs=("x",)),
        "x: is an input but no tensor of the network; add it",
    ),
    "logits": (
        lambda: replace(small(), outputs=("layer output",)),
        "layer output: the logits must be what the last step makes, and all of it",
    ),
    "classes": (
        lambda: replace(small(), classes=("a",)),
        "classifier output: is 1x1x3, signed 8 bits; expected 1x1x1 .one channel per",
    ),
    "class": (
        lambda: replace(small(), classes=("a", "", "b")),
        "class: the name is ''; expected a text",
    ),
    "pool step": (
        lambda: replace(
            small(),
            tensors=tuple(
                replace(t, scale=1.0) if t.name == "pool output" else t for t in small().tensors
            ),
        ),
        "pool: the scales are .* in and 1.0 out; an average pool keeps its input's scale",
    ),
    "pool bits": (
        lambda: replace(
            small(),
            tensors=tuple(
                replace(t, bits=4) if t.name == "pool output" else t for t in small().tensors
            ),
        ),
        "pool: 'layer output' and 'pool output' differ in bits or sign; an average pool keeps both",
    ),
    "overflow": (
        lambda: lower(small(weight_scale=np.full(5, 1e8))),
        (
            "layer: an accumulator can reach [0-9,]*, int32 ends at 2,147,483,647; use fewer "
            "weight bits or a larger output step"
        ),
    ),
    "float32": (
        lambda: lower(small(weight_scale=np.full(5, 1e300))),
        "layer: weight_scale times gain .*; expected numbers above 0 that",
    ),
    "tiny step": (
        lambda: lower(
            replace(small(), tensors=(replace(IMAGE, scale=1e-60), *small().tensors[1:]))
        ),
        "image: the scale is 0.0",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_in_one_line(case: str) -> None:
    make, message = REFUSED[case]
    with pytest.raises(
        NetworkError, match=f"^{message}" if ":" in message[:20] else message
    ) as caught:
        make()
    assert "\n" not in str(caught.value)


def changed(**changes: Any) -> IntegerModel:
    model = lower(small())
    return replace(model, nodes=(replace(convolution(model), **changes), *model.nodes[1:]))


@pytest.mark.parametrize("shift", [-(2**31), -32, 31, 32, 121, 128, 255, 2**31 - 1])
def test_a_shift_that_the_c_cannot_execute_is_refused(shift: int) -> None:
    multiplier = np.array([2**30, 0, 2**31 - 1], np.int32)
    for edge in (LEAST_SHIFT, 0, LARGEST_SHIFT):
        assert (
            Requantizer(multiplier=multiplier, shift=np.array([edge, 0, edge], np.int32)).shift[0]
            == edge
        )
    message = (
        rf"^requantizer: the shift of channel 2 is {shift}; expected -31 to 30: the scale of its "
        r"weights is out of proportion"
    )
    with pytest.raises(NetworkError, match=message):
        Requantizer(multiplier=multiplier, shift=np.array([1, 0, shift], np.int32))


@pytest.mark.parametrize("multiplier", [-1, 1, 2**30 - 1, -(2**31)])
def test_a_multiplier_that_no_scale_gives_is_refused(multiplier: int) -> None:
    with pytest.raises(
        NetworkError,
        match=(
            rf"^requantizer: the multiplier of channel 0 is {multiplier}; expected 0, or 1073741824"
        ),
    ):
        Requantizer(multiplier=np.array([multiplier], np.int32), shift=np.array([0], np.int32))


@pytest.mark.parametrize("power", [31, 40, 120])
def test_a_scale_out_of_proportion_is_refused_also_without_weights(power: int) -> None:
    # An accumulator of 0 stays within int32 whatever its shift: the bounds alone would let such a
    # channel pass.
    assert accumulator_bounds("layer", (np.array([0]), np.array([0])), 0, [0], [power]).shifted == 0
    with pytest.raises(
        NetworkError,
        match=rf"^requantizer: the shift of channel 1 is {power + 1}; expected -31 to 30",
    ):
        Requantizer.between(0.5, np.array([1.0, 2.0**power], np.float32), 0.5)


def test_numbers_that_do_not_follow_are_refused() -> None:
    layer = convolution(lower(small()))
    other = Requantizer(multiplier=layer.requantizer.multiplier, shift=layer.requantizer.shift + 1)
    with pytest.raises(
        NetworkError, match="layer: shift of the requantizer does not follow from the scales"
    ):
        changed(requantizer=other)
    with pytest.raises(
        NetworkError,
        match=r"layer: the bounds are .* its weights give .*; lower the network again",
    ):
        changed(bias=layer.bias + 1)
    with pytest.raises(
        NetworkError, match=r"layer: a bias is -2147483648; expected at most ±2147483647"
    ):
        changed(bias=np.full(5, -(2**31)))
    with pytest.raises(
        NetworkError,
        match=r"layer: bias has shape .* expected 5 whole numbers, one per channel",
    ):
        changed(bias=layer.bias + 0.5)
    with pytest.raises(NetworkError, match=r"provenance: is .*; expected texts by name"):
        replace(lower(small()), provenance={"seed": 1})  # type: ignore[dict-item]
