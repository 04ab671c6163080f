"""Parts of a stranger's contract tests, in the tables for the time of one test."""

from __future__ import annotations

from typing import TypeVar

import pytest

from nas_engine.parts import Kind, adopt

_Part = TypeVar("_Part")


def adopted(
    request: pytest.FixtureRequest, kind: Kind, given: str, table: dict[str, _Part]
) -> _Part:
    """Return a part by the name that ``nas_engine.parts.adopt`` takes, until the test ends."""
    if not given:
        raise NotImplementedError(
            f"a contract class needs `part`, such as part = 'FILE.py:NAME', for {kind.article}"
        )
    before = dict(table)

    def restore() -> None:
        table.clear()
        table.update(before)

    request.addfinalizer(restore)
    return table[adopt(kind, given, table)]
