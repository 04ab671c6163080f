"""The table of options in the documentation; ``python -m tests.docs.options_table`` writes it."""

from __future__ import annotations

import re

from nas_engine.options import OPTIONS, Kind, Option
from tests.docs.pages import DOCS

PAGE = DOCS / "command_line.md"
HEAD = "| option | of | key of the file | value | default | meaning |\n|---|---|---|---|---|---|\n"
_TABLE = re.compile(re.escape(HEAD) + r"(\|.*\n)*")


def _value(row: Option) -> str:
    low, high = row.range.low, row.range.high
    if row.choices and row.metavar is None:
        return ", ".join(row.choices)
    if row.kind in (Kind.INT, Kind.WHOLE, Kind.NUMBER, Kind.NUMBERS, Kind.PERCENT, Kind.PIXELS):
        even = "even " if row.even else ""
        kind = row.kind if row.kind is not Kind.WHOLE else "count"
        return f"{even}{kind}, {low:,.10g} to {high:,.10g}"
    return str(row.kind)


def _line(row: Option) -> str:
    option = f"`{row.option}`" if row.commands else ""
    key = f"`{row.section}.{row.key}`" if row.section else ""
    defaults = ", ".join(dict.fromkeys(filter(None, row.commands.values())))
    cells = (option, ", ".join(row.commands), key, _value(row), defaults, row.help)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def table() -> str:
    """Return the table, one line per row of ``OPTIONS``."""
    return HEAD + "".join(map(_line, OPTIONS))


def written(page: str) -> str:
    """Return a page with the table as it should be."""
    return _TABLE.sub(lambda _: table(), page, count=1)


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
