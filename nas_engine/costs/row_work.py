"""Work of layers that run by rows: rows of a call, weights that stay unpacked, rows that are moved.

The numbers of one network are those of its memory plan and stage records (``costs.row_weights``,
``exporters.row_stages``); here those of a population, from its cuts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nas_engine.block_kinds import BLOCK_KINDS, PLACES, BlockLayer
from nas_engine.costs.cuts import Cuts
from nas_engine.costs.dense_work import native
from nas_engine.costs.layer_work import Layers, up
from nas_engine.costs.memory import WORD_BYTES
from nas_engine.costs.tensors import Width, in_place, waiting_of_convolution
from nas_engine.layers import Bools, Floats, LayerTable


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UnitLayers:
    """Layers at one place of all units of a kind, ``(units, n)``."""

    kind: str
    """Kind of the units."""
    place: int
    """Place of the layers."""
    mask: Bools
    """True for units that have the layer."""
    layers: Layers
    """Shapes and widths."""

    @property
    def layer(self) -> BlockLayer:
        """Row of the table of kinds."""
        found = BLOCK_KINDS[self.kind].layers[self.place]
        assert found is not None
        return found

    @property
    def turn(self) -> int:
        """Position in the order in which the layers of the unit run."""
        return BLOCK_KINDS[self.kind].order.index(self.place)


def stem_by_rows(table: LayerTable, stem: Layers, by_rows: Bools) -> Layers:
    """Return stems of which some run by rows, ``(n,)``."""
    moved: Any = 0.0
    if table.frame.image == "rows":
        slots = min(table.frame.stem_kernel, table.frame.resolution)
        lines = 1 + np.maximum(slots - stem.stride, 0) / stem.stride
        moved = by_rows * lines * _words(stem.height, stem.width * stem.inputs * stem.a_bits)
    return replace(stem, rows=by_rows * 1, moved=moved)


def by_rows(
    table: LayerTable, units: Sequence[UnitLayers], widths: Mapping[Width, Any], cuts: Cuts
) -> list[UnitLayers]:
    """Return layers of units of which some run by rows.

    Args:
        table: ``n`` networks.
        units: Their layers.
        widths: Widths of the units, in bits.
        cuts: How the networks run.
    """
    rows, first, last, pairs = (
        each[1:-1] for each in (cuts.by_rows, cuts.first, cuts.last, cuts.pairs)
    )
    adds = in_place(table) & ~(first & last & (widths["next"] == widths["a"]))
    found = []
    for one in units:
        layer, shapes = one.layer, one.layers
        is_window, is_last = layer.kind == "depthwise", one.place == PLACES - 1
        two = pairs & (is_window or (last if is_last else first))
        target = _words(shapes.out_height, shapes.out_width * shapes.outputs * shapes.out_bits)
        source = _words(shapes.height, shapes.width * shapes.inputs * shapes.a_bits)
        moved: Any = 0.0
        if is_window and layer.reads_input:
            moved = source * first
        elif layer.kind == "conv" and not is_last:
            slots = np.minimum(table.kernel, np.sqrt(table.area_out))
            moved = target * (slots - 1) + ~first * source * (waiting_of_convolution(table) - 1)
        elif is_last:
            moved = target * adds
        shapes = replace(
            shapes,
            rows=rows * (1 + two),
            moved=rows * moved,
            in_place=shapes.in_place & ~rows,
        )
        found.append(replace(one, layers=shapes))
    return found


def keep_weights(
    stem: Layers, units: Sequence[UnitLayers], head: Layers, cuts: Cuts
) -> tuple[Layers, list[UnitLayers], Layers, Floats]:
    """Return layers with those by rows whose weights stay unpacked, and what is then left.

    Weights are kept in the order of execution as long as there is room; segments by rows have the
    bytes between theirs and the arena.

    Returns:
        Stem, layers of units, head, and the bytes left, ``(units + 2, n)``.
    """
    count, n = cuts.used.shape[0] - 1, cuts.used.shape[1]
    sizes = np.full((PLACES, count, n), np.inf)
    sizes[0, 0] = _unpacked_bytes(stem)
    for one in units:
        if one.layer.kind != "depthwise":
            np.copyto(sizes[one.turn, 1:], _unpacked_bytes(one.layers), where=one.mask)
    kept = np.zeros(sizes.shape, bool)
    room = np.where(cuts.by_rows, cuts.arena - cuts.used, 0.0)
    left = np.zeros(n)
    for at in range(count):
        left = np.where(cuts.first[at], room[at], left * cuts.by_rows[at])
        for turn in range(PLACES):
            fits = np.less_equal(sizes[turn, at], left, out=kept[turn, at])
            left = left - np.where(fits, sizes[turn, at], 0.0)
        room[at] = left
    for at in range(count - 2, -1, -1):
        inside = cuts.by_rows[at] & ~cuts.last[at]
        np.copyto(room[at], room[at + 1], where=inside)
    of_head = cuts.by_rows[-1] & (_unpacked_bytes(head) <= room[-1])
    room[-1] -= np.where(of_head, _unpacked_bytes(head), 0.0)
    return (
        replace(stem, kept=kept[0, 0]),
        [replace(one, layers=replace(one.layers, kept=kept[one.turn, 1:])) for one in units],
        replace(head, kept=of_head),
        room,
    )


def _unpacked_bytes(layer: Layers) -> Any:
    """Return the bytes of unpacked weights; infinity where they need not be, or cannot."""
    taps = layer.kernel * layer.kernel * layer.inputs
    keeps = (layer.w_bits < 8) | (taps % WORD_BYTES > 0)
    keeps = keeps & (layer.outputs % 2 == 0) & (layer.rows > 0) & ~native(layer)
    return np.where(keeps, up(taps, WORD_BYTES) * WORD_BYTES * layer.outputs, np.inf)


def _words(rows: Any, bits: Any) -> Any:
    """Return the words of rows of so many bits, or their bytes where they are no whole words."""
    return rows * np.where(bits % 32 == 0, bits / 32, np.ceil(bits / 8))
