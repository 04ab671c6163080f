"""Record of ``nas-search run``, ``run.json``: inputs, outputs and cost of every stage. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from nas_engine.files import write_atomically
from nas_engine.sealed import read_sealed_json, seal_json
from nas_engine.strict_yaml import Fields

FORMAT = "nas-search/run-record/1"
"""First key of the file."""

STAGES = ("search", "shortlist", "train", "refine", "quantise", "export", "verify", "report")
"""Stages in their order."""

RUNNING, DONE = "running", "done"
"""States of a stage."""

_REMEDY = "remove it to run every stage again"


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRecord:
    """One stage of a run."""

    name: str
    """One of ``STAGES``."""
    state: str
    """``running`` (begun, perhaps killed since) or ``done``."""
    key: str
    """Digest of all that its result depends on: settings, seed, inputs, versions of the file
    formats."""
    settings: Mapping[str, Any]
    """The settings that it depends on, as ``run.yaml`` has them."""
    inputs: Mapping[str, str]
    """Name and digest of what it works on: the outputs of earlier stages, the data."""
    command: str | None
    """Command that does this stage alone; ``None`` where there is none."""
    seconds: float = 0.0
    """Wall time over all attempts."""
    outputs: Mapping[str, str] | None = None
    """Path below the run directory and SHA-256 of every file it left, once done."""
    figures: Mapping[str, Any] | None = None
    """Figures of the result, once done."""

    @property
    def done(self) -> bool:
        """True if the stage finished."""
        return self.state == DONE


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """A whole run."""

    command: str | None
    """Command typed last; ``None`` if none was."""
    versions: Mapping[str, str]
    """Versions of nas-search, Python and the packages that matter."""
    machine: str
    """Operating system, processor and cores."""
    stages: tuple[StageRecord, ...] = ()
    """Those begun, in their order."""

    def stage(self, name: str) -> StageRecord | None:
        """Return a stage, ``None`` if it was never begun."""
        return next((stage for stage in self.stages if stage.name == name), None)

    def with_stage(self, stage: StageRecord) -> RunRecord:
        """Return the record with a stage put in the place of the earlier one of that name."""
        others = {other.name: other for other in self.stages} | {stage.name: stage}
        return replace(self, stages=tuple(others[name] for name in STAGES if name in others))


def record_mapping(record: RunRecord) -> dict[str, Any]:
    """Return the plain values of ``run.json``."""
    return {"format": FORMAT, **asdict(record)}


def write_record(path: Path, record: RunRecord) -> None:
    """Write a record as JSON.

    Raises:
        StorageError: The disk is full.
    """
    write_atomically(path, seal_json(record_mapping(record)))


def read_record(path: Path) -> RunRecord:
    """Return a record.

    Raises:
        UnreadableError: Missing, or the operating system refuses.
        FileFormatError: Damaged, or of another version.
    """
    data, _ = read_sealed_json(path, _REMEDY)
    top = Fields(data, path).only("format", *(f.name for f in fields(RunRecord)))
    if (found := top.take("format", None)) != FORMAT:
        raise top.error("format", f"is {found!r}; expected '{FORMAT}'; {_REMEDY}")
    stages = (
        tuple(_stage(part) for part in top.take_each("stages")) if top.take("stages") != [] else ()
    )
    versions = _mapping(top, "versions")
    assert versions is not None
    return RunRecord(
        command=_text(top, "command"),
        versions=versions,
        machine=top.take_str("machine"),
        stages=stages,
    )


def _stage(part: Fields) -> StageRecord:
    part.only(*(f.name for f in fields(StageRecord)))
    return StageRecord(
        name=part.take_str("name", choices=STAGES),
        state=part.take_str("state", choices=(RUNNING, DONE)),
        key=part.take_str("key"),
        settings=_mapping(part, "settings") or {},
        inputs=_mapping(part, "inputs") or {},
        command=_text(part, "command"),
        seconds=part.take_number("seconds"),
        outputs=_mapping(part, "outputs", optional=True),
        figures=_mapping(part, "figures", optional=True),
    )


def _text(part: Fields, key: str) -> str | None:
    return part.take_str(key) if part.has(key) else None


def _mapping(part: Fields, key: str, *, optional: bool = False) -> dict[str, Any] | None:
    value = part.take(key)
    if value is None and optional:
        return None
    if not isinstance(value, dict):
        raise part.error(key, f"is {value!r}; expected a mapping; {_REMEDY}")
    return value
