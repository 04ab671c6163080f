"""Option types and option stacks that commands share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from nas_engine.cli.command import options_of
from nas_engine.cli.completion import (
    complete_devices,
    complete_runs,
    complete_spaces,
    complete_words,
)
from nas_engine.errors import InputError
from nas_engine.escaping import command_line
from nas_engine.units import parse_count, parse_duration, parse_size

_F = TypeVar("_F", bound=Callable[..., Any])

MEMORY_MODEL_NAMES = ("arena", "paper")
"""What ``--memory-model`` takes; a test keeps it equal to ``MEMORY_MODELS`` (costs), which is too
heavy to import for ``--help``."""


class Parsed(click.ParamType):  # type: ignore[type-arg]  # generic in newer click only
    """An option value read by one of the functions in ``nas_engine.units``."""

    def __init__(self, name: str, parse: Callable[[str, str], Any]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the parsed value; bad input becomes click's usage error, exit code 2."""
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value, param.opts[0] if param else self.name)
        except InputError as error:
            raise click.UsageError(str(error)) from error


def _numbers(text: str, what: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(
            f"{what}: '{text}' is not a list of numbers; expected for example 0,0,1,1,6"
        ) from error


def _resolutions(text: str, what: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    sizes = [int(part) if part.isdecimal() and len(part) <= 4 else 0 for part in parts]
    if not all(1 <= size <= 1024 for size in sizes) or len(set(sizes)) < len(sizes):
        raise InputError(
            f"{what}: '{text}' is not a list of different sizes from 1 to 1024 pixels; expected "
            "for example 160 or 96,128,160"
        )
    return tuple(sizes)


def _candidates(text: str, what: str) -> int:
    count = parse_count(text, what)
    if not 1 <= count <= 1e12 or count != int(count):
        raise InputError(
            f"{what}: '{text}' is not a whole number from 1 to 1e12; expected for example 500k"
        )
    return int(count)


def _images(text: str, what: str) -> int:
    count = parse_count(text, what)
    if not 2 <= count <= 1e9 or count != int(count):
        raise InputError(
            f"{what}: '{text}' is not a whole number from 2; expected for example 1000"
        )
    return int(count)


def _percent(text: str, what: str) -> float:
    try:
        share = float(text.removesuffix("%"))
    except ValueError:
        share = -1.0
    if not 0 <= share <= 100:  # nor what is no number
        raise InputError(
            f"{what}: '{text}' is not a share from 0 to 100 percent; expected for example 90"
        )
    return share


SIZE = Parsed("size", parse_size)
COUNT = Parsed("count", parse_count)
CANDIDATES = Parsed("count", _candidates)
DURATION = Parsed("duration", parse_duration)
NUMBERS = Parsed("numbers", _numbers)
RESOLUTIONS = Parsed("pixels", _resolutions)
IMAGES = Parsed("images", _images)
PERCENT = Parsed("percent", _percent)

SEED = click.IntRange(0, 2**32 - 1)

budget, network, scoring = (
    options_of("Budget"),
    options_of("Network"),
    options_of("Counting and scoring"),
)
limit, course, directory = (
    options_of("Limits"),
    options_of("Course of the search"),
    options_of("Run directory"),
)

_SCORE = [
    scoring(
        "--memory-model",
        type=click.Choice(MEMORY_MODEL_NAMES),
        help="What SRAM, Flash and BitOps count.  [default: arena]",
    ),
    scoring(
        "--sigma-a", type=float, help="QE-Score: standard deviation of activations.  [default: 5]"
    ),
    scoring("--sigma-w", type=float, help="QE-Score: standard deviation of weights.  [default: 4]"),
    scoring(
        "--stage-weights",
        type=NUMBERS,
        help="QE-Score: weight of each stage, such as 0,0,1,1,6.  [default: the space's]",
    ),
]

_SEARCH = [
    budget(
        "--device",
        metavar="NAME|FILE",
        help="Device profile; 'nas-search devices' lists them.  [default: cortex-m7]",
        shell_complete=complete_devices,
    ),
    budget(
        "--sram",
        "sram_bytes",
        type=SIZE,
        help="SRAM of the device, such as 256k.  [default: the device's]",
    ),
    budget(
        "--flash",
        "flash_bytes",
        type=SIZE,
        help="Flash of the device, such as 1m.  [default: the device's]",
    ),
    network(
        "--space",
        metavar="NAME|FILE",
        help="Search space; 'nas-search spaces' lists them.  [default: mobilenet]",
        shell_complete=complete_spaces,
    ),
    network(
        "--resolution",
        type=RESOLUTIONS,
        help="Input height and width; 96,128,160 searches each.  [default: the space's]",
    ),
    network(
        "--classes",
        type=click.IntRange(0, 65536),
        help="Classes to tell apart; 0 for no classifier.  [default: the space's]",
    ),
    limit("--max-macs", type=COUNT, help="Limit on MACs, such as 50m.  [default: none]"),
    limit("--max-bitops", type=COUNT, help="Limit on BitOps, such as 2g.  [default: none]"),
    limit(
        "--max-cycles",
        type=COUNT,
        help="Limit on the device's estimated cycles, such as 100m.  [default: none]",
    ),
    limit(
        "--max-effectiveness",
        type=float,
        help="Limit on depth over width (DeepMAD's rho), such as 0.7.  [default: none]",
    ),
    limit(
        "--max-layers",
        type=click.IntRange(5, 302),
        help="Limit on convolutions.  [default: the space's]",
    ),
    limit(
        "--max-stage-share",
        type=float,
        help="Largest share of the depth in one stage; 1 for no guard.  [default: the space's]",
    ),
    course("--candidates", type=CANDIDATES, help="Networks to evaluate at least.  [default: 500k]"),
    course(
        "--time-limit",
        type=DURATION,
        help="Stop after this time with the best so far, such as 60s or 5m.  [default: none]",
    ),
    course("--seed", type=SEED, help="Seed of the search.  [default: 0]"),
    course(
        "--workers",
        type=click.IntRange(1, 256),
        help="Processes, 4 at most; they do not change the result.  [default: cores]",
    ),
    course(
        "--qbr/--no-qbr",
        default=None,
        help="Refine bits to the budgets, or only mutate them.  [default: qbr]",
    ),
    *_SCORE,
    directory(
        "--out",
        type=click.Path(),
        help="Run directory.  [default: runs/DEVICE-SRAM-FLASH-SPACE-RESOLUTION]",
        shell_complete=complete_runs,
    ),
    directory(
        "--resume",
        is_flag=True,
        help="Continue the run in --out, with its options; more --candidates prolong it.",
    ),
    directory("--force", is_flag=True, help="Replace the run in --out."),
    directory(
        "--plots/--no-plots", default=True, help="Draw the pictures at the end.  [default: plots]"
    ),
]


def run_argument(function: _F) -> _F:
    """Add the argument RUN, a run directory."""
    return click.argument("run", type=click.Path(), shell_complete=complete_runs)(function)


def data_option(text: str, option: Callable[..., Any] = click.option) -> Callable[[_F], _F]:
    """Return ``--data`` with its help."""
    decorate: Callable[[_F], _F] = option(
        "--data",
        metavar="PATH|digits",
        help=text,
        shell_complete=complete_words("digits", files=True),
    )
    return decorate


def _stack(options: list[Any]) -> Callable[[_F], _F]:
    def decorate(function: _F) -> _F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


search_options = _stack(_SEARCH)
"""Decorator: every option of a search."""

score_options = _stack(_SCORE)
"""Decorator: the options that say how a network is counted and scored."""


def same_command(
    ctx: click.Context, *, add: Sequence[str] = (), leave_out: Sequence[str] = ()
) -> str:
    """Return the command that was typed, to be typed again.

    Args:
        ctx: Of a sub-command.
        add: Words behind the arguments.
        leave_out: Names of parameters that are not repeated.
    """
    words, arguments = [], []
    for param in ctx.command.params:
        name = param.name or ""
        given = ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
        if not given or name in leave_out:
            continue
        if isinstance(param, click.Argument):
            arguments.append(str(ctx.params[name]))
        elif isinstance(param, click.Option) and param.is_flag:
            words.append(param.opts[-1])
        else:
            value = ctx.params[name]
            words += [param.opts[-1], f"{value:g}s" if param.type is DURATION else str(value)]
    return command_line("nas-search", ctx.info_name or "", *arguments, *add, *words)
