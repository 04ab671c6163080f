"""Help of every command: options in sections, examples at the end."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

_F = TypeVar("_F", bound=Callable[..., Any])

OTHERS = "Options"
"""Section of the options that have none."""


class SectionOption(click.Option):
    """Option in a section of the help.

    Args:
        section: Its title.
    """

    def __init__(self, *args: Any, section: str = OTHERS, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.section = section


def options_of(title: str) -> Callable[..., Callable[[_F], _F]]:
    """Return ``click.option`` for options of one section of the help."""
    return functools.partial(click.option, cls=SectionOption, section=title)


class Explained(click.Command):
    """A command with examples.

    Args:
        examples: Lines to type.
    """

    def __init__(self, *args: Any, examples: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = tuple(examples)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write commands, then options by section; those without one last."""
        if isinstance(self, click.Group):
            self.format_commands(ctx, formatter)
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = None if isinstance(param, click.Argument) else param.get_help_record(ctx)
            if record is not None:
                sections.setdefault(getattr(param, "section", OTHERS), []).append(record)
        for title, records in sorted(sections.items(), key=lambda item: item[0] == OTHERS):
            with formatter.section(title):
                formatter.write_dl(records)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples as they are."""
        if self.examples:
            with formatter.section("Examples"):
                for line in self.examples:
                    formatter.write(f"{'':{formatter.current_indent}}{line}\n")
        super().format_epilog(ctx, formatter)
