"""Members of a front that a shortlist trains: few networks that differ in what may matter.

The very best scores of a front belong to one network with a channel more or less, and to train
those next to each other says nothing (chosen here). So networks of different *pattern* (kind,
stride and number of units of every block) come first.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from nas_engine.architecture import Architecture
from nas_engine.costs.compute import macs
from nas_engine.encoding import GeneView, architecture_frame, encode
from nas_engine.evolution.classes import classes, picks, standing
from nas_engine.layers import unroll
from nas_engine.pipeline.rungs import FINALISTS
from nas_engine.runs.run_directory import RunDirectory
from nas_engine.scoring.path_noise import PATH_NOISE_FORMS, path_noise
from nas_engine.training.start import same_structure

RANKED_BY = "path-noise-without-stem"
"""Form of the path noise whose rank is added to that of the loss (chosen here)."""

_Front = Callable[[int], Architecture]
"""Network of a front by its index."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Figures of a network that need no training."""

    noise: float
    """Path noise in the form ``RANKED_BY``."""
    macs: float
    """Multiply-accumulates."""
    group: int
    """Class, as ``nas_engine.evolution.classes`` has them."""


def figures_of(network: Architecture) -> Figures:
    """Return path noise, MACs and class of a network."""
    frame = architecture_frame(network)
    genes = encode(frame, [network])
    view, table = GeneView(frame, genes), unroll(frame, genes)
    noise = path_noise(table, view.w_bits, view.a_bits, PATH_NOISE_FORMS[RANKED_BY])
    return Figures(
        noise=float(noise[0]), macs=float(macs(table)[0]), group=int(classes(frame, view)[0])
    )


def members(run: RunDirectory, count: int, *, classed: bool = False) -> list[Architecture]:
    """Return at most ``count`` networks of a front, the winner of the search first.

    No two have the same pattern, unless that leaves too few; no two differ in their widths alone.
    Where all networks compete the best scores are taken, and of more than ``FINALISTS`` the best by
    score and by path noise in turn, so that they lie along the front of the two; they come back
    by score. Where networks have classes the ``picks`` of all classes come first, in their order.

    Args:
        run: Run directory of the search.
        count: Networks at most.
        classed: Whether the search kept classes apart.

    Raises:
        RunDirectoryError: There is no winner yet.
        FileFormatError: A damaged file.
    """
    scores = [row["qe_score"] for row in run.front.read()]
    best = run.read_best()
    read = functools.cache(lambda index: replace(run.read_member(index + 1), room=best.room))
    order = _across(read, scores) if classed else _by_score(read, scores, count)
    chosen, others = [(math.inf, best)], list[tuple[float, Architecture]]()
    for index in order:
        network = read(index)
        if any(same_structure(network, other) for _, other in (*chosen, *others)):
            continue
        alike = any(pattern(network) == pattern(other) for _, other in chosen)
        (others if alike else chosen).append((scores[index], network))
        if len(chosen) == count:
            break
    found = [*chosen, *others][:count]
    if count > FINALISTS and not classed:
        found.sort(key=lambda pair: -pair[0])
    return [network for _, network in found]


def pattern(network: Architecture) -> tuple[tuple[str, int, int], ...]:
    """Return kind, stride and number of units of each block, from the input to the output."""
    return tuple((block.kind, block.stride, len(block.bits)) for block in network.blocks)


def _by_score(read: _Front, scores: Sequence[float], count: int) -> list[int]:
    """Return indices by score, or by score and path noise in turn."""
    by_score = sorted(range(len(scores)), key=lambda index: -scores[index])
    if count <= FINALISTS:
        return by_score
    quiet = sorted(by_score, key=lambda index: figures_of(read(index)).noise)
    return list(dict.fromkeys(chain.from_iterable(zip(by_score, quiet, strict=True))))


def _across(read: _Front, scores: Sequence[float]) -> list[int]:
    """Return indices: first the picks of all classes, then all others by standing."""
    figures = [figures_of(read(index)) for index in range(len(scores))]
    noises, macs, groups = (
        np.array([getattr(each, name) for each in figures]) for name in ("noise", "macs", "group")
    )
    others = np.argsort(-standing(noises, macs), kind="stable")
    return list(dict.fromkeys([*picks(np.array(scores), noises, macs, groups), *map(int, others)]))
