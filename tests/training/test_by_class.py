"""Accuracy beside the largest class: what is counted, when it is barely above chance, and an
accuracy that was asked for.
"""

from __future__ import annotations

import base64
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from nas_engine.errors import FileFormatError, GoalMissedError
from nas_engine.sealed import read_sealed_json, seal_json
from nas_engine.training import by_class as module
from nas_engine.training.by_class import MOST_SHOWN, Shown, by_class
from nas_engine.training.result import (
    Accuracy,
    TrainingResult,
    chance_remark,
    check_goal,
    read_result,
    write_result,
)
from nas_engine.training.thumbnails import SIDE, thumbnail

BLACK = np.zeros((9, 2, 2, 1), np.uint8)

PAIRS = st.integers(1, 6).flatmap(
    lambda n: st.tuples(
        st.just(n), st.lists(st.tuples(*[st.integers(0, n - 1)] * 2), min_size=1, max_size=40)
    )
)


def accuracy(integer: float | None, share: float, images: int = 400, **changes: object) -> Accuracy:
    """Return an accuracy beside a largest class."""
    found = Accuracy(
        split="test",
        images=images,
        floating=90.0,
        quantised=None,
        integer=integer,
        agreement=None,
        by_class=module.ByClass(largest="dog", share=share),
    )
    return replace(found, **changes)  # type: ignore[arg-type]


@settings(max_examples=200, deadline=None)
@given(PAIRS)
def test_every_image_is_counted_once(drawn: tuple[int, list[tuple[int, int]]]) -> None:
    count, pairs = drawn
    labels, predicted = (np.array(part, np.int64) for part in zip(*pairs, strict=True))
    images = np.arange(len(pairs) * 4).astype(np.uint8).reshape(-1, 2, 2, 1)
    found = by_class(images, labels, predicted, [f"c{n}" for n in range(count)])
    assert found.confusion is not None
    assert found.wrong is not None
    for true in range(count):
        for said in range(count):
            assert found.confusion[true][said] == pairs.count((true, said))
    assert list(found.wrong) == [
        (at, said) for at, (true, said) in enumerate(pairs) if true != said
    ]
    assert (
        found.shown
        == tuple(
            Shown(png=thumbnail(images[at]), is_class=f"c{true}", said=f"c{said}")
            for at, (true, said) in enumerate(pairs)
            if true != said
        )[:MOST_SHOWN]
    )
    totals = [sum(row) for row in found.confusion]
    assert found.largest == f"c{totals.index(max(totals))}"
    assert found.share == pytest.approx(100 * max(totals) / len(pairs))


def test_what_grows_too_large_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_CLASSES", 2)
    monkeypatch.setattr(module, "MOST_WRONG", 3)
    monkeypatch.setattr(module, "MOST_SHOWN", 2)
    found = by_class(BLACK[:9], np.zeros(9, np.int64), np.ones(9, np.int64), "abc")
    assert found.confusion is None
    assert found.wrong == ((0, 1), (1, 1), (2, 1))
    assert found.shown is not None
    assert len(found.shown) == 2
    assert by_class(BLACK[:3], np.zeros(3, np.int64), None, "ab") == module.ByClass(
        largest="a", share=100.0, classes=("a", "b")
    )


