"""The study of networks of residual blocks, at its smallest: one network, some back-ends."""

from __future__ import annotations

import pytest

from benchmarks.verification import PAIRS, tally, verify_residual
from device_profiles import load_device
from nas_engine.verification.table import back_ends

DEVICE = load_device("cortex-m7")
BACKENDS = {"cortex-m7", "tflite", "tflite-micro", "onnx"}


def test_a_residual_network_is_equal_everywhere() -> None:
    for row in back_ends(DEVICE, 1, 1):
        if row.name in BACKENDS and (problem := row.backend.missing()):
            pytest.skip(problem)
    seed = PAIRS.index((3, 5))
    rows = tally("residual", [verify_residual(seed, DEVICE, 2, 1, BACKENDS)])
    assert len(rows) == len(BACKENDS) + 4
    for row in rows[: len(BACKENDS)]:
        assert row.measured.startswith("0 of ")
        assert row.at_least == "0"
        assert "0 of 0" not in row.measured
    assert [row for row in rows if not row.reached] == []
