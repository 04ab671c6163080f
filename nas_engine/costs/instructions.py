"""Instructions of networks on a core, layer by layer: the work of their kernels, priced.

How often each loop of a kernel runs follows from shapes and widths (``costs.layer_work``); what
it takes is measured, for a core and a compiler, in ``instructions.yaml``. That file also says how
far the model was off at most: a limit holds with that margin.

``python -m benchmarks.instruction_model`` measures the table and prints the errors.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from importlib.resources import files
from typing import Any

import numpy as np
import numpy.typing as npt

from device_profiles import DeviceProfile
from nas_engine.block_kinds import BLOCK_KINDS, KIND_NAMES, PLACES, BlockLayer
from nas_engine.costs.dense_work import convolution, pointwise, tile_channels
from nas_engine.costs.depthwise_work import depthwise
from nas_engine.costs.layer_work import Layers, Prices, average_pool
from nas_engine.costs.memory import Arena, share
from nas_engine.costs.schedule import bit_costs, live_steps
from nas_engine.costs.sram import head_out_bits, sram_per_layer, unit_widths
from nas_engine.costs.tensors import Width
from nas_engine.errors import InputError
from nas_engine.layers import Bools, Floats, LayerTable
from nas_engine.network.from_architecture import LOGIT_BITS

FORMAT = "nas-search/instructions/1"
"""Version of the table's form."""

TABLE = "instructions.yaml"
"""Name of the table, beside this file."""

FAMILIES: dict[str, Callable[[Layers, Prices], Any]] = {
    "pointwise": pointwise,
    "convolution": convolution,
    "depthwise": depthwise,
    "average_pool": average_pool,
}
"""Instructions by family of kernels."""

