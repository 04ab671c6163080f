"""ByClass: correct and wrong predictions by class, and the accuracy of a majority classifier.

It counts which images of which class were judged how, and how often always naming the largest class
would be right. Needs no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nas_engine.datasets.records import Labels, Pixels
from nas_engine.errors import InputError
from nas_engine.records import Percent, Text
from nas_engine.training.thumbnails import thumbnail

MOST_CLASSES = 256
"""Classes above which there is no table of classes: it grows with their square (chosen here)."""

MOST_SHOWN = 24
"""Wrong images that are kept as thumbnails, the first ones (chosen here)."""

MOST_WRONG = 10_000
"""Wrong images that are listed, the first ones (chosen here)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One image that the integer model got wrong."""

    png: Text
    """Its thumbnail, a PNG in base64."""
    is_class: Text
    """Name of its class."""
    said: Text
    """Name of the class that was predicted."""


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
    classes: tuple[Text, ...] | None = None
    """Names of the classes by number; ``None`` in records that do not have them."""
    shown: tuple[Shown, ...] | None = None
    """The first ``MOST_SHOWN`` of the wrong images; ``None`` without integers, and in records that
    do not have them."""

    def check_images(self, images: int) -> None:
        """Check that the counts are of so many images.

        Raises:
            InputError: They are not.
        """
        table, wrong, names = self.confusion, self.wrong, self.classes
        if table is not None and (
            any(len(row) != len(table) for row in table) or sum(map(sum, table)) != images
        ):
            raise InputError(f"by_class.confusion: is no square table of {images:,} images")
        if table is not None and names is not None and len(names) != len(table):
            raise InputError(f"by_class.classes: {len(names)} names of {len(table)} classes")
        if wrong is not None and any(image >= images for image, _ in wrong):
            raise InputError(f"by_class.wrong: names an image that is not below {images:,}")


def by_class(
    images: Pixels, labels: Labels, predicted: Labels | None, classes: Sequence[str]
) -> ByClass:
    """Return labels and predictions by class.

    Args:
        images: The images, uint8 ``[N, H, W, 1 or 3]``, at least one.
        labels: Class of each image, ``[N]``.
        predicted: Class that the integer model named, ``[N]``; ``None`` without one.
        classes: Names by number.
    """
    counts = np.bincount(labels, minlength=len(classes))
    largest = int(counts.argmax())
    share = float(100.0 * counts[largest] / len(labels))
    if predicted is None:
        return ByClass(largest=classes[largest], share=share, classes=tuple(classes))
    table = None
    if len(classes) <= MOST_CLASSES:
        flat = np.bincount(labels * len(classes) + predicted, minlength=len(classes) ** 2)
        table = tuple(tuple(map(int, row)) for row in flat.reshape(len(classes), -1))
    at = np.flatnonzero(predicted != labels)[:MOST_WRONG]
    wrong = tuple((int(image), int(predicted[image])) for image in at)
    shown = tuple(
        Shown(
            png=thumbnail(images[image]),
            is_class=classes[labels[image]],
            said=classes[predicted[image]],
        )
        for image in at[:MOST_SHOWN]
    )
    return ByClass(
        largest=classes[largest],
        share=share,
        confusion=table,
        wrong=wrong,
        classes=tuple(classes),
        shown=shown,
    )
