"""Classes of networks that a search keeps apart, because its score cannot tell which is better.

The QE-Score sees neither where the map is halved nor what that costs: of two networks that differ
in strides alone it gives both the same, and by it a search halves the map at once. Where strides
are genes, a network therefore competes only within its *class*: the sizes of the map behind its
first stage, half of its stages and its last, and the kinds of its units. Within a class the best
score of each octave of MACs and each level of path noise survives, for MACs and noise are what the
score does not see of resolution, width and rounding either. The archive is that of MAP-Elites
(Mouret and Clune 2015). In other spaces all networks compete, unless path noise is asked for as an
axis; they then have classes by the same rule.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from nas_engine.encoding import Frame, GeneView
from nas_engine.layers import Floats

Ints = npt.NDArray[np.int64]
"""Array of int64."""

LEVEL = 1.2
"""Ratio of two levels of path noise (chosen here)."""

LEVELS = 8
"""Levels of path noise in an octave of a class, from its least one on (chosen here)."""

OCTAVES = 3
"""Octaves of MACs in a class, down from its most (chosen here)."""

WITHIN = (1.4, 2.0)
"""Most path noise of the networks of a class that are taken first, as multiples of its least: what
trained best of the settings tried for ``mobilenet-32`` (docs/qe_score.md), and, as short trainings
are kind to shallow networks, a deeper one (chosen here)."""

LEAST_MAP = 4
"""Pixels of the last map below which all networks are of one class (chosen here): half of 8, which
train better than 4 at equal Flash (docs/qe_score.md)."""

TOO_SMALL = 1
"""Class of networks whose last map has fewer than ``LEAST_MAP`` pixels."""


def classes(frame: Frame, view: GeneView) -> Ints:
    """Return the class of each network, equal numbers above 0 for equal classes, ``(n,)``.

    Args:
        frame: Common properties of the networks.
        view: Genes of ``n`` networks.
    """
    halves, half = (view.stride == 2).astype(np.int64), (frame.n_stages + 1) // 2
    found = np.bitwise_or.reduce(np.left_shift(1, view.kind.astype(np.int64)), axis=0)
    for few in (
        halves[0] + (view.stem_stride == 2),
        halves[1:half].sum(axis=0),
        halves[half:].sum(axis=0),
    ):
        found = found * (frame.n_stages + 1) + few
    found += TOO_SMALL + 1
    small = frame.sizes(view)[-1] < LEAST_MAP
    return np.broadcast_to(np.where(small, TOO_SMALL, found), view.stem.shape).astype(np.int64)


def least_of(frame: Frame, view: GeneView, found: Mapping[int, float]) -> Floats:
    """Return the least path noise of each network's class, ``(n,)``.

    Args:
        frame: Common properties of the networks.
        view: Genes of ``n`` networks.
        found: Least of classes, and, at 0, of all networks, which counts for the other classes.
    """
    group, place = np.unique(classes(frame, view), return_inverse=True)
    return np.array([found.get(int(each), found[0]) for each in group])[place]


def niches(group: Ints, noise: Floats, macs: Floats, violation: Floats) -> Ints:
    """Return the niche of each network, -1 for those that are dropped, ``(n,)``.

    A niche is a level of path noise in an octave of MACs of a class; all networks that do not fit
    share one.

    Args:
        group: Class, ``(n,)``.
        noise: Path noise, above 0, ``(n,)``.
        macs: Multiply-accumulates, above 0, ``(n,)``.
        violation: 0 for a network that fits, ``(n,)``.
    """
    fits = violation == 0
    group = np.where(fits, group, 0)
    below = np.where(fits, -octave(macs), 0).astype(np.int64)
    below = np.minimum(below - _least(group, below), OCTAVES)
    place = group * (OCTAVES + 1) + below
    level = np.where(fits, np.floor(np.log(noise) / np.log(LEVEL)), 0).astype(np.int64)
    level -= _least(place, level)
    kept = (below < OCTAVES) & (level < LEVELS)
    return np.asarray(np.where(kept, place * LEVELS + level, -1))


def _least(group: Ints, values: Ints) -> Ints:
    """Return the least value of each network's group, ``(n,)``."""
    _, place = np.unique(group, return_inverse=True)
    least = np.full(place.max(initial=-1) + 1, np.iinfo(np.int64).max)
    np.minimum.at(least, place, values)
    return np.asarray(least[place])


def ranks_within(niche: npt.NDArray[np.integer]) -> npt.NDArray[np.intp]:
    """Return how many of the same niche come before each, ``(n,)``."""
    order = np.argsort(niche, kind="stable")
    ordered = niche[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    counts = np.diff(np.r_[starts, niche.size])
    ranks = np.empty(niche.size, np.intp)
    ranks[order] = np.arange(niche.size) - np.repeat(starts, counts)
    return ranks


def octave(macs: Floats) -> Floats:
    """Return the octave of MACs above 0: the whole part of their binary logarithm, ``(n,)``."""
    return np.asarray(np.floor(np.log2(macs)))


def standing(noise: Floats, macs: Floats) -> Floats:
    """Return the ranks by little path noise and by octave of MACs, added, ``(n,)``.

    Larger is better. Networks of different classes are compared by no more (docs/qe_score.md).

    Args:
        noise: Path noise, ``(n,)``.
        macs: Multiply-accumulates, ``(n,)``.
    """
    return _ranks(-noise) + _ranks(octave(macs))


def picks(score: Floats, noise: Floats, macs: Floats, group: Ints) -> list[int]:
    """Return the indices of one network of each class, then of a second one where it differs.

    Of the highest octave of MACs of a class they are the best scores with at most each of
    ``WITHIN`` times its least path noise. Classes come by the ``standing`` of their first ones.

    Args:
        score: QE-Score, ``(n,)``.
        noise: Path noise, ``(n,)``.
        macs: Multiply-accumulates, ``(n,)``.
        group: Class, ``(n,)``.
    """
    found = []
    for each in np.unique(group):
        here = np.flatnonzero(group == each)
        here = here[octave(macs[here]) == octave(macs[here]).max()]
        within = (here[noise[here] <= multiple * noise[here].min()] for multiple in WITHIN)
        found.append([int(some[score[some].argmax()]) for some in within])
    first = np.array(found, np.intp).reshape(-1, len(WITHIN))[:, 0]
    order = np.argsort(-standing(noise[first], macs[first]), kind="stable")
    return list(dict.fromkeys(found[row][place] for place in range(len(WITHIN)) for row in order))


def _ranks(values: Floats) -> Floats:
    """Return ranks from 0, the mean of their places for equal values."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts + 1) / 2)[place])
