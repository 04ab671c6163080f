"""Data of a run at the size that its network takes. No torch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from nas_engine.architecture import Architecture
from nas_engine.datasets import (
    Dataset,
    Judged,
    check_classes,
    format_name,
    matched_classes,
    open_dataset,
    open_judged,
    place_of,
)
from nas_engine.datasets.digits import WORD as DIGITS
from nas_engine.errors import InputError, PathError
from nas_engine.files import write_atomically
from nas_engine.integer.store import load as load_integer
from nas_engine.records import Text, read_sealed, sealed
from nas_engine.runs.ledger import stamp
from nas_engine.runs.run_directory import RunDirectory
from nas_engine.training.result import TrainingResult

RESIZE_MARGIN = 1.15
"""Side of stored training images from folders over that of the network's input, so that crops have
room (chosen here)."""

PHOTO_PIXELS = 64
"""Least resolution at which images count as photographs (chosen here)."""

CLASSES_FORMAT = "nas-search/classes/1"
"""First key of ``classes.json``."""

COUNTED_IMAGES = 5000
"""Most images of a split that are read before a run begins (chosen here)."""


def source_of_data(given: str | None, result: TrainingResult) -> str:
    """Return the data given, or those that a run was trained on.

    Raises:
        PathError: They are not there any more.
    """
    if given is not None:
        return given
    if result.data != DIGITS and not os.path.exists(result.data):
        raise PathError(
            result.data,
            "the data that this run was trained on are not there any more; give their place with "
            "--data",
        )
    return result.data


def write_classes(path: Path, classes: Sequence[str]) -> None:
    """Write the names of the classes that a network is trained on.

    Raises:
        StorageError: The disk is full.
    """
    write_atomically(path, sealed(CLASSES_FORMAT, {"classes": classes}))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Classes:
    """Content of ``classes.json``."""

    classes: tuple[Text, ...]


def trained_classes(directory: RunDirectory) -> tuple[str, ...] | None:
    """Return the class names of a run in the order of its outputs, ``None`` where not known.

    A run that was trained knows them, and so does one that was begun, or refined from such a run.

    Raises:
        FileFormatError: A damaged file.
    """
    for path in (directory.training.classes, directory.classes):
        if path.exists():
            remedy = "put it back, or train again with --force"
            return read_sealed(_Classes, path, CLASSES_FORMAT, remedy).classes
    if directory.integer.exists():  # trained by 0.1.0
        return load_integer(directory.integer).model.classes
    return None


def read_data(
    data: str,
    architecture: Architecture,
    *,
    known: Sequence[str] | None = None,
    limit: int | None = None,
    seed: int = 0,
    for_training: bool = False,
) -> Dataset:
    """Return the data at the size that a network takes.

    Args:
        data: A path, or ``digits``.
        architecture: The network.
        known: Names of its classes in the order of its outputs, where it was trained: labels are
            matched by name.
        limit: Most images per split.
        seed: Which.
        for_training: Whether training images from folders are kept somewhat larger.

    Raises:
        InputError: Data that cannot be used, or with other classes than the network.
    """
    dataset = open_dataset(
        data,
        resolution=architecture.resolution,
        channels=architecture.input_channels,
        resize_margin=RESIZE_MARGIN if for_training else 1.0,
        limit=limit,
        seed=seed,
    )
    assert architecture.classifier is not None
    if known is not None:
        dataset = matched_classes(dataset, known)
    check_classes(dataset, architecture.classifier.class_count)
    return dataset


def read_judged(
    data: str | None,
    directory: RunDirectory,
    architecture: Architecture,
    result: TrainingResult,
    *,
    split: str | None = None,
    limit: int | None = None,
) -> Judged:
    """Return images to judge a trained run by, with its class names in its order.

    Args:
        data: A path or ``digits``; ``None`` for those that it was trained on.
        directory: The run.
        architecture: Its network.
        result: Result of its training.
        split: ``test``, ``validation`` or ``train``; ``None`` for ``test``, but for all images of a
            folder without splits that is not the one that the run was trained on.
        limit: Most images.

    Raises:
        InputError: Data that cannot be used, or with other classes than the network.
        FileFormatError: A damaged file.
    """
    source = source_of_data(data, result)
    if split is None and (data is None or _trained_on(source, result)):
        split = "test"
    found = open_judged(
        source,
        resolution=architecture.resolution,
        channels=architecture.input_channels,
        split=split,
        limit=limit,
        seed=result.seed,
    )
    known = trained_classes(directory)
    if known is not None:
        found = matched_classes(found, known)
    assert architecture.classifier is not None
    check_classes(found, architecture.classifier.class_count)
    return found


def _trained_on(source: str, result: TrainingResult) -> bool:
    try:
        return place_of(source) == place_of(result.data)
    except InputError:  # one of them is gone
        return False


def recipe_for(data: str, resolution: int) -> str:
    """Return the name of the shipped recipe for data.

    ``digits`` for the digits and IDX files, ``photos`` from 64 pixels on, else ``cifar``.

    Raises:
        InputError: Nothing there, or nothing known.
    """
    if format_name(data) in (DIGITS, "IDX"):
        return "digits"
    return "photos" if resolution >= PHOTO_PIXELS else "cifar"


def is_grey(sample: Dataset) -> bool:
    """Return whether no image of a sample, read in colour, has a colour."""
    return all(bool((split.images == split.images[..., :1]).all()) for _, split in sample.splits())


def looked_at(data: str, *, limit: int | None = None, seed: int = 0) -> Dataset:
    """Return a sample of data in colour at few pixels, up to ``COUNTED_IMAGES`` images per split.

    Asked again for the same data, it returns what it read.

    Args:
        data: A path, or ``digits``.
        limit: Most images per split; ``None`` for all.
        seed: Which.

    Raises:
        InputError: Data that cannot be used.
    """
    return _looked_at(
        data, COUNTED_IMAGES if limit is None else min(limit, COUNTED_IMAGES), seed, stamp(data)
    )


@lru_cache(maxsize=1)
def _looked_at(data: str, limit: int, seed: int, stamped: str) -> Dataset:
    return open_dataset(data, resolution=8, channels=3, limit=limit, seed=seed)
