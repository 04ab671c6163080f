"""Committed results: what they say follows from what they hold, and they can be checked again."""

from __future__ import annotations

import base64
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.results import (
    ANCHORS,
    DIGITS,
    FOLDER,
    Result,
    add,
    check,
    paired,
    read_results,
    rows_of,
    source_of,
)
from nas_engine.architecture import read_architecture
from nas_engine.errors import InputError
from nas_engine.integer.store import load
from nas_engine.report.network import report_network
from nas_engine.scoring.qe_score import ScoreSettings, default_stage_weights

RESULTS = read_results()


def packed(rights: list[bool]) -> str:
    return base64.b64encode(np.packbits(np.array(rights, bool)).tobytes()).decode()


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=200))
def test_paired_difference_is_that_of_the_images(pairs: list[tuple[bool, bool]]) -> None:
    first, second = (np.array(side) for side in zip(*pairs, strict=True))
    found = paired(first, second)
    differences = first.astype(float) - second
    assert found.difference == pytest.approx(100 * differences.mean())
    assert found.error == pytest.approx(100 * differences.std() / math.sqrt(len(pairs)))
    wins, differ = int((differences > 0).sum()), int((differences != 0).sum())
    tail = sum(
        math.comb(differ, k)
        for k in range(differ + 1)
        if abs(2 * k - differ) >= abs(2 * wins - differ)
    )
    assert found.chance == pytest.approx(tail / 2**differ)
    assert paired(second, first).difference == pytest.approx(-found.difference)


@pytest.mark.parametrize("name", RESULTS)
def test_a_row_is_of_its_network(name: str) -> None:
    one, network = RESULTS[name], read_architecture(FOLDER / name / "network.yaml")
    model = load(FOLDER / name / "integer").model
    settings = ScoreSettings(stage_weights=default_stage_weights(network))
    costs = report_network(network, score=settings)
    assert one.flash_bytes == costs.total_flash_bytes
    assert one.arena_bytes == costs.peak_sram_bytes
    assert one.macs == costs.total_macs
    assert [node.name for node in model.nodes if node.name in network.layer_names()] == list(
        network.layer_names()
    )
    assert network.classifier is not None
    assert len(model.classes) == network.classifier.class_count
    assert one.rights.size == one.images
    assert one.data == DIGITS or one.data in ANCHORS
    assert sum(path.stat().st_size for path in (FOLDER / name).rglob("*")) < 300_000


def test_what_needs_no_data_is_as_recorded(capsys: pytest.CaptureFixture[str]) -> None:
    here = {name: one for name, one in RESULTS.items() if one.data == DIGITS}
    assert here
    assert check(RESULTS, None) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(RESULTS)
    assert sum(line.startswith("ok ") for line in lines) == len(here)
    assert all("skipped" in line for line in lines if not line.startswith("ok "))


def test_what_differs_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    name, one = next((name, one) for name, one in RESULTS.items() if one.data == DIGITS)
    rights = one.rights.tolist()
    for changed, said in (
        (replace(one, right=packed([not rights[0], *rights[1:]])), "1 of"),
        (replace(one, test_sha256="0" * 64), "other test images"),
    ):
        assert check({name: changed}, None) == 1
        assert said in capsys.readouterr().out


def test_rows_and_comparisons() -> None:
    def result(rights: list[bool], digest: str) -> Result:
        return Result(
            title="a network",
            data="cifar-10-batches-py",
            command="nas-search run",
            floating=None,
            flash_bytes=48_000.0,
            arena_bytes=32_000.0,
            macs=3e6,
            instructions=7_000_000,
            core="Cortex-M4",
            training_s=60.0,
            test_sha256=digest,
            images=len(rights),
            right=packed(rights),
        )

    first, second = [True] * 90 + [False] * 10, [True] * 60 + [False] * 40
    rows = rows_of({"a": result(first, "x"), "b": result(second, "x"), "c": result(second, "y")})
    assert [row.what.split(" ")[0].rstrip(":") for row in rows] == ["a", "b", "c", "a"]
    assert "**90.00 %**" in rows[0].measured
    assert "7.0 M instructions (Cortex-M4)" in rows[0].measured
    assert "ResNet-8" in rows[0].at_least
    assert rows[3].what == "a less b, paired"
    assert rows[3].measured.startswith("+30.00 points, standard error 4.58 (more than two;")


def test_data_are_found_by_name(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "cifar10" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for given_folder in (folder, folder.parent, folder.parent.parent):
        assert source_of("cifar-10-batches-py", given_folder) == str(folder)
    assert source_of("person96", tmp_path) is None
    assert source_of(DIGITS, None) == DIGITS


def test_no_row_is_made_of_an_unfinished_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no finished run"):
        add(tmp_path, "name", "title", None, tmp_path / "winners")
    assert not (tmp_path / "winners").exists()
