"""Record of ``nas-search run``, ``run.json``: inputs, outputs and cost of every stage. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nas_engine.errors import UnknownNameError
from nas_engine.files import write_atomically
from nas_engine.records import plain, read_sealed, sealed

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
    """Digest of everything its result depends on: settings, seed, inputs, versions of the file
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

    def __post_init__(self) -> None:
        for what, name, names in (
            ("stage", self.name, STAGES),
            ("state of a stage", self.state, (RUNNING, DONE)),
        ):
            if name not in names:
                raise UnknownNameError(what, name, names)

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
    return {"format": FORMAT, **plain(record)}


def write_record(path: Path, record: RunRecord) -> None:
    """Write a record as JSON.

    Raises:
        StorageError: The disk is full.
    """
    write_atomically(path, sealed(FORMAT, record))


def read_record(path: Path) -> RunRecord:
    """Return a record.

    Raises:
        UnreadableError: Missing, or the operating system refuses.
        FileFormatError: Damaged, or of another version.
    """
    return read_sealed(RunRecord, path, FORMAT, _REMEDY)
