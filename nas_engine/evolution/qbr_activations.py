"""QBR, first part: activation bits under the SRAM budget, by dynamic programming along the network.

SRAM is a per-layer *maximum*: every step of the schedule must fit by itself. Only the residual
stream couples one unit to the next, so for each width of a unit's input and of its output the
widest tensors in between that fit follow at once, and the best widths of the stream are a shortest
path over (width of this input) x (width of the next). The result is the exact optimum but for one
corner: in the arena model the ring of input rows of an inverted residual grows with the width of
the expanded tensor, and the expanded tensor is served first.

The gain of a width b is ``coefficient * ln S(sigma_A, b)`` plus a tie-break (chosen here), since S
saturates above 5 bits: every bit is worth a little, and a low one more than a high one. An optimum
of a strictly growing gain cannot be raised anywhere: that is what makes the refinement maximal.

Source: the idea is Sun et al., NeurIPS 2022 ("scale the activation bits so that the peak memory
meets the SRAM budget"); the algorithm is chosen here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, reduce
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nas_engine.block_kinds import KIND_NAMES, PLACES, BlockLayer
from nas_engine.costs.chains import peak_in_chains
from nas_engine.costs.memory import MemoryModel, share
from nas_engine.costs.schedule import (
    JOINED,
    Rows,
    bit_costs,
    joined_costs,
    joins,
    largest_rows,
    of_block,
    stem_rows,
    term_sizes,
    terms_of,
    ways_of,
)
from nas_engine.costs.sram import ends_live, head_out_bits, peak_sram
from nas_engine.costs.tensors import LAYER_WIDTHS, TENSORS, BitCosts, Width
from nas_engine.evolution.problem import SearchProblem
from nas_engine.layers import Bools, Floats, LayerTable, by_kind
from nas_engine.scoring.quantised_gaussian import log_std_table

TIE_BREAK = 1e-6
"""Worth of a bit that the score cannot see, ``TIE_BREAK * (1 - 4^-bits)``: quantisation noise falls
by 4 with each bit (chosen here)."""

FEW = 0.75
"""Largest share of networks that are refined apart from those where every layer takes the widest
option (measured: what is saved pays for the copy)."""

_Index = npt.NDArray[np.int8]
"""Number of options that fit, or place of an option."""

_Terms = tuple[str, ...]


def width_gain(log_std: Any, bits: Any) -> Any:
    """Return the gain of a width for a layer of coefficient 1: ``ln S`` and the tie-break."""
    return log_std + TIE_BREAK * (1.0 - 0.25 ** np.asarray(bits, np.float64))


def gain_coefficients(coefficients: Floats) -> Floats:
    """Return score coefficients, at least a hundredth of the largest.

    Bits that the stage weights leave out are worth something too.
    """
    return np.asarray(np.maximum(coefficients, 0.01 * coefficients.max(initial=0.0)))


def refine_activations(
    problem: SearchProblem, table: LayerTable, costs: BitCosts, coefficients: Floats
) -> npt.NDArray[np.int16]:
    """Return the best activation widths that fit the SRAM budget.

    Args:
        problem: Budget, memory model, sigma.
        table: ``n`` networks.
        costs: ``bit_costs(problem.model, table)``.
        coefficients: Worth of each layer, ``(layers, n)``, above 0.

    Returns:
        Input width of each layer, ``(layers, n)``, 0 in rows that a network does not have. Where
        none fit, the widest if they fit in chains of units, else the smallest.
    """
    a_bits = _all_widest(problem, table)
    if len(problem.activation_options) == 1:
        return a_bits
    room = float(np.floor(problem.arena_bytes / problem.model.granule))
    over = peak_sram(problem.model, table, a_bits, costs) > room * problem.model.granule
    some = np.flatnonzero(over)
    if some.size == 0:
        return a_bits
    if some.size > FEW * table.n:
        some, part = np.arange(table.n), table
    else:
        part = table.take(some)
        costs = bit_costs(problem.model, part)
    found, fits = _best_path(problem, part, costs, coefficients[:, some], room)
    others = np.flatnonzero(~fits)
    if others.size and joins(problem.model, table):
        widest = a_bits[:, some[others]]
        peak = peak_in_chains(problem.model, part.take(others), widest)
        fitting = peak <= room * problem.model.granule
        found[:, others[fitting]] = widest[:, fitting]
    a_bits[:, some] = found
    return a_bits


def _all_widest(problem: SearchProblem, table: LayerTable) -> npt.NDArray[np.int16]:
    """Return the widest option in every layer, ``(layers, n)``."""
    a_bits = problem.activation_options[-1] * (table.weights > 0).astype(np.int16)
    a_bits[0] = problem.space.end_bits
    a_bits[-1] = problem.space.end_bits if table.frame.class_count else 0
    return a_bits


def _best_path(
    problem: SearchProblem, table: LayerTable, costs: BitCosts, coefficients: Floats, room: float
) -> tuple[npt.NDArray[np.int16], Bools]:
    """Return the best widths by dynamic programming, and the mask of networks that fit ``room``.

    The others have the smallest widths.
    """
    model, n, tied = problem.model, table.n, problem.space.tie_block_bits
    options = np.array(problem.activation_options, np.int16)
    shares = share(model, options)[:, None]
    k, residuals = len(options), table.frame.max_residuals
    # gain[count] is the gain of the widest option if `count` of them fit. So option i has index
    # i + 1, and index 0 means that none fits.
    gain = np.concatenate(
        [[-np.inf], width_gain(log_std_table(problem.score.sigma_a)[options], options)]
    )
    entry = _entry_worth(table, coefficients)
    joined = joined_costs(table) if joins(model, table) else None

    # value[i] is the best gain of all layers so far if the stream's tensor takes option i
    alone = stem_rows(model, table)
    stem = largest_rows(alone, term_sizes(model, terms_of((alone,)), costs, {"next": shares}))[0]
    value = np.where(stem <= room, 0.0, -np.inf)
    before = np.empty((residuals, k, n), np.int8)
    ways: list[list[_Way]] = []
    for row in range(residuals):
        worth = coefficients[1 + PLACES * row : 1 + PLACES * (row + 1)]
        gained = entry[row] * gain[1:, None]
        offers = _offers(model, table, costs, None if row else joined, row)
        ways.append(
            [
                _Way(
                    _fitting(model, offer.rows, offer.costs, shares, room, tied),
                    worth,
                    gain,
                    np.where(offer.mask, gained + (0.0 if offer.joined else value), -np.inf),
                )
                for offer in offers
            ]
        )
        best = np.full((k, n), -np.inf)
        origin = np.zeros((k, n), np.int8)  # way * k + option of the block's input
        for i, (number, way) in product(range(k), enumerate(ways[row])):
            reached = way.reached(i)
            better = reached > best
            np.maximum(best, reached, out=best)
            np.copyto(origin, np.int8(number * k + i), where=better)
        live = table.active[row]
        value = np.where(live, best, value)
        before[row] = np.where(live, origin, np.arange(k, dtype=np.int8)[:, None])

    end = problem.space.end_bits
    last = ends_live(model, table, costs, shares, share(model, head_out_bits(table, end)))
    if table.frame.has_head:
        value = value + coefficients[-2] * gain[1:, None]
    else:  # the classifier takes the stream, at its own width
        value = np.where((options == end)[:, None], value, -np.inf)
    value = np.where(np.maximum(*last) > room, -np.inf, value)
    at, column = value.argmax(axis=0), np.arange(n)
    fits = value[at, column] > -np.inf

    index = np.zeros((table.frame.n_layers, n), np.int8)
    index[-2] = at
    for row in range(residuals - 1, -1, -1):
        following, (number, at) = at, np.divmod(before[row][at, column], k)
        first = 1 + PLACES * row
        index[first : first + 2] = at  # a second layer with a width of its own comes below
        for own_number, way in enumerate(ways[row]):
            for layer, option in way.inner(at, following):
                np.copyto(index[first + layer], option, where=number == own_number)
    index *= fits  # where nothing fits, every layer takes the smallest option
    a_bits = options[index]
    a_bits[1:-1] *= table.weights[1:-1] > 0
    a_bits[0] = end
    a_bits[-1] = end if table.frame.class_count else 0
    return a_bits, fits


def _entry_worth(table: LayerTable, coefficients: Floats) -> Floats:
    """Return the worth of the layers that take each unit's input together, ``(residuals, n)``."""
    if table.frame.plain:
        return coefficients[1:-2:PLACES]

    def taking(rows: slice) -> Callable[[BlockLayer], Floats]:
        own = coefficients[rows] * (table.weights[rows] > 0)
        return lambda layer: own if layer.reads_input else np.zeros_like(own)

    places = (slice(1 + place, -2, PLACES) for place in range(PLACES))
    return np.asarray(sum(by_kind(table, place, taking(rows)) for place, rows in enumerate(places)))


