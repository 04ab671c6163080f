"""ONNX exports run by ONNX Runtime and by the reference evaluator of the onnx package."""

from __future__ import annotations

import importlib.util
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from nas_engine.errors import shortened
from nas_engine.exporters import onnx_integer, onnx_qcdq
from nas_engine.integer.model import IntegerModel
from nas_engine.integer.reference import Images
from nas_engine.quantization.record import QuantisedTensor
from nas_engine.reading import is_out_of_memory
from nas_engine.verification.backend import BackendError, BackendRun, read_exported

LEVELS = ("ORT_DISABLE_ALL", "ORT_ENABLE_BASIC", "ORT_ENABLE_EXTENDED", "ORT_ENABLE_ALL")
"""Names of ONNX Runtime's graph optimisation levels."""

BATCH = 32
"""Images at once; bounds the memory of the 64-bit tensors."""

THREADS = 2
"""Threads of a session."""

_REMEDY = "export the network again"


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxRuntimeInteger:
    """``model_int.onnx`` in ONNX Runtime: every value must be that of the reference."""

    level: str = "ORT_ENABLE_ALL"
    """Graph optimisation level, one of ``LEVELS``; the default is ONNX Runtime's."""
    name: ClassVar[str] = "ONNX Runtime, integer graph"
    exact: ClassVar[bool] = True

    def missing(self) -> str | None:
        """Return a line naming the missing package and how to install it, or ``None``.

        ``None`` means that the back-end can run.
        """
        return _missing("onnx") or _missing("onnxruntime")

    def run(self, export: Path, model: IntegerModel, images: Images, work: Path) -> BackendRun:
        """Run images; the checksums are those of every tensor, see ``Backend.run``.

        Raises:
            BackendError: The file is missing, damaged or of another network, or a package is
                missing.
        """
        data = _read(self, export / onnx_integer.FILE_NAME, images)
        names = [
            tensor.name
            for tensor in model.tensors
            if tensor.name not in (model.image, model.logits)
        ]
        showing = _session(self, _with_outputs(self, data, names), self.level)
        session = _session(self, data, self.level)
        pixels = _channels_first(images)
        held = _run(self, showing, [model.logits, *names], model.image, pixels[:1])
        started = time.perf_counter()
        logits = _batches(self, session, model, pixels)
        seconds = time.perf_counter() - started
        return BackendRun(
            logits=_checked(self, model, logits, np.int8),
            seconds=seconds,
            version=f"onnxruntime {_onnxruntime().__version__}, {self.level}",
            checksums=_checksums(
                self, model, images, dict(zip([model.logits, *names], held, strict=True))
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxRuntimeQcdq:
    """``model_qcdq.onnx`` in ONNX Runtime.

    Its operators are float, so differences are reported and not refused.
    """

    level: str = "ORT_ENABLE_ALL"
    """Graph optimisation level, one of ``LEVELS``; the default is ONNX Runtime's."""
    name: ClassVar[str] = "ONNX Runtime, QCDQ"
    exact: ClassVar[bool] = False

    def missing(self) -> str | None:
        """Return a line naming the missing package and how to install it, or ``None``.

        ``None`` means that the back-end can run.
        """
        return _missing("onnxruntime")

    def run(self, export: Path, model: IntegerModel, images: Images, work: Path) -> BackendRun:
        """Run images, as real values; the logits are divided by their scale, see ``Backend.run``.

        Raises:
            BackendError: The file is missing, damaged or of another network, or a package is
                missing.
        """
        session = _session(self, _read(self, export / onnx_qcdq.FILE_NAME, images), self.level)
        image, logits = model.tensor(model.image), model.tensor(model.logits)
        real = np.float32(image.scale) * (_channels_first(images).astype(np.float32) - 128)
        started = time.perf_counter()
        found = _batches(self, session, model, real)
        seconds = time.perf_counter() - started
        values = np.rint(_checked(self, model, found, np.float32) / np.float32(logits.scale))
        if not np.isfinite(values).all():
            raise BackendError(self.name, f"a logit is no number; {_REMEDY}")
        return BackendRun(
            logits=np.clip(values, logits.low, logits.high).astype(np.int8),
            seconds=seconds,
            version=f"onnxruntime {_onnxruntime().__version__}, {self.level}",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxReference:
    """``model_int.onnx`` in the reference evaluator of the onnx package.

    The evaluator is written by the authors of the specification.

    Its convolution is a loop in Python over every pixel of every pair of channels: an image takes
    tens of seconds.
    """

    images_limit: int = 2
    """Images that are run: the first ones, at most so many."""
    name: ClassVar[str] = "onnx.reference, integer graph"
    exact: ClassVar[bool] = True

    def missing(self) -> str | None:
        """Return a line naming the missing package and how to install it, or ``None``.

        ``None`` means that the back-end can run.
        """
        return _missing("onnx")

    def run(self, export: Path, model: IntegerModel, images: Images, work: Path) -> BackendRun:
        """Run the first ``images_limit`` images.

        The checksums are those of every tensor, see ``Backend.run``.

        Raises:
            BackendError: The file is missing, damaged or of another network, or a package is
                missing.
        """
        names = [
            model.logits,
            *(
                tensor.name
                for tensor in model.tensors
                if tensor.name not in (model.image, model.logits)
            ),
        ]
        data = _with_outputs(self, _read(self, export / onnx_integer.FILE_NAME, images), names[1:])
        import onnx
        from onnx.reference import ReferenceEvaluator

        pixels = _channels_first(images[: self.images_limit])
        started = time.perf_counter()
        try:
            found = ReferenceEvaluator(onnx.load_model_from_string(data)).run(
                names, {model.image: pixels}
            )
        except Exception as error:  # a damaged graph can fail in any of its operators
            raise _failure(self, "cannot be evaluated", error) from error
        seconds = time.perf_counter() - started
        held = dict(zip(names, found, strict=True))
        return BackendRun(
            logits=_checked(self, model, [held[model.logits]], np.int8),
            seconds=seconds,
            version=f"onnx {onnx.__version__}",
            checksums=_checksums(self, model, images, held),
        )


_Backend = OnnxRuntimeInteger | OnnxRuntimeQcdq | OnnxReference


def _missing(package: str) -> str | None:
    extra = {"onnx": "export", "onnxruntime": "verify"}[package]
    if importlib.util.find_spec(package) is None:
        return f"needs {package}; install it with: pip install 'nas-search[{extra}]'"
    return None


def _onnxruntime() -> Any:
    import onnxruntime

    return onnxruntime


def _read(backend: _Backend, path: Path, images: Images) -> bytes:
    if problem := backend.missing():
        raise BackendError(backend.name, problem)
    if not len(images):
        raise BackendError(backend.name, "there are no images; give at least one")
    return read_exported(backend.name, path)


def _failure(backend: _Backend, what: str, error: Exception) -> Exception:
    """Return (not raise) the exception that describes a library's error.

    The causes are: out of memory, or a file that is not as it was exported.
    """
    if is_out_of_memory(error):
        return MemoryError(str(error))
    reason = shortened(" ".join(str(error).split()) or type(error).__name__, 300)
    return BackendError(
        backend.name, f"the file {what} ({reason}); was it cut off or changed? {_REMEDY}"
    )


def _with_outputs(backend: _Backend, data: bytes, names: Sequence[str]) -> bytes:
    """Return the file with some more tensors as outputs, so that they can be looked at."""
    import onnx

    try:
        proto = onnx.load_model_from_string(data)
    except Exception as error:  # protobuf's errors are of no common type over its versions
        raise _failure(backend, "is not an ONNX model", error) from error
    described = {value.name: value for value in proto.graph.value_info}
    for name in names:
        if name not in described:
            problem = (
                f"the graph has no tensor {shortened(repr(name))}; was it exported from another "
                f"network? {_REMEDY}"
            )
            raise BackendError(backend.name, problem)
        proto.graph.output.append(described[name])
    return bytes(proto.SerializeToString())


def _session(backend: _Backend, data: bytes, level: str) -> Any:
    """Return a session of ONNX Runtime that prints nothing, without its fallback.

    The fallback prints what went wrong and tries the same again.
    """
    ort = _onnxruntime()
    ort.set_default_logger_severity(4)
    options = ort.SessionOptions()
    options.log_severity_level = 4  # only what ends the process
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
    options.intra_op_num_threads, options.inter_op_num_threads = THREADS, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return ort.InferenceSession(
            data, options, providers=["CPUExecutionProvider"], enable_fallback=0
        )
    except Exception as error:  # its exceptions have no common type
        raise _failure(backend, "cannot be loaded", error) from error


def _run(
    backend: _Backend, session: Any, names: Sequence[str], image: str, pixels: npt.NDArray[Any]
) -> list[npt.NDArray[Any]]:
    try:
        return list(session.run(list(names), {image: pixels}))
    except Exception as error:  # the same
        raise _failure(backend, "cannot be run", error) from error


def _batches(
    backend: _Backend, session: Any, model: IntegerModel, pixels: npt.NDArray[Any]
) -> list[npt.NDArray[Any]]:
    starts = range(0, len(pixels), BATCH)
    return [
        _run(backend, session, [model.logits], model.image, pixels[start : start + BATCH])[0]
        for start in starts
    ]


def _channels_first(images: Images) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))


def _checked(
    backend: _Backend, model: IntegerModel, logits: Sequence[npt.NDArray[Any]], dtype: Any
) -> npt.NDArray[Any]:
    """Return the logits of all batches, ``[N, classes]``."""
    for part in logits:
        if part.dtype != dtype or part.shape[1:] != (len(model.classes),):
            found = f"{part.dtype} {list(part.shape)}"
            raise BackendError(
                backend.name,
                f"the logits are {found}; expected {np.dtype(dtype)} [N, {len(model.classes)}]; "
                f"{_REMEDY}",
            )
    return np.concatenate([np.empty((0, len(model.classes)), dtype), *logits])


def _checksums(
    backend: _Backend, model: IntegerModel, images: Images, held: Mapping[str, npt.NDArray[Any]]
) -> dict[str, int]:
    """Return the CRC-32 of each tensor of the first image; ``held`` has all but the image."""
    values: dict[str, npt.NDArray[Any]] = {model.image: images[0].astype(np.int16) - 128}
    for name, array in held.items():
        tensor = model.tensor(name)
        values[name] = array[0] if name == model.logits else _values(backend, tensor, array)
    return {
        tensor.name: zlib.crc32(values[tensor.name].astype(np.int8).tobytes())
        for tensor in model.tensors
    }


def _values(
    backend: _Backend, tensor: QuantisedTensor, stored: npt.NDArray[Any]
) -> npt.NDArray[np.int16]:
    """Return the values of a tensor of the first image, ``[height, width, channels]``.

    The stored values have channels first.
    """
    if stored.dtype != np.uint8 or stored.shape[1:] != (
        tensor.channels,
        tensor.height,
        tensor.width,
    ):
        found = f"{stored.dtype} {list(stored.shape)}"
        raise BackendError(
            backend.name,
            f"the tensor {tensor.name!r} is {found}; expected that of another network? {_REMEDY}",
        )
    return np.asarray(stored[0].transpose(1, 2, 0).astype(np.int16) + tensor.low, np.int16)
