"""Kernels of training as functions of torch: norms with endings, depth-wise layers, all weights.

They equal what ``nas_engine.models`` computes in several steps, up to rounding. Tensors are float32
on the CPU, channels last. Sums are taken in an order that does not depend on threads.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from itertools import pairwise
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from nas_engine.kernels.build import Library

ROWS = 1024
"""Rows of a chunk, as ``kernels.h`` has it."""

IMAGES = 8
"""Images of a chunk of a depth-wise convolution, as ``depthwise.c`` has it."""

_SUMS = 4
_FEWEST_VALUES = 2**16
"""Values below which a second thread costs more than it gives (chosen here)."""

_POINTER, _LONG, _FLOAT, _INT = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float, ctypes.c_int

_SIGNATURES = {
    "nas_moments": (_POINTER, _LONG, _LONG, _POINTER, _LONG, _LONG),
    "nas_statistics": (_POINTER, _POINTER, _LONG, _LONG, _FLOAT, _FLOAT, *(_POINTER,) * 5),
    "nas_forward": (_INT, *(_POINTER,) * 3, _LONG, _LONG, *(_POINTER,) * 2, _LONG, _LONG),
    "nas_backward_sums": (_INT, *(_POINTER,) * 4, _LONG, _LONG, *(_POINTER,) * 3, _LONG, _LONG),
    "nas_gradients": (_POINTER, _LONG, _LONG, _INT, *(_POINTER,) * 4),
    "nas_backward_norm": (
        *(_INT, _POINTER, _INT, _POINTER, _POINTER, _LONG, _LONG),
        *(*(_POINTER,) * 3, _LONG, _LONG),
    ),
    "nas_depthwise": (*(_POINTER,) * 5, _LONG, _LONG),
    "nas_depthwise_backward": (*(_POINTER,) * 7, _LONG, _LONG),
    "nas_depthwise_scratch": (_POINTER,),
    "nas_quantise_weights": (_POINTER, _LONG),
    "nas_quantise_weights_backward": (_POINTER, _LONG),
}


class Kernels:
    """Loaded library of kernels.

    Attributes:
        name: Name that results depend on: a digest, and the compiler in words.
        threads: Threads that share the work on a large tensor.

    Raises:
        OSError: The library cannot be loaded.
    """

    def __init__(self, library: Library, threads: int = 1) -> None:
        self.name, self.threads = library.name, threads
        self._library = ctypes.CDLL(str(library.path))
        self._pool = ThreadPoolExecutor(threads - 1) if threads > 1 else None
        for function, types in _SIGNATURES.items():
            found = getattr(self._library, function)
            found.argtypes, found.restype = types, _LONG

    def call(self, function: str, *arguments: Any) -> int:
        """Return what a function of the library does; tensors are given by their addresses."""
        return int(getattr(self._library, function)(*map(_address, arguments)))

    def share_rows(self, function: str, rows: int, channels: int, *arguments: Any) -> None:
        """Call a function over all chunks of rows, by several threads where that pays."""
        self.share(function, -(-rows // ROWS), rows * channels, *arguments)

    def share(self, function: str, units: int, values: int, *arguments: Any) -> None:
        """Call a function over units of work on so many values, likewise."""
        kernel = partial(getattr(self._library, function), *map(_address, arguments))
        parts = min(self.threads, units) if values >= _FEWEST_VALUES else 1
        ends = [units * part // parts for part in range(parts + 1)]
        others: list[Future[None]] = []
        if self._pool is not None:
            others = [self._pool.submit(kernel, first, last) for first, last in pairwise(ends[1:])]
        kernel(ends[0], ends[1])
        for other in others:
            other.result()


def _address(value: Any) -> Any:
    return value.data_ptr() if isinstance(value, Tensor) else value


Sides: TypeAlias = tuple[int, int]
"""Pixels above and left."""


class Activation(IntEnum):
    """Ending of a layer, as ``norm.c`` numbers them."""

    NONE = 0
    """Nothing."""
    RELU6 = 1
    """Cut off at 0 and at 6."""
    LEVELS = 2
    """LSQ's levels."""


class Levels(Protocol):
    """Interface of the quantiser of an activation."""

    low: int
    high: int
    step: nn.Parameter


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """Steps behind a batch norm: sum, activation and quantiser.

    With ``levels`` its result becomes levels; a sum with a shortcut takes it as 8-bit levels of
    ``own`` first.
    """

    relu: bool = False
    """ReLU6 in float."""
    levels: Levels | None = None
    """Quantiser of the output; ``None`` in float."""
    own: Levels | None = None
    """Quantiser of the summand; ``levels`` itself unless a sum is rectified."""


class _CLevels(ctypes.Structure):
    _fields_ = [(name, _FLOAT) for name in ("step", "low", "high", "own")]


class _CLayer(ctypes.Structure):
    _fields_ = [
        *((name, _POINTER) for name in ("weight", "step", "gradient", "result", "of_step")),
        *((name, _LONG) for name in ("channels", "count")),
        *((name, _FLOAT) for name in ("limit", "gradient_scale")),
    ]


