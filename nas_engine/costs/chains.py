"""Peak SRAM of populations in chains: of all cuts the least, for networks that would not fit else.

Single units, each by the smaller of its schedules, are what a population is priced by
(``costs.sram``). Where that is too much, units may ask one another for rows: the same cut as that
of one network (``costs.rows.cut`` without room), by the same dynamic programming over where
segments end, vectorised over the population. What cannot be packed at every width is no link here,
so that the bytes are those of one network or a few more.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nas_engine.block_kinds import KIND_NAMES
from nas_engine.costs.memory import MemoryModel, Sizes
from nas_engine.costs.schedule import CHAIN_BEGINS, CHAIN_ENDS, LINKS, joins, term_sizes
from nas_engine.costs.sram import live_alone, peak_sram, widths_of
from nas_engine.costs.tensors import TENSORS, BitCosts, Width, in_place
from nas_engine.layers import Floats, LayerTable

COUNTER = 1.0
"""Word in which a stem counts its rows."""


def fitting_sram(
    model: MemoryModel,
    table: LayerTable,
    a_bits: npt.NDArray[Any],
    most: float,
    costs: BitCosts | None = None,
) -> Floats:
    """Return the peak SRAM of each network, in chains where single units need more than ``most``.

    Args:
        model: What is counted.
        table: ``n`` networks.
        a_bits: Input width of each layer, ``(layers, n)``.
        most: Bytes that the arena may take.
        costs: ``bit_costs(model, table)`` if it is at hand.

    Returns:
        Bytes, ``(n,)``.
    """
    peak = peak_sram(model, table, a_bits, costs)
    if joins(model, table) and (over := np.flatnonzero(peak > most)).size:
        peak[over] = np.minimum(
            peak[over], peak_in_chains(model, table.take(over), a_bits[:, over])
        )
    return peak


def peak_in_chains(model: MemoryModel, table: LayerTable, a_bits: npt.NDArray[Any]) -> Floats:
    """Return the least peak of all cuts of each network, in bytes, ``(n,)``.

    Arguments as ``fitting_sram``; the memory model knows rows.
    """
    widths = widths_of(model, table, a_bits)
    stem, units, ends = live_alone(model, table, a_bits)
    links = links_of(model, table, widths)
    first = begin_of(model, table, widths)
    least: list[Any] = [np.zeros(table.n), np.broadcast_to(stem, table.n)]
    for end in range(table.frame.max_residuals):
        best = np.maximum(least[-1], units[end])
        held, scratch = links.own[end], links.scratch[end]
        for begin in range(end - 1, -1, -1):
            held = held + links.waiting[begin + 1] + links.own[begin]
            scratch = np.maximum(scratch, links.scratch[begin])
            if not (held < best).any():
                break  # longer chains hold more
            whole = links.entering[begin] + links.leaving[end]
            best = np.minimum(best, np.maximum(least[begin + 1], whole + held + scratch))
        else:
            held = held + links.waiting[0] + first.held + links.leaving[end]
            best = np.minimum(best, held + np.maximum(scratch, first.scratch))
        least.append(np.where(table.active[end], best, least[-1]))
    return np.asarray(reduce(np.maximum, (least[-1], *ends)) * model.granule)


class Links(NamedTuple):
    """Granules of every unit as a link, ``(residuals, n)`` each; infinity where it is none."""

    own: Floats
    """Its tensors while the chain runs."""
    waiting: Floats
    """Rows in front of it, where it is not the first."""
    scratch: Floats
    """Scratch of its layers."""
    entering: Floats
    """Its input, whole."""
    leaving: Floats
    """Its output, whole."""
    alone: Floats
    """Whole tensors of a unit that runs alone: a sum is written over its input."""


def links_of(model: MemoryModel, table: LayerTable, widths: Mapping[Width, Sizes]) -> Links:
    """Return the units of networks as links; ``widths`` as for ``term_sizes``."""
    found: list[Any] = [np.full(table.c_in.shape, np.inf) for _ in range(3)]
    for code in table.kinds:
        link, mask = LINKS[KIND_NAMES[code]], table.of_kind(code)
        parts = (link.own, link.waiting, (link.scratch,))
        names = tuple(name for part in parts for name in part)
        sizes = term_sizes(model, names, _costs(table, names), widths)
        for into, part in zip(found, parts, strict=True):
            np.copyto(into, reduce(np.add, (sizes[name] for name in part)), where=mask)
    sizes = term_sizes(model, CHAIN_ENDS, _costs(table, CHAIN_ENDS), widths)
    entering, at_one_end, leaving = (sizes[name] for name in CHAIN_ENDS)
    entering = np.where(np.isinf(at_one_end), np.inf, entering)
    own, waiting, scratch = found
    alone = at_one_end + leaving * ~in_place(table)
    return Links(own, waiting, scratch, entering, leaving, alone)


class Begin(NamedTuple):
    """Granules of a stem that begins a chain, ``(n,)`` or one for all."""

    held: Sizes
    scratch: Sizes


def begin_of(model: MemoryModel, table: LayerTable, widths: Mapping[Width, Sizes]) -> Begin:
    """Return the stem of networks as the beginning of a chain."""
    names = CHAIN_BEGINS[table.frame.image]
    image, scratch = term_sizes(model, names, _costs(table, names), widths).values()
    return Begin(image + COUNTER, scratch)


def _costs(table: LayerTable, names: tuple[str, ...]) -> BitCosts:
    return {name: TENSORS[name].amount(table) for name in names}
