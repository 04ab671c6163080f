"""A whole run, from a config to verified firmware and a report: each stage once, or when outdated.

``run.json`` says of every stage what it depends on (settings, and digests of what it works on) and
what it left. A run that is killed goes on where it stopped, to the very same files. Needs torch.
"""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from nas_engine import __version__
from nas_engine.digests import digests
from nas_engine.errors import (
    InputError,
    NasEngineError,
    PathError,
    RunDirectoryError,
)
from nas_engine.escaping import command_line
from nas_engine.events import SILENT, Finished, Sink, Started
from nas_engine.kernels.functions import Kernels
from nas_engine.pipeline.run_checks import check_work
from nas_engine.pipeline.run_config import RunConfig, write_run_config
from nas_engine.pipeline.stages import STAGE_TABLE, Stage
from nas_engine.pipeline.work import Work, recipe_of
from nas_engine.runs.ledger import State, digest_of, plain, standing
from nas_engine.runs.pipeline_directory import PipelineDirectory
from nas_engine.runs.run_directory import RunDirectory
from nas_engine.runs.run_record import (
    DONE,
    RUNNING,
    STAGES,
    RunRecord,
    StageRecord,
    read_record,
    write_record,
)
from nas_engine.units import format_duration

PRECIOUS_S = 600.0
"""Least duration of a stage, in seconds, that is not repeated without ``force`` (chosen here)."""

PACKAGES = (
    "numpy",
    "torch",
    "onnx",
    "onnxruntime",
    "ai-edge-litert",
    "tflite-runtime",
    "ziglang",
    "unicorn",
)
"""Packages whose versions are recorded if installed."""


def run_pipeline(
    config: RunConfig,
    path: Path,
    *,
    force: bool = False,
    workers: int = 1,
    accelerator: str = "cpu",
    kernels: Kernels | None = None,
    teacher_code: bool = False,
    command: str | None = None,
    watch: Sink = SILENT,
) -> RunRecord:
    """Do the stages of a run that are not up to date and return its record.

    If ``watch.stop`` said so, the last stage of the record is not done.

    Args:
        config: What is asked for.
        path: The folder of the run, new or of an earlier one.
        force: Redo stages that take long too, where something they depend on has changed.
        workers: Processes of the search; they do not change the result.
        accelerator: A torch device.
        kernels: Kernels that trainings go through; ``None`` for torch's own way.
        teacher_code: Whether a teacher's file may be a program (TorchScript), which then runs here.
        command: What was typed, for the record.
        watch: Sink of progress and notes, and the answer whether to stop.

    Raises:
        InputError: Bad values, a folder that holds something else, or long work that would be done
            again without ``force``.
        NasEngineError: A stage failed; what was done before stays, and the same call goes on.
        StorageError: The disk is full, likewise.
    """
    directory = PipelineDirectory(path)
    work = Work(
        config=config,
        recipe=recipe_of(config),
        directory=directory,
        workers=workers,
        accelerator=accelerator,
        kernels=kernels,
        teacher_code=teacher_code,
        watch=watch,
    )
    _check_folder(directory)
    check_work(work)
    with _folder_errors(path):
        path.mkdir(parents=True, exist_ok=True)
    with RunDirectory(path).locked():
        record = _record_of(directory, command)
        write_run_config(directory.config, config)
        write_record(directory.record, record)
        for name in STAGES:
            record = _stage(name, STAGE_TABLE[name], work, record, force)
            write_record(directory.record, record)
            done = record.stage(name)
            if done is None or not done.done or (watch.stop() and name != STAGES[-1]):
                break
    return record


def _stage(name: str, stage: Stage, work: Work, record: RunRecord, force: bool) -> RunRecord:
    """Return the record after a stage was done, continued until stopped, or kept."""
    root = work.directory.path
    settings, inputs = plain(stage.settings(work)), stage.inputs(work)
    key = digest_of([stage.version, settings, inputs])
    before = record.stage(name)
    now = standing(before, key, settings, inputs, root)
    if now.state is State.DONE and before is not None and stage.again(before.figures or {}):
        now = replace(now, state=State.BEGINS)
    if (
        now.state is State.AGAIN
        and before is not None
        and before.done
        and before.seconds > PRECIOUS_S
        and not force
    ):
        raise InputError(
            f"{root}: stage '{name}' took {format_duration(before.seconds)} and would be done "
            f"again ({now.reason}); "
            "add --force to do so, or give another --out"
        )
    if now.state is State.DONE:
        work.watch(Finished(stage=name, text="done already"))
        if name == STAGES[0]:
            _renew_configs(work)
        return record
    goes_on = now.state is State.GOES_ON
    why = {State.GOES_ON: "goes on: ", State.AGAIN: f"again ({now.reason}): "}.get(now.state, "")
    work.watch(Started(stage=name, text=f"{why}{stage.purpose}"))
    current = StageRecord(
        name=name,
        state=RUNNING,
        key=key,
        settings=settings,
        inputs=inputs,
        command=command_line(*stage.command(work)) or None,
        seconds=before.seconds if before is not None and goes_on else 0.0,
    )
    write_record(work.directory.record, record.with_stage(current))
    began = time.monotonic()
    figures = stage.perform(work, goes_on)
    current = replace(current, seconds=current.seconds + time.monotonic() - began)
    if figures is not None:
        current = replace(
            current,
            state=DONE,
            figures=plain(figures),
            outputs=digests(root, stage.outputs(work.directory)),
        )
    ends = "" if current.done else "stopped after "
    work.watch(Finished(stage=name, text=f"{ends}{format_duration(current.seconds)}"))
    return record.with_stage(current)


def _renew_configs(work: Work) -> None:
    """Rewrite the configs of the run directories, so that a damaged one repeats no stage."""
    directory, config = work.directory, work.config.search.as_mapping()
    for run in (directory.search, directory.network, directory.final):
        if run.started():
            run.write_config(config)


@contextlib.contextmanager
def _folder_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise PathError(
                path, "is longer than the system allows; give --out a shorter name"
            ) from error
        raise NasEngineError(
            f"{path}: cannot be made ({error.strerror or error}); give --out another place"
        ) from error


def _check_folder(directory: PipelineDirectory) -> None:
    """Refuse a folder that holds something else; nothing is made yet.

    Raises:
        RunDirectoryError: It holds no run, but other files.
        PathError: A name that cannot be.
        NasEngineError: It cannot be looked at.
    """
    path = directory.path
    with _folder_errors(path):
        if not path.exists():
            return
        if not path.is_dir():
            raise RunDirectoryError(path, "is a file; give --out another name")
        if not directory.started() and any(
            not entry.name.startswith(".") for entry in path.iterdir()
        ):
            kind = (
                "a run of single commands"
                if RunDirectory(path).started()
                else "files that are not a run's"
            )
            raise RunDirectoryError(path, f"holds {kind}; give --out a new or empty directory")


def _record_of(directory: PipelineDirectory, command: str | None) -> RunRecord:
    stages: tuple[StageRecord, ...] = ()
    if directory.record.exists():
        before = read_record(directory.record)
        stages, command = before.stages, command or before.command
    return RunRecord(command=command, versions=_versions(), machine=_machine(), stages=stages)


def _versions() -> dict[str, str]:
    found = {"nas-search": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _machine() -> str:
    return f"{platform.system()}, {platform.machine()}, {os.cpu_count() or 1} cores"
