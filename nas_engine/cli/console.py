"""Output of commands: terminals, ``--quiet``, ``--json`` and colours.

Results go to standard output, progress and errors to standard error. With ``--json`` standard
output holds one JSON object, nothing else.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from functools import partial
from typing import IO, Any, TypeVar, cast

import click

from nas_engine.escaping import terminal_line, terminal_lines
from nas_engine.sealed import ChangedFileWarning

INTERRUPTED = 130
"""Exit code after Ctrl-C, as in shells: 128 + SIGINT."""

_F = TypeVar("_F", bound=Callable[..., Any])

_QUIET, _JSON = "nas-search.quiet", "nas-search.json"


class Progress(StrEnum):
    """Form in which progress is shown."""

    BAR = "bar"
    """Bar that is redrawn on a terminal."""
    LINES = "lines"
    """Line now and then."""
    NONE = "none"
    """Not at all."""


def _remember(key: str) -> Callable[[click.Context, click.Parameter, bool], None]:
    def remember(ctx: click.Context, param: click.Parameter, given: bool) -> None:
        ctx.meta[key] = given or ctx.meta.get(key, False)

    return remember


def quiet_option(function: _F) -> _F:
    """Add ``--quiet`` to a command."""
    text = "Show no progress and no tables, only errors."
    return click.option(
        "-q", "--quiet", is_flag=True, expose_value=False, callback=_remember(_QUIET), help=text
    )(function)


def json_option(function: _F) -> _F:
    """Add ``--json`` to a command."""
    return click.option(
        "--json",
        is_flag=True,
        expose_value=False,
        callback=_remember(_JSON),
        help="Print one JSON object.",
    )(function)


def is_quiet() -> bool:
    """Return whether the command that runs was given ``--quiet``."""
    return _given(_QUIET)


def as_json() -> bool:
    """Return whether the command that runs was given ``--json``."""
    return _given(_JSON)


def _given(key: str) -> bool:
    ctx = click.get_current_context(silent=True)
    return ctx is not None and bool(ctx.meta.get(key))


def progress() -> Progress:
    """Return the form in which progress is shown."""
    if is_quiet():
        return Progress.NONE
    return Progress.BAR if sys.stderr.isatty() or in_notebook() else Progress.LINES


def in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook."""
    return "ipykernel" in sys.modules


def announce(text: str) -> None:
    """Show what is about to be done, on a terminal only: a log file must stay short."""
    if progress() is Progress.BAR:
        click.echo(terminal_line(text), err=True)


def tell(text: str) -> None:
    """Show one line of progress on standard error."""
    if progress() is not Progress.NONE:
        click.echo(terminal_line(text), err=True)


@contextlib.contextmanager
def notes_of_warnings() -> Iterator[None]:
    """Tell every ``ChangedFileWarning`` as one note, once."""
    told: set[str] = set()
    with warnings.catch_warnings():
        others = warnings.showwarning

        def show_warning(
            message: Warning | str, category: type[Warning], *place: Any, **more: Any
        ) -> None:
            if not issubclass(category, ChangedFileWarning):
                others(message, category, *place, **more)
            elif str(message) not in told:
                told.add(str(message))
                tell(f"note: {message}")

        warnings.simplefilter("always", ChangedFileWarning)
        warnings.showwarning = cast(Any, show_warning)
        yield


def show(text: str) -> None:
    """Show a line of a result on standard output, unless ``--quiet`` or ``--json`` is given."""
    show_table(terminal_line(text))


def show_table(text: str) -> None:
    """Show a result of several lines, in which no name may have a line end."""
    if not (is_quiet() or as_json()):
        text = terminal_lines(text)
        click.echo(highlighted(text) if has_colours(sys.stdout) else text)


def show_stopped(text: str) -> None:
    """Show that a command stopped early and how to continue; with ``--json`` on standard error."""
    if as_json():
        tell(text)
    else:
        show(text)


def emit(values: Mapping[str, Any]) -> None:
    """Print the one JSON object, if that was asked for."""
    if as_json():
        click.echo(json.dumps(values))


def has_colours(stream: IO[str]) -> bool:
    """Return whether to use colours: on a terminal without ``NO_COLOR`` (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


_COLOURS: Mapping[str, Mapping[str, Any]] = {
    r"(?<=  )(equal|close)$": {"fg": "green"},
    r"(?<=  )(differs|failed)$": {"fg": "red", "bold": True},
    r"(?<=  )(not run|no code sizes to compare)$": {"fg": "bright_black"},
    r"^verified(?=: )": {"fg": "green", "bold": True},
    r"^FAILED(?=: )": {"fg": "red", "bold": True},
    r"OVER BUDGET by [\d,.]+ B": {"fg": "red", "bold": True},
    r"^warning(?=: )": {"fg": "yellow"},
}
"""Colours of a table, by pattern."""


def highlighted(text: str) -> str:
    """Return a text with verdicts, warnings and what exceeds a budget in colour."""
    for pattern, look in _COLOURS.items():
        text = re.sub(pattern, partial(_painted, look), text, flags=re.MULTILINE)
    return text


def _painted(look: Mapping[str, Any], found: re.Match[str]) -> str:
    return click.style(found[0], **look)


def show_error(message: str) -> None:
    """Show the one line that every error is."""
    word = click.style("error:", fg="red", bold=True) if has_colours(sys.stderr) else "error:"
    click.echo(f"{word} {terminal_line(message)}", err=True)


def require_torch(purpose: str) -> None:
    """Check that torch is installed, without importing it, and say that it is about to be.

    Raises:
        MissingPackageError: It is not; says what to type.
    """
    from nas_engine import api

    api.require_torch(purpose)
    if "torch" not in sys.modules:
        announce("loading torch ...")
