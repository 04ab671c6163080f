"""The Pareto front against the definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas_engine.evolution.evaluation import Candidates
from nas_engine.evolution.front import MAX_FRONT, non_dominated, objectives, thin, update_front


def by_definition(points: list[tuple[float, ...]]) -> list[int]:
    """Points that no other one is at most equal to everywhere and smaller somewhere; of equal
    points the first.
    """

    def dominates(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
        return all(x <= y for x, y in zip(a, b, strict=True)) and a != b

    return [
        i
        for i, p in enumerate(points)
        if p not in points[:i] and not any(dominates(q, p) for q in points)
    ]


def candidates(
    rows: list[tuple[float, float, float, float]], violation: list[float] | None = None
) -> Candidates:
    """From (score, SRAM, Flash, MACs)."""
    columns = np.array(rows, float).reshape(-1, 4).T
    n = columns.shape[1]
    over = np.array(violation if violation is not None else [0.0] * n)
    return Candidates(
        genes=np.arange(n, dtype=np.int16)[None],
        score=columns[0],
        violation=over,
        sram=columns[1],
        flash=columns[2],
        macs=columns[3],
        noise=np.zeros(n),
        group=np.zeros(n, np.int64),
    )


def rows_of(front: Candidates) -> list[tuple[float, ...]]:
    return [
        tuple(row)
        for row in np.stack([front.score, front.sram, front.flash, front.macs], axis=1).tolist()
    ]


SMALL = st.integers(0, 3).map(float)
ROWS = st.lists(st.tuples(SMALL, SMALL, SMALL, SMALL), max_size=25)


@given(
    st.integers(1, 4).flatmap(
        lambda k: st.lists(
            st.tuples(*[st.one_of(SMALL, st.floats(-5, 5))] * k), min_size=1, max_size=30
        )
    )
)
def test_non_dominated_is_the_definition(points: list[tuple[float, ...]]) -> None:
    assert non_dominated(np.array(points)).tolist() == by_definition(points)


def test_non_dominated_of_many_random_points() -> None:
    points = np.random.default_rng(0).integers(0, 12, (300, 4)).astype(float)
    assert non_dominated(points).tolist() == by_definition([tuple(p) for p in points.tolist()])


def test_non_dominated_of_nothing() -> None:
    assert non_dominated(np.zeros((0, 4))).tolist() == []


@given(ROWS, ROWS, st.data())
def test_update_is_the_front_of_the_feasible_union(
    old: list[tuple[float, ...]], new: list[tuple[float, ...]], data: st.DataObject
) -> None:
    over = data.draw(st.lists(st.sampled_from([0.0, 0.5]), min_size=len(new), max_size=len(new)))
    start = update_front(candidates([]), candidates(old))  # type: ignore[arg-type]
    front = update_front(start, candidates(new, over))  # type: ignore[arg-type]
    union = rows_of(start) + [
        row for row, violation in zip(new, over, strict=True) if violation == 0
    ]
    points = [(-score, *rest) for score, *rest in union]
    assert sorted(rows_of(front)) == sorted(tuple(union[i]) for i in by_definition(points))
    assert (np.diff(front.score) <= 0).all(), "best score first"
    assert (front.violation == 0).all()


@pytest.mark.parametrize("most", [4, 5, 20, 99])
def test_thin_keeps_extremes_size_and_order(most: int) -> None:
    rng = np.random.default_rng(most)
    front = candidates([tuple(row) for row in rng.random((100, 4)).tolist()])
    kept = thin(front, most)
    assert kept.n == most
    assert (objectives(kept).min(axis=0) == objectives(front).min(axis=0)).all()
    order = kept.genes[0].tolist()
    assert order == sorted(order)
    assert rows_of(kept) == [rows_of(front)[i] for i in order]


def test_thin_leaves_a_small_front_alone() -> None:
    front = candidates([(1, 2, 3, 4), (2, 3, 4, 5)])
    assert thin(front, 2) is front


def test_thin_spreads() -> None:
    """Of a tight pair one goes, before any point that stands alone."""
    front = candidates(
        [(5, 5, 0, 0), (4, 4, 0, 0), (3.99, 3.99, 0, 0), (2, 2, 0, 0), (1, 1, 0, 0), (0, 0, 0, 0)]
    )
    kept = thin(front, 5).genes[0].tolist()
    assert len({1, 2} & set(kept)) == 1
    assert {0, 3, 4, 5} <= set(kept)


def test_front_that_outgrows_its_limit_is_thinned_evenly() -> None:
    line = [(float(i), float(i), 0.0, 0.0) for i in range(513)]
    front = update_front(candidates([]), candidates(line))
    assert front.n == MAX_FRONT
    assert (front.score.max(), front.sram.min()) == (512, 0)
    assert np.diff(np.sort(front.score)).max() <= 16, "a hole in an even front"


def test_front_below_twice_its_limit_is_left_alone() -> None:
    line = [(float(i), float(i), 0.0, 0.0) for i in range(2 * MAX_FRONT)]
    assert update_front(candidates([]), candidates(line)).n == 2 * MAX_FRONT
