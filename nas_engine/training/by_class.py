"""ByClass: correct and wrong predictions by class, and the accuracy of a majority classifier.

It counts which images of which class were judged how, and how often always naming the largest class
would be right. Needs no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nas_engine.errors import InputError
from nas_engine.records import Percent

MOST_CLASSES = 256
"""Classes above which there is no table of classes: it grows with their square (chosen here)."""

MOST_WRONG = 10_000
"""Wrong images that are listed, the first ones (chosen here)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ByClass:
    """The images judged, by class."""

    largest: str
    """Name of the class with the most images, the first of several."""
    share: Percent
    """Its share of the images, in percent: the accuracy of always naming it."""
    confusion: tuple[tuple[int, ...], ...] | None = None
    """Images by class and by what the integer model said of them, ``[true][predicted]``; ``None``
    without integers or with more than ``MOST_CLASSES`` classes."""
    wrong: tuple[tuple[int, int], ...] | None = None
    """Position in the split and predicted class of the images that the integer model got wrong, at
    most ``MOST_WRONG``; ``None`` without integers."""

    def check_images(self, images: int) -> None:
        """Check that the counts are of so many images.

        Raises:
            InputError: They are not.
        """
        table, wrong = self.confusion, self.wrong
        if table is not None and (
            any(len(row) != len(table) for row in table) or sum(map(sum, table)) != images
        ):
            raise InputError(f"by_class.confusion: is no square table of {images:,} images")
        if wrong is not None and any(image >= images for image, _ in wrong):
            raise InputError(f"by_class.wrong: names an image that is not below {images:,}")


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
