"""The C files of the runtime depend on each other one way, as the Python modules do."""

from __future__ import annotations

import graphlib
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

import nas_engine.exporters

RUNTIME = Path(nas_engine.exporters.__file__).parent / "runtime"

_NOT_CODE = re.compile(r'/\*.*?\*/|"(?:\\.|[^"\\\n])*"', re.DOTALL)
_DEFINITION = re.compile(r"^(?!static )(?:\w+ )+\**(nas_\w+)\([^;{]*\)\s*\{", re.MULTILINE)
_DECLARATION = re.compile(r"^\w[^;{}]*;", re.MULTILINE)


def included(sources: Mapping[str, str]) -> dict[str, set[str]]:
    """Files of the runtime that each file includes."""
    return {
        name: set(re.findall(r'^\s*#\s*include "([^"]+)"', text, re.MULTILINE))
        for name, text in sources.items()
    }


def used(sources: Mapping[str, str]) -> dict[str, set[str]]:
    """Units whose functions each unit calls or passes on; a unit is a C file and its header.

    The declarations of a header use nothing; its inline functions do.
    """
    code = {name: _NOT_CODE.sub("", text) for name, text in sources.items()}
    home = {
        function: Path(name).stem
        for name, text in code.items()
        for function in _DEFINITION.findall(text)
    }
    found: dict[str, set[str]] = {Path(name).stem: set() for name in code}
    for name, text in code.items():
        names = re.findall(r"\bnas_\w+", _DECLARATION.sub("", text))
        found[Path(name).stem] |= {home[function] for function in names if function in home}
    return {unit: others - {unit} for unit, others in found.items()}


def runtime() -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in RUNTIME.glob("*.[ch]")}


def test_no_file_includes_itself_by_way_of_others() -> None:
    assert set(graphlib.TopologicalSorter(included(runtime())).static_order()) >= set(runtime())


def test_no_unit_needs_itself_by_way_of_others() -> None:
    graph = used(runtime())
    assert graph["nas_depthwise_planes"] == {
        "nas_depthwise_bytes",
        "nas_depthwise_job",
        "nas_words",
    }
    graphlib.TopologicalSorter(graph).prepare()


def test_circles_are_found() -> None:
    sources = {
        "nas_a.h": '#include "nas_b.h"\nvoid nas_a(void);\n',
        "nas_b.h": '#include "nas_a.h"\nNAS_INLINE void nas_b(void)\n{\n    nas_a();\n}\n',
        "nas_a.c": "void nas_a(void)\n{\n    nas_b(); /* nas_c */\n}\n",
        "nas_c.c": 'void nas_c(void)\n{\n    const char *name = "nas_b";\n}\n',
    }
    assert used(sources) == {"nas_a": {"nas_b"}, "nas_b": {"nas_a"}, "nas_c": set()}
    for graph in (included(sources), used(sources)):
        with pytest.raises(graphlib.CycleError):
            graphlib.TopologicalSorter(graph).prepare()
