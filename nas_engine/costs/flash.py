"""Flash: bytes of weights and of the constants that travel with them.

Runtime code is reserved by the device profile, not counted here.

**packed** (goes with the ``arena`` memory model; ours): weights as one dense bit stream per layer,
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
from nas_engine.costs.memory import WORD_BYTES
from nas_engine.layers import Floats, LayerTable, interleave, output_channels

CHANNEL_BYTES = 9
"""int32 bias + Q31 multiplier + int8 shift per output channel."""

LAYER_RECORD_BYTES = 52
"""One row of the exported layer table: ``nas_layer`` of the C runtime
(nas_engine/exporters/runtime/nas_runtime.h)."""

ADDITION_BYTES = 24
"""Three multipliers and shifts of a shortcut's addition: ``nas_addition`` of the C runtime."""

PAPER_CHANNEL_BYTES = 2
"""The authors' two bytes per output channel."""


def _granules(model_name: str, weights: Any, w_bits: Any) -> tuple[Any, float]:
    """Return stored weights in bits (paper) or whole words (packed), and the bytes of one."""
    if model_name == "paper":
        return weights * w_bits, 1 / 8
    words = np.asarray(w_bits * (1 / (8 * WORD_BYTES)) * weights)
    return np.ceil(words, out=words), WORD_BYTES


def weight_bytes(model_name: str, weights: Any, w_bits: Any) -> Any:
    """Return the bytes of stored weights; arguments broadcast."""
    granules, size = _granules(model_name, weights, w_bits)
    return granules * size


def stored_bytes(model_name: str, weights: Floats, w_bits: npt.NDArray[Any]) -> Floats:
    """Return the bytes of stored weights of all layers, ``(n,)``; arguments ``(layers, n)``."""
    granules, size = _granules(model_name, weights, w_bits)
    return np.asarray(granules.sum(axis=0) * size)


def constant_bytes(model_name: str, outputs: Any) -> Any:
    """Return the bytes besides the weights of a layer with so many output channels.

    They do not depend on any width.
    """
    if model_name == "paper":
        return outputs * float(PAPER_CHANNEL_BYTES)
    return np.ceil(outputs * (CHANNEL_BYTES / WORD_BYTES)) * WORD_BYTES + LAYER_RECORD_BYTES


def _step_bytes(model_name: str, table: LayerTable) -> tuple[Any, float]:
    """Return the bytes of steps that are no layers.

    At the last layer of each unit, ``(residuals, n)``, and at the classifier.
    """
    if model_name == "paper":
        return 0.0, 0.0
    last = table.shortcut * float(ADDITION_BYTES)
    if table.pooled is not None:
        last += table.pooled * float(LAYER_RECORD_BYTES)
    return last, float(LAYER_RECORD_BYTES) if table.frame.classes else 0.0


def fixed_flash(model_name: str, table: LayerTable) -> Floats:
    """Return the bytes of a network that do not depend on any width, ``(n,)``: all constants."""
    additions, classifier = _step_bytes(model_name, table)
    ends = constant_bytes(model_name, table.stem_channels) + constant_bytes(
        model_name, table.head_channels
    )
    if table.frame.classes:
        ends += constant_bytes(model_name, table.frame.classes) + classifier
    return np.asarray(
        _unit_constants(model_name, table).sum(axis=0) + ends + np.sum(additions, axis=0)
    )


def _unit_constants(model_name: str, table: LayerTable) -> Floats:
    """Return the constants of all units of each stage, ``(stages, n)``."""
    mid, out = (
        constant_bytes(model_name, part) for part in (table.stage_bottleneck, table.stage_channels)
    )
    found = np.zeros_like(out)
    for code in table.kinds:
        total = np.zeros_like(out)
        for layer in BLOCK_KINDS[KIND_NAMES[code]].layers:
            if layer is not None and layer.reshaping:
                total += out * table.reshapes
            elif layer is not None and layer.outputs == "in":
                before = np.concatenate([table.stem_channels[None], table.stage_channels[:-1]])
                total += constant_bytes(model_name, before) + (table.depth - 1) * out
            elif layer is not None:
                total += (mid if layer.outputs == "mid" else out) * table.depth
        found = np.where(table.stage_kind == code, total, found)
    return np.asarray(found)


def flash_per_layer(model_name: str, table: LayerTable, w_bits: npt.NDArray[Any]) -> Floats:
    """Return the Flash bytes of each layer.

    Args:
        model_name: ``"arena"`` (packed) or ``"paper"``, the name of the memory model.
        table: ``n`` networks.
        w_bits: Weight width of each layer, ``(layers, n)``.

    Returns:
        Bytes, ``(layers, n)``.
    """
    outputs = output_channels(table)
    last, classifier = _step_bytes(model_name, table)
    steps = interleave(table, 0.0, 0.0, 0.0, last, 0.0, classifier)
    return np.asarray(
        weight_bytes(model_name, table.weights, w_bits)
        + constant_bytes(model_name, outputs) * (outputs > 0)
        + steps
    )


def flash(model_name: str, table: LayerTable, w_bits: npt.NDArray[Any]) -> Floats:
    """Return the Flash bytes of each network, ``(n,)``; arguments as ``flash_per_layer``."""
    return np.asarray(
        stored_bytes(model_name, table.weights, w_bits) + fixed_flash(model_name, table)
    )
