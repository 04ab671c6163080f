"""An Optuna study in a file that several processes may share, and that is of one problem only."""

from __future__ import annotations

import contextlib
import hashlib
import json
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nas_engine.datasets import MissingPackageError
from nas_engine.errors import FileFormatError
from nas_engine.files import StorageError
from nas_engine.reading import LARGE_FILE, read_regular

FORMAT = "nas-search entropy study 1"
"""Format name stored in a study file."""

STARTUP_TRIALS = 10
"""Random trials before the sampler learns; Optuna's default."""

DAMAGE = (ValueError, KeyError, TypeError, AttributeError, IndexError, AssertionError)
"""Exceptions that Optuna raises, besides its own, while it reads a file that is not its own."""

_REMEDY = "give another --storage"

VALUES = ("aim", "accuracy floor")
"""Parts of an identity that messages show; the others are checksums."""


class MissingOptunaError(MissingPackageError):
    """Optuna is not installed."""

    def __init__(self) -> None:
        super().__init__("optuna", "the tuning of the entropy window")

    def __str__(self) -> str:
        return (
            f"{self.purpose} needs {self.package}, which is not installed; type: pip install "
            "'nas-search[refine]'"
        )


def import_optuna() -> Any:
    """Return the package; nothing else of this program imports it.

    Raises:
        MissingOptunaError: It is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise MissingOptunaError from error
    return optuna


def open_study(
    optuna: Any,
    path: Path | None,
    identity: Mapping[str, Any],
    first: Iterable[Mapping[str, Any]],
    seed: int,
) -> Any:
    """Return the study of an identity, new or from its file.

    Its name says the identity, so that creating it is a single step.

    Args:
        optuna: The package.
        path: The file; ``None`` keeps the study in memory.
        identity: What all trials have in common: ``"format"``, and each other part under the name
            that messages give it.
        first: Parameters of the first trials of a new study.
        seed: Of the sampler.

    Raises:
        FileFormatError: The file is damaged, no study, or a study of something else; it is left as
            it was.
        StorageError: The file cannot be written.
    """
    name = hashlib.sha256(json.dumps(identity).encode()).hexdigest()
    with reading(optuna, path):
        storage = None if path is None else _journal(optuna, path)
        if storage is not None:
            _require_own(storage, name, identity, path)
        study = optuna.create_study(
            study_name=name, storage=storage, sampler=_sampler(optuna, seed), load_if_exists=True
        )
        if storage is not None:
            _require_own(
                storage, name, identity, path
            )  # two processes may have created two studies at once: the first one stays
        if "identity" not in study.user_attrs:
            study.set_user_attr("identity", dict(identity))
        if not study.get_trials(deepcopy=False):
            for parameters in first:
                study.enqueue_trial(dict(parameters))
    return study


def _require_own(storage: Any, name: str, identity: Mapping[str, Any], path: Path | None) -> None:
    """Check that the first study of a file, if there is one, has this identity."""
    studies = sorted(storage.get_all_studies(), key=lambda study: study._study_id)
    if not studies or studies[0].study_name == name:
        return
    found = studies[0].user_attrs.get("identity")
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise FileFormatError(
            path,
            f"is no study of this program; expected '{FORMAT}'; give another --storage or remove "
            "it",
        )
    other = [
        f"{part} {found.get(part)} (now {value})" if part in VALUES else f"other {part}"
        for part, value in identity.items()
        if found.get(part) != value
    ]
    raise FileFormatError(
        path,
        f"is a study with {' and '.join(other)}; expected the same as now; give another --storage "
        "or remove it",
    )


def _journal(optuna: Any, path: Path) -> Any:
    """Return a journal file as storage.

    Unlike SQLite it is safe for several processes on network drives, and needs no database.

    A process that is killed while it writes leaves half a line, and the next one would write on
    behind it: such an end is cut off.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = optuna.storages.journal.JournalFileOpenLock(
        str(path)
    )  # the other kind of lock needs special rights on Windows
    if path.exists() and (
        content := read_regular(path, LARGE_FILE, _REMEDY)
    ):  # Optuna would wait for a named pipe for ever
        first = json.loads(content[: content.find(b"\n") + 1])
        if not isinstance(first, dict) or "op_code" not in first:
            raise ValueError("no journal")
        lock.acquire()
        try:
            content = read_regular(path, LARGE_FILE, _REMEDY)
            if not content.endswith(b"\n"):
                with path.open("r+b") as file:
                    file.truncate(content.rfind(b"\n") + 1)
        finally:
            lock.release()
    return optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(path), lock_obj=lock)
    )


def _sampler(optuna: Any, seed: int) -> Any:
    """Return TPE with random numbers that make a study resumable.

    They depend on the seed and the number of the trial only.

    Each trial has ``user_attrs["outcome"]["violations"]``, a dict of numbers, 0 where a constraint
    is met.
    """

    def constraints(trial: Any) -> tuple[float, ...]:
        return tuple(trial.user_attrs["outcome"]["violations"].values())

    class Sampler(optuna.samplers.BaseSampler):
        def __init__(self) -> None:
            self.number, self.inner = -1, None

        def of(self, trial: Any) -> Any:
            if trial.number != self.number:
                state = int(np.random.SeedSequence([seed, trial.number]).generate_state(1)[0])
                options = (
                    {}
                    if hasattr(optuna.trial.Trial, "set_constraint")
                    else {"constraints_func": constraints}
                )
                with warnings.catch_warnings():
                    warnings.simplefilter(
                        "ignore", optuna.exceptions.ExperimentalWarning
                    )  # of options that are stable since 5
                    self.inner = optuna.samplers.TPESampler(
                        seed=state,
                        n_startup_trials=STARTUP_TRIALS,
                        multivariate=True,
                        constant_liar=True,
                        **options,
                    )
                self.number = trial.number
            return self.inner

        def infer_relative_search_space(self, study: Any, trial: Any) -> Any:
            return self.of(trial).infer_relative_search_space(study, trial)

        def sample_relative(self, study: Any, trial: Any, search_space: Any) -> Any:
            return self.of(trial).sample_relative(study, trial, search_space)

        def sample_independent(self, study: Any, trial: Any, name: str, distribution: Any) -> Any:
            return self.of(trial).sample_independent(study, trial, name, distribution)

        def after_trial(self, study: Any, trial: Any, state: Any, values: Any) -> None:
            self.of(trial).after_trial(study, trial, state, values)

    return Sampler()


@contextlib.contextmanager
def quiet(optuna: Any) -> Iterator[None]:
    """Restrict Optuna's own log, written to standard error, to errors.

    The former setting is restored afterwards.
    """
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


@contextlib.contextmanager
def reading(optuna: Any, path: Path | None) -> Iterator[None]:
    """Turn the errors of a damaged study file into a message of one line.

    Without a file all errors stay as they are.
    """
    with writing(path):
        try:
            yield
        except (*DAMAGE, optuna.exceptions.OptunaError) as error:
            if path is None:
                raise
            raise FileFormatError(
                path, f"is damaged, or no '{FORMAT}'; give another --storage or remove it"
            ) from error


@contextlib.contextmanager
def writing(path: Path | None) -> Iterator[None]:
    """Turn a full disk or missing rights into one line."""
    try:
        yield
    except OSError as error:
        if path is None:
            raise
        raise StorageError(path, error.strerror or str(error)) from error
