"""Choice of the refined run to train."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from nas_engine.pipeline.judging import is_ahead
from nas_engine.pipeline.refine import Refinement
from nas_engine.runs.run_directory import RunDirectory


def refinement(images: int = 2000, **judged: tuple[float, float]) -> Refinement:
    """Return a refinement whose methods were judged with these losses and accuracies."""
    reports = [
        SimpleNamespace(
            method=method.replace("_", "-"), judged=SimpleNamespace(loss=loss, accuracy=accuracy)
        )
        for method, (loss, accuracy) in judged.items()
    ]
    return Refinement(
        reports=cast("Any", tuple(reports)),
        setting=cast("Any", SimpleNamespace(judged_images=images)),
        directory=RunDirectory(Path("run")),
        data="digits",
    )


@pytest.mark.parametrize(
    ("judged", "chosen"),
    [
        (
            {"hawq": (0.9, 70.0), "gauss_newton": (0.8, 69.0)},
            "gauss-newton",
        ),  # without the run's own bits the loss decides
        (
            {"qbr": (0.9, 69.8), "gauss_newton": (0.8, 69.7)},
            "qbr",
        ),  # a smaller loss alone is not ahead
        (
            {"qbr": (0.9, 69.8), "gauss_newton": (0.8, 70.9)},
            "qbr",
        ),  # within the noise of 2,000 images
        ({"qbr": (0.9, 69.8), "gauss_newton": (0.8, 73.0)}, "gauss-newton"),
        ({"qbr": (0.7, 69.8), "gauss_newton": (0.8, 73.0)}, "qbr"),  # its own loss is the smallest
        ({"qbr": (0.9, 69.8)}, "qbr"),
    ],
)
def test_the_bits_of_the_run_stay_unless_others_are_ahead(
    judged: dict[str, tuple[float, float]], chosen: str
) -> None:
    assert refinement(**judged).chosen.path == Path("run/refine") / chosen


def test_ahead_is_more_than_the_standard_error_of_the_difference() -> None:
    error = 100.0 * math.sqrt((0.5 * 0.5 + 0.6 * 0.4) / 2000)
    assert error == pytest.approx(1.5652, abs=1e-4)
    assert is_ahead(60.0, 50.0, 2000)
    assert not is_ahead(50.0, 50.0, 2000)
    assert not is_ahead(50.0 + 0.9 * error, 50.0, 2000)
    assert is_ahead(50.0 + 1.1 * error, 50.0, 2000)
