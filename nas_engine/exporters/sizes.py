"""Bytes of Flash that a network takes in addition to the code of the runtime.

They are the contents of the arrays and tables of the C export.
"""

from __future__ import annotations

from nas_engine.costs.memory import (
    ADDITION_BYTES,
    CHANNEL_BYTES,
    LAYER_RECORD_BYTES,
    WORD_BYTES,
)
from nas_engine.integer.model import IntegerConvolution, IntegerModel
from nas_engine.network.graph import Node


def step_bytes(step: Node) -> int:
    """Return the bytes of one step's weights, constants, addition and layer record.

    Weights are one dense stream of ``weight_bits``-bit elements, docs/integer_model.md; the rest is
    laid out in nas_runtime.h.
    """
    if not isinstance(step, IntegerConvolution):
        return LAYER_RECORD_BYTES
    words = -(-step.weights.size * step.weight_bits // (8 * WORD_BYTES)) - (
        -len(step.bias) * CHANNEL_BYTES // WORD_BYTES
    )
    return words * WORD_BYTES + LAYER_RECORD_BYTES + (ADDITION_BYTES if step.addition else 0)


def packed_bytes_per_step(model: IntegerModel) -> dict[str, int]:
    """Return the bytes of each step by its name, in the order of execution; see ``step_bytes``."""
    return {step.name: step_bytes(step) for step in model.nodes}


def packed_bytes(model: IntegerModel) -> int:
    """Return the bytes of all steps.

    They are exactly the sections ``.rodata.nas_packed.*`` and ``.rodata.nas_layers`` on a 32-bit
    target.
    """
    return sum(packed_bytes_per_step(model).values())


def step_macs(model: IntegerModel, step: Node) -> int:
    """Return the multiply-accumulates of one step, taps in the padding included; 0 for a pool."""
    if not isinstance(step, IntegerConvolution):
        return 0
    target = model.tensor(step.output)
    return target.height * target.width * step.weights.size
