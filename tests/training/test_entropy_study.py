"""The study of the entropy window: what it finds, what it keeps, what it refuses."""

from __future__ import annotations

import errno
import itertools
import json
import logging
import multiprocessing
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from benchmarks.network_problem import network_problem
from nas_engine.allocation.allocator import MissingEvidenceError
from nas_engine.allocation.entropy_window import EntropyWindow, EntropyWindowAllocator, assign
from nas_engine.allocation.problem import (
    AllocationProblem,
    Constraint,
    Floats,
    InfeasibleAllocationError,
    Levels,
)
from nas_engine.allocation.records import Evidence, LayerEntropies
from nas_engine.errors import FileFormatError, InputError, NasEngineError
from nas_engine.files import StorageError
from nas_engine.training import entropy_study
from nas_engine.training.entropy_study import (
    ACCURACY,
    BITS,
    StudyProgress,
    TunedWindow,
    mean_bits,
    tune_entropy_window,
)
from nas_engine.training.study_file import MissingOptunaError
from nas_engine.training.subject import LayerSize

LAYERS = [
    LayerSize(name=f"layer{i}", weights=200 * (i + 1), inputs=900 // (i + 1), macs=1000)
    for i in range(6)
]
FLOOR = 0.93


def toy(*, mean: float | None = None, activations: bool = False) -> AllocationProblem:
    return network_problem(
        LAYERS,
        weight_bits=(2, 4, 8),
        activation_bits=(2, 4, 8) if activations else (),
        mean_weight_bits=mean,
        mean_activation_bits=mean if activations else None,
    )


def entropies(problem: AllocationProblem, seed: int = 0) -> Evidence:
    """Two estimators that see the same differences between layers, with noise between batches."""
    rng = np.random.default_rng(seed)
    count = len(problem.variables)
    level = np.resize(np.linspace(2.5, 6.0, len(LAYERS)), count) + rng.normal(0, 0.4, count)
    return Evidence(
        entropies=tuple(
            LayerEntropies(estimator=name, values=scale * level + rng.normal(0, 0.5, (8, count)))
            for name, scale in (("histogram", 1.0), ("gaussian", 0.6))
        )
    )


class Accuracy:
    """An accuracy that every bit raises, in some layers more than in others; counts what it is
    asked for.
    """

    def __init__(self, problem: AllocationProblem) -> None:
        self.problem = problem
        self.asked: list[tuple[int, ...]] = []

    def of(self, levels: Levels) -> float:
        bits = np.array(self.problem.bits(levels), np.float64)
        return float(0.96 - np.mean(np.linspace(0.2, 1.2, len(bits)) * 3.0**-bits))

    def __call__(self, levels: Levels) -> float:
        self.asked.append(tuple(levels.tolist()))
        return self.of(levels)


def tune(
    problem: AllocationProblem, evaluate: Callable[[Levels], float] | None = None, **options: Any
) -> TunedWindow:
    options = {"floor": FLOOR, "trials": 25, **options}
    return tune_entropy_window(
        problem, entropies(problem), evaluate or Accuracy(problem), **options
    )


def same(first: TunedWindow, second: TunedWindow) -> bool:
    names = [name for name in TunedWindow.__slots__ if name != "levels"]
    return np.array_equal(first.levels, second.levels) and all(
        getattr(first, name) == getattr(second, name) for name in names
    )


def reachable(problem: AllocationProblem, evidence: Evidence) -> list[Levels]:
    """Return the allocations of a dense grid of settings."""
    windows = [
        ("batches", 1),
        ("batches", 4),
        ("batches", 8),
        ("depth", 1),
        ("depth", 3),
        ("depth", 5),
    ]
    alphas, spreads = np.linspace(-0.5, 2.5, 25), np.linspace(*entropy_study.SPREADS, 5)
    found = {}
    for name, (axis, window), alpha, spread in itertools.product(
        ("histogram", "gaussian"), windows, alphas, spreads
    ):
        settings = EntropyWindow(
            estimator=name,
            axis=axis,
            window=window,
            weight_alpha=float(alpha),
            spread=float(spread),
        )
        levels = assign(problem, evidence, settings)
        found[tuple(levels.tolist())] = levels
    return list(found.values())


class TestFinds:
    def test_close_to_brute_force(self) -> None:
        problem = toy()
        accuracy = Accuracy(problem)
        everything = [
            levels
            for levels in reachable(problem, entropies(problem))
            if accuracy.of(levels) >= FLOOR
        ]
        bits = sorted(mean_bits(problem, levels) for levels in everything)
        assert bits[0] < bits[-1] - 1, "the toy is too easy"
        tuned = tune(problem, trials=60)
        assert tuned.met
        assert tuned.objective <= 1.1 * bits[0]

    @pytest.mark.parametrize("aim", [BITS, ACCURACY])
    def test_result_is_consistent(self, aim: str) -> None:
        problem = toy(activations=True)
        accuracy = Accuracy(problem)
        tuned = tune(problem, accuracy, aim=aim)
        assert np.array_equal(tuned.levels, assign(problem, entropies(problem), tuned.settings))
        assert tuned.accuracy == accuracy.of(tuned.levels) >= FLOOR
        assert tuned.objective == (
            mean_bits(problem, tuned.levels) if aim == BITS else tuned.accuracy
        )
        assert tuned.met
        assert 1 <= tuned.feasible <= tuned.trials == 25
        assert f"{tuned.accuracy:.2%}" in tuned.summary

    def test_mean_bits_counts_both_kinds_alike(self) -> None:
        problem = toy(activations=True)
        levels = problem.narrowest.copy()
        levels[: len(LAYERS)] = 2  # weights at 8, activations at 2
        assert mean_bits(problem, levels) == pytest.approx(5.0)

    def test_accuracy_within_limits(self) -> None:
        problem = toy(mean=4.5)
        accuracy = Accuracy(problem)
        tuned = tune(problem, accuracy, aim=ACCURACY, floor=None, trials=40)
        assert problem.is_feasible(tuned.levels)
        assert all(problem.is_feasible(np.array(levels, np.intp)) for levels in accuracy.asked), (
            "paid for what exceeds a limit"
        )
        assert tuned.accuracy == max(
            accuracy.of(np.array(levels, np.intp)) for levels in accuracy.asked
        )

    def test_no_worse_than_without_training(self) -> None:
        problem = toy(mean=3.6, activations=True)
        untrained = EntropyWindowAllocator().allocate(problem, entropies(problem)).levels
        accuracy = Accuracy(problem)
        assert tune(problem, accuracy, aim=ACCURACY, floor=None, trials=3).accuracy >= accuracy.of(
            untrained
        )
        assert accuracy.asked[0] == tuple(untrained.tolist())

    def test_limits_that_no_thresholds_keep(self) -> None:
        """The layer of the smallest entropy must be at its widest, that of the largest at its
        narrowest.
        """
        free = toy()
        against = np.zeros(free.n)
        against[[0, 1, free.n - 2, free.n - 1]] = 1.0
        problem = AllocationProblem(
            free.variables,
            [Constraint(name="odd", resource="odd", unit="", limit=0.5, linear=against)],
        )
        accuracy = Accuracy(problem)
        with pytest.raises(
            NasEngineError,
            match=r"none of 5 trials keeps the limits: the nearest exceeds 'odd' by 100\.0%",
        ):
            tune(problem, accuracy, trials=5)
        assert accuracy.asked == []

    def test_limits_that_nothing_keeps(self, tmp_path: Path) -> None:
        with pytest.raises(
            InfeasibleAllocationError,
            match=r"smallest possible mean weight bits is 2 bits, the limit is 1\.9 bits",
        ):
            tune(toy(mean=1.9), storage=tmp_path / "study.journal")
        assert list(tmp_path.iterdir()) == []

    def test_floor_that_cannot_be_reached(self) -> None:
        problem = toy()
        accuracy = Accuracy(problem)
        tuned = tune(problem, accuracy, floor=0.99)
        assert not tuned.met
        assert tuned.feasible == 0
        assert tuned.accuracy == max(
            accuracy.of(np.array(levels, np.intp)) for levels in accuracy.asked
        )
        assert "none of 25 trials reached an accuracy of 99.00%" in tuned.summary

    def test_seed_decides(self) -> None:
        runs = []
        for seed in (3, 3, 4):
            accuracy = Accuracy(toy())
            tune(toy(), accuracy, seed=seed)
            runs.append(accuracy.asked)
        assert runs[0] == runs[1] != runs[2]

    def test_random_trials_differ(self) -> None:
        assert tune(toy(), trials=9).evaluations >= 6

    def test_nothing_is_evaluated_twice(self) -> None:
        problem = toy()
        accuracy = Accuracy(problem)
        tuned = tune(problem, accuracy, trials=40)
        assert (
            len(accuracy.asked)
            == len(set(accuracy.asked))
            == tuned.evaluations
            < tuned.trials
            == 40
        )


class TestStudyFile:
    def test_goes_on_as_if_never_stopped(self, tmp_path: Path) -> None:
        problem, path = toy(), tmp_path / "new" / "study.journal"
        first, second = Accuracy(problem), Accuracy(problem)
        assert tune(problem, first, storage=path, trials=7).trials == 7
        resumed = tune(problem, second, storage=path, trials=15)
        assert resumed.trials == 15
        assert not set(first.asked) & set(second.asked)
        assert same(resumed, tune(problem, trials=15))

    def test_finished_study_costs_nothing(self, tmp_path: Path) -> None:
        path = tmp_path / "study.journal"
        before = tune(toy(), storage=path, trials=5)
        accuracy = Accuracy(toy())
        assert same(tune(toy(), accuracy, storage=path, trials=5), before)
        assert accuracy.asked == []

    def test_stop_keeps_what_is_finished(self, tmp_path: Path) -> None:
        path, seen = tmp_path / "study.journal", list[StudyProgress]()
        tuned = tune(toy(), storage=path, stop=lambda: len(seen) > 4, watch=seen.append)
        assert tuned.trials == 4
        assert [progress.done for progress in seen] == [0, 1, 2, 3, 4]
        assert tune(toy(), storage=path, trials=4).trials == 4

    def test_stopped_before_the_first(self) -> None:
        with pytest.raises(NasEngineError, match="stopped before its first trial"):
            tune(toy(), stop=lambda: True)

    def test_interrupt_keeps_what_is_finished(self, tmp_path: Path) -> None:
        path, accuracy = tmp_path / "study.journal", Accuracy(toy())

        def interrupted(levels: Levels) -> float:
            if len(accuracy.asked) == 3:
                raise KeyboardInterrupt
            return accuracy(levels)

        with pytest.raises(KeyboardInterrupt):
            tune(toy(), interrupted, storage=path)
        again = Accuracy(toy())
        assert tune(toy(), again, storage=path, trials=10).trials == 10
        assert not set(accuracy.asked) & set(again.asked)

    def test_two_processes_share_a_file(self, tmp_path: Path) -> None:
        context = multiprocessing.get_context("spawn")
        path, meet = tmp_path / "study.journal", context.Barrier(2)
        with context.Pool(2, initializer=_meet_at, initargs=(meet,)) as pool:
            done = pool.starmap_async(_share, [(str(path), 0), (str(path), 1)], chunksize=1).get(
                timeout=120
            )
        assert all(asked for _, asked in done)
        finished = tune(toy(), Accuracy(toy()), storage=path, trials=12)
        assert 12 <= finished.trials <= 13
        assert max(trials for trials, _ in done) == finished.trials

    @pytest.mark.parametrize(
        ("other", "named"),
        [
            ({"problem": toy(activations=True)}, "other network or its widths"),
            ({"problem": toy(mean=7.9)}, "other limits"),
            ({"evidence": entropies(toy(), seed=1)}, "with other entropies"),
            ({"aim": ACCURACY}, r"aim bits \(now accuracy\)"),
            ({"subject": "more images"}, "other network or images to judge with"),
            ({"floor": 0.9}, r"accuracy floor 0.93 \(now 0.9\)"),
        ],
    )
    def test_another_study_is_refused(
        self, other: dict[str, Any], named: str, tmp_path: Path
    ) -> None:
        path = tmp_path / "study.journal"
        tune(toy(), storage=path, trials=2)
        content = path.read_bytes()
        problem = other.pop("problem", toy())
        arguments = {"floor": FLOOR, "evidence": entropies(problem), "storage": path, **other}
        with pytest.raises(FileFormatError, match=f"{named}.*give another --storage or remove it"):
            tune_entropy_window(problem, evaluate=Accuracy(problem), **arguments)
        assert path.read_bytes() == content

    @pytest.mark.parametrize(
        "content",
        [
            b"hello\n",
            b"\x80\x04\xff\x00",
            b"[1]\n",
            b'{"op_code": 0',
            b'{"op_code": 77}\n{"op_code": 0}\n',
        ],
    )
    def test_what_is_no_study_is_refused_and_kept(self, content: bytes, tmp_path: Path) -> None:
        path = tmp_path / "study.journal"
        path.write_bytes(content)
        with pytest.raises(
            FileFormatError,
            match=(
                "is damaged, or no 'nas-search entropy study 1'; give another --storage or remove "
                "it"
            ),
        ):
            tune(toy(), storage=path)
        assert path.read_bytes() == content

    def test_study_of_another_program_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "study.journal"
        storage = optuna.storages.JournalStorage(
            optuna.storages.journal.JournalFileBackend(str(path))
        )
        optuna.create_study(study_name="mine", storage=storage)
        with pytest.raises(FileFormatError, match="is no study of this program"):
            tune(toy(), storage=path)

    @pytest.mark.parametrize("damage", ["line", "outcome"])
    def test_damaged_in_the_middle(self, damage: str, tmp_path: Path) -> None:
        path = tmp_path / "study.journal"
        tune(toy(), storage=path, trials=3)
        lines = path.read_text().splitlines()
        at = next(i for i, line in enumerate(lines) if '"outcome"' in line)
        lines[at] = (
            lines[at][:40] if damage == "line" else lines[at].replace('"levels"', '"lovels"')
        )
        path.write_text("\n".join([*lines, ""]))
        with pytest.raises(FileFormatError, match="is damaged"):
            tune(toy(), storage=path)

    @pytest.mark.parametrize("aim", [BITS, ACCURACY])
    def test_optuna_reads_it_and_agrees_on_the_best(self, aim: str, tmp_path: Path) -> None:
        """Its best trial is the best of those that meet all constraints, so it knows them: the
        sampler does too.
        """
        path, problem = tmp_path / "study.journal", toy(mean=5.0)
        tuned = tune(problem, storage=path, trials=15, floor=0.945, aim=aim)
        assert 1 <= tuned.feasible < 15
        storage = optuna.storages.JournalStorage(
            optuna.storages.journal.JournalFileBackend(str(path))
        )
        best = optuna.load_study(study_name=None, storage=storage).best_trial
        assert best.value == (tuned.objective if aim == BITS else 1 - tuned.objective)

    def test_half_a_last_line_is_cut_off(self, tmp_path: Path) -> None:
        path = tmp_path / "study.journal"
        tune(toy(), storage=path, trials=6)
        content = path.read_bytes()
        path.write_bytes(content[:-20])  # the end of the sixth trial was not written
        assert tune(toy(), storage=path, trials=5).trials == 5
        assert tune(toy(), storage=path, trials=8).trials == 8
        assert all(json.loads(line) for line in path.read_bytes().splitlines())

    @pytest.mark.parametrize("written", [0, 1, 5, 12])
    def test_full_disk(self, written: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Wherever it happens, it is one line, and a trial that was finished before is kept."""
        path, room, sync = tmp_path / "study.journal", written, os.fsync
        tune(toy(), storage=path, trials=1)

        def full(number: int) -> None:
            nonlocal room
            room -= 1
            if room < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            sync(number)

        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", full)
            with pytest.raises(StorageError, match="No space left on device"):
                tune(toy(), storage=path)
        assert tune(toy(), storage=path, trials=1).trials >= 1

    @pytest.mark.skipif(sys.platform == "win32", reason="no named pipes in folders")
    def test_a_directory_or_a_named_pipe_in_the_way(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        for path, kind in ((tmp_path, "folder"), (tmp_path / "pipe", "named pipe")):
            with pytest.raises(FileFormatError, match=f"is a {kind}; expected a regular file"):
                tune(toy(), storage=path)


class TestWatch:
    def test_tells_the_best_so_far(self) -> None:
        seen: list[StudyProgress] = []
        tuned = tune(toy(), watch=seen.append)
        assert seen[0] == StudyProgress(done=0, total=25, best=None, accuracy=None)
        assert (seen[-1].done, seen[-1].best, seen[-1].accuracy) == (
            25,
            tuned.objective,
            tuned.accuracy,
        )
        best = [progress.best for progress in seen if progress.best is not None]
        assert best == sorted(best, reverse=True)

    def test_optuna_logs_nothing(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """Its log goes to standard error."""
        before, log = optuna.logging.get_verbosity(), logging.getLogger("optuna")
        optuna.logging.set_verbosity(logging.INFO)
        log.addHandler(caplog.handler)
        try:
            tune(toy(), trials=3, storage=tmp_path / "study.journal")
            assert caplog.records == []
            assert optuna.logging.get_verbosity() == logging.INFO
            optuna.create_study()
            assert caplog.records != []
        finally:
            log.removeHandler(caplog.handler)
            optuna.logging.set_verbosity(before)


class TestRefuses:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"aim": "speed"}, "aim is 'speed'; expected 'bits' or 'accuracy'"),
            ({"floor": None}, "need an accuracy floor"),
            ({"floor": 93.0}, "the accuracy floor is 93; expected 0 to 1"),
            ({"trials": 0}, "0 trials; expected at least 1"),
            ({"evaluate": lambda levels: float("nan")}, "is nan; expected a number from 0 to 1"),
            ({"evaluate": lambda levels: 93.1}, r"is 93\.1; expected a number from 0 to 1"),
        ],
    )
    def test_arguments(self, options: dict[str, Any], message: str) -> None:
        with pytest.raises(InputError, match=message):
            tune(toy(), **options)

    def test_no_entropies(self) -> None:
        with pytest.raises(
            MissingEvidenceError, match="method 'entropy-window' needs entropies of layers"
        ):
            tune_entropy_window(toy(), Evidence(), Accuracy(toy()), floor=FLOOR)

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            (
                np.ones((8, 5)),
                r"entropies \(histogram\) have shape \(8, 5\); expected \(batches, 6\)",
            ),
            (np.ones((0, 6)), r"have shape \(0, 6\)"),
            (np.full((8, 6), np.nan), "are not all finite"),
        ],
    )
    def test_entropies_of_something_else(self, values: Floats, message: str) -> None:
        evidence = Evidence(entropies=(LayerEntropies(estimator="histogram", values=values),))
        with pytest.raises(InputError, match=message):
            tune_entropy_window(toy(), evidence, Accuracy(toy()), floor=FLOOR)

    def test_one_layer_and_one_batch_are_enough(self) -> None:
        problem = network_problem(LAYERS[:1], weight_bits=(2, 4, 8))
        evidence = Evidence(
            entropies=(LayerEntropies(estimator="gaussian", values=np.ones((1, 1))),)
        )
        tuned = tune_entropy_window(problem, evidence, Accuracy(problem), floor=0.5, trials=25)
        assert tuned.met
        assert tuned.settings.estimator == "gaussian"

    def test_error_of_the_evaluation_passes(self, tmp_path: Path) -> None:
        def broken(levels: Levels) -> float:
            raise ValueError("out of memory")

        with pytest.raises(ValueError, match="out of memory"):
            tune(toy(), broken, storage=tmp_path / "study.journal")

    def test_without_optuna(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "optuna", None)
        with pytest.raises(
            MissingOptunaError, match=r"needs optuna, .*type: pip install 'nas-search\[refine\]'"
        ):
            tune(toy())


_meeting: Any = None


def _meet_at(barrier: Any) -> None:
    global _meeting
    _meeting = barrier


def _share(path: str, seed: int) -> tuple[int, int]:
    """Run in a process of its own; the first evaluations of both wait for each other."""
    problem = toy()
    accuracy = Accuracy(problem)

    def evaluate(levels: Levels) -> float:
        if not accuracy.asked:
            _meeting.wait(timeout=60)
        return accuracy(levels)

    return tune(problem, evaluate, storage=Path(path), trials=12, seed=seed).trials, len(
        accuracy.asked
    )
