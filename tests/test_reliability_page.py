"""The page that says how reliability is tested: every test and command that it names exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reliability.md"
REPORTS = 19
"""Public reports of failures that the page goes through."""

_TEST = re.compile(r"`(tests/[\w/]+\.py)::([\w:]+)`")


def rows() -> dict[int, str]:
    """Return the rows of the table of reports by their number."""
    table = PAGE.read_text(encoding="utf-8").partition("## Reports from elsewhere")[2]
    return {
        int(found[1]): found[0] for found in re.finditer(r"^\| (\d+) \|.*$", table, re.MULTILINE)
    }


def named(text: str) -> list[tuple[str, str]]:
    """Return file and name of all tests that a text names."""
    return _TEST.findall(text)


def held(path: Path) -> set[str]:
    """Return the names of classes and tests in a file, tests of classes as ``Class::test``."""
    names = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {
                f"{node.name}::{inner.name}"
                for inner in node.body
                if isinstance(inner, ast.FunctionDef)
            }
    return names


def test_every_report_has_a_row_with_a_test() -> None:
    assert sorted(rows()) == list(range(1, REPORTS + 1))
    assert [number for number, row in rows().items() if not named(row)] == []


@pytest.mark.parametrize(("file", "name"), sorted(set(named(PAGE.read_text(encoding="utf-8")))))
def test_named_tests_exist(file: str, name: str) -> None:
    assert name in held(ROOT / file)


def test_a_name_that_is_not_there_is_found_out() -> None:
    own = held(Path(__file__))
    assert "test_named_tests_exist" in own
    assert "test_of_nothing" not in own
