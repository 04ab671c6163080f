"""Instructions of populations, layer by layer, as their networks run.

A sum has one scale where both operands and the result are signed and of one width, as training
leaves it (``quantization.prepare``). Networks that run by layers, or that fit by layers, are
counted exactly as their exports are; so are the others, whose units by rows are those of
``costs.cuts``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from nas_engine.block_kinds import BLOCK_KINDS, KIND_NAMES, PLACES, BlockLayer
from nas_engine.costs.cuts import Cuts, cuts
from nas_engine.costs.dense_work import tile_channels
from nas_engine.costs.instruction_model import InstructionModel
from nas_engine.costs.layer_work import Layers
from nas_engine.costs.memory import Arena, share
from nas_engine.costs.row_work import UnitLayers, by_rows, keep_weights, stem_by_rows
from nas_engine.costs.schedule import bit_costs, live_steps
from nas_engine.costs.sram import head_out_bits, sram_per_layer, unit_widths
from nas_engine.costs.tensors import Width
from nas_engine.layers import (
    Bools,
    Floats,
    LayerTable,
    activated_units,
    interleave,
    rectified_inputs,
)
from nas_engine.network.from_architecture import LOGIT_BITS


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Way:
    """How networks run."""

    room: Floats
    """Bytes of the arena that are free at each layer by layers, ``(layers, n)``."""
    behind: Floats
    """The same at the classifier without the pool in front of it, ``(n,)``."""
    cuts: Cuts | None = None
    """Units by rows, if there are any."""


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
    """Return the way of networks that may not run by layers alone.

    Args:
        table: ``n`` networks.
        a_bits: Input width of each layer, ``(layers, n)``.
        live: Bytes live at each layer if all run by layers.
        most: Bytes that the arena may take; 0 for the smallest.
    """
    found, by_layers = cuts(table, a_bits, live, most), _way(table, a_bits, live)
    more = found.arena - live.max(axis=0)
    return _Way(room=by_layers.room + more, behind=by_layers.behind + more, cuts=found)


def _counted(
    model: InstructionModel,
    table: LayerTable,
    w_bits: npt.NDArray[Any],
    a_bits: npt.NDArray[Any],
    way: _Way,
) -> Floats:
    """Return the instructions of each layer of networks that run in a way, ``(layers, n)``."""
    found = np.zeros((table.frame.n_layers, table.n))
    widths, room = unit_widths(table, a_bits), way.room
    stem, head = _stem(table, widths["a"][0], w_bits[0], a_bits[0]), _head(table, w_bits, a_bits)
    units = list(_units(table, widths, w_bits, a_bits))
    if way.cuts is not None:
        stem = stem_by_rows(table, stem, way.cuts.by_rows[0])
        head = replace(head, rows=way.cuts.by_rows[-1] * 1)
        units = by_rows(table, units, widths, way.cuts)
        stem, units, head, left = keep_weights(stem, units, head, way.cuts)
        inside = _per_layer(table, way.cuts.by_rows.astype(float)) > 0
        room = np.where(inside, _per_layer(table, left), room)
    found[0] = model.count(
        "convolution" if table.frame.stem_kernel > 1 else "pointwise", _tiled(stem, room[0])
    )
    for one in units:
        at = slice(1 + one.place, -2, PLACES)
        family = "convolution" if one.layer.kind == "conv" else one.layer.kind
        shapes = _those(one.layers, one.mask)
        if family != "depthwise":
            shapes = _tiled(shapes, room[at][one.mask])
        found[at][one.mask] += model.count(family, shapes)
    if table.pooled is not None:
        counts = model.count("average_pool", _shortcut_pools(table, widths["a"]))
        found[PLACES:-2:PLACES] += np.where(table.pooled, counts, 0.0)
    if table.frame.has_head:
        found[-2] = model.count("pointwise", _tiled(head, room[-2]))
    if table.frame.class_count:
        pool, dense = _classifier(table, w_bits, a_bits, head.rows)
        found[-1] = model.count("average_pool", pool)
        found[-1] += model.count("pointwise", _tiled(dense, way.behind))
    return found


def _per_layer(table: LayerTable, values: Floats) -> Floats:
    """Return values of stem, units and head, ``(units + 2, n)``, as those of layers."""
    own = values[1:-1]
    return interleave(table, values[0], own, own, own, values[-1], 0.0)


def _stem(table: LayerTable, out_bits: Any, w_bits: Any, a_bits: Any) -> Layers:
    """Return the stem, ``(n,)``."""
    frame, size = table.frame, float(table.frame.resolution)
    after = np.sqrt(table.stem_area)
    return Layers(
        height=size,
        width=size,
        out_height=after,
        out_width=after,
        inputs=float(frame.input_channels),
        outputs=table.stem_channels,
        kernel=frame.stem_kernel,
        stride=np.ceil(size / after),
        w_bits=w_bits,
        a_bits=a_bits,
        out_bits=out_bits,
    )


def _head(table: LayerTable, w_bits: npt.NDArray[Any], a_bits: npt.NDArray[Any]) -> Layers:
    """Return the head, ``(n,)``, or what stands for it in networks without one."""
    size = np.sqrt(table.head_area)
    leaving = a_bits[-1] if table.frame.class_count else head_out_bits(table, 8)
    return Layers(
        height=size,
        width=size,
        out_height=size,
        out_width=size,
        inputs=table.stage_channels[-1],
        outputs=table.head_channels,
        w_bits=w_bits[-2],
        a_bits=a_bits[-2],
        out_bits=leaving,
    )


def _classifier(
    table: LayerTable, w_bits: npt.NDArray[Any], a_bits: npt.NDArray[Any], rows: Any
) -> tuple[Layers, Layers]:
    """Return pool and dense layer, ``(n,)`` each; ``rows`` are those of the head's calls."""
    size = np.sqrt(table.head_area)
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
        rows=rows,
    )
    dense = Layers(
        height=1.0,
        width=1.0,
        out_height=1.0,
        out_width=1.0,
        inputs=table.head_channels,
        outputs=float(table.frame.class_count),
        w_bits=w_bits[-1],
        a_bits=a_bits[-1],
        out_bits=LOGIT_BITS,
    )
    return pool, dense


def _units(
    table: LayerTable,
    widths: Mapping[Width, Any],
    w_bits: npt.NDArray[Any],
    a_bits: npt.NDArray[Any],
) -> Iterator[UnitLayers]:
    """Yield the layers of all units, place by place and kind by kind."""
    for place in range(PLACES):
        rows = slice(1 + place, -2, PLACES)
        for code in table.kinds:
            kind = KIND_NAMES[code]
            layer = BLOCK_KINDS[kind].layers[place]
            if layer is None:
                continue
            mask = table.active & table.of_kind(code)
            if layer.reshaping and table.projected is not None:
                mask = mask & table.projected
            if place == 0 and table.first is not None:
                mask = mask & table.first
            shapes = _unit_layers(table, layer, place, widths, w_bits[rows], a_bits[rows])
            yield UnitLayers(kind=kind, place=place, mask=mask, layers=shapes)


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
