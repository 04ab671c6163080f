"""Integer models on disk.

A directory with ``model.json`` (small values), ``model.npz`` (large arrays), and golden
vectors.

The same model and images give the same bytes. Reading checks everything: the arrays against their
digest, each number against its range and against what it follows from, and the golden vectors by
computing them again. The format is written down in docs/integer_model.md.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import numpy.typing as npt

from nas_engine.arrays import stored_arrays
from nas_engine.errors import FileFormatError, InputError
from nas_engine.files import write_atomically
from nas_engine.integer.bounds import AccumulatorBounds
from nas_engine.integer.model import (
    Addition,
    IntegerConvolution,
    IntegerModel,
    IntegerSum,
    Requantizer,
)
from nas_engine.integer.reference import Images, Values, run, trace
from nas_engine.network.graph import KINDS, NetworkError, Node
from nas_engine.quantization.record import QuantisedTensor, read_only
from nas_engine.ranges import Range
from nas_engine.reading import parsing, read_regular
from nas_engine.records import plain, read_sealed, sealed
from nas_engine.strict_yaml import Fields

FORMAT = "nas-search/integer-model/1"
"""First key of ``model.json``; another version is refused."""

JSON_NAME = "model.json"
"""Name of the file that describes the model."""

NPZ_NAME = "model.npz"
"""Name of the file with its arrays."""

_LARGEST_FILE = 2**30
_PLACE = "give the directory that an export wrote"
_REMEDY = "export the model again, or put a whole copy back"
_GOLDEN = ("golden images", "golden logits")
_Int = Annotated[int, Range(-(2**31), 2**31)]
_ARRAYS = {
    "weights": np.int8,
    "weight_scale": np.float32,
    "bias": np.int32,
    "multiplier": np.int32,
    "shift": np.int32,
}
_Pair = tuple[_Int, _Int]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """One node in ``model.json``."""

    kind: str
    name: str
    inputs: str | tuple[str, ...]
    output: str
    kernel: int | tuple[int, int]
    stride: int
    padding: tuple[int, int, int, int]

    KEYS: ClassVar[Mapping[str, str]] = {"kind": "op", "inputs": "input"}

    @staticmethod
    def form(part: Fields) -> type[_Step]:
        """Return the record of a node kind."""
        kind = part.take_str("op", choices=KINDS)
        return _Convolution if KINDS[kind].has_weights else _Sum if kind == "add" else _Step

    def as_fields(self) -> dict[str, Any]:
        """Return the fields of its ``Node``."""
        kernel = self.kernel
        height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
        return {
            "name": self.name,
            "kind": self.kind,
            "inputs": (self.inputs,) if isinstance(self.inputs, str) else self.inputs,
            "output": self.output,
            "kernel_height": height,
            "kernel_width": width,
            "stride": self.stride,
            "padding": self.padding,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sum(_Step):
    first: _Pair
    second: _Pair
    out: _Pair


@dataclass(frozen=True, slots=True, kw_only=True)
class _Added:
    """A shortcut; without a scale, the result that it is added to has that of the sum."""

    shortcut: str
    scale: float | None
    first: _Pair
    second: _Pair
    out: _Pair


@dataclass(frozen=True, slots=True, kw_only=True)
class _Convolution(_Step):
    weight_bits: int
    addition: _Added | None
    bounds: AccumulatorBounds


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    """``model.json``."""

    image: str
    logits: str
    classes: tuple[str, ...]
    tensors: tuple[QuantisedTensor, ...]
    steps: tuple[_Step, ...]
    golden_crc32: Mapping[str, int]
    npz_sha256: str
    provenance: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GoldenVectors:
    """Golden vectors: a few images with the model's results.

    With them a reader in any language can check itself.
    """

    images: Images
    """Images as uint8, ``[N, height, width, channels]``."""
    logits: Values
    """Their logits, ``[N, classes]``."""
    checksums: Mapping[str, int]
    """CRC-32 of each tensor of the first image, as int8 in ``[height, width, channels]`` order, by
    tensor name."""

    @staticmethod
    def of(model: IntegerModel, images: Images) -> GoldenVectors:
        """Return the golden vectors of some images.

        Raises:
            InputError: No image, or images of another type or shape.
        """
        logits = run(model, images)
        if not len(images):
            raise InputError("there are no images for the golden vectors; give at least one")
        first = trace(model, images[:1])
        checksums = {name: zlib.crc32(values.tobytes()) for name, values in first.items()}
        return GoldenVectors(
            images=read_only(images.copy()), logits=read_only(logits), checksums=checksums
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SavedModel:
    """Content of a directory."""

    model: IntegerModel
    """The network."""
    golden: GoldenVectors
    """Its golden vectors."""


def save(directory: Path, model: IntegerModel, images: Images) -> None:
    """Write a model and its golden vectors; each file whole or not at all.

    Args:
        directory: Made if it does not exist.
        model: The network.
        images: A few images as uint8, ``[N, height, width, channels]``, for the golden vectors.

    Raises:
        InputError: No image, or images of another type or shape.
        StorageError: The directory cannot be written.
    """
    golden = GoldenVectors.of(model, images)
    arrays: dict[str, npt.NDArray[Any]] = {}
    for node in model.nodes:
        if isinstance(node, IntegerConvolution):
            requantizer = node.requantizer
            held: tuple[Any, ...] = (
                node.weights,
                node.weight_scale,
                node.bias,
                requantizer.multiplier,
                requantizer.shift,
            )
            arrays |= {
                f"{node.name}.{what}": array for what, array in zip(_ARRAYS, held, strict=True)
            }
    arrays |= dict(zip(_GOLDEN, (golden.images, golden.logits), strict=True))
    npz = _npz(arrays)
    description = plain(
        _File(
            image=model.image,
            logits=model.logits,
            classes=model.classes,
            tensors=model.tensors,
            steps=tuple(_step(model, node) for node in model.nodes),
            golden_crc32=golden.checksums,
            npz_sha256=hashlib.sha256(npz).hexdigest(),
            provenance=model.provenance,
        )
    )
    for step in description["steps"]:
        if (added := step.get("addition")) and added["scale"] is None:
            del added["scale"]  # the format's first networks had no other
    write_atomically(directory / NPZ_NAME, npz)
    write_atomically(directory / JSON_NAME, sealed(FORMAT, description))


def _step(model: IntegerModel, node: Node) -> _Step:
    """Return a node as the file has it."""
    sides = (node.kernel_height, node.kernel_width)
    common: dict[str, Any] = {
        "kind": node.kind,
        "name": node.name,
        "inputs": node.input if len(node.inputs) == 1 else node.inputs,
        "output": node.output,
        "kernel": sides[0] if sides[0] == sides[1] else sides,
        "stride": node.stride,
        "padding": node.padding,
    }
    if isinstance(node, IntegerSum):
        first, second, out = node.addition.constants
        return _Sum(**common, first=first, second=second, out=out)
    if not isinstance(node, IntegerConvolution):
        return _Step(**common)
    added = None
    if node.addition is not None and node.shortcut is not None:
        scale, (first, second, out) = node.addition.scale, node.addition.constants
        follows = scale == model.tensor(node.output).scale
        added = _Added(
            shortcut=node.shortcut,
            scale=None if follows else scale,
            first=first,
            second=second,
            out=out,
        )
    return _Convolution(**common, weight_bits=node.weight_bits, addition=added, bounds=node.bounds)


def _npz(arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """Return the bytes of an ``.npz`` that depend on nothing but the arrays.

    No date, no compression, little-endian.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            part = io.BytesIO()
            np.lib.format.write_array(
                part,
                array.astype(array.dtype.newbyteorder("<")),
                version=(1, 0),
                allow_pickle=False,
            )
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system = 3  # otherwise the operating system's
            archive.writestr(entry, part.getvalue())
    return buffer.getvalue()


