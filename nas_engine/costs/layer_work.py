"""Work of layers: how often each loop of a C kernel runs, from shapes and widths, and its price.

What a loop takes in instructions, its price, is measured for a core and a compiler and lies in
``instructions.yaml`` (``costs.instruction_model``); how often it runs follows from the layer alone
and is the same everywhere. A kernel that is changed in ``exporters/runtime`` changes in the file of
its family (``costs.dense_work``, ``costs.depthwise_work``), and then the table is renewed:
``python -m benchmarks.instruction_model``.

All numbers are arrays that broadcast to one shape: one layer and a population are the same code.
Roundings are the quick ones, which every network but a badly scaled one has. What no layer asks for
is skipped, which halves the time of most populations.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from nas_engine.costs.memory import CHANNELS_UNPACKED

Prices = Mapping[str, Any]
"""Instructions of one round of each loop, by name."""


WORTH_SORTING = 256
"""Least number of layers of which each kind is counted once (chosen here)."""

FACTOR = np.uint64(0x9E3779B97F4A7C15)
"""Odd factor that mixes the figures of a layer into one key: 2^64 over the golden ratio."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layers:
    """Layers of one family of kernels; each field is an array or a number."""

    height: Any
    """Rows of the input."""
    width: Any
    """Columns of the input."""
    out_height: Any
    """Rows of the output."""
    out_width: Any
    """Columns of the output."""
    inputs: Any
    """Channels of the input."""
    outputs: Any
    """Channels of the output."""
    kernel: Any = 1
    """Height and width of the window."""
    stride: Any = 1
    """Stride."""
    w_bits: Any = 8
    """Width of the weights."""
    a_bits: Any = 8
    """Width of the input."""
    out_bits: Any = 8
    """Width of the output."""
    shortcut_bits: Any = 0
    """Width of the tensor that is added; 0 for none."""
    same_scale: Any = False
    """True where that tensor, the layer's own result and the output share one scale."""
    tile: Any = CHANNELS_UNPACKED
    """Output channels of which a dense layer holds weights or constants at once."""
    in_place: Any = False
    """True for a 1x1 layer that is written over its input, row by row."""
    rows: Any = 0
    """Rows of the output that one call makes; 0 by layers, for all at once."""
    kept: Any = False
    """True by rows where weights stay unpacked, as bytes."""
    moved: Any = 0
    """By rows: words, or bytes where rows are no whole words, that are copied from place to
    place."""

    def __post_init__(self) -> None:
        for one in fields(self):
            object.__setattr__(self, one.name, np.asarray(getattr(self, one.name)))

    @property
    def by_rows(self) -> Any:
        """Mask of layers that run by rows."""
        return self.rows > 0

    @property
    def calls(self) -> Any:
        """Calls of the kernel; a fraction where the last one makes fewer rows."""
        if not some(self.by_rows):
            return 1.0
        return np.where(self.by_rows, self.out_height / np.maximum(self.rows, 1), 1.0)

    @property
    def pixels(self) -> Any:
        """Pixels of the output that one call makes."""
        if not some(self.by_rows):
            return self.out_height * self.out_width
        return np.where(self.by_rows, self.rows, self.out_height) * self.out_width

    def driven(self, price: Prices) -> Any:
        """Return the instructions of the driver of stages."""
        if not some(self.by_rows):
            return 0.0
        return self.by_rows * self.calls * price["stage row"] + self.moved * price["stage word"]


def distinct(layers: Layers) -> tuple[Layers, npt.NDArray[np.intp] | None]:
    """Return each kind of layer once, and for every layer which of them it is.

    A population repeats its layers many times over. ``None`` where layers are few or lie in no one
    row, and for two kinds of layers with one key.
    """
    values = {one.name: getattr(layers, one.name) for one in fields(Layers)}
    rows = {name: value for name, value in values.items() if value.ndim == 1 and value.size > 1}
    if not rows or max(value.size for value in rows.values()) < WORTH_SORTING:
        return layers, None
    if len({value.size for value in rows.values()}) > 1 or any(v.ndim > 1 for v in values.values()):
        return layers, None
    key = np.zeros(next(iter(rows.values())).size, np.uint64)
    for value in rows.values():
        key *= FACTOR
        key += value.astype(np.float64).view(np.uint64) >> np.uint64(7)
    _, first, place = np.unique(key, return_index=True, return_inverse=True)
    for value in rows.values():  # two kinds of layers with one key
        if (value[first][place] != value).any():
            return layers, None
    return Layers(**(values | {name: value[first] for name, value in rows.items()})), place


def some(mask: Any) -> bool:
    """Return whether any layer is meant."""
    return bool(np.any(mask))


def up(count: Any, by: Any) -> Any:
    """Return how many groups of ``by`` hold a number of things."""
    return np.ceil(count / by)


def average_pool(layer: Layers, price: Prices) -> Any:
    """Return the instructions of average pools; by rows, of the sums of a head's."""
    channels, area = layer.inputs, layer.kernel * layer.kernel
    bytes_in, pixels = layer.a_bits == 8, layer.out_height * layer.out_width
    fours = (
        channels
        / 4
        * (
            price["pool four"]
            + layer.kernel * price["pool four row"]
            + area * price["pool four element"]
        )
    )
    ones = channels * (price["pool one"] + area * price["pool one element"])
    quick = bytes_in & (channels % 4 == 0)
    whole = price["pool"] + pixels * (price["pool pixel"] + np.where(quick, fours, ones))
    if not some(layer.by_rows):
        return whole
    each = np.where(bytes_in, price["pool sum byte"], price["pool sum bits"])
    sums = channels * (price["pool sum channel"] + layer.height * layer.width * each)
    return np.where(layer.by_rows, sums, whole)
