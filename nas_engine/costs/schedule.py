"""Schedules: tensors that live together at each step of a block, as rows; declared here alone.

A row is one set of tensors that are in memory at once. The cost of a block is its largest row
(``costs.sram``); the widest tensors that fit are counted on the same rows (refinement of bits,
``nas_engine.evolution``); an allocation has one linear constraint per row. A block kind is a row
set in ``SCHEDULES``: all its tensors are in ``TENSORS``. A kind may have several schedules; each
block then takes the one whose largest row is the smallest.

A step that works in place has one row per moment: the depth-wise convolution and the 1x1 shortcut
of a residual are written over their input, so that either of them counts, and a sum over its
shortcut.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, reduce
from typing import Literal

import numpy as np

from nas_engine.costs.memory import (
    IMAGE_BITS,
    LOGIT_BITS,
    MemoryModel,
    Sizes,
    dense_scratch,
    depthwise_scratch,
    share,
)
from nas_engine.layers import Bools, Floats, LayerTable

Width = Literal["a", "b", "c", "next", "image", "logits", "none"]
"""Width of a tensor: that of the block's input, of the input of its second or third layer, of the
layer after the block, a fixed one, or none (scratch, counted in granules)."""

LAYER_WIDTHS: tuple[Width, ...] = ("a", "b", "c")
"""Widths by the layer of a block that they enter; a kind whose second layer takes the block's input
has no ``b``."""

FIXED_WIDTHS: dict[Width, int] = {"image": IMAGE_BITS, "logits": LOGIT_BITS}
"""Bits of the widths that are the same in every network."""

Rows = tuple["Row", ...]
"""One schedule of a block."""

BitCosts = Mapping[str, Floats]
"""Cost of one bit of width, for each tensor of ``n`` networks: its elements.

Scratch has no width, but granules. Shapes are ``(residuals, n)`` in blocks and ``(n,)`` or ``()``
in stem, head and classifier.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """One tensor of a block, or the scratch of one of its layers."""

    width: Width
    """Width of its elements: that of a layer's input, a fixed one, or none."""
    elements: Callable[[LayerTable], Sizes]
    """Elements in a table of networks; words of scratch where there is no width."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Tensors that live at once."""

    step: int
    """Layer of the block at which they live, counted from 0."""
    terms: tuple[str, ...]
    """Names of the tensors, keys of ``TENSORS``."""


def _rows_of(table: LayerTable) -> Floats:
    return np.asarray(np.sqrt(table.area_in))


def _held(table: LayerTable) -> Floats:
    """Return the elements of the input that wait for a shortcut, after pooling; 0 for none."""
    held = table.area_in * table.c_in * table.shortcut
    if table.projected is not None:
        np.copyto(held, 0.0, where=table.projected)
    if table.pooled is not None:
        np.copyto(held, table.area_out * table.c_in, where=table.pooled)
    return held


def _projected(table: LayerTable) -> float | Bools:
    return 0.0 if table.projected is None else table.projected


def _side(table: LayerTable) -> Floats:
    """Return the elements that the 1x1 layers of shortcuts leave, 0 where there is none."""
    return np.asarray(table.area_out * table.c_out * _projected(table))


def _held_row(table: LayerTable, before: Floats) -> Floats:
    """Return the elements of the output that wait while it is made over a 1x1 layer's input.

    One row, or all where rows do not begin at whole bytes at every width; ``before`` are the
    elements of a row of the input.
    """
    rows: Floats = np.sqrt(table.area_out)
    row = rows * table.c_out
    whole_bytes = np.ceil(before / 8) * 8 == before
    whole_bytes &= np.ceil(row / 8) * 8 == row
    np.multiply(row, rows, out=row, where=~whole_bytes)
    return row


def _side_row(table: LayerTable) -> Floats:
    if table.projected is None:
        return np.zeros_like(table.c_out)
    return _held_row(table, np.sqrt(table.area_in) * table.c_in) * table.projected


def _output_row(table: LayerTable) -> Floats:
    return _held_row(table, np.sqrt(table.area_out) * table.c_mid) * ~table.shortcut


def _shortcut_scratch(table: LayerTable) -> Floats:
    return np.asarray(dense_scratch(table.c_in, table.c_out) * _projected(table))


