"""Signal-to-quantisation-noise ratio by layer: where a network loses accuracy to its integers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from nas_engine.report.layer_errors import LayerErrors
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
    PALE,
    VERMILLION,
    add_panel,
    new_figure,
    picture_style,
)
from nas_engine.report.plots.tips import tip

WORST = 3
"""Number of marked layers (chosen here)."""

_EXACT = "exact"


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerErrorBars:
    """Ratios of all layers."""

    axis: LayerAxis
    """The layers."""
    w_bits: tuple[int, ...]
    """Weight bits of each layer."""
    a_bits: tuple[int, ...]
    """Bits of the activations that enter each layer."""
    out_bits: tuple[int, ...]
    """Bits of the activations that leave it."""
    own_db: tuple[float, ...]
    """Ratio of each layer alone, dB; infinite where the integers are exact."""
    total_db: tuple[float, ...]
    """Ratio of the network up to each layer, dB."""
    worst: tuple[int, ...]
    """Layers with the lowest ratios of their own, the lowest first."""
    images: int
    """Images measured on."""
    split: str
    """The split they are of."""


def layer_error_data(errors: LayerErrors, worst: int = WORST) -> LayerErrorBars:
    """Return the ratios of a network, ``worst`` layers marked."""
    layers = errors.layers
    return LayerErrorBars(
        axis=layer_axis([layer.name for layer in layers]),
        w_bits=tuple(layer.w_bits for layer in layers),
        a_bits=tuple(layer.a_bits for layer in layers),
        out_bits=tuple(layer.out_bits for layer in layers),
        own_db=tuple(layer.own_sqnr_db for layer in layers),
        total_db=tuple(layer.sqnr_db for layer in layers),
        worst=errors.worst(worst),
        images=errors.images,
        split=errors.split,
    )


def _limits(record: LayerErrorBars) -> tuple[float, float]:
    """Return the lowest and highest dB of the axis; what is not finite is drawn up to them."""
    finite = [value for value in (*record.own_db, *record.total_db) if math.isfinite(value)]
    top = max([10.0, *finite])
    low = min([0.0, *finite])
    return (low * 1.15 if low < 0 else 0.0), top * 1.18


@picture_style()
def draw_layer_error(record: LayerErrorBars) -> Figure:
    """Return the picture of the ratios.

    A bar per layer for its own ratio, the worst coloured, a line for the network so far, widths as
    cells below.
    """
    axis, count = record.axis, len(record.axis.names)
    width, margin = axis_width(axis), axis_margin(axis)
    left, cells, height, gap = 1.15, 0.84, 2.9, 0.12
    worst = [f"{axis.names[i]} ({record.own_db[i]:.1f} dB)" for i in record.worst]
    note = (
        f"signal to quantisation noise on {record.images:,} {record.split} images, against the "
        "same network without rounding"
    )
    note += "; 6 dB are about one bit"
    if worst:
        note += f"\nmost error of their own: {', '.join(worst)}"
    figure = new_figure(
        width + left + 0.25,
        margin + cells + gap + height + 1.2,
        "Quantisation error per layer",
        note,
    )

    bars = add_panel(figure, left, margin + cells + gap, width, height)
    low, top = _limits(record)
    for i, value in enumerate(record.own_db):
        if value < math.inf:
            bar = bars.bar(
                i,
                max(value, low),
                width=0.8,
                color=VERMILLION if i in record.worst else BLUE,
                zorder=2,
            )
            tip(
                bar[0], f"{axis.names[i]}: {value:.1f} dB alone, {record.total_db[i]:.1f} dB so far"
            )
        else:
            bars.bar(i, top, width=0.8, color="white", edgecolor=PALE, hatch="////", lw=0, zorder=2)
            bars.text(
                i,
                0.5 * top,
                _EXACT,
                rotation=90,
                ha="center",
                va="center",
                fontsize=7,
                color=INK,
                zorder=5,
                backgroundcolor="white",
            )
    shown = [min(max(value, low), top) for value in record.total_db]
    line = bars.plot(
        range(count), shown, color=INK, lw=1.3, marker="o", ms=3.2, mec="white", mew=0.5, zorder=4
    )
    bars.set(xlim=(-0.5, count - 0.5), ylim=(low, top), xticks=[])
    bars.yaxis.set_major_locator(MaxNLocator(7))
    bars.set_ylabel("SQNR [dB]")
    bars.grid(axis="y", color="#EEEEEE", lw=0.8)
    bars.set_axisbelow(True)
    if low < 0:
        bars.axhline(0, color=GREY, lw=0.8, zorder=3)
    handles = [
        (Patch(color=BLUE), "layer alone, fed with the integers before it"),
        (line[0], "whole network up to the layer"),
    ]
    bars.legend(
        *zip(*handles, strict=True),
        loc="lower right",
        bbox_to_anchor=(1.0, 1.0),
        ncols=2,
        borderaxespad=0.1,
    )

    grid = add_panel(figure, left, margin, width, cells)
    _draw_widths(grid, (record.out_bits, record.a_bits, record.w_bits))
    grid.set_yticks([0.5, 1.5, 2.5], labels=["activations out", "activations in", "weights"])
    draw_layer_axis(grid, axis, separators=False)
    for span in axis.stages[1:] if axis.residuals else ():
        bars.axvline(span.first - 0.5, color=GREY, lw=0.6, zorder=0.6)
        grid.axvline(span.first - 0.5, color="white", lw=2.4)
    return figure


def _draw_widths(grid: Axes, rows: Sequence[Sequence[int]]) -> None:
    """Draw one coloured cell per width, rows from the bottom upwards."""
    count = len(rows[0])
    edges = [place - 0.5 for place in range(count + 1)]
    grid.pcolormesh(
        edges,
        range(len(rows) + 1),
        rows,
        cmap="viridis",
        vmin=LOWEST,
        vmax=HIGHEST,
        edgecolors="white",
        lw=0.8,
    )
    for row, widths in enumerate(rows):
        for place, bits in enumerate(widths):
            ink = "white" if bits - LOWEST < 0.5 * (HIGHEST - LOWEST) else "black"
            grid.text(
                place,
                row + 0.47,
                str(bits),
                ha="center",
                va="center",
                fontsize=8.5,
                fontweight="bold",
                color=ink,
            )
    grid.set(ylim=(0, len(rows)))
    grid.tick_params(length=0)
    for spine in grid.spines.values():
        spine.set_visible(False)
