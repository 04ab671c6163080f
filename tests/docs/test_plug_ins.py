"""Examples of docs/how_to/own_allocator_or_exporter.md satisfy the contracts of shipped ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas_engine.allocation.allocator import Allocator
from nas_engine.allocation.table import ALLOCATORS
from nas_engine.exporters.exporter import Exporter
from nas_engine.exporters.table import EXPORTERS
from nas_engine.parts import ALLOCATOR, EXPORTER
from nas_engine.testing.adopted import adopted
from nas_engine.testing.allocators import AllocatorContract
from nas_engine.testing.exporters import ExporterContract
from tests.docs.pages import DOCS, blocks

PAGE = DOCS / "how_to" / "own_allocator_or_exporter.md"


def saved(name: str, folder: Path) -> str:
    """Save one of the page's files and return its path."""
    (text,) = [block.text for block in blocks(PAGE, "python") if block.file == f"{name}.py"]
    path = folder / f"{name}.py"
    path.write_text(text, encoding="utf-8")
    return str(path)


class TestAllocator(AllocatorContract):
    @pytest.fixture
    def allocator(self, request: pytest.FixtureRequest, tmp_path: Path) -> Allocator:
        given = f"{saved('small_first', tmp_path)}:SmallFirst"
        return adopted(request, ALLOCATOR, given, ALLOCATORS)


class TestExporter(ExporterContract):
    @pytest.fixture
    def exporter(self, request: pytest.FixtureRequest, tmp_path: Path) -> Exporter:
        given = f"{saved('to_csv', tmp_path)}:CsvExporter"
        return adopted(request, EXPORTER, given, EXPORTERS)


def test_the_page_tests_them_by_two_lines() -> None:
    (text,) = [block.text for block in blocks(PAGE, "python") if block.file == "test_mine.py"]
    names: dict[str, object] = {}
    exec(compile(text, "test_mine.py", "exec"), names)
    assert issubclass(names["TestSmallFirst"], AllocatorContract)  # type: ignore[arg-type]
    assert issubclass(names["TestCsv"], ExporterContract)  # type: ignore[arg-type]
