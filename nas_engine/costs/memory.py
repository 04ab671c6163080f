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
from typing import Any, Protocol

import numpy as np

WORD_BYTES = 4
"""Tensors and weights start on word boundaries and are padded to whole words: a Cortex-M word."""

IMAGE_BITS = 8
"""Width of the input image as it comes from the camera (uint8)."""

LOGIT_BITS = 8
"""Width of the classifier's outputs."""

PIXELS_EXPANDED = 2
"""Output pixels whose inputs are expanded to 16 bit at once (chosen here; the measured prototype
does the same)."""

CHANNELS_UNPACKED = 16
"""Output channels whose weights are unpacked to 8 bit at once (chosen here; the measured prototype
does the same)."""

CHANNELS_EXPANDED = 4
"""Channels of a depth-wise layer whose rows are expanded to 16 bit at once: one word of 8-bit
inputs (chosen here)."""


def dense_scratch(taps: Any, outputs: Any, *, windows: Any = False) -> Any:
    """Return the scratch of a convolution that is not depth-wise, or of a dense layer, in words.

    Two pixels at 16 bit, up to 16 channels of weights at 8 bit, and the windows of two pixels at
    8 bit.

    Args:
        taps: Inputs per output channel.
        outputs: Output channels.
        windows: Whether the layer gathers windows first, as k x k layers do.
    """
    channels = np.minimum(2 * np.ceil(outputs / 2), CHANNELS_UNPACKED)
    return np.ceil(taps / WORD_BYTES) * (channels + (2 + windows) * PIXELS_EXPANDED)


def depthwise_scratch(kernel: Any, width: Any, channels: Any) -> Any:
    """Return the scratch of the depth-wise step, in words.

    The weights at 8 bit and k rows of four channels at 16 bit, padded on both sides.

    Args:
        kernel: Height and width of the kernel.
        width: Input columns.
        channels: Channels.
    """
    row = 2 * np.ceil(width / 2) + (kernel - 1)  # kernels are odd
    return np.ceil(kernel * kernel * channels / WORD_BYTES) + kernel * row * (
        CHANNELS_EXPANDED * 2 / WORD_BYTES
    )


class MemoryModel(Protocol):
    """Granules of tensors."""

    @property
    def name(self) -> str:
        """Name on the command line, and in ``costs.schedule``."""

    @property
    def granule(self) -> int:
        """Bytes of the unit of account."""

    def share(self, bits: Any) -> Any:
        """Return the granules of one element at a width."""

    def size(self, elements: Any, share: Any) -> Any:
        """Return the granules of a tensor, from its elements and the granules of one."""


@dataclass(frozen=True, slots=True)
class Arena:
    """The static arena of the project's own runtime; the granule is a word."""

    name: str = "arena"
    granule: int = WORD_BYTES

    def share(self, bits: Any) -> Any:
        """32 bits make a word."""
        return bits * (1 / (8 * WORD_BYTES))

    def size(self, elements: Any, share: Any) -> Any:
        """Dense bit stream, padded to words."""
        words = np.asarray(elements * share)
        return np.ceil(words, out=words)


@dataclass(frozen=True, slots=True)
class Paper:
    """The authors' public code; the granule is a byte, and fractions of it count."""

    name: str = "paper"
    granule: int = 1

    def share(self, bits: Any) -> Any:
        """8 bits make a byte."""
        return bits * (1 / 8)

    def size(self, elements: Any, share: Any) -> Any:
        """Bytes, not rounded."""
        return np.asarray(elements * share)


MEMORY_MODELS: dict[str, MemoryModel] = {"arena": Arena(), "paper": Paper()}
"""Memory models by the name that ``--memory-model`` takes."""
