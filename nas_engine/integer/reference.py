"""Reference: runs an integer model.

What it computes is what every export must compute, value by value.

``fast=False`` is the definition, written plainly in int64. ``fast=True`` (the default) is the same
function, some ten times faster, see ``fast.py``; the tests compare the two, and both with a scalar
implementation and with TFLite's reference kernels.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from nas_engine.errors import InputError
from nas_engine.integer.arithmetic import Ints, add, multiply_by_quantized_multiplier, rounded_mean
from nas_engine.integer.fast import FastProgram, images_at_once
from nas_engine.integer.model import IntegerConvolution, IntegerModel, IntegerPool, TensorSpec

Images = npt.NDArray[np.uint8]
"""Images as uint8, ``[N, height, width, channels]``."""

Levels = npt.NDArray[np.int8]
"""Values of an activation tensor as int8."""


def run(model: IntegerModel, images: Images, *, threads: int = 2, fast: bool = True) -> Levels:
    """Return the logits of images.

    Args:
        model: The network.
        images: Images as uint8, ``[N, height, width, channels]`` as the model's input tensor.
        threads: Images are spread over this many threads; the result does not depend on it.
        fast: Whether to take the fast way; the result does not depend on it.

    Returns:
        Logits as int8, ``[N, classes]``.

    Raises:
        InputError: Images of another type or shape.
    """
    return _values(model, images, (model.logits,), threads, fast)[model.logits][:, 0, 0, :]


def predict(model: IntegerModel, images: Images, *, threads: int = 2) -> npt.NDArray[np.int64]:
    """Return the class index of each image, ``[N]``: the first largest logit.

    Arguments and errors as in ``run``.
    """
    return np.asarray(run(model, images, threads=threads).argmax(axis=1), np.int64)


def trace(
    model: IntegerModel, images: Images, *, threads: int = 2, fast: bool = True
) -> dict[str, Levels]:
    """Return every tensor by name, ``[N, height, width, channels]``, in the order of execution.

    Arguments and errors as in ``run``.
    """
    names = (model.image, *(step.output for step in model.steps))
    return _values(model, images, names, threads, fast)


def _values(
    model: IntegerModel, images: Images, names: Collection[str], threads: int, fast: bool
) -> dict[str, Levels]:
    shape = model.tensor(model.image).shape
    if (
        not isinstance(images, np.ndarray)
        or images.dtype != np.uint8
        or images.ndim != 4
        or images.shape[1:] != shape
    ):
        found = (
            f"{images.dtype} {list(images.shape)}"
            if isinstance(images, np.ndarray)
            else type(images).__name__
        )
        raise InputError(
            f"the images are {found}; expected an array of uint8 [N, {', '.join(map(str, shape))}]"
        )
    kept = {name: np.empty((len(images), *model.tensor(name).shape), np.int8) for name in names}
    at_once = images_at_once(model, len(images)) if fast else 1
    starts = range(0, len(images), at_once)
    workers = max(1, min(threads, len(starts)))

    def work(worker: int) -> None:
        program = FastProgram(model, at_once, kept) if fast else None
        for start in itertools.islice(starts, worker, None, workers):
            part = slice(start, start + at_once)
            results = program(images[part]) if program else _definition(model, images[part])
            for name, values in kept.items():
                values[part] = results[name]

    if workers == 1:
        work(0)
    else:
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(work, range(workers)))
    return kept


def _definition(model: IntegerModel, images: Images) -> Mapping[str, Ints]:
    """Return every tensor of images, straight from the specification."""
    values: dict[str, Ints] = {model.image: images.astype(np.int64) - 128}
    for step in model.steps:
        source, target = model.tensor(step.input), model.tensor(step.output)
        if isinstance(step, IntegerPool):
            values[step.output] = _pool(step, values[step.input], source, target)
            continue
        acc = _accumulate(step, values[step.input] - source.zero_point, target)
        result = multiply_by_quantized_multiplier(
            acc, step.requantizer.multiplier, step.requantizer.shift
        )
        if step.addition is not None:
            addition, shortcut = step.addition, model.tensor(step.addition.shortcut)
            operand = values[shortcut.name] - shortcut.zero_point
            result = add(
                operand, np.clip(result, -128, 127), (addition.first, addition.second, addition.out)
            )
        values[step.output] = np.clip(result + target.zero_point, target.low, target.high)
    return values


def _accumulate(step: IntegerConvolution, centred: Ints, target: TensorSpec) -> Ints:
    """Return the accumulators of a convolution.

    ``centred`` is its input minus the zero point, so that padding is 0.
    """
    top, bottom, left, right = step.padding
    padded = np.pad(centred, ((0, 0), (top, bottom), (left, right), (0, 0)))
    weights = step.weights.astype(np.int64)
    total = np.zeros((len(centred), *target.shape), np.int64)
    for i, j in itertools.product(range(step.kernel), repeat=2):
        taps = padded[
            :, _places(i, target.height, step.stride), _places(j, target.width, step.stride)
        ]
        total += (
            taps * weights[:, i, j, 0] if step.kind == "depthwise" else taps @ weights[:, i, j, :].T
        )
    return np.asarray((total << step.weight_shift) + step.bias, np.int64)


def _places(tap: int, size: int, stride: int) -> slice:
    """Return where one tap of the kernel stands for each output row (or column)."""
    return slice(tap, tap + stride * (size - 1) + 1, stride)


def _pool(step: IntegerPool, values: Ints, source: TensorSpec, target: TensorSpec) -> Ints:
    top, bottom, left, right = step.padding
    edges = ((0, 0), (top, bottom), (left, right), (0, 0))
    padded, inside = (
        np.pad(values, edges),
        np.pad(np.ones((1, source.height, source.width, 1), np.int64), edges),
    )
    total, count = (
        np.zeros((len(values), *target.shape), np.int64),
        np.zeros((1, target.height, target.width, 1), np.int64),
    )
    for i, j in itertools.product(range(step.kernel), repeat=2):
        rows, columns = (
            _places(i, target.height, step.stride),
            _places(j, target.width, step.stride),
        )
        total += padded[:, rows, columns]
        count += inside[:, rows, columns]
    return np.asarray(np.clip(rounded_mean(total, count), target.low, target.high))
