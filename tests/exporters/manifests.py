"""Subjects of the manifest's tests: a random network with every kind of step, and its export."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from nas_engine.costs.plan import MemoryPlan, PlannedTensor
from nas_engine.exporters.exporter import ExportSubject
from nas_engine.exporters.manifest import manifest, schema
from nas_engine.integer.model import IntegerModel
from nas_engine.integer.store import GoldenVectors
from nas_engine.testing.networks import random_images, random_model

SEED = 1
"""A network with a pooled shortcut, an addition and every kind of step."""

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = schema()

Json = dict[str, Any]


def side_by_side(model: IntegerModel) -> MemoryPlan:
    """Return a plan in which every tensor has a place of its own."""
    placed: list[PlannedTensor] = []
    offset, last = 0, len(model.nodes) - 1
    for tensor in model.tensors:
        size = -(-math.prod(tensor.shape) * tensor.bits // 32) * 4
        placed.append(
            PlannedTensor(
                name=tensor.name,
                offset=offset,
                size=size,
                bits=tensor.bits,
                first_step=0,
                last_step=last,
            )
        )
        offset += size
    return MemoryPlan(
        arena_bytes=offset, steps=tuple(step.name for step in model.nodes), tensors=tuple(placed)
    )


def subject_of(seed: int) -> ExportSubject:
    model = random_model(seed)
    plan = side_by_side(model)
    golden = GoldenVectors.of(model, random_images(model, 1))
    return ExportSubject(
        model=model, golden=golden, plan=plan, manifest=manifest(model, plan, device="stm32f746")
    )


def validator() -> Any:
    return Draft202012Validator(SCHEMA)