class _Offer(NamedTuple):
    """One schedule that a unit may take."""

    rows: Rows
    costs: BitCosts
    """Costs of its tensors, ``(n,)`` each."""
    joined: bool
    """True if the stem makes the unit's rows."""
    mask: Bools | bool
    """Mask of networks that may take it, ``(n,)``."""


def _offers(
    model: MemoryModel, table: LayerTable, costs: BitCosts, joined: BitCosts | None, row: int
) -> Iterator[_Offer]:
    """Yield the schedules of one unit in networks of any kind.

    Args:
        model: What is counted.
        table: ``n`` networks.
        costs: ``bit_costs(model, table)``.
        joined: ``joined_costs(table)`` if the stem may make the unit's rows.
        row: Number of the unit.
    """
    for code in table.kinds:
        kind, mask = KIND_NAMES[code], table.of_kind(code)
        free: Any = mask if mask is True else np.asarray(mask)[row]
        found = [
            (rows, of_block(costs, (rows,), row), False)
            for rows in ways_of(model, kind, table.frame.schedule).values()
        ]
        if joined is not None:
            rows = JOINED[kind][table.frame.image]
            found.append((rows, of_block(joined, (rows,), 0), True))
        for rows, block, is_joined in reversed(found):
            yield _Offer(rows, block, is_joined, free)
            if table.frame.schedule == "rows" and not is_joined:  # what can run by rows does
                work = [block[t] for t in terms_of((rows,)) if TENSORS[t].width == "none"]
                free = free & np.isinf(sum(amount.elements for amount in work))


