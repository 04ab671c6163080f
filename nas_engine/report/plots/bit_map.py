"""Bit map: weight and activation bits of every layer, as the QBR figure of the QE-Score paper."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean

import matplotlib
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

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
    GREY,
    VERMILLION,
    add_panel,
    new_figure,
    picture_style,
)
from nas_engine.report.plots.tips import tip

LOWEST, HIGHEST = 2, 8
"""Widths that occur."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BitMap:
    """Bits of every layer of a network."""

    axis: LayerAxis
    """The layers."""
    w_bits: tuple[int, ...]
    """Weight bits of each layer."""
    a_bits: tuple[int, ...]
    """Bits of the activations that enter each layer."""
    mean_w_bits: tuple[float, ...]
    """Mean weight bits of the layers of each stage of ``axis``, all layers counting alike."""
    mean_a_bits: tuple[float, ...]
    """Mean activation bits likewise."""


def bit_map_data(report: NetworkReport) -> BitMap:
    """Return the bit map of a network."""
    axis = layer_axis(report.layer_names)
    w_bits, a_bits = tuple(bits.w for bits in report.bits), tuple(bits.a for bits in report.bits)

    def means(bits: tuple[int, ...]) -> tuple[float, ...]:
        return tuple(fmean(bits[span.first : span.last + 1]) for span in axis.stages)

    return BitMap(
        axis=axis,
        w_bits=w_bits,
        a_bits=a_bits,
        mean_w_bits=means(w_bits),
        mean_a_bits=means(a_bits),
    )


@picture_style()
def draw_bit_map(record: BitMap) -> Figure:
    """Return the picture of the bits.

    Both profiles as steps, the mean of each stage shaded, and below them each width as a coloured
    cell.
    """
    axis, count = record.axis, len(record.axis.names)
    width, margin = axis_width(axis), axis_margin(axis)
    left, cells, steps, gap = 1.0, 0.62, 1.9, 0.14
    overall = "shaded: mean of each stage;  "
    overall += (
        f"mean over all layers: weights {fmean(record.w_bits):.2f} bits, activations "
        f"{fmean(record.a_bits):.2f} bits"
    )
    height = margin + cells + gap + steps + 0.95
    figure = new_figure(width + left + 0.25, height, f"Bits per layer ({count} layers)", overall)

    profile = add_panel(figure, left, margin + cells + gap, width, steps)
    rows = (
        (record.w_bits, record.mean_w_bits, BLUE, "-", "weights"),
        (record.a_bits, record.mean_a_bits, VERMILLION, "--", "activations (input of the layer)"),
    )
    for bits, means, colour, dashes, label in rows:
        shift = 0.04 if colour == BLUE else -0.04
        profile.stairs(
            [b + shift for b in bits],
            [i - 0.5 for i in range(count + 1)],
            baseline=None,
            color=colour,
            lw=2.0,
            ls=dashes,
            label=label,
        )
        for span, mean in zip(axis.stages, means, strict=True):
            if axis.letters[span.first]:
                profile.fill_between(
                    [span.first - 0.5, span.last + 0.5],
                    LOWEST - 0.5,
                    mean,
                    color=colour,
                    alpha=0.10,
                    lw=0,
                    zorder=0.4,
                )
    profile.set(
        xlim=(-0.5, count - 0.5),
        ylim=(LOWEST - 0.5, HIGHEST + 0.5),
        xticks=[],
        yticks=range(LOWEST, HIGHEST + 1),
    )
    profile.set_ylabel("bits")
    profile.grid(axis="y", color="#EEEEEE", lw=0.8)
    profile.set_axisbelow(True)
    profile.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, borderaxespad=0.1)

    grid = add_panel(figure, left, margin, width, cells)
    colours = matplotlib.colormaps["viridis"]
    for row, bits in enumerate((record.a_bits, record.w_bits)):
        what = ("activations", "weights")[row]
        for i, b in enumerate(bits):
            shade = (b - LOWEST) / (HIGHEST - LOWEST)
            cell = Rectangle(
                (i - 0.5, row), 1, 1, facecolor=colours(shade), edgecolor="white", lw=0.8
            )
            tip(grid.add_patch(cell), f"{axis.names[i]}: {what} {b} bits")
            grid.text(
                i,
                row + 0.47,
                str(b),
                ha="center",
                va="center",
                fontsize=9,
                fontweight="bold",
                color="white" if shade < 0.5 else "black",
            )
    grid.set(ylim=(0, 2), yticks=[0.5, 1.5], yticklabels=["activations", "weights"])
    grid.tick_params(length=0)
    for spine in grid.spines.values():
        spine.set_visible(False)
    draw_layer_axis(grid, axis, separators=False)
    for span in axis.stages[1:]:
        if axis.residuals:
            profile.axvline(span.first - 0.5, color=GREY, lw=0.6, zorder=0.6)
            grid.axvline(span.first - 0.5, color="white", lw=2.4)
    return figure
