"""Writer of .tflite files, tensor by tensor and operator by operator.

It uses the flatbuffer schema alone; TensorFlow is not needed.

The schema is that of TensorFlow Lite (``tensorflow/lite/schema/schema.fbs``, version 3), as the
Python modules that flatc made of it and that two runtimes bring along.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nas_engine.exporters.exporter import ExportError

FILE_ID = b"TFL3"
"""Identifier of the format, bytes 4 to 7 of a file."""

INSTALL = "pip install 'nas-search[export]'"
"""Command that installs flatbuffers and a schema."""

SCHEMAS = (
    "ai_edge_litert.schema_py_generated",
    "tflite_micro.tensorflow.lite.micro.python.schema_py_generated",
)
"""Modules with the schema and its object API; the first that is installed is taken."""

VERSIONS: Mapping[str, int] = {
    "CONV_2D": 3,
    "DEPTHWISE_CONV_2D": 3,
    "ADD": 2,
    "AVERAGE_POOL_2D": 2,
    "MAXIMUM": 2,
    "MINIMUM": 2,
    "PADV2": 2,
    "RESHAPE": 1,
}
"""Version of each operator: the first with INT8, or the kernel is not found
(``tensorflow/lite/tools/versioning/op_version.cc``).

INT4 weights have versions of their own (7 of the depth-wise convolution), which tflite-runtime 2.14
does not know although its kernels take INT4; with version 3 every runtime finds them.
"""

ALIGNMENT = 16
"""Of constant data in the file, in bytes (``force_align`` in the schema; the Python writer by
itself keeps 4)."""


def missing() -> str | None:
    """Return a line that says which package is missing and how to install it, or ``None``."""
    if not _installed("flatbuffers"):
        return f"needs flatbuffers; install it with: {INSTALL}"
    if not any(map(_installed, SCHEMAS)):
        return f"needs the TFLite schema of ai-edge-litert; install it with: {INSTALL}"
    return None


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # the package around it
        return False


def schema() -> Any:
    """Return the module with the schema.

    Raises:
        ExportError: A package is missing; says how to install it.
    """
    if problem := missing():
        raise ExportError("TFLite", problem)
    return importlib.import_module(next(filter(_installed, SCHEMAS)))


def packed_int4(values: npt.NDArray[np.int8]) -> npt.NDArray[np.uint8]:
    """Return values of -8 to 7 as an INT4 buffer.

    Each byte holds two values, the first in the low half; a 0 follows an odd number of them.

    TFLite ``UnpackDenseInt4IntoInt8`` (tensor_utils.cc).
    """
    halves = (
        np.append(values.reshape(-1), np.zeros(values.size % 2, np.int8))
        .astype(np.uint8)
        .reshape(-1, 2)
        & 15
    )
    return np.asarray(halves[:, 0] | halves[:, 1] << 4, np.uint8)


class TfliteFile:
    """A file of one graph that is being written."""

    def __init__(self) -> None:
        self.schema = schema()
        self._graph, self._file = self.schema.SubGraphT(), self.schema.ModelT()
        self._graph.name, self._graph.tensors, self._graph.operators = "main", [], []
        self._file.version, self._file.operatorCodes, self._file.metadata = 3, [], []
        self._file.buffers = [
            self.schema.BufferT()
        ]  # the first one is empty: for tensors that are no constants
        self._codes: list[str] = []
        self._names: set[str] = set()

    def tensor(
        self, name: str, shape: Sequence[int], scale: npt.ArrayLike, zero_point: int = 0
    ) -> int:
        """Add an INT8 tensor that an operator makes, or the input, and return its index.

        Args:
            name: Its name; a second tensor of a name gets ``_`` behind it.
            shape: With the batch, 1.
            scale: Real value of one level, a float32 number.
            zero_point: Value that stands for 0.
        """
        return self._tensor(
            name, shape, self.schema.TensorType.INT8, 0, self._quantisation(scale, zero_point, 0)
        )

    def constant(
        self,
        name: str,
        values: npt.NDArray[Any],
        scale: npt.ArrayLike | None = None,
        zero_point: int = 0,
        *,
        axis: int = 0,
        int4: bool = False,
    ) -> int:
        """Add a tensor with values and return its index.

        Args:
            name: As in ``tensor``.
            values: int8 or int32.
            scale: Real value of one level, one number or one per index of ``axis``; ``None`` if the
                values are no levels.
            zero_point: Value that stands for 0.
            axis: Dimension of the scales.
            int4: Whether int8 values, -8 to 7, become INT4.
        """
        types = self.schema.TensorType
        data = (
            packed_int4(values)
            if int4
            else np.frombuffer(values.astype(values.dtype.newbyteorder("<")).tobytes(), np.uint8)
        )
        kind = types.INT4 if int4 else types.INT32 if values.dtype == np.int32 else types.INT8
        quantisation = None if scale is None else self._quantisation(scale, zero_point, axis)
        return self._tensor(name, values.shape, kind, self._buffer(data), quantisation)

    def operator(
        self, name: str, inputs: Sequence[int], output: int, options: str, **values: Any
    ) -> None:
        """Add an operator.

        Args:
            name: Name in ``BuiltinOperator``.
            inputs: Indices of tensors.
            output: Index of the tensor that it makes.
            options: Name of its table of options, without the ``Options`` behind it.
            values: The options.
        """
        if name not in self._codes:
            code = self.schema.OperatorCodeT()
            code.builtinCode = code.deprecatedBuiltinCode = getattr(
                self.schema.BuiltinOperator, name
            )
            code.version = VERSIONS[name]
            self._codes.append(name)
            self._file.operatorCodes.append(code)
        made = self.schema.OperatorT()
        made.opcodeIndex, made.inputs, made.outputs = (
            self._codes.index(name),
            list(inputs),
            [output],
        )
        made.builtinOptionsType = getattr(self.schema.BuiltinOptions, f"{options}Options")
        made.builtinOptions = getattr(self.schema, f"{options}OptionsT")()
        for key, value in values.items():
            setattr(made.builtinOptions, key, value)
        self._graph.operators.append(made)

    def metadata(self, name: str, content: bytes) -> None:
        """Add a named block of bytes; runtimes carry it along."""
        entry = self.schema.MetadataT()
        entry.name, entry.buffer = name, self._buffer(np.frombuffer(content, np.uint8))
        self._file.metadata.append(entry)

    def signature(self, key: str, image: tuple[str, int], logits: tuple[str, int]) -> None:
        """Add the names that an interpreter's ``get_signature_runner`` uses.

        It takes the input and gives the output by these names.

        Args:
            key: Name of the signature.
            image: Name and index of the input.
            logits: Name and index of the output.
        """
        made = self.schema.SignatureDefT()
        made.signatureKey, made.subgraphIndex = key, 0
        made.inputs, made.outputs = ([self._named_tensor(*image)], [self._named_tensor(*logits)])
        self._file.signatureDefs = [made]

    def _named_tensor(self, name: str, index: int) -> Any:
        made = self.schema.TensorMapT()
        made.name, made.tensorIndex = name, index
        return made

    def finish(self, image: int, logits: int, description: str) -> bytes:
        """Return the bytes of the file.

        Args:
            image: Index of the input.
            logits: Index of the output.
            description: Text for readers of the file.
        """
        flatbuffers = importlib.import_module("flatbuffers")
        self._graph.inputs, self._graph.outputs = [image], [logits]
        self._file.subgraphs, self._file.description = [self._graph], description
        builder = flatbuffers.Builder(2**16)
        builder.Finish(self._file.Pack(builder), FILE_ID)
        return bytes(builder.Output())

    def _quantisation(self, scale: npt.ArrayLike, zero_point: int, axis: int) -> Any:
        made = self.schema.QuantizationParametersT()
        made.scale = np.atleast_1d(np.asarray(scale, np.float32))
        made.zeroPoint = np.full(made.scale.shape, zero_point, np.int64)
        made.quantizedDimension = axis
        return made

    def _tensor(
        self, name: str, shape: Sequence[int], kind: int, buffer: int, quantisation: Any
    ) -> int:
        while name in self._names:
            name += "_"
        self._names.add(name)
        made = self.schema.TensorT()
        made.name, made.shape, made.type, made.buffer, made.quantization = (
            name,
            list(shape),
            kind,
            buffer,
            quantisation,
        )
        self._graph.tensors.append(made)
        return len(self._graph.tensors) - 1

    def _buffer(self, data: npt.NDArray[np.uint8]) -> int:
        base: Any = self.schema.BufferT

        class Aligned(base):  # type: ignore[misc]
            def Pack(self, builder: Any) -> Any:  # noqa: N802  (the schema's name)
                builder.Prep(ALIGNMENT, len(self.data))
                return super().Pack(builder)

        made = Aligned()
        made.data = data
        self._file.buffers.append(made)
        return len(self._file.buffers) - 1
