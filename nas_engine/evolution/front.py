"""Pareto front: networks that none of their class beats in everything that is weighed at once.

Where all networks compete that is QE-Score, SRAM, Flash and MACs, the fewer the better. Where they
have classes (``nas_engine.evolution.classes``) it is QE-Score, path noise and octave of MACs, *the
more the better*: with memory and time limited, to take little of them is no merit, and of two
networks of one Flash the one that computes more learns more (docs/qe_score.md).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nas_engine.evolution.classes import octave
from nas_engine.evolution.evaluation import Candidates
from nas_engine.layers import Bools, Floats

MAX_FRONT = 200
"""Members kept (chosen here); a front twice as large is thinned out to this."""

MAX_CLASSED = 400
"""Members kept where there are classes (chosen here)."""


def most(front: Candidates) -> int:
    """Return how many members of a front are kept."""
    return MAX_CLASSED if front.group.any() else MAX_FRONT


def objectives(candidates: Candidates) -> Floats:
    """Return the objectives, all minimised, ``(n, 4)``.

    Minus score, SRAM, Flash, MACs; or, where there are classes, minus score, path noise, minus
    octave of MACs, 0.
    """
    if candidates.group.any():
        unused = np.zeros(candidates.n)
        columns = (-candidates.score, candidates.noise, -octave(candidates.macs), unused)
    else:
        columns = (-candidates.score, candidates.sram, candidates.flash, candidates.macs)
    return np.stack(columns, axis=1)


def _apart(candidates: Candidates) -> Floats:
    """Return the objectives, and two columns that no network of another class has both smaller."""
    group = candidates.group.astype(np.float64)
    return np.column_stack([objectives(candidates), group, -group])


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
    """Return the front of the union, feasible only, below twice ``most``, best score first."""
    new = new.take(np.flatnonzero(new.violation == 0))
    new = new.take(np.flatnonzero(~covered(_apart(new), _apart(front))))
    if new.n == 0:
        return front
    new = new.take(non_dominated(_apart(new)))
    union = Candidates.concatenate(
        [front.take(np.flatnonzero(~covered(_apart(front), _apart(new)))), new]
    )
    union = union.take(np.lexsort((union.macs, -union.score)))
    return thin(union, most(union)) if union.n > 2 * most(union) else union


def thin(front: Candidates, count: int) -> Candidates:
    """Return at most ``count`` members; extremes stay, the most crowded point goes first.

    Only members of one class crowd each other; every class has extremes of its own, best scores
    first where there are more than ``count``.
    """
    if front.n <= count:
        return front
    points = objectives(front)
    span = np.ptp(points, axis=0)
    points = points / np.where(span > 0, span, 1.0)
    distance = np.abs(points[:, None] - points[None]).sum(axis=2)
    distance += points.shape[1] * (front.group[:, None] != front.group[None])
    np.fill_diagonal(distance, np.inf)
    extremes = _extremes(points, front)[:count]
    alive = np.ones(front.n, bool)
    for _ in range(front.n - count):
        nearest = np.partition(distance, 1, axis=1)[:, :2].sum(axis=1)
        nearest[extremes] = np.inf
        nearest[~alive] = np.inf
        gone = int(nearest.argmin())
        alive[gone] = False
        distance[gone, :] = distance[:, gone] = np.inf
    return front.take(np.flatnonzero(alive))


def _extremes(points: Floats, front: Candidates) -> npt.NDArray[np.intp]:
    """Return the indices of the least of each column in each class, those of the first first."""
    classes = [np.flatnonzero(front.group == each) for each in np.unique(front.group)]
    least = np.array([members[points[members].argmin(axis=0)] for members in classes])
    return np.asarray(least.T.ravel(), np.intp)
