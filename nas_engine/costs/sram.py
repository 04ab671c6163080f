"""Peak SRAM: bytes that are live at each layer, for a whole population.

What lives together is declared in ``nas_engine.costs.schedule``; here it gets its widths.
"""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from nas_engine.costs.memory import MemoryModel
from nas_engine.costs.schedule import BitCosts, Width, bit_costs, live_steps
from nas_engine.layers import Floats, LayerTable, interleave


def head_out_bits(table: LayerTable, classifier_bits: Any) -> Any:
    """Return the width of the head's output: the width that enters the classifier.

    It is 8 where there is no classifier (the authors' convention).
    """
    return classifier_bits if table.frame.classes else 8


def classifier_live(model: MemoryModel, table: LayerTable, costs: BitCosts, share: Any) -> Any:
    """Return the most granules live at average pool and dense layer; 0 without a classifier.

    Args:
        model: What is counted.
        table: ``n`` networks.
        costs: ``bit_costs(model, table)``.
        share: Granules of one element of the input, ``model.share(bits)``.
    """
    if not table.frame.classes:
        return np.zeros(table.n)
    return live_steps(model, "classifier", costs, {"a": share})[0]


def _live(
    model: MemoryModel, table: LayerTable, a_bits: npt.NDArray[Any], costs: BitCosts | None
) -> tuple[Any, ...]:
    """Return the granules live at each step: stem, a block's three layers, head and classifier."""
    costs = costs or bit_costs(model, table)
    share = model.share(a_bits)
    after = np.empty((table.frame.max_residuals, table.n))
    after[:-1], after[-1] = share[4:-2:3], 0.0
    after[table.last_row - 1, np.arange(table.n)] = share[-2]
    widths: dict[Width, Any] = {
        "a": share[1:-2:3],
        "b": share[2:-2:3],
        "c": share[3:-2:3],
        "next": after,
    }
    head_out = head_out_bits(table, a_bits[-1])
    return (
        live_steps(model, "stem", costs, {"next": share[1]})[0],
        *live_steps(model, "inverted residual", costs, widths),
        live_steps(model, "head", costs, {"a": share[-2], "next": model.share(head_out)})[0],
        classifier_live(model, table, costs, share[-1]),
    )


def sram_per_layer(
    model: MemoryModel,
    table: LayerTable,
    a_bits: npt.NDArray[Any],
    costs: BitCosts | None = None,
) -> Floats:
    """Return the bytes live at each layer.

    Args:
        model: What is counted, see ``nas_engine.costs.memory``.
        table: ``n`` networks.
        a_bits: Input width of each layer, ``(layers, n)``.
        costs: ``bit_costs(model, table)`` if it is at hand.

    Returns:
        Bytes, ``(layers, n)``; zero in rows that a network does not have.
    """
    return interleave(table, *_live(model, table, a_bits, costs)) * model.granule


def peak_sram(
    model: MemoryModel,
    table: LayerTable,
    a_bits: npt.NDArray[Any],
    costs: BitCosts | None = None,
) -> Floats:
    """Return the largest number of bytes live at any layer, ``(n,)``.

    Arguments as ``sram_per_layer``.
    """
    live = _live(model, table, a_bits, costs)
    peaks = (np.max(part, axis=0) if part.ndim == 2 else part for part in live)
    return np.asarray(reduce(np.maximum, peaks) * model.granule)
