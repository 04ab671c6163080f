"""Pareto front: networks that none beats in QE-Score, SRAM, Flash and MACs at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nas_engine.evolution.evaluation import Candidates
from nas_engine.layers import Bools, Floats

MAX_FRONT = 200
"""Members kept (chosen here); a front twice as large is thinned out to this."""


def objectives(candidates: Candidates) -> Floats:
    """Return the objectives, all minimised, ``(n, 4)``: minus score, SRAM, Flash, MACs."""
    return np.stack([-candidates.score, candidates.sram, candidates.flash, candidates.macs], axis=1)


def non_dominated(points: Floats) -> npt.NDArray[np.intp]:
    """Return the indices of non-dominated points, ascending; of equal points the first.

    Args:
        points: ``(n, k)``, smaller is better in each column.
    """
    order = np.lexsort(points.T[::-1])
    kept: list[int] = []
    front = np.empty_like(points)
    for index in order:  # in lexicographic order, only an earlier point can dominate
        if not (front[: len(kept)] <= points[index]).all(axis=1).any():
            front[len(kept)] = points[index]
            kept.append(int(index))
    return np.sort(np.asarray(kept, np.intp))


def covered(points: Floats, others: Floats) -> Bools:
    """Return the mask of points, ``(n, k)``, that one of ``(m, k)`` equals or dominates."""
    as_good = np.ones((len(points), len(others)), bool)
    for column in range(points.shape[1]):
        as_good &= others[:, column] <= points[:, column, None]
    return np.asarray(as_good.any(axis=1))


def update_front(front: Candidates, new: Candidates) -> Candidates:
    """Return the front of the union, feasible only, below twice ``MAX_FRONT``, best score first."""
    new = new.take(np.flatnonzero(new.violation == 0))
    new = new.take(np.flatnonzero(~covered(objectives(new), objectives(front))))
    if new.n == 0:
        return front
    new = new.take(non_dominated(objectives(new)))
    union = Candidates.concatenate(
        [front.take(np.flatnonzero(~covered(objectives(front), objectives(new)))), new]
    )
    union = union.take(np.lexsort((union.macs, -union.score)))
    return thin(union, MAX_FRONT) if union.n > 2 * MAX_FRONT else union


def thin(front: Candidates, most: int) -> Candidates:
    """Return at most ``most`` members; extremes stay, the most crowded point goes first."""
    if front.n <= most:
        return front
    points = objectives(front)
    span = np.ptp(points, axis=0)
    points = points / np.where(span > 0, span, 1.0)
    distance = np.abs(points[:, None] - points[None]).sum(axis=2)
    np.fill_diagonal(distance, np.inf)
    extremes = points.argmin(axis=0)
    alive = np.ones(front.n, bool)
    for _ in range(front.n - most):
        nearest = np.partition(distance, 1, axis=1)[:, :2].sum(axis=1)
        nearest[extremes] = np.inf
        nearest[~alive] = np.inf
        gone = int(nearest.argmin())
        alive[gone] = False
        distance[gone, :] = distance[:, gone] = np.inf
    return front.take(np.flatnonzero(alive))
