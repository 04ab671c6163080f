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
from nas_engine.costs.schedule import (
    JOINED,
    SCHEDULES,
    bit_costs,
    joined_costs,
    joins,
    largest_rows,
    live_steps,
    stem_rows,
    term_sizes,
    terms_of,
)
from nas_engine.costs.tensors import BitCosts, Width
from nas_engine.layers import Floats, LayerTable, interleave, unit_inputs


def head_out_bits(table: LayerTable, classifier_bits: Any) -> Any:
    """Return the width of the head's output: the width that enters the classifier.

    It is 8 where there is no classifier (the authors' convention).
    """
    return classifier_bits if table.frame.class_count else 8


def ends_live(
    model: MemoryModel, table: LayerTable, costs: BitCosts, entering: Any, leaving: Any
) -> tuple[Any, Any]:
    """Return the granules live at the head, and the most at the pool and the dense layer.

    The former are 0 without a head, the latter without a classifier.

    Args:
        model: What is counted.
        table: ``n`` networks.
        costs: ``bit_costs(model, table)``.
        entering: Granules of one element of the head's input, ``share(model, bits)``.
        leaving: Those of its output and of the classifier's input.
    """
    widths: dict[Width, Any] = {"a": entering, "next": leaving}
    if table.frame.has_head:
        head, pool = live_steps(model, "head", costs, widths, table.frame.schedule)
    else:
        head, (pool,) = np.zeros(table.n), live_steps(model, "pool", costs, widths)
    if not table.frame.class_count:
        return head, np.zeros(table.n)
    dense = live_steps(model, "classifier", costs, {"a": leaving})[0]
    return head, np.maximum(pool, dense)


def _live(
    model: MemoryModel, table: LayerTable, a_bits: npt.NDArray[Any], costs: BitCosts | None
) -> tuple[Any, ...]:
    """Return the granules live at each step: stem, a unit's three places, head and classifier."""
    costs, widths = costs or bit_costs(model, table), widths_of(model, table, a_bits)
    stem, units = stem_live(model, table, costs, widths), _units_live(model, table, costs, widths)
    if joins(model, table):
        stem = _join(model, table, widths, stem, units)
    if table.first is not None:
        units[0] = units[0] * table.first
    return (stem, *units, *_ends(model, table, costs, a_bits))


def live_alone(
    model: MemoryModel, table: LayerTable, a_bits: npt.NDArray[Any]
) -> tuple[Any, Any, tuple[Any, Any]]:
    """Return the granules of each unit that runs apart from the others.

    Arguments as ``sram_per_layer``.

    Returns:
        Those of the stem, ``(n,)``; of units, the most at any of their steps, ``(residuals, n)``;
        and of head and classifier, ``(n,)`` each.
    """
    costs, widths = bit_costs(model, table), widths_of(model, table, a_bits)
    units = reduce(np.maximum, _units_live(model, table, costs, widths))
    stem = stem_live(model, table, costs, widths)
    return stem, units, _ends(model, table, costs, a_bits)


def widths_of(model: MemoryModel, table: LayerTable, a_bits: npt.NDArray[Any]) -> dict[Width, Any]:
    """Return the granules of one element at each width of the units, ``(residuals, n)`` each."""
    return unit_widths(table, share(model, a_bits))


def unit_widths(table: LayerTable, a_bits: npt.NDArray[Any]) -> dict[Width, Any]:
    """Return the widths of each unit, ``(residuals, n)`` each.

    The last is followed by the head, or else by the classifier.

    Args:
        table: ``n`` networks.
        a_bits: Input width of each layer, or another figure of it, ``(layers, n)``.
    """
    entering = unit_inputs(table, a_bits)
    after = np.zeros((table.frame.max_residuals, table.n), a_bits.dtype)
    after[:-1] = entering[1:]
    after[table.last_row - 1, np.arange(table.n)] = a_bits[table.frame.row_behind]
    return {
        "a": entering,
        "b": a_bits[2:-2:PLACES],
        "c": a_bits[PLACES:-2:PLACES],
        "next": after,
    }


def stem_live(
    model: MemoryModel, table: LayerTable, costs: BitCosts, widths: Mapping[Width, Any]
) -> Any:
    """Return the granules live at a stem that runs alone, ``(n,)``."""
    rows = stem_rows(model, table)
    sizes = term_sizes(model, terms_of((rows,)), costs, {"next": widths["a"][0]})
    return largest_rows(rows, sizes)[0]


def _ends(
    model: MemoryModel, table: LayerTable, costs: BitCosts, a_bits: npt.NDArray[Any]
) -> tuple[Any, Any]:
    bits = a_bits[-1] if table.frame.class_count else head_out_bits(table, 0)
    return ends_live(model, table, costs, share(model, a_bits[-2]), share(model, bits))


def _units_live(
    model: MemoryModel, table: LayerTable, costs: BitCosts, widths: Mapping[Width, Sizes]
) -> list[Any]:
    """Return the granules that live at each place of the units, ``(residuals, n)`` each."""
    found: list[Any] = [np.zeros_like(table.c_in)] * PLACES
    for code in table.kinds:
        kind, mask = KIND_NAMES[code], table.of_kind(code)
        places = dict.fromkeys(row.step for row in SCHEDULES[model.name][kind]["layers"])
        live = live_steps(model, kind, costs, widths, table.frame.schedule)
        for place, values in zip(places, live, strict=True):
            found[place] = values if mask is True else np.where(mask, values, found[place])
    return found


def _join(
    model: MemoryModel,
    table: LayerTable,
    widths: Mapping[Width, Any],
    stem: Any,
    units: list[Any],
) -> Any:
    """Let the first unit take its rows from the stem where that needs less; in ``units`` in place.

    Returns:
        The granules that live at the stem, ``(n,)``.
    """
    costs, first = joined_costs(table), {name: width[:1] for name, width in widths.items()}
    by_rows = np.full(table.n, np.inf)
    for code in table.kinds:
        rows, mask = JOINED[KIND_NAMES[code]][table.frame.image], table.of_kind(code)
        live = largest_rows(rows, term_sizes(model, terms_of((rows,)), costs, first))[0][0]
        by_rows = live if mask is True else np.where(np.asarray(mask)[0], live, by_rows)
    apart = reduce(np.maximum, (stem, *(place[0] for place in units)))
    taken = by_rows < apart
    for place, values in enumerate(units):
        units[place] = values.copy()
        np.copyto(units[place][0], by_rows, where=taken)
    return np.where(taken, by_rows, stem)


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
