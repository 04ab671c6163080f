"""Widths that several methods chose for one network, with the accuracy without training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nas_engine.errors import InputError, shortened
from nas_engine.report.allocations import AllocationReport, AllocationSetting
from nas_engine.report.plots.bit_map import HIGHEST, LOWEST
from nas_engine.report.plots.layer_axis import (
    LayerAxis,
    axis_margin,
    axis_width,
    draw_layer_axis,
    layer_axis,
)
from nas_engine.report.plots.style import (
    BLUE,
    GREY,
    INK,
    VERMILLION,
    add_panel,
    new_figure,
    picture_style,
    text_width,
)

_ROW, _BARS, _HEAD = 0.27, 2.3, 0.34
"""Inches: height of a method, width of the bars, height of the title of a panel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AllocationMaps:
    """Widths of all layers by several methods."""

    axis: LayerAxis
    """The layers."""
    methods: tuple[str, ...]
    """Names, from top to bottom."""
    w_bits: tuple[tuple[int, ...], ...]
    """Weight bits of each layer, one row per method."""
    a_bits: tuple[tuple[int, ...], ...]
    """Bits of the activations that enter each layer, one row per method."""
    accuracies: tuple[float, ...]
    """Accuracy of each method without training, percent."""
    floating: float
    """Accuracy of the float network on the same images, percent."""
    images: int
    """How many images these are."""
    warning: str
    """Warning, empty for none."""


def allocation_maps(
    reports: Sequence[AllocationReport], setting: AllocationSetting
) -> AllocationMaps:
    """Return what the picture of several methods shows.

    Args:
        reports: One per method, of one network.
        setting: What they have in common.

    Raises:
        InputError: No methods, or networks with other layers.
    """
    if not reports or any(report.layers != reports[0].layers for report in reports):
        raise InputError(
            f"{len(reports)} allocations cannot be drawn side by side; expected at least one, all "
            "of the same layers"
        )
    return AllocationMaps(
        axis=layer_axis(reports[0].layers),
        methods=tuple(report.method for report in reports),
        w_bits=tuple(report.w_bits for report in reports),
        a_bits=tuple(report.a_bits for report in reports),
        accuracies=tuple(report.judged.accuracy for report in reports),
        floating=setting.floating.accuracy,
        images=setting.judged_images,
        warning="; ".join(setting.warnings),
    )


@picture_style()
def draw_allocations(record: AllocationMaps) -> Figure:
    """Return the picture of widths and accuracies.

    A coloured cell per layer and method, weights above and activations below, and a bar per
    accuracy.
    """
    axis, rows = record.axis, len(record.methods)
    width, margin, height = axis_width(axis), axis_margin(axis), rows * _ROW
    left = 0.3 + max(text_width(method, 8) for method in record.methods)
    beside = left + width + 0.3
    subtitle = (
        f"{rows} methods, {len(axis.names)} layers;  accuracy on {record.images:,} images before "
        "any training at these widths"
    )
    if record.warning:
        room = int((beside + _BARS) / text_width("x", 9))
        subtitle += f"\n{shortened(record.warning, room)}"
    top = 0.75 + (0.18 if record.warning else 0.0)
    lower, upper = margin, margin + height + _HEAD
    total = upper + height + _HEAD + top
    figure = new_figure(beside + _BARS + 0.35, total, "Bits per layer by method", subtitle)
    for bottom, bits, name in (
        (upper, record.w_bits, "weights"),
        (lower, record.a_bits, "activations (input of the layer)"),
    ):
        grid = add_panel(figure, left, bottom, width, height)
        grid.set(
            xlim=(-0.5, len(axis.names) - 0.5),
            ylim=(rows, 0),
            xticks=[],
            yticks=[row + 0.5 for row in range(rows)],
        )
        grid.set_yticklabels(record.methods, color=INK)
        grid.tick_params(length=0)
        for spine in grid.spines.values():
            spine.set_visible(False)
        figure.text(
            left / (beside + _BARS + 0.35),
            (bottom + height + 0.08) / total,
            name,
            fontsize=9,
            fontweight="bold",
            va="bottom",
        )
        _draw_cells(grid, bits)
        if bits is record.a_bits:
            draw_layer_axis(grid, axis, separators=False)
        for span in axis.stages[1:] if axis.residuals else ():
            grid.axvline(span.first - 0.5, color="white", lw=2.4)
    _draw_bars(figure, record, (beside, upper, height))
    _draw_legend(figure, (beside, lower - 0.55))
    return figure


def _draw_cells(grid: Axes, bits: Sequence[Sequence[int]]) -> None:
    """Draw one coloured cell per width, centred on whole numbers; rows go downwards from 0."""
    edges = [place - 0.5 for place in range(len(bits[0]) + 1)]
    grid.pcolormesh(
        edges,
        range(len(bits) + 1),
        bits,
        cmap="viridis",
        vmin=LOWEST,
        vmax=HIGHEST,
        edgecolors="white",
        lw=0.8,
    )
    for row, widths in enumerate(bits):
        for place, bit in enumerate(widths):
            ink = "white" if bit - LOWEST < 0.5 * (HIGHEST - LOWEST) else "black"
            grid.text(
                place,
                row + 0.52,
                str(bit),
                ha="center",
                va="center",
                fontsize=8,
                fontweight="bold",
                color=ink,
            )


def _draw_bars(figure: Figure, record: AllocationMaps, place: tuple[float, float, float]) -> None:
    """Draw accuracies to the right of the upper grid; ``place``: left, bottom, height in inches."""
    left, bottom, height = place
    axes = add_panel(figure, left, bottom, _BARS, height)
    axes.set(xlim=(0, 100), ylim=(len(record.methods), 0), yticks=[], xticks=[0, 25, 50, 75, 100])
    best = max(record.accuracies)
    for row, accuracy in enumerate(record.accuracies):
        axes.barh(
            row + 0.5,
            accuracy,
            height=0.72,
            color=BLUE,
            alpha=1.0 if accuracy == best else 0.55,
            zorder=2,
        )
        inside = accuracy > 30
        axes.annotate(
            f"{accuracy:.1f}",
            (accuracy, row + 0.53),
            xytext=(-3 if inside else 3, 0),
            textcoords="offset points",
            ha="right" if inside else "left",
            va="center",
            fontsize=8,
            fontweight="bold" if accuracy == best else "normal",
            color="white" if inside and accuracy == best else INK,
            zorder=4,
        )
    axes.axvline(record.floating, color=VERMILLION, lw=1.4, ls=(0, (4, 2)), zorder=3)
    head = axes.get_xaxis_transform()
    axes.annotate(
        f"float {record.floating:.1f}",
        (min(record.floating, 100.0), 1.0),
        xycoords=head,
        xytext=(0, 4),
        textcoords="offset points",
        ha="right" if record.floating > 50 else "left",
        va="bottom",
        fontsize=8,
        color=VERMILLION,
    )
    axes.set_xlabel("accuracy [%]", fontsize=8, labelpad=1)
    axes.spines["left"].set_color(GREY)


def _draw_legend(figure: Figure, place: tuple[float, float]) -> None:
    """Draw one cell per width below the bars; ``place``: left and bottom in inches."""
    widths = range(LOWEST, HIGHEST + 1)
    axes = add_panel(figure, place[0], place[1], 0.27 * len(widths), 0.27)
    _draw_cells(axes, [widths])
    axes.set(xlim=(-0.5, len(widths) - 0.5), ylim=(1, 0), xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_xlabel("bits", fontsize=8, labelpad=2)