GROUPS = {
    "pointwise": "dense",
    "convolution": "dense",
    "depthwise": "depthwise",
    "average_pool": "average_pool",
}
"""Families of kernels whose loops are the same functions of the runtime."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstructionModel:
    """One row of the table: a core and a compiler."""

    core: str
    """One of ``CORES`` of the tool chain."""
    compiler: str
    """Program with major and minor version, ``Toolchain.key``."""
    mean_error: float
    """Mean relative error of the totals of networks that were counted and not fitted."""
    worst_error: float
    """Largest such error."""
    loops: Mapping[str, Mapping[str, float]]
    """Instructions of each loop, by group of ``GROUPS`` and its name there."""

    def count(self, family: str, layers: Layers) -> Floats:
        """Return the instructions of layers.

        Args:
            family: One of ``FAMILIES``.
            layers: Their shapes and widths.

        Returns:
            Instructions, in the shape that the fields of ``layers`` broadcast to.
        """
        return np.asarray(FAMILIES[family](layers, Known(self.loops[GROUPS[family]])))


class Known(dict[str, float]):
    """Prices of loops; one that no measured network ran costs nothing."""

    def __missing__(self, name: str) -> float:
        return 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CycleModel:
    """Cycles of a device as its instructions times an assumed number of cycles for each."""

    instructions: InstructionModel
    """Instructions of its core."""
    each: float
    """Cycles of an instruction."""

    @property
    def margin(self) -> float:
        """Largest relative error of the instructions; a limit holds with as much to spare."""
        return self.instructions.worst_error


def cycle_model(device: DeviceProfile) -> CycleModel | None:
    """Return the cycles of a device, ``None`` where its table of cycles per MAC has to do.

    That is where nobody measured the core, and where the table was measured on the board.
    """
    model = instruction_model(device.core) if device.cycles_are_estimates else None
    pace = device.cycles_per_instruction
    return CycleModel(instructions=model, each=pace.assumed if pace else 1.0) if model else None


def read_table(text: str) -> tuple[InstructionModel, ...]:
    """Return the rows of a table.

    Args:
        text: Content of ``instructions.yaml``.

    Raises:
        InputError: It is no such table.
    """
    import yaml

    try:
        table = yaml.safe_load(text)
        if table["format"] != FORMAT:
            raise ValueError(f"format {table['format']!r}")
        return tuple(InstructionModel(**row) for row in table["rows"])
    except (yaml.YAMLError, ValueError, KeyError, TypeError) as error:
        expected = "expected what python -m benchmarks.instruction_model writes"
        raise InputError(
            f"the table of instructions cannot be read ({error}); {expected}"
        ) from error


@functools.cache
def shipped_table() -> tuple[InstructionModel, ...]:
    """Return the rows of the table that is shipped."""
    return read_table((files("nas_engine.costs") / TABLE).read_text(encoding="utf-8"))


def instruction_model(core: str, compiler: str | None = None) -> InstructionModel | None:
    """Return the model of a core, ``None`` where it was not measured.

    Args:
        core: Its name, such as ``cortex-m7``.
        compiler: ``Toolchain.key``; if not given, the measured one whose code takes most, so that
            a limit holds for all of them.
    """
    rows = [row for row in shipped_table() if row.core == core]
    if compiler is not None:
        return next((row for row in rows if row.compiler == compiler), None)
    return rows[0] if rows else None


def instructions_per_layer(
    model: InstructionModel, table: LayerTable, w_bits: npt.NDArray[Any], a_bits: npt.NDArray[Any]
) -> Floats:
    """Return the instructions of each layer of networks that run by layers.

    Pools count at the layer behind them: that of the head at the classifier, those of shortcuts at
    the last layer of their unit.

    Args:
        model: A core and a compiler.
        table: ``n`` networks.
        w_bits: Weight width of each layer, ``(layers, n)``.
        a_bits: Input width of each layer, ``(layers, n)``.

    Returns:
        Instructions, ``(layers, n)``; zero in rows that a network does not have.
    """
    found = np.zeros((table.frame.n_layers, table.n))
    memory = Arena()
    costs = bit_costs(memory, table)
    live = sram_per_layer(memory, table, a_bits, costs)
    peak = live.max(axis=0)
    room = peak - live
    frame, widths = table.frame, unit_widths(table, a_bits)
    first = widths["a"][0]
    size, stem_size = float(frame.resolution), np.sqrt(table.stem_area)
    found[0] = model.count(
        "convolution" if frame.stem_kernel > 1 else "pointwise",
        _tiled(
            Layers(
                height=size, width=size, out_height=stem_size, out_width=stem_size,
                inputs=float(frame.input_channels), outputs=table.stem_channels,
                kernel=frame.stem_kernel, stride=np.ceil(size / stem_size),
                w_bits=w_bits[0], a_bits=a_bits[0], out_bits=first,
            ),
            room[0],
        ),
    )  # fmt: skip
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
            family = "convolution" if layer.kind == "conv" else layer.kind
            shapes = _those(shapes, mask)
            if family != "depthwise":
                shapes = _tiled(shapes, room[rows][mask])
            found[rows][mask] += model.count(family, shapes)
    if table.pooled is not None:
        counts = model.count("average_pool", _shortcut_pools(table, widths["a"]))
        found[PLACES:-2:PLACES] += np.where(table.pooled, counts, 0.0)
    head = np.sqrt(table.head_area)
    leaving = a_bits[-1] if frame.class_count else head_out_bits(table, 8)
    found[-2] = model.count(
        "pointwise",
        _tiled(
            Layers(
                height=head, width=head, out_height=head, out_width=head,
                inputs=table.stage_channels[-1], outputs=table.head_channels,
                w_bits=w_bits[-2], a_bits=a_bits[-2], out_bits=leaving,
            ),
            room[-2],
        ),
    )  # fmt: skip
    if frame.class_count:
        pool = Layers(
            height=head, width=head, out_height=1.0, out_width=1.0,
            inputs=table.head_channels, outputs=table.head_channels, kernel=head,
            a_bits=a_bits[-1], out_bits=a_bits[-1],
        )  # fmt: skip
        dense = Layers(
            height=1.0, width=1.0, out_height=1.0, out_width=1.0,
            inputs=table.head_channels, outputs=float(frame.class_count),
            w_bits=w_bits[-1], a_bits=a_bits[-1], out_bits=LOGIT_BITS,
        )  # fmt: skip
        behind = live_steps(memory, "classifier", costs, {"a": share(memory, a_bits[-1])})[0]
        found[-1] = model.count("average_pool", pool)
        found[-1] += model.count("pointwise", _tiled(dense, peak - behind * memory.granule))
    return found


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
    if place == PLACES - 1:
        added = widths["a"]
        if table.projected is not None:
            added = np.where(table.projected, widths["next"], added)
        shortcut = np.where(table.shortcut, added, 0)
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


def instructions(
    model: InstructionModel, table: LayerTable, w_bits: npt.NDArray[Any], a_bits: npt.NDArray[Any]
) -> Floats:
    """Return the instructions of each network, ``(n,)``; arguments as above."""
    return np.asarray(instructions_per_layer(model, table, w_bits, a_bits).sum(axis=0))
