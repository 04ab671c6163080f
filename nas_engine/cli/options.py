"""Options of the table ``OPTIONS`` as click's, and what else commands share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from nas_engine.cli.command import options_of
from nas_engine.cli.completion import (
    complete_devices,
    complete_list,
    complete_recipes,
    complete_runs,
    complete_spaces,
    complete_words,
)
from nas_engine.errors import InputError
from nas_engine.escaping import command_line
from nas_engine.foreign import refuse_foreign
from nas_engine.names import METHODS_AND_ALL
from nas_engine.options import Kind, Option, rows_of

_F = TypeVar("_F", bound=Callable[..., Any])

_COMPLETE = {
    "devices": complete_devices,
    "spaces": complete_spaces,
    "recipes": complete_recipes,
    "methods": complete_list(*METHODS_AND_ALL),
    "data": complete_words("digits", files=True),
    "teachers": complete_words("auto", "none", files=True),
}
"""Completion of each kind of names in ``Option.completes``."""


class Value(click.ParamType):  # type: ignore[type-arg]  # generic in newer click only
    """The value of a row of ``OPTIONS``."""

    def __init__(self, row: Option) -> None:
        self.row = row
        self.name = str(Kind.COUNT if row.kind is Kind.WHOLE else row.kind)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the value; bad input becomes click's usage error, exit code 2."""
        if not isinstance(value, str):
            return value
        try:
            return self.row.from_text(value, self.row.option)
        except InputError as error:
            raise click.UsageError(str(error)) from error


def command_options(command: str) -> Callable[[_F], _F]:
    """Return a decorator that adds every option that ``OPTIONS`` has for a command."""

    def decorate(function: _F) -> _F:
        for row in reversed(rows_of(command).values()):
            function = _option(row, command)(function)
        return function

    return decorate


def _option(row: Option, command: str) -> Callable[[_F], _F]:
    names, kind = [row.option], dict[str, Any]()
    if row.kind is Kind.FLAG:
        kind = {"is_flag": True}
    elif row.kind is Kind.SWITCH:
        names, kind = [f"{row.option}/--no-{row.option[2:]}"], {"default": None}
    elif row.choices and row.metavar is None:
        kind = {"type": click.Choice(row.choices)}
    else:
        complete = _COMPLETE.get(row.completes)
        kind = {"type": Value(row), "metavar": row.metavar, "shell_complete": complete}
    option = options_of(row.group)
    return option(*names, row.name, help=row.help_of(command), **kind)


RUNS = "runs"
"""Folder of run directories that no option names, and of the runs that compare shows unasked."""


class OwnPath(click.Path):
    """A path that is no model of another program."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path; one that ends like a model becomes click's usage error, exit code 2."""
        try:
            refuse_foreign(value)
        except InputError as error:
            raise click.UsageError(str(error)) from error
        return super().convert(value, param, ctx)


def run_argument(function: _F) -> _F:
    """Add the argument RUN, a run directory."""
    return click.argument("run", type=OwnPath(), shell_complete=complete_runs)(function)


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
            words.append((param.opts if ctx.params.get(name, True) else param.secondary_opts)[-1])
        else:
            value = ctx.params[name]
            words += [param.opts[-1], f"{value:g}s" if _is_duration(param.type) else str(value)]
    return command_line("nas-search", ctx.info_name or "", *arguments, *add, *words)


def _is_duration(kind: click.ParamType) -> bool:  # type: ignore[type-arg]
    return isinstance(kind, Value) and kind.row.kind is Kind.DURATION
