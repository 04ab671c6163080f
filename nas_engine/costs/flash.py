"""Flash: bytes of weights and of the constants that travel with them, as a memory model counts.

Runtime code is reserved by the device profile, not counted here.

**packed** (the ``arena`` memory model, chosen here): weights as one dense bit stream per layer,
padded to words; per output channel a 32-bit bias, a 32-bit Q31 multiplier and an 8-bit shift,
padded to words; one row of the exported layer table per layer and per average pool; the constants
of an addition per shortcut. Pooled shortcuts and additions count with the last layer of the unit,
the last pool with the classifier.
**paper** (Sun et al. 2022, their public code): weights * bits/8 + 2 bytes per output channel,
nothing else.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from nas_engine.block_kinds import BLOCK_KINDS, KIND_NAMES
from nas_engine.costs.memory import Bits, MemoryModel, Sizes
from nas_engine.layers import Floats, LayerTable, interleave, output_channels


def weight_bytes(model: MemoryModel, weights: Sizes, w_bits: Bits) -> Floats:
    """Return the bytes of stored weights; arguments broadcast."""
    return model.weights(weights, w_bits) * model.weight_granule


def stored_bytes(model: MemoryModel, weights: Floats, w_bits: npt.NDArray[Any]) -> Floats:
    """Return the bytes of stored weights of all layers, ``(n,)``; arguments ``(layers, n)``."""
    return np.asarray(model.weights(weights, w_bits).sum(axis=0) * model.weight_granule)


def fixed_flash(model: MemoryModel, table: LayerTable) -> Floats:
    """Return the bytes of a network that do not depend on any width, ``(n,)``: all constants."""
    additions, classifier = model.steps(table)
    ends = np.asarray(model.channels(table.stem_channels))
    if table.frame.has_head:
        ends = ends + model.channels(table.head_channels)
    if table.frame.class_count:
        ends = ends + model.channels(table.frame.class_count) + classifier
    return np.asarray(_unit_constants(model, table).sum(axis=0) + ends + np.sum(additions, axis=0))


def _unit_constants(model: MemoryModel, table: LayerTable) -> Floats:
    """Return the constants of all units of each stage, ``(stages, n)``."""
    mid, out = (model.channels(part) for part in (table.stage_bottleneck, table.stage_channels))
    found = np.zeros_like(out)
    for code in table.kinds:
        total = np.zeros_like(out)
        for layer in BLOCK_KINDS[KIND_NAMES[code]].layers:
            if layer is not None and layer.reshaping:
                assert table.reshapes is not None
                total += out * table.reshapes
            elif layer is not None and layer.outputs == "in":
                before = np.concatenate([table.stem_channels[None], table.stage_channels[:-1]])
                total += model.channels(before) + (table.depth - 1) * out
            elif layer is not None:
                total += (mid if layer.outputs == "mid" else out) * table.depth
        found = np.where(table.stage_kind == code, total, found)
    return np.asarray(found)


def flash_per_layer(model: MemoryModel, table: LayerTable, w_bits: npt.NDArray[Any]) -> Floats:
    """Return the Flash bytes of each layer.

    Args:
        model: What is counted.
        table: ``n`` networks.
        w_bits: Weight width of each layer, ``(layers, n)``.

    Returns:
        Bytes, ``(layers, n)``.
    """
    outputs = output_channels(table)
    last, classifier = model.steps(table)
    steps = interleave(table, 0.0, 0.0, 0.0, last, 0.0, classifier)
    return np.asarray(
        weight_bytes(model, table.weights, w_bits) + model.channels(outputs) * (outputs > 0) + steps
    )


def flash(model: MemoryModel, table: LayerTable, w_bits: npt.NDArray[Any]) -> Floats:
    """Return the Flash bytes of each network, ``(n,)``; arguments as ``flash_per_layer``."""
    return np.asarray(stored_bytes(model, table.weights, w_bits) + fixed_flash(model, table))
