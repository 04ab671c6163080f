"""Bytes per layer against a budget: SRAM, where the peak counts, and Flash, where the sum does."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from nas_engine.errors import InputError
from nas_engine.names import Memory
from nas_engine.report.network import NetworkReport
from nas_engine.report.plots.layer_axis import (
    LayerAxis,
    axis_margin,
    axis_width,
    draw_layer_axis,
    layer_axis,
)
from nas_engine.report.plots.style import (
    BLUE,
    INK,
    KIB,
    ORANGE,
    VERMILLION,
    add_panel,
    new_figure,
    picture_style,
)
from nas_engine.report.plots.tips import tip
from nas_engine.units import format_size

MEMORY_MODEL_NOTES: dict[str, str] = {
    Memory.ARENA: (
        "memory model 'arena': the static arena of the layer-by-layer schedule, scratch and "
        "padding included"
    ),
    Memory.PAPER: (
        "memory model 'paper': the convention of the QE-Score authors, without scratch and padding"
    ),
}
"""Tensors that the two memory models count, for subtitles."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SramBars:
    """Bytes live at each layer."""

    axis: LayerAxis
    """The layers."""
    memory_model: str
    """Memory model: the tensors counted."""
    sizes: tuple[float, ...]
    """Bytes live at each layer."""
    peak: int
    """Index of the first layer that needs the most."""
    ties: int
    """How many later layers need as much."""
    budget: float | None
    """Bytes available, ``None`` where no budget is known."""

    @property
    def over_budget(self) -> tuple[int, ...]:
        """Indices of the layers that do not fit."""
        return tuple(
            i for i, size in enumerate(self.sizes) if self.budget is not None and size > self.budget
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FlashBars:
    """Flash bytes of each layer."""

    axis: LayerAxis
    """The layers."""
    memory_model: str
    """Memory model: the tensors counted."""
    sizes: tuple[float, ...]
    """Bytes of each layer."""
    cumulative: tuple[float, ...]
    """Bytes of each layer and all before it."""
    largest: int
    """Index of the first of the largest layers."""
    budget: float | None
    """Bytes available, ``None`` where no budget is known."""


def _check_budget(what: str, budget: float | None) -> None:
    if budget is not None and not budget > 0:
        raise InputError(
            f"{what} budget is {budget!r}; expected a positive number of bytes, or None where "
            "there is none"
        )


def sram_data(report: NetworkReport, budget: float | None = None) -> SramBars:
    """Return SRAM per layer.

    Args:
        report: The network.
        budget: Bytes available for activations.

    Raises:
        InputError: A budget that is not positive.
    """
    _check_budget("SRAM", budget)
    sizes = report.sram_bytes
    peak = sizes.index(max(sizes))
    return SramBars(
        axis=layer_axis(report.layer_names),
        memory_model=report.memory_model,
        sizes=sizes,
        peak=peak,
        ties=sizes.count(sizes[peak]) - 1,
        budget=budget,
    )


def flash_data(report: NetworkReport, budget: float | None = None) -> FlashBars:
    """Return Flash per layer; ``budget``: bytes available for weights and parameters.

    Other arguments and errors as in ``sram_data``.
    """
    _check_budget("Flash", budget)
    sizes = report.flash_bytes
    return FlashBars(
        axis=layer_axis(report.layer_names),
        memory_model=report.memory_model,
        sizes=sizes,
        cumulative=tuple(accumulate(sizes)),
        largest=sizes.index(max(sizes)),
        budget=budget,
    )


def draw_budget(axes: Axes, budget: float, at_right: bool = True) -> None:
    """Draw a budget line across axes in KiB, with its exact bytes above the line at one end."""
    axes.axhline(budget / KIB, color=INK, lw=1.2, ls=(0, (5, 2)), zorder=3)
    axes.annotate(
        f"budget {format_size(budget)}",
        (1.0 if at_right else 0.0, budget / KIB),
        xycoords=axes.get_yaxis_transform(),
        xytext=(-3 if at_right else 3, 3),
        textcoords="offset points",
        ha="right" if at_right else "left",
        va="bottom",
        fontsize=8,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1},
        zorder=4,
    )


def finish_kib_axis(axes: Axes, top_bytes: float, room: float = 1.22) -> None:
    """Scale the y axis from zero to ``room`` times ``top_bytes``, in KiB, with a light grid."""
    axes.set_ylim(0, max(top_bytes, 1) / KIB * room)
    axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.grid(axis="y", color="#EEEEEE", lw=0.8)
    axes.set_axisbelow(True)


def percent(used: float, budget: float) -> str:
    """Return ``"97.3 %"``; what is over the budget never reads as 100.0."""
    share = f"{100 * used / budget:,.1f}"
    return f"{share} %" if used <= budget or share != "100.0" else "over 100 %"


