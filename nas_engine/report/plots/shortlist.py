"""Shortlist: the score without training against the accuracy after a short training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from nas_engine.errors import InputError
from nas_engine.report.plots.style import (
    BLUE,
    INK,
    VERMILLION,
    add_panel,
    empty_note,
    new_figure,
    panel_inches,
    picture_style,
)
from nas_engine.report.plots.tips import tip

FEWEST_RANKED = 3
"""Fewest networks for a meaningful rank correlation (chosen here)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShortlistMember:
    """One network that was trained for a short time."""

    rank: int
    """Its place by score, from 1."""
    qe_score: float
    """QE-Score."""
    accuracy: float
    """Accuracy on images held out from training, percent."""
    chosen: bool
    """True if the run continued with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortlist:
    """Networks by score and by accuracy."""

    members: tuple[ShortlistMember, ...]
    """In the order they came."""
    images: int
    """Held-out images that the accuracies are of."""
    epochs: int
    """Epochs that each was trained for."""
    tau: float | None
    """Kendall's tau-b of score and accuracy, -1 to 1; ``None`` for fewer than ``FEWEST_RANKED``
    networks or where it is undefined."""

    def standard_error(self, member: ShortlistMember) -> float:
        """Return the binomial standard error of an accuracy, percentage points.

        ``100 sqrt(p (1 - p) / images)``.
        """
        share = member.accuracy / 100
        return 100 * math.sqrt(share * (1 - share) / self.images)


def kendall_tau(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Return Kendall's tau-b of two rankings with ties.

    Kendall, "The Treatment of Ties in Ranking Problems", Biometrika 1945:

    ``(concordant - discordant) / sqrt((pairs - ties in first) (pairs - ties in second))`` over all
    pairs.

    Args:
        first: One number per item.
        second: The same, as long.

    Returns:
        -1 to 1; ``None`` where all numbers of one ranking are the same, or for fewer than two
        items.
    """
    agreement = untied_first = untied_second = 0
    for (a, b), (c, d) in combinations(zip(first, second, strict=True), 2):
        x, y = (a > c) - (a < c), (b > d) - (b < d)
        agreement, untied_first, untied_second = (
            agreement + x * y,
            untied_first + abs(x),
            untied_second + abs(y),
        )
    product = untied_first * untied_second
    return max(-1.0, min(1.0, agreement / math.sqrt(product))) if product else None


