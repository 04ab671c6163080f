"""Sizes, counts and durations as people type and read them.

Sizes are binary throughout: ``256k`` = ``256KiB`` = ``256kB`` = 262,144 bytes, the meaning linker
scripts give them. Decimal and binary prefixes are mixed all over the field, so every figure is
printed as bytes *and* KiB.
"""

from __future__ import annotations

import re

from nas_engine.errors import InputError

ADDRESS_SPACE_BYTES = 2**32
"""Largest size a 32-bit microcontroller could address; anything above is a typing error."""

MEMORY_REGION_BYTES = 2**29
"""Size of the SRAM region (from 0x20000000) and of the code region (from 0) in the memory map that
all Cortex-M cores share."""

_SIZE = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<prefix>[kmg]?)(?:i?b)?", re.IGNORECASE)
_SIZE_FACTOR = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30}
_COUNT = re.compile(r"(?P<number>\d+(?:\.\d+)?(?:e\+?\d+)?)\s*(?P<prefix>[kmg]?)", re.IGNORECASE)
_COUNT_FACTOR = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}
_DURATION = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>s|m|min|h)?", re.IGNORECASE)
_LATENCY = re.compile(
    r"(?P<number>\d+(?:\.\d+)?(?:e[+-]?\d+)?)\s*(?P<unit>us|ms|s)?", re.IGNORECASE
)
_LATENCY_FACTOR = {"us": 1e-3, "": 1, "ms": 1, "s": 1e3}
_DURATION_FACTOR = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600}


def parse_size(text: str | int, what: str = "size") -> int:
    """Return a size in bytes.

    Args:
        text: ``"256k"``, ``"256KiB"``, ``"256kB"``, ``"1m"``, ``"1.5M"``, ``"262144"`` or an
            integer number of bytes.
        what: Name used in the error message, such as ``"--sram"``.

    Raises:
        InputError: Not a size, not positive, not a whole number of bytes, or beyond a 32-bit
            address space.

    Example:
        >>> parse_size("256k")
        262144
    """
    match = _SIZE.fullmatch(str(text).strip()) if not isinstance(text, bool) else None
    if match is None:
        raise InputError(
            f"{what}: '{text}' is not a size; expected a number above 0, such as 256k or 1m "
            "(binary: 256k = 262,144 B)"
        )
    size = float(match["number"]) * _SIZE_FACTOR[match["prefix"].lower()]
    if size > ADDRESS_SPACE_BYTES:
        raise InputError(
            f"{what}: '{text}' is beyond the 4,294,967,296 B (4 GiB) a 32-bit device can address; "
            "expected for example 256k"
        )
    if size <= 0 or size != int(size):
        raise InputError(
            f"{what}: '{text}' is {size:g} B; expected a positive whole number of bytes, such as "
            "256k"
        )
    return int(size)


def parse_count(text: str | int | float, what: str = "count") -> float:
    """Return a positive count; ``k``, ``m`` and ``g`` are decimal here (``50m`` MACs = 50,000,000).

    Raises:
        InputError: Not a positive number.

    Example:
        >>> parse_count("50m")
        50000000.0
    """
    match = _COUNT.fullmatch(str(text).strip()) if not isinstance(text, bool) else None
    count = float(match["number"]) * _COUNT_FACTOR[match["prefix"].lower()] if match else 0.0
    if count <= 0 or count == float("inf"):
        time = match is None and _LATENCY.fullmatch(str(text).strip()) is not None
        raise InputError(
            f"{what}: '{text}' is not a positive number; expected for example 50m (decimal: "
            f"50,000,000){'; a time is --max-latency' if time else ''}"
        )
    return count


def parse_duration(text: str | int | float, what: str = "duration") -> float:
    """Return a duration in seconds from ``"60s"``, ``"5m"``, ``"5min"``, ``"1h"`` or plain seconds.

    Raises:
        InputError: Not a positive duration.

    Example:
        >>> parse_duration("5m")
        300.0
    """
    match = _DURATION.fullmatch(str(text).strip()) if not isinstance(text, bool) else None
    seconds = (
        float(match["number"]) * _DURATION_FACTOR[(match["unit"] or "").lower()] if match else 0.0
    )
    if not 0 < seconds < float("inf"):
        raise InputError(f"{what}: '{text}' is not a duration; expected for example 60s, 5m or 1h")
    return seconds


def parse_latency(text: str | int | float, what: str = "latency") -> float:
    """Return the time of one inference in milliseconds, infinity for ``"none"``.

    Args:
        text: ``"200ms"``, ``"0.2s"``, ``"800us"``, ``"none"``, or plain milliseconds.
        what: Name used in the error message, such as ``"--max-latency"``.

    Raises:
        InputError: Not a positive time.

    Example:
        >>> parse_latency("0.2s")
        200.0
    """
    words = str(text).strip() if not isinstance(text, bool) else ""
    if words.lower() in ("none", "inf"):
        return float("inf")
    match = _LATENCY.fullmatch(words)
    found = (
        float(match["number"]) * _LATENCY_FACTOR[(match["unit"] or "").lower()] if match else 0.0
    )
    if not 0 < found < float("inf"):
        raise InputError(
            f"{what}: '{text}' is not the time of one inference; expected for example 200ms, 0.2s "
            "or none"
        )
    return found


def format_latency(milliseconds: tuple[float, float]) -> str:
    """Return a range of times, such as ``"478 to 999 ms"``, with three digits.

    Example:
        >>> format_latency((477.9, 999.2)), format_latency((2612.0, 5894.0))
        ('478 to 999 ms', '2.61 to 5.89 s')
    """
    low, high = milliseconds
    unit, factor = ("ms", 1.0) if high < 999.5 else ("s", 1e-3)
    return f"{_three(low * factor)} to {_three(high * factor)} {unit}"


def format_milliseconds(milliseconds: float) -> str:
    """Return one time with three digits, such as ``"300 ms"``.

    Example:
        >>> format_milliseconds(300), format_milliseconds(1000)
        ('300 ms', '1 s')
    """
    small = milliseconds < 999.5
    return f"{_three(milliseconds)} ms" if small else f"{_three(milliseconds / 1000)} s"


def _three(value: float) -> str:
    return f"{value:,.0f}" if value >= 99.95 else f"{value:.3g}"


def format_size(size: float) -> str:
    """Return ``"262,144 B (256 KiB)"``: exact bytes, then KiB to at most three decimals.

    Example:
        >>> format_size(262144)
        '262,144 B (256 KiB)'
    """
    kib = f"{size / 1024:,.1f}".removesuffix(".0")
    whole = f"{size:,.0f}" if float(size).is_integer() else f"{size:,.3f}"
    return f"{whole} B ({kib} KiB)"


def format_count(count: float) -> str:
    """Return a count with a decimal prefix, such as ``"38.2 M"``.

    Example:
        >>> format_count(38_200_000)
        '38.2 M'
    """
    for factor, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= 0.9995 * factor:  # what rounds to the prefix
            return f"{count / factor:.3g} {prefix}"
    return f"{count:.0f}"


def format_duration(seconds: float) -> str:
    """Return a duration in the two largest units that it has.

    Example:
        >>> format_duration(7260), format_duration(75.4), format_duration(0.25)
        ('2 h 1 min', '1 min 15 s', '0.2 s')
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    if hours:
        return f"{hours:,} h {minutes} min"
    return f"{minutes} min {whole % 60} s" if minutes else f"{whole} s"
