"""Manifest: ``quant.json``, every width, scale and constant of an exported network.

It is for tools that read no C, TFLite or ONNX.

The schema in ``quant.schema.json`` says what stands where, in which unit and range; it is written
beside the manifest. docs/manifest.md explains both.
"""

from __future__ import annotations

import hashlib
import json
import math
import zlib
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from nas_engine import __version__
from nas_engine.costs.memory import ADDITION_BYTES, LAYER_RECORD_BYTES, WORD_BYTES
from nas_engine.costs.plan import MemoryPlan, PlannedTensor
from nas_engine.errors import FileFormatError, shortened
from nas_engine.exporters.exporter import ExportError, ExportSubject
from nas_engine.exporters.packing import pack_layer
from nas_engine.exporters.row_stages import ROWS_OF_POOL, row_stages
from nas_engine.exporters.sizes import step_bytes, step_macs
from nas_engine.integer.model import IntegerConvolution, IntegerModel
from nas_engine.network.graph import Node
from nas_engine.network.kernels import POOL_KERNEL
from nas_engine.quantization.record import QuantisedTensor
from nas_engine.reading import read_regular

FORMAT = "nas-search/quant/1"
"""First key of ``quant.json``; the number changes when the meaning of a key does."""

MANIFEST_NAME = "quant.json"
"""Name of the manifest in the export directory."""

SCHEMA_NAME = "quant.schema.json"
"""Name of its JSON Schema, in this package and in the export directory."""

INT4_BITS = 4
"""Widest weights that an INT4 tensor of TFLite and ONNX holds."""

_LARGEST_FILE = 2**28
_REMEDY = "export the network again, or put a whole copy back"


def manifest(model: IntegerModel, plan: MemoryPlan, *, device: str | None) -> dict[str, Any]:
    """Return the object that ``quant.json`` holds, checksum included.

    Args:
        model: The network.
        plan: Where its tensors lie in the arena, by the model's tensor names.
        device: Name of the device profile that the network is for, or ``None``.

    Raises:
        ExportError: The plan lacks a tensor of the network.
    """
    stages = row_stages(model, plan)
    placed = {tensor.name: tensor for tensor in plan.tensors}
    for stage in stages:
        for name, place in stage.within:
            rows = 1 if stage.roles.side is not None else 2
            placed[name] = replace(placed[place], rows=rows)
    by_rows = [node.name for stage in stages for node in stage.unit.nodes]
    if lacking := [tensor.name for tensor in model.tensors if tensor.name not in placed]:
        raise ExportError(
            "manifest",
            f"the memory plan has no tensor {shortened(repr(lacking[0]))}; plan the memory of this "
            "network",
        )
    layers = [
        _convolution(model, step, placed, by_rows=step.name in by_rows)
        if isinstance(step, IntegerConvolution)
        else _pool(model, step, by_rows=step.name in by_rows)
        for step in model.nodes
    ]
    document: dict[str, Any] = {
        "format": FORMAT,
        "generator": {"name": "nas-search", "version": __version__},
        "device": device,
        "network": {
            "image": model.image,
            "image_offset": -128,
            "logits": model.logits,
            "classes": list(model.classes),
            "provenance": dict(model.provenance),
        },
        "totals": {"arena_bytes": plan.arena_bytes, **_totals(layers)},
        "schedule": {"image": "rows" if plan.image_rows else "whole", "by_rows": by_rows},
        "formats": _formats(model, by_rows=bool(by_rows)),
        "tensors": [_tensor(model, tensor, placed[tensor.name]) for tensor in model.tensors],
        "layers": layers,
    }
    return {**document, "sha256": checksum(document)}


