"""scikit-learn's digits: 1,797 hand-written digits of 8 x 8 pixels.

They come with the package, so that nothing need be downloaded.
"""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np

from nas_engine.datasets.assembly import RawSplit, assemble
from nas_engine.datasets.errors import MissingPackageError
from nas_engine.datasets.records import Dataset
from nas_engine.datasets.request import ImageRequest
from nas_engine.datasets.selection import TEST_SHARE, set_aside_by_rank

WORD = "digits"
"""Word to give instead of a path."""

_WHITE = 16


def is_digits(location: str | Path) -> bool:
    """Return whether the word was given; a ``Path`` is always a path."""
    return isinstance(location, str) and location == WORD


def read_digits(location: str | Path, request: ImageRequest) -> Dataset:
    """Return the digits, the same fifth of each class for the test every time.

    Raises:
        MissingPackageError: scikit-learn is not installed.
        InputError: A limit below 10.
    """
    try:
        bundled = importlib.import_module("sklearn.datasets").load_digits()
    except ImportError as error:
        raise MissingPackageError("scikit-learn", f"the data set '{WORD}'") from error
    images = np.rint(bundled.images * (255 / _WHITE)).astype(np.uint8)[..., np.newaxis]
    labels = bundled.target.astype(np.int64)
    is_test = set_aside_by_rank(labels)
    return assemble(
        name=WORD,
        source=str(location),
        classes=None,
        splits={
            "train": RawSplit(where="train", images=images[~is_test], labels=labels[~is_test]),
            "test": RawSplit(where="test", images=images[is_test], labels=labels[is_test]),
        },
        request=request,
        notes=(
            (
                f"no split of its own: a fixed {100 * TEST_SHARE:.0f} % of each class are the test "
                "images"
            ),
        ),
    )
