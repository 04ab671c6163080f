"""Peak SRAM: bytes that are live at each layer, for a whole population."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from nas_engine.costs.memory import IMAGE_BITS, MemoryModel, MemoryUnits
from nas_engine.layers import Floats, LayerTable, interleave

LOGIT_BITS = 8
"""Width of the classifier's outputs."""


def stem_live(model: MemoryModel, table: LayerTable, out_bits: Any) -> Any:
    """Return the granules live at the stem, image and output.

    ``out_bits`` broadcasts against ``(n,)``.
    """
    frame = table.frame
    image = model.size(
        model.elements(float(frame.input_channels * frame.resolution**2)), IMAGE_BITS
    )
    output = model.size(
        model.elements(frame.resolutions()[0][1] ** 2 * table.stem_channels), out_bits
    )
    taps = float(frame.stem_kernel**2 * frame.input_channels)
    return (
        image
        + output
        + model.dense_scratch(taps, table.stem_channels, windows=frame.stem_kernel > 1)
    )


def head_live(model: MemoryModel, table: LayerTable, in_bits: Any, out_bits: Any) -> Any:
    """Return the granules live at the head; widths broadcast against ``(n,)``."""
    unit = model.elements(float(table.frame.resolutions()[-1][1] ** 2))
    live = model.size(unit * table.stage_channels[-1], in_bits) + model.size(
        unit * table.head_channels, out_bits
    )
    return live + model.dense_scratch(table.stage_channels[-1], table.head_channels)


def classifier_live(model: MemoryModel, table: LayerTable, in_bits: Any) -> Any:
    """Return the most granules live at average pool and dense layer, ``(n,)``.

    Zero without a classifier.
    """
    if not table.frame.classes:
        return np.zeros(table.n)
    pooled = model.size(model.elements(table.head_channels), in_bits)
    pooling = pooled + model.size(
        model.elements(table.frame.resolutions()[-1][1] ** 2 * table.head_channels), in_bits
    )
    logits = model.size(model.elements(float(table.frame.classes)), LOGIT_BITS)
    return np.maximum(
        pooling, pooled + logits + model.dense_scratch(table.head_channels, table.frame.classes)
    )


def head_out_bits(table: LayerTable, a_bits: npt.NDArray[Any]) -> Any:
    """Width of the head's output, ``(n,)``: the width that enters the classifier.

    It is 8 where there is no classifier (the authors' convention).
    """
    return a_bits[-1] if table.frame.classes else 8.0


def stream_bits(table: LayerTable, a_bits: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the widths of the residual stream, ``(residuals + 1, n)``.

    Rows as ``MemoryUnits.stream``.
    """
    stream = np.zeros((table.frame.max_residuals + 1, table.n), a_bits.dtype)
    stream[:-1] = a_bits[1:-2:3]
    stream[table.last_row, np.arange(table.n)] = a_bits[-2]
    return stream


def _live(
    model: MemoryModel, table: LayerTable, a_bits: npt.NDArray[Any], units: MemoryUnits | None
) -> tuple[Any, Floats, Floats, Floats, Any, Any]:
    """Return the granules live at each step, as ``interleave`` takes them.

    The steps are stem, expand, depth-wise, project, head and classifier.
    """
    units = units or model.units(table)
    bits = a_bits.astype(np.float64)
    b, c = bits[2:-2:3], bits[3:-2:3]
    stream = model.size(units.stream, stream_bits(table, bits))
    held = model.size(units.held, bits[1:-2:3])
    expand = stream[:-1] + model.size(units.expanded, b)
    expand += units.expand_scratch
    depthwise = np.maximum(
        model.depthwise_input(units, b),
        model.depthwise_beside(units, b) + model.depthwise_output(units, c),
    )
    depthwise += held
    depthwise += units.depthwise_scratch
    project = model.size(units.filtered, c)
    project += model.merge(held, stream[1:])
    project += units.project_scratch
    head = head_live(model, table, bits[-2], head_out_bits(table, bits))
    return (
        stem_live(model, table, bits[1]),
        expand,
        depthwise,
        project,
        head,
        classifier_live(model, table, bits[-1]),
    )


def sram_per_layer(
    model: MemoryModel,
    table: LayerTable,
    a_bits: npt.NDArray[Any],
    units: MemoryUnits | None = None,
) -> Floats:
    """Return the bytes live at each layer.

    Args:
        model: What is counted, see ``nas_engine.costs.memory``.
        table: ``n`` networks.
        a_bits: Input width of each layer, ``(layers, n)``.
        units: ``model.units(table)`` if it is at hand.

    Returns:
        Bytes, ``(layers, n)``; zero in rows that a network does not have.
    """
    stem, expand, *others = _live(model, table, a_bits, units)
    expand *= (
        table.active
    )  # the row behind a network's last residual holds the head's input, which the head counts
    return interleave(table, stem, expand, *others) * model.granule


def peak_sram(
    model: MemoryModel,
    table: LayerTable,
    a_bits: npt.NDArray[Any],
    units: MemoryUnits | None = None,
) -> Floats:
    """Return the largest number of bytes live at any layer, ``(n,)``.

    Arguments as ``sram_per_layer``.
    """
    stem, expand, depthwise, project, head, classifier = _live(model, table, a_bits, units)
    peak = np.maximum(np.maximum(stem, head), classifier)
    for part in (expand, depthwise, project):
        peak = np.maximum(peak, part.max(axis=0))
    return np.asarray(peak * model.granule)
