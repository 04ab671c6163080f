"""The proxy study at a tiny size: real digits of 8 x 8 pixels, networks of a few thousand MACs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import harness, statistics
from benchmarks.studies.proxy import rows as proxy_rows
from benchmarks.studies.proxy import study as proxy
from benchmarks.studies.proxy import training as proxy_training
from benchmarks.studies.proxy.networks import networks
from benchmarks.studies.proxy.sampling import Setting
from benchmarks.studies.proxy.training import Plan, read_records, study_data, train_missing
from nas_engine.errors import FileFormatError, InputError
from nas_engine.records import plain
from nas_engine.training.loop import TrainingError

THREADS = torch.get_num_threads()
TINY = Setting(
    resolution=8, macs=(5e4, 5e5), flash_bytes=32 * 1024, sram_bytes=12 * 1024, candidates=64
)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(proxy_training, "HELD_OUT", 20)
    monkeypatch.setattr(statistics, "BOOTSTRAPS", 20)
    yield
    torch.set_num_threads(THREADS)


def request(folder: Path, **changes: Any) -> dict[str, Any]:
    return {
        "data": "digits",
        "folder": str(folder),
        "count": 3,
        "epochs": 2,
        "images": 64,
        "setting": TINY,
        **changes,
    }


def test_rows_of_a_part_that_was_stopped_and_shared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxy_rows, "FEWEST", 2)
    with pytest.raises(SystemExit):
        proxy.run(**request(tmp_path, part="free", shard="2/2", record=0))
    assert [path.name for path in sorted((tmp_path / "networks").iterdir())] == [
        f"free-{i:03d}-e2-i64-s0.json" for i in (1,)
    ]
    rows = proxy.run(**request(tmp_path, part="free", double=2, again=2))
    what = [row.what for row in rows]
    for name in (
        "QE-Score as published",
        "Flash",
        "MACs",
        "BitOps",
        "parameters",
        "depth (convolutions)",
        "random",
    ):
        assert f"free, 3 networks: {name}" in what
    assert "1 float and 1 quantised epochs of 64 images of digits" in what[0]
    assert sum("trained again with" in text for text in what) == 2
    for row in rows[1:]:
        for value, low, high in re.findall(r"(-?[\d.]+) \[(-?[\d.]+), (-?[\d.]+)\]", row.measured):
            assert -1.0 <= float(value) <= 1.0
            assert float(low) <= float(high)

    def trained(*_: object) -> dict[str, Any]:
        raise AssertionError("trained again")

    monkeypatch.setattr(proxy_training, "trained", trained)
    assert proxy.run(**request(tmp_path, part="free", double=2, again=2)) == rows
    assert proxy.run(**request(tmp_path)) == rows
    with pytest.raises(InputError, match="holds no results of 64 images and 6 epochs"):
        proxy.run(**request(tmp_path, epochs=6))


def test_a_network_that_was_killed_goes_on_as_if_it_had_not_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = networks("free", 1, TINY)
    dataset = study_data("digits", 8, 64)
    plans = [Plan(folder=tmp_path / name, epochs=4, images=64) for name in ("whole", "killed")]
    train_missing(chosen, plans[0], lambda: dataset, say=lambda line: None)

    def killed(*_: object) -> float:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(proxy_training, "accuracy", killed)
        with pytest.raises(KeyboardInterrupt):
            train_missing(chosen, plans[1], lambda: dataset, say=lambda line: None)
    assert not read_records(plans[1], "free")
    train_missing(chosen, plans[1], lambda: dataset, say=lambda line: None)
    whole, again = (read_records(plan, "free")[0] for plan in plans)
    assert whole["accuracy"] == again["accuracy"]
    assert [(row["stage"], row["epoch"]) for row in again["history"]] == [
        ("float", 1),
        ("float", 2),
        ("float", 3),
        ("quantised", 1),
    ]
    assert whole["history"] == again["history"]
    assert again["processor_seconds"] > 0
    assert [path.suffix for path in (tmp_path / "killed" / "networks").iterdir()] == [".json"]


def test_calibration_and_baselines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy_rows, "FEWEST", 2)
    proxy.run(**request(tmp_path, part="calibration", count=2))
    rows = proxy.run(**request(tmp_path, part="baselines", count=6, double=1))
    what = [row.what for row in rows]
    assert sum("sigma_A" in text for text in what) == 1 + proxy_rows.GRID_SHOWN
    baselines = [row for row in rows if row.what.startswith("baselines, at most")]
    assert sum(text.startswith("baselines with twice the epochs, at most") for text in what) == 1
    assert sum("searched" in row.what for row in baselines) == 5
    assert sum("uniform" in row.what for row in baselines) == 1
    accuracies = [float(row.measured.partition(" %")[0]) for row in baselines]
    assert accuracies == sorted(accuracies, reverse=True)


def test_what_cannot_be_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("3/2", "0/1", "1", "a/b", "1/2/3"):
        with pytest.raises(InputError, match=r"^--shard is .*; expected I/N"):
            proxy.run(**request(tmp_path, part="free", shard=text))
    with pytest.raises(InputError, match=r"expected.*free"):
        proxy.run(**request(tmp_path, part="all"))
    with pytest.raises(InputError, match=r"^--images 9000: digits has 1,\d+ training images"):
        proxy.run(**request(tmp_path, part="free", images=9000))

    def diverged(*_: object) -> dict[str, Any]:
        raise TrainingError("float epoch 1, step 1", "the loss is nan")

    monkeypatch.setattr(proxy_training, "trained", diverged)
    lines: list[str] = []
    plan = Plan(folder=tmp_path, epochs=2, images=64)
    train_missing(
        networks("free", 2, TINY), plan, lambda: study_data("digits", 8, 64), say=lines.append
    )
    assert sum("the loss is nan" in line for line in lines) == 2  # the others still have their turn
    assert not read_records(plan, "free")


def test_records_that_cannot_be_used(tmp_path: Path) -> None:
    plan = Plan(folder=tmp_path, epochs=2, images=64)
    record: dict[str, Any] = dict.fromkeys(proxy_training.REQUIRED, 1) | {"data": "digits"}
    record["recipe"] = plain(proxy_training.recipe(2))
    for i, content in enumerate((record, record | {"data": "others"})):
        plan.place(f"free-{i:03d}", "json").parent.mkdir(parents=True, exist_ok=True)
        plan.place(f"free-{i:03d}", "json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(FileFormatError, match="give every data set its own --folder"):
        read_records(plan, "free")
    plan.place("free-001", "json").write_text(json.dumps(record | {"recipe": {}}), encoding="utf-8")
    with pytest.raises(FileFormatError, match="another recipe"):
        read_records(plan, "free")
    plan.place("free-001", "json").write_text("[]", encoding="utf-8")
    with pytest.raises(FileFormatError, match="is no record of this study"):
        read_records(plan, "free")
    assert read_records(replace(plan, seed=1), "free") == []


def test_a_network_that_another_process_trains_is_left_to_it(tmp_path: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    plan, lines = Plan(folder=tmp_path, epochs=2, images=64), list[str]()
    place = plan.place("free-000", "lock")
    place.parent.mkdir(parents=True)
    with place.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        train_missing(
            networks("free", 1, TINY), plan, lambda: study_data("digits", 8, 64), say=lines.append
        )
    assert not lines
    assert not read_records(plan, "free")


def test_images_of_the_study_are_apart_and_repeatable() -> None:
    first, second = study_data("digits", 8, 64), study_data("digits", 8, 64)
    assert first.validation is not None
    assert (len(first.train), len(first.validation)) == (64, 20)
    np.testing.assert_array_equal(first.train.images, second.train.images)
    mine = {image.tobytes() for image in first.train.images}
    assert not mine & {image.tobytes() for image in first.validation.images}


def test_the_published_table_follows_from_the_published_records() -> None:
    folder = Path(proxy.__file__).parent / "records"
    published = {
        row["what"]: row["measured"]
        for row in json.loads((harness.RESULTS / "proxy.json").read_text())["rows"]
    }
    rows = proxy.run(folder=str(folder), setting=Setting())
    assert {row.what for row in rows} == published.keys()
    for row in rows:  # intervals are of fewer resamples here
        assert re.sub(r" \[.*?\]", "", row.measured) == re.sub(r" \[.*?\]", "", published[row.what])
