"""``nas-search``: one command with sub-commands; without one it searches."""

from __future__ import annotations

import difflib
import errno
import io
import os
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from nas_engine import __version__
from nas_engine.cli.bits import bits
from nas_engine.cli.command import Explained, options_of
from nas_engine.cli.compare import compare
from nas_engine.cli.completion import complete_runs
from nas_engine.cli.console import (
    INTERRUPTED,
    json_option,
    notes_of_warnings,
    quiet_option,
    show_error,
)
from nas_engine.cli.export import export, verify
from nas_engine.cli.options import command_options
from nas_engine.cli.plot import plot
from nas_engine.cli.refine import refine
from nas_engine.cli.report import report
from nas_engine.cli.run import run
from nas_engine.cli.score import score
from nas_engine.cli.shipped import devices, spaces
from nas_engine.cli.take import take
from nas_engine.cli.train import evaluate, train
from nas_engine.errors import NasEngineError, one_line, shortened, shown_path
from nas_engine.foreign import NOT_TAKEN

LONGEST = 700
"""Longest error shown, in characters (chosen here)."""


_F = TypeVar("_F", bound=Callable[..., Any])

_directory = options_of("Run directory")


class _SearchGroup(Explained, click.Group):
    """Group that searches without a sub-command, and suggests the nearest for an unknown one."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)  # in the order in which they are used

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if (
            args and args[0] not in self.commands and not ctx.resilient_parsing
        ):  # which means that a shell completes
            name = shortened(args[0])
            near = difflib.get_close_matches(name, self.commands, n=1)
            hint = f"did you mean '{near[0]}'? " if near else ""
            if name in ("import", "convert"):
                hint = f"{NOT_TAKEN}; "
            raise click.UsageError(
                f"unknown command '{name}'; {hint}expected one of: {', '.join(self.commands)}, or "
                "options alone to search"
            )
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:  # click would print an empty line
            raise click.Abort from error


_OF_A_SEARCH = (
    command_options("search"),
    _directory(
        "--out",
        type=click.Path(),
        help="Run directory.  [default: runs/DEVICE-SRAM-FLASH-SPACE-RESOLUTION-LIMITS]",
        shell_complete=complete_runs,
    ),
    _directory(
        "--resume",
        is_flag=True,
        help="Continue the run in --out, with its options; more --candidates prolong it.",
    ),
    _directory("--force", is_flag=True, help="Replace the run in --out."),
    _directory(
        "--plots/--no-plots", default=True, help="Draw the pictures at the end.  [default: plots]"
    ),
    _directory(
        "-v",
        "--verbose",
        is_flag=True,
        help="Of several resolutions show every layer of each winner.",
    ),
    json_option,
    quiet_option,
)


def _searches(function: _F) -> _F:
    """Add the options of a search to a command."""
    for option in reversed(_OF_A_SEARCH):
        function = option(function)
    return function


@click.command(
    cls=Explained,
    short_help="Search architecture and bits; the command where none is named.",
    examples=(
        "nas-search search --device stm32f746 --sram 128k --max-macs 20m",
        "nas-search search --resume --out runs/small",
    ),
)
@_searches
@click.pass_context
def search(ctx: click.Context, /, **options: Any) -> None:
    """Search a network and its bits for the budgets of a device; nas-search --sram 64k is the same.

    Ctrl-C writes the best network so far; --resume --out DIR continues.
    """
    from nas_engine.cli.search import search

    if search(**options):
        ctx.exit(INTERRUPTED)


@click.group(
    cls=_SearchGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    examples=(
        "nas-search --device cortex-m7 --sram 256k --flash 1m",
        (
            "nas-search --sram 64k --flash 256k --space mobilenet-32 --classes 10 --max-macs 10m "
            "--out runs/small"
        ),
        "nas-search --resume --out runs/small --candidates 2m",
    ),
)
@_searches
@click.version_option(__version__, prog_name="nas-search")
@click.pass_context
def cli(ctx: click.Context, /, **options: Any) -> None:
    """Design a mixed-precision network for a microcontroller: budget in, network and bits out.

    Without a command it searches (nas-search search); nas-search run does all of it, to verified
    firmware and a report.

    Sizes are binary (256k = 262,144 bytes) and mean the whole device; what the profile reserves for
    firmware is taken off. Ctrl-C writes the best network so far; --resume --out DIR continues a
    run, also one that was killed.
    """
    given = [
        name
        for name in (*options, "json", "quiet")
        if ctx.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT
    ]
    if ctx.invoked_subcommand is not None:
        if given:
            option = next(p.opts[-1] for p in ctx.command.params if p.name == given[0])
            raise click.UsageError(
                f"{option} before '{ctx.invoked_subcommand}' belongs to a search; leave it out or "
                "put it behind"
            )
        return
    if not given:
        click.echo(ctx.get_help())
        return
    ctx.invoke(search, **options)


for _command in (
    run,
    search,
    train,
    evaluate,
    refine,
    export,
    verify,
    report,
    compare,
    take,
    score,
    bits,
    plot,
    devices,
    spaces,
):
    cli.add_command(_command)


def main() -> None:
    """Run the command line; an error is one line and exit code 2 (bad input) or 1 (run time).

    Only programming errors leave a traceback.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # file names need not be UTF-8
    try:
        with notes_of_warnings():
            code = cli.main(prog_name="nas-search", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.Abort:
        _fail("stopped at once; --resume continues from the last checkpoint", INTERRUPTED)
    except click.ClickException as error:
        _fail(error.format_message(), error.exit_code)
    except NasEngineError as error:
        _fail(str(error), error.exit_code)
    except MemoryError:
        _fail("out of memory; close other programs, or give fewer --workers", 1)
    except BrokenPipeError:  # such as `nas-search devices | head -1`
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # or Python complains when it ends
        sys.exit(1)
    except OSError as error:
        place = f"{shown_path(str(error.filename))}: " if error.filename else ""
        _fail(f"{place}{error.strerror or error}", 2 if error.errno == errno.ENAMETOOLONG else 1)
    else:
        sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str, code: int) -> None:
    text = one_line(message)
    half = (
        LONGEST // 2 - 6
    )  # with the word in front and the dots the whole line is no longer than that either
    show_error(text if len(text) <= 2 * half else f"{text[:half]} ... {text[-half:]}")
    sys.exit(code)


if __name__ == "__main__":
    main()