def shortlist_data(members: Sequence[Mapping[str, Any]], images: int, epochs: int) -> Shortlist:
    """Return the shortlist of a run.

    Args:
        members: One mapping per network with ``rank``, ``qe_score``, ``accuracy`` (percent) and
            ``chosen``; other keys are ignored.
        images: Held-out images that the accuracies are of.
        epochs: Epochs that each was trained for.

    Raises:
        InputError: No images, or a network without one of the keys or with something else than
            numbers under them.
    """
    if images < 1:
        raise InputError(f"accuracies of a shortlist on {images!r} images; expected at least one")
    found = []
    for i, row in enumerate(members):
        try:
            member = ShortlistMember(
                rank=int(row["rank"]),
                qe_score=float(row["qe_score"]),
                accuracy=float(row["accuracy"]),
                chosen=bool(row["chosen"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"network {i} of the shortlist: {error!r}; expected rank, qe_score, accuracy and "
                "chosen"
            ) from error
        if not (math.isfinite(member.qe_score) and 0 <= member.accuracy <= 100):
            raise InputError(
                f"network {i} of the shortlist: score {member.qe_score:g}, accuracy "
                f"{member.accuracy:g}; expected a percentage"
            )
        found.append(member)
    enough = len(found) >= FEWEST_RANKED
    tau = (
        kendall_tau([member.qe_score for member in found], [member.accuracy for member in found])
        if enough
        else None
    )
    return Shortlist(members=tuple(found), images=images, epochs=epochs, tau=tau)


@picture_style()
def draw_shortlist(record: Shortlist) -> Figure:
    """Return the picture: a point with its standard error per network, numbered by rank.

    The chosen one is starred.
    """
    left, bottom, width, height = 0.8, 0.62, 6.0, 3.4
    count = len(record.members)
    note = (
        f"{record.epochs} epoch{'s' * (record.epochs != 1)} each;  accuracy on {record.images:,} "
        "held-out images, bars: standard error"
    )
    star = next((member for member in record.members if member.chosen), None)
    if star is not None:
        note += f"\nstar: chosen, rank {star.rank}, {star.accuracy:.1f} %"
    if record.tau is not None:
        note += (
            f"{';  ' if star else chr(10)}rank correlation of score and accuracy (Kendall's tau): "
            f"{record.tau:+.2f}"
        )
    title = f"Shortlist: {count} network{'s' * (count != 1)} trained for a short time"
    figure = new_figure(left + width + 0.35, bottom + height + 1.0, title, note)
    axes = add_panel(figure, left, bottom, width, height)
    if not record.members:
        empty_note(axes, "no network was trained")
        return figure
    scores, errors = (
        [member.qe_score for member in record.members],
        [record.standard_error(member) for member in record.members],
    )
    lows = [member.accuracy - error for member, error in zip(record.members, errors, strict=True)]
    highs = [member.accuracy + error for member, error in zip(record.members, errors, strict=True)]
    spread, reach = (
        (max(scores) - min(scores)) or max(abs(max(scores)), 1.0) * 0.05,
        (max(highs) - min(lows)) or 2.0,
    )
    axes.set_xlim(min(scores) - 0.09 * spread, max(scores) + 0.09 * spread)
    axes.set_ylim(min(lows) - 0.1 * reach, max(highs) + 0.1 * reach)
    for member, error in zip(record.members, errors, strict=True):
        colour = VERMILLION if member.chosen else BLUE
        axes.errorbar(
            member.qe_score,
            member.accuracy,
            yerr=error,
            color=colour,
            lw=1.3,
            capsize=3.5,
            zorder=2 + member.chosen,
        )
        mark, size = ("*", 190) if member.chosen else ("o", 44)
        point = axes.scatter(
            member.qe_score,
            member.accuracy,
            marker=mark,
            s=size,
            color=colour,
            edgecolors="white",
            linewidths=0.7,
            zorder=4 + member.chosen,
        )
        tip(
            point,
            f"rank {member.rank}: QE-Score {member.qe_score:,.2f}, {member.accuracy:.2f} %",
        )
    _write_ranks(axes, record.members)
    axes.set_xlabel("QE-Score, before any training (numbers: rank by score)")
    axes.set_ylabel("held-out accuracy [%]")
    axes.grid(color="#EEEEEE", lw=0.8)
    axes.set_axisbelow(True)
    for direction in (axes.xaxis, axes.yaxis):
        direction.set_major_locator(MaxNLocator(6))
        direction.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    return figure


def _write_ranks(axes: Axes, members: Sequence[ShortlistMember]) -> None:
    """Write the rank of each network next to its point, lower where another one is in the way."""
    width, height = panel_inches(axes)
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    written: list[tuple[float, float]] = []
    for member in sorted(members, key=lambda one: -one.accuracy):
        x, y = (
            (member.qe_score - left) / (right - left) * width,
            (member.accuracy - low) / (high - low) * height,
        )
        x += -0.14 if x > width / 2 else 0.14
        while any(abs(x - other) < 0.24 and abs(y - place) < 0.16 for other, place in written):
            y -= 0.02
        written.append((x, y))
        axes.annotate(
            str(member.rank),
            (x / width, y / height),
            xycoords="axes fraction",
            ha="center",
            va="center",
            fontsize=8.5,
            color=VERMILLION if member.chosen else INK,
            fontweight="bold" if member.chosen else "normal",
            zorder=6,
            annotation_clip=False,
        )
