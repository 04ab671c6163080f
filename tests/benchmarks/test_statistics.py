"""Correlations, their intervals and predictions against definitions written out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from benchmarks import statistics
from benchmarks.statistics import Floats


def interval_by_hand(
    statistic: Callable[[Floats, Floats], float], x: Floats, y: Floats
) -> tuple[float, float]:
    """The percentile bootstrap, written out."""
    picks = np.random.default_rng(0).integers(0, len(x), (statistics.BOOTSTRAPS, len(x)))
    low, high = np.percentile([statistic(x[pick], y[pick]) for pick in picks], [2.5, 97.5])
    return float(low), float(high)


def kendall_by_hand(x: Floats, y: Floats) -> float:
    """Return tau-b: agreeing less disagreeing pairs, over the pairs that are no ties."""
    a, b = (np.sign(values[:, None] - values) for values in (x, y))
    return float((a * b).sum() / np.sqrt(np.abs(a).sum() * np.abs(b).sum()))


def spearman_by_hand(x: Floats, y: Floats) -> float:
    """Return the correlation of ranks, in which equal values share the mean of theirs."""
    a, b = ([(values < v).sum() + (values == v).sum() / 2 for v in values] for values in (x, y))
    return float(np.corrcoef(a, b)[0, 1])


@pytest.mark.parametrize("seed", range(3))
def test_estimates_by_hand(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "BOOTSTRAPS", 200)
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 9, 30).astype(float)
    y = x + rng.normal(size=30)
    for estimate, expected in (
        (statistics.kendall_estimate, kendall_by_hand),
        (statistics.spearman_estimate, spearman_by_hand),
    ):
        found = estimate(x, y)
        assert found.value == pytest.approx(expected(x, y))
        assert (found.low, found.high) == pytest.approx(interval_by_hand(expected, x, y))
        assert found.low < found.value < found.high


def test_a_constant_has_no_correlation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "BOOTSTRAPS", 10)
    assert np.isnan(statistics.kendall_estimate(np.ones(5), np.arange(5)).low)
    assert np.isnan(statistics.spearman(np.ones(5), np.arange(5)))
    assert str(statistics.kendall_estimate(np.arange(9), np.arange(9))) == "1.00 [1.00, 1.00]"


def test_leave_one_out_does_not_see_the_case_it_predicts() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(30, 3))
    target = features @ np.array([1.0, -2.0, 0.5])
    np.testing.assert_allclose(
        statistics.leave_one_out(features, target, ridge=1e-9), target, atol=1e-6
    )
    changed = target.copy()
    changed[4] += 100.0
    before, after = (statistics.leave_one_out(features, values)[4] for values in (target, changed))
    assert before == pytest.approx(after)


def test_the_best_of_the_first_and_the_one_a_second_measure_picks() -> None:
    target, equal = np.array([5.0, 8.0, 6.0, 7.0]), np.zeros(4)
    values, second = np.array([9.0, 1.0, 8.0, 7.0]), np.array([1.0, 9.0, 3.0, 2.0])
    assert [statistics.best_of_top(values, target, k) for k in (1, 2, 3, 4)] == [5.0, 6.0, 7.0, 8.0]
    assert [statistics.best_of_top(equal, target, k) for k in (1, 2)] == [5.0, 8.0]
    assert [statistics.reranked(values, second, target, k) for k in (1, 3, 4)] == [5.0, 6.0, 8.0]
