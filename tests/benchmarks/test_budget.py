"""The in-budget benchmark at a tiny size, and what its file of networks promises."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import statistics
from benchmarks.budget import rows as budget_rows
from benchmarks.budget.__main__ import run
from benchmarks.budget.networks import (
    HALVES,
    KINDS,
    PATTERNS,
    Budget,
    drawn,
    evolved_networks,
    noise_of,
    problem_of,
    read,
    write,
)
from benchmarks.budget.rows import COLUMNS, predictors, regret
from benchmarks.studies.proxy import training as proxy_training
from nas_engine.architecture import dump_architecture
from nas_engine.encoding import encode
from nas_engine.errors import InputError
from nas_engine.evolution.evaluation import evaluate
from nas_engine.report.search_record import report_member

TINY = Budget(
    flash_bytes=24 * 1024,
    least_flash=0.2,
    macs=(1e4, 3e5),
    resolution=8,
    generations=3,
    children=48,
)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    threads = torch.get_num_threads()
    monkeypatch.setattr(proxy_training, "HELD_OUT", 20)
    monkeypatch.setattr(statistics, "BOOTSTRAPS", 20)
    monkeypatch.setattr(budget_rows, "DRAWS", 20)
    yield
    torch.set_num_threads(threads)


def test_the_networks_are_a_fair_sample_of_one_budget() -> None:
    entries, budget = read(), Budget()
    texts = [dump_architecture(entry.architecture) for entry in entries]
    assert len(entries) >= 96
    assert len(set(texts)) == len(texts)
    cells = len(HALVES) * len(KINDS) * len(PATTERNS)
    for size in (48, 96):
        counts = Counter((entry.half, entry.kind, entry.pattern) for entry in entries[:size])
        assert len(counts) == cells
        assert set(counts.values()) == {size // cells}
    for entry in entries[::5]:
        problem = problem_of(entry.kind, entry.pattern, budget)
        report = report_member(entry.architecture, problem)
        assert report.total_flash_bytes <= budget.flash_bytes
        assert report.peak_sram_bytes <= budget.sram_bytes
        assert budget.macs[0] <= report.total_macs <= budget.macs[1]
        kinds = {block.kind for block in entry.architecture.blocks}
        assert kinds == set(KINDS[entry.kind])
        strides = tuple(block.stride for block in entry.architecture.blocks)
        assert (entry.architecture.stem.stride, strides) == PATTERNS[entry.pattern]


def test_they_are_drawn_again_alike_and_the_evolved_trade_score_against_noise() -> None:
    first, second = drawn(2, TINY), drawn(1, TINY)
    assert first[:1] == second
    assert [entry.title for entry in first] == [
        "random, inverted, s2 12121",
        "evolved, inverted, s2 12121",
    ]
    problem, pair = (
        problem_of("inverted", "s2 12121", TINY),
        evolved_networks("inverted", "s2 12121", TINY)[:2],
    )
    assert pair[0] == first[1].architecture
    found = evaluate(problem, encode(problem.frame, pair))
    noise = noise_of(problem, found)
    assert np.sign(noise[0] - noise[1]) == np.sign(found.score[0] - found.score[1]) != 0


def test_it_trains_goes_on_and_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget_rows, "FEWEST", 2)
    entries = drawn(2, TINY)
    write(entries, tmp_path / "networks.json")
    assert read(tmp_path / "networks.json") == entries

    def asked(**changes: int) -> list[str]:
        rows = run(
            **{
                "data": "digits",
                "folder": str(tmp_path),
                "networks": str(tmp_path / "networks.json"),
                "kernels": "torch",
                "epochs": 3,
                "images": 64,
                "again": 2,
                **changes,
            }
        )
        return [f"{row.what}: {row.measured}" for row in rows]

    with pytest.raises(InputError, match="holds no results of 64 images and 3 epochs"):
        asked(count=0)
    asked(count=1)
    told = asked(count=2)
    assert told == asked(count=0)
    with (tmp_path / "budget.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["network"] for row in rows] == ["budget-000", "budget-001"] * 2
    assert tuple(rows[0]) == COLUMNS
    assert {row["device"] for row in rows} == {"cpu"}
    assert all(row["kernels"] and row["torch"] and float(row["macs"]) > 0 for row in rows)
    assert any(line.startswith("cpu, all (2 networks): - path-noise-without-stem") for line in told)
    assert any("networks with another seed" in line for line in told)


def test_regret_is_what_a_pick_loses() -> None:
    accuracy = np.array([3.0, 1.0, 2.0, 5.0])
    assert regret(accuracy, accuracy, 3) == 0.0
    assert regret(-accuracy, accuracy, 4) == 4.0


def test_ranks_are_added_and_devices_kept_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget_rows, "FEWEST", 2)
    base = dict.fromkeys(COLUMNS, 1.0) | {"kernels": "k", "torch": "t", "images": 2, "epochs": 3}
    found = [
        base | {"network": name, "half": "random", "kind": "mixed", "device": device}
        for name, device in (("a", "cpu"), ("b", "cuda"), ("c", "cpu"), ("d", "cuda"))
    ]
    for place, record in enumerate(found):
        record |= {"accuracy": place, "loss_1": -place, "path-noise": place}
    rows = budget_rows.rows_of(found, [])
    assert {row.what.split(",")[0].split(":")[0] for row in rows} == {"cpu", "cuda"}
    assert all("(4 networks)" not in row.what for row in rows)
    values = predictors(found)
    assert values["loss of epoch 1 and - path-noise, ranks added"].tolist() == [3.0] * 4
