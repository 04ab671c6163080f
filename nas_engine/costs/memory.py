"""Memory models: granules, sizes and scratch; two rows in a table at the end of the file.

A model says in which granules tensors are counted and how their sizes are rounded; what lives
together under it is declared in ``costs.schedule``.

**arena** (chosen here): the static arena of the layer-by-layer schedule, to the byte.
    - Tensors are dense bit streams, rounded up to 4-byte words. The input image counts, at 8 bits.
    - Depth-wise runs in place, row by row: max(input, output) plus a ring of k packed input rows.
    - A shortcut waits from the block's input to its last step; the sum is written over it (max of
      both); pooled shortcuts are pooled in place.
    - The 1x1 shortcut of a residual runs between its two convolutions, as wide as the sum, and is
      written over the unit's input, row by row: max(input, output) plus a row of the output. So is
      the 1x1 layer behind a depth-wise one that worked on the stream.
    - Scratch: all layers but depth-wise ones expand two output pixels to 16 bit (2 * 2 B per filter
      tap) and unpack up to 16 output channels' weights to 8 bit (1 B per tap and channel); k x k
      layers gather their windows first (2 * 1 B per tap). Taps count in fours, channels in pairs.
      Depth-wise unpacks its weights (1 B each) and expands four channels of k rows to 16 bit. It is
      the same for every width, so that weight bits never cost SRAM.
    - Two-ended placement (residual stream from the bottom, bottleneck from the top) reaches the
      largest live set exactly: ``costs.plan``.
**paper** (Sun et al. 2022, their public code): input * bits/8 + output * next input bits/8 per
convolution.
    - Depth-wise in place: input plus *one* output plane. The shortcut counts beside the depth-wise
      only. Residuals are none of theirs: their shortcut counts at both convolutions (chosen here).
    - No scratch, no rounding; the output of the last convolution at 8 bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, overload

import numpy as np
import numpy.typing as npt

from nas_engine.layers import Bools, Floats, LayerTable, output_channels, output_positions
from nas_engine.names import Memory

Sizes = float | Floats
"""Elements, granules or bytes, of one network or of many."""

Bits = float | npt.NDArray[Any]
"""Widths, whole numbers of any type."""

WORD_BYTES = 4
"""Tensors and weights start on word boundaries and are padded to whole words: a Cortex-M word."""

CHANNEL_BYTES = 9
"""int32 bias + Q31 multiplier + int8 shift per output channel."""

LAYER_RECORD_BYTES = 52
"""One row of the exported layer table: ``nas_layer`` of the C runtime
(nas_engine/exporters/runtime/nas_runtime.h)."""

ADDITION_BYTES = 24
"""Three multipliers and shifts of a shortcut's addition: ``nas_addition`` of the C runtime."""

PAPER_CHANNEL_BYTES = 2
"""The authors' two bytes per output channel."""


PAPER_OPS_PER_OUTPUT = 3
"""Batch-norm (2) and ReLU (1) per output element in the authors' count, each as 8 x 8 bit
operation."""

PIXELS_EXPANDED = 2
"""Output pixels whose inputs are expanded to 16 bit beside a whole tile of weights (chosen
here)."""

CHANNELS_UNPACKED = 16
"""Output channels whose weights are unpacked to 8 bit at once (chosen here; the measured prototype
does the same)."""

PIXELS_AT_ONCE = 3
"""Output pixels that the quick inner loop works on, in the scratch of two and of a smaller tile
(chosen here)."""

SPREAD_CHANNEL_BYTES = 16
"""Constants of an output channel as that loop takes them: ``nas_three`` of the C runtime, half."""

MOST_DOUBLINGS = 3
"""Doublings of a tile that the flags of a layer record can say."""

CHANNELS_EXPANDED = 4
"""Channels of a depth-wise layer whose rows are expanded to 16 bit at once: one word of 8-bit
inputs (chosen here)."""


def dense_scratch(taps: Sizes, outputs: Sizes, *, windows: bool | Bools = False) -> Floats:
    """Return the scratch of a convolution that is not depth-wise, or of a dense layer, in words.

    Two pixels at 16 bit, up to 16 channels of weights at 8 bit, and the windows of two pixels at
    8 bit.

    Args:
        taps: Inputs per output channel.
        outputs: Output channels.
        windows: Whether the layer gathers windows first, as k x k layers do.
    """
    channels = np.minimum(2 * np.ceil(outputs / 2), CHANNELS_UNPACKED)
    each = channels + (2 + windows) * PIXELS_EXPANDED
    return np.asarray(np.ceil(taps / WORD_BYTES) * each)