def _window_scratch(table: LayerTable, channels: Floats) -> Floats:
    taps = np.square(table.kernel) * channels
    return np.asarray(dense_scratch(taps, table.c_out, windows=table.kernel > 1))


def _stem_scratch(table: LayerTable) -> Floats:
    frame = table.frame
    taps = float(frame.stem_kernel**2 * frame.input_channels)
    return dense_scratch(taps, table.stem_channels, windows=frame.stem_kernel > 1)


TENSORS: dict[str, Tensor] = {
    "image": Tensor(
        width="image",
        elements=lambda t: float(t.frame.input_channels * t.frame.resolution**2),
    ),
    "stem output": Tensor(width="next", elements=lambda t: t.stem_area * t.stem_channels),
    "stem scratch": Tensor(width="none", elements=_stem_scratch),
    "input": Tensor(width="a", elements=lambda t: t.area_in * t.c_in),
    "held": Tensor(width="a", elements=_held),
    "expanded": Tensor(width="b", elements=lambda t: t.area_in * t.c_mid),
    "ring": Tensor(width="b", elements=lambda t: t.kernel * _rows_of(t) * t.c_mid),
    "input ring": Tensor(width="a", elements=lambda t: t.kernel * _rows_of(t) * t.c_mid),
    "side": Tensor(width="next", elements=_side),
    "side row": Tensor(width="next", elements=_side_row),
    "filtered": Tensor(width="c", elements=lambda t: t.area_out * t.c_mid),
    "filtered plane": Tensor(width="c", elements=lambda t: t.area_out),
    "filtered apart": Tensor(width="c", elements=lambda t: t.area_out * t.c_mid * t.shortcut),
    "output row": Tensor(width="next", elements=_output_row),
    "output": Tensor(width="next", elements=lambda t: t.area_out * t.c_out),
    "expand scratch": Tensor(width="none", elements=lambda t: dense_scratch(t.c_in, t.c_mid)),
    "depthwise scratch": Tensor(
        width="none", elements=lambda t: depthwise_scratch(t.kernel, _rows_of(t), t.c_mid)
    ),
    "project scratch": Tensor(width="none", elements=lambda t: dense_scratch(t.c_mid, t.c_out)),
    "shortcut scratch": Tensor(width="none", elements=_shortcut_scratch),
    "conv1 scratch": Tensor(width="none", elements=lambda t: _window_scratch(t, t.c_in)),
    "conv2 scratch": Tensor(width="none", elements=lambda t: _window_scratch(t, t.c_out)),
    "head input": Tensor(width="a", elements=lambda t: t.head_area * t.stage_channels[-1]),
    "head output": Tensor(width="next", elements=lambda t: t.head_area * t.head_channels),
    "head scratch": Tensor(
        width="none", elements=lambda t: dense_scratch(t.stage_channels[-1], t.head_channels)
    ),
    "features": Tensor(width="a", elements=lambda t: t.head_area * t.head_channels),
    "pooled": Tensor(width="a", elements=lambda t: t.head_channels),
    "logits": Tensor(width="logits", elements=lambda t: float(t.frame.class_count)),
    "dense scratch": Tensor(
        width="none", elements=lambda t: dense_scratch(t.head_channels, t.frame.class_count)
    ),
}
"""All tensors by the name that rows have for them."""


def _rows(*rows: tuple[int, str]) -> Rows:
    """Return rows from (step, names of tensors between commas)."""
    return tuple(Row(step=step, terms=tuple(terms.split(", "))) for step, terms in rows)


