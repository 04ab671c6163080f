"""Records of a network in C: each step with every field of its ``nas_layer`` (nas_runtime.h).

Which kernel runs a step, where its tensors lie (the memory plan) and which flags its record has.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nas_engine.costs.memory import MOST_DOUBLINGS, tile_bytes
from nas_engine.costs.plan import MemoryPlan
from nas_engine.exporters.exporter import ExportError
from nas_engine.exporters.inplace import Placed, row_order
from nas_engine.exporters.packing import PackedLayer, addition_flags, pack_layer
from nas_engine.exporters.row_stages import ROWS_OF_POOL, RowStage
from nas_engine.integer.model import IntegerConvolution, IntegerModel
from nas_engine.network.graph import Node
from nas_engine.network.kernels import Kernel, kernel_of
from nas_engine.quantization.record import QuantisedTensor

TARGET = "C"
"""Name of the format in messages."""

LARGEST = {"uint8": 2**8 - 1, "uint16": 2**16 - 1, "uint32": 2**32 - 1}
"""Largest value of each type of a record's fields."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CStep:
    """One step with everything the C code says about it."""

    number: int
    """Position in the order of execution."""
    step: Node
    """The step."""
    source: Placed
    """Its input."""
    target: Placed
    """Its output."""
    shortcut: QuantisedTensor | None
    """Tensor added to its output, at the same place as the output; ``None`` without."""
    scratch: int
    """First byte of its scratch; 0 without."""
    packed: PackedLayer | None
    """Weights and constants; ``None`` for a pool."""
    kernel: Kernel
    """C function that runs it; for a pool by rows, the one that runs its head too."""
    flags: tuple[str, ...]
    """Names of the record's flags."""
    by_rows: bool
    """True if it runs row by row, with the other layers of its unit."""

    @property
    def label(self) -> str:
        """Number and name as a part of C identifiers and section names."""
        return f"{self.number:02d}_{re.sub('[^0-9A-Za-z_]', '_', self.step.name)}"

    @property
    def kind(self) -> str:
        """Kind of the step, as the integer model calls it."""
        return self.step.kind if isinstance(self.step, IntegerConvolution) else "average_pool"

    @property
    def numbers(self) -> tuple[tuple[int, ...], ...]:
        """Fields of the record behind its pointers and before its flags, by lines."""
        source, target, shortcut, window = (
            self.source.tensor,
            self.target.tensor,
            self.shortcut,
            self.step,
        )
        top, _, left, _ = window.padding
        zeros = (_stored_zero(source), _stored_zero(target))
        return (
            (self.source.offset, self.target.offset, self.scratch),
            (*source.shape, *target.shape),
            (window.kernel_height, window.stride, top, left),
            (self.weight_bits, source.bits, target.bits, shortcut.bits if shortcut else 0),
            (*zeros, _stored_zero(shortcut) if shortcut else 0),
        )

    @property
    def weight_bits(self) -> int:
        """Width of the weights; 0 for a pool."""
        return self.step.weight_bits if isinstance(self.step, IntegerConvolution) else 0


def c_steps(model: IntegerModel, plan: MemoryPlan, stages: Sequence[RowStage] = ()) -> list[CStep]:
    """Return all steps of a network as its C has them.

    Args:
        model: The network.
        plan: Its memory.
        stages: Units that run by rows.

    Raises:
        ExportError: A plan that is not the network's, or that the kernels cannot work with.
    """
    offsets = places(plan, stages)
    if missing := [tensor.name for tensor in model.tensors if tensor.name not in offsets]:
        raise ExportError(
            TARGET,
            f"the memory plan has no place for {missing[0]!r}; plan the memory of this network",
        )
    if (
        plan.arena_bytes > LARGEST["uint32"]
        or plan.arena_bytes % 4
        or any(offset % 4 for offset in offsets.values())
    ):
        raise ExportError(
            TARGET,
            "the memory plan is not in words of 4 bytes within 4 GiB; plan the memory again",
        )
    over = {tensor.name: tensor.in_place_of for tensor in plan.tensors}
    by_rows = {node.name: stage.scratch for stage in stages for node in stage.unit.nodes}
    return [
        _step(
            model,
            number,
            step,
            plan,
            offsets,
            scratch=by_rows.get(step.name, f"{step.name} scratch"),
            in_place=step.name not in by_rows and over[step.output] == step.input,
            by_rows=step.name in by_rows,
            moves=bool(stages),
        )
        for number, step in enumerate(model.nodes)
    ]


def places(plan: MemoryPlan, stages: Sequence[RowStage]) -> dict[str, int]:
    """Return the first byte of every tensor, of its rows where it is not whole, and of scratch."""
    found = {tensor.name: tensor.offset for tensor in plan.tensors}
    return found | {name: found[place] for stage in stages for name, place in stage.within}


