"""The picture of a training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nas_engine.errors import InputError
from nas_engine.report.plots import draw_training_curves, training_curves_data
from nas_engine.training.result import Accuracy
from tests.report.test_drawing import check_saved, texts


def rows(stage: str, count: int, base: float = 50.0) -> list[dict[str, Any]]:
    return [
        {
            "stage": stage,
            "epoch": i + 1,
            "loss": 2.0 / (i + 1),
            "train_accuracy": base + i,
            "accuracy": base + i - 2,
            "learning_rate": 0.1,
        }
        for i in range(count)
    ]


def result(
    floating: float | None = 84.6, quantised: float | None = 86.2, integer: float | None = 86.2
) -> Accuracy:
    return Accuracy(
        split="test",
        images=100,
        floating=floating,
        quantised=quantised,
        integer=integer,
        agreement=None,
    )


def test_record() -> None:
    record = training_curves_data(
        rows("float", 3) + rows("quantised", 2), teacher_rows=rows("float", 7), result=result()
    )
    assert [(curve.stage, list(curve.epochs)) for curve in record.stages] == [
        ("float", [1, 2, 3]),
        ("quantised", [4, 5]),
    ]
    assert record.stages[0].loss == pytest.approx((2.0, 1.0, 2 / 3))
    assert record.stages[1].train_accuracy == (50.0, 51.0)
    assert record.stages[1].accuracy == (48.0, 49.0)
    assert record.teacher is not None
    assert (list(record.teacher.epochs), record.epochs) == ([1, 2, 3, 4, 5, 6, 7], 7)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (
            rows("quantised", 1) + rows("float", 1),
            "expected lines of the stage 'float', then of 'quantised'",
        ),
        (rows("other", 1), "and of no other"),
        ([{"stage": "float", "loss": 1.0}], "'accuracy'"),
        ([{"stage": "float", "loss": float("nan"), "accuracy": 1.0}], "is not finite"),
        (
            [{"stage": "float", "loss": None, "accuracy": 1.0}],
            "expected numbers under loss and accuracy",
        ),
    ],
)
def test_errors(bad: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        training_curves_data(bad)


CASES: dict[str, dict[str, Any]] = {
    "both": {"rows": rows("float", 10) + rows("quantised", 10, 60), "result": result()},
    "taught": {
        "rows": rows("float", 10) + rows("quantised", 5, 60),
        "teacher_rows": rows("float", 15, 70),
        "result": result(),
    },
    "one_epoch": {"rows": rows("float", 1)},
    "one_of_each": {
        "rows": rows("float", 1) + rows("quantised", 1),
        "result": result(100.0, 100.0, 100.0),
    },
    "float_only": {"rows": rows("float", 4), "result": result(quantised=None, integer=None)},
    "quantised_only": {"rows": rows("quantised", 4), "result": result(floating=None)},
    "quantised_only_low": {"rows": rows("quantised", 4), "result": result(0.0, 0.0, 0.0)},
    "long": {"rows": rows("float", 30) + rows("quantised", 20), "teacher_rows": rows("float", 30)},
    "many": {"rows": [{"stage": "float", "loss": 0.0, "accuracy": 1.0}] * 300},
    "nothing": {"rows": []},
    "teacher_only": {"rows": [], "teacher_rows": rows("float", 3)},
}


@pytest.mark.parametrize("case", CASES)
def test_drawn_and_saved(case: str, tmp_path: Path) -> None:
    check_saved(
        draw_training_curves(training_curves_data(**CASES[case])), tmp_path / "plots", "training"
    )


def test_what_is_written() -> None:
    found = texts(draw_training_curves(training_curves_data(**CASES["taught"])))
    assert {
        "from here on quantised",
        "integer 86.20 % (test)",
        "float 84.60 % (test)",
        "teacher, held-out images",
    } <= set(found)
    alone = texts(draw_training_curves(training_curves_data(**CASES["float_only"])))
    assert "from here on quantised" not in alone
    assert not any(text.startswith("integer") for text in alone)
    assert "no epoch trained yet" in texts(draw_training_curves(training_curves_data([])))
