"""The studies of training at a tiny size; nothing is timed, nothing is written outside of the
test's folder.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks import cifar, person, teachers, training_agreement, training_speed
from nas_engine.datasets import open_dataset
from nas_engine.models.cifar_resnet import cifar_resnet
from nas_engine.pipeline import load_runs
from nas_engine.training.result import read_result
from nas_engine.training.teacher_forms import FORMS
from tests.kernels.kernels import kernels


def test_training_speed() -> None:
    name = kernels().name
    rows = training_speed.run(rounds=1, batch=4, threads=1)
    assert [float(row.measured) > 0 for row in rows] == [True, True, True]
    assert all(name in row.what for row in rows[:2])


def test_training_agreement() -> None:
    rows = training_agreement.run(seeds=1, epochs=2, images=10, threads=1)
    assert [row.what.partition(" ")[0] for row in rows] == ["loss", "accuracy"]
    assert all("kernels" in row.what and "torch" in row.what for row in rows)


def test_cifar_on_digits_and_again_from_its_files(tmp_path: Path) -> None:
    def run() -> list[str]:
        rows = cifar.run(
            epochs=2,
            folder=str(tmp_path / "study"),
            macs=1e6,
            candidates=4096,
            resolution=8,
            threads=1,
            limit=40,
        )
        return [row.measured for row in rows]

    first = run()
    assert len(first) == 6
    search, plain = (
        load_runs(tmp_path / "study" / name)[0].training for name in ("search", "float")
    )
    assert search is None  # the record of a run tells of its training
    assert plain == read_result(tmp_path / "study" / "float" / "training" / "result.json")
    (
        tmp_path / "study" / "distilled" / "training" / "checkpoint.pt"
    ).unlink()  # results are kept: nothing is trained again
    assert run() == first


def test_person_on_two_digits(tmp_path: Path) -> None:
    data = open_dataset("digits", resolution=32, channels=3)
    for part, split in (("train", data.train), ("test", data.test)):
        for label, name in enumerate(("zero", "one")):
            folder = tmp_path / "data" / part / name
            folder.mkdir(parents=True)
            for number, index in enumerate(np.flatnonzero(split.labels == label)[:12]):
                Image.fromarray(split.images[index]).save(folder / f"{number}.png")
    sizes = {"epochs": 2, "macs": 1e6, "resolution": 32, "candidates": 4096}
    (row,) = person.run(str(tmp_path / "data"), folder=str(tmp_path / "study"), threads=1, **sizes)
    assert "24 test images" in row.what


def test_teachers(tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.save(cifar_resnet(20).state_dict(), tmp_path / "resnet20.pt")
    lines = teachers.run("digits", [tmp_path / "resnet20.pt"], limit=20)
    assert [line.partition(":")[0] for line in lines] == [
        f"ResNet-20 (resnet20.pt), {form}" for form in FORMS
    ]
    assert all("% of 20 test images, " in line for line in lines)
    assert sum(line.endswith(", taken here") for line in lines) == 1
