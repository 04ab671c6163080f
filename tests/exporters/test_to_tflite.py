"""TFLite files: every tensor is the reference's, every range is enforced, and the file says what it
is.
"""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from nas_engine.exporters.exporter import ExportError
from nas_engine.exporters.tflite_file import ALIGNMENT, VERSIONS, TfliteFile, packed_int4
from nas_engine.exporters.to_tflite import (
    EXACT_NAME,
    IMAGE,
    INT4_NAME,
    LOGITS,
    METADATA_NAME,
    SIGNATURE,
    TfliteExporter,
    exceptions,
    int4_layers,
    pool_window,
    relu6_range,
)
from nas_engine.integer.lowering import lower
from nas_engine.integer.model import IntegerConvolution, IntegerModel
from nas_engine.integer.reference import run, trace
from nas_engine.network.graph import Node
from nas_engine.quantization.record import QuantisedLayer, QuantisedTensor
from nas_engine.testing.networks import RESIDUAL, Untrained, random_images, random_model
from tests.integer.tflite_runner import (
    MANIFEST,
    export_files,
    interpreter,
    opened,
    run_file,
    run_tflite,
    schema,
)

WIDTHS = range(2, 9)


def assert_no_difference(model: IntegerModel, count: int = 3) -> dict[str, npt.NDArray[np.int8]]:
    images = random_images(model, count)
    theirs = run_tflite(model, images)
    for name, values in trace(model, images).items():
        np.testing.assert_array_equal(values, theirs[name], err_msg=name)
    np.testing.assert_array_equal(theirs[model.logits][:, 0, 0], theirs[f"{model.logits} flat"])
    return theirs


def finish(built: Untrained, bits: int = 8) -> IntegerModel:
    last = built.tensors[-1]
    built.pool("pool", max(last.height, last.width), 1, padding=_to_square(last.height, last.width))
    built.layer("classifier", 5, 1, 1, bits, 8, signed=True)
    return lower(built.network())


def _to_square(height: int, width: int) -> tuple[int, int, int, int]:
    size = max(height, width)
    down, right = size - height, size - width
    return down // 2, down - down // 2, right // 2, right - right // 2


def widened(built: Untrained, factor: float) -> None:
    """Enlarge the results of the layer added last, so that they leave the range of its tensor."""
    layer = built.steps[-1]
    assert isinstance(layer, QuantisedLayer)
    built.steps[-1] = replace(layer, gain=layer.gain * factor, offset=layer.offset * factor)


def every_width(w_bits: int) -> IntegerModel:
    """Return a network with weights of one width between activations of all widths, signed and not,
    with all kinds of layers.
    """
    built = Untrained((6, 5, 3), np.random.default_rng(w_bits))
    stream = built.layer("stem", 4, 3, 1, w_bits, 8)
    for signed in (False, True):
        for bits in WIDTHS:
            name = f"{'signed' if signed else 'unsigned'} {bits}"
            built.layer(f"{name}.expand", 6, 1, 1, w_bits, bits, signed=signed, source=stream)
            widened(built, 5.0)
            built.layer(f"{name}.depthwise", 6, 3, 1, w_bits, bits, kind="depthwise", signed=signed)
            widened(built, 5.0)
            stream = built.layer(
                f"{name}.project", 4, 1, 1, w_bits, bits, signed=signed, shortcut=stream
            )
            widened(built, 5.0)
    return finish(built, w_bits)


@pytest.mark.parametrize("w_bits", WIDTHS)
def test_every_pair_of_widths(w_bits: int) -> None:
    model = every_width(w_bits)
    theirs = assert_no_difference(model, 4)
    cut_above, cut_below = set(), set()
    for spec in model.tensors:
        values = theirs[spec.name]
        assert spec.low <= values.min()
        assert values.max() <= spec.high
        before = theirs.get(f"{spec.name} unclamped")
        assert (before is None) == (spec.bits == 8)
        if before is not None and before.max() > spec.high:
            cut_above.add((spec.bits, spec.signed))
        if before is not None and before.min() < spec.low:
            cut_below.add((spec.bits, spec.signed))
    assert cut_above == {(bits, signed) for bits in range(2, 8) for signed in (False, True)}
    assert cut_below == {(bits, True) for bits in range(2, 8)}


@pytest.mark.parametrize("seed", [*range(8), *RESIDUAL])
def test_random_networks(seed: int) -> None:
    assert_no_difference(random_model(seed))