def _call_out(axes: Axes, index: int, count: int, size: float, text: str, colour: str) -> None:
    """Write into the free strip at the top of the axes, with a line down to the top of a bar."""
    right = index > 0.55 * (count - 1)
    top = axes.get_ylim()[1]
    axes.plot([index, index], [size / KIB, top], color=colour, lw=1.2, zorder=3.5)
    axes.annotate(
        text,
        (index, top),
        xytext=(-4 if right else 4, 0),
        textcoords="offset points",
        ha="right" if right else "left",
        va="top",
        fontsize=8.5,
        color=colour,
        fontweight="bold",
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 0.5},
        zorder=5,
    )


@picture_style()
def draw_sram(record: SramBars) -> Figure:
    """Return the picture of SRAM: a bar per layer in KiB.

    The peak is coloured and named, layers over the budget are hatched, the budget is a line.
    """
    axis, count = record.axis, len(record.axis.names)
    width, margin, left, height = axis_width(axis), axis_margin(axis), 0.8, 3.0
    note = MEMORY_MODEL_NOTES.get(record.memory_model, f"memory model '{record.memory_model}'")
    figure = new_figure(
        width + left + 0.25, margin + height + 0.85, "SRAM live at each layer", note
    )
    axes = add_panel(figure, left, margin, width, height)
    over = set(record.over_budget)
    peak_size = record.sizes[record.peak]
    for i, size in enumerate(record.sizes):
        colour = VERMILLION if size == peak_size else BLUE
        bar = axes.bar(
            i,
            size / KIB,
            width=0.8,
            color=colour,
            hatch="////" if i in over else None,
            edgecolor="white",
            lw=0,
            zorder=2,
        )
        tip(bar[0], f"{axis.names[i]}: {format_size(size)}")
    more = f" and {record.ties} more" if record.ties else ""
    used = f", {percent(peak_size, record.budget)} of the budget" if record.budget else ""
    finish_kib_axis(axes, max(peak_size, record.budget or 0), height / (height - 0.74))
    if record.budget is not None:
        draw_budget(axes, record.budget, at_right=record.peak < count / 2)
    text = f"peak at {axis.names[record.peak]}{more}\n{format_size(peak_size)}{used}"
    if over:
        text += f"\n{len(over)} of {count} layers do not fit (hatched)"
    _call_out(axes, record.peak, count, peak_size, text, VERMILLION)
    axes.set_ylabel("SRAM [KiB]")
    draw_layer_axis(axes, axis)
    return figure


@picture_style()
def draw_flash(record: FlashBars) -> Figure:
    """Return the picture of Flash: bytes of each layer below, running sum and budget above."""
    axis, count = record.axis, len(record.axis.names)
    width, margin, left, heights, gap = axis_width(axis), axis_margin(axis), 0.8, (2.0, 1.7), 0.25
    total = record.cumulative[-1]
    used = f", {percent(total, record.budget)} of the budget" if record.budget else ""
    note = f"{format_size(total)}{used};  memory model '{record.memory_model}'"
    figure = new_figure(
        width + left + 0.25,
        margin + sum(heights) + gap + 0.85,
        "Flash of weights and parameters",
        note,
    )
    axes = add_panel(figure, left, margin, width, heights[0])
    upper = add_panel(figure, left, margin + heights[0] + gap, width, heights[1])
    colours = [ORANGE if i == record.largest else BLUE for i in range(count)]
    bars = axes.bar(
        range(count), [size / KIB for size in record.sizes], width=0.8, color=colours, zorder=2
    )
    for bar, name, size in zip(bars, axis.names, record.sizes, strict=True):
        tip(bar, f"{name}: {format_size(size)}")
    finish_kib_axis(axes, record.sizes[record.largest], heights[0] / (heights[0] - 0.36))
    share = f", {100 * record.sizes[record.largest] / total:.1f} % of all" if total else ""
    most = record.sizes[record.largest]
    _call_out(
        axes,
        record.largest,
        count,
        most,
        f"largest: {axis.names[record.largest]}\n{format_size(most)}{share}",
        INK,
    )
    axes.set_ylabel("per layer [KiB]")
    draw_layer_axis(axes, axis)

    colour = VERMILLION if record.budget is not None and total > record.budget else BLUE
    edges = [i - 0.5 for i in range(count + 1)]
    upper.stairs(
        [size / KIB for size in record.cumulative], edges, color=colour, lw=2, baseline=None
    )
    upper.stairs(
        [size / KIB for size in record.cumulative], edges, color=colour, alpha=0.15, fill=True
    )
    finish_kib_axis(upper, max(total, record.budget or 0))
    if record.budget is not None:
        draw_budget(upper, record.budget, at_right=False)
    upper.set(xlim=(-0.5, count - 0.5), xticks=[])
    upper.set_ylabel("running sum [KiB]")
    return figure
