"""Training epoch by epoch: loss and accuracy of the float and quantised stages and the teacher."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from nas_engine.errors import InputError
from nas_engine.report.plots.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PURPLE,
    VERMILLION,
    add_panel,
    empty_note,
    new_figure,
    picture_style,
    text_width,
)
from nas_engine.report.plots.tips import tip
from nas_engine.training.result import Accuracy

FLOAT, QUANTISED = "float", "quantised"
"""Stages, in their order."""

_COLOURS = {FLOAT: BLUE, QUANTISED: VERMILLION}


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One stage of a training, an entry per epoch in each tuple."""

    stage: str
    """``"float"`` or ``"quantised"``."""
    first: int
    """Epoch of the first entry, counted from 1 over both stages."""
    loss: tuple[float, ...]
    """Mean training loss; with a teacher it holds what listening to that adds."""
    train_accuracy: tuple[float, ...]
    """Accuracy on the training images as they were shown, percent; nan where unknown."""
    accuracy: tuple[float, ...]
    """Accuracy on held-out images after the epoch, percent."""

    @property
    def epochs(self) -> range:
        """Epochs of the entries."""
        return range(self.first, self.first + len(self.loss))


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingCurves:
    """A whole training."""

    stages: tuple[Curve, ...]
    """Those that there were, in order."""
    teacher: Curve | None
    """The teacher's own training, its epochs counted from 1."""
    result: Accuracy | None
    """The three forms at the end."""

    @property
    def epochs(self) -> int:
        """Epochs of all stages, or of the teacher if it took more."""
        return max(
            (
                curve.epochs[-1]
                for curve in (*self.stages, *([self.teacher] if self.teacher else []))
            ),
            default=0,
        )


def training_curves_data(
    rows: Sequence[Mapping[str, Any]],
    *,
    teacher_rows: Sequence[Mapping[str, Any]] = (),
    result: Accuracy | None = None,
) -> TrainingCurves:
    """Return the curves of a training.

    Args:
        rows: Lines of ``training/metrics.jsonl``, one per epoch: ``stage``, ``loss``, ``accuracy``
            and, where known, ``train_accuracy``; other keys are ignored. For stages trained in two
            run directories, the lines of one behind the other.
        teacher_rows: The same of the teacher, if it was trained for this network.
        result: The forms of the network at the end.

    Raises:
        InputError: A line without one of the keys or with something else than numbers, or stages in
            another order.
    """
    stages: list[Curve] = []
    first = 1
    for name in (FLOAT, QUANTISED):
        part = [row for row in rows if row.get("stage") == name]
        if part:
            stages.append(_curve(part, name, first))
            first += len(part)
    if [row.get("stage") for row in rows] != [
        curve.stage for curve in stages for _ in curve.epochs
    ]:
        raise InputError(
            f"epochs of a training: expected lines of the stage {FLOAT!r}, then of {QUANTISED!r}, "
            "and of no other"
        )
    teacher = _curve(teacher_rows, FLOAT, 1) if teacher_rows else None
    return TrainingCurves(stages=tuple(stages), teacher=teacher, result=result)


def _curve(rows: Sequence[Mapping[str, Any]], stage: str, first: int) -> Curve:
    try:
        loss, accuracy = ([float(row[key]) for row in rows] for key in ("loss", "accuracy"))
        shown = [float(row.get("train_accuracy", math.nan)) for row in rows]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"epochs of a training, stage {stage!r}: {error!r}; expected numbers under loss and "
            "accuracy"
        ) from error
    if not all(map(math.isfinite, (*loss, *accuracy))):
        raise InputError(
            f"epochs of a training, stage {stage!r}: a loss or an accuracy is not finite; expected "
            "finite numbers"
        )
    return Curve(
        stage=stage,
        first=first,
        loss=tuple(loss),
        train_accuracy=tuple(shown),
        accuracy=tuple(accuracy),
    )


def _subtitle(record: TrainingCurves) -> str:
    parts = [
        f"{len(curve.epochs)} {curve.stage} epoch{'s' * (len(curve.epochs) != 1)}"
        for curve in record.stages
    ]
    if record.teacher is not None:
        parts.append(
            f"teacher {len(record.teacher.epochs)} epoch{'s' * (len(record.teacher.epochs) != 1)}"
        )
    return f"{', '.join(parts)};  training images count as they were shown" if parts else ""


