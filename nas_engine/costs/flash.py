"""Flash: bytes of weights and of the constants that travel with them.

Runtime code is reserved by the device profile, not counted here.

**packed** (goes with the ``arena`` memory model; ours): weights as one dense bit stream per layer,
padded to words; per output channel a 32-bit bias, a 32-bit Q31 multiplier and an 8-bit shift,
padded to words; one row of the exported layer table per layer and per average pool; the constants
of an addition per shortcut. Pooled shortcuts and additions count with the project layer, the last
pool with the classifier.
**paper** (Sun et al. 2022, their public code): weights * bits/8 + 2 bytes per output channel,
nothing else.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

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

    At each project layer, ``(residuals, n)``, and at the classifier.
    """
    if model_name == "paper":
        return 0.0, 0.0
    project = table.shortcut * float(ADDITION_BYTES)
    if table.pooled is not None:
        project += table.pooled * float(LAYER_RECORD_BYTES)
    return project, float(LAYER_RECORD_BYTES) if table.frame.classes else 0.0


def fixed_flash(model_name: str, table: LayerTable) -> Floats:
    """Return the bytes of a network that do not depend on any width, ``(n,)``: all constants."""
    project, classifier = _step_bytes(model_name, table)
    residual = constant_bytes(model_name, table.stage_bottleneck) * 2
    residual += constant_bytes(model_name, table.stage_channels)
    residual *= table.depth
    ends = constant_bytes(model_name, table.stem_channels) + constant_bytes(
        model_name, table.head_channels
    )
    if table.frame.classes:
        ends += constant_bytes(model_name, table.frame.classes) + classifier
    return np.asarray(residual.sum(axis=0) + ends + np.sum(project, axis=0))


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
    project, classifier = _step_bytes(model_name, table)
    steps = interleave(table, 0.0, 0.0, 0.0, project, 0.0, classifier)
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
