"""Inputs and outputs of a stage as digests: done, to resume, or to do again. No torch."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from nas_engine.digests import NONE, file_digest, surplus
from nas_engine.runs.pipeline_directory import PipelineDirectory
from nas_engine.runs.run_record import StageRecord


class State(StrEnum):
    """State of a stage."""

    DONE = "done"
    """Finished, with all its outputs in place."""
    GOES_ON = "goes on"
    """Started with the same inputs, then interrupted; resume."""
    BEGINS = "begins"
    """It was never begun."""
    AGAIN = "again"
    """It depends on something that has changed, or what it left has: from the start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """State of a stage, and why."""

    state: State
    """State."""
    reason: str = ""
    """Why it is to be done again: what has changed."""


def digest_of(value: Any) -> str:
    """Return the SHA-256 of plain values, whatever the order of keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def plain(value: Any) -> Any:
    """Return plain values as they come back from a file: lists for tuples."""
    return json.loads(json.dumps(value))


def stamp(source: str) -> str:
    """Return a text that changes when data at a path change: names, sizes, times, two levels deep.

    It is the word itself where it is no path.

    Images are not read: the fingerprint of a training, which reads them, is the last word.
    """
    if not os.path.exists(source):
        return source
    places = [
        (os.path.relpath(place, source), *_size_and_time(place))
        for place in _places(source, levels=2)
    ]
    return digest_of([source, places])


def _places(path: str, levels: int) -> Iterator[str]:
    """Return a path and what lies below it, by name; folders that cannot be listed hold nothing."""
    yield path
    if levels:
        try:
            names = sorted(os.listdir(path))
        except OSError:
            return
        for name in names:
            yield from _places(os.path.join(path, name), levels - 1)


def _size_and_time(path: str) -> tuple[int, int]:
    """Return size and time as numbers; zeros for a file that cannot be looked at.

    A dangling link or a vanished file, which the loaders leave out.
    """
    try:
        info = os.stat(path)
    except OSError:
        return 0, 0
    return info.st_size, info.st_mtime_ns


def standing(
    before: StageRecord | None,
    key: str,
    settings: Mapping[str, Any],
    inputs: Mapping[str, str],
    root: Path,
) -> Standing:
    """Return what is to be done with a stage.

    Args:
        before: What is recorded of it.
        key: Digest of its present inputs.
        settings: The settings it depends on now, ``plain``, to say what has changed.
        inputs: The inputs it depends on now, likewise.
        root: Folder of the run.
    """
    if before is None:
        return Standing(state=State.BEGINS)
    if before.key != key:
        return Standing(state=State.AGAIN, reason=_changes(before, settings, inputs))
    if not before.done:
        return Standing(state=State.GOES_ON)
    if (changed := changed_output(before, root)) is not None:
        return Standing(state=State.AGAIN, reason=changed)
    return Standing(state=State.DONE)


def changed_output(stage: StageRecord, root: Path) -> str | None:
    """Return in words the first output of a stage that has changed; ``None`` if none has.

    Args:
        stage: A stage that is done.
        root: Folder of the run.

    Raises:
        UnreadableError: The operating system refuses.
    """
    outputs = stage.outputs or {}
    for name, left in outputs.items():
        found = file_digest(root / name)
        if found != left:
            return f"{name} is {'gone' if found == NONE else 'no longer what it left'}"
    if stage.name != "export":
        return None
    folder = PipelineDirectory(root).final.export
    if folder.is_symlink() or not folder.is_dir():
        return f"{folder.relative_to(root).as_posix()} is no folder"
    below = f"{folder.relative_to(root).as_posix()}/"
    added = surplus(folder, [name.removeprefix(below) for name in outputs])
    return None if added is None else f"{below}{added[0]} ({added[1]}) is not what it left"


def _changes(before: StageRecord, settings: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """Return which settings have other values, or which inputs."""
    old, new = _flat(before.settings), _flat(settings)
    changed = [
        f"{name} {_shown(old.get(name))} -> {_shown(new.get(name))}"
        for name in {**old, **new}
        if old.get(name) != new.get(name)
    ]
    changed += [
        f"other {name}"
        for name in {**before.inputs, **inputs}
        if before.inputs.get(name) != inputs.get(name)
    ]
    return ", ".join(changed) if changed else "another version of nas-search"


def _flat(values: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= (
            _flat(value, f"{above}{name}.") if isinstance(value, Mapping) else {above + name: value}
        )
    return flat


def _shown(value: Any) -> str:
    return "none" if value is None else str(value)