def _step(
    model: IntegerModel,
    number: int,
    step: Node,
    plan: MemoryPlan,
    offsets: Mapping[str, int],
    *,
    scratch: str,
    in_place: bool,
    by_rows: bool,
    moves: bool,
) -> CStep:
    source = Placed(tensor=model.tensor(step.input), offset=offsets[step.input])
    target = Placed(tensor=model.tensor(step.output), offset=offsets[step.output])
    _check_ranges(step, source.tensor, target.tensor)
    kernel = kernel_of(step, source.tensor, target.tensor, in_place=in_place)
    if by_rows and step.kind == "average_pool":
        kernel = Kernel(name=ROWS_OF_POOL)
    packed, shortcut, flags = None, None, []
    if isinstance(step, IntegerConvolution):
        packed = pack_layer(step, source.tensor, target.tensor, in_place=in_place)
        if packed.fast_rounding:
            flags.append("NAS_FAST_ROUNDING")
            if kernel.tiled:
                flags += _tile_flags(step, source.tensor.channels, plan, scratch)
        if step.addition is not None and step.shortcut is not None:
            shortcut = model.tensor(step.shortcut)
            if not by_rows:
                before = Placed(tensor=shortcut, offset=offsets[shortcut.name])
                flags += _check_shortcut(step, before, target, moves=moves)
            flags += addition_flags(step.addition, shortcut, target.tensor)
    if moves and step.kind == "average_pool" and source.overlaps(target) and not by_rows:
        flags += ["NAS_AT_END"] * (source.offset != target.offset and source.end == target.end)
    if not by_rows and source.overlaps(target) and "NAS_AT_END" not in flags:
        order = _order(step, source, target, in_place)
        flags += ["NAS_BACKWARD"] * (order == "backward")
    return CStep(
        number=number,
        step=step,
        source=source,
        target=target,
        shortcut=shortcut,
        scratch=offsets.get(scratch, 0),
        packed=packed,
        kernel=kernel,
        flags=tuple(flags),
        by_rows=by_rows,
    )


def _tile_flags(step: IntegerConvolution, channels: int, plan: MemoryPlan, name: str) -> list[str]:
    """Return how often a dense layer's tile is doubled in what the plan leaves free at its step."""
    taps, outputs = step.taps * channels, len(step.weights)
    windows = step.taps > 1
    is_unpacked = any(tensor.name == f"{step.name} weights" for tensor in plan.tensors)
    in_flash = is_unpacked or (step.weight_bits == 8 and taps % 4 == 0 and outputs % 2 == 0)
    sizes = [
        tile_bytes(taps, outputs, doublings, windows=windows, in_flash=in_flash)
        for doublings in range(MOST_DOUBLINGS + 1)
    ]
    planned = next((tensor.size for tensor in plan.tensors if tensor.name == name), 0)
    if planned < sizes[0]:
        return []
    held = planned - sizes[0]  # a row of a layer that works in place lies behind the tile
    fits = [size for size in sizes if size + held <= plan.room(name)]
    doublings = sizes.index(fits[-1])  # the fewest of equal ones
    names = ("NAS_TWICE_THE_TILE", "NAS_FOUR_TIMES_THE_TILE")
    return [name for bit, name in enumerate(names) if doublings >> bit & 1]


def _order(step: Node, source: Placed, target: Placed, in_place: bool) -> str:
    """Return the order of rows in which a step can write over its input."""
    order: str | None = None
    if not isinstance(step, IntegerConvolution):
        one_pixel = target.tensor.height * target.tensor.width == 1
        if source.offset == target.offset and (
            step.kernel_height <= step.stride or one_pixel
        ):  # nas_average_pool.c
            order = "forward"
    elif step.kind == "depthwise":
        order = row_order(step, source, target)
    elif in_place and step.kernel_height == step.kernel_width == 1 and step.addition is None:
        in_bytes = not (source.row_bits % 8 or target.row_bits % 8)  # nas_pointwise_rows.c
        order = row_order(step, source, target) if in_bytes else "forward"
    else:
        raise ExportError(
            TARGET,
            f"layer {step.name!r} would overwrite its input, which only depth-wise layers, pools "
            "and 1x1 convolutions planned in place can; plan again",
        )
    if order is None:
        places = f"bytes {source.offset}..{source.end} to {target.offset}..{target.end}"
        raise ExportError(
            TARGET,
            f"layer {step.name!r} cannot work in place from {places}: it would overwrite unread "
            "values; plan again",
        )
    return order


def _check_ranges(step: Node, source: QuantisedTensor, target: QuantisedTensor) -> None:
    """Refuse what does not fit into the fields of a layer record."""
    for kind, numbers in (
        (
            "uint8",
            {"kernel": step.kernel_height, "stride": step.stride, "padding": max(step.padding)},
        ),
        (
            "uint16",
            {"size of the input": max(source.shape), "size of the output": max(target.shape)},
        ),
    ):
        for what, number in numbers.items():
            if number > LARGEST[kind]:
                limit = (
                    f"the layer record holds up to {LARGEST[kind]:,}; give the network another "
                    "shape"
                )
                raise ExportError(TARGET, f"layer {step.name!r}: the {what} is {number:,}; {limit}")


def _check_shortcut(
    step: IntegerConvolution, shortcut: Placed, target: Placed, *, moves: bool
) -> list[str]:
    """Return the flags of a sum's place; refuse what does not lie where the sum goes."""
    if step.kind != "conv":
        raise ExportError(
            TARGET, f"layer {step.name!r} adds a shortcut; a depth-wise convolution cannot"
        )
    if target.offset == shortcut.offset:
        return []
    if moves and target.end == shortcut.end:
        return ["NAS_AT_END"]
    places = (
        f"{step.output!r} at byte {target.offset}, {shortcut.tensor.name!r} at byte "
        f"{shortcut.offset}"
    )
    raise ExportError(
        TARGET,
        f"layer {step.name!r} adds a shortcut in place, but the memory plan has {places}; plan "
        "again",
    )


def _stored_zero(tensor: QuantisedTensor) -> int:
    """Return the stored value of the real 0."""
    return tensor.zero_point - tensor.low