@picture_style()
def draw_training_curves(record: TrainingCurves) -> Figure:
    """Return the picture: accuracy above, loss below, over the epochs of both stages.

    At the right are the three forms at the end.
    """
    left, width, heights, gap, bottom = 0.85, 7.0, (1.5, 2.7), 0.25, 0.6
    marks = _marks(record.result)
    side = 0.35 + max((0.92 * text_width(text, 8.5) for text, _, _ in marks), default=0.0)
    figure = new_figure(
        left + width + side, bottom + sum(heights) + gap + 1.05, "Training", _subtitle(record)
    )
    upper = add_panel(figure, left, bottom + heights[0] + gap, width, heights[1])
    if not record.stages and record.teacher is None:
        empty_note(upper, "no epoch trained yet")
        return figure
    lower = add_panel(figure, left, bottom, width, heights[0], sharex=upper)
    for curve in record.stages:
        colour, dots = _COLOURS[curve.stage], "o" if len(curve.epochs) < 40 else None
        (line,) = upper.plot(
            curve.epochs,
            curve.accuracy,
            color=colour,
            lw=1.8,
            marker=dots,
            ms=3.5,
            label=f"{curve.stage}, held-out images",
        )
        if dots:
            pairs = zip(curve.epochs, curve.accuracy, strict=True)
            tip(line, *(f"{curve.stage}, epoch {epoch}: {share:.2f} %" for epoch, share in pairs))
        alone = "D" if len(curve.epochs) == 1 else None
        shown = f"{curve.stage}, training images"
        upper.plot(
            curve.epochs,
            curve.train_accuracy,
            color=colour,
            lw=1.2,
            ls=(0, (4, 2)),
            marker=alone,
            ms=4,
            label=shown,
        )
        lower.plot(curve.epochs, curve.loss, color=colour, lw=1.8, marker=dots, ms=3.5)
    if record.teacher is not None:
        upper.plot(
            record.teacher.epochs,
            record.teacher.accuracy,
            color=GREY,
            lw=1.3,
            ls=(0, (1, 1.2)),
            label="teacher, held-out images",
        )
        lower.plot(record.teacher.epochs, record.teacher.loss, color=GREY, lw=1.3, ls=(0, (1, 1.2)))
    for axes in (upper, lower):
        axes.grid(color="#EEEEEE", lw=0.8)
        axes.set_axisbelow(True)
        axes.yaxis.set_major_locator(MaxNLocator(5))
        if len(record.stages) == 2:
            axes.axvline(record.stages[1].first - 0.5, color=INK, lw=1.0, ls=(0, (2, 2)), zorder=1)
    _scale(upper, lower, record, [value for _, value, _ in marks])
    if len(record.stages) == 2:
        upper.annotate(
            "from here on quantised",
            (record.stages[1].first - 0.5, 0),
            xycoords=upper.get_xaxis_transform(),
            xytext=(3, 3),
            textcoords="offset points",
            fontsize=8,
            color=GREY,
            va="bottom",
        )
    _draw_marks(upper, marks)
    upper.tick_params(labelbottom=False)
    upper.set_ylabel("accuracy [%]")
    lower.set_ylabel("training loss")
    lower.set_xlabel("epoch")
    upper.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1.0),
        ncols=len(record.stages) + (record.teacher is not None),
        borderaxespad=0.1,
    )
    return figure


def _scale(upper: Axes, lower: Axes, record: TrainingCurves, marks: Sequence[float]) -> None:
    """Set the limits: all epochs, loss from 0, accuracy from its smallest to just above 100."""
    curves = [*record.stages, *([record.teacher] if record.teacher else [])]
    percents = [
        value
        for curve in curves
        for value in (*curve.accuracy, *curve.train_accuracy)
        if math.isfinite(value)
    ]
    low, high = min([*percents, *marks]), max([*percents, *marks])
    spread = max(high - low, 5.0)
    upper.set_ylim(low - 0.14 * spread, high + 0.08 * spread)
    upper.set_xlim(0.5, record.epochs + 0.5)
    upper.xaxis.set_major_locator(MaxNLocator(12, integer=True, min_n_ticks=1))
    upper.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    lower.set_ylim(0, max(value for curve in curves for value in curve.loss) * 1.08 or 1.0)


def _marks(result: Accuracy | None) -> list[tuple[str, float, str]]:
    """Return text, percentage and colour of each form that there is, highest first."""
    if result is None:
        return []
    forms = (
        ("float", result.floating, GREEN),
        ("fake-quantised", result.quantised, ORANGE),
        ("integer", result.integer, PURPLE),
    )
    found = [
        (f"{name} {value:.2f} % ({result.split})", value, colour)
        for name, value, colour in forms
        if value is not None
    ]
    return sorted(found, key=lambda mark: -mark[1])


def _draw_marks(axes: Axes, marks: Sequence[tuple[str, float, str]]) -> None:
    """Draw each form as a mark at the right edge, the texts next to it kept apart."""
    low, high = axes.get_ylim()
    line = 0.16 * (high - low) / 2.7
    edge = axes.get_yaxis_transform()
    place = math.inf
    texts = []
    for text, value, colour in marks:
        place = min(place - line, value)
        texts.append((text, value, place, colour))
    lift = max(0.0, low + 0.5 * line - place)
    for text, value, at, colour in texts:
        axes.plot(
            [1.0],
            [value],
            marker="<",
            ms=7,
            color=colour,
            mec="white",
            mew=0.6,
            transform=edge,
            clip_on=False,
            zorder=6,
        )
        axes.plot(
            [1.01, 1.025], [value, at + lift], color=colour, lw=0.8, transform=edge, clip_on=False
        )
        axes.text(
            1.03,
            at + lift,
            text,
            transform=edge,
            fontsize=8.5,
            color=colour,
            va="center",
            ha="left",
        )
