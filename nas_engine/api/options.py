"""Arguments of the functions of the interface, and how they are read."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict, cast

from nas_engine.events import Lines, Sink
from nas_engine.foreign import refuse_foreign

if TYPE_CHECKING:
    from nas_engine.report.search_record import SearchRecord
    from nas_engine.runs.run_directory import RunDirectory

Watch: TypeAlias = Callable[[str], object] | Sink
"""Function that is called with lines of text, such as ``print``, or a sink of the very events: an
object that is called with each, and whose ``stop()`` ends the work as ``stop`` does."""

Stop: TypeAlias = Callable[[], bool]
"""Asked often; on True the state is saved and ``StoppedError`` raised."""

Run: TypeAlias = "str | os.PathLike[str] | SearchRecord | RunDirectory"
"""A run: the path of its directory, or a record of it."""

Size: TypeAlias = str | int
"""Bytes, or a text such as ``"256k"``."""

Count: TypeAlias = str | float
"""A number, or a text such as ``"2m"``."""


class RunOptions(TypedDict, total=False):
    """Sections of a whole run, as a config file has them."""

    search: Mapping[str, Any]
    data: Mapping[str, Any]
    shortlist: Mapping[str, Any]
    train: Mapping[str, Any]
    refine: Mapping[str, Any]
    verify: Mapping[str, Any]
    seed: int


def path_of(run: Run) -> Path:
    """Return the directory of a run.

    Raises:
        InputError: Something that is neither a path nor a record, or a model of another program.
    """
    if isinstance(run, str | os.PathLike):
        refuse_foreign(run)
        return Path(run)
    from nas_engine.errors import InputError
    from nas_engine.report.search_record import SearchRecord
    from nas_engine.runs.run_directory import RunDirectory

    if isinstance(run, SearchRecord):
        return run.directory.path
    if isinstance(run, RunDirectory):
        return run.path
    raise InputError(
        f"run is of type {type(run).__name__}; expected the path of a run directory, or what "
        "search() or refine().chosen gave"
    )


def known(function: str, options: Mapping[str, object], names: type) -> None:
    """Refuse an option that a function does not have.

    Raises:
        UnknownNameError: Names the nearest.
    """
    from nas_engine.errors import UnknownNameError

    for name in options:
        if name not in names.__annotations__:
            raise UnknownNameError(f"option of {function}()", name, names.__annotations__)


def require_torch(purpose: str) -> None:
    """Check that torch is installed, without importing it.

    Raises:
        MissingPackageError: It is not; says what to type.
    """
    from importlib.util import find_spec

    if find_spec("torch") is None:
        from nas_engine.datasets import MissingPackageError

        raise MissingPackageError("torch", purpose)


def sink_of(watch: Watch | None, stop: Stop | None = None) -> Sink:
    """Return the sink of a function's ``watch`` and ``stop``.

    Raises:
        InputError: Both are given, and ``watch`` has its own ``stop()``.
    """
    own = getattr(watch, "stop", None)
    if callable(own):
        if stop is not None:
            from nas_engine.errors import InputError

            raise InputError("watch has a stop() of its own; leave the argument stop out")
        return cast(Sink, watch)
    write = cast(Callable[[str], object], watch or (lambda line: None))
    return Lines(write) if stop is None else Lines(write, stop=stop)