def finish(
    kernels: Kernels, sums: Tensor, norm: nn.BatchNorm2d, ending: Ending, shortcut: Tensor | None
) -> Tensor:
    """Return what a layer makes of its convolution: norm, sum with a shortcut, activation.

    Args:
        kernels: The kernels.
        sums: Result of the convolution, ``(n, c, h, w)``.
        norm: Batch norm; in training mode it takes the batch's statistics and moves its own.
        ending: What follows.
        shortcut: Summand of the same shape, or ``None``.

    Returns:
        ``(n, c, h, w)``, channels last.
    """
    levels = ending.levels
    own = ending.own or levels
    if norm.training and norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
    result: Tensor = _Finish.apply(  # type: ignore[no-untyped-call]
        kernels,
        norm,
        ending,
        sums,
        norm.weight,
        norm.bias,
        shortcut,
        None if levels is None else levels.step,
        None if own is None or shortcut is None else own.step,
    )
    return result


class _Finish(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        kernels: Kernels,
        norm: nn.BatchNorm2d,
        ending: Ending,
        sums: Tensor,
        gamma: Tensor,
        beta: Tensor,
        shortcut: Tensor | None,
        step: Tensor | None,
        own: Tensor | None,
    ) -> Tensor:
        y, x = _rows(sums), None if shortcut is None else _rows(shortcut)
        rows, channels = y.numel() // y.shape[1], y.shape[1]
        batch = None
        if norm.training:
            batch = torch.zeros(-(-rows // ROWS), 2, channels, dtype=torch.float64)
            kernels.share_rows("nas_moments", rows, channels, y, rows, channels, batch)
        statistics, running = torch.empty(4, channels), (norm.running_mean, norm.running_var)
        given = (norm.eps, norm.momentum, gamma, beta, *running, statistics)
        kernels.call("nas_statistics", batch, y, rows, channels, *given)
        kind, levels = _kind(ending), _c_levels(ending.levels, step, own)
        out = torch.empty_like(y)
        work = (kind, ctypes.addressof(levels), y, x, rows, channels, statistics, out)
        kernels.share_rows("nas_forward", rows, channels, *work)
        ctx.save_for_backward(y, x, statistics)
        ctx.constants = kernels, kind, levels, not norm.training
        ctx.step_shapes = [None if each is None else each.shape for each in (step, own)]
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        y, x, statistics = ctx.saved_tensors
        kernels, kind, levels, frozen = ctx.constants
        g, of_y, channels = _rows(gradient), torch.empty_like(y), y.shape[1]
        rows, address, of_x = y.numel() // channels, ctypes.addressof(levels), None
        if x is not None:
            of_x = g if kind == Activation.NONE else torch.empty_like(y)
        batch = torch.zeros(-(-rows // ROWS), _SUMS, channels, dtype=torch.float64)
        first = (kind, address, g, y, x, rows, channels, statistics, of_x, batch)
        kernels.share_rows("nas_backward_sums", rows, channels, *first)
        gradients, of_steps, numel = torch.empty(4, channels), torch.empty(2), y[0].numel()
        factors = torch.tensor(
            [1 / math.sqrt(numel * max(levels.high, 1)), 1 / math.sqrt(numel * _OWN_HIGH)]
        )
        sums = (batch, rows, channels, frozen, statistics, factors, gradients, of_steps)
        kernels.call("nas_gradients", *sums)
        summed = x is not None
        second = (rows, channels, statistics, gradients, of_y)
        kernels.share_rows(
            *("nas_backward_norm", rows, channels),
            *(kind, address, summed, of_x if summed else g, y, *second),
        )
        steps = (
            None if shape is None else each.reshape(shape)
            for each, shape in zip(of_steps, ctx.step_shapes, strict=True)
        )
        return None, None, None, of_y, gradients[0], gradients[1], of_x, *steps


_OWN_HIGH = 127


def _kind(ending: Ending) -> Activation:
    if ending.levels is not None:
        return Activation.LEVELS
    return Activation.RELU6 if ending.relu else Activation.NONE


def _c_levels(levels: Levels | None, step: Tensor | None, own: Tensor | None) -> _CLevels:
    if levels is None or step is None:
        return _CLevels(1, 0, 0, 1)
    width = float(step)
    return _CLevels(width, levels.low, levels.high, width if own is None else float(own))


def _rows(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last)


class _CShape(ctypes.Structure):
    _fields_ = [
        (name, _LONG)
        for name in (
            *("images", "height", "width", "channels"),
            *("kernel", "stride", "top", "left", "out_height", "out_width"),
        )
    ]


DEPTHWISE = ((3, 1), (3, 2), (5, 1), (5, 2), (7, 1), (7, 2))
"""Kernels and strides that ``depthwise`` has."""


def depthwise(kernels: Kernels, x: Tensor, weight: Tensor, stride: int, before: Sides) -> Tensor:
    """Return a depth-wise convolution with "same" padding.

    Args:
        kernels: The kernels.
        x: ``(n, c, h, w)``.
        weight: ``(c, 1, k, k)``; kernel and stride are among ``DEPTHWISE``.
        stride: Both ways.
        before: Zeros above and left of the image.

    Returns:
        ``(n, c, ceil(h / stride), ceil(w / stride))``, channels last.
    """
    n, channels, height, width = x.shape
    out = -(-height // stride), -(-width // stride)
    shape = _CShape(n, height, width, channels, weight.shape[-1], stride, *before, *out)
    result: Tensor = _Depthwise.apply(  # type: ignore[no-untyped-call]
        kernels, shape, x, weight
    )
    return result


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, kernels: Kernels, shape: _CShape, x: Tensor, weight: Tensor) -> Tensor:
        x, weight = _rows(x), weight.contiguous()
        if shape.stride == 1:  # torch's own is as fast
            y = functional.conv2d(x, weight, None, 1, shape.kernel // 2, 1, shape.channels)
        else:
            size = shape.images, shape.channels, shape.out_height, shape.out_width
            y = torch.empty(size, memory_format=torch.channels_last)
            chunks, scratch = _scratch(kernels, shape)
            work = ctypes.addressof(shape), x, weight, scratch, y
            kernels.share("nas_depthwise", chunks, x.numel(), *work)
        ctx.save_for_backward(x, weight)
        ctx.constants = kernels, shape
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        (x, weight), (kernels, shape) = ctx.saved_tensors, ctx.constants
        of_x, g, (chunks, scratch) = torch.empty_like(x), _rows(gradient), _scratch(kernels, shape)
        of_weight = torch.empty(chunks, *weight.shape)
        work = ctypes.addressof(shape), x, weight, g, scratch, of_x, of_weight
        kernels.share("nas_depthwise_backward", chunks, x.numel(), *work)
        return None, None, of_x, of_weight.sum(0)


def _scratch(kernels: Kernels, shape: _CShape) -> tuple[int, Tensor]:
    """Return the chunks of images, and room for the work on each."""
    chunks = -(-shape.images // IMAGES)
    return chunks, torch.empty(
        chunks, kernels.call("nas_depthwise_scratch", ctypes.addressof(shape))
    )


class WeightLevels(Protocol):
    """Interface of the quantiser of a weight."""

    limit: int
    step: nn.Parameter


def quantise_weights(
    kernels: Kernels, layers: Mapping[str, tuple[Tensor, WeightLevels]]
) -> dict[str, Tensor]:
    """Return the weights of layers on their grids, by name.

    Args:
        kernels: The kernels.
        layers: Weight ``(o, i, k, k)`` and quantiser of each layer.
    """
    if not layers:
        return {}
    limits = [quantiser.limit for _, quantiser in layers.values()]
    weights = [weight for weight, _ in layers.values()]
    steps = [quantiser.step for _, quantiser in layers.values()]
    results = _QuantiseWeights.apply(  # type: ignore[no-untyped-call]
        kernels, limits, *weights, *steps
    )
    return dict(zip(layers, results, strict=True))


class _QuantiseWeights(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, kernels: Kernels, limits: Sequence[int], *given: Tensor
    ) -> tuple[Tensor, ...]:
        weights, steps = given[: len(limits)], given[len(limits) :]
        results = tuple(torch.empty_like(weight) for weight in weights)
        kernels.call(
            "nas_quantise_weights", _c_layers(limits, weights, steps, results), len(limits)
        )
        ctx.save_for_backward(*given)
        ctx.constants = kernels, limits
        return results

    @staticmethod
    @torch.autograd.function.once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        kernels, limits = ctx.constants
        weights, steps = ctx.saved_tensors[: len(limits)], ctx.saved_tensors[len(limits) :]
        laid_out = [_as(each, weight) for each, weight in zip(gradients, weights, strict=True)]
        of_weights = [torch.empty_like(weight) for weight in weights]
        of_steps = [torch.empty_like(step) for step in steps]
        layers = _c_layers(limits, weights, steps, of_weights, laid_out, of_steps)
        kernels.call("nas_quantise_weights_backward", layers, len(limits))
        return None, None, *of_weights, *of_steps


def _as(tensor: Tensor, like: Tensor) -> Tensor:
    """Return a tensor in the layout of another."""
    return tensor if tensor.stride() == like.stride() else torch.empty_like(like).copy_(tensor)


def _c_layers(
    limits: Sequence[int],
    weights: Sequence[Tensor],
    steps: Sequence[Tensor],
    results: Sequence[Tensor],
    gradients: Sequence[Tensor] | None = None,
    of_steps: Sequence[Tensor] | None = None,
) -> Any:
    layers = (_CLayer * len(limits))()
    for index, (limit, weight) in enumerate(zip(limits, weights, strict=True)):
        count = weight[0].numel()
        layers[index] = _CLayer(
            weight.data_ptr(),
            steps[index].data_ptr(),
            None if gradients is None else gradients[index].data_ptr(),
            results[index].data_ptr(),
            None if of_steps is None else of_steps[index].data_ptr(),
            len(weight),
            count,
            limit,
            1 / math.sqrt(count * limit),
        )
    return layers
