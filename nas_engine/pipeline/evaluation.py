"""Evaluation of a trained run: accuracy in float, fake-quantised and in integers. Needs torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nas_engine.datasets import Judged
from nas_engine.events import SILENT, Sink, Started
from nas_engine.integer.model import IntegerModel
from nas_engine.integer.reference import predict as predict_integer
from nas_engine.integer.store import load as load_integer
from nas_engine.models.graph_network import GraphNetwork
from nas_engine.pipeline.data import read_judged, source_of_data
from nas_engine.runs.run_directory import RunDirectory
from nas_engine.training.by_class import by_class
from nas_engine.training.finished import finished_training
from nas_engine.training.loop import predict
from nas_engine.training.networks import load_network
from nas_engine.training.result import Accuracy
from nas_engine.training.start import load_start


def evaluate_run(
    path: Path,
    data: str | None,
    *,
    split: str | None = None,
    limit: int | None = None,
    watch: Sink = SILENT,
) -> tuple[Judged, Accuracy]:
    """Return the images and the accuracy of a trained run's three forms on them.

    Args:
        path: The run directory.
        data: A path or ``digits``; ``None`` for those that it was trained on.
        split: ``test``, ``validation`` or ``train``; ``None`` for ``test``, or for all images of
            another folder without splits.
        limit: Most images, chosen as for the training.
        watch: Sink of what takes a while.

    Raises:
        RunDirectoryError: The run has not been trained to the end.
        InputError: Data that do not fit.
        FileFormatError: A damaged file.
    """
    directory = RunDirectory(path)
    folder, result = directory.training, finished_training(directory)
    trained = load_network(folder.network)
    watch(Started(text=f"reading {source_of_data(data, result)} ..."))
    judged = read_judged(data, directory, trained.architecture, result, split=split, limit=limit)
    floating = load_network(folder.float_network) if result.float_epochs else None
    if floating is None and directory.start.exists():
        floating = load_start(directory.start, trained.architecture)
    quantised, model = (
        (trained, load_integer(directory.integer).model)
        if result.quantised_epochs
        else (None, None)
    )
    watch(Started(text="evaluating ..."))
    return judged, measure(judged, floating, quantised, model)


def measure(
    judged: Judged,
    floating: GraphNetwork | None,
    quantised: GraphNetwork | None,
    model: IntegerModel | None,
) -> Accuracy:
    """Return the accuracy of the forms that a network has on images at the network's size."""
    chosen = judged.images

    def right(predicted: npt.NDArray[np.int64] | None) -> float | None:
        return None if predicted is None else _percent(predicted == chosen.labels)

    real, fake = (
        None if network is None else predict(network, chosen.images).argmax(1)
        for network in (floating, quantised)
    )
    integer = None if model is None else predict_integer(model, chosen.images)
    return Accuracy(
        split=judged.split,
        images=len(chosen),
        floating=right(real),
        quantised=right(fake),
        integer=right(integer),
        agreement=None if fake is None or integer is None else _percent(integer == fake),
        by_class=by_class(chosen.images, chosen.labels, integer, judged.classes),
    )


def _percent(hits: Any) -> float:
    return float(100.0 * np.mean(hits))
