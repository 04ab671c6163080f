"""Data sets as records: read once, the same for every format, never changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nas_engine.datasets.errors import DatasetError
from nas_engine.errors import InputError, shortened

Pixels = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class SkippedFile:
    """A file of an image folder that is not among the images."""

    path: str
    """The file."""
    reason: str
    """Why it could not be used."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Split:
    """Images of one purpose with their labels. The arrays cannot be written to."""

    images: Pixels
    """uint8 ``[N, H, W, C]``, 0 to 255, square, with 1 (grey) or 3 (red, green, blue) channels."""
    labels: Labels
    """int64 ``[N]``, class numbers from 0."""

    def __post_init__(self) -> None:
        shape = self.images.shape
        if (
            self.images.dtype != np.uint8
            or len(shape) != 4
            or shape[1] != shape[2]
            or shape[3] not in (1, 3)
        ):
            raise InputError(
                f"images are {self.images.dtype} {list(shape)}; expected uint8 [N, H, H, 1 or 3]"
            )
        if self.labels.dtype != np.int64 or self.labels.shape != shape[:1]:
            raise InputError(
                f"labels are {self.labels.dtype} {list(self.labels.shape)}; expected int64 "
                f"[{shape[0]}], one for each image"
            )
        for name in ("images", "labels"):
            view = getattr(self, name).view()
            view.flags.writeable = False
            object.__setattr__(self, name, view)

    def __len__(self) -> int:
        return len(self.labels)

    def class_counts(self, class_count: int) -> Labels:
        """Return how many images each class has, int64 ``[class_count]``.

        Raises:
            InputError: A label is not below ``class_count``, or negative.
        """
        if len(self) and not 0 <= self.labels.min() <= self.labels.max() < class_count:
            raise InputError(
                f"labels run from {self.labels.min()} to {self.labels.max()}; expected 0 to "
                f"{class_count - 1}"
            )
        return np.bincount(self.labels, minlength=class_count).astype(np.int64)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dataset:
    """A data set at the size that a network takes.

    Raises:
        DatasetError: Fewer than two classes, a class name twice or not printable, a label without a
            class, or a class that has no image in one of the splits.
    """

    name: str
    """Name of the data set, such as ``"CIFAR-10"``."""
    source: str
    """The path it was read from, or ``"digits"``."""
    classes: tuple[str, ...]
    """Names of the classes; label 0 is the first."""
    train: Split
    """Images to learn from."""
    test: Split
    """Images to judge by."""
    validation: Split | None = None
    """Images to choose by, where the data have a split of their own for that."""
    side: int | None = None
    """Side of the images in pixels as the data have them; ``None`` where they differ."""
    skipped: tuple[SkippedFile, ...] = ()
    """Files that could not be used."""
    notes: tuple[str, ...] = ()
    """Decisions made when the data were read, such as how test images were set aside; one
    sentence each."""

    def __post_init__(self) -> None:
        if len(self.classes) < 2:
            raise DatasetError(
                self.source,
                f"has only one class ({listed(self.classes)}); expected at least two to tell apart",
            )
        check_class_names(self.source, self.classes)
        for purpose, split in self.splits():
            check_labels(self.source, self.classes, purpose, split)

    def splits(self) -> Iterator[tuple[str, Split]]:
        """Return the ``(name, split)`` pairs that exist.

        Their order is ``("train", ...)``, ``("validation", ...)``, ``("test", ...)``.
        """
        yield "train", self.train
        if self.validation is not None:
            yield "validation", self.validation
        yield "test", self.test


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Judged:
    """Images for judging a network: one split of some data, or all of a folder without splits."""

    name: str
    """Name of the data."""
    source: str
    """The path they were read from, or ``"digits"``."""
    classes: tuple[str, ...]
    """Names of the classes; label 0 is the first."""
    split: str
    """``"test"``, ``"validation"``, ``"train"`` or, of a folder without splits, ``"all"``."""
    images: Split
    """The images."""
    skipped: tuple[SkippedFile, ...] = ()
    """Files that could not be used."""
    notes: tuple[str, ...] = ()
    """Decisions made when the data were read; one sentence each."""

    def __post_init__(self) -> None:
        check_class_names(self.source, self.classes)
        check_labels(self.source, self.classes, self.split, self.images)

    @property
    def what(self) -> str:
        """Description of these images, such as ``"the test images of digits"``."""
        where = self.source if self.name == self.source else f"{self.name}, {self.source}"
        return (
            f"all images of {where}"
            if self.split == ALL
            else f"the {_SPLIT_WORDS[self.split]} images of {where}"
        )


ALL = "all"
"""In place of a split: all images of a folder without splits."""

_SPLIT_WORDS = {"train": "training", "validation": "validation", "test": "test"}


def judged_split(dataset: Dataset, split: str) -> Judged:
    """Return one split of data.

    Raises:
        InputError: There is no such split.
    """
    splits = dict(dataset.splits())
    if split not in splits:
        raise InputError(
            f"{dataset.source}: there is no split '{split}'; give one of: {', '.join(splits)}"
        )
    return Judged(
        name=dataset.name,
        source=dataset.source,
        classes=dataset.classes,
        split=split,
        images=splits[split],
        skipped=dataset.skipped,
        notes=dataset.notes,
    )


def check_class_names(source: str, classes: tuple[str, ...]) -> None:
    """Refuse names that stand twice or are no text.

    Raises:
        DatasetError: Which.
    """
    for name, times in Counter(classes).items():
        if times > 1 or not name.strip() or not name.isprintable():
            what = "stands twice" if times > 1 else "is no printable text"
            raise DatasetError(
                source,
                f"the class name {shortened(repr(name))} {what}; expected a name of its own for "
                "each class",
            )


def check_labels(source: str, classes: tuple[str, ...], purpose: str, split: Split) -> None:
    """Refuse labels without a class, and classes without an image.

    Raises:
        DatasetError: Which.
    """
    count = len(classes)
    if not len(split):
        raise DatasetError(source, f"has no images for {purpose}; expected some of every class")
    low, high = int(split.labels.min()), int(split.labels.max())
    if low < 0 or high >= count:
        raise DatasetError(
            source,
            f"the labels of {purpose} run from {low} to {high}, but there are {count} classes; "
            f"expected labels from 0 to {count - 1}",
        )
    absent = np.flatnonzero(split.class_counts(count) == 0)
    if len(absent):
        names = listed([classes[index] for index in absent])
        raise DatasetError(
            source,
            f"{purpose} has images of {count - len(absent)} of the {count} classes, none of "
            f"{names}; add some, or remove the class",
        )


def listed(names: Sequence[str], most: int = 5) -> str:
    """Return names quoted and with commas between; after ``most`` only how many more there are.

    Example:
        >>> listed(["a", "b", "c"], most=2)
        "'a', 'b' and 1 more"
    """
    text = ", ".join(f"'{shortened(name)}'" for name in names[:most])
    return f"{text} and {len(names) - most} more" if len(names) > most else text
