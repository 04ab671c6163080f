"""Quantisation error of every layer of a trained network.

Needs torch.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from nas_engine.datasets.records import Pixels
from nas_engine.errors import FileFormatError, InputError, RunDirectoryError
from nas_engine.escaping import command_line
from nas_engine.events import SILENT, Sink, Started
from nas_engine.integer.model import IntegerConvolution, IntegerModel
from nas_engine.integer.reference import trace
from nas_engine.integer.store import load as load_integer
from nas_engine.models.graph_network import GraphNetwork
from nas_engine.pipeline.data import read_judged, source_of_data
from nas_engine.report.layer_errors import FILE, LayerError, LayerErrors, write_layer_errors
from nas_engine.runs import chain
from nas_engine.runs.run_directory import RunDirectory
from nas_engine.training.finished import finished_training
from nas_engine.training.networks import load_network
from nas_engine.training.unrounded import error_squares, layer_outputs, unrounded

LAYER_IMAGES = 64
"""Images that errors are measured on by default (chosen here)."""

AT_ONCE = 8
"""Images per batch; its tensors are held in integers and in float (chosen here)."""


def measure_layer_errors(
    path: Path,
    data: str | None = None,
    *,
    images: int = LAYER_IMAGES,
    split: str | None = None,
    watch: Sink = SILENT,
) -> LayerErrors:
    """Measure the quantisation error of every layer of a run and write ``layer_errors.json``.

    Args:
        path: The run directory.
        data: A path, ``digits``, or ``None`` for the data that the run was trained on.
        images: Most images to measure on, classes in balance where there are enough.
        split: As in ``evaluate_run``.
        watch: Sink of what takes a while.

    Raises:
        RunDirectoryError: Not trained to the end, or in float alone.
        InputError: Data that do not fit or are gone, no such split, or no images asked for.
        FileFormatError: A damaged file, or an integer model of another network.
        StorageError: The disk is full.
    """
    if images < 1:
        raise InputError(f"errors cannot be measured on {images} images; expected at least one")
    directory = RunDirectory(path)
    result = finished_training(directory)
    if not result.quantised_epochs:
        raise RunDirectoryError(
            path,
            "was trained in float alone, so there is no integer model to compare; train it with "
            "quantised epochs",
        )
    trained, model = load_network(directory.training.network), load_integer(directory.integer).model
    watch(Started(text=f"reading {source_of_data(data, result)} ..."))
    judged = read_judged(
        data,
        directory,
        trained.architecture,
        result,
        split=split,
        limit=max(images, len(model.classes)),
    )
    chosen = judged.images.images
    if len(chosen) > images:  # fewer than there are classes; folders come class by class
        chosen = chosen[np.linspace(0, len(chosen) - 1, images).astype(np.int64)]
    watch(Started(text=f"comparing integers and float on {len(chosen):,} images ..."))
    try:
        layers = layer_errors(trained, model, chosen)
    except InputError as error:
        again = command_line("nas-search", "train", path, "--force")
        raise FileFormatError(directory.integer, f"{error}; train again with: {again}") from error
    errors = LayerErrors(data=judged.name, split=judged.split, images=len(chosen), layers=layers)
    write_layer_errors(
        path / FILE,
        errors,
        chain.made_of(directory, chain.LAYER_ERRORS) | {chain.DATA: chain.images_digest(chosen)},
    )
    return errors


def layer_errors(
    network: GraphNetwork, model: IntegerModel, images: Pixels
) -> tuple[LayerError, ...]:
    """Return the error of every layer: integers against the same network without rounding.

    ``training/unrounded.py`` is that network.

    Two comparisons of a layer's integer output, as real values ``scale * (value - zero point)``,
    squares summed over all values and images: with the output of the float network on the same
    images, which holds the errors of all layers so far; and with the output of this one layer in
    float, fed with what the integer network feeds it, which holds its own alone: rounded weights
    and rounded results. The rounding of a pool counts for the layer that reads it.

    Args:
        network: The trained network, with its quantisers.
        model: Its integers.
        images: Byte images, ``(n, h, w, c)``, as large as the network takes.

    Raises:
        InputError: An integer model of another network.
    """
    plain, steps = (
        unrounded(network),
        {step.output: step for step in model.nodes if isinstance(step, IntegerConvolution)},
    )
    outputs = layer_outputs(plain)
    if outputs != [(step.name, target) for target, step in steps.items()]:
        raise InputError("the integer model has other layers than the trained network")
    squares, counts = np.zeros((len(outputs), 4)), np.zeros((len(outputs), 1))
    for start in range(0, len(images), AT_ONCE):
        found = _dequantised(model, images[start : start + AT_ONCE])
        squares += error_squares(plain, found)
        counts += [[found[target].size] for _, target in outputs]
    widths = {tensor.name: tensor.bits for tensor in model.tensors}
    return tuple(
        LayerError(
            name=name,
            w_bits=steps[target].weight_bits,
            a_bits=widths[steps[target].input],
            out_bits=widths[target],
            signal=float(row[0]),
            error=float(row[1]),
            own_signal=float(row[2]),
            own_error=float(row[3]),
        )
        for (name, target), row in zip(outputs, squares / counts, strict=True)
    )


def _dequantised(model: IntegerModel, images: Pixels) -> dict[str, npt.NDArray[np.float32]]:
    """Return the real value of every integer tensor, ``(n, h, w, c)``."""
    found = {}
    for name, values in trace(model, images, threads=1).items():
        tensor = model.tensor(name)
        found[name] = (values.astype(np.float32) - tensor.zero_point) * np.float32(tensor.scale)
    return found
