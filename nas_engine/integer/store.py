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
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nas_engine.arrays import stored_arrays
from nas_engine.errors import FileFormatError, InputError, shortened
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
from nas_engine.reading import SMALL_FILE, parsing, read_regular, read_regular_text
from nas_engine.records import plain, read
from nas_engine.sealed import parse_sealed_json, seal_json
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
_ARRAYS = {
    "weights": np.int8,
    "weight_scale": np.float32,
    "bias": np.int32,
    "multiplier": np.int32,
    "shift": np.int32,
}
_TENSOR = tuple(field.name for field in fields(QuantisedTensor))
_NODE = ("op", "name", "input", "output", "kernel", "stride", "padding")
_SUM = ("first", "second", "out")


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
    description = {
        "format": FORMAT,
        "image": model.image,
        "logits": model.logits,
        "classes": list(model.classes),
        "tensors": [{name: getattr(tensor, name) for name in _TENSOR} for tensor in model.tensors],
        "steps": [_describe(model, node) for node in model.nodes],
        "golden_crc32": dict(golden.checksums),
        "npz_sha256": hashlib.sha256(npz).hexdigest(),
        "provenance": dict(model.provenance),
    }
    write_atomically(directory / NPZ_NAME, npz)
    write_atomically(directory / JSON_NAME, seal_json(description))


def _describe(model: IntegerModel, node: Node) -> dict[str, Any]:
    sides = [node.kernel_height, node.kernel_width]
    described = {
        "op": node.kind,
        "name": node.name,
        "input": node.input if len(node.inputs) == 1 else list(node.inputs),
        "output": node.output,
        "kernel": sides[0] if sides[0] == sides[1] else sides,
        "stride": node.stride,
        "padding": node.padding,
    }
    if isinstance(node, IntegerSum):
        return described | dict(zip(_SUM, node.addition.constants, strict=True))
    if not isinstance(node, IntegerConvolution):
        return described
    addition = node.addition and {"shortcut": node.shortcut, **plain(node.addition)}
    if addition and addition["scale"] == model.tensor(node.output).scale:
        del addition["scale"]  # the format's first networks had no other
    bounds = plain(node.bounds)
    return described | {"weight_bits": node.weight_bits, "addition": addition, "bounds": bounds}


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
    path = directory / JSON_NAME
    fields = Fields(_read_json(path), path)
    if (found := fields.take("format", None)) != FORMAT:
        raise fields.error(
            "format",
            f"is {shortened(repr(found))}; expected '{FORMAT}' (another version? export the model "
            "again)",
        )
    fields.only(
        "format",
        "image",
        "logits",
        "classes",
        "tensors",
        "steps",
        "golden_crc32",
        "npz_sha256",
        "provenance",
    )
    arrays = _read_npz(directory / NPZ_NAME, fields.take_str("npz_sha256"))
    try:
        tensors = {tensor.name: tensor for tensor in map(_tensor, fields.take_each("tensors"))}
        model = IntegerModel(
            tensors=tuple(tensors.values()),
            nodes=tuple(
                _node(part, tensors, arrays, directory / NPZ_NAME)
                for part in fields.take_each("steps")
            ),
            inputs=(fields.take_str("image"),),
            outputs=(fields.take_str("logits"),),
            classes=tuple(fields.take_list("classes", of=str)),
            provenance=_provenance(fields),
        )
    except NetworkError as error:
        raise FileFormatError(path, f"does not describe a network: {error}; {_REMEDY}") from error
    images, logits = (
        _take(arrays, name, dtype, directory / NPZ_NAME)
        for name, dtype in zip(_GOLDEN, (np.uint8, np.int8), strict=True)
    )
    try:
        golden = GoldenVectors.of(model, images)
    except InputError as error:
        raise FileFormatError(directory / NPZ_NAME, f"golden images: {error}; {_REMEDY}") from error
    if not np.array_equal(golden.logits, logits) or golden.checksums != fields.take("golden_crc32"):
        raise FileFormatError(
            directory,
            f"the model does not compute its golden vectors (was it changed by hand?); {_REMEDY}",
        )
    return SavedModel(model=model, golden=golden)


def _read_json(path: Path) -> Any:
    return parse_sealed_json(read_regular_text(path, SMALL_FILE, _PLACE), path, _REMEDY)[0]


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


def _provenance(fields: Fields) -> dict[str, str]:
    part = fields.take_fields("provenance")
    texts: dict[str, str] = fields.take("provenance")
    return {name: part.take_str(name) for name in texts}


def _tensor(part: Fields) -> QuantisedTensor:
    part.only(*_TENSOR)
    return QuantisedTensor(**{name: part.take(name) for name in _TENSOR})


def _node(
    part: Fields,
    tensors: Mapping[str, QuantisedTensor],
    arrays: Mapping[str, npt.NDArray[Any]],
    path: Path,
) -> Node:
    kind = part.take_str("op", choices=KINDS)
    row = KINDS[kind]
    more = ("weight_bits", "addition", "bounds") if row.has_weights else _SUM
    part.only(*_NODE, *(more if row.has_weights or kind == "add" else ()))
    is_square = not isinstance(part.take("kernel"), list)
    sides = (
        [part.take_int("kernel")] * 2 if is_square else part.take_list("kernel", length=2, of=int)
    )
    inputs = part.take_list("input", of=str) if row.inputs > 1 else [part.take_str("input")]
    node: dict[str, Any] = {"name": part.take_str("name"), "kind": kind, "inputs": tuple(inputs)}
    node |= {"output": part.take_str("output"), "stride": part.take_int("stride")}
    node |= {"kernel_height": sides[0], "kernel_width": sides[1]}
    node["padding"] = tuple(part.take_list("padding", length=4, of=int))
    if kind == "add":
        scale = tensors[inputs[1]].scale if inputs[1] in tensors else 1.0
        return IntegerSum(**node, addition=Addition(scale=scale, **_constants(part)))
    if not row.has_weights:
        return Node(**node)
    held = {
        what: _take(arrays, f"{node['name']}.{what}", dtype, path)
        for what, dtype in _ARRAYS.items()
    }
    shortcut, addition = None, None
    if part.has("addition"):
        added, output = part.take_fields("addition"), tensors.get(node["output"])
        added.only("shortcut", "scale", *_SUM)
        shortcut = added.take_str("shortcut")
        scale = added.take("scale", output.scale if output else 1.0)
        addition = Addition(scale=scale, **_constants(added))
    return IntegerConvolution(
        **node,
        weight_bits=part.take_int("weight_bits"),
        shortcut=shortcut,
        weights=held["weights"],
        weight_scale=held["weight_scale"],
        bias=held["bias"],
        requantizer=Requantizer(multiplier=held["multiplier"], shift=held["shift"]),
        addition=addition,
        bounds=read(AccumulatorBounds, part.take_fields("bounds")),
    )


def _constants(part: Fields) -> dict[str, Any]:
    return {name: tuple(part.take_list(name, length=2, of=int)) for name in _SUM}