@pytest.mark.parametrize("bits", range(2, 8))
def test_relu6_stands_for_a_range_only_where_it_is_exactly_that(bits: int) -> None:
    most = 2**bits - 1
    for scale, fused in (
        (6 / most, True),
        (6 / (most + 0.49), True),
        (6 / (most + 0.51), False),
        (6 / (most - 0.51), False),
        (0.9, False),
    ):
        built = Untrained((5, 5, 3), np.random.default_rng(bits))
        built.layer("stem", 6, 3, 1, 8, bits)
        widened(built, 4.0 * scale / built.tensors[-1].scale)
        built.tensors[-1] = replace(built.tensors[-1], scale=float(np.float32(scale)))
        model = finish(built)
        fused = fused or (scale, bits) == (
            0.9,
            3,
        )  # 6 / 0.9 is 6.67, and 7 is the highest of three bits
        assert relu6_range(model.tensor("stem output")) is fused
        assert ("MINIMUM" in operators(export_files(model)[EXACT_NAME])) is not fused
        values = assert_no_difference(model)["stem output"]
        assert (values.min(), values.max()) == (-128, -128 + most)


def operators(content: bytes) -> list[str]:
    made = opened(content)
    names = {value: name for name, value in vars(schema.BuiltinOperator).items()}
    return [
        names[made.operatorCodes[operator.opcodeIndex].builtinCode]
        for operator in made.subgraphs[0].operators
    ]


@pytest.mark.parametrize("kind", ["conv", "depthwise"])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(
    ("stride", "padding", "explicit"),
    [
        (1, (1, 1, 1, 1), False),
        (1, (0, 0, 0, 0), False),
        (2, (0, 1, 0, 1), False),
        (2, (1, 1, 1, 1), True),
        (2, (1, 0, 1, 0), True),
        (1, (2, 0, 1, 1), True),
        (1, (0, 0, 1, 1), True),
    ],
)
def test_padding(
    kind: str, signed: bool, stride: int, padding: tuple[int, int, int, int], explicit: bool
) -> None:
    """SAME and VALID where they are; a border of zero points otherwise."""
    built = Untrained((6, 8, 3), np.random.default_rng(0))
    built.layer("stem", 4, 1, 1, 8, 5, signed=signed)
    built.layer("layer", 4, 3, stride, 8, 8, kind=kind, signed=signed)
    height = (6 + padding[0] + padding[1] - 3) // stride + 1
    width = (8 + padding[2] + padding[3] - 3) // stride + 1
    layer = built.steps[-1]
    built.steps[-1] = replace(layer, padding=padding)
    built.tensors[-1] = replace(built.tensors[-1], height=height, width=width)
    model = finish(built)
    assert_no_difference(model)
    assert ("PADV2" in operators(export_files(model)[EXACT_NAME])) is explicit


def _pool(
    size: tuple[int, int], kernel: int, stride: int, padding: tuple[int, int, int, int]
) -> IntegerModel:
    built = Untrained((*size, 3), np.random.default_rng(1))
    built.layer("stem", 4, 1, 1, 8, 8)
    built.pool("first", kernel, stride, padding=padding)
    return finish(built)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding"),
    [
        ((6, 8), 2, 2, (0, 0, 0, 0)),
        ((7, 8), 2, 2, (0, 1, 0, 0)),
        ((7, 7), 3, 1, (1, 1, 1, 1)),
        ((7, 5), 7, 1, (0, 0, 1, 1)),  # one window over all
        (
            (3, 4),
            4,
            3,
            (3, 0, 0, 0),
        ),  # one window over the first row, and rows beside it that do not count
        ((1, 5), 3, 2, (1, 1, 1, 1)),
    ],
)
def test_average_pool(
    size: tuple[int, int], kernel: int, stride: int, padding: tuple[int, int, int, int]
) -> None:
    assert_no_difference(_pool(size, kernel, stride, padding))


