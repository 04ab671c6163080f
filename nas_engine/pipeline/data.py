"""The data of a run at the size that its network takes. No torch."""

from __future__ import annotations

import os
from functools import lru_cache

from nas_engine.architecture import Architecture
from nas_engine.datasets import Dataset, check_classes, format_name, open_dataset
from nas_engine.datasets.digits import WORD as DIGITS
from nas_engine.errors import PathError, RunDirectoryError
from nas_engine.escaping import command_line
from nas_engine.pipeline.ledger import stamp
from nas_engine.report.run_directory import RunDirectory
from nas_engine.training.result import TrainingResult, read_result

RESIZE_MARGIN = 1.15
"""Training images from folders are kept this much larger than the network's input, so that crops have room; ours."""

PHOTO_PIXELS = 64
"""From this resolution on images count as photographs; ours."""

COUNTED_IMAGES = 5000
"""Most images of a split that are read before a run begins; ours."""


def check_single(directory: RunDirectory) -> None:
    """Refuse a directory that is no run, or a search at several resolutions.

    Raises:
        RunDirectoryError: Says which directory to give instead.
    """
    config = directory.read_config()
    if "resolutions" in config:
        names = ", ".join(str(directory.member(size).path) for size in config["resolutions"])
        raise RunDirectoryError(directory.path, f"holds one run per resolution; give one of them: {names}")


def finished_training(directory: RunDirectory) -> TrainingResult:
    """Return what the training of a run came to.

    Raises:
        RunDirectoryError: The run has not been trained to the end.
        FileFormatError: A damaged file.
    """
    check_single(directory)
    if not directory.training.result.exists():
        path = directory.path
        command = command_line("nas-search", "train", path)
        raise RunDirectoryError(path, f"is not trained to the end yet; type: {command} (with --resume if it has begun)")
    return read_result(directory.training.result)


def source_of_data(given: str | None, result: TrainingResult) -> str:
    """Return the data given, or those that a run was trained on.

    Raises:
        PathError: They are not there any more.
    """
    if given is not None:
        return given
    if result.data != DIGITS and not os.path.exists(result.data):
        raise PathError(result.data, "the data that this run was trained on are not there any more; give their place with --data")
    return result.data


def read_data(data: str, architecture: Architecture, *, limit: int | None = None, seed: int = 0, for_training: bool = False) -> Dataset:
    """Return the data at the size that a network takes.

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
    check_classes(dataset, architecture.classifier.classes)
    return dataset


def recipe_for(data: str, resolution: int) -> str:
    """Return the name of the shipped recipe for data: ``digits`` for the digits and IDX files, ``photos`` from 64 pixels, else ``cifar``.

    Raises:
        InputError: Nothing there, or nothing known.
    """
    if format_name(data) in (DIGITS, "IDX"):
        return "digits"
    return "photos" if resolution >= PHOTO_PIXELS else "cifar"


def looked_at(data: str, *, limit: int | None = None, seed: int = 0) -> Dataset:
    """Return data at few pixels and in colour, up to ``COUNTED_IMAGES`` of each split: what can be known of them before they are used.

    Asked again for the same data, it returns what it read.

    Args:
        data: A path, or ``digits``.
        limit: Most images per split; ``None`` for all.
        seed: Which.

    Raises:
        InputError: Data that cannot be used.
    """
    return _looked_at(data, COUNTED_IMAGES if limit is None else min(limit, COUNTED_IMAGES), seed, stamp(data))


@lru_cache(maxsize=1)
def _looked_at(data: str, limit: int, seed: int, stamped: str) -> Dataset:
    return open_dataset(data, resolution=8, channels=3, limit=limit, seed=seed)
