"""The Pareto front of a search: score against what it costs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from nas_engine.errors import InputError
from nas_engine.report.plots.style import (
    INK,
    KIB,
    VERMILLION,
    add_panel,
    empty_note,
    new_figure,
    picture_style,
)
from nas_engine.report.plots.tips import tip
from nas_engine.units import format_size

_MEGA = 1e6
_KEYS = ("qe_score", "peak_sram_bytes", "flash_bytes", "macs")


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontPoint:
    """One network of the front."""

    qe_score: float
    """QE-Score."""
    peak_sram_bytes: float
    """The most bytes live at any layer."""
    flash_bytes: float
    """Flash bytes."""
    macs: float
    """Multiply-accumulates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParetoFront:
    """Networks of a front and the budgets of the search."""

    points: tuple[FrontPoint, ...]
    """The networks, in the order they came."""
    best: int | None
    """Index of the first with the highest score, ``None`` in an empty front."""
    sram_budget: float | None
    """Bytes, ``None`` where there is none."""
    flash_budget: float | None
    """Bytes, ``None`` where there is none."""
    macs_budget: float | None
    """Multiply-accumulates, ``None`` where there is none."""

    def envelope(self, cost: str) -> tuple[tuple[float, float], ...]:
        """Return the best score at or below each cost: pairs (cost, score), both rising.

        ``cost`` names a field of ``FrontPoint``.
        """
        pairs = sorted(
            ((float(getattr(point, cost)), point.qe_score) for point in self.points),
            key=lambda pair: (pair[0], -pair[1]),
        )
        before = accumulate((score for _, score in pairs), max, initial=-math.inf)
        return tuple(pair for pair, best in zip(pairs, before, strict=False) if pair[1] > best)


def front_data(
    rows: Sequence[Mapping[str, Any]],
    *,
    sram_budget: float | None = None,
    flash_budget: float | None = None,
    macs_budget: float | None = None,
) -> ParetoFront:
    """Return the front of a search.

    Args:
        rows: One mapping per network with ``qe_score``, ``peak_sram_bytes``, ``flash_bytes`` and
            ``macs``, as numbers or as the text that a CSV file gives; other keys are ignored.
        sram_budget: Bytes.
        flash_budget: Bytes.
        macs_budget: Multiply-accumulates.

    Raises:
        InputError: A row without one of the keys, or with something that is not a number.
    """
    points = []
    for i, row in enumerate(rows):
        try:
            points.append(FrontPoint(**{key: float(row[key]) for key in _KEYS}))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"row {i} of the front: {error!r}; expected numbers under the keys "
                f"{', '.join(_KEYS)}"
            ) from error
    best = max(range(len(points)), key=lambda i: points[i].qe_score) if points else None
    return ParetoFront(
        points=tuple(points),
        best=best,
        sram_budget=sram_budget,
        flash_budget=flash_budget,
        macs_budget=macs_budget,
    )