def load(directory: Path) -> SavedModel:
    """Return the model that a directory holds, after checking all of it.

    Raises:
        UnreadableError: A file is missing, or the operating system refuses.
        FileFormatError: A file is cut off, changed or of another version; numbers out of range or
            that do not follow from each other; golden vectors that the model does not compute.
            Names the file and what to do.
    """
    path, arrays_path = directory / JSON_NAME, directory / NPZ_NAME
    try:
        file = read_sealed(_File, path, FORMAT, _REMEDY, missing=_PLACE)
        arrays = _read_npz(arrays_path, file.npz_sha256)
        tensors = {tensor.name: tensor for tensor in file.tensors}
        model = IntegerModel(
            tensors=file.tensors,
            nodes=tuple(_node(step, tensors, arrays, arrays_path) for step in file.steps),
            inputs=(file.image,),
            outputs=(file.logits,),
            classes=file.classes,
            provenance=file.provenance,
        )
    except NetworkError as error:
        raise FileFormatError(path, f"does not describe a network: {error}; {_REMEDY}") from error
    images, logits = (
        _take(arrays, name, dtype, arrays_path)
        for name, dtype in zip(_GOLDEN, (np.uint8, np.int8), strict=True)
    )
    try:
        golden = GoldenVectors.of(model, images)
    except InputError as error:
        raise FileFormatError(arrays_path, f"golden images: {error}; {_REMEDY}") from error
    if not np.array_equal(golden.logits, logits) or golden.checksums != file.golden_crc32:
        raise FileFormatError(
            directory,
            f"the model does not compute its golden vectors (was it changed by hand?); {_REMEDY}",
        )
    return SavedModel(model=model, golden=golden)


