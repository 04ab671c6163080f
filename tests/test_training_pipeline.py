"""Training of a run's winner from run directory to result, interrupted, killed and refused."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from nas_engine.architecture import dump_architecture
from nas_engine.errors import (
    FileFormatError,
    InputError,
    NasEngineError,
    PathError,
    RunDirectoryError,
)
from nas_engine.events import Epoch, Event, Finished, Kind, Started
from nas_engine.files import StorageError
from nas_engine.integer.store import load as load_integer
from nas_engine.models.graph_network import GraphNetwork
from nas_engine.models.widen import widen
from nas_engine.network.graph import NetworkError
from nas_engine.pipeline import course
from nas_engine.pipeline.evaluation import evaluate_run
from nas_engine.pipeline.training import (
    TrainingRequest,
    default_recipe,
    measured_epoch,
    run_training,
    trained_architecture,
)
from nas_engine.quantization.prepare import is_quantised
from nas_engine.runs.epochs import read_epochs
from nas_engine.runs.run_directory import RunDirectory
from nas_engine.training.loop import TrainingError
from nas_engine.training.networks import load_network, save_network
from nas_engine.training.recipe import load_recipe
from nas_engine.training.result import Accuracy, TrainingResult, read_result, write_result
from tests.cli.test_bad_input import snapshot
from tests.kernels.kernels import kernels
from tests.resealed import content, rewrite
from tests.sinks import Kept, after_steps
from tests.training.runs import results, small_run
from tests.training.tasks import IMAGES, digits_architecture, small_recipe, small_task

STEPS = 6
"""Of the trainings here: one epoch of three steps per stage."""


def request(teacher: str = "none", **changes: Any) -> TrainingRequest:
    return TrainingRequest(
        data="digits",
        recipe=small_recipe(**({"epochs": 2, "ema_decay": 0.5} | changes)),
        teacher=teacher,
        limit=IMAGES,
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run, only to be read or copied."""
    run = small_run(tmp_path_factory.mktemp("trained") / "run")
    assert run_training(run, request()) is not None
    return run


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run trained with a teacher of its own."""
    run = small_run(tmp_path_factory.mktemp("taught") / "run")
    assert run_training(run, request("auto")) is not None
    return run


def copied(run: Path, to: Path) -> Path:
    shutil.copytree(run, to)
    return to


class TestKernels:
    """A training goes on by the kernels it began with, or says what changed; nothing is lost."""

    @pytest.mark.parametrize("began", [True, False])
    def test_other_ones(self, tmp_path: Path, began: bool) -> None:
        run, mine, kept = small_run(tmp_path / "run"), kernels(), Kept()
        by_kernels = replace(request(), kernels=mine)
        first, second = (by_kernels, request()) if began else (request(), by_kernels)
        assert run_training(run, first, watch=after_steps(2)) is None
        result = run_training(run, second, resume=True, watch=kept)
        assert result is not None
        (note,) = kept.notes
        if began:
            assert note.startswith("the training goes on by other kernels than it began with")
            assert result.kernels == f"{mine.name}, then torch"
        else:
            assert note == "the training goes on torch's own way, as it began"
            assert result.kernels == "torch"

    def test_same_ones(self, tmp_path: Path) -> None:
        run, kept = small_run(tmp_path / "run"), Kept()
        asked = replace(request(), kernels=kernels())
        assert run_training(run, asked, watch=after_steps(4)) is None
        result = run_training(run, asked, resume=True, watch=kept)
        assert result is not None
        assert result.kernels == kernels().name
        assert kept.notes == []


class TestResult:
    def test_files_and_figures(self, finished: Path) -> None:
        result = read_result(finished / "training" / "result.json")
        assert (result.data, result.dataset, result.recipe, result.teacher, result.seed) == (
            "digits",
            "digits",
            "small",
            "none",
            0,
        )
        assert (
            result.float_epochs,
            result.quantised_epochs,
            result.accuracy.split,
            result.accuracy.images,
        ) == (1, 1, "test", IMAGES)
        assert set(result.versions) == {"nas-search", "torch", "numpy"}
        rows = read_epochs(finished / "training" / "metrics.jsonl")
        assert [(row["stage"], row["epoch"], row["updates"]) for row in rows] == [
            ("float", 1, 3),
            ("quantised", 1, 3),
        ]
        assert (rows[0]["accuracy"], rows[1]["accuracy"]) == (
            result.accuracy.floating,
            result.accuracy.quantised,
        )
        assert result.elapsed_s >= rows[1]["elapsed_s"] - 0.001
        assert load_recipe(str(finished / "training" / "recipe.yaml")) == request().recipe
        assert not is_quantised(load_network(finished / "training" / "float.pt"))
        assert is_quantised(load_network(finished / "training" / "network.pt"))
        model = load_integer(finished / "integer").model
        assert model.provenance == {
            "architecture": dump_architecture(digits_architecture()),
            "data": "digits",
        }

    def test_evaluation_gives_the_same(self, finished: Path) -> None:
        dataset, accuracy = evaluate_run(finished, None, limit=IMAGES)
        assert accuracy == read_result(finished / "training" / "result.json").accuracy
        assert dataset.source == "digits"
        _, whole = evaluate_run(finished, "digits", split="train")
        assert (whole.split, whole.images) == ("train", 1438)
        with pytest.raises(
            InputError, match="there is no split 'validation'; give one of: train, test"
        ):
            evaluate_run(finished, None, split="validation")

    def test_resumed_when_finished_stays_the_same(self, tmp_path: Path, finished: Path) -> None:
        run = copied(finished, tmp_path / "run")
        for lost in ("result.json", "network.pt"):
            (run / "training" / lost).unlink()
        shutil.rmtree(run / "integer")
        assert run_training(run, request(), resume=True) == read_result(
            finished / "training" / "result.json"
        )
        assert results(run) == results(finished)

    def test_round_trip(self, tmp_path: Path) -> None:
        accuracy = Accuracy(
            split="validation",
            images=7,
            floating=None,
            quantised=100 / 3,
            integer=0.0,
            agreement=100.0,
        )
        result = TrainingResult(
            data="/a b/é",
            dataset="x",
            recipe="y",
            teacher="none",
            seed=2**32 - 1,
            float_epochs=0,
            quantised_epochs=3,
            elapsed_s=0.1,
            versions={"torch": "2"},
            accuracy=accuracy,
        )
        write_result(tmp_path / "result.json", result)
        assert read_result(tmp_path / "result.json") == result

    @pytest.mark.parametrize(
        ("key", "value", "says"),
        [
            (
                "format",
                "nas-search/training-result/2",
                "format: is 'nas-search/training-result/2'; expected",
            ),
            ("seed", -1, "seed: is -1; expected"),
            ("seeed", 0, "unknown key: 'seeed'; did you mean 'seed'?"),
            ("versions", [], "versions holds a list; expected a mapping"),
            ("accuracy", 3, "accuracy holds a whole number"),
            ("elapsed_s", float("nan"), "elapsed_s: is nan"),
        ],
    )
    def test_damaged(
        self, tmp_path: Path, finished: Path, key: str, value: object, says: str
    ) -> None:
        path = tmp_path / "result.json"
        rewrite(path, content(finished / "training" / "result.json") | {key: value})
        with pytest.raises(FileFormatError, match=r"result.json") as caught:
            read_result(path)
        assert says in str(caught.value)
        path.write_text("{")
        with pytest.raises(
            FileFormatError, match=r"is not whole JSON .*; train again: nas-search train .* --force"
        ):
            read_result(path)

    def test_percentages(self) -> None:
        with pytest.raises(InputError, match="floating: is nan; expected a number from 0 to 100"):
            Accuracy(
                split="test",
                images=1,
                floating=float("nan"),
                quantised=None,
                integer=None,
                agreement=None,
            )


class TestToldOnTheWay:
    def test_held_out_accuracy_after_each_epoch(self, tmp_path: Path) -> None:
        run, kept = small_run(tmp_path / "run"), Kept()
        assert run_training(run, request(), watch=kept) is not None
        whole = [event.detail for event in kept.progress(Kind.TRAINING) if event.whole]
        rows = read_epochs(run / "training" / "metrics.jsonl")
        assert [detail.rpartition("held-out ")[2] for detail in whole] == [
            f"{row['accuracy']:.1f} %" for row in rows
        ]
        epochs = [event for event in kept.events if isinstance(event, Epoch)]
        assert [(one.number, one.stage, one.figures["accuracy"]) for one in epochs] == [
            (number, row["stage"], row["accuracy"]) for number, row in enumerate(rows, 1)
        ]
        assert {one.folder for one in epochs} == {str(run / "training")}
        first, *others = (event.detail for event in kept.progress(Kind.TRAINING))
        assert "held-out" not in first
        assert "held-out" in others[-2]

    def test_duration_before_a_long_training(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(course, "WORTH_TELLING_S", 0.0)
        monkeypatch.setattr(course, "FEWEST_STEPS", 0)
        told = (
            r"network: about [^()]+ left \(float: 1 epochs of 3 steps of \d+ ms; "
            r"quantised: 1 epochs of 3 steps of \d+ ms\)"
        )
        for least, days, notes in (
            (10**6, 0.0, []),
            (0, 1e9, [told]),
            (0, 0.0, [f"{told}; to shorten it give fewer --epochs.*"]),
        ):
            monkeypatch.setattr(course, "WORTH_MEASURING", least)
            monkeypatch.setattr(course, "WORTH_LOWERING_S", days)
            kept = Kept()
            run_training(small_run(tmp_path / f"{least}-{days}"), request(), watch=kept)
            assert len(kept.notes) == len(notes)
            assert all(map(re.fullmatch, notes, kept.notes))

    def test_few_steps(self) -> None:
        task = small_task(small_recipe(epochs=40, float_share=0.5))
        said = f"{20 * task.steps} optimiser steps in float (20 x {task.steps}) are few to learn"
        assert course.few_steps(task).startswith(said)
        enough = small_task(small_recipe(epochs=2 * course.FEWEST_STEPS, float_share=0.5))
        for other in (
            enough,
            small_task(small_recipe(float_share=0.0)),
            replace(task, start=GraphNetwork(task.architecture)),
        ):
            assert not course.few_steps(other)

    def test_seconds_of_an_epoch_with_images_set_aside(self) -> None:
        seconds, steps = measured_epoch(digits_architecture(), replace(request(), holdout=0.5))
        assert seconds > 0
        assert steps == 1 + (IMAGES // 2 % 16 > 1)


class TestInterrupted:
    @pytest.mark.parametrize("steps", [1, 3, 4])
    def test_stopped(self, tmp_path: Path, finished: Path, steps: int) -> None:
        run, pause = small_run(tmp_path / "run"), after_steps(steps)
        assert run_training(run, request(), watch=pause) is None
        assert not (run / "training" / "result.json").exists()
        assert run_training(run, request(), resume=True) is not None
        assert results(run) == results(finished)

    @pytest.mark.parametrize(("steps", "left"), [(2, 4), (STEPS, 0), (STEPS + 1, 0)])
    def test_stopped_with_a_teacher_of_its_own(
        self, tmp_path: Path, taught: Path, steps: int, left: int
    ) -> None:
        run, pause, rest = small_run(tmp_path / "run"), after_steps(steps), Kept()
        assert run_training(run, request("auto"), watch=pause) is None
        assert (
            run_training(
                run,
                request("auto"),
                resume=True,
                watch=rest,
            )
            is not None
        )
        seen = [event.what for event in rest.progress(Kind.TRAINING)]
        assert seen == ["teacher"] * left + ["network"] * (
            STEPS if left else STEPS - 1
        )  # asked to stop after a step, not before
        assert results(run) == results(taught)

    def test_killed_before_and_after_every_write(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finished: Path
    ) -> None:
        class Killed(BaseException):
            pass

        real: dict[str, Callable[..., None]] = {"fsync": os.fsync, "replace": os.replace}

        def attempt(run: Path, dies: int) -> int:
            calls = 0

            def die(name: str, *arguments: Any) -> None:
                nonlocal calls
                calls += 1
                if calls - 1 == dies and name == "fsync":
                    raise Killed
                real[name](*arguments)
                if calls - 1 == dies:
                    raise Killed

            with monkeypatch.context() as patch:
                patch.setattr(os, "fsync", lambda *arguments: die("fsync", *arguments))
                patch.setattr(os, "replace", lambda *arguments: die("replace", *arguments))
                run_training(run, request(), resume=True)
            return calls

        calls = attempt(small_run(tmp_path / "run"), -1)
        assert results(tmp_path / "run") == results(finished)
        for dies in (
            0,
            *range(1, calls, 2),
        ):  # the first before it takes its name, each after it did
            run = small_run(tmp_path / f"run{dies}")
            with pytest.raises(Killed):
                attempt(run, dies)
            (run / "training" / ".checkpoint.pt.99999999.tmp").write_bytes(b"half")
            run_training(run, request(), resume=True)
            assert results(run) == results(finished), dies

    def test_full_disk(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finished: Path
    ) -> None:
        run, fsync, calls = small_run(tmp_path / "run"), os.fsync, []

        def fill(descriptor: int) -> None:
            calls.append(descriptor)
            if len(calls) > 4:
                raise OSError(28, "No space left on device")
            fsync(descriptor)

        with monkeypatch.context() as patch:
            patch.setattr("os.fsync", fill)
            with pytest.raises(StorageError, match="No space left on device"):
                run_training(run, request())
        assert run_training(run, request(), resume=True) is not None
        assert results(run) == results(finished)

    def test_second_process_is_kept_out(self, tmp_path: Path) -> None:
        run = small_run(tmp_path / "run")
        with (
            RunDirectory(run).locked(),
            pytest.raises(RunDirectoryError, match="is in use by another"),
        ):
            run_training(run, request())
        assert not (run / "training").exists()


class TestInitFrom:
    def test_it_begins_with_the_weights_but_those_of_the_classifier(
        self, tmp_path: Path, finished: Path
    ) -> None:
        source = load_network(finished / "training" / "float.pt")
        run = small_run(tmp_path / "run")
        asked = replace(request(learning_rate=1e-9, epochs=1, float_share=1.0), seed=3)
        found = []
        for given in (None, str(finished)):
            run_training(run, replace(asked, init_from=given), force=True)
            found.append(load_network(run / "training" / "float.pt"))
        for random, network in zip(found[0].units(), found[1].units(), strict=True):
            weights = dict(source.units())[random[0]].weight, network[1].weight
            same = random[1].weight if random[0] == "classifier" else weights[0]
            torch.testing.assert_close(weights[1], same, rtol=1e-4, atol=1e-4)
            assert random[0] == "classifier" or not torch.allclose(random[1].weight, weights[1])

    def test_resumed_it_ends_alike_and_refuses_another_source(
        self, tmp_path: Path, finished: Path
    ) -> None:
        whole, run = (small_run(tmp_path / name) for name in ("whole", "run"))
        asked = replace(request(), init_from=str(finished))
        assert run_training(whole, asked) is not None
        assert run_training(run, asked, watch=after_steps(4)) is None
        with pytest.raises(FileFormatError, match="begun with other data, seed or teacher"):
            run_training(run, request(), resume=True)
        assert run_training(run, asked, resume=True) is not None
        assert results(run) == results(whole)

    def test_what_does_not_fit_is_one_line(self, tmp_path: Path, finished: Path) -> None:
        run, other = small_run(tmp_path / "run"), copied(finished, tmp_path / "other")
        with pytest.raises(PathError, match=r"run: has no float weights .*; train it first: nas-"):
            run_training(run, replace(request(), init_from=str(run)))
        asked = replace(request(float_share=0.0), init_from=str(finished))
        with pytest.raises(InputError, match=r"^--init-from: recipe 'small' has no float stage; "):
            run_training(run, asked)
        save_network(
            other / "training" / "float.pt", GraphNetwork(widen(digits_architecture())).eval()
        )
        with pytest.raises(
            FileFormatError,
            match=r"float\.pt: has \d+x1x3x3 where this network has \d+x1x3x3 \('stem'\); --init",
        ):
            run_training(run, replace(request(), init_from=str(other)))
        assert not (run / "training").exists()


class TestTeacher:
    def test_own_one_is_a_wider_float_network(self, taught: Path) -> None:
        teacher = load_network(taught / "training" / "teacher" / "network.pt")
        assert teacher.architecture == widen(digits_architecture())
        assert not is_quantised(teacher)
        assert (
            read_result(taught / "training" / "result.json").teacher
            == "a float network of twice the channels"
        )
        rows = read_epochs(taught / "training" / "teacher" / "metrics.jsonl")
        assert [(row["stage"], row["epoch"]) for row in rows] == [("float", 1), ("float", 2)]

    def test_given_one(self, tmp_path: Path, taught: Path) -> None:
        run = small_run(tmp_path / "run")
        file = copied(taught / "training" / "teacher", tmp_path / "teacher") / "network.pt"
        result = run_training(run, request(str(file)))
        assert result is not None
        assert result.teacher == "network (network.pt)"
        assert (run / "training" / "network.pt").read_bytes() == (
            taught / "training" / "network.pt"
        ).read_bytes()
        assert not (run / "training" / "teacher").exists()
        save_network(file, load_network(run / "training" / "float.pt"))
        with pytest.raises(FileFormatError, match="was begun with other data, seed or teacher"):
            run_training(run, request(str(file)), resume=True)

    def test_none_is_trained_for_a_training_that_cannot_be_continued(
        self, tmp_path: Path, finished: Path
    ) -> None:
        run = copied(finished, tmp_path / "run")
        before = snapshot(run)
        with pytest.raises(FileFormatError, match="teacher none; now teacher auto"):
            run_training(run, request("auto"), resume=True)
        assert snapshot(run) == before

    def test_one_that_was_begun_otherwise(self, tmp_path: Path) -> None:
        run, pause = small_run(tmp_path / "run"), after_steps(2)
        run_training(run, request("auto"), watch=pause)
        before, described = snapshot(run), Kept()
        with pytest.raises(
            FileFormatError, match=r"teacher/checkpoint.pt: was begun with epochs 2 \(now 5\)"
        ):
            run_training(run, request("auto", epochs=5), resume=True, watch=described)
        assert not any(isinstance(event, Finished) for event in described.events)
        assert snapshot(run) == before


class TestShares:
    def test_float_alone(self, tmp_path: Path, finished: Path) -> None:
        run = copied(finished, tmp_path / "run")
        result = run_training(run, request(float_share=1.0), force=True)
        assert result is not None
        assert not (run / "integer").exists()
        assert (result.accuracy.quantised, result.accuracy.integer, result.accuracy.agreement) == (
            None,
            None,
            None,
        )
        assert evaluate_run(run, None, limit=IMAGES)[1] == result.accuracy
        assert (run / "training" / "float.pt").read_bytes() == (
            run / "training" / "network.pt"
        ).read_bytes()

    def test_quantised_alone(self, tmp_path: Path) -> None:
        run = small_run(tmp_path / "run")
        result = run_training(run, request(float_share=0.0))
        assert result is not None
        assert result.accuracy.floating is None
        assert not (run / "training" / "float.pt").exists()
        assert evaluate_run(run, None, limit=IMAGES)[1] == result.accuracy

    def test_one_epoch(self, tmp_path: Path) -> None:
        run = small_run(tmp_path / "run")
        result = run_training(run, request(epochs=1, float_share=0.9))
        assert result is not None
        assert (result.float_epochs, result.quantised_epochs) == (0, 1)


class TestRuns:
    def test_several_resolutions(self, tmp_path: Path) -> None:
        directory = RunDirectory(tmp_path / "group")
        directory.path.mkdir()
        directory.write_config({"resolutions": [8, 16]})
        for act in (
            lambda: run_training(directory.path, request()),
            lambda: evaluate_run(directory.path, None),
        ):
            with pytest.raises(
                RunDirectoryError,
                match=r"holds one run per resolution; give one of them: .*r8, .*r16",
            ):
                act()
        assert run_training(small_run(directory.path / "r8"), request()) is not None

    def test_without_a_winner_or_a_classifier(self, tmp_path: Path) -> None:
        run = small_run(tmp_path / "run", replace(digits_architecture(), classifier=None))
        with pytest.raises(
            InputError,
            match="has no classifier, so it cannot be trained; search again with --classes N",
        ):
            run_training(run, request())
        (run / "best.yaml").unlink()
        with pytest.raises(RunDirectoryError, match=r"has no best.yaml yet"):
            trained_architecture(RunDirectory(run))
        with pytest.raises(RunDirectoryError, match="is not a run directory"):
            run_training(tmp_path, request())
        with pytest.raises(
            RunDirectoryError, match="is not trained to the end yet; type: nas-search train"
        ):
            evaluate_run(run, None)

    def test_a_new_search_removes_the_training(self, tmp_path: Path, finished: Path) -> None:
        run = copied(finished, tmp_path / "run")
        RunDirectory(run).begin({"seed": 1})
        assert {path.name for path in run.iterdir()} == {"config.yaml"}

    def test_default_recipe(self, tmp_path: Path) -> None:
        run = small_run(tmp_path / "run", digits_architecture(64))
        assert default_recipe("digits", run) == "digits"
        (tmp_path / "cifar-10-batches-py").mkdir()
        assert default_recipe(str(tmp_path / "cifar-10-batches-py"), run) == "photos"
        RunDirectory(run).write_best(digits_architecture(63), {})
        assert default_recipe(str(tmp_path / "cifar-10-batches-py"), run) == "cifar"

    def test_described_when_all_is_checked(self, tmp_path: Path) -> None:
        run, seen = small_run(tmp_path / "run"), list[str]()

        def described(event: Event) -> None:
            if isinstance(event, Started):
                seen.append(event.text)
            elif isinstance(event, Finished):
                assert not (run / "training").exists()
                seen.append(event.table[0].split(" images")[0].split()[-1])

        assert run_training(run, request(), watch=Kept(described)) is not None
        assert seen == [
            "reading digits ...",
            str(IMAGES),
            f"evaluating on {IMAGES} test images ...",
        ]


class TestNothingIsLost:
    """With ``force``, the old is removed only when its replacement has been read and found
    usable.
    """

    @pytest.mark.parametrize(
        "changes",
        [
            {"data": "none"},
            {"data": "digits", "limit": 3},
            {"teacher": "none.pt"},
            {"teacher": "text.pt"},
            {"teacher": "wide.pt"},
        ],
    )
    def test_bad_request(
        self,
        tmp_path: Path,
        finished: Path,
        changes: dict[str, Any],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "text.pt").write_text("no teacher")
        architecture = digits_architecture()
        assert architecture.classifier is not None
        save_network(
            tmp_path / "wide.pt",
            GraphNetwork(
                replace(architecture, classifier=replace(architecture.classifier, class_count=11))
            ),
        )
        run = copied(finished, tmp_path / "run")
        before = snapshot(run)
        for flags in ({"force": True}, {"resume": True}, {}):
            with pytest.raises(InputError):
                run_training(run, replace(request(), **changes), **flags)
            assert snapshot(run) == before

    def test_other_recipe_architecture_or_damage(self, tmp_path: Path, finished: Path) -> None:
        run = copied(finished, tmp_path / "run")
        before = snapshot(run)
        with pytest.raises(FileFormatError, match=r"was begun with epochs 2 \(now 4\)"):
            run_training(run, request(epochs=4), resume=True)
        assert snapshot(run) == before
        RunDirectory(run).write_best(digits_architecture(9), {})
        with pytest.raises(
            FileFormatError,
            match=r"result\.json: is not of the files beside it \(best\.yaml is another one\)",
        ):
            run_training(run, request(), resume=True)
        (run / "training" / "result.json").unlink()
        with pytest.raises(FileFormatError, match=r"is of another architecture than best.yaml"):
            run_training(run, request(), resume=True)
        RunDirectory(run).write_best(digits_architecture(), {})
        (run / "training" / "metrics.jsonl").write_text("{}\n")
        with pytest.raises(
            FileFormatError, match="is damaged; remove it to go on without these figures"
        ):
            run_training(run, request(), resume=True)
        (run / "training" / "metrics.jsonl").unlink()
        assert run_training(run, request(), resume=True) is not None

    def test_diverged(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        run, pause = small_run(tmp_path / "run"), after_steps(4)
        run_training(run, request(), watch=pause)
        before = snapshot(run)
        with monkeypatch.context() as patch:
            patch.setattr(
                "nas_engine.training.loop.hard_loss", lambda logits, *_: logits.sum() * float("inf")
            )
            with pytest.raises(TrainingError, match="at quantised epoch 1, step 2: the loss is"):
                run_training(run, request(), resume=True)
        assert snapshot(run) == before
        assert run_training(run, request(), resume=True) is not None

    def test_network_that_cannot_be_lowered(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finished: Path
    ) -> None:
        def fail(*_: object) -> None:
            raise NetworkError("head", "an accumulator is too large")

        run = small_run(tmp_path / "run")
        with monkeypatch.context() as patch:
            patch.setattr("nas_engine.pipeline.training.lower", fail)
            with pytest.raises(
                NasEngineError,
                match=r"trained, but no integer model .* \(head: an accumulator is too large\);",
            ):
                run_training(run, request())
        assert run_training(run, request(), resume=True) is not None
        assert results(run) == results(finished)

    def test_data_that_are_gone(self, tmp_path: Path, finished: Path) -> None:
        run = copied(finished, tmp_path / "run")
        result = read_result(run / "training" / "result.json")
        write_result(run / "training" / "result.json", replace(result, data="/gone/data"))
        with pytest.raises(
            PathError,
            match=(
                r"/gone/data: the data that this run was trained on are not there any more; give "
                r".* --data"
            ),
        ):
            evaluate_run(run, None)
        assert evaluate_run(run, "digits", limit=IMAGES)[1] == result.accuracy
        (run / "integer" / "model.npz").write_bytes(b"")
        with pytest.raises(NasEngineError, match=r"model.npz"):
            evaluate_run(run, "digits")
