"""Run directory: the files of one search, written whole, read back strictly.

``config.yaml`` what was asked for, ``search.jsonl`` one line per generation, ``checkpoint.npz`` the
state, ``best.yaml`` the winner, ``pareto.csv`` and ``pareto/`` the front, ``memory_plan.json`` the
winner's arena, ``plots/`` the pictures; ``training/`` what training the winner left
(``TrainingDirectory``), ``integer/`` its integer model, ``export/`` the firmware and model files
made of it, ``verification.json`` the proof, ``layer_errors.json`` where the integers lose,
``report.html`` all of it on one page. ``refine/`` holds measurements (``RefineDirectory``) and one
run directory per method of allocation, each with ``start.pt``, the float weights that its training
begins with, and ``allocation.json``, how its bits were chosen. A search at several resolutions has
a directory with its own ``config.yaml``, one run directory ``rN`` per resolution and
``resolutions.csv``, the winners side by side.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas_engine.architecture import Architecture, dump_architecture, read_architecture
from nas_engine.errors import FileFormatError, RunDirectoryError
from nas_engine.escaping import command_line
from nas_engine.files import (
    storage_errors,
    sweep,
    sync_folder,
    temporary,
    write_atomically,
    write_synced,
)
from nas_engine.runs.search_front import SearchFront
from nas_engine.runs.search_history import SearchHistory
from nas_engine.sealed import seal_json, seal_yaml
from nas_engine.strict_yaml import dump_mapping, read_mapping

if sys.platform != "win32":
    import fcntl

FORMAT = "nas-search/run/1"
"""First key of ``config.yaml``; a directory of another version is refused."""

GROUP_FORMAT = "nas-search/resolutions/1"
"""The same for a search at several resolutions."""

_RESULTS = (
    "search.jsonl",
    "best.yaml",
    "memory_plan.json",
    "pareto.csv",
    "pareto",
    "plots",
    "resolutions.csv",
    "report.html",
)
_TRAINED = (
    "training",
    "integer",
    "export",
    "verification.json",
    "layer_errors.json",
    "refine",
    "start.pt",
    "allocation.json",
    "classes.json",
)
_KNOWN = {"config.yaml", "checkpoint.npz", *_RESULTS, *_TRAINED}


@dataclass(frozen=True, slots=True)
class TrainingDirectory:
    """Paths of one training: of a winner, or of the teacher that is trained for it."""

    path: Path
    """The folder."""

    @property
    def checkpoint(self) -> Path:
        """State that ``--resume`` continues."""
        return self.path / "checkpoint.pt"

    @property
    def recipe(self) -> Path:
        """The recipe, with every option applied."""
        return self.path / "recipe.yaml"

    @property
    def metrics(self) -> Path:
        """One line per epoch."""
        return self.path / "metrics.jsonl"

    @property
    def float_network(self) -> Path:
        """The network at the end of the float stage."""
        return self.path / "float.pt"

    @property
    def network(self) -> Path:
        """The network at the end."""
        return self.path / "network.pt"

    @property
    def classes(self) -> Path:
        """Names of the classes, in the order of the network's outputs."""
        return self.path / "classes.json"

    @property
    def result(self) -> Path:
        """Result of the training."""
        return self.path / "result.json"

    @property
    def teacher(self) -> TrainingDirectory:
        """Where a teacher of its own is trained."""
        return TrainingDirectory(self.path / "teacher")

    def remove(self) -> None:
        """Remove an earlier training.

        Raises:
            StorageError: Something cannot be removed.
        """
        with storage_errors(self.path):
            _remove(self.path)


