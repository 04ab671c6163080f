"""Integer models as .tflite files, by the schema alone, and run by TFLite's reference kernels. For tests: int8 containers only.

Ranges of fewer than 8 bits come from fused activations, where a scale makes one exact: RELU6 ends at 6 = scale * (2^bits - 1).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from nas_engine.integer.model import IntegerConvolution, IntegerModel, IntegerPool, TensorSpec

flatbuffers = pytest.importorskip("flatbuffers")
schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
interpreter = pytest.importorskip("ai_edge_litert.interpreter")

VERSIONS = {"CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "ADD": 2, "AVERAGE_POOL_2D": 2}


class Builder:
    """One graph, tensor by tensor and operator by operator."""

    def __init__(self, model: IntegerModel) -> None:
        self.model = model
        self.graph, self.file = schema.SubGraphT(), schema.ModelT()
        self.graph.tensors, self.graph.operators, self.graph.name = [], [], "main"
        self.file.buffers, self.file.operatorCodes, self.file.version = [schema.BufferT()], [], 3
        self.codes: list[str] = []
        self.places = {tensor.name: self.activation(tensor) for tensor in model.tensors}

    def tensor(
        self, name: str, shape: tuple[int, ...], scale: Any, zero_point: int, *, axis: int = 0, data: npt.NDArray[Any] | None = None
    ) -> int:
        """Add a tensor, constant if it has data, and return its index."""
        quantisation = schema.QuantizationParametersT()
        quantisation.scale = np.atleast_1d(np.asarray(scale, np.float32))
        quantisation.zeroPoint = np.full(quantisation.scale.shape, zero_point, np.int64)
        quantisation.quantizedDimension = axis
        made = schema.TensorT()
        made.name, made.shape, made.quantization, made.buffer = name, list(shape), quantisation, 0
        made.type = schema.TensorType.INT32 if data is not None and data.dtype == np.int32 else schema.TensorType.INT8
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(data.tobytes(), np.uint8)
            self.file.buffers.append(buffer)
            made.buffer = len(self.file.buffers) - 1
        self.graph.tensors.append(made)
        return len(self.graph.tensors) - 1

    def activation(self, spec: TensorSpec, name: str = "") -> int:
        return self.tensor(name or spec.name, (1, *spec.shape), spec.scale, spec.zero_point)

    def operator(self, name: str, inputs: list[int], output: int, options: Any) -> None:
        if name not in self.codes:
            code = schema.OperatorCodeT()
            code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, name)
            code.version = VERSIONS[name]
            self.codes.append(name)
            self.file.operatorCodes.append(code)
        made = schema.OperatorT()
        made.opcodeIndex, made.inputs, made.outputs = self.codes.index(name), inputs, [output]
        made.builtinOptions = options
        made.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
        self.graph.operators.append(made)

    def window(self, options: Any, step: IntegerConvolution | IntegerPool) -> Any:
        """Fill in stride and padding; the padding of the step must be one of TFLite's two."""
        source, target = self.model.tensor(step.input), self.model.tensor(step.output)
        totals = [
            max((out - 1) * step.stride + step.kernel - size, 0)
            for out, size in ((target.height, source.height), (target.width, source.width))
        ]
        same = tuple(part for total in totals for part in (total // 2, total - total // 2))
        valid = not any(step.padding)
        assert valid or step.padding == same
        options.strideH = options.strideW = step.stride
        options.padding = schema.Padding.VALID if valid else schema.Padding.SAME
        return options

    def activate(self, options: Any, spec: TensorSpec) -> Any:
        """Fill in the fused activation that gives a tensor its range."""
        if spec.bits < 8:
            assert not spec.signed
            assert round(6 / spec.scale) == 2**spec.bits - 1
            options.fusedActivationFunction = schema.ActivationFunctionType.RELU6
        return options

    def convolution(self, step: IntegerConvolution) -> None:
        source, target = self.model.tensor(step.input), self.model.tensor(step.output)
        carried = step.weights << step.weight_shift
        depthwise = step.kind == "depthwise"
        weights = np.ascontiguousarray(carried.transpose(3, 1, 2, 0)) if depthwise else carried
        scale = step.weight_scale
        constants = [
            self.tensor(f"{step.name} weights", weights.shape, scale, 0, axis=3 if depthwise else 0, data=weights),
            self.tensor(f"{step.name} bias", step.bias.shape, np.float32(source.scale) * scale, 0, data=step.bias),
        ]
        options = self.window(schema.DepthwiseConv2DOptionsT() if depthwise else schema.Conv2DOptionsT(), step)
        options.dilationHFactor = options.dilationWFactor = 1
        if depthwise:
            options.depthMultiplier = 1
        if step.shortcut is None:
            own = self.places[target.name]
            options = self.activate(options, target)
        else:
            own = self.tensor(f"{step.name} alone", (1, *target.shape), target.scale, 0)
        name = "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
        self.operator(name, [self.places[source.name], *constants], own, options)
        if step.shortcut is not None:
            addition = self.activate(schema.AddOptionsT(), target)
            self.operator("ADD", [self.places[step.shortcut], own], self.places[target.name], addition)

    def pool(self, step: IntegerPool) -> None:
        options = self.window(schema.Pool2DOptionsT(), step)
        options.filterHeight = options.filterWidth = step.kernel
        self.operator("AVERAGE_POOL_2D", [self.places[step.input]], self.places[step.output], options)

    def build(self) -> bytes:
        """Return the file; every activation is an output, so that all of them can be compared."""
        for step in self.model.steps:
            if isinstance(step, IntegerConvolution):
                self.convolution(step)
            else:
                self.pool(step)
        self.graph.inputs = [self.places[self.model.image]]
        self.graph.outputs = [self.places[step.output] for step in self.model.steps]
        self.file.subgraphs = [self.graph]
        builder = flatbuffers.Builder(2**16)
        builder.Finish(self.file.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def run_tflite(model: IntegerModel, images: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[np.int8]]:
    """Return every tensor that TFLite's reference kernels compute, ``[N, height, width, channels]``."""
    made = interpreter.Interpreter(
        model_content=Builder(model).build(), experimental_op_resolver_type=interpreter.OpResolverType.BUILTIN_REF
    )
    made.allocate_tensors()
    place = made.get_input_details()[0]["index"]
    outputs = [detail["index"] for detail in made.get_output_details()]
    rows: list[list[npt.NDArray[np.int8]]] = []
    for image in images:
        made.set_tensor(place, (image.astype(np.int16) - 128).astype(np.int8)[None])
        made.invoke()
        rows.append([made.get_tensor(index)[0] for index in outputs])
    return {step.output: np.stack(column) for step, column in zip(model.steps, zip(*rows, strict=True), strict=True)}