def checksum(document: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a manifest's canonical JSON without its key ``sha256``.

    Canonical: UTF-8, keys sorted, no blanks, no escapes but those that JSON demands, floats with
    the fewest digits that read back the same double, as ``json.dumps`` prints them.
    """
    rest = {key: value for key, value in document.items() if key != "sha256"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def shortest_float32(value: float) -> float:
    """Return the number with the shortest decimal that reads back as the same float32.

    Reading back means: as a double rounded to float32.

    Args:
        value: A float32 value.
    """
    short = float(str(np.float32(value)))
    return (
        short if float(np.float32(short)) == value else value
    )  # a decimal beside the middle of two float32 could round twice


def schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of the manifest."""
    document: dict[str, Any] = json.loads(_schema_bytes())
    return document


@cache
def _schema_bytes() -> bytes:
    return resources.files("nas_engine.exporters").joinpath(SCHEMA_NAME).read_bytes()


class ManifestExporter:
    """Writes the manifest, its schema and the memory plan."""

    name = "manifest"

    def missing(self) -> str | None:
        """Return ``None``: it needs no other package."""
        return None

    def files(self, subject: ExportSubject) -> Mapping[str, bytes]:
        """Return ``quant.json``, ``memory_plan.json`` and ``quant.schema.json``.

        The same subject gives the same bytes.
        """
        return {
            MANIFEST_NAME: f"{_text(dict(subject.manifest))}\n".encode(),
            "memory_plan.json": (json.dumps(subject.plan.as_json(), indent=1) + "\n").encode(),
            SCHEMA_NAME: _schema_bytes(),
        }


def _text(value: Any, depth: int = 0) -> str:
    """Return JSON with every container of only plain values on one line.

    This keeps a channel list from filling a page.
    """
    short = json.dumps(value, ensure_ascii=False, allow_nan=False)
    parts = (
        list(value.values())
        if isinstance(value, dict)
        else value
        if isinstance(value, list)
        else []
    )
    plain = not any(isinstance(part, dict | list) for part in parts)
    if not parts or (plain and (isinstance(value, list) or len(short) + depth <= 140)):
        return short
    if isinstance(value, dict):
        lines = [
            f"{json.dumps(key, ensure_ascii=False)}: {_text(part, depth + 1)}"
            for key, part in value.items()
        ]
    else:
        lines = [_text(part, depth + 1) for part in parts]
    indent = "\n" + " " * (depth + 1)
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    return f"{opening}{indent}{f',{indent}'.join(lines)}\n{' ' * depth}{closing}"


def _tensor(model: IntegerModel, tensor: QuantisedTensor, place: PlannedTensor) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "shape": list(tensor.shape),
        "bits": tensor.bits,
        "signed": tensor.signed,
        "scale": shortest_float32(tensor.scale),
        "zero_point": tensor.zero_point,
        "low": tensor.low,
        "high": tensor.high,
        "stored": {"value": "value - low", "stream": "LSB first"},
        "arena": {
            "offset": place.offset,
            "size": place.size,
            "rows": tensor.height if place.rows is None else place.rows,
        },
        "containers": {
            "tflite": "INT8",
            "onnx-integer": "INT8" if tensor.name == model.logits else "UINT8",
            "onnx-qcdq": "INT8" if tensor.signed else "UINT8",
        },
    }


def _window(model: IntegerModel, step: Node, kind: str) -> dict[str, Any]:
    return {
        "kind": kind,
        "name": step.name,
        "input": step.input,
        "output": step.output,
        "kernel": step.kernel_height,
        "stride": step.stride,
        "padding": list(step.padding),
        "input_bits": model.tensor(step.input).bits,
        "output_bits": model.tensor(step.output).bits,
    }


def _pool(model: IntegerModel, step: Node, *, by_rows: bool) -> dict[str, Any]:
    flash = {"record": LAYER_RECORD_BYTES, "total": LAYER_RECORD_BYTES}
    return {
        **_window(model, step, "average_pool"),
        "storage": {"function": ROWS_OF_POOL if by_rows else POOL_KERNEL, "flash": flash},
    }


def _convolution(
    model: IntegerModel,
    step: IntegerConvolution,
    placed: Mapping[str, PlannedTensor],
    *,
    by_rows: bool,
) -> dict[str, Any]:
    source, target = model.tensor(step.input), model.tensor(step.output)
    in_place = not by_rows and placed[target.name].in_place_of == source.name
    packed = pack_layer(step, source, target, in_place=in_place)
    narrow = "INT4" if step.weight_bits <= INT4_BITS else "INT8"
    flash = {
        "weights": WORD_BYTES * len(packed.weights),
        "constants": WORD_BYTES * len(packed.constants),
        "record": LAYER_RECORD_BYTES,
        "addition": ADDITION_BYTES if step.addition else 0,
    }
    addition = step.addition and {
        "shortcut": step.shortcut,
        **(
            {}
            if step.addition.scale == target.scale
            else {"scale": shortest_float32(step.addition.scale)}
        ),
        **{
            part: dict(zip(("multiplier", "shift"), getattr(step.addition, part), strict=True))
            for part in ("first", "second", "out")
        },
    }
    return {
        **_window(model, step, step.kind),
        "weight_shape": list(step.weights.shape),
        "weight_bits": step.weight_bits,
        "weight_shift": step.weight_shift,
        "weights_crc32": zlib.crc32(np.ascontiguousarray(step.weights, np.int8).tobytes()),
        "macs": step_macs(model, step),
        "weight_scale": [shortest_float32(value) for value in step.weight_scale.tolist()],
        "weight_zero_point": [0] * len(step.weights),
        "bias": step.bias.tolist(),
        "multiplier": step.requantizer.multiplier.tolist(),
        "shift": step.requantizer.shift.tolist(),
        "accumulator": {
            "bound": step.bounds.accumulator,
            "bits": step.bounds.accumulator.bit_length() + 1,
            "shifted_bound": step.bounds.shifted,
        },
        "addition": addition,
        "containers": {
            "tflite": "INT8",
            "tflite-int4": narrow,
            "onnx-integer": narrow,
            "onnx-qcdq": "FLOAT",
        },
        "storage": {
            "device": "native" if packed.kernel.native else "storage-only",
            "layout": packed.kernel.layout,
            "function": packed.kernel.name,
            "fast_rounding": packed.fast_rounding,
            "packed_crc32": zlib.crc32(packed.weights.astype("<u4").tobytes()),
            "flash": {**flash, "total": step_bytes(step)},
        },
    }


