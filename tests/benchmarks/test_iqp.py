"""The study of the integer quadratic program at a tiny size."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import iqp


def test_rows_of_a_tiny_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(iqp, "BEST", tmp_path / "best.json")
    rows = iqp.run(kinds="gn,clado:0.3", seeds=1, layers=6, limit=20.0, long=0.1)
    assert len(rows) == 4
    assert all(row.reached for row in rows)
    assert sorted(json.loads((tmp_path / "best.json").read_text(encoding="utf-8"))) == [
        "clado:0.3 6x7 seed 0",
        "gn 6x7 seed 0",
    ]
    assert iqp.best_known("gn", 7, 0, 6, 0.0) < iqp.best_known("gn", 7, 1, 6, 0.0) == float("inf")


def test_instances_are_convex_and_of_the_network() -> None:
    assert sum(layer.weights for layer in iqp.resnet50()) == 23_454_912
    for kind in ("gn", "clado:0.3"):
        problem, matrix = iqp.instance(kind, 3, 0)
        assert len(problem.variables) == 53
        assert np.linalg.eigvalsh(matrix)[0] >= -1e-9
        np.testing.assert_array_equal(matrix, iqp.instance(kind, 3, 0)[1])
