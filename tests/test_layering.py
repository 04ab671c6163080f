"""Data flows one way: a file imports only from its own step or from the steps before it.

The order stands in ``ORDER``. The checks read the source (every ``import`` anywhere in a file, also
inside functions and under ``TYPE_CHECKING``), so nothing has to be importable; two more tests start
Python to see what really gets loaded.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

ORDER = (
    "nas_engine.faces",
    "nas_engine.escaping",
    "nas_engine.errors",
    "nas_engine.foreign",
    "nas_engine.block_kinds",
    "nas_engine.units",
    "nas_engine.reading",
    "nas_engine.parts",
    "nas_engine.digests",
    "nas_engine.sealed",
    "nas_engine.strict_yaml",
    "nas_engine.names",
    "nas_engine.ranges",
    "nas_engine.records",
    "nas_engine.measured",
    "nas_engine.files",
    "nas_engine.arrays",
    "nas_engine.heap",
    "nas_engine.compilers",
    "nas_engine.interrupts",
    "nas_engine.events",
    "device_profiles",
    "search_spaces",
    "nas_engine.architecture",
    "nas_engine.encoding",
    "nas_engine.layers",
    "nas_engine.population_functions",
    "nas_engine.network",
    "nas_engine.costs",
    "nas_engine.scoring",
    "nas_engine.evolution",
    "nas_engine.options",
    "nas_engine.allocation",
    "nas_engine.datasets",
    "nas_engine.runs",
    "nas_engine.kernels",
    "nas_engine.models",
    "nas_engine.quantization",
    "nas_engine.training",
    "nas_engine.integer",
    "nas_engine.exporters",
    "nas_engine.verification",
    "nas_engine.testing",
    "nas_engine.report",
    "nas_engine.pipeline",
    "nas_engine.api",
    "nas_engine.cli",
)
"""The steps, first to last; one entry is a module or a package with all it holds."""

PACKAGES = ("nas_engine", "device_profiles", "search_spaces")
"""Packages that are installed and checked."""

OUTSIDE = ("tests", "benchmarks")
"""Folders of the project that nothing installed may import."""

LEAVES = ("device_profiles", "search_spaces")
"""Packages that know nothing of the engine but ``SHARED_WITH_LEAVES``, and nothing of each other.
"""

SHARED_WITH_LEAVES = (
    "nas_engine.errors",
    "nas_engine.block_kinds",
    "nas_engine.units",
    "nas_engine.reading",
    "nas_engine.sealed",
    "nas_engine.strict_yaml",
    "nas_engine.ranges",
    "nas_engine.records",
)

HEAVY = (
    "torch",
    "torchvision",
    "optuna",
    "onnx",
    "onnxruntime",
    "flatbuffers",
    "ai_edge_litert",
    "tflite_runtime",
    "tflite_micro",
    "tensorflow",
    "unicorn",
    "ziglang",
)
"""Optional packages that the search must run without."""

MAY_USE_HEAVY = (
    "nas_engine.kernels",
    "nas_engine.models",
    "nas_engine.quantization",
    "nas_engine.training",
    "nas_engine.exporters",
    "nas_engine.verification",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """One module that a file imports."""

    importer: str
    """Dotted name of the importing module."""
    target: str
    """Dotted name of the imported module."""
    place: str
    """``path:line``, for messages."""


def find_modules(root: Path) -> dict[str, Path]:
    """Return the installed modules under a project root, dotted name to file."""
    modules = {}
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return modules


def _absolute(node: ast.ImportFrom, importer: str, is_package: bool) -> str:
    """Return the module that ``from X import ...`` names, with leading dots resolved."""
    if not node.level:
        return node.module or ""
    parts = importer.split(".")
    base = parts[: len(parts) - node.level + is_package]
    return ".".join([*base, *([node.module] if node.module else [])])


def _named_by_text(node: ast.Call) -> str | None:
    """Return the module of ``importlib.import_module("X")`` or ``__import__("X")`` if it is a plain
    absolute text.
    """
    function = node.func
    name = (
        function.attr
        if isinstance(function, ast.Attribute)
        else function.id
        if isinstance(function, ast.Name)
        else ""
    )
    if name not in ("import_module", "__import__") or not node.args:
        return None
    first = node.args[0]
    return (
        first.value
        if isinstance(first, ast.Constant)
        and isinstance(first.value, str)
        and not first.value.startswith(".")
        else None
    )


def find_imports(root: Path) -> list[Import]:
    """Return every import in every installed module, wherever in the file it stands.

    ``from a import b`` counts as an import of ``a.b`` where that is a module, of ``a`` where ``b``
    is a name inside it. That a package is run before its modules is not counted: a package may
    collect names from its modules.
    """
    modules = find_modules(root)
    found = []
    for importer, path in modules.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
            targets: Iterable[str | None]
            if isinstance(node, ast.Import):
                targets = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                base = _absolute(node, importer, path.name == "__init__.py")
                inside = [f"{base}.{alias.name}" for alias in node.names]
                targets = dict.fromkeys(name if name in modules else base for name in inside)
            elif isinstance(node, ast.Call):
                targets = [_named_by_text(node)]
            else:
                continue
            place = f"{path.relative_to(root).as_posix()}:{getattr(node, 'lineno', 0)}"
            found += [
                Import(importer=importer, target=target, place=place)
                for target in targets
                if target
            ]
    return found


def is_under(module: str, names: Iterable[str]) -> bool:
    """Return whether a module is one of the names, or stands inside one of them."""
    return any(module == name or module.startswith(f"{name}.") for name in names)


def position(module: str) -> int | None:
    """Return where a module stands in ``ORDER``; ``None`` if nowhere.

    The bare ``nas_engine`` (version and face only) comes before everything,
    ``nas_engine.__main__`` after everything.
    """
    if module == "nas_engine":
        return 0
    if module == "nas_engine.__main__":
        return len(ORDER)
    return next((index for index, entry in enumerate(ORDER) if is_under(module, [entry])), None)


def find_violations(root: Path) -> list[str]:
    """Return one line for every module without a place and every import against the order; empty
    when all is well.
    """
    problems = [
        f"{path.relative_to(root).as_posix()}: '{module}' stands in no entry of ORDER; give it a "
        "place"
        for module, path in find_modules(root).items()
        if position(module) is None
    ]
    for item in find_imports(root):
        where, target = position(item.importer), position(item.target)
        arrow = f"{item.place}: {item.importer} imports {item.target}"
        if is_under(item.target, OUTSIDE):
            problems.append(f"{arrow}, which is not installed")
        elif not is_under(item.target, PACKAGES) or where is None:
            continue
        elif target is None:
            problems.append(f"{arrow}, which stands in no entry of ORDER")
        elif is_under(item.importer, LEAVES):
            if not is_under(item.target, [item.importer.split(".")[0], *SHARED_WITH_LEAVES]):
                problems.append(
                    f"{arrow}; it may import only {', '.join(SHARED_WITH_LEAVES)} and itself"
                )
        elif target > where:
            problems.append(f"{arrow}, which stands after it")
    return problems


def find_heavy(root: Path) -> list[str]:
    """Return one line for every import of an optional package outside the packages that exist for
    it.
    """
    return [
        f"{item.place}: {item.importer} imports {item.target}"
        for item in find_imports(root)
        if is_under(item.target, HEAVY) and not is_under(item.importer, MAY_USE_HEAVY)
    ]


def find_cycles(root: Path) -> list[str]:
    """Return every group of modules that import each other, as ``a <-> b``; empty when there is
    none.
    """
    modules = find_modules(root)
    edges: dict[str, set[str]] = {module: set() for module in modules}
    for item in find_imports(root):
        if item.target in modules:
            edges[item.importer].add(item.target)
    reach = {module: _reachable(edges, module) for module in modules}
    groups = {
        tuple(sorted(other for other in reach[module] if module in reach[other]))
        for module in modules
        if module in reach[module]
    }
    return [" <-> ".join(group) for group in sorted(groups)]


def _reachable(edges: Mapping[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    todo = list(edges[start])
    while todo:
        module = todo.pop()
        if module not in seen:
            seen.add(module)
            todo += edges[module]
    return seen


class TestProject:
    def test_finds_the_modules(self) -> None:
        modules = find_modules(ROOT)
        assert {
            "nas_engine",
            "nas_engine.errors",
            "device_profiles",
            "search_spaces",
        } <= modules.keys()
        assert any(item.target == "nas_engine.errors" for item in find_imports(ROOT))

    def test_imports_follow_the_order(self) -> None:
        assert find_violations(ROOT) == []

    def test_no_cycles(self) -> None:
        assert find_cycles(ROOT) == []

    def test_the_search_needs_no_optional_package(self) -> None:
        assert find_heavy(ROOT) == []


def write_tree(root: Path, files: Mapping[str, str]) -> Path:
    """Write a small fabricated project and return its root; missing ``__init__.py`` files are
    added.
    """
    for name, text in {**{f"{package}/__init__.py": "" for package in PACKAGES}, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for path in [*root.rglob("*.py")]:
        init = path.parent / "__init__.py"
        if not init.exists():
            init.write_text("", encoding="utf-8")
    return root


class TestCheckerFails:
    """A check that cannot fail proves nothing: each kind of violation, in a fabricated tree."""

    def test_nothing_to_find(self, tmp_path: Path) -> None:
        root = write_tree(
            tmp_path,
            {
                "nas_engine/__init__.py": "__version__ = '1'\n",
                "nas_engine/__main__.py": "from nas_engine.cli.main import main\n",
                "nas_engine/errors.py": "import os\nimport numpy as np\n",
                "nas_engine/costs/__init__.py": (
                    "from nas_engine.costs.flash import Flash\nfrom . import sram\n"
                ),
                "nas_engine/costs/flash.py": "from nas_engine import errors\n",
                "nas_engine/costs/sram.py": (
                    "from .flash import Flash\nfrom ..errors import X\nimport "
                    "device_profiles.profile\n"
                ),
                "nas_engine/models/net.py": "import torch\n",
                "nas_engine/cli/main.py": "from nas_engine import __version__\n",
                "device_profiles/profile.py": (
                    "from nas_engine.errors import X\nfrom device_profiles import y\n"
                ),
            },
        )
        assert find_violations(root) == []
        assert find_cycles(root) == []
        assert find_heavy(root) == []

    @pytest.mark.parametrize(
        ("importer", "text"),
        [
            pytest.param(
                "nas_engine/costs/flash.py", "from nas_engine.evolution import search", id="from"
            ),
            pytest.param(
                "nas_engine/costs/flash.py",
                "import nas_engine.evolution.search as s",
                id="import-as",
            ),
            pytest.param(
                "nas_engine/costs/flash.py", "from nas_engine import evolution", id="from-parent"
            ),
            pytest.param(
                "nas_engine/costs/flash.py", "from ..evolution.search import run", id="relative"
            ),
            pytest.param(
                "nas_engine/costs/__init__.py",
                "from ..evolution import search",
                id="relative-in-package",
            ),
            pytest.param(
                "nas_engine/costs/flash.py",
                "def f():\n    from nas_engine.evolution import search",
                id="in-function",
            ),
            pytest.param(
                "nas_engine/costs/flash.py",
                "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from "
                "nas_engine.evolution import search",
                id="type-checking",
            ),
            pytest.param(
                "nas_engine/costs/flash.py",
                "import importlib\nimportlib.import_module('nas_engine.evolution')",
                id="by-text",
            ),
            pytest.param("nas_engine/__init__.py", "import nas_engine.evolution", id="top-package"),
            pytest.param("nas_engine/errors.py", "import nas_engine.units", id="single-files"),
            pytest.param("nas_engine/errors.py", "import device_profiles", id="leaf-is-later"),
            pytest.param(
                "device_profiles/loader.py",
                "from nas_engine.layers import LayerTable",
                id="leaf-imports-engine",
            ),
            pytest.param(
                "device_profiles/loader.py", "import nas_engine", id="leaf-imports-top-package"
            ),
            pytest.param(
                "device_profiles/loader.py", "import search_spaces", id="leaf-imports-later-leaf"
            ),
            pytest.param(
                "search_spaces/loader.py", "import device_profiles", id="leaf-imports-earlier-leaf"
            ),
            pytest.param("nas_engine/cli/main.py", "import tests.conftest", id="tests"),
            pytest.param(
                "nas_engine/cli/main.py",
                "from nas_engine.helpers import x",
                id="target-without-place",
            ),
        ],
    )
    def test_import_against_the_order(self, tmp_path: Path, importer: str, text: str) -> None:
        base = {
            f"nas_engine/{name}.py": ""
            for name in ("errors", "units", "layers", "costs/flash", "evolution/search", "cli/main")
        }
        assert find_violations(write_tree(tmp_path / "clean", base)) == []
        problems = find_violations(write_tree(tmp_path / "dirty", {**base, importer: text + "\n"}))
        assert len(problems) == 1
        assert problems[0].startswith(f"{importer}:{len(text.splitlines())}: ")

    def test_module_without_a_place(self, tmp_path: Path) -> None:
        problems = find_violations(write_tree(tmp_path, {"nas_engine/helpers.py": ""}))
        assert problems == [
            (
                "nas_engine/helpers.py: 'nas_engine.helpers' stands in no entry of ORDER; give it "
                "a place"
            )
        ]

    def test_a_longer_name_is_another_module(self, tmp_path: Path) -> None:
        assert len(find_violations(write_tree(tmp_path, {"nas_engine/costs_extra.py": ""}))) == 1

    def test_cycle(self, tmp_path: Path) -> None:
        root = write_tree(
            tmp_path,
            {
                "nas_engine/costs/a.py": "from nas_engine.costs import b\n",
                "nas_engine/costs/b.py": "def f():\n    from .c import x\n",
                "nas_engine/costs/c.py": "import nas_engine.costs.a\n",
                "nas_engine/costs/d.py": "import nas_engine.costs.a\n",
            },
        )
        assert find_violations(root) == []
        assert find_cycles(root) == [
            "nas_engine.costs.a <-> nas_engine.costs.b <-> nas_engine.costs.c"
        ]

    def test_cycle_through_a_package(self, tmp_path: Path) -> None:
        root = write_tree(
            tmp_path,
            {
                "nas_engine/costs/__init__.py": "from .a import A\nTABLE = {}\n",
                "nas_engine/costs/a.py": "from nas_engine.costs import TABLE\n",
            },
        )
        assert find_cycles(root) == ["nas_engine.costs <-> nas_engine.costs.a"]

    @pytest.mark.parametrize(
        "text", ["import torch.nn", "def f():\n    import optuna", "from onnx import helper"]
    )
    def test_optional_package(self, tmp_path: Path, text: str) -> None:
        root = write_tree(
            tmp_path,
            {
                "nas_engine/scoring/score.py": text + "\n",
                "nas_engine/training/loop.py": text + "\n",
            },
        )
        assert [line.split(":")[0] for line in find_heavy(root)] == ["nas_engine/scoring/score.py"]


def run_python(code: str) -> list[str]:
    """Run code in a fresh interpreter at the project root and return the lines it printed; fail
    with its error output.
    """
    # No user or site hooks may load what the code under test does not.
    environment = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("PYTHON", "COV_", "NAS_SEARCH_"))
    }
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_pipeline_imports_without_torch() -> None:
    code = f"""