def _totals(layers: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the sums over all layers."""
    convolutions = [layer for layer in layers if layer["kind"] != "average_pool"]
    weights = [math.prod(layer["weight_shape"]) for layer in convolutions]
    weight_bits = sum(
        count * layer["weight_bits"] for count, layer in zip(weights, convolutions, strict=True)
    )
    return {
        "packed_bytes": sum(layer["storage"]["flash"]["total"] for layer in layers),
        "weights": sum(weights),
        "mean_weight_bits": weight_bits / max(sum(weights), 1),
        "macs": sum(layer["macs"] for layer in convolutions),
        "bitops": sum(
            layer["macs"] * layer["weight_bits"] * layer["input_bits"] for layer in convolutions
        ),
    }


def _formats(model: IntegerModel, *, by_rows: bool) -> dict[str, Any]:
    """Return, for each format, two facts: equality with the reference and exact widths.

    The first says whether the format gives the reference's numbers, the second whether it stores
    every width as it is. Where units of the C run by rows, the others say that its arena is not
    theirs.
    """
    note = "; runs with whole tensors: the arena is that of the C alone" if by_rows else ""
    weights = [step.weight_bits for step in model.nodes if isinstance(step, IntegerConvolution)]
    small = sum(bits <= INT4_BITS for bits in weights)
    whole = all(tensor.bits == 8 for tensor in model.tensors)
    in_int4 = whole and {INT4_BITS, 8}.issuperset(weights)
    int4 = (
        f"INT4 holds the weights of {small} layer(s) without all of their carried zeros; biases "
        "and sums are in coarser units there, and "
        "results can differ"
        if small
        else (
            "no layer has weights of 4 bits or less: this file is not written, it would be the one "
            "with INT8 weights"
        )
    )
    rows = {
        "c": (
            True,
            True,
            "weights and activations of 2 to 8 bits are dense bit streams of their own width",
        ),
        "tflite": (
            True,
            whole and {8}.issuperset(weights),
            (
                "INT8 holds weights of every width with their carried zeros, and activations of "
                "every width, clamped to their range"
            ),
        ),
        "tflite-int4": (not small, in_int4, int4),
        "onnx-integer": (
            True,
            in_int4,
            (
                "integer operators only; weights of up to 4 bits are INT4, others INT8; "
                "activations are UINT8 and hold value - low"
            ),
        ),
        "onnx-qcdq": (
            False,
            False,
            (
                "float32 operators between quantisers, which round once and halves to even: "
                "results can differ; bounds of Clip tell the widths"
            ),
        ),
    }
    return {
        name: {"exact": exact, "stores_widths": stores, "why": why + note * (name != "c")}
        for name, (exact, stores, why) in rows.items()
    }


def read_manifest(path: Path) -> dict[str, Any]:
    """Return the manifest that a file holds, after checking its version and its checksum.

    Raises:
        FileFormatError: Missing, cut off, changed, or of another version. Names the file and what
            to do.
    """
    document = _read_json(path)
    found = document.get("format") if isinstance(document, dict) else None
    if found != FORMAT:
        raise FileFormatError(
            path,
            f"format: is {shortened(repr(found))}; expected '{FORMAT}' (another version? export "
            "the network again)",
        )
    if document.get("sha256") != checksum(document):
        raise FileFormatError(
            path,
            f"sha256: is not that of the other keys (was the file changed by hand?); {_REMEDY}",
        )
    checked: dict[str, Any] = document
    return checked


def _read_json(path: Path) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) != len(pairs):
            raise ValueError("a key stands twice")
        return dict(pairs)

    def refuse(constant: str) -> float:
        raise ValueError(f"{constant} is no JSON")

    data = read_regular(path, _LARGEST_FILE, f"give the {MANIFEST_NAME} that an export wrote")
    try:
        document = json.loads(data.decode(), object_pairs_hook=unique, parse_constant=refuse)
        json.dumps(document, ensure_ascii=False).encode()  # half a surrogate pair is no text
    except (
        ValueError,
        RecursionError,
    ) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise FileFormatError(
            path, f"is not whole JSON (cut off or damaged?); {_REMEDY}"
        ) from error
    return document
