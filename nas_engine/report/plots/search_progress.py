"""Progress of a search: how the best score and the feasible share of the population grew."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from nas_engine.errors import InputError
from nas_engine.report.plots.style import (
    BLUE,
    GREEN,
    GREY,
    VERMILLION,
    add_panel,
    empty_note,
    new_figure,
    picture_style,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One entry per generation in each tuple."""

    evaluated: tuple[int, ...]
    """Candidates evaluated so far."""
    best_score: tuple[float | None, ...]
    """Best feasible score so far, ``None`` before a feasible candidate."""
    feasible: tuple[float | None, ...]
    """Share of the population that is feasible, 0 to 1, ``None`` where unknown."""
    elapsed_s: tuple[float | None, ...]
    """Seconds since the start, ``None`` where unknown."""

    @property
    def first_feasible(self) -> int | None:
        """Index of the first generation with a feasible candidate."""
        return next((i for i, score in enumerate(self.best_score) if score is not None), None)


def _finite(value: Any) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def progress_data(history: Sequence[Mapping[str, Any]]) -> Progress:
    """Return the progress of a search.

    Args:
        history: One mapping per generation with ``evaluated`` and, where known, ``best_score``
            (``None`` or nan before a feasible candidate), ``feasible`` (share of the population, 0
            to 1) and ``elapsed_s``; other keys are ignored.

    Raises:
        InputError: An entry without ``evaluated``, candidates that decrease, or a share outside 0
            to 1.
    """
    for i, row in enumerate(history):
        if "evaluated" not in row:
            raise InputError(
                f"history entry {i} has no key 'evaluated'; expected the number of candidates "
                "evaluated so far"
            )
        if i and row["evaluated"] < history[i - 1]["evaluated"]:
            before = history[i - 1]["evaluated"]
            raise InputError(
                f"history entry {i}: evaluated falls from {before} to {row['evaluated']}; expected "
                "it never to fall"
            )
        share = _finite(row.get("feasible"))
        if share is not None and not 0 <= share <= 1:
            raise InputError(
                f"history entry {i}: feasible is {share:g}; expected a share of the population, 0 "
                "to 1"
            )
    return Progress(
        evaluated=tuple(int(row["evaluated"]) for row in history),
        best_score=tuple(_finite(row.get("best_score")) for row in history),
        feasible=tuple(_finite(row.get("feasible")) for row in history),
        elapsed_s=tuple(_finite(row.get("elapsed_s")) for row in history),
    )


def _subtitle(record: Progress) -> str:
    if not record.evaluated:
        return ""
    parts = [f"{record.evaluated[-1]:,} candidates in {len(record.evaluated):,} generations"]
    if record.elapsed_s[-1]:
        seconds = record.elapsed_s[-1]
        parts.append(f"{seconds:,.1f} s ({record.evaluated[-1] / seconds:,.0f} candidates/s)")
    if record.first_feasible is not None:
        parts.append(
            f"first feasible network seen after {record.evaluated[record.first_feasible]:,}"
        )
    return ", ".join(parts)


@picture_style()
def draw_progress(record: Progress) -> Figure:
    """Return the picture: best score against candidates evaluated.

    Below it, where known, the feasible share of the population.
    """
    left, width, heights, gap, bottom = 0.9, 7.2, (1.0, 2.7), 0.22, 0.6
    shares = [
        (x, y) for x, y in zip(record.evaluated, record.feasible, strict=True) if y is not None
    ]
    lower_height = heights[0] + gap if shares else 0.0
    figure = new_figure(
        width + left + 0.3,
        bottom + lower_height + heights[1] + 0.9,
        "Search progress",
        _subtitle(record),
    )
    axes = add_panel(figure, left, bottom + lower_height, width, heights[1])
    scores = [
        (x, y) for x, y in zip(record.evaluated, record.best_score, strict=True) if y is not None
    ]
    lowest_axes = axes
    if not record.evaluated:
        empty_note(axes, "no candidates evaluated yet")
        return figure
    if shares:
        lower = add_panel(figure, left, bottom, width, heights[0], sharex=axes)
        places, percents = [x for x, _ in shares], [100 * y for _, y in shares]
        lower.fill_between(places, percents, color=GREEN, alpha=0.2, lw=0)
        lower.plot(
            places, percents, color=GREEN, lw=1.5, marker="o" if len(shares) < 30 else None, ms=3
        )
        lower.set(ylim=(0, 105), yticks=[0, 50, 100])
        lower.set_ylabel("feasible share of\nthe population [%]", fontsize=8)
        lower.grid(color="#EEEEEE", lw=0.8)
        axes.tick_params(labelbottom=False)
        lowest_axes = lower
    axes.set_ylabel("best QE-Score so far")
    lowest_axes.set_xlabel("candidates evaluated")
    lowest_axes.xaxis.set_major_locator(MaxNLocator(7, integer=True))
    lowest_axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    end = record.evaluated[-1]
    axes.set_xlim(0, max(end, 1) * 1.02)
    if not scores:
        axes.text(
            0.5,
            0.5,
            "no feasible network yet",
            transform=axes.transAxes,
            ha="center",
            va="center",
            color=GREY,
            fontsize=11,
        )
        axes.set_yticks([])
        return figure
    xs, ys = zip(*scores, strict=True)
    axes.step(xs, ys, where="post", color=BLUE, lw=2)
    axes.plot(xs[-1], ys[-1], "o", color=VERMILLION, ms=6, zorder=4)
    spread = max(ys) - min(ys) or max(abs(ys[-1]), 1.0) * 0.1
    axes.set_ylim(min(ys) - 0.08 * spread, max(ys) + 0.16 * spread)
    axes.annotate(
        f"{ys[-1]:,.2f}",
        (xs[-1], ys[-1]),
        xytext=(-2, 6),
        textcoords="offset points",
        ha="right",
        va="bottom",
        color=VERMILLION,
        fontweight="bold",
    )
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.grid(color="#EEEEEE", lw=0.8)
    axes.set_axisbelow(True)
    if record.first_feasible and (begin := record.evaluated[record.first_feasible]) > 0.02 * end:
        axes.axvspan(0, begin, color="#F2F2F2", lw=0, zorder=0)
        if begin > 0.15 * end:
            note = "no feasible\nnetwork yet"
            axes.text(
                begin / 2,
                0.5,
                note,
                transform=axes.get_xaxis_transform(),
                ha="center",
                va="center",
                color=GREY,
                fontsize=8,
            )
    return figure
