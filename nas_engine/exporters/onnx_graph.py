"""Builder of ONNX graphs, node by node.

Names are unique, constants have narrow types, widths are annotations and the manifest is metadata.

Operators and types are those of the ONNX specification (https://onnx.ai/onnx/operators); the
operator set and the version of the file format are always given, because the defaults of the onnx
package run ahead of what runtimes read.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nas_engine import __version__
from nas_engine.exporters.exporter import ExportError, ExportSubject
from nas_engine.integer.model import IntegerConvolution
from nas_engine.network.graph import Node
from nas_engine.quantization.record import QuantisedTensor

QUANT_KEY = "nas_search.quant"
"""Key of the manifest, compact JSON, in ``ModelProto.metadata_props``."""

CLASSES_KEY = "nas_search.classes"
"""Key of the class names, a JSON list in the order of the logits."""

WIDTH_KEY = "finn_datatype"
"""Key of a tensor's width in ``GraphProto.quantization_annotation``, as FINN and QONNX write it;
values are like ``UINT4`` and ``INT3``."""


def missing() -> str | None:
    """Return a line that says which package is missing and how to install it, or ``None``."""
    if importlib.util.find_spec("onnx") is None:
        return "needs onnx; install it with: pip install 'nas-search[export]'"
    return None


def onnx_package() -> Any:
    """Return the onnx package.

    Raises:
        ExportError: It is not installed.
    """
    if problem := missing():
        raise ExportError("ONNX", problem)
    import onnx

    return onnx


def channel_first(step: IntegerConvolution) -> npt.NDArray[np.int8]:
    """Return weights in the order of ONNX, ``[O, I, k, k]``.

    Depth-wise weights are ``[C, 1, k, k]``, unchanged, with one group per channel.
    """
    return np.ascontiguousarray(step.weights.transpose(0, 3, 1, 2))


def groups(step: IntegerConvolution) -> int:
    """Return the number of groups of a convolution."""
    return len(step.weights) if step.kind == "depthwise" else 1


def window(node: Node) -> dict[str, Any]:
    """Return the attributes of a convolution or pool: kernel, strides and padding.

    Padding is in the order of ONNX (top, left, bottom, right).
    """
    top, bottom, left, right = node.padding
    return {
        "kernel_shape": [node.kernel_height, node.kernel_width],
        "strides": [node.stride, node.stride],
        "pads": [top, left, bottom, right],
    }


def image_shape(tensor: QuantisedTensor) -> list[int | str]:
    """Return the shape of a tensor with channels first and a batch of any size."""
    return ["N", tensor.channels, tensor.height, tensor.width]


class OnnxGraph:
    """A graph of one model that is being written."""

    def __init__(self, reserved: Iterable[str]) -> None:
        """Start a graph.

        Args:
            reserved: Names that nothing else may take: those of the model's tensors.
        """
        self.onnx = onnx_package()
        self._names = set(reserved)
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._shared: dict[tuple[str, int], str] = {}
        self._values: list[Any] = []
        self._widths: dict[str, str] = {}

    def unique(self, name: str) -> str:
        """Return a name that is not taken, this one if possible, and take it."""
        while name in self._names:
            name += "_"
        self._names.add(name)
        return name

    def constant(self, name: str, values: npt.ArrayLike, dtype: Any) -> str:
        """Add an array as an initialiser and return its name."""
        tensor = self.onnx.numpy_helper.from_array(
            np.array(values, dtype, order="C"), self.unique(name)
        )
        self._constants.append(tensor)
        return str(tensor.name)

    def constant_int4(self, name: str, values: npt.NDArray[np.int8]) -> str:
        """Add an INT4 initialiser of values in -8 to 7 and return its name.

        Each byte holds two values, the first in the low half.
        """
        nibbles = (
            np.append(values.reshape(-1), np.zeros(values.size % 2, np.int8))
            .view(np.uint8)
            .reshape(-1, 2)
            & 15
        )
        packed = (nibbles[:, 0] | nibbles[:, 1] << 4).astype(np.uint8).tobytes()
        tensor = self.onnx.helper.make_tensor(
            self.unique(name), self.onnx.TensorProto.INT4, list(values.shape), packed, raw=True
        )
        self._constants.append(tensor)
        return str(tensor.name)

    def scalar(self, value: int, dtype: Any) -> str:
        """Return the name of an integer as an initialiser without dimensions.

        Equal ones are stored once.
        """
        key = (np.dtype(dtype).name, value)
        if key not in self._shared:
            self._shared[key] = self.constant(f"{key[0]} {value}", value, dtype)
        return self._shared[key]

    def node(self, op: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Add a node of one output and return the output's name.

        A name of the model's tensors is taken as it is.
        """
        self._nodes.append(
            self.onnx.helper.make_node(
                op, list(inputs), [output], name=f"{op} {output}", **attributes
            )
        )
        return output

    def cast(self, value: str, dtype: Any, output: str) -> str:
        """Add a conversion to a NumPy type."""
        return self.node("Cast", [value], output, to=self.element(dtype))

    def element(self, dtype: Any) -> int:
        """Return the number of a NumPy type in ONNX."""
        return int(self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def describe(self, tensor: str, dtype: Any, shape: Sequence[int | str]) -> None:
        """Write down type and shape of a tensor inside the graph."""
        self._values.append(
            self.onnx.helper.make_tensor_value_info(tensor, self.element(dtype), list(shape))
        )

    def width(self, tensor: str, bits: int, *, signed: bool) -> None:
        """Write down the width of a tensor's whole numbers."""
        self._widths[tensor] = f"{'INT' if signed else 'UINT'}{bits}"

    def file(
        self,
        subject: ExportSubject,
        *,
        what: str,
        opset: int,
        ir: int,
        image: tuple[Any, str],
        logits: tuple[Any, str],
    ) -> bytes:
        """Return the bytes of the file, checked by the onnx package.

        The same graph gives the same bytes.

        Args:
            subject: The network; its manifest becomes metadata.
            what: What the graph is, for people who open it.
            opset: Version of the operator set.
            ir: Version of the file format.
            image: NumPy type of the input and what its values mean.
            logits: The same for the output.

        Raises:
            ExportError: The onnx package refuses the graph.
        """
        model, helper = subject.model, self.onnx.helper
        source = model.tensor(model.image)
        inputs = helper.make_tensor_value_info(
            model.image, self.element(image[0]), image_shape(source), image[1]
        )
        outputs = helper.make_tensor_value_info(
            model.logits, self.element(logits[0]), ["N", len(model.classes)], logits[1]
        )
        graph = helper.make_graph(
            self._nodes,
            "network",
            [inputs],
            [outputs],
            self._constants,
            doc_string=what,
            value_info=self._values,
        )
        for tensor, width in self._widths.items():
            annotation = self.onnx.TensorAnnotation(tensor_name=tensor)
            annotation.quant_parameter_tensor_names.add(key=WIDTH_KEY, value=width)
            graph.quantization_annotation.append(annotation)
        proto = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", opset)],
            ir_version=ir,
            producer_name="nas-search",
            producer_version=__version__,
            doc_string=what,
        )
        metadata = {
            QUANT_KEY: _compact(subject.manifest),
            CLASSES_KEY: _compact(list(model.classes)),
        }
        for key, text in metadata.items():
            proto.metadata_props.add(key=key, value=text)
        try:
            self.onnx.checker.check_model(proto, full_check=True)
        except (
            self.onnx.checker.ValidationError,
            self.onnx.shape_inference.InferenceError,
        ) as error:
            raise ExportError(
                "ONNX", f"the onnx package refuses the graph: {' '.join(str(error).split())}"
            ) from error
        return bytes(proto.SerializeToString(deterministic=True))


def _compact(value: Mapping[str, Any] | list[str]) -> str:
    return json.dumps(
        dict(value) if isinstance(value, Mapping) else value,
        separators=(",", ":"),
        ensure_ascii=False,
        allow_nan=False,
    )