@pytest.mark.parametrize("shape", [(5, 5, 1), (48, 48, 3), (100, 100, 3)])
def test_a_thumbnail_is_the_mean_of_its_pixels(shape: tuple[int, int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    with Image.open(BytesIO(base64.b64decode(thumbnail(image)))) as drawn:
        found = np.asarray(drawn).reshape(drawn.height, drawn.width, shape[2])
    step = max(1, -(-max(shape[:2]) // SIDE))
    assert found.shape == (shape[0] // step, shape[1] // step, shape[2])
    for y, x, channel in np.ndindex(*found.shape):
        pixels = image[y * step : (y + 1) * step, x * step : (x + 1) * step, channel]
        assert found[y, x, channel] == round(float(pixels.mean()))


@pytest.mark.parametrize(
    ("integer", "share", "images", "beats"),
    [
        (64.2, 50.9, 1013, True),
        (33.5, 33.4, 400, False),
        (50.0, 50.0, 10**6, False),
        (60.0, 50.0, 96, False),  # 2 standard errors are 10.0 points
        (60.0, 50.0, 97, True),
        (100.0, 100.0, 50, False),
        (100.0, 99.0, 50, True),
        (10.0, 50.0, 400, False),
    ],
)
def test_barely_above_chance(integer: float, share: float, images: int, beats: bool) -> None:
    found = accuracy(integer, share, images)
    assert found.beats_chance is beats
    remark = chance_remark(found)
    assert (remark is None) is beats
    if remark:
        assert f"above {share:.2f} %, which naming 'dog' always would reach" in remark


def test_what_is_not_known_is_not_said() -> None:
    assert accuracy(10.0, 50.0, by_class=None).beats_chance is None
    assert chance_remark(accuracy(10.0, 50.0, by_class=None)) is None
    assert accuracy(None, 95.0).beats_chance is False  # by the float network
    assert accuracy(None, 95.0, floating=None).beats_chance is None


@pytest.mark.parametrize(
    ("integer", "asked", "missed"),
    [
        (90.0, 90.0, None),
        (90.0, 90.004, "less than 0.01"),
        (88.5, 90.0, "1.50"),
        (0.0, 100.0, "100.00"),
        (90.1, 90.0, None),
    ],
)
def test_an_accuracy_that_was_asked_for(integer: float, asked: float, missed: str | None) -> None:
    if missed is None:
        check_goal(integer, 400, "test", asked)
        return
    with pytest.raises(
        GoalMissedError,
        match=f"reach {integer:.2f} % of 400 test images; .*missed by {missed} points",
    ) as caught:
        check_goal(integer, 400, "test", asked)
    assert caught.value.exit_code == 3
    with pytest.raises(GoalMissedError, match="no integers"):
        check_goal(None, 400, "test", asked)


def result(found: Accuracy) -> TrainingResult:
    """Return a training with this result."""
    return TrainingResult(
        data="digits",
        dataset="digits",
        recipe="digits",
        teacher="none",
        seed=0,
        float_epochs=1,
        quantised_epochs=1,
        elapsed_s=1.0,
        versions={},
        accuracy=found,
    )


def test_the_file_holds_it(tmp_path: Path) -> None:
    labels = np.array([0, 1, 1], np.int64)
    said = np.array([1, 1, 0])
    for found in (*(by_class(BLACK[:3], labels, each, "ab") for each in (said, None)), None):
        whole = result(accuracy(50.0, 50.0, 3, by_class=found))
        write_result(tmp_path / "result.json", whole)
        assert read_result(tmp_path / "result.json") == whole


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("confusion", [[1, 0]]),
        ("confusion", [[1, 1], [1, 1]]),
        ("confusion", 7),
        ("confusion", [[0, -1], [3, 1]]),
        ("wrong", [[3, 0]]),
        ("wrong", [[0]]),
        ("classes", ["a"]),
        ("shown", [{"png": 7}]),
    ],
)
def test_counts_that_do_not_add_up_are_damage(tmp_path: Path, key: str, value: object) -> None:
    path = tmp_path / "result.json"
    write_result(
        path,
        result(
            accuracy(
                50.0,
                50.0,
                3,
                by_class=by_class(BLACK[:3], np.array([0, 1, 1]), np.array([1, 1, 0]), "ab"),
            )
        ),
    )
    data, _ = read_sealed_json(path, "")
    data["accuracy"]["by_class"][key] = value
    path.write_text(seal_json(data))  # who changes a file can change its digest
    with pytest.raises(FileFormatError, match=f"by_class.{key}"):
        read_result(path)
