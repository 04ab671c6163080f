"""Tensors of a block and the scratch of its layers: width, elements and pieces in any network.

Rows of the schedules name them (``costs.schedule``); none stands anywhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Literal, NamedTuple

import numpy as np

from nas_engine.costs.memory import WORD_BYTES, Sizes, dense_scratch, depthwise_scratch
from nas_engine.layers import Bools, Floats, LayerTable
from nas_engine.network.from_architecture import IMAGE_BITS, LOGIT_BITS

Width = Literal["a", "b", "c", "next", "image", "logits", "none"]
"""Width of a tensor: that of the block's input, of the input of its second or third layer, of the
layer after the block, a fixed one, or none (scratch, counted in granules)."""

LAYER_WIDTHS: tuple[Width, ...] = ("a", "b", "c")
"""Widths by the layer of a block that they enter; a kind whose second layer takes the block's input
has no ``b``."""

FIXED_WIDTHS: dict[Width, int] = {"image": IMAGE_BITS, "logits": LOGIT_BITS}
"""Bits of the widths that are the same in every network."""


class Amount(NamedTuple):
    """Cost of one bit of width of a tensor in ``n`` networks.

    Shapes are ``(residuals, n)`` in blocks and ``(n,)`` or ``()`` in stem, head and classifier.
    """

    elements: Floats
    """Elements of one piece; granules for scratch, which has no width."""
    pieces: Floats | None = None
    """Pieces, such as rows, each padded to granules; ``None`` for one."""
    added: Bools | None = None
    """Mask of inputs that a sum is written over, row by row: it must not be wider than they are."""

    def at(self, index: int) -> Amount:
        """Return the amount of one block of each network."""
        return Amount(
            self.elements[index],
            None if self.pieces is None else self.pieces[index],
            None if self.added is None else self.added[index],
        )


BitCosts = Mapping[str, Amount]
"""Costs of the tensors of a schedule by their names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """One tensor of a block, or the scratch of one of its layers."""

    width: Width
    """Width of its elements: that of a layer's input, a fixed one, or none."""
    elements: Callable[[LayerTable], Sizes]
    """Elements in a table of networks; words of scratch where there is no width."""
    pieces: Callable[[LayerTable], Sizes] | None = None
    """Pieces of that many elements; one if there is none."""
    added: Callable[[LayerTable], Bools] | None = None
    """Mask of ``Amount``."""
    equal: bool = False
    """True if a sum that is written over it must not be narrower either."""

    def amount(self, table: LayerTable) -> Amount:
        """Return its cost in a table of networks."""
        return Amount(
            np.asarray(self.elements(table)),
            None if self.pieces is None else np.asarray(self.pieces(table)),
            None if self.added is None else self.added(table),
        )


def _width_in(table: LayerTable) -> Floats:
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


def _width_out(table: LayerTable) -> Floats:
    return np.asarray(np.sqrt(table.area_out))


def in_place(table: LayerTable) -> Bools:
    """Return the mask of units that add their input as it is: the sum is written over it."""
    found = table.shortcut
    for other in (table.projected, table.pooled):
        if other is not None:
            found = found & ~other
    return found


def _input_piece(table: LayerTable) -> Floats:
    """Return the elements of a row of an input that a sum is written over, else of all of it."""
    return np.where(in_place(table), _width_in(table), table.area_in) * table.c_in


def _input_pieces(table: LayerTable) -> Floats:
    return np.where(in_place(table), _width_in(table), 1.0)


def _pad(table: LayerTable) -> Floats:
    """Return the rows above the first one that a k x k layer of the unit's stride pads."""
    width, out = _width_in(table), _width_out(table)
    stride = np.where(table.area_in == table.area_out, 1.0, 2.0)
    return np.asarray(np.floor(np.maximum((out - 1) * stride + table.kernel - width, 0) / 2))


def _waiting_of_expand(table: LayerTable) -> Floats:
    """Return the rows that wait in front of an expansion: what the sum still needs."""
    return 1 + _pad(table) * in_place(table)


