"""Schedules: tensors that live together at each step of a block, as rows; declared here alone.

A ``Row`` is one set of tensors that are in memory at once. The cost of a block is its largest row
(``costs.sram``); the widest tensors that fit are counted on the same rows (refinement of bits,
``nas_engine.evolution``); an allocation has one linear constraint per row. A block kind is a row
set per schedule in ``SCHEDULES``: all its tensors are in ``TENSORS`` (``costs.tensors``).

- ``layers``: each layer makes its whole output. A step that works in place has one row per moment:
  the depth-wise convolution and the 1x1 shortcut of a residual are written over their input, so
  that either of them counts, and a sum over its shortcut.
- ``rows``: all layers of a unit run for one row of its output, then for the next; whole tensors lie
  at its two ends alone, between them rings and rows (``costs.rows``). The first unit may take its
  rows from the stem, whose output then never is whole (``JOINED``), and any unit from the one
  before (``LINKS``, ``costs.chains``).

A network takes for each block the smaller one (``auto``), the first alone, or the second wherever
it can.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, reduce
from typing import NamedTuple

import numpy as np

from nas_engine.costs.memory import MemoryModel, Sizes, share
from nas_engine.costs.tensors import FIXED_WIDTHS, TENSORS, BitCosts, Width
from nas_engine.layers import Bools, Floats, LayerTable, first_units
from nas_engine.names import ImageInput, Memory, Schedule

Rows = tuple["Row", ...]
"""One schedule of a block."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Tensors that live at once."""

    step: int
    """Layer of the block at which they live, counted from 0."""
    terms: tuple[str, ...]
    """Names of the tensors, keys of ``TENSORS``."""


def _rows(*rows: tuple[int, str]) -> Rows:
    """Return rows from (step, names of tensors between commas)."""
    return tuple(Row(step=step, terms=tuple(terms.split(", "))) for step, terms in rows)


SCHEDULES: dict[str, dict[str, dict[Schedule, Rows]]] = {
    Memory.ARENA: {
        "stem": {
            "layers": _rows((0, "stem scratch, image, stem output")),
            "rows": _rows((0, "stem work, image rows, stem output")),
        },
        "inverted-residual": {
            "layers": _rows(
                (0, "expand scratch, input, expanded"),
                (1, "depthwise scratch, held, ring, expanded"),
                (1, "depthwise scratch, held, ring, filtered"),
                (2, "project scratch, filtered, held"),
                (2, "project scratch, filtered, output"),
            ),
            "rows": _rows(
                (
                    0,
                    "filter work, inverted scratch, expanded rows, filtered row, "
                    "input at one end, output at the other",
                )
            ),
        },
        "depthwise-separable": {
            "layers": _rows(
                (1, "depthwise scratch, input ring, input"),
                (1, "depthwise scratch, input ring, held, filtered"),
                (2, "project scratch, output row, filtered, held"),
                (2, "project scratch, output row, filtered apart, output"),
            ),
            "rows": _rows(
                (
                    0,
                    "filter work, separable scratch, input rows, filtered row, "
                    "input at one end, output at the other",
                )
            ),
        },
        "residual": {
            "layers": _rows(
                (1, "conv1 scratch, input, filtered"),
                (0, "shortcut scratch, side row, filtered, input"),
                (0, "shortcut scratch, side row, filtered, side"),
                (2, "conv2 scratch, filtered, held"),
                (2, "conv2 scratch, filtered, output"),
            ),
            "rows": _rows(
                (
                    0,
                    "plain work, residual scratch, middle rows, "
                    "input at one end, output at the other",
                )
            ),
        },
        "head": {
            "layers": _rows(
                (0, "head scratch, head input, head output"), (1, "head output, head pooled")
            ),
            "rows": _rows((0, "head work, head input, head row, head pooled"), (1, "head pooled")),
        },
        "pool": {"layers": _rows((0, "head output, head pooled"))},
        "classifier": {"layers": _rows((0, "dense scratch, pooled, logits"))},
    },
    Memory.PAPER: {
        "stem": {"layers": _rows((0, "image, stem output"))},
        "inverted-residual": {
            "layers": _rows(
                (0, "input, expanded"),
                (1, "held, expanded, filtered plane"),
                (2, "filtered, output"),
            )
        },
        "depthwise-separable": {
            "layers": _rows((1, "input, filtered plane"), (2, "filtered, output"))
        },
        "residual": {
            "layers": _rows(
                (1, "input, filtered"), (0, "input, filtered, side"), (2, "held, filtered, output")
            )
        },
        "head": {"layers": _rows((0, "head input, head output"), (1, "head output, head pooled"))},
        "pool": {"layers": _rows((0, "head output, head pooled"))},
        "classifier": {"layers": _rows((0, "pooled, logits"))},
    },
}
"""Schedules by memory model and block kind; stem, head (with its pool), the pool of a network
without head, and classifier are kinds of their own. Rows of one step alone hold for all steps of
the block."""


