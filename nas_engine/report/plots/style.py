"""Style of all pictures: colours, fonts, and panels placed in inches.

Nothing is cut off or moves with the user's settings.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nas_engine.escaping import terminal_line, terminal_lines

BLUE, ORANGE, VERMILLION, GREEN, SKY, PURPLE = (
    "#0072B2",
    "#E69F00",
    "#D55E00",
    "#009E73",
    "#56B4E9",
    "#CC79A7",
)
"""Okabe and Ito's colours, which colour-blind readers tell apart."""

INK, GREY, PALE = "#222222", "#666666", "#DDDDDD"
"""Text, secondary text and lines, separators."""

KIB = 1024
"""Bytes of a KiB."""

_SETTINGS = {
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.labelsize": 9,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.dpi": 130,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "savefig.dpi": 130,
    "svg.fonttype": "path",
    "svg.hashsalt": "nas-search",
    "text.color": INK,
    "xtick.color": GREY,
    "xtick.labelsize": 8,
    "ytick.color": GREY,
    "ytick.labelsize": 8,
}


_SESSION = ("backend", "interactive", "toolbar", "webagg")
"""Settings of windows, which no picture depends on."""


@contextmanager
def picture_style() -> Iterator[None]:
    """Draw or save with the settings of this project, then restore the user's. Also a decorator."""
    settings: dict[Any, Any] = {
        key: value
        for key, value in matplotlib.rcParamsDefault.items()
        if not key.startswith(_SESSION)
    }
    settings.update(_SETTINGS)
    with matplotlib.rc_context(settings):
        yield


def new_figure(width: float, height: float, title: str, subtitle: str = "") -> Figure:
    """Return an empty figure of ``width`` x ``height`` inches, title and subtitle top left."""
    figure = Figure(figsize=(width, height))
    figure.text(
        0.2 / width,
        1 - 0.16 / height,
        terminal_line(title),
        fontsize=12,
        fontweight="bold",
        va="top",
        parse_math=False,
    )
    if subtitle:
        text = terminal_lines(subtitle)
        figure.text(
            0.2 / width,
            1 - 0.43 / height,
            text,
            fontsize=9,
            color=GREY,
            va="top",
            linespacing=1.35,
            parse_math=False,
        )
    return figure


def add_panel(
    figure: Figure,
    left: float,
    bottom: float,
    width: float,
    height: float,
    sharex: Axes | None = None,
) -> Axes:
    """Return new axes at a place given in inches."""
    total_width, total_height = figure.get_size_inches()
    box = (left / total_width, bottom / total_height, width / total_width, height / total_height)
    return figure.add_axes(box, sharex=sharex)


def panel_inches(axes: Axes) -> tuple[float, float]:
    """Return width and height of axes in inches."""
    figure = axes.figure
    assert isinstance(figure, Figure)
    box, (width, height) = axes.get_position(), figure.get_size_inches()
    return float(box.width * width), float(box.height * height)


def text_width(text: str, size: float) -> float:
    """Return a generous estimate of the width of one line of text, inches; font size in points."""
    return len(text) * 0.62 * size / 72


def empty_note(axes: Axes, text: str) -> None:
    """Say in the middle of empty axes why they are empty."""
    axes.text(
        0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=GREY, fontsize=11
    )
    axes.set(xticks=[], yticks=[])
