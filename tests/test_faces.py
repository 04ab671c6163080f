"""Every package shows its face: names that exist, have a docstring, and cost nothing until used."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
import types
from importlib import import_module
from pathlib import Path

import pytest

from nas_engine.faces import face
from tests.generations import ENVIRONMENT
from tests.test_layering import ROOT, find_modules, position

PACKAGES = sorted(
    module for module, path in find_modules(ROOT).items() if path.name == "__init__.py"
)
STUBS = sorted((ROOT / "nas_engine").rglob("__init__.pyi"))


def package_of(stub: Path) -> str:
    return ".".join(stub.parent.relative_to(ROOT).parts)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_has_one(package: str) -> None:
    module = import_module(package)
    assert module.__all__, "a package without public names"
    assert len(set(module.__all__)) == len(module.__all__)
    assert set(module.__all__) <= set(dir(module))
    for name in module.__all__:
        value = getattr(module, name)
        if inspect.isclass(value) or inspect.isfunction(value) or inspect.ismodule(value):
            assert value.__doc__, name


@pytest.mark.parametrize("stub", STUBS, ids=package_of)
def test_a_stub_is_read_as_type_checkers_read_it(stub: Path) -> None:
    package = package_of(stub)
    module = import_module(package)
    listed = {
        alias.asname or "": (node.module or "", alias.name)
        for node in ast.parse(stub.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert set(module.__all__) - {"__version__"} == set(listed)
    for public, (place, name) in listed.items():
        if place != package:
            assert getattr(module, public) is getattr(import_module(place), name), public
        below, at = position(place), position(package)
        assert below is not None
        assert at is not None
        assert package == "nas_engine" or below <= at, f"{package} shows {public} of a later step"


@pytest.mark.parametrize("stub", STUBS, ids=package_of)
def test_a_name_is_no_module_beside_it_unless_it_is_that_module(stub: Path) -> None:
    """Importing ``package.name`` puts the module in the place of a function of this name."""
    module = import_module(package_of(stub))
    beside = {path.stem for path in stub.parent.iterdir() if path.suffix == ".py" or path.is_dir()}
    for name in beside & set(module.__all__):
        assert isinstance(getattr(module, name), types.ModuleType), name


def test_packages_load_nothing_heavy() -> None:
    lazy = [package_of(stub) for stub in STUBS]
    code = (
        f"import sys, importlib\nfor name in {lazy}: importlib.import_module(name)\n"
        "heavy = {'numpy', 'torch', 'yaml', 'matplotlib', 'click'} & set(sys.modules)\n"
        "sys.exit(f'loaded: {heavy}' if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_name_is_loaded_once_and_an_unknown_one_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "__init__.py").write_text("")
    (tmp_path / "shop" / "till.py").write_text("COINS = [1, 2, 5]\n")
    (tmp_path / "shop" / "__init__.pyi").write_text(
        '"""Names."""\n\n'
        "from shop import till as till\nfrom shop.till import COINS as MONEY\n\nx: int\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    load, names, public = face("shop", str(tmp_path / "shop" / "__init__.py"))
    shop = import_module("shop")
    assert public == ["MONEY", "till"]
    assert {"MONEY", "till", "__name__"} <= set(names())
    assert load("MONEY") is shop.MONEY is import_module("shop.till").COINS
    assert load("till") is import_module("shop.till")
    with pytest.raises(AttributeError, match="module 'shop' has no attribute 'COINS'"):
        load("COINS")
