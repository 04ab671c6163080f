"""Objectives from measured sensitivities.

Projections to convex matrices, safeguards, and the noise of cross terms.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nas_engine.allocation.problem import AllocationProblem, Floats
from nas_engine.allocation.records import Sensitivity
from nas_engine.errors import InputError

PROJECTIONS = ("clip", "correlation", "none", "diagonal")
"""Projections that ``objective_of`` offers: CLADO's clip, the clip of the correlations, none,
or only the diagonal."""

GAUSSIAN_MEDIAN = 0.6744897501960817
"""Median of the absolute value of a standard normal number."""


def psd_clip(matrix: Floats) -> Floats:
    """Return the nearest positive semidefinite matrix: negative eigenvalues become 0.

    Source: CLADO, arXiv 2307.05657.

    The clip makes diagonal entries larger and never smaller, those of small losses most. Rows that
    are zero stay exactly zero.

    Args:
        matrix: ``(n, n)``; its symmetric part counts.
    """
    symmetric = _symmetric(matrix)
    used = symmetric.any(axis=1)
    found = np.zeros_like(symmetric)
    if used.any():
        values, vectors = np.linalg.eigh(symmetric[np.ix_(used, used)])
        clipped = (vectors * np.maximum(values, 0.0)) @ vectors.T
        found[np.ix_(used, used)] = 0.5 * (clipped + clipped.T)
    return found


def psd_clip_correlation(matrix: Floats) -> Floats:
    """Return a positive semidefinite matrix with the same positive diagonal.

    The correlations are clipped, not the matrix (chosen here).

    Each entry is divided by the roots of its two diagonal entries, the result is clipped, brought
    back to a unit diagonal and scaled back. So the many small losses of wide choices keep their
    size. A choice whose diagonal is not positive loses its cross terms.

    Args:
        matrix: ``(n, n)``; its symmetric part counts.
    """
    size = np.sqrt(np.maximum(np.diagonal(matrix), 0.0))
    inverse = np.divide(1.0, size, out=np.zeros_like(size), where=size > 0)
    clipped = psd_clip(matrix * np.outer(inverse, inverse))
    after = np.sqrt(np.maximum(np.diagonal(clipped), 0.0))
    back = np.divide(size, after, out=np.zeros_like(size), where=after > 0)
    found: Floats = clipped * np.outer(back, back)
    np.fill_diagonal(found, size**2)
    return found


def monotone_losses(problem: AllocationProblem, losses: Floats) -> Floats:
    """Return losses that never fall as a variable's width falls, and are never negative.

    They are a running maximum from the widest choice.

    A measured loss may be lower at fewer bits by chance or because the network is overfitted; a
    search that believes it narrows variables for nothing (CLADO's diagonal-only control did).

    Args:
        problem: Variables.
        losses: Loss change of each choice, ``(n,)``.
    """
    found = np.maximum(np.asarray(losses, np.float64), 0.0)
    for first, count in zip(problem.first, problem.counts, strict=True):
        mine = found[first : first + count]
        mine[:] = np.maximum.accumulate(mine[::-1])[::-1]
    return found


def pair_noise(halves: Floats, matrix: Floats) -> float:
    """Return the noise ``v`` of cross terms, as a share of ``sqrt(G_ii G_jj)``.

    The matrix is the mean of its two halves, so half their difference is as large as the error of
    the mean. ``v`` is the median of the ratios ``|half difference| / sqrt(G_ii G_jj)`` over the
    pairs, each weighted by that root, over the median of ``|N(0, 1)|``: for normal errors the
    standard deviation, whatever a few outliers do; the weights keep wide choices, whose losses are
    next to nothing, from deciding. Entries equal in both halves, such as those within a variable,
    do not count. This rule is new here.

    Args:
        halves: The matrix measured on each half of the images, ``(2, n, n)``.
        matrix: The matrix from all images, ``(n, n)``.

    Returns:
        0 where no pairs differ; infinity where no pair has positive diagonal entries.

    Raises:
        InputError: Arrays of other shapes.
    """
    if halves.shape != (2, *matrix.shape):
        raise InputError(
            f"halves have shape {halves.shape}; expected {(2, *matrix.shape)}, two matrices like "
            "the whole"
        )
    size = np.sqrt(np.maximum(np.diagonal(matrix), 0.0))
    one, two = np.triu_indices(len(matrix), 1)
    difference = 0.5 * np.abs(halves[0] - halves[1])[one, two]
    weight = size[one] * size[two]
    if not difference.any():
        return 0.0
    usable = (difference > 0) & (weight > 0)
    if not usable.any():
        return float("inf")
    ratio, weight = difference[usable] / weight[usable], weight[usable]
    order = np.argsort(ratio)
    total = np.cumsum(weight[order])
    return float(ratio[order][np.searchsorted(total, 0.5 * total[-1])]) / GAUSSIAN_MEDIAN


def _symmetric(matrix: Floats) -> Floats:
    return 0.5 * (matrix + matrix.T)


def objective_of(
    sensitivity: Sensitivity, problem: AllocationProblem, projection: str = "clip"
) -> tuple[Floats, Floats | None]:
    """Return ``linear`` and ``quadratic`` for ``solve``.

    They give the predicted loss change ``x' M x / 2``, in nats.

    The diagonal is safeguarded after the projection (``monotone_losses``), only ever upwards, so
    that a positive semidefinite matrix stays one. Where all widest choices have zero rows (they are
    the reference) those rows stay exactly zero, so that for a convex projection nothing is below
    the widest allocation.

    Args:
        sensitivity: Matrix in the positions of ``problem``.
        problem: Variables.
        projection: One of ``PROJECTIONS``. ``"diagonal"`` gives a linear objective; with ``"none"``
            the matrix may be indefinite.

    Raises:
        InputError: An unknown projection, or a matrix of another size.
    """
    if projection not in PROJECTIONS:
        raise InputError(f"projection is '{projection}'; expected one of: {', '.join(PROJECTIONS)}")
    if sensitivity.matrix.shape != (problem.n, problem.n):
        raise InputError(
            f"the matrix has shape {sensitivity.matrix.shape}; expected {(problem.n, problem.n)}: "
            "measure for these variables"
        )
    if projection == "diagonal":
        return monotone_losses(problem, 0.5 * np.diagonal(sensitivity.matrix)), None
    projections: dict[str, Callable[[Floats], Floats]] = {
        "clip": psd_clip,
        "correlation": psd_clip_correlation,
        "none": _symmetric,
    }
    matrix = projections[projection](sensitivity.matrix)
    diagonal = np.diagonal(matrix)
    matrix[np.diag_indices(problem.n)] = np.maximum(
        diagonal, 2 * monotone_losses(problem, 0.5 * diagonal)
    )
    return np.zeros(problem.n), matrix