@dataclass(frozen=True, slots=True)
class RefineDirectory:
    """Paths of a refinement: measurements, study, a run directory per method, comparison."""

    path: Path
    """The folder."""

    @property
    def study(self) -> Path:
        """Trials of the entropy window."""
        return self.path / "entropy_study.log"

    @property
    def comparison(self) -> Path:
        """All methods side by side."""
        return self.path / "comparison.json"

    def measurement(self, name: str) -> Path:
        """Return the file of a measurement, such as ``"singles"``."""
        return self.path / f"{name}.npz"

    def run(self, method: str) -> RunDirectory:
        """Return the run directory of a method."""
        return RunDirectory(self.path / method)


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """Paths and files of one run, or of one search at several resolutions."""

    path: Path
    """The directory."""

    @property
    def checkpoint(self) -> Path:
        """The checkpoint file."""
        return self.path / "checkpoint.npz"

    @property
    def plots(self) -> Path:
        """The folder of pictures."""
        return self.path / "plots"

    @property
    def training(self) -> TrainingDirectory:
        """Where the winner is trained."""
        return TrainingDirectory(self.path / "training")

    @property
    def classes(self) -> Path:
        """Names of the classes, in the order of the outputs of ``start``."""
        return self.path / "classes.json"

    @property
    def start(self) -> Path:
        """Initial float weights of the training, not random ones; only a refined run has them."""
        return self.path / "start.pt"

    @property
    def allocation(self) -> Path:
        """How the bits of a refined run were chosen."""
        return self.path / "allocation.json"

    @property
    def refine(self) -> RefineDirectory:
        """Results of refining the bits."""
        return RefineDirectory(self.path / "refine")

    @property
    def history(self) -> SearchHistory:
        """Record of every generation of the search."""
        return SearchHistory(self.path / "search.jsonl")

    @property
    def front(self) -> SearchFront:
        """The networks that the search leaves to choose from."""
        return SearchFront(self.path)

    @property
    def integer(self) -> Path:
        """The folder of the integer model."""
        return self.path / "integer"

    @property
    def export(self) -> Path:
        """The folder of the exports."""
        return self.path / "export"

    @property
    def verification(self) -> Path:
        """The record of the last verification."""
        return self.path / "verification.json"

    @property
    def layer_errors(self) -> Path:
        """The quantisation error of every layer."""
        return self.path / "layer_errors.json"

    def remove_exports(self) -> None:
        """Remove what was made of an earlier training.

        Raises:
            StorageError: Something cannot be removed.
        """
        with storage_errors(self.export):
            for path in (self.export, self.verification, self.layer_errors):
                _remove(path)

    def write_export(self, files: Mapping[str, bytes]) -> None:
        """Write an export: all files or none.

        One that is there is replaced once the new one is whole, and its verification removed.

        Args:
            files: Contents by their path below ``export/``, ``/`` between folders.

        Raises:
            StorageError: The disk is full or the directory cannot be written; the old export stays.
        """
        draft, old = temporary(self.export), temporary(self.path / "export.old")
        sweep(self.path)
        with storage_errors(self.export):
            try:
                for name, content in files.items():
                    path = draft / name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    write_synced(path, content)
                for folder in sorted(
                    {
                        folder
                        for name in files
                        for folder in (draft / name).parents
                        if folder.is_relative_to(draft)
                    }
                ):
                    sync_folder(folder)
                self.verification.unlink(missing_ok=True)
                if os.path.lexists(self.export):
                    self.export.rename(old)
                try:
                    draft.rename(self.export)
                except OSError:
                    if os.path.lexists(old):
                        old.rename(self.export)
                    raise
                sync_folder(self.path)
            finally:
                for _ in range(2):  # a removal that failed once is tried again
                    sweep(self.path)

    def member(self, resolution: int) -> RunDirectory:
        """Return the run directory of one of several resolutions."""
        return RunDirectory(self.path / f"r{resolution}")

    def check_single(self) -> None:
        """Refuse a directory that is no run, or a search at several resolutions.

        Raises:
            RunDirectoryError: Says which directory to give instead.
        """
        config = self.read_config()
        if "resolutions" in config:
            names = ", ".join(str(self.member(size).path) for size in config["resolutions"])
            raise RunDirectoryError(
                self.path, f"holds one run per resolution; give one of them: {names}"
            )

    def started(self) -> bool:
        """Return whether a run has begun here."""
        return os.path.exists(
            self.path / "config.yaml"
        )  # unlike Path.exists, False for a name that cannot be

    def open(self, *, resume: bool, force: bool) -> None:
        """Make the run directory after checking that a run may be written; no file is changed.

        Raises:
            RunDirectoryError: It holds a run and neither ``resume`` nor ``force`` is given, or it
                holds something else.
            StorageError: It cannot be made.
        """
        with storage_errors(self.path):
            if self.path.exists() and not self.path.is_dir():
                raise RunDirectoryError(self.path, "is a file; give --out another name")
            names = {path.name for path in self.path.iterdir()} if self.path.exists() else set()
            foreign = {name for name in names - _KNOWN if not name.startswith(".")}
            if self.started():
                if not (resume or force):
                    raise RunDirectoryError(
                        self.path,
                        "holds a run already; add --resume to continue it, --force to replace it, "
                        "or give another --out",
                    )
            elif foreign:
                raise RunDirectoryError(
                    self.path,
                    f"holds files that are not a run's ('{min(foreign)}'); give --out a new or "
                    "empty directory",
                )
            elif names & _KNOWN and not force:
                found = min(names & _KNOWN)
                raise RunDirectoryError(
                    self.path,
                    f"holds '{found}' of a run but no config.yaml; put it back, or add --force to "
                    "replace it all",
                )
            self.path.mkdir(parents=True, exist_ok=True)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other searches and trainings out of the directory; the lock ends with the process.

        What killed processes left half-written is removed first.

        Raises:
            RunDirectoryError: Another one is at work here.
        """
        if sys.platform == "win32":
            yield
            return
        with storage_errors(self.path):
            descriptor = os.open(self.path, os.O_RDONLY)
        try:
            with contextlib.suppress(OSError):  # a file system without locks
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError as error:
                    raise RunDirectoryError(
                        self.path,
                        "is in use by another nas-search; wait for it, or give another directory",
                    ) from error
            sweep(self.path)
            yield
        finally:
            os.close(descriptor)

    def begin(self, config: Mapping[str, Any]) -> None:
        """Start from scratch: remove what an earlier run left, write the new ``config.yaml``.

        Foreign files stay.

        A kill in between leaves a directory that is still known as a run, old or new, but has no
        checkpoint: it starts from scratch again.

        Raises:
            StorageError: Something cannot be removed or written.
        """
        with storage_errors(self.path):
            self.checkpoint.unlink(missing_ok=True)
            for member in self._members():
                member.remove()
        self.write_config(config)
        with storage_errors(self.path):
            for name in (*_RESULTS, *_TRAINED):
                _remove(self.path / name)

    def remove(self) -> None:
        """Remove the run, and the directory if nothing else is in it."""
        for name in sorted(_KNOWN):
            _remove(self.path / name)
        sweep(self.path)
        with contextlib.suppress(OSError):  # not empty: foreign files stay
            self.path.rmdir()

    def _members(self) -> list[RunDirectory]:
        """Return the run directories of the resolutions; none for one resolution.

        None for a damaged config either.
        """
        try:
            resolutions = self.read_config().get("resolutions")
        except (RunDirectoryError, FileFormatError):
            return []
        members = [self.member(size) for size in resolutions or () if type(size) is int]
        return [member for member in members if member.started()]

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Write ``config.yaml``; a config with ``resolutions`` is that of several."""
        text = dump_mapping(
            {"format": GROUP_FORMAT if "resolutions" in config else FORMAT, **config}
        )
        write_atomically(self.path / "config.yaml", seal_yaml(text))

    def read_config(self) -> dict[str, Any]:
        """Return what ``config.yaml`` holds.

        Raises:
            RunDirectoryError: No run directory, or one of another version.
            FileFormatError: A damaged file.
        """
        if not self.started():
            raise RunDirectoryError(
                self.path,
                "is not a run directory (no config.yaml); give the directory that a search wrote, "
                "such as runs/NAME",
            )
        config = read_mapping(self.path / "config.yaml", self._mends("--force"))
        found = config.pop("format", None)
        if found != (GROUP_FORMAT if "resolutions" in config else FORMAT):
            raise RunDirectoryError(
                self.path,
                f"is a run of another version ({found!r}, this is '{FORMAT}'); search again with "
                "--force",
            )
        return config

    def write_best(self, best: Architecture, plan: Mapping[str, Any]) -> None:
        """Write ``memory_plan.json``, then ``best.yaml``.

        In this order: where ``best.yaml`` is, the other must be, however a process ended.
        """
        write_atomically(self.path / "memory_plan.json", seal_json(plan))
        write_atomically(self.path / "best.yaml", seal_yaml(dump_architecture(best)))

    def has_best(self) -> bool:
        """Return whether there is a network."""
        return (self.path / "best.yaml").exists()

    def read_best(self) -> Architecture:
        """Return the winner.

        Raises:
            RunDirectoryError: There is none yet.
            FileFormatError: A damaged file.
        """
        if not self.has_best():
            raise RunDirectoryError(
                self.path, "has no best.yaml yet; continue the search with --resume"
            )
        return read_architecture(self.path / "best.yaml", self._mends("--resume"))

    def read_member(self, number: int) -> Architecture:
        """Return a network of the front; numbers count from 1.

        Raises:
            UnreadableError: There is none of that number.
            FileFormatError: A damaged file.
        """
        return read_architecture(
            self.path / "pareto" / f"{number:03d}.yaml", self._mends("--resume")
        )

    def _mends(self, option: str) -> str:
        """Return the command that writes what a search left anew, for messages."""
        if self.checkpoint.exists():
            alone = command_line("nas-search", option, "--out", self.path)
            return (
                f"write it anew with {alone}, or with nas-search run if it is part of a whole run"
            )
        return (
            "write it anew with the command that made this folder, nas-search refine or nas-search "
            "run, and --force"
        )


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