class _Way:
    """One block under one schedule: its gain for each pair of widths of its input and output.

    Counts of options that fit have shape ``(k or 1, k or 1, n)``: input, output, network; a 1 where
    the count does not depend on it.
    """

    def __init__(
        self, counts: dict[Width, list[_Index]], worth: Floats, gain: Floats, start: Floats
    ) -> None:
        """Sum up the gains that depend on the input alone.

        Args:
            counts: Options that fit, as ``_fitting`` returns them.
            worth: Worth of the block's layers, ``(3, n)``.
            gain: Gain of each count.
            start: Gain of everything before the block's second layer, ``(k, n)``.
        """
        self.masks = counts.pop("none", [])
        self.counts, self.base = counts, start
        self.apart: list[list[Floats]] = []
        for width, found in counts.items():
            gains = [worth[LAYER_WIDTHS.index(width)] * gain.take(count) for count in found]
            if len(gains) == 1 and gains[0].shape[1] == 1:
                self.base = self.base + gains[0][:, 0]
            else:
                self.apart.append(gains)

    def reached(self, i: int) -> Floats:
        """Return the gain for each width of the output if the input takes option ``i``."""
        total = self.base[i]
        for first, *others in self.apart:
            part = _at(first, i)
            for other in others:  # the tightest bound decides; a gain grows with its width
                part = np.minimum(part, _at(other, i))
            total = part + total
        for count in self.masks:
            total = np.where(_at(count, i) > i, total, -np.inf)
        return np.asarray(total)

    def inner(self, at: _Index, following: _Index) -> Iterator[tuple[int, _Index]]:
        """Yield each inner layer's place in the block, and its option in each network.

        Args:
            at: Option of the input, ``(n,)``.
            following: Option of the output, ``(n,)``.
        """
        shape, column = (len(self.base), len(self.base), len(at)), np.arange(len(at))
        for width, found in self.counts.items():
            counts = (np.broadcast_to(count, shape)[at, following, column] for count in found)
            yield LAYER_WIDTHS.index(width), reduce(np.minimum, counts) - np.int8(1)


def _at(values: npt.NDArray[Any], i: int) -> npt.NDArray[Any]:
    """Return the values at option ``i`` of the input, or all if they do not depend on it."""
    return np.asarray(values[min(i, len(values) - 1)])


