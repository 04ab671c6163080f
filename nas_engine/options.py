"""OPTIONS: what searches, trainings, refinements and whole runs may be asked for, one row each.

From a row come the option of every command that has it, the key of a config file, the Python
argument, the command that repeats a search, and the table of the documentation. ``--help`` reads
the table, so nothing heavy is imported.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from nas_engine.errors import InputError, UnknownNameError, shortened
from nas_engine.evolution.limits import LIMITS
from nas_engine.names import MEMORY_MODELS, METHODS
from nas_engine.ranges import (
    ANY,
    BATCH,
    CANDIDATES,
    CLASSES,
    EPOCHS,
    IMAGES,
    LAYERS,
    PROCESSES,
    RATE,
    RESOLUTION,
    SEED,
    SIGMA,
    STAGE_WEIGHT,
    Range,
)
from nas_engine.units import parse_count, parse_duration, parse_size

if TYPE_CHECKING:
    from nas_engine.strict_yaml import Fields

ALL = "all"
"""Stands for every method that needs no measured pairs."""

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
                value = parse_count(text, what) if self.kind is Kind.WHOLE else _number(text)
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
                return part.take_numbers(key, low=low, high=high)
            case Kind.NAMES:
                return list(part.take_list(key, of=str)) if part.take(key) else []
            case Kind.SWITCH | Kind.FLAG:
                return part.take_bool(key)
        return part.take_str(key, choices=self.choices)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


_SEARCH, _RUN = "search", "run"
_BUDGET, _NETWORK, _LIMITS = "Budget", "Network", "Limits"
_SCORING, _COURSE = "Counting and scoring", "Course of the search"
_DATA, _RECIPE, _BITS = "Data", "Recipe", "Choice of bits"
_MEASURING, _WINDOW, _MACHINE = "Measuring", "Entropy window", "Machine"
_SPACES = "the space's"
_RECIPES = "the recipe's"


def _both(default: str) -> dict[str, str]:
    return {_SEARCH: default, _RUN: default}


OPTIONS: tuple[Option, ...] = (
    Option(
        name="device",
        kind=Kind.TEXT,
        help="Device profile; 'nas-search devices' lists them",
        commands=_both("cortex-m7"),
        group=_BUDGET,
        section=_SEARCH,
        metavar="NAME|FILE",
        completes="devices",
    ),
    Option(
        name="sram",
        kind=Kind.SIZE,
        help="SRAM of the device",
        commands=_both("the device's"),
        group=_BUDGET,
        section=_SEARCH,
        example="256k",
    ),
    Option(
        name="flash",
        kind=Kind.SIZE,
        help="Flash of the device",
        commands=_both("the device's"),
        group=_BUDGET,
        section=_SEARCH,
        example="1m",
    ),
    Option(
        name="space",
        kind=Kind.TEXT,
        help="Search space; 'nas-search spaces' lists them",
        commands=_both("mobilenet"),
        group=_NETWORK,
        section=_SEARCH,
        metavar="NAME|FILE",
        completes="spaces",
    ),
    Option(
        name="resolution",
        kind=Kind.INT,
        help="Input height and width",
        commands={_RUN: _SPACES, "score": "the file's; 224 for the authors' structures"},
        group=_NETWORK,
        section=_SEARCH,
        range=RESOLUTION,
    ),
    Option(
        name="resolution",
        kind=Kind.PIXELS,
        help="Input height and width; 96,128,160 searches each",
        commands={_SEARCH: _SPACES},
        group=_NETWORK,
        range=RESOLUTION,
    ),
    Option(
        name="classes",
        kind=Kind.INT,
        help="Classes to tell apart; 0 for no classifier",
        commands={_SEARCH: _SPACES, _RUN: "those of the data"},
        group=_NETWORK,
        section=_SEARCH,
        range=CLASSES,
    ),
    *(
        Option(
            name=row.key,
            kind=Kind.COUNT if row.counted else Kind.NUMBER,
            help=row.help,
            commands=_both("none"),
            group=_LIMITS,
            section=_SEARCH,
            range=row.range,
            example=row.example,
        )
        for row in LIMITS
    ),
    Option(
        name="max_layers",
        kind=Kind.INT,
        help="Limit on convolutions",
        commands=_both(_SPACES),
        group=_LIMITS,
        section=_SEARCH,
        range=LAYERS,
    ),
    Option(
        name="max_stage_share",
        kind=Kind.NUMBER,
        help="Largest share of the depth in one stage; 1 for no guard",
        commands=_both(_SPACES),
        group=_LIMITS,
        section=_SEARCH,
        range=Range(0, 1),
    ),
    Option(
        name="candidates",
        kind=Kind.WHOLE,
        help="Networks to evaluate at least",
        commands=_both("500k"),
        group=_COURSE,
        section=_SEARCH,
        range=CANDIDATES,
    ),
    Option(
        name="time_limit",
        kind=Kind.DURATION,
        help="Stop after this time with the best so far, such as 60s or 5m",
        commands={_SEARCH: "none"},
        group=_COURSE,
    ),
    Option(
        name="time_limit",
        kind=Kind.DURATION,
        help="Stop after this time, such as 1h; --resume goes on",
        commands={"train": "none"},
        group="Course of the training",
    ),
    Option(
        name="seed",
        kind=Kind.INT,
        help="Seed of the search",
        commands={_SEARCH: "0"},
        group=_COURSE,
        section=_SEARCH,
        range=SEED,
    ),
    Option(
        name="workers",
        kind=Kind.INT,
        help="Processes of the search, 4 at most; they do not change the result",
        commands=_both("cores"),
        group=_COURSE,
        range=PROCESSES,
    ),
    Option(
        name="qbr",
        kind=Kind.SWITCH,
        help="Refine bits to the budgets, or only mutate them",
        commands=_both("qbr"),
        group=_COURSE,
        section=_SEARCH,
    ),
    Option(
        name="memory_model",
        kind=Kind.TEXT,
        help="How SRAM, Flash and BitOps are counted",
        commands={**_both("arena"), "score": "arena"},
        group=_SCORING,
        section=_SEARCH,
        choices=MEMORY_MODELS,
    ),
    *(
        Option(
            name=name,
            kind=Kind.NUMBER,
            help=f"QE-Score: standard deviation of {what}",
            commands={**_both(default), "score": default},
            group=_SCORING,
            section=_SEARCH,
            range=SIGMA,
        )
        for name, what, default in (("sigma_a", "activations", "5"), ("sigma_w", "weights", "4"))
    ),
    Option(
        name="stage_weights",
        kind=Kind.NUMBERS,
        help="QE-Score: weight of each stage",
        commands={**_both(_SPACES), "score": _SPACES},
        group=_SCORING,
        section=_SEARCH,
        range=STAGE_WEIGHT,
        example="0,0,1,1,6",
    ),
    Option(
        name="data",
        kind=Kind.TEXT,
        help="CIFAR archive, IDX or image folder, .npz, or scikit-learn's digits",
        commands={_RUN: "digits, with small budgets", "train": "digits"},
        group=_DATA,
        section="data",
        file_key="source",
        metavar="PATH|digits",
        completes="data",
    ),
    Option(
        name="data",
        kind=Kind.TEXT,
        help="Data whose images are used",
        commands=dict.fromkeys(("refine", "evaluate", "verify"), "those it was trained on"),
        group=_DATA,
        metavar="PATH|digits",
        completes="data",
    ),
    Option(
        name="limit",
        kind=Kind.WHOLE,
        help="Images per split at most",
        commands=dict.fromkeys((_RUN, "train", "refine", "evaluate"), "all"),
        group=_DATA,
        section="data",
        range=IMAGES,
        example="1000",
    ),
    Option(
        name="shortlist",
        kind=Kind.INT,
        help="Networks of the front that are trained briefly",
        commands={_RUN: "3"},
        group=_RECIPE,
        section="shortlist",
        file_key="count",
        range=Range(1, 100),
    ),
    Option(
        name="shortlist_epochs",
        kind=Kind.INT,
        help="Epochs of each of them",
        section="shortlist",
        file_key="epochs",
        range=Range(2, EPOCHS.high),
    ),
    Option(
        name="recipe",
        kind=Kind.TEXT,
        help="How to train: cifar, digits, photos, or a YAML file",
        commands=dict.fromkeys((_RUN, "train"), "by the data"),
        group=_RECIPE,
        section="train",
        metavar="NAME|FILE",
        completes="recipes",
    ),
    Option(
        name="teacher",
        kind=Kind.TEXT,
        help="Teacher for distillation: a file, or a wider network trained first",
        commands=dict.fromkeys((_RUN, "train"), "none"),
        group=_RECIPE,
        section="train",
        metavar="FILE|auto|none",
        completes="teachers",
    ),
    Option(
        name="teacher_code",
        kind=Kind.FLAG,
        help="Runs the program in the teacher's FILE (TorchScript), with your rights",
        commands=dict.fromkeys((_RUN, "train"), ""),
        group=_RECIPE,
    ),
    Option(
        name="epochs",
        kind=Kind.INT,
        help="Epochs of both stages",
        commands={_RUN: _RECIPES},
        group=_RECIPE,
        section="train",
        range=Range(2, EPOCHS.high),
    ),
    Option(
        name="epochs",
        kind=Kind.INT,
        help="Epochs of both stages; fixed once begun",
        commands={"train": _RECIPES},
        group=_RECIPE,
        range=EPOCHS,
    ),
    Option(
        name="float_share",
        kind=Kind.NUMBER,
        help="Share of the epochs in float, first",
        commands=dict.fromkeys((_RUN, "train"), _RECIPES),
        group=_RECIPE,
        section="train",
        range=Range(0, 1),
    ),
    Option(
        name="batch_size",
        kind=Kind.INT,
        help="Images of one step",
        commands=dict.fromkeys((_RUN, "train"), _RECIPES),
        group=_RECIPE,
        section="train",
        range=BATCH,
    ),
    Option(
        name="learning_rate",
        kind=Kind.NUMBER,
        help="Peak of the float stage; the other scales along",
        commands=dict.fromkeys((_RUN, "train"), _RECIPES),
        group=_RECIPE,
        section="train",
        range=RATE,
    ),
    Option(
        name="min_accuracy",
        kind=Kind.PERCENT,
        help="Exit code 3 if the integers reach less on the test images, in percent",
        commands=dict.fromkeys((_RUN, "train", "evaluate"), "none"),
        group=_RECIPE,
        section="train",
        range=Range(0, 100),
        example="90",
    ),
    Option(
        name="method",
        kind=Kind.TEXT,
        help="Method that chooses bits again",
        commands={_RUN: "gauss-newton"},
        group=_BITS,
        section="refine",
        choices=(*METHODS, ALL),
        metavar="NAME|all",
        completes="methods",
    ),
    Option(
        name="method",
        kind=Kind.TEXT,
        help=f"Of: {', '.join(METHODS)}; several with commas between, or all",
        commands={"refine": "gauss-newton"},
        group=_BITS,
        metavar="NAME|all",
        completes="methods",
    ),
    Option(
        name="images",
        kind=Kind.INT,
        help="Training images that measure, an even number",
        section="refine",
        range=Range(64, IMAGES.high),
        even=True,
    ),
    Option(
        name="images",
        kind=Kind.WHOLE,
        help="Training images that measure; others judge",
        commands={"refine": "512"},
        group=_MEASURING,
        range=IMAGES,
        example="1000",
    ),
    Option(
        name="exact_pairs",
        kind=Kind.FLAG,
        help="With 'all': measure pairs for 'clado' too, which takes long",
        commands={"refine": ""},
        group=_MEASURING,
    ),
    Option(
        name="swaps",
        kind=Kind.INT,
        help="Rounds of swaps on the real loss; 0: none",
        commands={"refine": "5"},
        group=_BITS,
        section="refine",
        range=Range(0, 1000),
    ),
    Option(
        name="trials",
        kind=Kind.INT,
        help="Trials of 'entropy-window'; 0: untuned",
        commands={"refine": "50"},
        group=_WINDOW,
        section="refine",
        range=Range(0, 100_000),
    ),
    Option(
        name="storage",
        kind=Kind.TEXT,
        help="File of these trials; several processes may share it",
        commands={"refine": "in RUN/refine"},
        group=_WINDOW,
        metavar="PATH",
    ),
    Option(
        name="floor",
        kind=Kind.NUMBER,
        help="'entropy-window' loses so much accuracy at most, for fewest bits",
        commands={"refine": "best accuracy"},
        group=_WINDOW,
        range=Range(0, 100),
        metavar="POINTS",
    ),
    Option(
        name="solver_time",
        kind=Kind.DURATION,
        help="Time for a proof, per method",
        commands={"refine": "20s"},
        group=_BITS,
    ),
    Option(
        name="images",
        kind=Kind.INT,
        help="Test images on this machine",
        commands={"verify": "200"},
        group=_DATA,
        section="verify",
        range=Range(1, 10**6),
    ),
    Option(
        name="emulated_images",
        kind=Kind.INT,
        help="Test images on emulated cores",
        commands={"verify": "20"},
        group=_DATA,
        section="verify",
        range=Range(1, 10**6),
    ),
    Option(
        name="backends", kind=Kind.NAMES, help="Back-ends by name; none for all", section="verify"
    ),
    *(
        Option(
            name="seed",
            kind=Kind.INT,
            help=f"Seed of {what}",
            commands={command: "0"},
            group=group,
            range=SEED,
        )
        for command, what, group in (
            (_RUN, "everything that has none of its own", _MACHINE),
            ("train", "weights, order and augmentation", _RECIPE),
            ("refine", "images and methods", _MEASURING),
        )
    ),
    Option(
        name="threads",
        kind=Kind.INT,
        help="CPU threads of the training; fewer where other work runs",
        commands=dict.fromkeys((_RUN, "train", "evaluate", "refine"), "one per core"),
        group=_MACHINE,
        range=PROCESSES,
    ),
    Option(
        name="accelerator",
        kind=Kind.TEXT,
        help="Where to train",
        commands=dict.fromkeys((_RUN, "train"), "auto: CUDA if there"),
        group=_MACHINE,
        choices=("auto", "cpu", "cuda"),
    ),
)
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