class Link(NamedTuple):
    """One unit of a chain, by names of tensors."""

    own: tuple[str, ...]
    """Tensors of every unit."""
    waiting: tuple[str, ...]
    """Rows of the unit before, which wait in front of every unit but the first."""
    scratch: str
    """Scratch, which the units of a chain share."""


LINKS: dict[str, Link] = {
    "inverted-residual": Link(
        ("filter work", "expanded rows", "filtered row"), ("waiting rows",), "inverted scratch"
    ),
    "depthwise-separable": Link(
        ("filter work", "input rows", "filtered row"), ("equal rows",), "separable scratch"
    ),
    "residual": Link(("plain work", "middle rows"), ("waiting window",), "residual scratch"),
}
"""Links of a chain by kind of unit."""

CHAIN_ENDS = ("input", "input at one end", "output")
"""Whole tensors before and behind a chain. The second has no size where a unit cannot be the
first."""

CHAIN_BEGINS: dict[ImageInput, tuple[str, str]] = {
    "whole": ("image", "stem scratch"),
    "rows": ("image rows", "stem scratch"),
}
"""Image and scratch of a stem that begins a chain."""

JOINED: dict[str, dict[ImageInput, Rows]] = {
    kind: {
        "whole": _rows((0, f"joined {scratch}, {', '.join((*own, *waiting))}, image, output")),
        "rows": _rows((0, f"joined {scratch}, {', '.join((*own, *waiting))}, image rows, output")),
    }
    for kind, (own, waiting, scratch) in LINKS.items()
}
"""Rows of the stem and a first unit that takes its rows, by kind of unit and image."""


@cache
def terms_of(schedules: tuple[Rows, ...]) -> tuple[str, ...]:
    """Return the names of all tensors in a block kind's rows."""
    return tuple(dict.fromkeys(term for rows in schedules for row in rows for term in row.terms))


def ways_of(model: MemoryModel, kind: str, schedule: Schedule) -> dict[Schedule, Rows]:
    """Return the schedules that a block may take: by layers, and by rows where it has such."""
    ways = SCHEDULES[model.name][kind]
    return {"layers": ways["layers"]} if schedule == "layers" else ways


def joins(model: MemoryModel, table: LayerTable) -> bool:
    """Return whether the stem may be joined to the first unit."""
    return table.frame.schedule != "layers" and "rows" in SCHEDULES[model.name]["stem"]


def stem_rows(model: MemoryModel, table: LayerTable) -> Rows:
    """Return the schedule of a stem that runs alone."""
    return SCHEDULES[model.name]["stem"]["rows" if table.frame.image == "rows" else "layers"]


def bit_costs(model: MemoryModel, table: LayerTable) -> BitCosts:
    """Return the costs of every tensor in the schedules of a memory model.

    Tensors of kinds and schedules that no network of the frame may have are left out.
    """
    kinds = (*table.frame.all_kinds, "head" if table.frame.has_head else "pool", "classifier")
    ways = (ways_of(model, kind, table.frame.schedule).values() for kind in kinds)
    names = terms_of((stem_rows(model, table), *(rows for each in ways for rows in each)))
    return {name: TENSORS[name].amount(table) for name in names}


