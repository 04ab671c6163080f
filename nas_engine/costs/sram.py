"""Peak SRAM: bytes that are live at each layer, for a whole population.

What lives together is declared in ``nas_engine.costs.schedule``; here it gets its widths.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from nas_engine.block_kinds import KIND_NAMES, PLACES
from nas_engine.costs.memory import MemoryModel, Sizes, share
from nas_engine.costs.schedule import SCHEDULES, BitCosts, Width, bit_costs, live_steps
from nas_engine.layers import Floats, LayerTable, interleave, unit_inputs


def head_out_bits(table: LayerTable, classifier_bits: Any) -> Any:
    """Return the width of the head's output: the width that enters the classifier.

    It is 8 where there is no classifier (the authors' convention).
    """
    return classifier_bits if table.frame.class_count else 8


def classifier_live(model: MemoryModel, table: LayerTable, costs: BitCosts, share: Any) -> Any:
    """Return the most granules live at average pool and dense layer; 0 without a classifier.

    Args:
        model: What is counted.
        table: ``n`` networks.
        costs: ``bit_costs(model, table)``.
        share: Granules of one element of the input, ``share(model, bits)``.
    """
    if not table.frame.class_count:
        return np.zeros(table.n)
    return live_steps(model, "classifier", costs, {"a": share})[0]


def _live(
    model: MemoryModel, table: LayerTable, a_bits: npt.NDArray[Any], costs: BitCosts | None
) -> tuple[Any, ...]:
    """Return the granules live at each step: stem, a unit's three places, head and classifier."""
    costs = costs or bit_costs(model, table)
    shares = share(model, a_bits)
    entering = unit_inputs(table, shares)
    after = np.empty((table.frame.max_residuals, table.n))
    after[:-1], after[-1] = entering[1:], 0.0
    after[table.last_row - 1, np.arange(table.n)] = shares[-2]
    widths: dict[Width, Any] = {
        "a": entering,
        "b": shares[2:-2:PLACES],
        "c": shares[PLACES:-2:PLACES],
        "next": after,
    }
    head_out = head_out_bits(table, a_bits[-1])
    return (
        live_steps(model, "stem", costs, {"next": entering[0]})[0],
        *_units_live(model, table, costs, widths),
        live_steps(model, "head", costs, {"a": shares[-2], "next": share(model, head_out)})[0],
        classifier_live(model, table, costs, shares[-1]),
    )


def _units_live(
    model: MemoryModel, table: LayerTable, costs: BitCosts, widths: Mapping[Width, Sizes]
) -> list[Any]:
    """Return the granules that live at each place of the units, ``(residuals, n)`` each."""
    found: list[Any] = [np.zeros_like(table.c_in)] * PLACES
    for code in table.kinds:
        kind, mask = KIND_NAMES[code], table.of_kind(code)
        places = dict.fromkeys(row.step for row in SCHEDULES[model.name][kind][0])
        for place, values in zip(places, live_steps(model, kind, costs, widths), strict=True):
            found[place] = values if mask is True else np.where(mask, values, found[place])
    if table.first is not None:
        found[0] = found[0] * table.first
    return found


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
