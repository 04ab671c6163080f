"""Parts of the user's own: named by the command that runs them, or registered by a package.

A part is named as ``FILE.py:NAME`` or ``module:NAME``, and is a program: no file of options may
bring it along. A package that is installed registers its parts under names as entry points, which
are looked at only where a name is none of the shipped ones.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from nas_engine.errors import (
    FileFormatError,
    InputError,
    NasEngineError,
    UnknownNameError,
    shortened,
)
from nas_engine.escaping import command_line
from nas_engine.reading import SMALL_FILE, regular_digest

_Part = TypeVar("_Part")

FAILURES = (Exception, SystemExit)
"""Anything that a program of the user's may raise; its ``sys.exit`` would end the command without a
word.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of part."""

    option: str
    """Option that names it, such as ``--method``."""
    noun: str
    """Word for its names, such as ``method``."""
    article: str
    """Description with its article, such as ``an allocator``."""
    group: str
    """Entry points that register it."""
    needs: tuple[str, ...]
    """Attributes that it must have."""


SCORE = Kind(
    option="--score",
    noun="score",
    article="a function",
    group="nas_search.scores",
    needs=("__call__",),
)
COST = Kind(
    option="--cost",
    noun="cost",
    article="a function",
    group="nas_search.costs",
    needs=("__call__",),
)
ALLOCATOR = Kind(
    option="--method",
    noun="method",
    article="an allocator",
    group="nas_search.allocators",
    needs=("name", "summary", "needs", "model", "allocate"),
)
EXPORTER = Kind(
    option="--format",
    noun="format",
    article="an exporter",
    group="nas_search.exporters",
    needs=("name", "missing", "files"),
)
BACK_END = Kind(
    option="--backend",
    noun="back-end",
    article="a back-end",
    group="nas_search.back_ends",
    needs=("name", "exact", "file", "missing", "run"),
)


def is_program(given: object) -> bool:
    """Return whether one of the names that are given, commas between, is a program's."""
    return isinstance(given, str) and ":" in given


def named_again(*given: tuple[Kind, object]) -> list[str]:
    """Return the options that name the programs among what was given, as a command repeats them."""
    return [word for kind, each in given if is_program(each) for word in (kind.option, str(each))]


def check_named(kind: Kind, stored: object, given: object) -> None:
    """Check that no file of options brings a program along that the user does not name as well.

    Args:
        kind: Kind of the part.
        stored: Value in the file of a run or of options.
        given: Value of the command or call; ``None`` if it gives none.

    Raises:
        InputError: A program, and the command names none.
    """
    if given is None and is_program(stored):
        raise InputError(
            f"{kind.option}: the options that are there name the program "
            f"{shortened(str(stored), 300)}, which runs only if the command names it; look at it, "
            f"and add {command_line(kind.option, str(stored))} (in Python "
            f"{kind.option.lstrip('-')}=...)"
        )


def registered(kind: Kind) -> tuple[str, ...]:
    """Return the names that installed packages register, in order."""
    from importlib.metadata import entry_points

    return tuple(sorted({point.name for point in entry_points(group=kind.group)}))


def load(kind: Kind, given: str) -> Any:
    """Return the part that a name stands for: of a file, of a module, or of an installed package.

    Args:
        kind: Kind of the part.
        given: ``FILE.py:NAME``, ``module:NAME``, or a registered name.

    Raises:
        UnknownNameError: Neither a program nor registered.
        FileFormatError: A file or module that cannot be run, or that has no such part.
        InputError: Something that is no part of this kind.
    """
    from importlib.metadata import entry_points

    if not is_program(given):
        points = [point for point in entry_points(group=kind.group) if point.name == given]
        if not points:
            raise UnknownNameError(kind.noun, given, registered(kind))
        return load(kind, points[0].value)
    place, _, name = given.rpartition(":")
    module = _module(place)
    found = getattr(module, name, None)
    if found is None:
        raise FileFormatError(
            place, f"has no {_bare(kind)} '{name}'; give {kind.option} {place}:NAME"
        )
    with blamed(kind, given):
        part = found() if inspect.isclass(found) else found
    if missing := [each for each in kind.needs if not hasattr(part, each)]:
        raise InputError(
            f"{shortened(given)} is no {_bare(kind)}: it has no {', '.join(missing)}; expected "
            f"{kind.article} with {', '.join(kind.needs)}"
        )
    return part


def adopt(kind: Kind, given: str, table: dict[str, _Part]) -> str:
    """Return the name of a row of a table, into which a part of the user's own is put first.

    Args:
        kind: Kind of the part.
        given: Name of a row, or what ``load`` takes.
        table: Parts by their ``name``.

    Raises:
        UnknownNameError: Neither in the table, nor a program, nor registered.
        FileFormatError: As ``load``.
        InputError: As ``load``; or the name of a part that ships.
    """
    if given in table:
        return given
    if not is_program(given) and given not in (known := registered(kind)):
        raise UnknownNameError(kind.noun, given, (*table, *known))
    part: Any = load(kind, given)
    name = str(part.name)
    if not is_foreign(table.get(name, part)):
        raise InputError(
            f"{shortened(given)} calls itself '{shortened(name)}', as {kind.article} that ships; "
            "give it a name of its own"
        )
    table[name] = part
    return name


def is_foreign(part: object) -> bool:
    """Return whether a part is none of those that ship."""
    owner = part if inspect.isfunction(part) else type(part)
    return owner.__module__.partition(".")[0] != __name__.partition(".")[0]


@contextmanager
def blamed(kind: Kind, name: str, part: object = None) -> Iterator[None]:
    """Turn an error of a part of the user's own into one line that names the part.

    Args:
        kind: Kind of the part.
        name: What to call it.
        part: The part; an error of one that ships stays as it is.

    Raises:
        InputError: The part failed.
    """
    try:
        yield
    except (NasEngineError, MemoryError, OSError):
        raise
    except FAILURES as error:
        if part is not None and not is_foreign(part):
            raise
        raise InputError(f"{_bare(kind)} {shortened(name)} fails with {told(error)}") from error


def digest(given: str, part: object) -> str:
    """Return what tells apart two parts of one name: the digest of the Python file that holds them.

    Raises:
        UnreadableError: The file cannot be read.
    """
    module = sys.modules.get(getattr(part, "__module__", None) or "")
    for path in (given.rpartition(":")[0], getattr(module, "__file__", None) or ""):
        if path.endswith(".py"):
            return regular_digest(path, SMALL_FILE)
    return hashlib.sha256(b"").hexdigest()


def told(error: BaseException) -> str:
    """Return an error of a part in a few words."""
    return shortened(f"{type(error).__name__}: {error}", 200)


def _bare(kind: Kind) -> str:
    return kind.article.partition(" ")[2]


def _module(place: str) -> ModuleType:
    """Return the module of a file or of a dotted name."""
    try:
        if not place.endswith(".py"):
            return importlib.import_module(place)
        if not os.path.isfile(place):
            raise FileFormatError(place, "cannot be read; give the path of an existing Python file")
        name = f"_part_{Path(place).stem}"
        spec = importlib.util.spec_from_file_location(name, place)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # dataclasses look there for the names of annotations
        spec.loader.exec_module(module)
    except (FileFormatError, MemoryError, OSError):
        raise
    except FAILURES as error:
        raise FileFormatError(place, f"cannot be run: {told(error)}") from error
    return module
