"""ONNX graph of float operators between quantisers (QCDQ).

This is the form that Brevitas writes and QONNX reads.

Every activation and weight tensor goes through QuantizeLinear, Clip and DequantizeLinear; the
bounds of Clip tell its width. Weights are floats on their grid, because readers recover widths from
the whole chain only. The input holds real values, ``scale * (pixel - 128)`` with the scale of the
image tensor; the output holds real logits.

The numbers are not those of the integer reference: sums and scales are rounded in float32,
requantisation rounds once and halves to even, an average pool is rounded in its own way. Most
values are equal, some are off by a level.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nas_engine.exporters.exporter import ExportSubject
from nas_engine.exporters.onnx_graph import OnnxGraph, channel_first, groups, image_shape, window
from nas_engine.integer.model import IntegerConvolution, IntegerModel
from nas_engine.network.graph import Node
from nas_engine.quantization.record import QuantisedTensor

FILE_NAME = "model_qcdq.onnx"
"""Name in the export directory."""

OPSET = 17
"""Low enough for QONNX and for runtimes of 2022; nothing newer is needed."""

IR_VERSION = 8
"""Version of the file format that belongs to operator set 17."""

_WHAT = (
    "Float operators between QuantizeLinear, Clip and DequantizeLinear; the bounds of Clip tell "
    "the widths. Not bit-exact."
)


def qcdq_file(subject: ExportSubject) -> bytes:
    """Return the bytes of ``model_qcdq.onnx``.

    Raises:
        ExportError: The onnx package is missing, or refuses the graph.
    """
    writer = _Writer(subject.model)
    writer.write()
    scale = np.float32(subject.model.tensor(subject.model.image).scale)
    return writer.graph.file(
        subject,
        what=_WHAT,
        opset=OPSET,
        ir=IR_VERSION,
        image=(np.float32, f"real values, {scale} * (pixel - 128), channels first"),
        logits=(np.float32, "real logits; the class is that of the first largest"),
    )


class _Writer:
    """Writes the steps of a model one after the other."""

    def __init__(self, model: IntegerModel) -> None:
        self.model = model
        self.graph = OnnxGraph(tensor.name for tensor in model.tensors)
        self.real = {model.image: model.image}
        """Graph tensor with the real values of each tensor; only those of image and logits have
        other names."""

    def write(self) -> None:
        image, logits = self.model.tensor(self.model.image), self.model.logits
        self.real[image.name] = self._activation(
            image, image.name, self.graph.unique(f"{image.name}/real")
        )
        for step in self.model.nodes:
            target = self.model.tensor(step.output)
            name = (
                self.graph.unique(f"{target.name}/real") if target.name == logits else target.name
            )
            result = (
                self._convolution(step)
                if isinstance(step, IntegerConvolution)
                else self._pool(step)
            )
            self.real[target.name] = self._activation(target, result, name)
            self.graph.describe(name, np.float32, image_shape(target))
        self.graph.node("Flatten", [self.real[logits]], logits, axis=1)

    def _activation(self, tensor: QuantisedTensor, value: str, output: str) -> str:
        """Return a value quantised to the levels of a tensor.

        An unsigned tensor has a zero point of 0 here and levels from 0.
        """
        low, high = tensor.low - tensor.zero_point, tensor.high - tensor.zero_point
        return self._quantised(
            tensor.name, value, output, np.asarray(tensor.scale), (low, high), tensor.bits
        )

    def _quantised(
        self,
        owner: str,
        value: str,
        output: str,
        scale: npt.NDArray[np.floating],
        bounds: tuple[int, int],
        bits: int,
    ) -> str:
        """Add the chain of three nodes.

        There is one scale per output channel (axis 0) if there is more than one.

        Each chain has constants of its own, because tools that fuse a chain rewrite them in place.
        """
        graph, signed = self.graph, bounds[0] < 0
        dtype = np.int8 if signed else np.uint8
        step = graph.constant(f"{owner}/scale", scale, np.float32)
        zero = graph.constant(f"{owner}/zero point", np.zeros(scale.shape), dtype)
        axis = {"axis": 0} if scale.ndim else {}
        rounded = graph.node(
            "QuantizeLinear", [value, step, zero], graph.unique(f"{owner}/rounded"), **axis
        )
        limits = [
            graph.constant(f"{owner}/{end}", bound, dtype)
            for end, bound in zip(("low", "high"), bounds, strict=True)
        ]
        held = graph.node("Clip", [rounded, *limits], graph.unique(f"{owner}/levels"))
        graph.width(held, bits, signed=signed)
        return graph.node("DequantizeLinear", [held, step, zero], output, **axis)

    def _convolution(self, step: IntegerConvolution) -> str:
        graph, source = self.graph, self.model.tensor(step.input)
        name, most = f"{step.name}.weights", 2 ** (step.weight_bits - 1) - 1
        scale = step.weight_scale.astype(np.float64) * 2**step.weight_shift
        grid = graph.constant(name, channel_first(step) * scale[:, None, None, None], np.float32)
        weights = self._quantised(
            name, grid, graph.unique(f"{name}/real"), scale, (-most, most), step.weight_bits
        )
        offset = step.bias * (source.scale * step.weight_scale.astype(np.float64))
        bias = graph.constant(f"{step.name}.bias", offset.reshape(1, -1, 1, 1), np.float32)
        total = graph.node(
            "Conv",
            [self.real[source.name], weights],
            graph.unique(f"{step.name}/sum"),
            group=groups(step),
            **window(step),
        )
        result = graph.node("Add", [total, bias], graph.unique(f"{step.name}/biased"))
        if step.addition is None or step.shortcut is None:
            return result
        owner = graph.unique(
            f"{step.name}/own"
        )  # the layer's own result has a scale of its own and all of int8
        own_scale = np.asarray(step.addition.scale)
        own = self._quantised(
            owner, result, graph.unique(f"{owner}/real"), own_scale, (-128, 127), 8
        )
        return graph.node(
            "Add", [self.real[step.shortcut], own], graph.unique(f"{step.name}/total")
        )

    def _pool(self, step: Node) -> str:
        return self.graph.node(
            "AveragePool",
            [self.real[step.input]],
            self.graph.unique(f"{step.name}/mean"),
            count_include_pad=0,
            **window(step),
        )
