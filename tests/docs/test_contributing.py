"""CONTRIBUTING: the rooms are all there, and what its lists name exists and is whole."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from nas_engine.block_kinds import BLOCK_KINDS
from nas_engine.costs.schedule import SCHEDULES
from nas_engine.exporters.exporter import RUNS
from nas_engine.network.graph import KINDS
from tests.docs.pages import ROOT
from tests.integer import scalar

TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
ROWS = re.findall(r"`([A-Z]\w*)` of\s+`([\w/]+)\.py`", TEXT)
"""Tables and the files they are in."""


def test_it_is_one_page() -> None:
    assert len(TEXT.splitlines()) <= 90


def test_tables_exist() -> None:
    assert {name for name, _ in ROWS} >= {
        "LIMITS",
        "BLOCK_KINDS",
        "SCHEDULES",
        "KINDS",
        "OPTIONS",
        "Method",
    }


@pytest.mark.parametrize(("name", "file"), ROWS, ids=[name for name, _ in ROWS])
def test_table_is_in_its_file(name: str, file: str) -> None:
    assert len(getattr(importlib.import_module(file.replace("/", ".")), name)) > 0


def test_files_and_folders_exist() -> None:
    named = re.findall(
        r"`((?:nas_engine|tests|benchmarks|device_profiles|search_spaces)/[^`]*)`", TEXT
    )
    missing = [
        path
        for path in named
        if not list(ROOT.glob(path.rstrip("/"))) and "NAME" not in Path(path).name
    ]
    assert missing == []
    assert len(named) > 30


def test_every_package_is_a_room() -> None:
    packages = {path.parent.name for path in (ROOT / "nas_engine").glob("*/__init__.py")}
    rooms = TEXT[TEXT.index("## Rooms") : TEXT.index("## Add something")]
    assert set(re.findall(r"`nas_engine/(\w+)/`", rooms)) == packages


def test_lists_cover_every_row() -> None:
    """The places that a list names have an entry for every kind there is."""
    for schedules in SCHEDULES.values():
        assert set(BLOCK_KINDS) < set(schedules)
    assert set(RUNS) < set(KINDS)
    assert set(scalar.MAKERS) == set(KINDS)  # and tests/integer/test_reference.py runs each
