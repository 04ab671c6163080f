"""Axis that several pictures share: one cell per layer, grouped into units and stages."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes

from nas_engine.block_kinds import LAYERS_OF_UNITS
from nas_engine.errors import InputError
from nas_engine.report.plots.style import GREY, INK, PALE, panel_inches, text_width

MARGIN = 1.08
"""Inches that a grouped axis needs below its panel, its legend included."""

_NAME = re.compile(rf"(s\d+)\.(b\d+)\.({'|'.join(LAYERS_OF_UNITS)})")
_ENDS = re.compile(r"[^.]{1,12}")
_CELL, _MIN_WIDTH = 0.27, 7.6


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Neighbouring layers with a common name."""

    name: str
    """``s1`` for a stage, ``b1`` for a unit, the layer's own name for stem, head and
    classifier."""
    first: int
    """Index of the first layer."""
    last: int
    """Index of the last layer, inclusive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerAxis:
    """Layers from left to right and how they are grouped."""

    names: tuple[str, ...]
    """Full names of the layers."""
    letters: tuple[str, ...]
    """Letters of the units' layers; empty where the full name is written."""
    residuals: tuple[Span, ...]
    """Units."""
    stages: tuple[Span, ...]
    """Stages, with stem, head and classifier as stages of their own; together they cover all
    layers."""


def layer_axis(names: Sequence[str]) -> LayerAxis:
    """Return the axis of layers named as in ``Architecture.layer_names``.

    Other names are not grouped but written in full.

    Raises:
        InputError: No layers.
    """
    if not names:
        raise InputError("no layers to draw; expected at least one")
    matches = [_NAME.fullmatch(name) for name in names]
    if not all(match or _ENDS.fullmatch(name) for match, name in zip(matches, names, strict=True)):
        matches = [None] * len(names)
    residuals: list[Span] = []
    stages: list[Span] = []
    for i, (name, match) in enumerate(zip(names, matches, strict=True)):
        known_stage = bool(match and stages and stages[-1].name == match[1])
        if match and known_stage and residuals[-1].name == match[2]:
            residuals[-1] = Span(name=match[2], first=residuals[-1].first, last=i)
        elif match:
            residuals.append(Span(name=match[2], first=i, last=i))
        if match and known_stage:
            stages[-1] = Span(name=match[1], first=stages[-1].first, last=i)
        else:
            stages.append(Span(name=match[1] if match else name, first=i, last=i))
    letters = tuple(LAYERS_OF_UNITS[match[3]].letter if match else "" for match in matches)
    return LayerAxis(
        names=tuple(names), letters=letters, residuals=tuple(residuals), stages=tuple(stages)
    )


def axis_width(axis: LayerAxis) -> float:
    """Return the inches that the layers of an axis need from left to right."""
    return max(_MIN_WIDTH, _CELL * len(axis.names))


def axis_margin(axis: LayerAxis) -> float:
    """Return the inches that an axis needs below its panel."""
    full = [name for name, letter in zip(axis.names, axis.letters, strict=True) if not letter]
    return max(MARGIN, 0.45 + max((text_width(name, 7.5) for name in full), default=0.0))


def draw_layer_axis(
    axes: Axes, axis: LayerAxis, label: str = "layers from input to output", separators: bool = True
) -> None:
    """Write the names of the layers below the axes, whose x coordinates count layers from 0.

    Args:
        axes: Where; their place in the figure must not change afterwards.
        axis: The layers.
        label: What the layers are, written below them.
        separators: Whether to continue the lines between stages up through the axes.
    """
    inch = 1 / panel_inches(axes)[1]
    place = axes.get_xaxis_transform()
    axes.set_xlim(-0.5, len(axis.names) - 0.5)
    axes.set_xticks([])

    def write(x: float, inches: float, text: str, **style: object) -> None:
        settings: dict[str, Any] = {
            "ha": "center",
            "va": "top",
            "fontsize": 7.5,
            "color": INK,
            **style,
        }
        axes.text(x, -inches * inch, text, transform=place, clip_on=False, **settings)

    for i, (name, letter) in enumerate(zip(axis.names, axis.letters, strict=True)):
        write(i, 0.06, letter or name, rotation=0 if letter else 90)
    for span in axis.residuals:
        axes.plot(
            [span.first - 0.3, span.last + 0.3],
            [-0.21 * inch] * 2,
            color=GREY,
            lw=0.6,
            transform=place,
            clip_on=False,
        )
        write((span.first + span.last) / 2, 0.24, span.name, color=GREY)
    for span in axis.stages:
        if axis.letters[span.first]:
            write(
                (span.first + span.last) / 2,
                0.42,
                f"stage {span.name[1:]}",
                fontsize=8.5,
                fontweight="bold",
            )
    grouped = bool(axis.residuals)
    if grouped:
        for span in axis.stages[1:]:
            x = span.first - 0.5
            axes.plot([x, x], [-0.6 * inch, 0], color=GREY, lw=0.6, transform=place, clip_on=False)
            if separators:
                axes.plot([x, x], [0, 1], color=PALE, lw=0.8, transform=place, zorder=0.5)
    words = [f"{x.letter} {x.title}" for x in LAYERS_OF_UNITS.values() if x.letter in axis.letters]
    legend = f"   ({', '.join(words)}; b1, b2 ... units of a stage)" if grouped else ""
    axes.text(
        0.5,
        -(axis_margin(axis) - 0.28) * inch,
        label + legend,
        transform=axes.transAxes,
        ha="center",
        va="top",
        fontsize=8,
        color=GREY,
    )
