"""Last step of every array format: check the arrays, keep as many as wanted, resize them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nas_engine.datasets.class_names import composed
from nas_engine.datasets.errors import DatasetError
from nas_engine.datasets.images import fit_array
from nas_engine.datasets.records import Dataset, Pixels, Split
from nas_engine.datasets.request import ImageRequest
from nas_engine.datasets.selection import balanced_choice

MAX_BYTES = 2**32
"""Most bytes that the arrays of one file are read of, unpacked (chosen here)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RawSplit:
    """Images and labels as a file has them."""

    where: str
    """Where they stand, for messages, such as ``"x_train, y_train"``."""
    images: Pixels
    """uint8 ``[N, H, W, C]``."""
    labels: npt.NDArray[Any]
    """Integers ``[N]``."""


def assemble(
    *,
    name: str,
    source: str,
    classes: tuple[str, ...] | None,
    splits: Mapping[str, RawSplit],
    request: ImageRequest,
    notes: tuple[str, ...] = (),
) -> Dataset:
    """Return the data set that arrays make up.

    Args:
        name: What to call it.
        source: Where it was read from.
        classes: Names of the classes, ``None`` to number them as the training labels do.
        splits: ``train``, ``test`` and, where there is one, ``validation``.
        request: Size and number of the images.
        notes: What was decided on the way.

    Raises:
        DatasetError: Images and labels differ in number, are none, are not square, have other than
            1 or 3 channels, or differ in shape between splits; or the labels do not fit the
            classes.
        InputError: A limit below the number of classes.
    """
    shape = splits["train"].images.shape[1:]
    for raw in splits.values():
        _check(source, raw, shape)
    if classes is None:
        labels = np.unique(splits["train"].labels)
        if not np.array_equal(labels, np.arange(len(labels))):
            raise DatasetError(
                source,
                f"the labels in {splits['train'].where} are {len(labels)} different numbers from "
                f"{labels[0]} to {labels[-1]}; "
                f"expected 0 to {len(labels) - 1} without a gap",
            )
        classes = tuple(str(label) for label in labels)
    classes = tuple(map(composed, classes))
    made = {}
    for purpose, raw in splits.items():
        images, labels = raw.images, raw.labels.astype(np.int64)
        chosen = balanced_choice(labels, request.limit, request.seed)
        if chosen is not None:
            images, labels = images[chosen], labels[chosen]
        made[purpose] = Split(
            images=fit_array(images, request.resolution, request.channels), labels=labels
        )
    return Dataset(
        name=name,
        source=source,
        classes=classes,
        train=made["train"],
        test=made["test"],
        validation=made.get("validation"),
        side=shape[0],
        notes=notes,
    )


def check_counts(source: object, where: str, images: int, labels: int) -> None:
    """Refuse images and labels that are not as many.

    Raises:
        DatasetError: Both numbers.
    """
    if images != labels:
        raise DatasetError(
            source, f"{where}: {images:,} images, but {labels:,} labels; expected as many of both"
        )


def _check(source: str, raw: RawSplit, shape: tuple[int, ...]) -> None:
    count, height, width, channels = raw.images.shape
    check_counts(source, raw.where, count, len(raw.labels))
    if not count:
        raise DatasetError(source, f"{raw.where}: no images; expected some of every class")
    if height != width or not height:
        raise DatasetError(
            source, f"{raw.where}: the images are {height} x {width} pixels; expected square ones"
        )
    if channels not in (1, 3):
        raise DatasetError(
            source,
            f"{raw.where}: the images have {channels} channels; expected 1 (grey) or 3 (red, "
            "green, blue)",
        )
    if raw.images.shape[1:] != shape:
        here, there = (" x ".join(map(str, each)) for each in (raw.images.shape[1:], shape))
        raise DatasetError(
            source, f"{raw.where}: the images are {here}, those of train {there}; expected the same"
        )