def test_a_pool_that_tflite_does_not_know_is_refused() -> None:
    with pytest.raises(
        ExportError,
        match=r"^TFLite: first: an average pool of 2 x 2, stride 1, padding \(1, 0, 1, 0\); ",
    ) as caught:
        export_files(_pool((5, 5), 2, 1, (1, 0, 1, 0)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("seed", range(200))
def test_pool_windows_hold_the_same_elements(seed: int) -> None:
    """A window found for TFLite covers, place by place, what the model's covers."""
    rng = np.random.default_rng(seed)
    kernel, stride = (int(rng.integers(1, 6)) for _ in range(2))
    pads = [int(rng.integers(0, kernel)) for _ in range(4)]
    sizes = [int(rng.integers(1, 8)) for _ in range(2)]
    sides = list(zip(sizes, (pads[:2], pads[2:]), strict=True))
    if any(size + sum(pad) < kernel for size, pad in sides):
        return
    outs = [(size + sum(pad) - kernel) // stride + 1 for size, pad in sides]
    spec = QuantisedTensor(
        name="in", height=sizes[0], width=sizes[1], channels=1, bits=8, signed=True, scale=0.5
    )
    target = replace(spec, name="out", height=outs[0], width=outs[1])
    step = Node(
        name="pool",
        kind="average_pool",
        inputs=("in",),
        output="out",
        kernel_height=kernel,
        kernel_width=kernel,
        stride=stride,
        padding=(pads[0], pads[1], pads[2], pads[3]),
    )
    window = pool_window(step, spec, target)
    if window is None:
        return
    for (size, pad), out, side in zip(sides, outs, (window.rows, window.columns), strict=True):
        before = max((out - 1) * side.stride + side.kernel - size, 0) // 2 if window.same else 0
        made = -(-size // side.stride) if window.same else (size - side.kernel) // side.stride + 1
        assert made == out
        for place in range(out):
            ours = range(
                max(0, place * stride - pad[0]), min(size, place * stride - pad[0] + kernel)
            )
            assert ours == range(
                max(0, place * side.stride - before),
                min(size, place * side.stride - before + side.kernel),
            )


def tensors(content: bytes) -> dict[str, Any]:
    made = {tensor.name.decode(): tensor for tensor in opened(content).subgraphs[0].tensors}
    assert len(made) == len(opened(content).subgraphs[0].tensors)
    return made


def data(content: bytes, tensor: Any) -> npt.NDArray[np.uint8]:
    return np.asarray(opened(content).buffers[tensor.buffer].data)


def test_what_the_file_says() -> None:
    model = random_model(3)
    content = export_files(model)[EXACT_NAME]
    assert content[4:8] == b"TFL3"
    made, named = opened(content), tensors(content)
    graph = made.subgraphs[0]
    image, logits = graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]]
    assert (image.name.decode(), list(image.shape)) == (
        model.image,
        [1, *model.tensor(model.image).shape],
    )
    assert list(logits.shape) == [1, len(model.classes)]
    assert {image.type, logits.type} == {schema.TensorType.INT8}
    for spec in model.tensors:
        quantisation = named[spec.name].quantization
        assert (list(quantisation.scale), list(quantisation.zeroPoint)) == (
            [np.float32(spec.scale)],
            [spec.zero_point],
        )
    for step in model.nodes:
        if not isinstance(step, IntegerConvolution):
            continue
        weights, bias = named[f"{step.name} weights"], named[f"{step.name} bias"]
        depthwise = step.kind == "depthwise"
        carried = step.weights << np.int8(step.weight_shift)
        expected = carried[..., 0].transpose(1, 2, 0)[None] if depthwise else carried
        np.testing.assert_array_equal(
            data(content, weights).view(np.int8).reshape(weights.shape), expected
        )
        assert weights.quantization.quantizedDimension == (3 if depthwise else 0)
        np.testing.assert_array_equal(weights.quantization.scale, step.weight_scale)
        np.testing.assert_array_equal(
            bias.quantization.scale, np.float32(model.tensor(step.input).scale) * step.weight_scale
        )
        np.testing.assert_array_equal(data(content, bias).view("<i4"), step.bias)
    names = {value: name for name, value in vars(schema.BuiltinOperator).items()}
    assert {
        names[code.builtinCode]: code.version for code in made.operatorCodes
    }.items() <= VERSIONS.items()
    assert f"{len(model.classes)} classes" in made.description.decode()


@pytest.mark.parametrize("name", [EXACT_NAME, INT4_NAME])
def test_the_manifest_comes_back_from_the_metadata(name: str) -> None:
    content = export_files(random_model(3))[name]
    made = opened(content)
    held = {entry.name.decode(): bytes(made.buffers[entry.buffer].data) for entry in made.metadata}
    assert json.loads(held[METADATA_NAME]) == MANIFEST
    assert (
        held[METADATA_NAME]
        == json.dumps(MANIFEST, ensure_ascii=False, separators=(",", ":")).encode()
    )


@pytest.mark.parametrize("name", [EXACT_NAME, INT4_NAME])
def test_without_metadata_the_network_is_the_same(name: str) -> None:
    model = random_model(3)
    content = export_files(model, metadata=False)[name]
    made = opened(content)
    assert not made.metadata
    assert METADATA_NAME not in made.description.decode()
    assert len(content) < len(export_files(model)[name])
    images = random_images(model, 2)
    for tensor, values in run_file(export_files(model)[name], images).items():
        np.testing.assert_array_equal(run_file(content, images)[tensor], values)


@pytest.mark.parametrize("metadata", [True, False])
def test_the_signature_takes_the_image_and_gives_the_logits(metadata: bool) -> None:
    model = random_model(3)
    made = interpreter.Interpreter(model_content=export_files(model, metadata=metadata)[EXACT_NAME])
    assert made.get_signature_list() == {SIGNATURE: {"inputs": [IMAGE], "outputs": [LOGITS]}}
    runner, images = made.get_signature_runner(), random_images(model, 2)
    for image, expected in zip(images, run(model, images), strict=True):
        found = runner(**{IMAGE: (image.astype(np.int16) - 128).astype(np.int8)[None]})
        np.testing.assert_array_equal(found[LOGITS], expected[None])


def test_constants_are_aligned() -> None:
    for content in export_files(random_model(3)).values():
        made = schema.Model.GetRootAsModel(content, 0)
        buffers = [made.Buffers(number) for number in range(made.BuffersLength())]
        starts = [
            buffer._tab.Vector(buffer._tab.Offset(4))
            for buffer in buffers
            if not buffer.DataIsNone()
        ]
        assert len(starts) > 10
        assert not any(start % ALIGNMENT for start in starts)


def test_the_same_network_gives_the_same_bytes() -> None:
    assert export_files(random_model(5)) == export_files(random_model(5))
    assert export_files(random_model(5)) != export_files(random_model(6))


def test_two_tensors_never_share_a_name() -> None:
    made = TfliteFile()
    first, second = (made.tensor("stem output unclamped", (1, 2), 0.5) for _ in range(2))
    content = made.finish(first, second, "")
    assert list(tensors(content)) == ["stem output unclamped", "stem output unclamped_"]


def test_int4_buffer() -> None:
    assert packed_int4(np.array([1, -1, 7, -8, 3], np.int8)).tolist() == [0xF1, 0x87, 0x03]


@pytest.mark.parametrize("w_bits", WIDTHS)
def test_int4_file(w_bits: int) -> None:
    """Weights of at most 4 bits are INT4, with as many zeros behind as there is room for; its
    results stay near the exact ones.
    """
    built = Untrained((9, 9, 3), np.random.default_rng(w_bits))
    built.layer("stem", 5, 3, 1, w_bits, 8, signed=True)
    built.layer("depthwise", 5, 3, 1, w_bits, 8, kind="depthwise")
    model = finish(built)
    files = export_files(model)
    if w_bits > 4:
        assert list(files) == [EXACT_NAME]
        assert not int4_layers(model)
        return
    content, named, exact = files[INT4_NAME], tensors(files[INT4_NAME]), tensors(files[EXACT_NAME])
    assert int4_layers(model) == ("stem", "depthwise")
    for step in model.nodes[:2]:
        assert isinstance(step, IntegerConvolution)
        weights, bias = named[f"{step.name} weights"], named[f"{step.name} bias"]
        assert weights.type == schema.TensorType.INT4
        halves = data(content, weights)
        values = (
            np.stack([halves & 15, halves >> 4], axis=1)
            .reshape(-1)[: step.weights.size]
            .astype(np.int8)
        )
        whole = data(files[EXACT_NAME], exact[f"{step.name} weights"]).view(np.int8)
        np.testing.assert_array_equal((values << 4).astype(np.int8), whole)
        np.testing.assert_array_equal(weights.quantization.scale, step.weight_scale * 16)
        rounding = data(content, bias).view("<i4") * 16.0 - step.bias
        assert np.abs(rounding).max() <= 8
    assert named["classifier weights"].type == schema.TensorType.INT8
    images = random_images(model, 3)
    theirs, ours = run_file(content, images), trace(model, images)
    differences = np.abs(theirs["stem output"].astype(int) - ours["stem output"])
    assert differences.max() <= 1
    assert differences.mean() < 0.1
    assert len(content) < len(files[EXACT_NAME])


def test_exceptions_are_named() -> None:
    model = random_model(3)
    lines = exceptions(model)
    assert all("\n" not in line for line in lines)
    assert lines[0].startswith(
        f"{INT4_NAME}: weights of {len(int4_layers(model))} layers "
        f"({', '.join(int4_layers(model))}) "
    )
    built = Untrained((4, 4, 3), np.random.default_rng(0))
    built.layer("stem", 5, 3, 1, 8, 8)
    assert exceptions(finish(built)) == ()


@pytest.mark.parametrize(
    ("gone", "said"), [("flatbuffers", "flatbuffers"), ("schema_py_generated", "ai-edge-litert")]
)
def test_a_missing_package_is_named_with_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, gone: str, said: str
) -> None:
    assert TfliteExporter().missing() is None
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *more: None if name.endswith(gone) else find(name, *more),
    )
    expected = f"needs .*{said}; install it with: pip install 'nas-search\\[export\\]'$"
    problem = TfliteExporter().missing()
    assert problem is not None
    with pytest.raises(ExportError, match=expected):
        export_files(random_model(3))
