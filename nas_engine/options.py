"""OPTIONS: what searches, trainings, refinements and whole runs may be asked for, one row each.

From a row come the option of every command that has it, the key of a config file, the Python
argument, the command that repeats a search, and the table of the documentation. ``--help`` reads
the table, so nothing heavy is imported.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas_engine import names, ranges
from nas_engine.errors import InputError, UnknownNameError, shortened
from nas_engine.evolution.limits import LIMITS, Limit
from nas_engine.ranges import ANY, Range
from nas_engine.units import parse_count, parse_duration, parse_latency, parse_size

if TYPE_CHECKING:
    from nas_engine.strict_yaml import Fields

FILE = Path(__file__).with_name("options.toml")
"""Rows of the table; the limits of a search come from ``LIMITS``."""

SECTIONS = ("search", "data", "shortlist", "train", "refine", "verify")
"""Sections of the file of a whole run."""


class Kind(StrEnum):
    """Type of a value, and how it is written."""

    SIZE = "size"
    """Bytes, such as ``256k``."""
    COUNT = "count"
    """A positive number, such as ``50m``."""
    WHOLE = "whole"
    """A whole number, such as ``500k``."""
    INT = "integer"
    """A whole number in plain digits."""
    NUMBER = "number"
    """Any number."""
    NUMBERS = "numbers"
    """Several numbers, with commas between on the command line."""
    PIXELS = "pixels"
    """Several sizes of images, with commas between."""
    PERCENT = "percent"
    """A share from 0 to 100."""
    LATENCY = "latency"
    """Milliseconds of one inference, such as ``200ms``, or ``none``."""
    DURATION = "duration"
    """Seconds, such as ``5m``."""
    TEXT = "text"
    """A name or a path."""
    NAMES = "names"
    """Several names, with commas between on the command line."""
    SWITCH = "switch"
    """True or false."""
    FLAG = "flag"
    """On if it is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One thing that may be asked for."""

    name: str
    """Name of the Python argument and, with hyphens, of the command line."""
    kind: Kind
    """Type of the value."""
    help: str
    """Help without full stop and default."""
    commands: Mapping[str, str] = field(default_factory=dict)
    """Commands that have it, and the default that their help shows; empty for none."""
    group: str = ""
    """Section of the help."""
    section: str = ""
    """Section of the file of a whole run; empty if it is in none."""
    file_key: str = ""
    """Key there, if it is another than the name."""
    range: Range = ANY
    """Least and largest value."""
    example: str = ""
    """A value to type, for help and messages."""
    choices: tuple[str, ...] = ()
    """Names accepted, all if empty."""
    metavar: str | None = None
    """How help writes the value."""
    even: bool = False
    """True if it must be an even number."""
    completes: str = ""
    """Names that a shell completes: ``devices``, ``spaces``, ``recipes``, ``methods``, ``data`` or
    ``teachers``."""

    @property
    def option(self) -> str:
        """Option of the command line."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def key(self) -> str:
        """Key in its section of the file of a whole run."""
        return self.file_key or self.name

    def help_of(self, command: str) -> str:
        """Return the help of the option of a command."""
        example = f", such as {self.example}" if self.example else ""
        default = self.commands[command]
        return f"{self.help}{example}.{f'  [default: {default}]' if default else ''}"

    def from_text(self, text: str, what: str) -> Any:
        """Return the value of a text of the command line.

        Args:
            text: As it was typed.
            what: Name of the option, for messages.

        Raises:
            InputError: No such value.
        """
        low, high = self.range.low, self.range.high
        match self.kind:
            case Kind.SIZE:
                return parse_size(text, what)
            case Kind.COUNT:
                return parse_count(text, what)
            case Kind.DURATION:
                return parse_duration(text, what)
            case Kind.LATENCY:
                return parse_latency(text, what)
            case Kind.NAMES:
                return [part.strip() for part in text.split(",")]
            case Kind.NUMBERS:
                values = [_number(part) for part in text.split(",")]
                if None in values:
                    raise self._error(text, what, "a list of numbers")
                return tuple(values)
            case Kind.PIXELS:
                sizes = [
                    int(part) if part.strip().isdecimal() and len(part) < 9 else 0
                    for part in text.split(",")
                ]
                if not all(low <= size <= high for size in sizes) or len({*sizes}) < len(sizes):
                    words = f"a list of different sizes from {low:,} to {high:,} pixels"
                    raise self._error(text, what, words)
                return tuple(sizes)
            case Kind.WHOLE | Kind.INT:
                value = _count(text) if self.kind is Kind.WHOLE else _number(text)
                words = f"a whole number from {low:,.0f} to {high:,.0f}"
                if value is None or value != int(value) or not low <= value <= high:
                    raise self._error(text, what, words)
                return int(value)
            case Kind.PERCENT | Kind.NUMBER:
                value = _number(text.removesuffix("%") if self.kind is Kind.PERCENT else text)
                if value is None or not low <= value <= high:
                    unit = " percent" if self.kind is Kind.PERCENT else ""
                    raise self._error(text, what, f"a number from {low:g} to {high:g}{unit}")
                return value
        if self.choices and text not in self.choices:
            raise UnknownNameError(f"value for {what}", text, self.choices)
        return text

    def _error(self, text: str, what: str, expected: str) -> InputError:
        example = f"; expected for example {self.example}" if self.example else ""
        return InputError(f"{what}: '{shortened(text)}' is not {expected}{example}")

    def read(self, part: Fields, key: str) -> Any:
        """Return the value of a file or of a caller.

        Raises:
            InputError: No such value.
        """
        low, high = self.range.low, self.range.high
        match self.kind:
            case Kind.SIZE:
                return parse_size(part.take(key), key)
            case Kind.COUNT:
                return parse_count(part.take(key), key)
            case Kind.DURATION:
                return parse_duration(part.take(key), key)
            case Kind.LATENCY:
                return parse_latency(part.take(key), key)
            case Kind.WHOLE:
                return self.from_text(str(part.take(key)), key)
            case Kind.INT:
                low, high = self.range.whole
                number = part.take_int(key, low=low, high=high)
                if self.even and number % 2:
                    expected = f"expected an even number from {low}, such as {number + 1:,}"
                    raise part.error(key, f"is {number:,}; {expected}")
                return number
            case Kind.NUMBER | Kind.PERCENT:
                return part.take_number(key, low=low, high=high)
            case Kind.NUMBERS:
                items = part.take_items(key, of="numbers")
                return tuple(float(items.take_number(at, low=low, high=high)) for at in items)
            case Kind.NAMES:
                items = part.take_items(key, of="texts")
                return [items.take_str(at) for at in items]
            case Kind.SWITCH | Kind.FLAG:
                return part.take_bool(key)
        return part.take_str(key, choices=self.choices)