def joined_costs(table: LayerTable) -> BitCosts:
    """Return the costs of every tensor in the rows of stem and first unit.

    Shapes are ``(1, n)`` for those of the unit.
    """
    rows = tuple(JOINED[kind][table.frame.image] for kind in table.frame.all_kinds)
    first = first_units(table)
    return {name: TENSORS[name].amount(first) for name in terms_of(rows)}


def of_block(costs: BitCosts, schedules: tuple[Rows, ...], index: int) -> BitCosts:
    """Return the costs of one block of each network, arrays of shape ``(n,)``."""
    return {
        name: costs[name].at(index) if costs[name].elements.ndim > 1 else costs[name]
        for name in terms_of(schedules)
    }


def term_sizes(
    model: MemoryModel, terms: tuple[str, ...], costs: BitCosts, widths: Mapping[Width, Sizes]
) -> dict[str, Floats]:
    """Return the granules of tensors, infinity where a sum is wider than what it is written over.

    Args:
        model: How sizes are rounded.
        terms: Names of tensors.
        costs: Cost of each.
        widths: Granules of one element (``share``) at each width that is not fixed.
    """
    sizes = {}
    for name in terms:
        width, (elements, pieces, added) = TENSORS[name].width, costs[name]
        if width == "none":
            sizes[name] = elements
            continue
        fixed = FIXED_WIDTHS.get(width)
        own = widths[width] if fixed is None else share(model, fixed)
        size = model.size(elements, own)
        if pieces is not None:
            size = size * pieces
        if added is not None:
            after = widths["next"]
            unlike = after != own if TENSORS[name].equal else after > own
            size = np.where(added & unlike, np.inf, size)
        sizes[name] = size
    return sizes


@cache
def _factored(rows: Rows) -> tuple[tuple[tuple[str, ...], tuple[tuple[str, ...], ...]], ...]:
    """Return for each step the terms that all its rows share, and what each row has besides."""
    found = []
    for step in dict.fromkeys(row.step for row in rows):
        sets = [row.terms for row in rows if row.step == step]
        common = tuple(term for term in sets[0] if all(term in terms for terms in sets))
        apart = tuple(tuple(t for t in terms if t not in common) for terms in sets)
        found.append((common, tuple(terms for terms in apart if terms)))
    return tuple(found)


def largest_rows(rows: Rows, sizes: Mapping[str, Floats]) -> list[Floats]:
    """Return the largest row of each step; what its rows share is added once, after the maximum."""
    live = []
    for common, apart in _factored(rows):
        parts = [reduce(np.add, (sizes[term] for term in terms)) for terms in apart]
        either = [reduce(np.maximum, parts)] if parts else []
        live.append(reduce(np.add, [*either, *(sizes[term] for term in common)]))
    return live


def live_steps(
    model: MemoryModel,
    kind: str,
    costs: BitCosts,
    widths: Mapping[Width, Sizes],
    schedule: Schedule = "layers",
) -> list[Floats]:
    """Return the granules that live at each step of a block by layers, of the schedule it takes.

    Args:
        model: What is counted.
        kind: Block kind, a key of ``SCHEDULES[model.name]``.
        costs: Cost of each tensor.
        widths: As for ``term_sizes``.
        schedule: How blocks may run.
    """
    ways = ways_of(model, kind, schedule)
    sizes = term_sizes(model, terms_of(tuple(ways.values())), costs, widths)
    best = largest_rows(ways["layers"], sizes)
    if "rows" not in ways:
        return best
    other = largest_rows(ways["rows"], sizes)
    taken = takes(schedule, reduce(np.maximum, other), reduce(np.maximum, best))
    other *= len(best) // len(other)  # one step by rows lasts as long as all by layers
    return [np.where(taken, new, old) for new, old in zip(other, best, strict=True)]


def takes(schedule: Schedule, by_rows: Sizes, by_layers: Sizes) -> Bools:
    """Return the mask of blocks that run by rows, from the granules of both."""
    return np.asarray(by_rows < (np.inf if schedule == "rows" else by_layers))
