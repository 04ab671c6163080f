"""The memory plan: which tensor lies where in the arena, and from which step to which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from nas_engine.costs.plan import PlannedTensor, bytes_in_use
from nas_engine.errors import InputError
from nas_engine.report.plots.layer_axis import (
    LayerAxis,
    axis_margin,
    axis_width,
    draw_layer_axis,
    layer_axis,
)
from nas_engine.report.plots.layer_bytes import draw_budget, finish_kib_axis, percent
from nas_engine.report.plots.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    KIB,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    add_panel,
    new_figure,
    picture_style,
    text_width,
)
from nas_engine.report.plots.tips import tip
from nas_engine.units import format_size

_COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY, "#F0E442", "#999999")
_LISTED = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """A memory plan over its steps."""

    axis: LayerAxis
    """The steps."""
    tensors: tuple[PlannedTensor, ...]
    """All tensors."""
    live: tuple[float, ...]
    """Bytes in use at each step; what tensors share counts once."""
    peak: int
    """Index of the first step at which the most bytes are in use."""
    budget: float | None
    """Bytes available, ``None`` where no budget is known."""

    @property
    def arena_bytes(self) -> float:
        """Size of the arena: the end of the tensor that reaches highest."""
        return max((tensor.offset + tensor.size for tensor in self.tensors), default=0.0)

    @property
    def at_peak(self) -> tuple[PlannedTensor, ...]:
        """Tensors live at the peak step, highest address first."""
        live = [
            tensor for tensor in self.tensors if tensor.first_step <= self.peak <= tensor.last_step
        ]
        return tuple(sorted(live, key=lambda tensor: (-tensor.offset, tensor.name)))


def timeline_data(
    tensors: Sequence[PlannedTensor], steps: Sequence[str], budget: float | None = None
) -> Timeline:
    """Return the timeline of a memory plan.

    Args:
        tensors: Tensors with their places.
        steps: Names of the steps; layers named as ``Architecture.layer_names`` does are grouped.
        budget: Bytes available.

    Raises:
        InputError: No steps, a tensor outside the steps, or a negative size or offset.
    """
    for tensor in tensors:
        if not 0 <= tensor.first_step <= tensor.last_step < len(steps):
            life = f"from step {tensor.first_step} to {tensor.last_step}"
            raise InputError(
                f"tensor {tensor.name} lives {life}; expected steps 0 to {len(steps) - 1} in order"
            )
        if tensor.offset < 0 or tensor.size < 0:
            raise InputError(
                f"tensor {tensor.name} has {tensor.size:g} B at offset {tensor.offset:g}; expected "
                "neither to be negative"
            )
    axis = layer_axis(steps)
    live = tuple(
        bytes_in_use([t for t in tensors if t.first_step <= step <= t.last_step])
        for step in range(len(steps))
    )
    return Timeline(
        axis=axis, tensors=tuple(tensors), live=live, peak=live.index(max(live)), budget=budget
    )


def _last_alone(tensor: PlannedTensor, tensors: Sequence[PlannedTensor]) -> int:
    """Return the last step before another tensor is written over this one."""
    over = [t.first_step - 1 for t in tensors if t.in_place_of == tensor.name]
    return max(tensor.first_step, min([tensor.last_step, *over]))


def _write_name(
    axes: Axes, tensor: PlannedTensor, last_step: int, cell: float, kib_inch: float
) -> None:
    """Write a tensor's name into its rectangle, up to a last step, where there is room.

    ``cell`` and ``kib_inch``: inches per step and per KiB.
    """
    wide, high = (last_step - tensor.first_step + 1) * cell, tensor.size / KIB * kib_inch
    place = ((tensor.first_step + last_step) / 2, (tensor.offset + tensor.size / 2) / KIB)
    for size in (7.0, 5.5):
        length, line = text_width(tensor.name, size), 1.25 * size / 72
        for rotation, along, across in ((0, wide, high), (90, high, wide)):
            if length <= along - 0.04 and line <= across:
                axes.text(
                    *place,
                    tensor.name,
                    fontsize=size,
                    rotation=rotation,
                    ha="center",
                    va="center",
                    color=INK,
                    zorder=6,
                    clip_on=True,
                )
                return


@picture_style()
def draw_timeline(record: Timeline) -> Figure:
    """Return the picture: a rectangle per tensor over steps and addresses.

    The peak step is framed and its tensors are listed at the right.
    """
    axis, count = record.axis, len(record.axis.names)
    width, margin, left, height, side = axis_width(axis), axis_margin(axis), 0.8, 3.9, 2.9
    step = axis.names[record.peak]
    used = f", {percent(record.arena_bytes, record.budget)} of the budget" if record.budget else ""
    title = f"Memory plan: arena of {format_size(record.arena_bytes)}{used}"
    subtitle = f"most bytes in use at step {step}: {format_size(record.live[record.peak])}"
    subtitle += (
        ";  a rectangle is a tensor at its place in the arena, from its first to its last step"
    )
    figure = new_figure(left + width + side + 0.2, margin + height + 1.15, title, subtitle)
    axes = add_panel(figure, left, margin, width, height)
    finish_kib_axis(axes, max(record.arena_bytes, record.budget or 0), 1.12)
    kinds = list(dict.fromkeys(tensor.kind for tensor in record.tensors))
    colours = {kind: _COLOURS[i % len(_COLOURS)] for i, kind in enumerate(kinds)}
    kib_inch = height / axes.get_ylim()[1]
    for tensor in record.tensors:
        corner = (tensor.first_step - 0.5, tensor.offset / KIB)
        size = (tensor.last_step - tensor.first_step + 1, tensor.size / KIB)
        area = Rectangle(corner, *size, facecolor=colours[tensor.kind], alpha=0.55, lw=0, zorder=2)
        tip(axes.add_patch(area), f"{tensor.name}: {format_size(tensor.size)} at {tensor.offset:,}")
        axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor="white", lw=1.0, zorder=2.5))
        last = _last_alone(tensor, record.tensors)
        _write_name(axes, tensor, last, width / count, kib_inch)
    if record.budget is not None:
        draw_budget(axes, record.budget)
    axes.add_patch(
        Rectangle(
            (record.peak - 0.5, 0),
            1,
            record.arena_bytes / KIB,
            fill=False,
            edgecolor=VERMILLION,
            lw=2,
            zorder=5,
        )
    )
    axes.set_ylabel("address in the arena [KiB]")
    draw_layer_axis(axes, axis, "steps from input to output")
    if len(kinds) > 1:
        handles = [Patch(facecolor=colours[kind], alpha=0.55, label=kind) for kind in kinds]
        axes.legend(
            handles=handles,
            loc="lower right",
            bbox_to_anchor=(1.0, 1.0),
            ncols=len(kinds),
            borderaxespad=0.1,
        )
    _list_peak(figure, record, (left + width + 0.25, margin + height))
    return figure


def _list_peak(figure: Figure, record: Timeline, corner: tuple[float, float]) -> None:
    """List what is live at the peak step; ``corner``: top left in inches."""
    total_width, total_height = figure.get_size_inches()
    x, y = corner[0] / total_width, corner[1] / total_height
    line = 0.3 / total_height
    figure.text(
        x,
        y,
        f"live at {record.axis.names[record.peak]}",
        fontsize=9,
        fontweight="bold",
        color=VERMILLION,
        va="top",
    )
    rows = [
        (tensor.name, f"{format_size(tensor.size)} at address {tensor.offset:,.0f}")
        for tensor in record.at_peak
    ]
    if len(rows) > _LISTED:
        rows = [*rows[: _LISTED - 1], (f"... and {len(rows) - _LISTED + 1} more", "")]
    for i, (name, size) in enumerate(rows):
        figure.text(x, y - (0.8 + i) * line, name, fontsize=8, va="top")
        figure.text(
            x, y - (0.8 + i) * line - 0.125 / total_height, size, fontsize=7.5, va="top", color=GREY
        )