def _count(text: str) -> float | None:
    try:
        return parse_count(text)
    except InputError:
        return None


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _read(row: dict[str, Any]) -> Option:
    """Return an option of ``options.toml``."""
    limits = row.get("range", "ANY")
    choices = row.get("choices", ())
    return Option(
        **row
        | {
            "kind": Kind(row["kind"]),
            "help": row["help"].format(methods=", ".join(names.Method)),
            "range": getattr(ranges, limits) if isinstance(limits, str) else Range(*limits),
            "choices": tuple(
                map(str, getattr(names, choices) if isinstance(choices, str) else choices)
            ),
        }
    )


def _limit_kind(row: Limit) -> Kind:
    if row.timed:
        return Kind.LATENCY
    return Kind.COUNT if row.counted else Kind.INT if row.of_space else Kind.NUMBER


def _limit_default(row: Limit) -> str:
    if row.timed:
        return "the device's"
    return "the space's" if row.of_space else "none"


def _limit(row: Limit) -> Option:
    """Return the option of a limit."""
    return Option(
        name=row.key,
        kind=_limit_kind(row),
        help=row.help,
        commands=dict.fromkeys(("search", "run"), _limit_default(row)),
        group="Limits",
        section="search",
        range=row.range,
        example=row.example,
    )


def _rows() -> Iterator[Option]:
    for row in tomllib.loads(FILE.read_text(encoding="utf-8"))["options"]:
        if row["name"] == "max_stage_share":
            yield from map(_limit, LIMITS)
        yield _read(row)


OPTIONS: tuple[Option, ...] = tuple(_rows())
"""Options in the order of help, files and tables."""

OF_RECIPES = ("epochs", "float_share", "batch_size", "learning_rate")
"""Options of ``train`` that replace a value of the recipe."""

OF_REFINEMENTS = (
    "images",
    "exact_pairs",
    "swaps",
    "trials",
    "storage",
    "floor",
    "solver_time",
    "limit",
    "seed",
)
"""Options of ``refine`` next to the method and the data."""


def rows_of(command: str) -> dict[str, Option]:
    """Return the options of a command by name."""
    return {row.name: row for row in OPTIONS if command in row.commands}


def rows_in(section: str) -> dict[str, Option]:
    """Return the keys of a section of the file of a whole run."""
    return {row.key: row for row in OPTIONS if row.section == section}


def read_rows(rows: Mapping[str, Option], part: Fields) -> dict[str, Any]:
    """Return the values of a mapping; ``None`` counts as not given.

    Args:
        rows: Options by the key that the mapping has.
        part: The mapping.

    Raises:
        FileFormatError: An unknown key (with the nearest), or a value of the wrong kind.
    """
    part.only(*rows)
    with part.located():
        return {key: row.read(part, key) for key, row in rows.items() if part.has(key)}


def arguments(
    function: str, options: Mapping[str, Any], rows: Mapping[str, Option]
) -> dict[str, Any]:
    """Return the arguments of a function of the Python interface; ``None`` counts as not given.

    Args:
        function: Its name, for messages.
        options: What a caller gave.
        rows: Options that it has, by name.

    Raises:
        InputError: An unknown name (with the nearest), or a value of the wrong kind.
    """
    from nas_engine.strict_yaml import Fields

    for name in options:
        if name not in rows:
            raise UnknownNameError(f"option of {function}()", name, rows)
    return read_rows(rows, Fields(options, f"{function}()"))
