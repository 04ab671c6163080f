"""Cuts of populations: which units run by rows, which of them together, and the bytes of each.

The choice of ``costs.rows.cut`` for one network: of all cuts that fit the room, else of those with
the least peak, the one with the fewest units by rows, then the most segments, then the least bytes.
Vectorised over the networks, by the same dynamic programming over where segments end. Sizes are
those of ``costs.chains``.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nas_engine.block_kinds import PLACES
from nas_engine.costs.chains import Begin, Links, begin_of, links_of, peak_in_chains
from nas_engine.costs.memory import CHANNELS_EXPANDED, Arena, depthwise_scratch, share
from nas_engine.costs.schedule import (
    bit_costs,
    largest_rows,
    live_steps,
    term_sizes,
    terms_of,
    ways_of,
)
from nas_engine.costs.sram import peak_sram, stem_live, unit_widths
from nas_engine.costs.tensors import BitCosts, Width, in_place
from nas_engine.layers import Bools, Floats, LayerTable, by_kind
from nas_engine.network.kernels import DEPTHWISE_KERNELS

MODEL = Arena()
"""Memory that the runtime has."""

BY_LAYERS = -1
"""Beginning of the segment of a unit by layers, where others have a number: 0 for the stem."""

MOST_SEGMENTS = 4096
"""More than the segments of any network: what a unit by rows weighs against a segment."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cuts:
    """Ways of the networks of a population; a row is stem, unit or head, ``(units + 2, n)``."""

    arena: Floats
    """Bytes of the arena, ``(n,)``; infinity where nothing fits."""
    by_rows: Bools
    """True for what runs by rows."""
    first: Bools
    """True for the first of a segment by rows."""
    last: Bools
    """True for the last of one."""
    pairs: Bools
    """True where a depth-wise layer makes two rows at once."""
    used: Floats
    """Bytes of the segment by rows; 0 by layers."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Sizes:
    """Granules that a cut is chosen by; infinity where something cannot be."""

    stem: Any
    """Stem alone, ``(n,)``."""
    begin: Begin
    """Stem that begins a chain."""
    layers: Floats
    """Units by layers, ``(units, n)``."""
    links: Links
    """Units by rows."""
    head: tuple[Any, Any]
    """Head with its pool by layers and by rows, ``(n,)`` each."""
    classifier: Any
    """Classifier, with the pool where there is no head, ``(n,)``."""


def cuts(table: LayerTable, a_bits: npt.NDArray[Any], live: Floats, room: float) -> Cuts:
    """Return how networks run.

    Args:
        table: ``n`` networks; the frame says how they may.
        a_bits: Input width of each layer, ``(layers, n)``.
        live: Bytes live at each layer if all run by layers, ``(layers, n)``.
        room: Bytes that the arena may take; 0 for the smallest.
    """
    found = _best(table, a_bits, live, np.full(table.n, float(room // MODEL.granule)))
    beyond = np.flatnonzero(np.isinf(found.arena))
    if not beyond.size:
        return found
    some, widths = table.take(beyond), a_bits[:, beyond]
    peak = peak_sram if table.frame.schedule == "layers" else peak_in_chains
    least = peak(MODEL, some, widths) / MODEL.granule
    other = _best(some, widths, live[:, beyond], least)
    for one in fields(Cuts):
        getattr(found, one.name)[..., beyond] = getattr(other, one.name)
    return found


def _best(table: LayerTable, a_bits: npt.NDArray[Any], live: Floats, most: Floats) -> Cuts:
    """Return the best cuts of at most so many granules, ``(n,)``."""
    sizes = _sizes(table, a_bits, live)
    peak, begins, bytes_of = _segments(table, sizes, most)
    units = begins.shape[0]
    shape = (units + 1, table.n)
    by_rows, first, last, pairs = (np.zeros(shape, bool) for _ in range(4))
    used, wide = np.zeros(shape), np.zeros(shape)
    begin, more, scratch, widest = (np.full(table.n, float(units)), *np.zeros((3, table.n)))
    two = _two_rows(table, a_bits, sizes.links)
    for at in range(units - 1, -1, -1):
        apart = begin > at
        last[at] = apart & (begins[at] != BY_LAYERS)
        begin = np.where(last[at], begins[at], np.where(apart, at, begin))
        by_rows[at] = last[at] | ~apart
        first[at] = by_rows[at] & (begin == at)
        used[at] = np.where(last[at], bytes_of[at], used[at + 1] * ~apart)
        more, scratch, widest = (np.where(apart, 0.0, each) for each in (more, scratch, widest))
        own = sizes.begin.scratch if at == 0 else sizes.links.scratch[at - 1]
        scratch, widest = np.maximum(scratch, own), np.maximum(widest, own)
        if at > 0:
            pairs[at] = by_rows[at] & np.where(first[at], two.first, two.behind)[at - 1]
            more = more + pairs[at] * two.more[at - 1]
            widest = np.maximum(widest, pairs[at] * two.scratch[at - 1])
        wide[at] = used[at] - scratch + widest + more
    fits, held = np.zeros(table.n, bool), np.zeros(table.n)
    for at in range(units):
        fits = np.where(first[at], wide[at] <= most, fits)
        held = np.where(first[at], np.where(fits, wide[at], used[at]), held)
        pairs[at] &= fits
        used[at] = held * by_rows[at]
    by_layers, rows = sizes.head
    by_rows[-1] = ((by_layers > most) | (table.frame.schedule == "rows")) & np.isfinite(rows)
    first[-1] = last[-1] = by_rows[-1]
    used[-1] = np.where(by_rows[-1], rows, 0.0)
    head = np.where(by_rows[-1], rows, by_layers)
    peak = reduce(np.maximum, (peak, head, sizes.classifier, used.max(axis=0)))
    return Cuts(
        arena=np.where(peak > most, np.inf, peak * MODEL.granule),
        by_rows=by_rows,
        first=first,
        last=last,
        pairs=pairs,
        used=used * MODEL.granule,
    )


def _segments(
    table: LayerTable, sizes: _Sizes, most: Floats
) -> tuple[Floats, npt.NDArray[np.intp], Floats]:
    """Return the peak of stem and units, and where the segment of each begins that ends there.

    And the granules of that segment; the last two are ``(units + 1, n)``, with the stem first.
    """
    links, units, n = sizes.links, table.frame.max_residuals, table.n
    begins = np.full((units + 1, n), BY_LAYERS)
    granules = np.zeros((units + 1, n))
    stem_alone = table.frame.image == "rows"  # by rows then
    ranks = [np.zeros(n), np.where(sizes.stem <= most, MOST_SEGMENTS * stem_alone - 1, np.inf)]
    peaks = [np.zeros(n), np.broadcast_to(sizes.stem, n)]
    if stem_alone:
        begins[0], granules[0] = 0, sizes.stem
    for end in range(1, units + 1):
        best = _Best(np.full(n, np.inf), np.full(n, np.inf), begins[end], granules[end])
        held, scratch = np.zeros(n), np.zeros(n)
        for begin in range(end, 0, -1):
            held = held + links.own[begin - 1]
            scratch = np.maximum(scratch, links.scratch[begin - 1])
            if not (held + scratch <= most).any():
                break
            ends = links.alone if begin == end else links.entering
            whole = ends[begin - 1] + (links.leaving[end - 1] if begin < end else 0.0)
            rank = ranks[begin] + MOST_SEGMENTS * (end - begin + 1) - 1
            best.take(begin, rank, peaks[begin], whole + held + scratch, most)
            held = held + links.waiting[begin - 1]
        else:
            whole = sizes.begin.held + links.leaving[end - 1]
            most_scratch = np.maximum(scratch, sizes.begin.scratch)
            best.take(0, MOST_SEGMENTS * (end + 1) - 1, 0.0, whole + held + most_scratch, most)
        best.take(BY_LAYERS, ranks[end] - 1, peaks[end], sizes.layers[end - 1], most)
        there = table.active[end - 1]
        ranks.append(np.where(there, best.rank, ranks[-1]))
        peaks.append(np.where(there, best.peak, peaks[-1]))
        np.copyto(begins[end], BY_LAYERS, where=~there)
    return np.where(np.isinf(ranks[-1]), np.inf, peaks[-1]), begins, granules


@dataclass(frozen=True, slots=True)
class _Best:
    """Best ways to one end, ``(n,)`` each."""

    rank: Floats
    """Units by rows, weighed, less segments; infinity for none."""
    peak: Floats
    """Most granules of a segment."""
    begin: npt.NDArray[np.intp]
    """Beginning of the last segment."""
    size: Floats
    """Granules of it."""

    def take(self, begin: int, rank: Any, before: Any, size: Any, most: Floats) -> None:
        """Take another segment where it is better, or as good."""
        rank = np.where(size <= most, rank, np.inf)
        peak = np.maximum(before, size)
        better = (rank < self.rank) | ((rank == self.rank) & (peak <= self.peak))
        better &= np.isfinite(rank)
        for into, value in (
            (self.rank, rank),
            (self.peak, peak),
            (self.begin, begin),
            (self.size, size),
        ):
            np.copyto(into, value, where=better)


def _sizes(table: LayerTable, a_bits: npt.NDArray[Any], live: Floats) -> _Sizes:
    frame, costs = table.frame, bit_costs(MODEL, table)
    widths = unit_widths(table, share(MODEL, a_bits))
    units = live[1:-2].reshape(frame.max_residuals, PLACES, table.n).max(axis=1) / MODEL.granule
    links = links_of(MODEL, table, widths)
    alone = links.own + links.scratch + links.alone
    if frame.schedule == "layers":
        links = links._replace(own=np.full_like(alone, np.inf))
    elif frame.schedule == "rows":
        units = np.where(np.isinf(alone), units, np.inf)
    head, classifier = _ends(table, a_bits, costs)
    return _Sizes(
        stem=stem_live(MODEL, table, costs, widths),
        begin=begin_of(MODEL, table, widths),
        layers=units,
        links=links,
        head=head,
        classifier=classifier,
    )


def _ends(
    table: LayerTable, a_bits: npt.NDArray[Any], costs: BitCosts
) -> tuple[tuple[Any, Any], Any]:
    """Return the granules of head and classifier, as ``_Sizes`` has them."""
    frame, leaving = table.frame, share(MODEL, a_bits[-1] if table.frame.class_count else 8)
    widths: dict[Width, Any] = {"a": share(MODEL, a_bits[-2]), "next": leaving}
    ways = ways_of(MODEL, "head" if frame.has_head else "pool", frame.schedule)
    sizes = term_sizes(MODEL, terms_of(tuple(ways.values())), costs, widths)
    live = largest_rows(ways["layers"], sizes)
    dense: Any = np.zeros(table.n)
    if frame.class_count:
        dense = live_steps(MODEL, "classifier", costs, {"a": leaving})[0]
    if not frame.has_head:
        nothing = np.zeros(table.n)
        return (nothing, nothing + np.inf), np.maximum(dense, live[0] * (frame.class_count > 0))
    by_layers = reduce(np.maximum, live) if frame.class_count else live[0]
    rows = ways.get("rows")
    by_rows = reduce(np.maximum, largest_rows(rows, sizes)) if rows else np.inf
    return (by_layers, by_rows + np.zeros(table.n)), dense


class _TwoRows(NamedTuple):
    """Units whose depth-wise layer can make two rows at once, ``(units, n)`` each."""

    first: Bools
    """As the first of a segment."""
    behind: Bools
    """Behind the first."""
    scratch: Floats
    """Granules of scratch of the depth-wise layer then."""
    more: Floats
    """Granules that the unit holds more beside scratch."""


def _two_rows(table: LayerTable, a_bits: npt.NDArray[Any], links: Links) -> _TwoRows:
    widths, width, k = unit_widths(table, a_bits), np.sqrt(table.area_in), table.kernel
    filters = by_kind(table, 1, lambda layer: np.full(table.c_in.shape, layer.kind == "depthwise"))
    takes_input = by_kind(table, 1, lambda layer: np.full(table.c_in.shape, layer.reads_input))
    entering = np.where(takes_input > 0, widths["a"], widths["b"])
    first = (filters > 0) & np.isin(k, tuple(DEPTHWISE_KERNELS)) & table.active
    first &= (table.area_in == table.area_out) & (table.c_mid % CHANNELS_EXPANDED == 0)
    first &= (entering == 8) & (widths["c"] == 8)
    row = MODEL.size(width * table.c_mid, share(MODEL, 8))
    rows = np.minimum(k, width)
    return _TwoRows(
        first=first,
        behind=first & ~in_place(table),
        scratch=depthwise_scratch(k, width, 0.0) / np.maximum(k, 1) * (k + 1),
        more=(k - rows) * row,
    )
