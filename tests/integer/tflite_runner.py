"""Integer models exported as TFLite files and run by TFLite's reference kernels, in this process.
For tests.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from nas_engine.costs.plan import MemoryPlan
from nas_engine.exporters.exporter import ExportSubject
from nas_engine.exporters.settings import ExportSettings
from nas_engine.exporters.to_tflite import EXACT_NAME, TfliteExporter
from nas_engine.integer.model import IntegerModel
from nas_engine.integer.store import GoldenVectors

pytest.importorskip("flatbuffers")
schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
interpreter = pytest.importorskip("ai_edge_litert.interpreter")

MANIFEST: dict[str, Any] = {
    "format": "for tests",
    "layers": [{"name": "größer", "bits": 4}],
    "classes": ["a", "b"],
}
"""Stands for a manifest."""


def export_files(model: IntegerModel, *, metadata: bool = True) -> dict[str, bytes]:
    """Return the TFLite files of a model."""
    golden = GoldenVectors.of(model, np.zeros((1, *model.tensor(model.image).shape), np.uint8))
    plan = MemoryPlan(arena_bytes=0, steps=(), tensors=())
    settings = ExportSettings(formats=("tflite",), metadata=metadata)
    return dict(
        TfliteExporter().files(
            ExportSubject(
                model=model, golden=golden, plan=plan, manifest=MANIFEST, settings=settings
            )
        )
    )


def opened(content: bytes) -> Any:
    """Return the object tree of a file."""
    return schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(content, 0))


def run_file(content: bytes, images: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[np.int8]]:
    """Return every int8 tensor that TFLite's reference kernels compute, ``[N, ...]`` by name."""
    made = interpreter.Interpreter(
        model_content=content,
        experimental_op_resolver_type=interpreter.OpResolverType.BUILTIN_REF,
        experimental_preserve_all_tensors=True,
    )
    made.allocate_tensors()
    place = made.get_input_details()[0]["index"]
    shown = {
        detail["name"]: detail["index"]
        for detail in made.get_tensor_details()
        if list(detail["shape"][:1]) == [1]
    }
    rows: dict[str, list[Any]] = {name: [] for name in shown}
    for image in images:
        made.set_tensor(place, (image.astype(np.int16) - 128).astype(np.int8)[None])
        made.invoke()
        for name, index in shown.items():
            rows[name].append(made.get_tensor(index)[0])
    return {name: np.stack(values) for name, values in rows.items()}


def run_tflite(
    model: IntegerModel, images: npt.NDArray[np.uint8]
) -> dict[str, npt.NDArray[np.int8]]:
    """Return what ``model.tflite`` computes, as ``run_file``."""
    return run_file(export_files(model)[EXACT_NAME], images)
