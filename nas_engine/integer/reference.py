"""Reference: runs an integer model.

What it computes is what every export must compute, value by value.

``fast=False`` is the definition, written plainly in int64. ``fast=True`` (the default) is the same
function, some ten times faster, see ``fast.py``; the tests compare the two, and both with a scalar
implementation and with TFLite's reference kernels.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from nas_engine.errors import InputError
from nas_engine.integer.arithmetic import Ints, add, multiply_by_quantized_multiplier, rounded_mean
from nas_engine.integer.fast import FastProgram, images_at_once
from nas_engine.integer.model import IntegerConvolution, IntegerModel, IntegerSum
from nas_engine.network.graph import Node
from nas_engine.quantization.record import QuantisedTensor

Images = npt.NDArray[np.uint8]
"""Images as uint8, ``[N, height, width, channels]``."""

Values = npt.NDArray[np.int8]
"""Values of an activation tensor as int8."""


def run(model: IntegerModel, images: Images, *, threads: int = 2, fast: bool = True) -> Values:
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
        NetworkError: A network that is no classifier; ``trace`` runs any.
    """
    return _values(model, images, (model.logits,), threads, fast)[model.logits][:, 0, 0, :]


def predict(model: IntegerModel, images: Images, *, threads: int = 2) -> npt.NDArray[np.int64]:
    """Return the class index of each image, ``[N]``: the first largest logit.

    Arguments and errors as in ``run``.
    """
    return np.asarray(run(model, images, threads=threads).argmax(axis=1), np.int64)


def trace(
    model: IntegerModel, images: Images, *, threads: int = 2, fast: bool = True
) -> dict[str, Values]:
    """Return every tensor by name, ``[N, height, width, channels]``, in the order of execution.

    Arguments and errors as in ``run``.
    """
    names = (model.image, *(node.output for node in model.nodes))
    return _values(model, images, names, threads, fast)


def _values(
    model: IntegerModel, images: Images, names: Collection[str], threads: int, fast: bool
) -> dict[str, Values]:
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
    for node in model.nodes:
        source, target = model.tensor(node.input), model.tensor(node.output)
        if isinstance(node, IntegerConvolution):
            result = _convolution(model, node, values) + target.zero_point
        elif isinstance(node, IntegerSum):
            result = _sum(model, node, values) + target.zero_point
        elif node.kind == "clamp":
            result = values[node.input] - source.zero_point + target.zero_point
        else:
            result = _POOLS[node.kind](node, values[node.input], source, target)
        values[node.output] = np.asarray(np.clip(result, target.low, target.high))
    return values


def _convolution(model: IntegerModel, node: IntegerConvolution, values: Mapping[str, Ints]) -> Ints:
    """Return the results of a convolution, shortcut included, minus the output's zero point."""
    centred = values[node.input] - model.tensor(node.input).zero_point
    acc = _accumulate(node, centred, model.tensor(node.output))
    result = multiply_by_quantized_multiplier(
        acc, node.requantizer.multiplier, node.requantizer.shift
    )
    if node.addition is None or node.shortcut is None:
        return result
    operand = values[node.shortcut] - model.tensor(node.shortcut).zero_point
    return add(operand, np.clip(result, -128, 127), node.addition.constants)


def _sum(model: IntegerModel, node: IntegerSum, values: Mapping[str, Ints]) -> Ints:
    first, second = (values[name] - model.tensor(name).zero_point for name in node.inputs)
    return add(first, second, node.addition.constants)


def _accumulate(node: IntegerConvolution, centred: Ints, target: QuantisedTensor) -> Ints:
    """Return the accumulators of a convolution.

    ``centred`` is its input minus the zero point, so that padding is 0.
    """
    weights = node.weights.astype(np.int64)
    total = np.zeros((len(centred), *target.shape), np.int64)
    for i, j, taps in _taps(node, centred, target, 0):
        total += (
            taps * weights[:, i, j, 0] if node.kind == "depthwise" else taps @ weights[:, i, j, :].T
        )
    return np.asarray((total << node.weight_shift) + node.bias, np.int64)


def _taps(
    node: Node, values: Ints, target: QuantisedTensor, padding: int
) -> Iterator[tuple[int, int, Ints]]:
    """Yield row, column and the input under each tap of a window, for every output place.

    ``padding`` is the value of padded elements.
    """
    top, bottom, left, right = node.padding
    edges = ((0, 0), (top, bottom), (left, right), (0, 0))
    padded = np.pad(values, edges, constant_values=padding)
    for i, j in itertools.product(range(node.kernel_height), range(node.kernel_width)):
        rows, columns = (
            slice(tap, tap + node.stride * (size - 1) + 1, node.stride)
            for tap, size in ((i, target.height), (j, target.width))
        )
        yield i, j, padded[:, rows, columns]


def _average_pool(
    node: Node, values: Ints, source: QuantisedTensor, target: QuantisedTensor
) -> Ints:
    ones = np.ones((1, source.height, source.width, 1), np.int64)
    total = sum(taps for _, _, taps in _taps(node, values, target, 0))
    count = sum(taps for _, _, taps in _taps(node, ones, target, 0))
    return rounded_mean(np.asarray(total), np.asarray(count))


def _max_pool(node: Node, values: Ints, source: QuantisedTensor, target: QuantisedTensor) -> Ints:
    largest = np.full((len(values), *target.shape), source.low, np.int64)
    for _, _, taps in _taps(node, values, target, source.low):
        np.maximum(largest, taps, out=largest)
    return largest


_POOLS: Mapping[str, Callable[[Node, Ints, QuantisedTensor, QuantisedTensor], Ints]] = {
    "average_pool": _average_pool,
    "max_pool": _max_pool,
}
