"""``nas-search train`` and ``evaluate``: what they print, Ctrl-C and kills, and bad input in one
line.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import torch
from PIL import Image

from nas_engine.architecture import Architecture, Classifier
from nas_engine.cli.main import cli
from nas_engine.cli.progress import Screen
from nas_engine.events import Event, Progress
from nas_engine.models.graph_network import GraphNetwork
from nas_engine.models.widen import widen
from nas_engine.ranges import EPOCHS
from nas_engine.report.layer_errors import read_layer_errors
from nas_engine.runs.run_directory import RunDirectory
from nas_engine.training.networks import save_network
from nas_engine.training.recipe import dump_recipe, recipe_names
from tests.cli.command import Outcome, Run
from tests.cli.terminal import shown_on_a_terminal
from tests.cli.test_bad_input import snapshot
from tests.cli.test_json import check_json
from tests.generations import ENVIRONMENT
from tests.training.runs import results, small_run
from tests.training.tasks import digits_architecture, small_recipe

BRIEF = ("--epochs", "2", "--limit", "40", "--batch-size", "16", "--threads", "1")
COMMAND = [sys.executable, "-c", "from nas_engine.cli.main import main\nmain()"]


def with_classes(classes: int, **changes: Any) -> Architecture:
    architecture = digits_architecture()
    assert architecture.classifier is not None
    return replace(
        architecture,
        classifier=Classifier(class_count=classes, bits=architecture.classifier.bits),
        **changes,
    )


def npz(path: Path, **changes: Any) -> Path:
    """Write four classes of noise."""
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {
        "x_train": rng.integers(0, 256, (24, 8, 8), np.uint8),
        "x_test": rng.integers(0, 256, (8, 8, 8), np.uint8),
    }
    arrays |= {"y_train": np.arange(24) % 4, "y_test": np.arange(8) % 4}
    np.savez(path, **(arrays | changes))
    return path


def folders(path: Path, *, broken: int = 0) -> Path:
    """Write images of several sizes and modes, two classes, as JPEG and PNG."""
    rng = np.random.default_rng(1)
    for split, count in (("train", 12), ("test", 4)):
        for name, level in (("dark", 0), ("light", 150)):
            (path / split / name).mkdir(parents=True)
            for number in range(count):
                mode, size = ("L", "RGB", "RGBA", "P")[number % 4], (9 + number, 8 + number % 3)
                shade = rng.integers(level, level + 100, (*size, 3), np.uint8)
                file = path / split / name / f"{number}.{'png' if mode in ('RGBA', 'P') else 'jpg'}"
                Image.fromarray(shade).convert(mode).save(file)
    for number in range(broken):
        (path / "train" / "dark" / f"broken{number}.jpg").write_bytes(b"no image")
    return path


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A run for digits in the working directory."""
    return small_run(tmp_path / "run")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run, only to be copied."""
    path = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["nas-search", "train", str(small_run(path / "run")), *BRIEF])
        with pytest.raises(SystemExit) as caught:
            cli.main(standalone_mode=True)
    assert caught.value.code == 0
    return path / "run"


FIGURES = r"loss \d\.\d{3}, train \d+\.\d %, held-out \d+\.\d %"


class TestTrain:
    def test_shows_data_epochs_and_accuracy(self, run: Run, place: Path) -> None:
        outcome = run("train", place.name, *BRIEF)
        assert outcome.code == 0
        lines = outcome.err.splitlines()
        assert lines[0] == "digits: 10 classes, from digits"
        assert re.fullmatch(
            rf"network, float epoch 1/1: {FIGURES}, \d+ s left",
            lines[-2],
        )
        assert re.fullmatch(
            r"network, quantised epoch 1/1: loss \d\.\d{3}, train \d+\.\d %, held-out \d+\.\d %",
            lines[-1],
        )
        accuracy = json.loads((place / "training" / "result.json").read_text())["accuracy"]
        found, error = (
            accuracy["by_class"],
            (accuracy["integer"] * (100 - accuracy["integer"]) / 40) ** 0.5,
        )
        assert (
            np.trace(found["confusion"])
            == 40 - len(found["wrong"])
            == round(accuracy["integer"] * 0.4)
        )
        largest = f"always '{found['largest']}', the largest class"
        rest = (
            f"is not more than 2 standard errors above {found['share']:.2f} %, which naming "
            f"'{found['largest']}' always would reach"
        )
        assert outcome.out.splitlines() == [
            "top-1 accuracy on 40 images (test)",
            f"  float, before quantisation           {accuracy['floating']:6.2f} %",
            f"  fake-quantised                       {accuracy['quantised']:6.2f} %",
            f"  integer                              {accuracy['integer']:6.2f} %",
            f"  integer predicts as fake-quantised   {accuracy['agreement']:6.2f} %",
            f"  {largest:<36} {found['share']:6.2f} %",
            *(
                []
                if accuracy["integer"] > found["share"] + 2 * error
                else [f"barely above chance: {accuracy['integer']:.2f} % {rest}"]
            ),
            "written to run/training and run/integer",
        ]
        table = "\n".join(outcome.out.splitlines()[:-1])
        assert run("evaluate", "run", "--limit", "40").out == f"digits, from digits\n{table}\n"
        shown = run("evaluate", "run", "--limit", "40", "--json", "--threads", "1").out
        assert json.loads(shown) == {"data": "digits", "accuracy": accuracy}
        assert not (place / "layer_errors.json").exists()

    def test_an_accuracy_that_is_missed_has_an_exit_code_of_its_own(
        self, run: Run, place: Path
    ) -> None:
        missed = run("train", place, *BRIEF, "--min-accuracy", "100%")
        assert "error: the integers reach " in missed.err.splitlines()[-1]
        assert missed.code == 3
        assert "top-1 accuracy on 40 images" in missed.out
        reached = json.loads((place / "training" / "result.json").read_text())["accuracy"][
            "integer"
        ]
        assert run("evaluate", "run", "--limit", "40", "--min-accuracy", str(reached)).code == 0
        above = run(
            "evaluate", "run", "--limit", "40", "--min-accuracy", str(reached + 0.5), "--json"
        )
        assert above.code == 3
        assert "missed by 0.50 points" in above.err
        assert json.loads(above.out)["accuracy"]["integer"] == reached
        for text in ("nan", "101", "-1", "x", "inf"):
            assert (
                f"'{text}' is not a number from 0 to 100 percent"
                in run("evaluate", "run", "--min-accuracy", text).refusal()
            )
        other = small_run(place.parent / "other")
        assert (
            "trains in float only"
            in run("train", other, *BRIEF, "--float-share", "1", "--min-accuracy", "5").refusal()
        )
        assert not (other / "training").exists()

    def test_error_of_every_layer(self, run: Run, place: Path) -> None:
        run("train", place, *BRIEF)
        lines = run("evaluate", "run", "--limit", "40", "--layers").out.splitlines()
        errors = read_layer_errors(place / "layer_errors.json")
        assert (errors.images, errors.split) == (40, "test")
        assert [line.split()[:4] for line in lines[-1 - len(errors.layers) : -1]] == [
            [layer.name, str(layer.w_bits), str(layer.a_bits), str(layer.out_bits)]
            for layer in errors.layers
        ]
        assert lines[-1].endswith("Measured on 40 test images of digits; 6 dB are about one bit.")
        shown = check_json(
            "evaluate",
            run("evaluate", "run", "--limit", "100", "--layers", "--json", "--split", "train").out,
        )
        errors = read_layer_errors(place / "layer_errors.json")
        assert (errors.images, errors.split) == (64, "train")
        assert [layer["sqnr_db"] for layer in shown["layers"]] == pytest.approx(
            [layer.sqnr_db for layer in errors.layers]
        )
        assert shown["accuracy"]["images"] == 100

    def test_float_alone(self, run: Run, place: Path) -> None:
        outcome = run("train", place, *BRIEF, "--float-share", "1")
        assert outcome.out.splitlines()[1:] == [
            *outcome.out.splitlines()[1:4],
            f"written to {place}/training; never quantised, so there is no integer model",
        ]
        assert not (place / "integer").exists()

    def test_images_of_any_size_and_mode(self, run: Run, tmp_path: Path) -> None:
        place, data = (
            small_run(tmp_path / "run", with_classes(2, input_channels=3)),
            folders(tmp_path / "my data", broken=2),
        )
        outcome = run(
            "train", place, "--data", data, "--epochs", "8", "--batch-size", "8", "--threads", "1"
        )
        assert outcome.code == 0
        assert "note: 2 files skipped:" in outcome.err
        assert f"{data}/train/dark/broken0.jpg: not a JPEG" in outcome.err
        assert "recipe: cifar" not in outcome.err
        assert json.loads((place / "training" / "result.json").read_text())["recipe"] == "cifar"
        shutil.move(data, tmp_path / "moved")
        message = run("evaluate", place).refusal()
        assert message.startswith(
            f"{data}: the data that this run was trained on are not there any more; give their "
            "place with --data"
        )
        assert run("evaluate", place, "--data", tmp_path / "moved").code == 0

    def test_batch_larger_than_the_data(self, run: Run, tmp_path: Path) -> None:
        place = small_run(tmp_path / "run", with_classes(4))
        assert (
            run(
                "train",
                place,
                "--data",
                npz(tmp_path / "few.npz"),
                "--batch-size",
                "65536",
                "--epochs",
                "2",
            ).code
            == 0
        )


class TestContinue:
    def test_command_that_is_printed(self, run: Run, tmp_path: Path) -> None:
        """Every option that is given comes back, quoted; a file of the same name as a shipped
        recipe stays a file.
        """
        place = small_run(tmp_path / "my run")
        (tmp_path / "digits.yaml").write_text(dump_recipe(small_recipe(epochs=9, batch_size=8)))
        torch.manual_seed(0)
        save_network(tmp_path / "my teacher.pt", GraphNetwork(widen(digits_architecture())))
        given = [
            "--recipe",
            "digits.yaml",
            "--teacher",
            "my teacher.pt",
            "--limit",
            "40",
            "--accelerator",
            "cpu",
            "--threads",
            "1",
        ]
        given += ["--data", "digits", "--epochs", "2", "--float-share", "0.5", "--batch-size", "16"]
        given += ["--learning-rate", "0.03", "--seed", "7"]
        outcome = run("train", "my run", *given, "--time-limit", "0.000001s", "--force")
        assert outcome.code == 0
        text, command = outcome.out.strip().split("; continue with: ")
        assert text == "stopped; the state is saved"
        words = shlex.split(command)
        assert words[:4] == ["nas-search", "train", "my run", "--resume"]
        pairs = dict(zip(words[4::2], words[5::2], strict=True))
        assert pairs == dict(zip(given[::2], given[1::2], strict=True))
        assert run(*words[1:]).code == 0
        straight = small_run(tmp_path / "straight")
        assert run("train", straight, *given).code == 0
        assert results(place) == results(straight)

    def test_teacher_of_its_own(self, run: Run, place: Path) -> None:
        outcome = run("train", "run", *BRIEF, "--teacher", "auto", "--time-limit", "0.000001s")
        assert not (place / "training" / "checkpoint.pt").exists()
        outcome = run(*shlex.split(outcome.out.split("continue with: ")[1])[1:])
        assert outcome.code == 0
        assert "teacher, float epoch 2/2: " in outcome.err

    def test_second_ctrl_c_stops_at_once(
        self, run: Run, place: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def watch(_: Screen, event: Event) -> None:
            if isinstance(event, Progress):
                signal.raise_signal(signal.SIGINT)
                signal.raise_signal(signal.SIGINT)

        monkeypatch.setattr(Screen, "__call__", watch)
        outcome = run("train", place, *BRIEF)
        assert outcome.code == 130
        assert (
            outcome.err.splitlines()[-1]
            == "error: stopped at once; --resume continues from the last checkpoint"
        )

    def test_ctrl_c_while_data_are_read(
        self, run: Run, place: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def read(*_: object, **__: object) -> None:
            signal.raise_signal(signal.SIGINT)
            raise AssertionError("read on")

        monkeypatch.setattr("nas_engine.pipeline.data.open_dataset", read)
        before = snapshot(place)
        run("train", place, *BRIEF).refusal(code=130)
        assert snapshot(place) == before

    @pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
    def test_killed_by_the_system_and_interrupted(
        self, run: Run, tmp_path: Path, place: Path
    ) -> None:
        given = ["--epochs", "24", "--limit", "40", "--batch-size", "16", "--threads", "1"]
        metrics = place / "training" / "metrics.jsonl"
        for lines, number in ((1, signal.SIGKILL), (5, signal.SIGKILL), (9, signal.SIGINT)):
            process = subprocess.Popen(
                [*COMMAND, "train", "run", *given, "--resume"],
                env=ENVIRONMENT,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                cwd=tmp_path,
            )
            try:
                while not (metrics.exists() and len(metrics.read_text().splitlines()) >= lines):
                    assert process.poll() is None
                    time.sleep(0.003)
                process.send_signal(number)
                out, err = process.communicate(timeout=60)
            finally:
                process.kill()
                process.wait()
        assert process.returncode == 130, err
        assert "Traceback" not in err
        command = shlex.split(
            out.strip().removeprefix("stopped; the state is saved; continue with: ")
        )
        assert command[:4] == ["nas-search", "train", "run", "--resume"]
        assert run(*command[1:]).code == 0
        straight = small_run(tmp_path / "straight")
        assert run("train", straight, *given).code == 0
        assert results(place) == results(straight)


class TestProgress:
    @pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminal")
    def test_bar_on_a_terminal(
        self, run: Run, place: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        outcomes: list[Outcome] = []
        shown = shown_on_a_terminal(
            monkeypatch, lambda: outcomes.append(run("train", place, *BRIEF, "--teacher", "auto"))
        )
        assert outcomes[0].code == 0
        lines = re.split(r"[\r\n]+", shown)
        assert "reading digits ..." in lines
        assert "evaluating on 40 test images ..." in lines
        bars = [line for line in lines if "|" in line]
        assert bars[0].startswith("teacher, float epoch 1/2 ")
        text = rf" 100 % \|.*\| 00:00 left, {FIGURES}"
        assert re.search(f"teacher, float epoch 2/2{text}", shown)
        assert re.search(f"network, quantised epoch 1/1{text}", shown)
        assert max(map(len, bars)) <= 100


class TestHelp:
    @pytest.mark.parametrize("name", ["train", "evaluate"])
    def test_every_default_is_told(self, name: str) -> None:
        flags = {"resume", "force", "json", "quiet", "layers", "teacher_code"}
        for option in cli.commands[name].params:
            if isinstance(option, click.Option) and option.name not in flags:
                assert "[default: " in (option.help or ""), option.name

    def test_defaults_are_the_real_ones(self, trained: Path) -> None:
        options: dict[str, Any] = {
            option.name or "": option for option in cli.commands["train"].params
        }
        assert "[default: 0]" in options["seed"].help
        assert "[default: auto: " in options["accelerator"].help
        assert options["epochs"].type.row.range == EPOCHS
        assert f"How to train: {', '.join(recipe_names())}, or" in options["recipe"].help
        result = json.loads((trained / "training" / "result.json").read_text())
        assert (result["data"], result["recipe"], result["teacher"], result["seed"]) == (
            "digits",
            "digits",
            "none",
            0,
        )

    @pytest.mark.parametrize("name", ["train", "evaluate"])
    def test_loads_nothing_heavy(self, name: str) -> None:
        code = (
            f"import sys; sys.argv = ['nas-search', '{name}', '--help']\n"
            "from nas_engine.cli.main import main\n"
            "try: main()\nexcept SystemExit: pass\n"
            "heavy = {'numpy', 'torch', 'yaml', 'tqdm', 'PIL', 'sklearn'} & set(sys.modules)\n"
            "sys.exit(f'loaded: {heavy}' if heavy else 0)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        assert "Usage: " in done.stdout


class TestBadInput:
    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            ("--epochs 0", "--epochs"),
            ("--epochs many", "--epochs"),
            ("--float-share 2", "--float-share"),
            ("--batch-size 1", "--batch-size"),
            ("--learning-rate 0", "--learning-rate"),
            (
                "--learning-rate 1e-12",
                "--learning-rate: '1e-12' is not a number from 1e-09 to 100",
            ),
            ("--seed -1", "--seed"),
            ("--threads 0", "--threads"),
            ("--limit 1", "--limit: '1' is not a whole number from 2"),
            ("--limit 2.5", "--limit: '2.5'"),
            ("--limit 5", "limit is 5, but there are 10 classes"),
            ("--time-limit 0", "--time-limit: '0'"),
            ("--accelerator tpu", "--accelerator"),
            (
                "--resume --force",
                "--resume continues a training, --force replaces it; give one of the two",
            ),
            (
                "--recipe cfar",
                (
                    "unknown recipe: 'cfar'; did you mean 'cifar'? expected one of: cifar, digits, "
                    "photos"
                ),
            ),
            ("--recipe none.yaml", "none.yaml: cannot be read (No such file"),
            ("--recipe ''", "is a folder; expected a regular file"),
            ("--data none", "none: does not exist; expected "),
            ("--data ''", "no data given; expected "),
            ("--data empty", "empty: is an empty folder; expected "),
            ("--data cifar-10-batches-py", "lacks 'data_batch_1', "),
            ("--data cut.npz", "cut.npz: is no .npz of plain arrays ("),
            (
                "--data four.npz",
                (
                    "the data has 4 classes, the network 10; search again with --classes 4 or give "
                    "other data"
                ),
            ),
            ("--data splits.npz", "test has images of 2 of the 4 classes, none of '2', '3'"),
            (
                "--data gap.npz",
                (
                    "the labels in x_train, y_train are 4 different numbers from 0 to 30; expected "
                    "0 to 3 without a gap"
                ),
            ),
            (
                "--data range.npz",
                (
                    "range.npz: the labels of test run from 0 to 7, but there are 4 classes; "
                    "expected labels from 0 to 3"
                ),
            ),
            ("--data one.npz", "one.npz: has only one class"),
            (
                "--teacher none.pt",
                "none.pt: does not exist; give the file of a teacher, 'auto' or 'none'",
            ),
            ("--teacher ''", "does not exist; give the file of a teacher"),
            ("--teacher .", "is a folder; expected a regular file"),
            (
                "--teacher text.pt",
                (
                    "text.pt: is damaged, cut off or of another kind; expected the state dict of a "
                    "CIFAR ResNet"
                ),
            ),
            (
                "--teacher eleven.pt",
                (
                    "eleven.pt: the teacher has 11 classes, the data 10; give a teacher trained "
                    "for the same classes"
                ),
            ),
            (
                "--teacher colour.pt",
                "network (colour.pt): fails on images of 1x8x8 (channels x height x width)",
            ),
        ],
    )
    def test_one_line_and_nothing_lost(
        self, run: Run, tmp_path: Path, trained: Path, arguments: str, says: str
    ) -> None:
        shutil.copytree(trained, tmp_path / "run")
        (tmp_path / "empty").mkdir()
        (tmp_path / "cifar-10-batches-py").mkdir()
        (tmp_path / "text.pt").write_text("no network")
        save_network(tmp_path / "eleven.pt", GraphNetwork(with_classes(11)))
        save_network(tmp_path / "colour.pt", GraphNetwork(with_classes(10, input_channels=3)))
        (tmp_path / "cut.npz").write_bytes(npz(tmp_path / "four.npz").read_bytes()[:900])
        npz(tmp_path / "splits.npz", y_test=np.arange(8) % 2)
        npz(tmp_path / "gap.npz", y_train=np.arange(24) % 4 * 10)
        npz(tmp_path / "range.npz", y_test=np.arange(8))
        npz(tmp_path / "one.npz", x_train=np.zeros((1, 8, 8), np.uint8), y_train=[0])
        before = snapshot(tmp_path)
        words = ["" if word == "''" else word for word in arguments.split(" ")]
        for flags in ([] if "--resume" in arguments else ["--force"], ["--resume"]):
            assert says in run("train", "run", *words, *flags).refusal()
        assert snapshot(tmp_path) == before

    def test_training_that_is_there(self, run: Run, tmp_path: Path, trained: Path) -> None:
        shutil.copytree(trained, tmp_path / "run")
        before = snapshot(tmp_path)
        says = (
            "run/training: holds a training already; add --resume to continue it or --force to "
            "replace it"
        )
        assert run("train", "run", *BRIEF).refusal() == says
        message = run("train", "run", *BRIEF, "--epochs", "30", "--resume").refusal()
        assert (
            "was begun with epochs 2 (now 30); the schedule depends on it, so give the same again, "
            "or train again" in message
        )
        assert (
            "data, seed or teacher (seed 0; train: 40 images, crc "
            in run("train", "run", *BRIEF, "--seed", "1", "--resume").refusal()
        )
        assert (
            "train: 40 images, crc"
            in run("train", "run", *BRIEF, "--limit", "50", "--resume").refusal()
        )
        assert snapshot(tmp_path) == before
        RunDirectory(tmp_path / "run").write_best(digits_architecture(9), {})
        assert (
            "is not of the files beside it (best.yaml is another one)"
            in run("train", "run", *BRIEF, "--resume").refusal()
        )
        (tmp_path / "run" / "training" / "result.json").unlink()
        assert (
            "is of another architecture than best.yaml"
            in run("train", "run", *BRIEF, "--resume").refusal()
        )

    @pytest.mark.parametrize(
        "damage",
        [lambda data: b"", lambda data: data[:-1], lambda data: data[:700] + b"x" + data[701:]],
    )
    def test_damaged_checkpoint(
        self, run: Run, tmp_path: Path, trained: Path, damage: Callable[[bytes], bytes]
    ) -> None:
        shutil.copytree(trained, tmp_path / "run")
        checkpoint = tmp_path / "run" / "training" / "checkpoint.pt"
        checkpoint.write_bytes(damage(checkpoint.read_bytes()))
        before = snapshot(tmp_path)
        assert (
            "checkpoint.pt: is not a whole checkpoint (cut off or damaged)"
            in run("train", "run", *BRIEF, "--resume").refusal()
        )
        assert snapshot(tmp_path) == before

    def test_no_run(self, run: Run, tmp_path: Path) -> None:
        for name in ("none", "é", "n" * 5000):
            for command in ("train", "evaluate"):
                assert "is not a run directory (no config.yaml)" in run(command, name).refusal()
        assert list(tmp_path.iterdir()) == []
        place = small_run(tmp_path / "run")
        assert (
            "is not trained to the end yet; type: nas-search train run"
            in run("evaluate", "run").refusal()
        )
        (place / "best.yaml").unlink()
        assert "has no best.yaml yet" in run("train", "run").refusal()
        assert "Missing argument 'RUN|FILE'" in run("train").refusal()

    def test_weights_of_another_run_are_for_runs(self, run: Run, tmp_path: Path) -> None:
        (tmp_path / "net.yaml").write_text("x: 1\n")
        said = run("train", "net.yaml", "--init-from", "run").refusal()
        assert said.startswith("--init-from is for a run directory, and this is the file of a net")

    def test_torch_is_missing(self, run: Run, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        says = "needs torch, which is not installed; type: pip install 'nas-search[train]'"
        assert run("train", place).refusal() == f"training {says}"
        assert run("evaluate", place).refusal() == f"evaluation {says}"

    def test_no_cuda(self, run: Run, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("torch.cuda.is_available", lambda: False)
        says = (
            "--accelerator: torch finds no CUDA device here; expected one; type --accelerator cpu"
        )
        assert run("train", place, "--accelerator", "cuda").refusal() == says

    @pytest.mark.parametrize(
        "error", [OSError(28, "No space left on device"), PermissionError(13, "Permission denied")]
    )
    def test_disk_that_takes_nothing(
        self, run: Run, tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch, error: OSError
    ) -> None:
        def fail(*_: object) -> None:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr("os.fsync", fail)
            outcome = run("train", place, *BRIEF)
        assert outcome.code == 1
        assert outcome.err.splitlines()[-1].startswith(
            f"error: {place}/training/recipe.yaml: cannot be written ({error.strerror})"
        )
        assert run("train", place, *BRIEF, "--resume").code == 0

    def test_evaluation(self, run: Run, tmp_path: Path, trained: Path) -> None:
        shutil.copytree(trained, tmp_path / "run")
        before = snapshot(tmp_path / "run")
        assert (
            "there is no split 'validation'; give one of: train, test"
            in run("evaluate", "run", "--split", "validation").refusal()
        )
        assert "no data given" in run("evaluate", "run", "--data", "").refusal()
        four = npz(tmp_path / "four.npz")
        assert (
            "the data has 4 classes, the network 10"
            in run("evaluate", "run", "--data", four).refusal()
        )
        assert snapshot(tmp_path / "run") == before


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a run trained on the classes 'dark' and 'light', and a refined run of
    it, not trained.
    """
    root = tmp_path_factory.mktemp("known")
    small_run(root / "run", with_classes(2))
    arguments = [
        "--data",
        str(folders(root / "shades")),
        "--epochs",
        "2",
        "--batch-size",
        "8",
        "--threads",
        "1",
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["nas-search", "train", str(root / "run"), *arguments])
        with pytest.raises(SystemExit) as caught:
            cli.main(standalone_mode=True)
    assert caught.value.code == 0
    refined = RunDirectory(small_run(root / "refined", with_classes(2)))
    shutil.copy(root / "run" / "training" / "float.pt", refined.start)
    shutil.copy(root / "run" / "training" / "classes.json", refined.classes)
    return root


