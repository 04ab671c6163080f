"""Evaluation of a trained run: the accuracy of its float, fake-quantised and integer forms on the same images. Needs torch."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nas_engine.architecture import Architecture
from nas_engine.datasets import Dataset, check_classes, open_dataset
from nas_engine.datasets.digits import WORD as DIGITS
from nas_engine.errors import InputError, PathError, RunDirectoryError
from nas_engine.integer.model import IntegerModel
from nas_engine.integer.reference import predict as predict_integer
from nas_engine.integer.store import load as load_integer
from nas_engine.models.mobilenet import MobileNet
from nas_engine.report.run_directory import RunDirectory
from nas_engine.training.loop import predict
from nas_engine.training.networks import load_network
from nas_engine.training.result import Accuracy, read_result

RESIZE_MARGIN = 1.15
"""Training images from folders are kept this much larger than the network's input, so that crops have room; ours."""


def check_single(directory: RunDirectory) -> None:
    """Refuse a directory that is no run, or a search at several resolutions.

    Raises:
        RunDirectoryError: Says which directory to give instead.
    """
    config = directory.read_config()
    if "resolutions" in config:
        names = ", ".join(str(directory.member(size).path) for size in config["resolutions"])
        raise RunDirectoryError(directory.path, f"holds one run per resolution; give one of them: {names}")


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


def evaluate_run(
    path: Path,
    data: str | None,
    *,
    split: str = "test",
    limit: int | None = None,
    announce: Callable[[str], None] = lambda text: None,
) -> tuple[Dataset, Accuracy]:
    """Return the accuracy of a trained run's three forms on data: those that it was trained on if none are given.

    Args:
        path: The run directory.
        data: A path, ``digits``, or ``None``.
        split: ``test``, ``validation`` or ``train``.
        limit: Most images, chosen as for the training.
        announce: Called with what is about to be done where it takes a while.

    Raises:
        RunDirectoryError: The run has not been trained to the end.
        InputError: Data that do not fit.
        FileFormatError: A damaged file.
    """
    directory = RunDirectory(path)
    check_single(directory)
    folder = directory.training
    if not folder.result.exists():
        raise RunDirectoryError(path, f"is not trained to the end yet; type: nas-search train {path} (with --resume if it has begun)")
    result = read_result(folder.result)
    if data is None:
        data = result.data
        if data != DIGITS and not os.path.exists(data):
            raise PathError(data, "the data that this run was trained on are not there any more; give their place with --data")
    trained = load_network(folder.network)
    announce(f"reading {data} ...")
    dataset = read_data(data, trained.architecture, limit=limit, seed=result.seed)
    floating = load_network(folder.float_network) if result.float_epochs else None
    quantised, model = (trained, load_integer(directory.integer).model) if result.quantised_epochs else (None, None)
    announce("evaluating ...")
    return dataset, measure(dataset, split, floating, quantised, model)


def measure(dataset: Dataset, split: str, floating: MobileNet | None, quantised: MobileNet | None, model: IntegerModel | None) -> Accuracy:
    """Return the accuracy of the forms that a network has on one split of data at the network's size.

    Raises:
        InputError: There is no such split.
    """
    chosen = dict(dataset.splits()).get(split)
    if chosen is None:
        names = ", ".join(name for name, _ in dataset.splits())
        raise InputError(f"{dataset.source}: there is no split '{split}'; give one of: {names}")

    def right(predicted: npt.NDArray[np.int64] | None) -> float | None:
        return None if predicted is None else _percent(predicted == chosen.labels)

    real, fake = (None if network is None else predict(network, chosen.images).argmax(1) for network in (floating, quantised))
    integer = None if model is None else predict_integer(model, chosen.images)
    return Accuracy(
        split=split,
        images=len(chosen),
        floating=right(real),
        quantised=right(fake),
        integer=right(integer),
        agreement=None if fake is None or integer is None else _percent(integer == fake),
    )


def _percent(hits: Any) -> float:
    return float(100.0 * np.mean(hits))