import json, sys

class Blocked:
    tried = []
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {HEAVY!r}:
            self.tried.append(name)
            raise ImportError(f"{{name}} is blocked", name=name)

sys.meta_path.insert(0, Blocked())
try:
    import torch
except ImportError:
    Blocked.tried.clear()
else:
    raise SystemExit("torch could be imported: the block does not work")
import nas_engine.cli.search, nas_engine.pipeline.search, nas_engine.report.run_plots
from nas_engine.allocation import *
from nas_engine.costs import *
from nas_engine.datasets import *
from nas_engine.evolution import *
from nas_engine.integer import IntegerModel, load, run
from nas_engine.report import *
from nas_engine.runs import *
from nas_engine.scoring import *
print(json.dumps([Blocked.tried, sorted(set(sys.modules) & set({HEAVY!r}))]))
"""
    (line,) = run_python(code)
    tried, loaded = json.loads(line)
    assert tried == [], "the search asks for optional packages when it is imported"
    assert loaded == []


def test_help_loads_nothing_slow() -> None:
    code = """
import json, sys

sys.argv = ["nas-search", "--help"]
from nas_engine.cli.main import main
try:
    main()
except SystemExit as end:
    if end.code:
        raise
print(json.dumps(sorted({name.split(".")[0] for name in sys.modules})))
"""
    *text, line = run_python(code)
    assert any("Usage" in row for row in text)
    loaded = set(json.loads(line))
    assert "nas_engine" in loaded
    assert (
        loaded & {"numpy", "matplotlib", "yaml", "tqdm", "numba", "multiprocessing", *HEAVY}
        == set()
    )
