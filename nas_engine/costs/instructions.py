"""Instructions of populations, layer by layer, as their networks run.

A sum has one scale where both operands and the result are signed and of one width, as training
leaves it (``quantization.prepare``). Networks that run by layers, or that fit by layers, are
counted exactly as their exports are. Of the others those units run by rows that would not fit
else, as ``costs.rows.cut`` chooses them but for chains; what rows take more is little, and the
table's errors include it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from nas_engine.block_kinds import BLOCK_KINDS, KIND_NAMES, PLACES, BlockLayer
from nas_engine.costs.chains import fitting_sram
from nas_engine.costs.dense_work import tile_channels
from nas_engine.costs.instruction_model import InstructionModel
from nas_engine.costs.layer_work import Layers, up
from nas_engine.costs.memory import CHANNELS_EXPANDED, Arena, share
from nas_engine.costs.schedule import bit_costs, live_steps
from nas_engine.costs.sram import head_out_bits, sram_per_layer, unit_widths
from nas_engine.costs.tensors import Width, not_packed
from nas_engine.layers import Bools, Floats, LayerTable, activated_units, rectified_inputs
from nas_engine.network.from_architecture import LOGIT_BITS
from nas_engine.network.kernels import DEPTHWISE_KERNELS


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Way:
    """How networks run."""

    room: Floats
    """Bytes of the arena that are free at each layer, ``(layers, n)``."""
    behind: Floats
    """The same at the classifier without the pool in front of it, ``(n,)``."""
    stem: Any = False
    """True where the stem runs by rows, ``(n,)`` or one for all."""
    units: Any = False
    """True for units that run by rows, ``(residuals, n)`` or one for all."""
    head: Any = False
    """True where head and pool run by rows, ``(n,)`` or one for all."""


def instructions(
    model: InstructionModel,
    table: LayerTable,
    w_bits: npt.NDArray[Any],
    a_bits: npt.NDArray[Any],
    room: float | None = None,
) -> Floats:
    """Return the instructions of each network, ``(n,)``; arguments as below."""
    return np.asarray(instructions_per_layer(model, table, w_bits, a_bits, room).sum(axis=0))


def instructions_per_layer(
    model: InstructionModel,
    table: LayerTable,
    w_bits: npt.NDArray[Any],
    a_bits: npt.NDArray[Any],
    room: float | None = None,
) -> Floats:
    """Return the instructions of each layer of networks.

    Pools count at the layer behind them: that of the head at the classifier, those of shortcuts at
    the last layer of their unit.

    Args:
        model: A core and a compiler.
        table: ``n`` networks.
        w_bits: Weight width of each layer, ``(layers, n)``.
        a_bits: Input width of each layer, ``(layers, n)``.
        room: Bytes that the arena may take, if units run by rows where they would not fit else; the
            frame's if not given.

    Returns:
        Instructions, ``(layers, n)``; zero in rows that a network does not have.
    """
    frame = table.frame
    whole = replace(table, frame=replace(frame, schedule="layers", image="whole"))
    live = _live(whole, a_bits)
    if (frame.schedule, frame.image) == ("layers", "whole"):
        return _counted(model, table, w_bits, a_bits, _way(whole, a_bits, live))
    most = (frame.room if room is None else room) or 0.0
    every = "rows" in (frame.schedule, frame.image)
    over = (live.max(axis=0) > most) | every
    found = np.empty(live.shape)
    for mask in (over, ~over):
        if at := np.flatnonzero(mask).tolist():
            w, a, own = w_bits[:, at], a_bits[:, at], live[:, at]
            some = table if len(at) == table.n else table.take(np.array(at))
            way = _way_by_rows(some, a, own, most) if mask is over else _way(some, a, own)
            found[:, at] = _counted(model, some, w, a, way)
    return found


def _live(table: LayerTable, a_bits: npt.NDArray[Any]) -> Floats:
    """Return the bytes live at each layer, ``(layers, n)``."""
    return sram_per_layer(Arena(), table, a_bits)


def _way(table: LayerTable, a_bits: npt.NDArray[Any], live: Floats) -> _Way:
    """Return the way of networks by layers, from the bytes live at each layer."""
    memory, peak = Arena(), live.max(axis=0)
    behind = np.zeros(table.n)
    if table.frame.class_count:
        widths: dict[Width, Any] = {"a": share(memory, a_bits[-1])}
        behind = live_steps(memory, "classifier", bit_costs(memory, table), widths)[0]
    return _Way(room=peak - live, behind=peak - behind * memory.granule)


def _way_by_rows(table: LayerTable, a_bits: npt.NDArray[Any], live: Floats, most: float) -> _Way:
    """Return the way of networks that do not fit by layers.

    Args:
        table: ``n`` networks.
        a_bits: Input width of each layer, ``(layers, n)``.
        live: Bytes live at each layer if all run by layers.
        most: Bytes that the arena may take; 0 for the smallest.
    """
    frame, widths = table.frame, unit_widths(table, a_bits)
    arena = most or fitting_sram(Arena(), table, a_bits, most)
    by_rows = _live(replace(table, frame=replace(frame, schedule="rows")), a_bits)
    every, packed = frame.schedule == "rows", not_packed(table) == 0
    sums = table.shortcut if table.projected is None else table.shortcut & ~table.projected
    packed &= ~(sums & (widths["next"] > widths["a"])) & table.active
    allowed = frame.schedule != "layers"
    units = live[1:-2].reshape(frame.max_residuals, PLACES, table.n).max(axis=1)
    units = packed & (every | (units > arena)) & allowed
    stem, head = (every | (live[row] > arena) & allowed for row in (0, -2))
    units[0] |= packed[0] & stem & allowed
    alone = np.minimum(by_rows, live)[1:-2].reshape(frame.max_residuals, PLACES, table.n)
    over = alone.max(axis=1) > arena  # these run with those before them
    chained = packed & allowed & np.logical_or.accumulate(over[::-1])[::-1]
    units |= chained
    stem = stem & packed[0] | (frame.image == "rows") | chained[0]
    head = head & (frame.class_count > 0) & frame.has_head
    used = live.copy()
    np.copyto(used[0], by_rows[0], where=stem)
    np.copyto(used[1:-2], by_rows[1:-2], where=np.repeat(units, PLACES, axis=0))
    np.copyto(used[-2], by_rows[-2], where=head)
    way = _way(table, a_bits, used)
    room = np.where(used > arena, 0.0, np.minimum(way.room, arena - used))
    room[1:-2] *= ~np.repeat(chained, PLACES, axis=0)
    return replace(way, stem=stem, units=units, head=head, room=room)


def _counted(
    model: InstructionModel,
    table: LayerTable,
    w_bits: npt.NDArray[Any],
    a_bits: npt.NDArray[Any],
    way: _Way,
) -> Floats:
    """Return the instructions of each layer of networks that run in a way, ``(layers, n)``."""
    found = np.zeros((table.frame.n_layers, table.n))
    widths, left = unit_widths(table, a_bits), None
    if way.units is not False:
        left = way.room[1:-2].reshape(-1, PLACES, table.n).min(axis=1)
    found[0] = _stem(model, table, widths["a"][0], w_bits[0], a_bits[0], way)
    for place in range(PLACES):
        rows = slice(1 + place, -2, PLACES)
        for code in table.kinds:
            layer = BLOCK_KINDS[KIND_NAMES[code]].layers[place]
            if layer is None:
                continue
            mask = table.active & table.of_kind(code)
            if layer.reshaping and table.projected is not None:
                mask = mask & table.projected
            if place == 0 and table.first is not None:
                mask = mask & table.first
            shapes = _unit_layers(table, layer, place, widths, w_bits[rows], a_bits[rows])
            free = way.room[rows]
            if left is not None:
                shapes = _driven(shapes, table, layer, place, widths, way.units & mask, left)
            family = "convolution" if layer.kind == "conv" else layer.kind
            shapes = _those(shapes, mask)
            if family != "depthwise":
                shapes = _tiled(shapes, free[mask])
            found[rows][mask] += model.count(family, shapes)
    if table.pooled is not None:
        counts = model.count("average_pool", _shortcut_pools(table, widths["a"]))
        found[PLACES:-2:PLACES] += np.where(table.pooled, counts, 0.0)
    found[-2:] = _ends(model, table, w_bits, a_bits, way)
    return found


def _stem(
    model: InstructionModel, table: LayerTable, out_bits: Any, w_bits: Any, a_bits: Any, way: _Way
) -> Floats:
    """Return the instructions of the stem, ``(n,)``."""
    frame, size = table.frame, float(table.frame.resolution)
    after = np.sqrt(table.stem_area)
    stride = np.ceil(size / after)
    taps = frame.input_channels * frame.stem_kernel**2
    kept = way.stem & ((w_bits < 8) | (taps % 4 > 0)) & (table.stem_channels % 2 == 0)
    kept &= up(taps, 4) * 4 * table.stem_channels <= way.room[0]
    layer = Layers(
        height=size,
        width=size,
        out_height=after,
        out_width=after,
        inputs=float(frame.input_channels),
        outputs=table.stem_channels,
        kernel=frame.stem_kernel,
        stride=stride,
        w_bits=w_bits,
        a_bits=a_bits,
        out_bits=out_bits,
        rows=way.stem * 1,
        kept=kept,
        moved=way.stem * (frame.image == "rows") * (1 + (frame.stem_kernel - stride) / stride)
        * _words(size, size * frame.input_channels * 8),
    )  # fmt: skip
    family = "convolution" if frame.stem_kernel > 1 else "pointwise"
    return model.count(family, _tiled(layer, way.room[0]))


def _ends(
    model: InstructionModel,
    table: LayerTable,
    w_bits: npt.NDArray[Any],
    a_bits: npt.NDArray[Any],
    way: _Way,
) -> Floats:
    """Return the instructions of head and classifier, with the pool between them, ``(2, n)``."""
    size, classes = np.sqrt(table.head_area), table.frame.class_count
    leaving = a_bits[-1] if classes else head_out_bits(table, 8)
    head = Layers(
        height=size,
        width=size,
        out_height=size,
        out_width=size,
        inputs=table.stage_channels[-1],
        outputs=table.head_channels,
        w_bits=w_bits[-2],
        a_bits=a_bits[-2],
        out_bits=leaving,
        rows=way.head * 1,
        kept=way.head & (w_bits[-2] < 8)
        & (table.stage_channels[-1] * table.head_channels <= way.room[-2]),
    )  # fmt: skip
    found = np.zeros((2, table.n))
    if table.frame.has_head:
        found[0] = model.count("pointwise", _tiled(head, way.room[-2]))
    if not classes:
        return found
    pool = Layers(
        height=size,
        width=size,
        out_height=1.0,
        out_width=1.0,
        inputs=table.head_channels,
        outputs=table.head_channels,
        kernel=size,
        a_bits=a_bits[-1],
        out_bits=a_bits[-1],
        rows=way.head * 1,
    )
    dense = Layers(
        height=1.0,
        width=1.0,
        out_height=1.0,
        out_width=1.0,
        inputs=table.head_channels,
        outputs=float(classes),
        w_bits=w_bits[-1],
        a_bits=a_bits[-1],
        out_bits=LOGIT_BITS,
    )
    found[1] = model.count("average_pool", pool)
    found[1] += model.count("pointwise", _tiled(dense, way.behind))
    return found


def _driven(
    layers: Layers,
    table: LayerTable,
    layer: BlockLayer,
    place: int,
    widths: Mapping[Width, Any],
    units: Bools,
    left: Floats,
) -> Layers:
    """Return the layers of units that run by rows: rows at once, weights kept, rows moved.

    Kept weights are taken off the bytes that are ``left``, in place.
    """
    last = place == PLACES - 1
    of_plain = BLOCK_KINDS["residual"].layers  # its ring is a line of rows
    plain = layer in of_plain
    entering = widths["a"] if layer.inputs == "in" else widths["b"]
    pairs = np.isin(table.kernel, tuple(DEPTHWISE_KERNELS)) & (table.area_in == table.area_out)
    pairs &= (entering == 8) & (widths["c"] == 8) & (table.c_mid % CHANNELS_EXPANDED == 0)
    rows = np.where(units, np.where(pairs & (not plain), 2, 1), 0)
    taps = layers.inputs * layers.kernel**2
    size = up(taps, 4) * 4 * layers.outputs
    kept = units & ((layers.w_bits < 8) | (taps % 4 > 0)) & (layers.outputs % 2 == 0)
    kept &= (layer.kind != "depthwise") & (size <= left)
    left -= size * kept
    source = _words(layers.height, layers.width * layers.inputs * layers.a_bits)
    target = _words(layers.out_height, layers.out_width * layers.outputs * layers.out_bits)
    moved: Any = 0.0
    if plain and not last and not layer.reshaping:
        moved = target * (table.kernel - 1)
    elif layer.kind == "depthwise" and layer.reads_input:
        moved = source
    elif last and not plain:
        moved = target * (table.shortcut & (widths["next"] != widths["a"]))
    return replace(layers, rows=rows, kept=kept, moved=moved * units)


def _words(rows: Any, bits: Any) -> Any:
    """Return the words of rows of so many bits, or their bytes where they are no whole words."""
    return rows * np.where(bits % 32 == 0, bits / 32, np.ceil(bits / 8))


def _tiled(layer: Layers, room: Any) -> Layers:
    """Return layers with the channels of their tiles, from the bytes free beside the scratch."""
    return replace(layer, tile=tile_channels(layer, room))


def _those(layer: Layers, mask: Bools) -> Layers:
    """Return the layers of a mask, ``(residuals, n)``, in a row."""
    values = {one.name: getattr(layer, one.name) for one in fields(Layers)}
    return Layers(
        **{name: value[mask] if value.ndim == 2 else value for name, value in values.items()}
    )


def _unit_layers(
    table: LayerTable,
    layer: BlockLayer,
    place: int,
    widths: Mapping[Width, Any],
    w_bits: npt.NDArray[Any],
    a_bits: npt.NDArray[Any],
) -> Layers:
    """Return the layers at one place of all units, ``(residuals, n)``."""
    channels = {"in": table.c_in, "mid": table.c_mid, "out": table.c_out}
    size_in, size_out = np.sqrt(table.area_in), np.sqrt(table.area_out)
    before = size_in if layer.strided or place == 0 else size_out
    after = size_out if layer.strided or place > 0 else size_in
    shortcut: Any = 0
    alike: Any = False
    if place == PLACES - 1:
        added = widths["a"]
        if table.projected is not None:
            added = np.where(table.projected, widths["next"], added)
        shortcut = np.where(table.shortcut, added, 0)
        signed = ~(activated_units(table) | rectified_inputs(table))
        alike = table.shortcut & signed & (widths["next"] == widths["a"])
    stride = np.where(table.area_in == table.area_out, 1, 2) if layer.strided else 1
    out = (
        widths["next"]
        if place == PLACES - 1 or layer.reshaping
        else widths["b" if place == 0 else "c"]
    )
    return Layers(
        height=before,
        width=before,
        out_height=after,
        out_width=after,
        inputs=channels[layer.inputs],
        outputs=channels[layer.outputs],
        kernel=table.kernel if layer.has_kernel else 1,
        stride=stride,
        w_bits=w_bits,
        a_bits=a_bits,
        out_bits=out,
        shortcut_bits=shortcut,
        same_scale=alike,
        in_place=_in_place(table, layer, place),
    )


def _in_place(table: LayerTable, layer: BlockLayer, place: int) -> Any:
    """Return where a 1x1 layer is written over its input: ``costs.plan``."""
    over_stream = place == PLACES - 1 and layer.kind == "pointwise" and layer.inputs == "in"
    return ~table.shortcut if over_stream else layer.reshaping


def _shortcut_pools(table: LayerTable, bits: Any) -> Layers:
    size_in, size_out = np.sqrt(table.area_in), np.sqrt(table.area_out)
    return Layers(
        height=size_in, width=size_in, out_height=size_out, out_width=size_out,
        inputs=table.c_in, outputs=table.c_in, kernel=2, stride=2, a_bits=bits, out_bits=bits,
    )  # fmt: skip
