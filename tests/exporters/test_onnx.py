"""Both ONNX files: what they hold, and that tools of others read it. That they compute the right
numbers: tests/verification.
"""

from __future__ import annotations

import importlib.util
import json
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

import nas_engine
from nas_engine.costs.plan import MemoryPlan
from nas_engine.exporters import onnx_integer, onnx_qcdq
from nas_engine.exporters.exporter import ExportError, ExportSubject
from nas_engine.exporters.onnx_graph import CLASSES_KEY, QUANT_KEY, OnnxGraph
from nas_engine.exporters.to_onnx import OnnxExporter
from nas_engine.integer.model import IntegerConvolution, IntegerModel
from nas_engine.integer.store import GoldenVectors
from nas_engine.testing.networks import random_images, random_model

onnx = pytest.importorskip("onnx")

INTEGER, QCDQ = onnx_integer.FILE_NAME, onnx_qcdq.FILE_NAME
SEEDS = (1, 14, 19, 1003, 1005)
"""Networks with pooled shortcuts, additions of two scales, and weights of all widths."""
MANIFEST = {"format": "test", "layers": [{"name": "stem", "scale": 0.1}], "text": "größer"}


def subject(model: IntegerModel, manifest: Mapping[str, Any] = MANIFEST) -> ExportSubject:
    plan = MemoryPlan(arena_bytes=0, steps=(), tensors=())
    return ExportSubject(
        model=model,
        golden=GoldenVectors.of(model, random_images(model, 1)),
        plan=plan,
        manifest=manifest,
    )


def export(model: IntegerModel) -> dict[str, Any]:
    return {
        name: onnx.load_model_from_string(data)
        for name, data in OnnxExporter().files(subject(model)).items()
    }


def convolutions(model: IntegerModel) -> list[IntegerConvolution]:
    return [step for step in model.nodes if isinstance(step, IntegerConvolution)]


def widths(proto: Any) -> dict[str, str]:
    return {
        annotation.tensor_name: entry.value
        for annotation in proto.graph.quantization_annotation
        for entry in annotation.quant_parameter_tensor_names
        if entry.key == "finn_datatype"
    }


def arrays(proto: Any) -> dict[str, Any]:
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}


def shape(value: Any) -> list[Any]:
    return [place.dim_param or place.dim_value for place in value.type.tensor_type.shape.dim]


@pytest.mark.parametrize("seed", SEEDS)
def test_the_checker_passes(seed: int) -> None:
    for proto in export(random_model(seed)).values():
        onnx.checker.check_model(proto, full_check=True)
        assert {node.domain for node in proto.graph.node} == {""}


def test_the_same_network_gives_the_same_bytes() -> None:
    first, second = (OnnxExporter().files(subject(random_model(14))) for _ in range(2))
    assert first == second
    assert set(first) == {"model_int.onnx", "model_qcdq.onnx"}


def test_versions_are_those_that_runtimes_read() -> None:
    found = {
        name: (proto.opset_import[0].version, proto.ir_version)
        for name, proto in export(random_model(1)).items()
    }
    assert found == {INTEGER: (21, 10), QCDQ: (17, 8)}


def test_metadata() -> None:
    model = random_model(3)
    for proto in export(model).values():
        metadata = {entry.key: entry.value for entry in proto.metadata_props}
        assert json.loads(metadata[QUANT_KEY]) == MANIFEST
        assert metadata[QUANT_KEY].startswith('{"format":"test","layers":[{"name":"stem",')
        assert json.loads(metadata[CLASSES_KEY]) == list(model.classes)
        assert (proto.producer_name, proto.producer_version) == (
            "nas-search",
            nas_engine.__version__,
        )


def test_inputs_and_outputs() -> None:
    model = random_model(3)
    image = model.tensor(model.image)
    for name, (into, out) in {INTEGER: ("UINT8", "INT8"), QCDQ: ("FLOAT", "FLOAT")}.items():
        graph = export(model)[name].graph
        (entry,), (leave,) = graph.input, graph.output
        assert (entry.name, leave.name) == (model.image, model.logits)
        types = [
            onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type)
            for value in (entry, leave)
        ]
        assert types == [into, out]
        assert shape(entry) == ["N", image.channels, image.height, image.width]
        assert shape(leave) == ["N", len(model.classes)]