def _draw_panel(
    axes: Axes,
    record: ParetoFront,
    cost: str,
    unit: float,
    budget: float | None,
    colours: Normalize,
) -> bool:
    """Draw one cost against the score; return True if the budget is near enough to be drawn."""
    steps = record.envelope(cost)
    axes.step(
        [x / unit for x, _ in steps],
        [y for _, y in steps],
        where="post",
        color="#BBBBBB",
        lw=1.2,
        zorder=1,
    )
    xs, ys = (
        [float(getattr(point, cost)) / unit for point in record.points],
        [point.qe_score for point in record.points],
    )
    shades = matplotlib.colormaps["viridis"](
        colours([point.flash_bytes / KIB for point in record.points])
    )
    dots = axes.scatter(xs, ys, c=shades, s=34, edgecolors="white", linewidths=0.6, zorder=2)
    tip(dots, *map(_in_words, record.points))
    assert record.best is not None
    axes.scatter(
        xs[record.best],
        ys[record.best],
        s=170,
        marker="*",
        color=VERMILLION,
        edgecolors="white",
        linewidths=0.8,
        zorder=4,
    )
    line = budget / unit if budget is not None and budget / unit < 1.6 * max(xs) else None
    low, high = min(xs), max(xs) if line is None else max(*xs, line)
    room = (high - low) * 0.06 or abs(high) * 0.05 or 1.0
    axes.set_xlim(low - room, high + room)
    spread = max(ys) - min(ys) or max(abs(max(ys)), 1.0) * 0.1
    axes.set_ylim(min(ys) - 0.08 * spread, max(ys) + 0.16 * spread)
    if line is not None:
        axes.axvline(line, color=INK, lw=1.2, ls=(0, (5, 2)), zorder=0.8)
    axes.grid(color="#EEEEEE", lw=0.8)
    axes.set_axisbelow(True)
    for direction in (axes.xaxis, axes.yaxis):
        direction.set_major_locator(MaxNLocator(6))
        direction.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    return line is not None


def _in_words(point: FrontPoint) -> str:
    sizes = f"SRAM {format_size(point.peak_sram_bytes)}, Flash {format_size(point.flash_bytes)}"
    return f"QE-Score {point.qe_score:,.2f}: {point.macs / _MEGA:,.2f} M MACs, {sizes}"


@picture_style()
def draw_front(record: ParetoFront) -> Figure:
    """Return the picture: score against MACs and peak SRAM, coloured by Flash.

    The best is starred, budgets are dashed lines.
    """
    left, width, height, gap, bottom = 0.8, 4.3, 3.4, 0.5, 0.62
    count = len(record.points)
    subtitle = ""
    if record.best is not None:
        star = record.points[record.best]
        subtitle = (
            f"star: best, QE-Score {star.qe_score:,.2f}, {star.macs / _MEGA:,.1f} M MACs, SRAM "
            f"{format_size(star.peak_sram_bytes)}, "
            f"Flash {format_size(star.flash_bytes)};  grey line: best score at or below a cost"
        )
    title = f"Pareto front: {count:,} network{'s' * (count != 1)}"
    figure = new_figure(left + 2 * width + gap + 1.35, bottom + height + 1.05, title, subtitle)
    if record.best is None:
        empty_note(
            add_panel(figure, left, bottom, 2 * width + gap, height),
            "the front is empty: no feasible network yet",
        )
        return figure
    first = add_panel(figure, left, bottom, width, height)
    second = add_panel(figure, left + width + gap, bottom, width, height)
    flash = [point.flash_bytes / KIB for point in record.points]
    low, high = min(flash), max(flash)
    colours = Normalize(low - 0.5, high + 0.5) if low == high else Normalize(low, high)
    panels = (
        (first, "macs", _MEGA, record.macs_budget, "MACs [millions]"),
        (second, "peak_sram_bytes", KIB, record.sram_budget, "peak SRAM [KiB]"),
    )
    for axes, cost, unit, budget, label in panels:
        line = "dashed: " if _draw_panel(axes, record, cost, unit, budget, colours) else ""
        if budget is not None:
            label += (
                f"   ({line}budget {format_size(budget)})"
                if unit == KIB
                else f"   ({line}limit {budget / _MEGA:,.6g} M)"
            )
        axes.set_xlabel(label)
    first.set_ylabel("QE-Score")
    second.tick_params(labelleft=False)
    scale = add_panel(figure, left + 2 * width + gap + 0.2, bottom, 0.16, height)
    thousands = FuncFormatter(lambda value, _: f"{value:,g}")
    bar = figure.colorbar(ScalarMappable(norm=colours, cmap="viridis"), cax=scale, format=thousands)
    note = (
        f"   (budget {format_size(record.flash_budget)})" if record.flash_budget is not None else ""
    )
    bar.set_label(f"Flash [KiB]{note}")
    bar.outline.set_visible(False)
    return figure
