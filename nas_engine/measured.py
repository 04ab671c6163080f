"""Tables of measurements that ship: YAML files that a benchmark writes, one record a row."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from nas_engine.errors import InputError

_Row = TypeVar("_Row")


def read_rows(
    text: str, record: Callable[..., _Row], form: str, noun: str, command: str
) -> tuple[_Row, ...]:
    """Return the rows of a table.

    Args:
        text: Content of the file.
        record: Makes a row of its keys.
        form: Version of the table's form, under ``format``.
        noun: Word for what the table holds.
        command: Command that writes it.

    Raises:
        InputError: It is no such table.
    """
    import yaml

    try:
        table = yaml.safe_load(text)
        if table["format"] != form:
            raise ValueError(f"format {table['format']!r}")
        return tuple(record(**row) for row in table["rows"])
    except (yaml.YAMLError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"the table of {noun} cannot be read ({error}); expected what {command} writes"
        ) from error