@pytest.mark.parametrize("seed", SEEDS)
def test_widths_are_annotated(seed: int) -> None:
    model = random_model(seed)
    files = export(model)
    weights = {f"{step.name}.weights": f"INT{step.weight_bits}" for step in convolutions(model)}
    found = widths(files[INTEGER])
    inside = {
        tensor.name: f"UINT{tensor.bits}" for tensor in model.tensors if tensor.name != model.logits
    }
    assert found.items() >= {**inside, model.logits: "INT8", **weights}.items()

    found = widths(files[QCDQ])
    levels = {
        f"{tensor.name}/levels": f"{'INT' if tensor.signed else 'UINT'}{tensor.bits}"
        for tensor in model.tensors
    }
    assert (
        found.items()
        >= {**levels, **{f"{name}/levels": width for name, width in weights.items()}}.items()
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_annotated_tensors_are_there(seed: int) -> None:
    for proto in export(random_model(seed)).values():
        names = {tensor.name for tensor in proto.graph.initializer} | {
            name for node in proto.graph.node for name in node.output
        }
        assert widths(proto).keys() <= names | {value.name for value in proto.graph.input}


@pytest.mark.parametrize("seed", SEEDS)
def test_weights_are_stored_narrow(seed: int) -> None:
    model = random_model(seed)
    proto = export(model)[INTEGER]
    held, types = arrays(proto), {tensor.name: tensor for tensor in proto.graph.initializer}
    for step in convolutions(model):
        name = f"{step.name}.weights"
        narrow = step.weight_bits <= 4
        assert types[name].data_type == (onnx.TensorProto.INT4 if narrow else onnx.TensorProto.INT8)
        assert len(types[name].raw_data) == (
            -(-step.weights.size // 2) if narrow else step.weights.size
        )
        np.testing.assert_array_equal(
            held[name].astype(np.int8).transpose(0, 2, 3, 1), step.weights
        )


def test_the_integer_graph_has_integers_only() -> None:
    proto = onnx.shape_inference.infer_shapes(export(random_model(14))[INTEGER], strict_mode=True)
    floats = {
        value.name
        for value in proto.graph.value_info
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    }
    unpacked = {node.output[0] for node in proto.graph.node if node.op_type == "DequantizeLinear"}
    assert floats == unpacked  # INT4 weights on their way to uint8, see onnx_integer.py
    assert all(name.endswith(".weights/plain") for name in floats)


@pytest.mark.parametrize("seed", SEEDS)
def test_bounds_of_clip_tell_the_widths(seed: int) -> None:
    model = random_model(seed)
    proto = export(model)[QCDQ]
    held = arrays(proto)
    found = {
        node.output[0]: tuple(int(held[name]) for name in node.input[1:])
        for node in proto.graph.node
        if node.op_type == "Clip"
    }
    expected = {
        f"{t.name}/levels": (t.low - t.zero_point, t.high - t.zero_point) for t in model.tensors
    }
    for step in convolutions(model):
        most = 2 ** (step.weight_bits - 1) - 1
        expected[f"{step.name}.weights/levels"] = (-most, most)
        if step.addition:
            expected[f"{step.name}/own/levels"] = (-128, 127)
    assert found == expected


def test_weights_of_the_float_graph_lie_on_their_grid() -> None:
    model = random_model(19)
    held = arrays(export(model)[QCDQ])
    for step in convolutions(model):
        scale = held[f"{step.name}.weights/scale"]
        np.testing.assert_array_equal(scale, step.weight_scale * 2.0**step.weight_shift)
        levels = np.rint(held[f"{step.name}.weights"] / scale[:, None, None, None])
        np.testing.assert_array_equal(levels.transpose(0, 2, 3, 1), step.weights)


def test_names_are_given_once() -> None:
    graph = OnnxGraph(["stem/sum"])
    assert [graph.unique("stem/sum"), graph.unique("stem/sum"), graph.unique("other")] == [
        "stem/sum_",
        "stem/sum__",
        "other",
    ]


def test_a_graph_that_the_checker_refuses() -> None:
    model = random_model(3)
    graph = OnnxGraph(tensor.name for tensor in model.tensors)
    graph.node("NoSuchOperator", [model.image], model.logits)
    with pytest.raises(
        ExportError, match=r"^ONNX: the onnx package refuses the graph: .*NoSuchOperator"
    ) as caught:
        graph.file(
            subject(model), what="", opset=17, ir=8, image=(np.uint8, ""), logits=(np.int8, "")
        )
    assert "\n" not in str(caught.value)


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    assert OnnxExporter().missing() is None
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    line = "needs onnx; install it with: pip install 'nas-search[export]'"
    assert OnnxExporter().missing() == line
    with pytest.raises(ExportError) as caught:
        OnnxExporter().files(subject(random_model(3)))
    assert str(caught.value) == f"ONNX: {line}"


def test_qonnx_recovers_the_widths() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its imports
        from qonnx.core.modelwrapper import ModelWrapper
        from qonnx.transformation.infer_shapes import InferShapes
        from qonnx.transformation.qcdq_to_qonnx import QCDQToQuant

        model = random_model(14)
        wrapped = (
            ModelWrapper(export(model)[QCDQ]).transform(InferShapes()).transform(QCDQToQuant())
        )
    nodes = wrapped.graph.node
    assert not {"QuantizeLinear", "Clip", "DequantizeLinear"} & {node.op_type for node in nodes}
    found = {
        node.output[0]: float(wrapped.get_initializer(node.input[3]))
        for node in nodes
        if node.op_type == "Quant"
    }
    ends = (model.image, model.logits)
    expected = {f"{t.name}/real" if t.name in ends else t.name: t.bits for t in model.tensors}
    for step in convolutions(model):
        expected[f"{step.name}.weights/real"] = step.weight_bits
        if step.addition:
            expected[f"{step.name}/own/real"] = 8
    assert found == expected
