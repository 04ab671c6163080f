"""Members of a front that differ: a few networks that stand for hundreds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

SHOWN = 10
"""Members of a front that tables show (chosen here)."""

FIGURES = ("qe_score", "peak_sram_bytes", "flash_bytes", "macs")
"""Columns that tell members of a front apart."""


def differing(rows: Sequence[Mapping[str, float]], count: int = SHOWN) -> list[int]:
    """Return the numbers, from 1, of members that differ most, the best score first.

    Farthest-first traversal (Gonzalez, Theoretical Computer Science 38, 1985) from the member with
    the best score: each next one is the farthest from those that are taken, by the Euclidean
    distance of ``FIGURES``, each scaled to the range that the front has. Members whose figures all
    equal those of one that is taken are left out.

    Args:
        rows: The front, as ``pareto.csv`` has it.
        count: Most members.
    """
    if not rows:
        return []
    values = np.array([[float(row[name]) for name in FIGURES] for row in rows])
    spread = np.ptp(values, axis=0)
    scaled = values / np.where(spread > 0, spread, 1.0)
    taken = [int(values[:, 0].argmax())]
    distance = np.linalg.norm(scaled - scaled[taken[0]], axis=1)
    while len(taken) < count and distance.max() > 0:
        taken.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(scaled - scaled[taken[-1]], axis=1))
    taken.sort(key=lambda place: (-values[place, 0], place))
    return [place + 1 for place in taken]
