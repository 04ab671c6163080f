"""Bits changed in files of a run: a few here, 1,500 by ``python -m benchmarks.bit_flips``."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import bit_flips
from nas_engine.pipeline.run_config import resolve_run_config, write_run_config
from nas_engine.runs.run_directory import RunDirectory
from nas_engine.runs.run_record import RunRecord, write_record
from tests.report.networks import make_network, make_report


@pytest.fixture
def run(tmp_path: Path) -> Path:
    directory = RunDirectory(tmp_path / "search")
    directory.path.mkdir()
    directory.begin({"seed": 1, "device": "cortex-m7"})
    directory.write_best(make_network(), {"arena_bytes": 1})
    directory.front.write([make_report().front_row(), make_report(make_network((2,))).front_row()])
    row = {"generation": 1, "evaluated": 10, "best_score": 1.5, "feasible": 0.5, "elapsed_s": 0.1}
    directory.history.append([row, row | {"generation": 2}])
    write_run_config(tmp_path / "run.yaml", resolve_run_config({}))
    write_record(
        tmp_path / "run.json",
        RunRecord(command="nas-search run", versions={"numpy": "2"}, machine="Linux"),
    )
    return tmp_path


def test_no_bit_is_taken_unsaid(run: Path) -> None:
    found = bit_flips.flips(run, seed=0, count=400)
    kinds = {kind for kind, _ in found}
    assert {
        "run.yaml (run)",
        "run.yaml (path)",
        "run.json (run)",
        "config.yaml (run)",
        "best.yaml (path)",
        "search.jsonl (run)",
    } <= kinds
    assert {end for _, end in found} <= {bit_flips.REFUSED, bit_flips.SAME, bit_flips.NOTED}
    assert sum(found.values()) == 400
    assert bit_flips.table(found).splitlines()[-1].split()[0] == "all"


def test_a_reader_without_a_check_is_seen(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        bit_flips,
        "READERS",
        {"run.json": {"run": lambda path: path.read_bytes()}, "run.yaml": {"run": Path.read_text}},
    )
    found = bit_flips.flips(run, seed=0, count=60)
    assert found["run.json (run)", bit_flips.UNSAID] == 30
    assert (
        found["run.yaml (run)", bit_flips.CRASH] + found["run.yaml (run)", bit_flips.UNSAID] == 30
    )
    assert "other content, unsaid" in capsys.readouterr().err