SCHEDULES: dict[str, dict[str, tuple[Rows, ...]]] = {
    "arena": {
        "stem": (_rows((0, "stem scratch, image, stem output")),),
        "inverted-residual": (
            _rows(
                (0, "expand scratch, input, expanded"),
                (1, "depthwise scratch, held, ring, expanded"),
                (1, "depthwise scratch, held, ring, filtered"),
                (2, "project scratch, filtered, held"),
                (2, "project scratch, filtered, output"),
            ),
        ),
        "depthwise-separable": (
            _rows(
                (1, "depthwise scratch, input ring, input"),
                (1, "depthwise scratch, input ring, held, filtered"),
                (2, "project scratch, output row, filtered, held"),
                (2, "project scratch, output row, filtered apart, output"),
            ),
        ),
        "residual": (
            _rows(
                (1, "conv1 scratch, input, filtered"),
                (0, "shortcut scratch, side row, filtered, input"),
                (0, "shortcut scratch, side row, filtered, side"),
                (2, "conv2 scratch, filtered, held"),
                (2, "conv2 scratch, filtered, output"),
            ),
        ),
        "head": (_rows((0, "head scratch, head input, head output")),),
        "classifier": (_rows((0, "features, pooled"), (0, "dense scratch, pooled, logits")),),
    },
    "paper": {
        "stem": (_rows((0, "image, stem output")),),
        "inverted-residual": (
            _rows(
                (0, "input, expanded"),
                (1, "held, expanded, filtered plane"),
                (2, "filtered, output"),
            ),
        ),
        "depthwise-separable": (_rows((1, "input, filtered plane"), (2, "filtered, output")),),
        "residual": (
            _rows(
                (1, "input, filtered"), (0, "input, filtered, side"), (2, "held, filtered, output")
            ),
        ),
        "head": (_rows((0, "head input, head output")),),
        "classifier": (_rows((0, "features, pooled"), (0, "pooled, logits")),),
    },
}
"""Schedules by memory model and block kind; stem, head and classifier are kinds of their own."""


@cache
def terms_of(schedules: tuple[Rows, ...]) -> tuple[str, ...]:
    """Return the names of all tensors in a block kind's rows."""
    return tuple(dict.fromkeys(term for rows in schedules for row in rows for term in row.terms))


def bit_costs(model: MemoryModel, table: LayerTable) -> BitCosts:
    """Return the elements of every tensor in the schedules of a memory model.

    Tensors of kinds that no network of the frame may have are left out.
    """
    kinds = ("stem", *table.frame.all_kinds, "head", "classifier")
    terms = (name for kind in kinds for name in terms_of(SCHEDULES[model.name][kind]))
    return {name: np.asarray(TENSORS[name].elements(table)) for name in dict.fromkeys(terms)}


def of_block(costs: BitCosts, schedules: tuple[Rows, ...], index: int) -> BitCosts:
    """Return the costs of one block of each network, arrays of shape ``(n,)``."""
    return {name: costs[name][index] for name in terms_of(schedules)}


def term_sizes(
    model: MemoryModel, terms: tuple[str, ...], costs: BitCosts, widths: Mapping[Width, Sizes]
) -> dict[str, Floats]:
    """Return the granules of tensors.

    Args:
        model: How sizes are rounded.
        terms: Names of tensors.
        costs: Elements of each.
        widths: Granules of one element (``share``) at each width that is not fixed.
    """
    sizes = {}
    for name in terms:
        width = TENSORS[name].width
        if width == "none":
            sizes[name] = costs[name]
        else:
            fixed = FIXED_WIDTHS.get(width)
            own = widths[width] if fixed is None else share(model, fixed)
            sizes[name] = model.size(costs[name], own)
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


def _largest_rows(rows: Rows, sizes: Mapping[str, Floats]) -> list[Floats]:
    """Return the largest row of each step; what its rows share is added once, after the maximum."""
    live = []
    for common, apart in _factored(rows):
        parts = [reduce(np.add, (sizes[term] for term in terms)) for terms in apart]
        either = [reduce(np.maximum, parts)] if parts else []
        live.append(reduce(np.add, [*either, *(sizes[term] for term in common)]))
    return live


def live_steps(
    model: MemoryModel, kind: str, costs: BitCosts, widths: Mapping[Width, Sizes]
) -> list[Floats]:
    """Return the granules that live at each step of a block, under its smallest schedule.

    Args:
        model: What is counted.
        kind: Block kind, a key of ``SCHEDULES[model.name]``.
        costs: Elements of each tensor.
        widths: As for ``term_sizes``.
    """
    schedules = SCHEDULES[model.name][kind]
    sizes = term_sizes(model, terms_of(schedules), costs, widths)
    best, *others = (_largest_rows(rows, sizes) for rows in schedules)
    for other in others:
        smaller = reduce(np.maximum, other) < reduce(np.maximum, best)
        best = [np.where(smaller, new, old) for new, old in zip(other, best, strict=True)]
    return best
