"""The picture of the shortlist, and Kendall's tau."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau

from nas_engine.errors import InputError
from nas_engine.report.plots import draw_shortlist, kendall_tau, shortlist_data
from tests.report.test_drawing import check_saved, problems, texts


def member(rank: int, score: float, accuracy: float, chosen: bool = False) -> dict[str, Any]:
    return {"rank": rank, "qe_score": score, "accuracy": accuracy, "chosen": chosen, "macs": 1.0}


FOUR = [
    member(1, 140.2, 61.2),
    member(2, 139.8, 63.9, True),
    member(3, 139.1, 60.0),
    member(4, 137.2, 55.1),
]


class TestKendall:
    def test_known_values(self) -> None:
        assert kendall_tau([1, 2, 3], [4, 5, 6]) == 1
        assert kendall_tau([1, 2, 3], [6, 5, 4]) == -1
        assert kendall_tau([1, 2, 3, 4], [1, 2, 4, 3]) == pytest.approx(4 / 6)
        assert kendall_tau([1, 1, 2], [1, 2, 3]) == pytest.approx(2 / 6**0.5)

    @pytest.mark.parametrize("second", [[], [1.0], [5.0, 5.0, 5.0]])
    def test_undefined(self, second: list[float]) -> None:
        assert kendall_tau(list(range(len(second))), second) is None

    @given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=12))
    def test_as_scipy_has_it(self, pairs: list[tuple[int, int]]) -> None:
        first, second = zip(*pairs, strict=True)
        found = kendall_tau(first, second)
        if len(set(first)) == 1 or len(set(second)) == 1:
            assert found is None
        else:
            assert found == pytest.approx(kendalltau(first, second).statistic)


def test_record() -> None:
    record = shortlist_data(FOUR, 400, 3)
    assert (record.images, record.epochs, record.members[1].chosen, record.members[1].rank) == (
        400,
        3,
        True,
        2,
    )
    assert record.tau == pytest.approx(4 / 6)
    assert record.standard_error(record.members[2]) == pytest.approx(100 * (0.6 * 0.4 / 400) ** 0.5)


def test_no_correlation_of_two() -> None:
    record = shortlist_data(FOUR[:2], 400, 3)
    assert record.tau is None
    assert "Kendall" not in " ".join(texts(draw_shortlist(record)))
    assert "(Kendall's tau): +0.67" in " ".join(texts(draw_shortlist(shortlist_data(FOUR, 400, 3))))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"rank": 1, "qe_score": 2.0, "accuracy": 3.0}, "'chosen'"),
        (member(1, float("nan"), 50.0), "score nan"),
        (member(1, 1.0, 100.1), "expected a percentage"),
        ({**FOUR[0], "accuracy": "high"}, "network 0 of the shortlist"),
    ],
)
def test_errors(row: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        shortlist_data([row], 400, 1)


def test_no_images() -> None:
    with pytest.raises(InputError, match="on 0 images"):
        shortlist_data(FOUR, 0, 1)


@pytest.mark.parametrize(
    "members",
    [
        FOUR,
        FOUR[:1],
        [],
        [member(1, 3.0, 100.0, True), member(2, 3.0, 100.0)],
        [member(i, 140 - 0.01 * i * (i % 3), 60 - i * 7 % 5 / 4, i == 4) for i in range(1, 11)],
        [member(i, 140.0, 60.0) for i in range(1, 7)],
    ],
)
def test_drawn_and_saved(members: list[dict[str, Any]], tmp_path: Path) -> None:
    check_saved(draw_shortlist(shortlist_data(members, 400, 3)), tmp_path / "plots", "shortlist")


@settings(max_examples=12)
@given(
    st.lists(st.tuples(st.floats(-1e3, 1e3), st.floats(0, 100)), min_size=1, max_size=6),
    st.integers(1, 10**6),
)
def test_whatever_comes_can_be_drawn(points: list[tuple[float, float]], images: int) -> None:
    record = shortlist_data(
        [member(i + 1, *point, i == 0) for i, point in enumerate(points)], images, 1
    )
    assert problems(draw_shortlist(record)) == []