def waiting_of_convolution(table: LayerTable) -> Floats:
    """Return the rows that wait in front of two k x k layers, down from the sum's."""
    stride = np.where(table.area_in == table.area_out, 1.0, 2.0)
    reach = stride * (table.kernel - 1) / 2 - _pad(table) + table.kernel
    return np.minimum(reach, _width_in(table))


def not_packed(table: LayerTable) -> Floats:
    """Return infinity for units that cannot run by rows, else 0.

    Their rows do not begin at whole bytes at every width, or their shortcut is pooled.
    """
    found = np.zeros_like(table.c_in)
    if table.pooled is not None:
        found[table.pooled] = np.inf
    channels = (table.stem_channels, table.stage_channels, table.stage_bottleneck)
    if any((part % 8).any() for part in channels):
        width, out = _width_in(table), _width_out(table)
        for row in (width * table.c_in, width * table.c_mid, out * table.c_mid, out * table.c_out):
            found[row % 8 != 0] = np.inf
    return found


def _planes(table: LayerTable) -> Floats:
    return depthwise_scratch(table.kernel, _width_in(table), 0.0)


def _inverted_scratch(table: LayerTable) -> Floats:
    layers = dense_scratch(table.c_in, table.c_mid), dense_scratch(table.c_mid, table.c_out)
    return np.asarray(reduce(np.maximum, (*layers, _planes(table))))


def _separable_scratch(table: LayerTable) -> Floats:
    return np.asarray(np.maximum(dense_scratch(table.c_mid, table.c_out), _planes(table)))


def _residual_scratch(table: LayerTable) -> Floats:
    layers = _window_scratch(table, table.c_in), _window_scratch(table, table.c_out)
    return np.asarray(reduce(np.maximum, (*layers, _shortcut_scratch(table))))


def _work(table: LayerTable, *, filters: bool) -> Floats:
    """Return what a unit by rows holds beside rows and scratch, in words.

    That is its row counter and, if it has a depth-wise layer, the unpacked weights of that one.
    """
    words = not_packed(table) + 1.0
    if filters:
        words += np.ceil(np.square(table.kernel) * table.c_mid / WORD_BYTES)
    return np.asarray(words)


def _joined(scratch: Callable[[LayerTable], Sizes]) -> Callable[[LayerTable], Sizes]:
    """Return the words beside rows of a stem that a unit asks for rows: counter, most scratch."""
    return lambda table: np.maximum(scratch(table), _stem_scratch(table)) + 1.0


def _image_rows(table: LayerTable) -> float:
    return float(min(table.frame.stem_kernel, table.frame.resolution))


def _stem_work(table: LayerTable) -> Floats:
    """Return counter and scratch of a stem by rows, infinity where its rows cannot be packed."""
    words = _stem_scratch(table) + 1.0
    return np.where(np.sqrt(table.stem_area) * table.stem_channels % 8 == 0, words, np.inf)


