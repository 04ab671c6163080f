"""Rank correlations with bootstrap intervals, shared by the studies."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

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


def spearman(x: npt.ArrayLike, y: npt.ArrayLike) -> float:
    """Return the rank correlation, nan where one side is constant."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.ConstantInputWarning)
        return float(stats.spearmanr(x, y).statistic)


def kendall(x: npt.ArrayLike, y: npt.ArrayLike) -> float:
    """Return Kendall's tau-b (ties count as neither order), nan where one side is constant."""
    return float(stats.kendalltau(x, y).statistic)


def resampled(
    statistic: Callable[[npt.NDArray[np.intp]], float], n: int, seed: int = 0
) -> Estimate:
    """Return a statistic of chosen cases with its percentile bootstrap.

    Args:
        statistic: Takes indices of cases, ``(n,)``; values that are not numbers (a constant side)
            are left out of the interval.
        n: Number of cases.
        seed: Draws the resamples.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        found = stats.bootstrap(
            (np.arange(n),),
            statistic,
            n_resamples=BOOTSTRAPS,
            vectorized=False,
            method="percentile",
            rng=np.random.default_rng(seed),
        ).bootstrap_distribution
    numbers = found[np.isfinite(found)]
    low, high = np.percentile(numbers, [2.5, 97.5]) if numbers.size else (np.nan, np.nan)
    return Estimate(value=statistic(np.arange(n)), low=float(low), high=float(high))


def kendall_estimate(x: npt.ArrayLike, y: npt.ArrayLike, seed: int = 0) -> Estimate:
    """Return Kendall's tau-b with its interval."""
    return _paired(kendall, x, y, seed)


def spearman_estimate(x: npt.ArrayLike, y: npt.ArrayLike, seed: int = 0) -> Estimate:
    """Return Spearman's rank correlation with its interval."""
    return _paired(spearman, x, y, seed)


def _paired(
    statistic: Callable[[Floats, Floats], float], x: npt.ArrayLike, y: npt.ArrayLike, seed: int
) -> Estimate:
    a, b = (np.asarray(values, np.float64) for values in (x, y))
    return resampled(lambda pick: statistic(a[pick], b[pick]), len(a), seed)


def mean_rank(*values: npt.ArrayLike) -> Floats:
    """Return the mean of the ranks under several measures, ``(n,)``: a vote in which units do not
    count.
    """
    return np.asarray(np.mean([stats.rankdata(each) - 1.0 for each in values], axis=0))


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