@cache
def _bounds(rows: Rows) -> tuple[tuple[Width, dict[_Terms, list[_Terms]]], ...]:
    """Return the rows that bound each inner width, first layer first; "none" has those without.

    Every row is split in the terms whose widths are decided before, and the others: those of the
    width itself and of later layers. Rows with the same decided terms have one limit, and the
    largest of the others must keep it.
    """

    def widths(terms: _Terms) -> list[Width]:
        return [TENSORS[term].width for term in terms]

    inner = [w for w in LAYER_WIDTHS[1:] if any(w in widths(row.terms) for row in rows)]
    bounds: list[tuple[Width, dict[_Terms, list[_Terms]]]] = []
    for place, width in enumerate(inner):
        groups: dict[_Terms, list[_Terms]] = {}
        for terms in (row.terms for row in rows if width in widths(row.terms)):
            decided = tuple(t for t in terms if TENSORS[t].width not in inner[place:])
            groups.setdefault(decided, []).append(tuple(t for t in terms if t not in decided))
        bounds.append((width, groups))
    free = [row.terms for row in rows if not set(inner) & set(widths(row.terms))]
    return (*bounds, ("none", {terms: [()] for terms in free}))


def _fitting(
    model: MemoryModel, rows: Rows, costs: BitCosts, shares: Floats, room: float, tied: bool
) -> dict[Width, list[_Index]]:
    """Return how many options of each inner width fit at one block, the first layer served first.

    Args:
        model: What is counted.
        rows: The block's schedule.
        costs: Elements of its tensors, ``(n,)`` each.
        shares: Granules per element of each option, ``(k, 1)``.
        room: Granules of SRAM.
        tied: Whether inner widths are those of the input: its option, or none.

    Returns:
        Counts for each inner width, one array per shape (see ``_Way``), the smallest of which
        holds. Those under "none" must be larger than the option of the input.
    """
    terms, k = terms_of((rows,)), len(shares)
    inner = tuple(t for t in terms if TENSORS[t].width in LAYER_WIDTHS[1:])
    outer = tuple(t for t in terms if t not in inner)
    sizes = term_sizes(model, inner, costs, dict.fromkeys(LAYER_WIDTHS[1:], shares))
    decided = term_sizes(model, outer, costs, {"a": shares[:, None], "next": shares[None]})
    own_option = np.arange(1, k + 1, dtype=np.int8)[:, None, None]
    fitting: dict[Width, list[_Index]] = {"none": []}
    for width, groups in _bounds(rows):
        found: dict[tuple[int, ...], _Index] = {}
        for known, others in groups.items():
            limit: Any = room
            for term in known:
                if term not in decided:
                    # where none fits, the gain is minus infinity, and any width will do here
                    widest = reduce(np.minimum, fitting[TENSORS[term].width]) - 1
                    chosen = shares[:, 0].take(widest, mode="clip")
                    own: dict[Width, Any] = {TENSORS[term].width: chosen}
                    decided |= term_sizes(model, (term,), costs, own)
                limit = limit - decided[term]
            if np.ndim(limit) < 3:
                limit = np.reshape(limit, (1, 1, -1))
            if width == "none":
                count = np.where(limit >= 0, np.int8(k), np.int8(0))
            else:  # what comes later counts at its smallest option
                least = {
                    t: sizes[t] if TENSORS[t].width == width else sizes[t][:1]
                    for o in others
                    for t in o
                }
                count = _count(
                    reduce(np.maximum, (reduce(np.add, (least[t] for t in o)) for o in others)),
                    limit,
                )
            same = found.get(count.shape)
            found[count.shape] = count if same is None else np.minimum(same, count)
        if width == "none":
            fitting["none"] += found.values()
            continue
        if tied:
            fitting["none"] += [count for count in found.values() if count.shape[1] > 1]
            tight = reduce(np.minimum, [c for c in found.values() if c.shape[1] == 1], own_option)
            found = {(): np.where(tight >= own_option, own_option, np.int8(0))}
        fitting[width] = list(found.values())
    return fitting


def _count(sizes: Floats, limits: Floats) -> _Index:
    """Return how many of ascending sizes, ``(k, n)``, are within each limit, shaped as ``limits``.

    ``limits`` is ``(k or 1, k or 1, n)``.
    """
    count: _Index = (sizes[0] <= limits).view(np.int8)
    for size in sizes[1:]:
        count += (size <= limits).view(np.int8)
    return count
