"""Predicted time of each layer: a bar from the least to the most of its range."""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from nas_engine.errors import InputError
from nas_engine.report.network import NetworkReport
from nas_engine.report.plots.layer_axis import (
    LayerAxis,
    axis_margin,
    axis_width,
    draw_layer_axis,
    layer_axis,
)
from nas_engine.report.plots.style import BLUE, ORANGE, add_panel, new_figure, picture_style
from nas_engine.report.plots.tips import tip
from nas_engine.units import format_latency


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeBars:
    """Milliseconds of each layer."""

    axis: LayerAxis
    """The layers."""
    least: tuple[float, ...]
    """Least milliseconds of each layer."""
    most: tuple[float, ...]
    """Most milliseconds of each layer."""

    @property
    def slowest(self) -> int:
        """Index of the first of the slowest layers."""
        return self.most.index(max(self.most))


def time_data(report: NetworkReport) -> TimeBars:
    """Return time per layer.

    Args:
        report: The network.

    Raises:
        InputError: The time of its layers is not known.
    """
    times = report.layer_latency
    if not times:
        raise InputError("the report has no time of layers; make it with the profile of a device")
    least, most = zip(*times, strict=True)
    return TimeBars(axis=layer_axis(report.layer_names), least=least, most=most)


@picture_style()
def draw_time(record: TimeBars) -> Figure:
    """Return the picture of time: a bar per layer, solid up to the least, faint up to the most."""
    axis, slowest = record.axis, record.slowest
    width, margin, left, height = axis_width(axis), axis_margin(axis), 0.8, 2.6
    whole = format_latency((sum(record.least), sum(record.most)))
    share = record.most[slowest] / max(sum(record.most), 1e-12)
    note = f"{whole} in all; slowest: {axis.names[slowest]}, {share:.1%}; no board was measured"
    figure = new_figure(width + left + 0.25, margin + height + 0.85, "Time of each layer", note)
    axes = add_panel(figure, left, margin, width, height)
    for i, times in enumerate(zip(record.least, record.most, strict=True)):
        colour = ORANGE if i == slowest else BLUE
        axes.bar(i, times[0], width=0.8, color=colour, zorder=2)
        bar = axes.bar(i, times[1], width=0.8, color=colour, alpha=0.35, zorder=1.5)
        tip(bar[0], f"{axis.names[i]}: {format_latency(times)}")
    axes.set_ylim(0, max(*record.most, 1e-9) * 1.08)
    axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.grid(axis="y", color="#EEEEEE", lw=0.8)
    axes.set_axisbelow(True)
    axes.set_ylabel("time [ms]")
    draw_layer_axis(axes, axis)
    return figure
