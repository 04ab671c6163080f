"""Every error this package raises on purpose, under one root.

Each carries the object it is about as attributes and renders one line: what came, what was
expected, what to type instead. The command line prints that line and exits with ``exit_code``: 2
for bad input, 1 for a failure at run time.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from nas_engine.escaping import terminal_line


def one_line(text: str) -> str:
    """Return a text as one line: line breaks as blanks, other control characters as escapes."""
    return terminal_line(" ".join(text.splitlines()))


def shortened(text: str, most: int = 100) -> str:
    """Return a text cut to what a message can show."""
    return text if len(text) <= most else f"{text[: most - 4]} ..."


def shown_path(path: str) -> str:
    """Return a path for a message: escaped, and without its middle if it is implausibly long."""
    shown = terminal_line(path)
    return shown if len(shown) <= 500 else f"{shown[:100]} ... {shown[-100:]}"


class NasEngineError(Exception):
    """Root of all errors raised on purpose; a failure at run time unless a subclass differs."""

    exit_code = 1


class InputError(NasEngineError):
    """Input that cannot be used; the message says what to give instead."""

    exit_code = 2


class GoalMissedError(NasEngineError):
    """Result that is less than was asked for, although everything was done.

    Attributes:
        what: Measurement, with its amount.
        asked: Amount asked for.
    """

    exit_code = 3

    def __init__(self, what: str, asked: str) -> None:
        self.what = what
        self.asked = asked
        super().__init__(what, asked)

    def __str__(self) -> str:
        return one_line(f"{self.what}; {self.asked}")


class StoppedError(NasEngineError):
    """Stop by the caller before there was a result; what was done is kept.

    Attributes:
        what: Work that was stopped.
        remedy: How to go on.
    """

    def __init__(self, what: str, remedy: str) -> None:
        self.what = what
        self.remedy = remedy
        super().__init__(what, remedy)

    def __str__(self) -> str:
        return one_line(f"{self.what}: stopped; what was done is kept; {self.remedy}")


class UnknownNameError(InputError):
    """A name or key that is not in a closed list.

    Attributes:
        kind: Kind of the name, such as ``"device"`` or ``"key in boards/mine.yaml"``.
        name: Name that came.
        choices: What would have been accepted.
    """

    def __init__(self, kind: str, name: object, choices: Iterable[str]) -> None:
        self.kind = kind
        self.name = str(name)
        self.choices = tuple(choices)
        super().__init__(kind, self.name, self.choices)

    def __str__(self) -> str:
        name = shortened(terminal_line(self.name))
        near = difflib.get_close_matches(name, self.choices, n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        return one_line(
            f"unknown {self.kind}: '{name}'; {hint}expected one of: {', '.join(self.choices)}"
        )


class PathError(InputError):
    """A path that cannot be used for what it was given for.

    Attributes:
        path: The file or directory.
        problem: Problem, and what was expected or what to type instead.
    """

    def __init__(self, path: object, problem: str) -> None:
        self.path = str(path)
        self.problem = problem
        super().__init__(self.path, problem)

    def __str__(self) -> str:
        return one_line(f"{shown_path(self.path)}: {self.problem}")


class FileFormatError(PathError):
    """A file that cannot be read as what it should be."""


class RunDirectoryError(PathError):
    """A run directory that exists already, is of another version, or is not one at all."""


class InfeasibleBudgetError(InputError):
    """No network of the space fits the budget, whatever its bits.

    Attributes:
        resource: ``"peak SRAM"`` or ``"Flash"`` (or a limit such as ``"MACs"``).
        smallest: The least that any network of the space needs, in bytes (or in the limit's unit).
        budget: What was available, same unit.
        layer: Name of the layer that needs the most.
        is_sum: Whether ``smallest`` is the sum over all layers rather than what is live at
            ``layer``.
        remedy: What to type instead.
        unit: ``"B"``, ``"ms"``, or empty for a count.
    """

    def __init__(
        self,
        resource: str,
        smallest: float,
        budget: float,
        *,
        layer: str,
        is_sum: bool,
        remedy: str,
        unit: str = "B",
    ) -> None:
        self.resource = resource
        self.smallest = smallest
        self.budget = budget
        self.layer = layer
        self.is_sum = is_sum
        self.remedy = remedy
        self.unit = unit
        super().__init__(resource, smallest, budget, layer, is_sum, remedy, unit)

    def __str__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        form = ",.3g" if self.unit == "ms" and self.smallest < 1000 else ",.0f"
        return (
            f"no network fits: the smallest possible {self.resource} is "
            f"{self.smallest:{form}}{unit} "
            f"({'most of it ' if self.is_sum else ''}at layer {self.layer}), the budget leaves "
            f"{self.budget:{form}}{unit}; {self.remedy}"
        )
