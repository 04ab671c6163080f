"""ByClass: correct and wrong predictions by class, and the accuracy of a majority classifier.

It counts which images of which class were judged how, and how often always naming the largest class
would be right. Needs no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nas_engine.strict_yaml import Fields

MOST_CLASSES = 256
"""Classes above which there is no table of classes: it grows with their square. Ours."""

MOST_WRONG = 10_000
"""Wrong images that are listed, the first ones. Ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ByClass:
    """The images judged, by class."""

    largest: str
    """Name of the class with the most images, the first of several."""
    share: float
    """Its share of the images, in percent: the accuracy of always naming it."""
    confusion: tuple[tuple[int, ...], ...] | None = None
    """Images by class and by what the integer model said of them, ``[true][predicted]``; ``None``
    without integers or with more than ``MOST_CLASSES`` classes."""
    wrong: tuple[tuple[int, int], ...] | None = None
    """Position in the split and predicted class of the images that the integer model got wrong, at
    most ``MOST_WRONG``; ``None`` without integers."""

    def as_mapping(self) -> dict[str, Any]:
        """Return the fields by name."""
        return asdict(self)


def by_class(
    labels: npt.NDArray[np.int64], predicted: npt.NDArray[np.int64] | None, classes: Sequence[str]
) -> ByClass:
    """Return labels and predictions by class.

    Args:
        labels: Class of each image, ``[N]``, at least one.
        predicted: Class that the integer model named, ``[N]``; ``None`` without one.
        classes: Names by number.
    """
    counts = np.bincount(labels, minlength=len(classes))
    largest = int(counts.argmax())
    share = float(100.0 * counts[largest] / len(labels))
    if predicted is None:
        return ByClass(largest=classes[largest], share=share)
    table = None
    if len(classes) <= MOST_CLASSES:
        flat = np.bincount(labels * len(classes) + predicted, minlength=len(classes) ** 2)
        table = tuple(tuple(map(int, row)) for row in flat.reshape(len(classes), -1))
    at = np.flatnonzero(predicted != labels)[:MOST_WRONG]
    wrong = tuple((int(image), int(predicted[image])) for image in at)
    return ByClass(largest=classes[largest], share=share, confusion=table, wrong=wrong)


def read_by_class(part: Fields, images: int) -> ByClass:
    """Return what ``as_mapping`` gave.

    Args:
        part: The mapping.
        images: Images judged.

    Raises:
        FileFormatError: Another form, or counts that do not add up to the images.
    """
    part.only("largest", "share", "confusion", "wrong")
    table = _rows(part, "confusion")
    if table is not None and (
        any(len(row) != len(table) for row in table) or sum(map(sum, table)) != images
    ):
        raise part.error(
            "confusion", f"is no square table of {images:,} images; train again with --force"
        )
    wrong = _rows(part, "wrong")
    if wrong is not None and any(len(pair) != 2 or pair[0] >= images for pair in wrong):
        raise part.error(
            "wrong",
            f"is no list of pairs of an image below {images:,} and a class; train again with "
            "--force",
        )
    return ByClass(
        largest=part.take_str("largest"),
        share=part.take_number("share", high=100.0),
        confusion=table,
        wrong=None if wrong is None else tuple((pair[0], pair[1]) for pair in wrong),
    )


def _rows(part: Fields, key: str) -> tuple[tuple[int, ...], ...] | None:
    value = part.take(key, None)
    if value is None:
        return None
    is_table = isinstance(value, list) and all(
        isinstance(row, list) and all(type(n) is int and n >= 0 for n in row) for row in value
    )
    if not is_table:
        raise part.error(key, "is no table of whole numbers; train again with --force")
    return tuple(tuple(row) for row in value)
