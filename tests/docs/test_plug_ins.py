"""Examples of docs/how_to/own_allocator_or_exporter.md satisfy the contracts of shipped ones."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from nas_engine.allocation.allocator import Allocator
from nas_engine.allocation.table import ALLOCATORS
from nas_engine.exporters.exporter import Exporter
from nas_engine.exporters.table import EXPORTERS
from tests.contracts.allocator_contract import AllocatorContract
from tests.contracts.exporter_contract import ExporterContract
from tests.docs.pages import DOCS, blocks

PAGE = DOCS / "how_to" / "own_allocator_or_exporter.md"


def imported(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Save one of the page's files and import it."""
    (text,) = [block.text for block in blocks(PAGE, "python") if block.file == f"{name}.py"]
    path = folder / f"{name}.py"
    path.write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(f"documented_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


class TestAllocator(AllocatorContract):
    @pytest.fixture
    def allocator(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Allocator:
        found: Allocator = imported("small_first", tmp_path, monkeypatch).SmallFirst()
        assert found.name not in ALLOCATORS
        monkeypatch.setitem(ALLOCATORS, found.name, found)
        return found


class TestExporter(ExporterContract):
    @pytest.fixture
    def exporter(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Exporter:
        found: Exporter = imported("to_csv", tmp_path, monkeypatch).CsvExporter()
        assert found.name not in EXPORTERS
        monkeypatch.setitem(EXPORTERS, found.name, found)
        return found