class TestClasses:
    """Data meet a trained run: its classes are known by name, whatever the command."""

    @pytest.mark.parametrize(
        "command",
        [
            "evaluate run",
            "evaluate run --layers",
            "evaluate run --split train",
            "train run --resume --epochs 2",
            "train refined --epochs 2",
        ],
    )
    def test_other_names_are_refused(
        self, run: Run, tmp_path: Path, known: Path, command: str
    ) -> None:
        root = Path(shutil.copytree(known, tmp_path / "here"))
        for split in ("train", "test"):
            (root / "shades" / split / "dark").rename(root / "shades" / split / "night")
        first, *rest = command.split()
        before = snapshot(root / rest[0])
        refusal = run(
            first, str(root / rest[0]), *rest[1:], "--data", str(root / "shades")
        ).refusal()
        assert "other classes than those that the network was trained on" in refusal
        assert refusal.endswith("missing 'dark'; extra 'night'")
        assert snapshot(root / rest[0]) == before

    def test_another_order_is_the_same(self, run: Run, tmp_path: Path, known: Path) -> None:
        images = np.random.default_rng(0).integers(0, 256, (24, 8, 8), np.uint8)
        numbers, given = np.arange(24) % 2, {}
        for order, classes in (("same", ["dark", "light"]), ("other", ["light", "dark"])):
            right = numbers if order == "same" else 1 - numbers
            np.savez(
                tmp_path / f"{order}.npz",
                x_train=images,
                y_train=right,
                x_test=images,
                y_test=right,
                classes=classes,
            )
            shown = run(
                "evaluate", str(known / "run"), "--data", str(tmp_path / f"{order}.npz"), "--json"
            ).out
            given[order] = json.loads(shown)["accuracy"]
        assert given["same"] == given["other"]
        unnamed = tmp_path / "unnamed.npz"
        np.savez(unnamed, x_train=images, y_train=numbers, x_test=images, y_test=numbers)
        outcome = run("evaluate", str(known / "run"), "--data", str(unnamed), "--json")
        assert (
            "note: the data have numbers in place of class names, so classes are matched by "
            "number: '0' is 'dark', " in outcome.err
        )
        assert json.loads(outcome.out)["accuracy"]["integer"] == given["same"]["integer"]

    def test_a_folder_from_the_board_is_judged_whole(
        self, run: Run, tmp_path: Path, known: Path
    ) -> None:
        whole = shutil.copytree(known / "shades" / "train", tmp_path / "board")
        outcome = run("evaluate", str(known / "run"), "--data", str(whole))
        assert outcome.out.splitlines()[:2] == [
            f"board, from {whole}",
            "top-1 accuracy on 24 images (all of the folder)",
        ]
        assert (
            "so all images are judged; add --split test if the network was trained on"
            in outcome.err
        )
        alone = tmp_path / "alone"
        shutil.copytree(known / "shades" / "test", alone / "Test")
        assert "on 8 images (test)" in run("evaluate", str(known / "run"), "--data", str(alone)).out

    def test_the_folder_of_the_training_keeps_its_split(self, run: Run, tmp_path: Path) -> None:
        small_run(tmp_path / "run", with_classes(2))
        shades = Path(shutil.copytree(folders(tmp_path / "made") / "train", tmp_path / "shades"))
        judged = re.compile(r"on (\d+) images \(test\)")
        trained = run(
            "train",
            "run",
            "--data",
            "shades",
            "--epochs",
            "2",
            "--batch-size",
            "8",
            "--threads",
            "1",
        ).out
        (tmp_path / "link").symlink_to(shades)
        outcomes = [
            run("evaluate", "run").out,
            *(run("evaluate", "run", "--data", name).out for name in ("shades", "link")),
        ]
        found = [judged.search(text) for text in (trained, *outcomes)]
        assert len({match[1] for match in found if match}) == 1
        assert all(found)
