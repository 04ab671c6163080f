"""A whole run that takes seconds, and watchers that stop or kill it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nas_engine.events import SILENT, Event, Finished, Kind, Note, Progress, Sink, Started
from nas_engine.pipeline.run import run_pipeline
from nas_engine.pipeline.run_config import RunConfig, resolve_run_config
from nas_engine.runs.run_options import merged
from nas_engine.runs.run_record import RunRecord
from tests.refine_runs import NEEDED, RESERVED, SPACE


def tiny_config(folder: Path, **changes: Any) -> RunConfig:
    """Return the config of a whole run on a few digits; its space is written into ``folder``."""
    space = folder / "space.yaml"
    if not space.exists():
        space.write_text(SPACE)
    sizes = {
        memory: RESERVED[f"{memory}_bytes"] + NEEDED[f"{memory}_bytes"]
        for memory in ("sram", "flash")
    }
    options = {
        "search": {"space": str(space), "resolution": 8, "candidates": 2000, **sizes},
        "data": {"limit": 300},
        "shortlist": {"count": 2, "epochs": 2},
        "train": {"epochs": 2, "batch_size": 32},
        "refine": {"images": 64, "swaps": 1},
        "verify": {"images": 4, "emulated_images": 1, "backends": ["host-c", "onnx"]},
    }
    return resolve_run_config(merged(options, changes))


def run_tiny(space: Path, run: Path, watch: Sink = SILENT, **changes: Any) -> RunRecord:
    """Do a tiny run, or go on with it.

    Args:
        space: Folder of its space.
        run: Its own folder.
        watch: Sink of its events.
        **changes: Of its config.
    """
    return run_pipeline(
        tiny_config(space, **changes), run, watch=watch, command="nas-search run tiny.yaml"
    )


class Killed(BaseException):
    """Stands for the end of the process: nothing in the project catches it."""


class Recorder:
    """Counts all it is told, remembers what was done, and kills or stops the run at a given number.

    Args:
        kill_at: Count at which to raise ``Killed``.
        stop_at: Count from which ``stop`` says so.
    """

    def __init__(self, kill_at: int | None = None, stop_at: int | None = None) -> None:
        self.kill_at, self.stop_at = kill_at, stop_at
        self.count = 0
        self.done: list[str] = []
        self.why: dict[str, str] = {}
        self.notes: list[str] = []

    def stop(self) -> bool:
        return self.stop_at is not None and self.count >= self.stop_at

    def __call__(self, event: Event, /) -> None:
        counts = False
        match event:
            case Started(stage=stage, text=text) if stage:
                self.done.append(stage)
                self.why[stage] = text
                counts = True
            case Finished(stage=stage):
                counts = bool(stage)
            case Progress(kind=kind, whole=whole):
                counts = not (kind is Kind.VERIFYING and whole)
            case Note(text=text):
                self.notes.append(text)
        self.count += counts
        if counts and self.count == self.kill_at:
            raise Killed
