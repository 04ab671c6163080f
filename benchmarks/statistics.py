"""Rank correlations with bootstrap intervals, shared by the studies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

BOOTSTRAPS = 2000
"""Resamples behind an interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A figure with its 95 % percentile bootstrap."""

    value: float
    """The figure of all pairs."""
    low: float
    """2.5th percentile."""
    high: float
    """97.5th percentile."""

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


def ranks(values: npt.ArrayLike) -> Floats:
    """Return ranks from 0, equal values share their mean rank."""
    array = np.asarray(values, np.float64)
    _, place, count = np.unique(array, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(count) - (count + 1) / 2.0)[place])


def spearman(x: npt.ArrayLike, y: npt.ArrayLike) -> float:
    """Return the rank correlation, nan where one side is constant."""
    a, b = ranks(x), ranks(y)
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / norm if norm else float("nan")


def kendall(x: npt.ArrayLike, y: npt.ArrayLike) -> float:
    """Return Kendall's tau-b (ties count as neither order; Kendall 1945), nan where one side is
    constant.
    """
    a, b = (np.asarray(values, np.float64) for values in (x, y))
    return _tau(np.sign(a[:, None] - a), np.sign(b[:, None] - b))


def _tau(a: Floats, b: Floats) -> float:
    norm = float(np.sqrt(np.abs(a).sum() * np.abs(b).sum()))
    return float((a * b).sum()) / norm if norm else float("nan")


def resampled(
    statistic: Callable[[npt.NDArray[np.intp]], float], n: int, seed: int = 0
) -> Estimate:
    """Return a statistic of chosen cases with its interval.

    Args:
        statistic: Takes indices of cases, ``(n,)``; values that are not numbers (a constant side)
            are left out of the interval.
        n: Number of cases.
        seed: Draws the resamples.
    """
    draws = np.array(
        [statistic(pick) for pick in np.random.default_rng(seed).integers(0, n, (BOOTSTRAPS, n))]
    )
    draws = draws[np.isfinite(draws)]
    low, high = np.percentile(draws, [2.5, 97.5]) if draws.size else (np.nan, np.nan)
    return Estimate(value=statistic(np.arange(n)), low=float(low), high=float(high))


def kendall_estimate(x: npt.ArrayLike, y: npt.ArrayLike, seed: int = 0) -> Estimate:
    """Return Kendall's tau-b with its interval."""
    a, b = (np.asarray(values, np.float64) for values in (x, y))
    signs = [np.sign(values[:, None] - values) for values in (a, b)]
    return resampled(lambda pick: _tau(*(part[np.ix_(pick, pick)] for part in signs)), len(a), seed)


def spearman_estimate(x: npt.ArrayLike, y: npt.ArrayLike, seed: int = 0) -> Estimate:
    """Return Spearman's rank correlation with its interval."""
    a, b = (np.asarray(values, np.float64) for values in (x, y))
    return resampled(lambda pick: spearman(a[pick], b[pick]), len(a), seed)


def mean_rank(*values: npt.ArrayLike) -> Floats:
    """Return the mean of the ranks under several measures, ``(n,)``: a vote in which units do not
    count.
    """
    return np.asarray(np.mean([ranks(each) for each in values], axis=0))


def leave_one_out(features: Floats, target: Floats, ridge: float = 1.0) -> Floats:
    """Return for each case what a ridge regression on all others predicts, ``(n,)``.

    Args:
        features: ``(n, features)``; standardised here.
        target: ``(n,)``.
        ridge: Weight of the penalty on standardised coefficients.
    """
    spread = features.std(axis=0)
    x = (features - features.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    found = np.empty(len(target))
    for i in range(len(target)):
        others = np.arange(len(target)) != i
        centre, mean = x[others].mean(axis=0), target[others].mean()
        a, b = x[others] - centre, target[others] - mean
        found[i] = mean + (x[i] - centre) @ np.linalg.solve(
            a.T @ a + ridge * np.eye(x.shape[1]), a.T @ b
        )
    return found


def best_of_top(values: Floats, target: Floats, k: int) -> float:
    """Return the highest target among the ``k`` cases that a measure puts first (equal values in
    the order given).
    """
    return float(target[first(values, k)].max())


def reranked(values: Floats, second: Floats, target: Floats, k: int) -> float:
    """Return the target of the case that a second measure chooses among the ``k`` that the first
    one puts first.
    """
    chosen = first(values, k)
    return float(target[chosen[np.argmax(second[chosen])]])


def first(values: Floats, k: int) -> npt.NDArray[np.intp]:
    """Return the indices of the ``k`` largest values, largest first."""
    return np.argsort(-values, kind="stable")[:k]