def _head_work(table: LayerTable) -> Floats:
    """Return sums and scratch of a head that is pooled row by row, infinity without a pool."""
    rows = np.sqrt(table.head_area) * table.stage_channels[-1]
    words = table.head_channels + dense_scratch(table.stage_channels[-1], table.head_channels)
    return np.where((rows % 8 == 0) & (table.frame.class_count > 0), words, np.inf)


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
    "ring": Tensor(width="b", elements=lambda t: t.kernel * _width_in(t) * t.c_mid),
    "input ring": Tensor(width="a", elements=lambda t: t.kernel * _width_in(t) * t.c_mid),
    "side": Tensor(width="next", elements=_side),
    "side row": Tensor(width="next", elements=_side_row),
    "filtered": Tensor(width="c", elements=lambda t: t.area_out * t.c_mid),
    "filtered plane": Tensor(width="c", elements=lambda t: t.area_out),
    "filtered apart": Tensor(width="c", elements=lambda t: t.area_out * t.c_mid * t.shortcut),
    "output row": Tensor(width="next", elements=_output_row),
    "output": Tensor(width="next", elements=lambda t: t.area_out * t.c_out),
    "expand scratch": Tensor(width="none", elements=lambda t: dense_scratch(t.c_in, t.c_mid)),
    "depthwise scratch": Tensor(
        width="none", elements=lambda t: depthwise_scratch(t.kernel, _width_in(t), t.c_mid)
    ),
    "project scratch": Tensor(width="none", elements=lambda t: dense_scratch(t.c_mid, t.c_out)),
    "shortcut scratch": Tensor(width="none", elements=_shortcut_scratch),
    "conv1 scratch": Tensor(width="none", elements=lambda t: _window_scratch(t, t.c_in)),
    "conv2 scratch": Tensor(width="none", elements=lambda t: _window_scratch(t, t.c_out)),
    "image rows": Tensor(
        width="image",
        elements=lambda t: float(t.frame.input_channels * t.frame.resolution),
        pieces=_image_rows,
    ),
    "stem work": Tensor(width="none", elements=_stem_work),
    "input at one end": Tensor(
        width="a", elements=_input_piece, pieces=_input_pieces, added=in_place
    ),
    "output at the other": Tensor(
        width="next", elements=lambda t: t.area_out * t.c_out * ~in_place(t)
    ),
    "expanded rows": Tensor(
        width="b",
        elements=lambda t: _width_in(t) * t.c_mid,
        pieces=lambda t: np.minimum(t.kernel, _width_in(t)),
    ),
    "input rows": Tensor(
        width="a",
        elements=lambda t: _width_in(t) * t.c_mid,
        pieces=lambda t: np.minimum(t.kernel, _width_in(t)),
        added=in_place,
    ),
    "middle rows": Tensor(
        width="c",
        elements=lambda t: _width_out(t) * t.c_mid,
        pieces=lambda t: np.minimum(t.kernel, _width_out(t)),
    ),
    "filtered row": Tensor(width="c", elements=lambda t: _width_out(t) * t.c_mid),
    "waiting rows": Tensor(
        width="a",
        elements=lambda t: _width_in(t) * t.c_in,
        pieces=_waiting_of_expand,
        added=in_place,
    ),
    "equal rows": Tensor(  # in the ring of input rows, no more bytes
        width="a", elements=lambda t: np.zeros_like(t.c_in), added=in_place, equal=True
    ),
    "waiting window": Tensor(
        width="a",
        elements=lambda t: _width_in(t) * t.c_in,
        pieces=waiting_of_convolution,
        added=in_place,
    ),
    "filter work": Tensor(width="none", elements=lambda t: _work(t, filters=True)),
    "plain work": Tensor(width="none", elements=lambda t: _work(t, filters=False)),
    "inverted scratch": Tensor(width="none", elements=_inverted_scratch),
    "separable scratch": Tensor(width="none", elements=_separable_scratch),
    "residual scratch": Tensor(width="none", elements=_residual_scratch),
    "joined inverted scratch": Tensor(width="none", elements=_joined(_inverted_scratch)),
    "joined separable scratch": Tensor(width="none", elements=_joined(_separable_scratch)),
    "joined residual scratch": Tensor(width="none", elements=_joined(_residual_scratch)),
    "head row": Tensor(width="next", elements=lambda t: np.sqrt(t.head_area) * t.head_channels),
    "head pooled": Tensor(width="next", elements=lambda t: t.head_channels),
    "head work": Tensor(width="none", elements=_head_work),
    "head input": Tensor(width="a", elements=lambda t: t.head_area * t.stage_channels[-1]),
    "head output": Tensor(width="next", elements=lambda t: t.head_area * t.head_channels),
    "head scratch": Tensor(
        width="none", elements=lambda t: dense_scratch(t.stage_channels[-1], t.head_channels)
    ),
    "pooled": Tensor(width="a", elements=lambda t: t.head_channels),
    "logits": Tensor(width="logits", elements=lambda t: float(t.frame.class_count)),
    "dense scratch": Tensor(
        width="none", elements=lambda t: dense_scratch(t.head_channels, t.frame.class_count)
    ),
}
"""All tensors by the name that rows have for them."""