def tile_bytes(
    taps: int, outputs: int, doublings: int, *, windows: bool = False, in_flash: bool = False
) -> int:
    """Return the scratch of a dense layer that works on three pixels at once, in bytes.

    Three pixels are expanded in the scratch of ``dense_scratch``, and as many channels as fit
    beside them are held: their weights, unless these are bytes in Flash, and the constants of more
    than ``CHANNELS_UNPACKED``; those of fewer are on the stack. Where more bytes are free the tile
    is doubled. ``nas_dense.c`` divides the scratch by the same numbers.

    Args:
        taps: Inputs per output channel.
        outputs: Output channels.
        doublings: How often the tile is doubled, 0 to ``MOST_DOUBLINGS``.
        windows: Whether the layer gathers windows first.
        in_flash: Whether weights are multiplied from Flash.
    """
    padded, even = -(-taps // WORD_BYTES) * WORD_BYTES, outputs + outputs % 2
    least = int(dense_scratch(taps, outputs, windows=windows)) * WORD_BYTES
    pixels, few = 2 * PIXELS_AT_ONCE * padded, min(even, CHANNELS_UNPACKED)
    beside = few if windows or in_flash else few - 2
    if in_flash:
        beside = max(beside, (least - pixels) // SPREAD_CHANNEL_BYTES // 2 * 2)
    channels = min(beside << doublings, even)
    spread = channels * SPREAD_CHANNEL_BYTES * (channels > CHANNELS_UNPACKED)
    return max(least, pixels + spread + channels * padded * (not in_flash))


def depthwise_scratch(kernel: Sizes, width: Sizes, channels: Sizes) -> Floats:
    """Return the scratch of the depth-wise step, in words.

    The weights at 8 bit and k rows of four channels at 16 bit, padded on both sides.

    Args:
        kernel: Height and width of the kernel.
        width: Input columns.
        channels: Channels.
    """
    row = 2 * np.ceil(width / 2) + (kernel - 1)  # kernels are odd
    weights = np.ceil(kernel * kernel * channels / WORD_BYTES)
    return np.asarray(weights + kernel * row * (CHANNELS_EXPANDED * 2 / WORD_BYTES))


@overload
def share(model: MemoryModel, bits: float) -> float: ...
@overload
def share(model: MemoryModel, bits: npt.NDArray[Any]) -> Floats: ...
def share(model: MemoryModel, bits: Bits) -> Sizes:
    """Return the granules of one element at a width."""
    return bits * (1 / (8 * model.granule))


class MemoryModel(Protocol):
    """Everything that is counted in another way by another model: SRAM, Flash and BitOps."""

    @property
    def name(self) -> str:
        """Name on the command line, and in ``costs.schedule``."""

    @property
    def granule(self) -> int:
        """Bytes of the unit of account in SRAM."""

    @property
    def weight_granule(self) -> float:
        """Bytes of the unit of account of stored weights."""

    def size(self, elements: Sizes, share: Sizes) -> Floats:
        """Return the granules of a tensor, from its elements and the granules of one."""

    def weights(self, count: Sizes, bits: Bits) -> Floats:
        """Return the granules of a layer's stored weights."""

    def channels(self, outputs: Sizes) -> Sizes:
        """Return the bytes besides the weights of a layer, from its output channels."""

    def steps(self, table: LayerTable) -> tuple[Sizes, float]:
        """Return the Flash bytes of steps that are no layers.

        At the last layer of each unit, ``(residuals, n)``, and at the classifier.
        """

    def extra_bitops(self, table: LayerTable) -> Floats:
        """Return the BitOps that do not depend on any width, ``(n,)``."""


@dataclass(frozen=True, slots=True)
class Arena:
    """The static arena of the project's own runtime and its packed data; the granule is a word."""

    name: str = Memory.ARENA
    granule: int = WORD_BYTES
    weight_granule: float = float(WORD_BYTES)

    def size(self, elements: Sizes, share: Sizes) -> Floats:
        """Dense bit stream, padded to words."""
        words = np.asarray(elements * share)
        return np.asarray(np.ceil(words, out=words))

    def weights(self, count: Sizes, bits: Bits) -> Floats:
        """Dense bit stream, padded to words."""
        return self.size(count, share(self, bits))

    def channels(self, outputs: Sizes) -> Sizes:
        """Bias, multiplier and shift of each channel, padded to words, and the layer's record."""
        words = np.ceil(outputs * (CHANNEL_BYTES / WORD_BYTES))
        return np.asarray(words * WORD_BYTES + LAYER_RECORD_BYTES)

    def steps(self, table: LayerTable) -> tuple[Sizes, float]:
        """Constants of an addition per shortcut, a record per pool."""
        last = np.asarray(table.shortcut * float(ADDITION_BYTES))
        if table.pooled is not None:
            last += table.pooled * float(LAYER_RECORD_BYTES)
        return last, float(LAYER_RECORD_BYTES) if table.frame.class_count else 0.0

    def extra_bitops(self, table: LayerTable) -> Floats:
        """None."""
        return np.zeros(table.n)


@dataclass(frozen=True, slots=True)
class Paper:
    """The authors' public code; the granule is a byte, and fractions of it count."""

    name: str = Memory.PAPER
    granule: int = 1
    weight_granule: float = 1 / 8

    def size(self, elements: Sizes, share: Sizes) -> Floats:
        """Bytes, not rounded."""
        return np.asarray(elements * share)

    def weights(self, count: Sizes, bits: Bits) -> Floats:
        """Bits, not padded."""
        return np.asarray(count * bits)

    def channels(self, outputs: Sizes) -> Sizes:
        """Two bytes per channel."""
        return outputs * float(PAPER_CHANNEL_BYTES)

    def steps(self, table: LayerTable) -> tuple[Sizes, float]:
        """None."""
        return 0.0, 0.0

    def extra_bitops(self, table: LayerTable) -> Floats:
        """Batch-norm, ReLU and pooled shortcuts, each operation 8 x 8 bit."""
        elements = PAPER_OPS_PER_OUTPUT * (output_channels(table) * output_positions(table))[
            :-1
        ].sum(axis=0)
        if table.pooled is not None:
            elements += (table.area_in * table.c_in * table.pooled).sum(axis=0)
        return np.asarray(64.0 * elements)


MEMORY_MODELS: dict[str, MemoryModel] = {each.name: each for each in (Arena(), Paper())}
"""Memory models by the name that ``--memory-model`` takes."""
