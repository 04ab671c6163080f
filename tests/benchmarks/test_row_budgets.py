"""``python -m benchmarks.row_budgets`` at a tiny size."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import row_budgets
from benchmarks.blocks.__main__ import OnHost
from benchmarks.row_budgets import WAYS, compare, run, sampled
from nas_engine.verification.host_c import find_compiler


def test_a_budget_is_searched_linked_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = ("16k", "96k", 16, "mobilenet-32", True)
    monkeypatch.setattr(row_budgets, "BUDGETS", (tiny,))
    found = run(candidates=1, networks=0, only="16k-96k-16", work=str(tmp_path))
    assert [row.reached for row in found] == [True]
    assert "activations 8 bits" in found[0].measured
    assert found[0].measured.endswith(" B of 12,288; 0 differing")
    assert capsys.readouterr().out.startswith("16k-96k-16: QE-Score")
    kept = tmp_path / "16k-96k-16.json"
    kept.write_text(json.dumps({**json.loads(kept.read_text()), "measured": "kept"}))
    again = run(candidates=1, networks=0, only="16k-96k-16", work=str(tmp_path))
    assert [row.measured for row in again] == ["kept"]


def test_sampled_networks_of_every_schedule_are_the_reference_s() -> None:
    if not find_compiler():
        pytest.skip("needs a C compiler")
    cases = list(sampled(len(WAYS), seed=5))
    ways = [tuple(one.what.split(", image ")) for one in cases]
    assert [(way[0].split(", ")[-1], way[1]) for way in ways] == list(WAYS)
    assert any(one.blocks for one in cases)
    assert not cases[-1].blocks
    row = compare("host", OnHost, cases)
    assert row.reached
    assert row.measured.startswith(f"{len(WAYS)} networks, ")
