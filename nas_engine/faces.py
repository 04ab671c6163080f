"""Faces of packages: public names, imported when they are first used."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from typing import TypeAlias

Face: TypeAlias = tuple[Callable[[str], object], Callable[[], list[str]], list[str]]
"""``__getattr__``, ``__dir__`` and ``__all__`` of a package."""


def face(package: str, file: str) -> Face:
    """Return ``__getattr__``, ``__dir__`` and ``__all__`` of a package, from the names in its stub.

    The stub, ``__init__.pyi``, is the only list, because type checkers read it too: one line
    ``from MODULE import NAME as NAME`` per name. Importing the package imports none of them.

    Args:
        package: Its ``__name__``.
        file: Its ``__file__``.
    """
    places: dict[str, tuple[str, str]] = {}
    with open(f"{file.rpartition('.')[0]}.pyi", encoding="utf-8") as stub:
        for line in stub:
            match line.split():
                case ["from", module, "import", name, "as", public]:
                    places[public] = module, name

    def load(public: str) -> object:
        if public not in places:
            raise AttributeError(f"module '{package}' has no attribute '{public}'")
        module, name = places[public]
        if module == package:
            return import_module(f"{package}.{name}")
        value = getattr(import_module(module), name)
        setattr(sys.modules[package], public, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *places})

    return load, names, sorted(places)