def _read_npz(path: Path, digest: str) -> dict[str, npt.NDArray[Any]]:
    data = read_regular(path, _LARGEST_FILE, _PLACE)
    if hashlib.sha256(data).hexdigest() != digest:
        raise FileFormatError(
            path,
            f"is not the file that {JSON_NAME} names (cut off, changed, or of another export); "
            f"{_REMEDY}",
        )
    with parsing(path, f"is not an archive of arrays; {_REMEDY}"):
        return stored_arrays(data)


def _take(
    arrays: Mapping[str, npt.NDArray[Any]], name: str, dtype: Any, path: Path
) -> npt.NDArray[Any]:
    if name not in arrays or arrays[name].dtype != dtype:
        found = f"of type {arrays[name].dtype}" if name in arrays else "missing"
        raise FileFormatError(
            path, f"the array {name!r} is {found}; expected {np.dtype(dtype)}; {_REMEDY}"
        )
    return arrays[name]


def _node(
    step: _Step,
    tensors: Mapping[str, QuantisedTensor],
    arrays: Mapping[str, npt.NDArray[Any]],
    path: Path,
) -> Node:
    """Return the node of a step, with its arrays."""
    node = step.as_fields()
    if isinstance(step, _Sum):
        result = tensors.get(node["inputs"][-1])
        return IntegerSum(**node, addition=_addition(step, result.scale if result else 1.0))
    if not isinstance(step, _Convolution):
        return Node(**node)
    held = {
        what: _take(arrays, f"{step.name}.{what}", dtype, path) for what, dtype in _ARRAYS.items()
    }
    added, output = step.addition, tensors.get(step.output)
    scale = added.scale if added and added.scale is not None else output.scale if output else 1.0
    return IntegerConvolution(
        **node,
        weight_bits=step.weight_bits,
        shortcut=added.shortcut if added else None,
        weights=held["weights"],
        weight_scale=held["weight_scale"],
        bias=held["bias"],
        requantizer=Requantizer(multiplier=held["multiplier"], shift=held["shift"]),
        addition=_addition(added, scale) if added else None,
        bounds=step.bounds,
    )


def _addition(constants: _Sum | _Added, scale: float) -> Addition:
    return Addition(scale=scale, first=constants.first, second=constants.second, out=constants.out)
