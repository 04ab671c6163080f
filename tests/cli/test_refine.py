"""``nas-search refine``: what it prints, Ctrl-C, and bad input in one line."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from nas_engine.allocation.table import ALLOCATORS
from nas_engine.cli.progress import Screen
from nas_engine.events import Event, Progress
from nas_engine.names import Method
from nas_engine.pipeline.data import write_classes
from nas_engine.runs.run_directory import RunDirectory
from tests.cli.command import Outcome, Run
from tests.cli.terminal import shown_on_a_terminal
from tests.cli.test_bad_input import snapshot
from tests.cli.test_json import check_json
from tests.refine_runs import usable_run
from tests.resealed import change
from tests.training.runs import small_run

BRIEF = (
    "--images",
    "64",
    "--swaps",
    "0",
    "--trials",
    "1",
    "--solver-time",
    "0.3s",
    "--threads",
    "1",
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run whose budgets bind, only to be read or copied."""
    return usable_run(tmp_path_factory.mktemp("usable"))


@pytest.fixture
def place(tmp_path: Path, trained: Path) -> Path:
    """A copy of it in the working directory."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


def test_methods_are_those_of_the_table() -> None:
    assert set(Method) == set(ALLOCATORS)


def test_other_classes_are_refused(run: Run, place: Path, tmp_path: Path) -> None:
    write_classes(place / "training" / "classes.json", [f"known{number}" for number in range(10)])
    change(
        place / "training" / "result.json", made_of=None
    )  # or the names were those of another training
    images, numbers = np.zeros((20, 8, 8), np.uint8), np.arange(20) % 10
    arrays = {"x_train": images, "y_train": numbers, "x_test": images, "y_test": numbers}
    np.savez(tmp_path / "other.npz", classes=[f"other{number}" for number in range(10)], **arrays)
    assert run("export", "run", "--format", "c").code == 0
    before = snapshot(place)
    for command in (("refine", "run", *BRIEF), ("verify", "run")):
        refusal = run(*command, "--data", "other.npz").refusal()
        assert (
            "missing 'known0', 'known1', 'known2', 'known3', 'known4' and 5 more; extra 'other0', "
            in refusal
        )
    assert snapshot(place) == before


class TestOutput:
    def test_table_and_the_command_that_trains(self, run: Run, place: Path) -> None:
        outcome = run("refine", "run", *BRIEF)
        assert outcome.code == 0
        assert outcome.err.splitlines() == ["measuring singles: 1/1"]
        lines = outcome.out.splitlines()
        (row,) = (line for line in lines if line.startswith("gauss-newton "))
        assert re.search(r" \d\.\d\d .* [+-]\d\.\d{4} .* \d+\.\d\d %", row)
        assert any(line.startswith("singles: 64 images, ") for line in lines)
        assert lines[-2:] == [
            "written to run/refine",
            "train it: nas-search train run/refine/gauss-newton --data digits",
        ]
        command = shlex.split(lines[-1].removeprefix("train it: "))
        assert run(*command[1:], "--epochs", "1", "--limit", "40", "--threads", "1").code == 0
        assert (
            run("refine", "run", *BRIEF)
            .refusal()
            .startswith("run/refine/gauss-newton: was trained already; add --force")
        )

    def test_json(self, run: Run, place: Path) -> None:
        outcome = run("refine", "run", "--method", "uniform", *BRIEF, "--json")
        found = check_json("refine", outcome.out)
        assert [method["method"] for method in found["methods"]] == ["uniform"]
        record = json.loads((place / "refine" / "uniform" / "allocation.json").read_text())
        assert {key: record[key] for key in found["methods"][0]} == found["methods"][0]
        assert found["train"] == "nas-search train run/refine/uniform --data digits"

    def test_all(self, run: Run, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        few = {name: ALLOCATORS[name] for name in ("uniform", "clado", "greedy")}
        monkeypatch.setattr("nas_engine.pipeline.refine_request.ALLOCATORS", few)
        outcome = run("refine", "run", "--method", "all", *BRIEF)
        assert outcome.code == 0
        assert (
            json.loads((place / "refine" / "comparison.json").read_text())["methods"][1]["method"]
            == "greedy"
        )  # clado needs pairs
        assert (place / "refine" / "allocations.png").exists()
        assert re.search(
            r"train the best one: nas-search train run/refine/(uniform|greedy) ", outcome.out
        )


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminal")
def test_bar_on_a_terminal(run: Run, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes: list[Outcome] = []
    shown = shown_on_a_terminal(
        monkeypatch,
        lambda: outcomes.append(run("refine", "run", "--method", "entropy-window", *BRIEF)),
    )
    assert outcomes[0].code == 0
    lines = re.split(r"[\r\n]+", shown)
    assert [line for line in lines if line.endswith("...")] == [
        "reading digits ...",
        "measuring entropies ...",
        "entropy-window ...",
    ]
    bars = [line for line in lines if "|" in line]
    assert re.fullmatch(r"entropy-window: trials 100 % \|.*\| 1/1 .*left", bars[-1])
    assert max(map(len, lines)) <= 100


class TestInterrupted:
    def test_ctrl_c_keeps_what_is_measured(
        self, run: Run, place: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = Screen.__call__

        def watch(self: Screen, event: Event) -> None:
            real(self, event)
            if isinstance(event, Progress):
                signal.raise_signal(signal.SIGINT)

        with monkeypatch.context() as patch:
            patch.setattr(Screen, "__call__", watch)
            outcome = run(
                "refine",
                "run",
                "--method",
                "greedy",
                *BRIEF[:-2],
                "--images",
                "128",
                "--threads",
                "1",
            )
        assert outcome.code == 130
        assert outcome.err.splitlines() == ["measuring singles: 1/2"]
        text, command = outcome.out.strip().split("; go on with: ")
        assert text == "stopped; what was measured is kept in run/refine"
        outcome = run(*shlex.split(command)[1:])
        assert outcome.code == 0
        assert outcome.err.splitlines() == ["measuring singles: 2/2"]

    def test_a_second_ctrl_c_stops_at_once(
        self, run: Run, place: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def watch(_: Screen, event: Event) -> None:
            if isinstance(event, Progress):
                signal.raise_signal(signal.SIGINT)
                signal.raise_signal(signal.SIGINT)

        monkeypatch.setattr(Screen, "__call__", watch)
        outcome = run("refine", "run", "--method", "greedy", *BRIEF)
        assert (outcome.code, outcome.err) == (130, "")
        assert (
            "go on with: nas-search refine run --method greedy --images 64 --swaps 0 --trials 1 "
            "--solver-time 0.3s" in outcome.out
        )


class TestRefusals:
    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            (
                ("--method", "clado-x"),
                "unknown method: 'clado-x'; did you mean 'clado'? expected one of: uniform,",
            ),
            (("--images", "65"), "--images: 65; expected an even number from 64"),
            (("--images", "some"), "--images"),
            (("--solver-time", "soon"), "--solver-time"),
            (("--data", "nowhere"), "nowhere"),
            (
                ("--limit", "40", "--images", "64"),
                "40 training images are too few to choose bits by",
            ),
        ],
    )
    def test_options(self, run: Run, place: Path, arguments: tuple[str, ...], says: str) -> None:
        before = snapshot(place)
        assert says in run("refine", "run", *arguments).refusal()
        assert snapshot(place) == before

    def test_runs(self, run: Run, tmp_path: Path, trained: Path) -> None:
        assert "is not a run directory" in run("refine", "nowhere").refusal()
        place = small_run(tmp_path / "fresh")
        RunDirectory(place).write_config(RunDirectory(trained).read_config())
        assert (
            "is not trained to the end yet; type: nas-search train fresh"
            in run("refine", "fresh").refusal()
        )
        outcome = run(
            "refine", "fresh", "--force", "--data", "digits", "--method", "uniform", *BRIEF
        )
        assert outcome.out.startswith(
            "warning: fresh was never trained: bits are chosen for random weights\n"
        )

    def test_without_torch(self, run: Run, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        assert "torch" in run("refine", "run").refusal()

    def test_training_from_weights_has_no_float_stage(self, run: Run, place: Path) -> None:
        shutil.copyfile(place / "training" / "float.pt", place / "start.pt")
        message = run("train", "run", "--force", "--float-share", "0.5").refusal()
        assert message == (
            "--float-share: run/start.pt holds float weights already, so there is no float "
            "stage; leave it out"
        )
