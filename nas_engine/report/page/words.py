"""Numbers and verdicts as the report writes them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from nas_engine.report.html.document import Cell, Tone
from nas_engine.units import format_count, format_size
from nas_engine.verification.result import Verdict

NONE = "\N{EN DASH}"
"""Where a number is missing."""

TONES = {
    Verdict.EQUAL: Tone.GOOD,
    Verdict.DIFFERS: Tone.BAD,
    Verdict.FAILED: Tone.BAD,
    Verdict.CLOSE: Tone.FAINT,
    Verdict.SKIPPED: Tone.FAINT,
}
"""How verdicts are meant."""

NORMAL_95 = 1.959963984540054
"""Quantile of the normal distribution for an interval of 95 %."""


def number(value: float | None, form: str = ",.0f") -> str:
    """Return a number, or a dash where there is none."""
    return NONE if value is None or not math.isfinite(value) else format(value, form)


def share(part: float, whole: float) -> str:
    """Return a part of a whole in percent; ``whole`` above 0.

    Only the whole is 100.0 %, whatever rounding says.
    """
    found = 100 * part / whole
    if part < whole:
        found = min(found, 99.9)
    elif part > whole:
        found = max(found, 100.1)
    return f"{found:.1f} %"


def percent(value: float | None) -> str:
    """Return a percentage."""
    return NONE if value is None else f"{value:.2f} %"


def seconds(value: float) -> str:
    """Return a wall time."""
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return (
        f"{minutes // 60} h {minutes % 60:02d} min"
        if minutes >= 60
        else f"{minutes} min {rest:02d} s"
    )


def standard_error(accuracy: float, images: int) -> float:
    """Return the binomial standard error of an accuracy in percent, in points."""
    return math.sqrt(accuracy * (100 - accuracy) / images)


def interval(accuracy: float, images: int) -> tuple[float, float]:
    """Return Wilson's (1927) 95 % interval of an accuracy in percent.

    Unlike the standard error it is right near 0 and 100.
    """
    p, z2 = accuracy / 100, NORMAL_95**2
    middle = (p + z2 / (2 * images)) / (1 + z2 / images)
    half = NORMAL_95 * math.sqrt(p * (1 - p) / images + z2 / (4 * images**2)) / (1 + z2 / images)
    return 100 * max(0.0, middle - half), 100 * min(1.0, middle + half)


def verdict(value: Verdict) -> Cell:
    """Return a verdict as a field."""
    return Cell(str(value), TONES[value])


def listed(names: Sequence[str]) -> str:
    """Return names as a sentence has them."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def plural(count: int, one: str, many: str = "") -> str:
    """Return a count with its noun."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


__all__ = [
    "NONE",
    "format_count",
    "format_size",
    "interval",
    "listed",
    "number",
    "percent",
    "plural",
    "seconds",
    "share",
    "standard_error",
    "verdict",
]
