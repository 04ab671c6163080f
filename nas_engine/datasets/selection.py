"""Choice of images: the same on every machine.

It depends neither on the version of NumPy nor on the order in which a disk lists its files.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from nas_engine.datasets.records import Labels
from nas_engine.errors import InputError

TEST_SHARE = 0.2
"""Part of the images that is set aside for the test where the data have no test split."""


def ranks_within_class(labels: Labels, seed: int) -> Labels:
    """Return the place of each image in a shuffled queue of its class, int64 ``[N]`` from 0.

    Args:
        labels: int64 ``[N]``, any numbers.
        seed: 0 to 2**32 - 1.
    """
    # RandomState: its stream is frozen, while NumPy may change what its newer generators draw
    order = np.random.RandomState(seed).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    _, starts, counts = np.unique(labels[order], return_index=True, return_counts=True)
    ranks = np.empty(len(labels), np.int64)
    ranks[order] = np.arange(len(labels)) - np.repeat(starts, counts)
    return ranks


def balanced_choice(labels: Labels, limit: int | None, seed: int) -> npt.NDArray[np.intp] | None:
    """Return the ascending indices of ``limit`` images, balanced over the classes.

    As many of each class as there are to be had; ``None`` for all.

    Raises:
        InputError: Fewer images than classes.
    """
    if limit is None or limit >= len(labels):
        return None
    class_count = len(np.unique(labels))
    if limit < class_count:
        raise InputError(
            f"limit is {limit}, but there are {class_count} classes; expected at least one image "
            "of each"
        )
    order = np.lexsort((labels, ranks_within_class(labels, seed)))
    return np.sort(order[:limit])


def set_aside_by_rank(labels: Labels) -> npt.NDArray[np.bool_]:
    """Return the mask of the test images, bool ``[N]``: the same fifth of each class every time."""
    _, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    aside: npt.NDArray[np.bool_] = (
        ranks_within_class(labels, 0) < np.rint(TEST_SHARE * counts)[inverse]
    )
    return aside


def set_aside_by_name(names: Sequence[str]) -> list[bool]:
    """Return which files of one class are for the test: about a fifth, at least one, never all.

    A hash of its own name decides about each file, so that adding files moves none of the others.
    Only in a class so small that otherwise one side would stay empty does the file that is nearest
    to the border change sides.

    Args:
        names: At least two different names.
    """
    places = [_place(name) for name in names]
    border = min(max(TEST_SHARE, min(places)), sorted(places)[-2])
    return [place <= border for place in places]


def _place(name: str) -> float:
    """Return a number in [0, 1] that depends only on the name.

    Both ways of writing the accents of the name give the same number.
    """
    digest = hashlib.sha256(
        unicodedata.normalize("NFC", name).encode(errors="surrogateescape")
    ).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
