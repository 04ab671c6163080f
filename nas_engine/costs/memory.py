"""Memory models: what is counted as live at each layer.

Two rows in a visible table at the end of the file.

A model turns a layer table into ``MemoryUnits``: what one bit of width costs each tensor. The cost
(``costs.sram``) and the refinement of bits (``nas_engine.evolution``) both ask these units, so that
what refinement allows is what the cost then finds. At every inverted residual

    expand      holds its input and its output,
    depth-wise  holds its working set and what waits for the shortcut,
    project     holds its input, and its output merged with the shortcut.

**arena** (ours): the static arena of our layer-by-layer schedule, to the byte.
    - Tensors are dense bit streams, rounded up to 4-byte words. The input image counts, at 8 bits.
    - Depth-wise runs in place, row by row: max(input, output) plus a ring of k packed input rows.
    - A shortcut waits from the block's input to its project step; the sum is written over it (max
      of both); pooled shortcuts are pooled in place.
    - Scratch: stem, 1x1 and dense layers expand two output pixels to 16 bit (2 * 2 B per filter
      tap) and unpack up to 16 output channels' weights to 8 bit (1 B per tap and channel); the stem
      gathers its window first (2 * 1 B per tap). Taps count in fours, channels in pairs. Depth-wise
      unpacks its weights (1 B each) and expands four channels of k rows to 16 bit. It is the same
      for every width, so that weight bits never cost SRAM.
    - Two-ended placement (residual stream from the bottom, bottleneck from the top) reaches the
      largest live set exactly: ``costs.plan``.
**paper** (Sun et al. 2022, their public code): input * bits/8 + output * next input bits/8 per
convolution.
    - Depth-wise in place: input plus *one* output plane. The shortcut counts beside the depth-wise
      only.
    - No scratch, no rounding; the output of the last convolution at 8 bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from nas_engine.layers import Floats, LayerTable

WORD_BYTES = 4
"""Tensors and weights start on word boundaries and are padded to whole words: a Cortex-M word."""

IMAGE_BITS = 8
"""Width of the input image as it comes from the camera (uint8)."""

PIXELS_EXPANDED = 2
"""Output pixels whose inputs are expanded to 16 bit at once (our runtime's choice; the measured
prototype does the same)."""

CHANNELS_UNPACKED = 16
"""Output channels whose weights are unpacked to 8 bit at once (our runtime's choice; the measured
prototype does the same)."""

CHANNELS_EXPANDED = 4
"""Channels of a depth-wise layer whose rows are expanded to 16 bit at once: one word of 8-bit
inputs (our runtime's choice)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MemoryUnits:
    """Cost of one bit of width for each tensor of ``n`` networks, in the model's granule.

    Granules are words (arena) or bytes (paper).
    """

    stream: Floats
    """Input of each inverted residual and, in the row after a network's last one, of the head,
    ``(residuals + 1, n)``."""
    expanded: Floats
    """Between expand and depth-wise, ``(residuals, n)``."""
    filtered: Floats
    """Between depth-wise and project, ``(residuals, n)``."""
    held: Floats
    """Shortcut held during the depth-wise step, pooled if it is, zero where there is none,
    ``(residuals, n)``."""
    depthwise_extra: Floats
    """Per input bit (arena: ring of input rows) or per output bit (paper: one plane) at the
    depth-wise step, ``(residuals, n)``."""
    expand_scratch: Floats
    """Granules of scratch at the expand step, ``(residuals, n)``."""
    depthwise_scratch: Floats
    """Granules of scratch at the depth-wise step, ``(residuals, n)``."""
    project_scratch: Floats
    """Granules of scratch at the project step, ``(residuals, n)``."""

    def residual(self, row: int) -> MemoryUnits:
        """Return the units of one inverted residual, arrays of shape ``(n,)``.

        Its stream has shape ``(2, n)``: input and output.
        """
        others = {
            name: getattr(self, name)[row] for name in MemoryUnits.__slots__ if name != "stream"
        }
        return MemoryUnits(stream=self.stream[row : row + 2], **others)


class MemoryModel(Protocol):
    """Granules that are live at each step. Unit, size and bits arguments broadcast."""

    @property
    def name(self) -> str:
        """Name on the command line."""

    @property
    def granule(self) -> int:
        """Bytes of the unit of account."""

    def units(self, table: LayerTable) -> MemoryUnits:
        """Return what one bit of width costs each tensor."""

    def elements(self, count: Any) -> Any:
        """Return the unit of a tensor of ``count`` elements: granules per bit."""

    def size(self, unit: Any, bits: Any) -> Any:
        """Return the granules of a tensor stored at ``bits``."""

    def dense_scratch(self, taps: Any, outputs: Any, *, windows: bool = False) -> Any:
        """Return the scratch of a 1x1 or dense layer, or of a stem, in granules.

        With ``windows`` the layer is a stem; ``taps`` is the number of inputs per output channel.
        """

    def depthwise_input(self, units: MemoryUnits, b_bits: Any) -> Any:
        """Return the granules of the depth-wise step with only its input, at ``b_bits``.

        Shortcut and scratch come on top.
        """

    def depthwise_beside(self, units: MemoryUnits, b_bits: Any) -> Any:
        """Return what the depth-wise step holds beside its output."""

    def depthwise_output(self, units: MemoryUnits, c_bits: Any) -> Any:
        """Return what the output of the depth-wise step adds, at ``c_bits``.

        Its working set is max(input, beside + output).
        """

    def merge(self, held: Any, output: Any) -> Any:
        """Return output and shortcut at the project step, from their sizes.

        The larger of the parts that count.
        """


def _stream(table: LayerTable) -> Floats:
    """Elements of the residual stream, ``(residuals + 1, n)``.

    Input of each inverted residual, then of the head.
    """
    stream = np.empty((table.frame.max_residuals + 1, table.n))
    np.multiply(table.area_in, table.c_in, out=stream[:-1])
    stream[-1] = 0.0
    stream[table.last_row, np.arange(table.n)] = (
        table.frame.resolutions()[-1][1] ** 2 * table.stage_channels[-1]
    )
    return stream


def _held(table: LayerTable, stream: Floats, unit: float) -> Floats:
    """Data held for a shortcut, ``(residuals, n)``.

    The input as in ``stream``, or the output of its pool, ``unit`` per element.
    """
    held = stream[:-1] * table.shortcut
    if table.pooled is not None:
        np.copyto(held, table.area_out * table.c_in * unit, where=table.pooled)
    return held


@dataclass(frozen=True, slots=True)
class Arena:
    """The static arena of our own runtime, see the module's description. The granule is a word."""

    name: str = "arena"
    granule: int = WORD_BYTES

    def units(self, table: LayerTable) -> MemoryUnits:
        """Words per bit; the depth-wise extra is the ring of input rows."""
        mid, stream = table.c_mid / 32.0, _stream(table) / 32.0
        return MemoryUnits(
            stream=stream,
            expanded=table.area_in * mid,
            filtered=table.area_out * mid,
            held=_held(table, stream, self.elements(1.0)),
            depthwise_extra=table.kernel * np.sqrt(table.area_in) * mid,
            expand_scratch=self.dense_scratch(table.c_in, table.c_mid),
            depthwise_scratch=self.depthwise_scratch(
                table.kernel, np.sqrt(table.area_in), table.c_mid
            ),
            project_scratch=self.dense_scratch(table.c_mid, table.c_out),
        )

    def elements(self, count: Any) -> Any:
        """32 bits make a word."""
        return count / 32.0

    def size(self, unit: Any, bits: Any) -> Any:
        """Dense bit stream, padded to words."""
        words = np.asarray(unit * bits)
        return np.ceil(words, out=words)

    def dense_scratch(self, taps: Any, outputs: Any, *, windows: bool = False) -> Any:
        """Scratch of two pixels at 16 bit, weights, and windows.

        Two pixels at 16 bit, up to 16 channels of weights at 8 bit, and the windows of two pixels
        at 8 bit.
        """
        channels = np.minimum(outputs + outputs % 2, CHANNELS_UNPACKED)
        return np.ceil(taps / WORD_BYTES) * (channels + (3 if windows else 2) * PIXELS_EXPANDED)

    def depthwise_scratch(self, kernel: Any, width: Any, channels: Any) -> Any:
        """Return the scratch of the depth-wise step, in words.

        The weights at 8 bit and k rows of four channels at 16 bit, padded on both sides.

        Args:
            kernel: Height and width of the kernel.
            width: Input columns.
            channels: Channels.
        """
        row = width + width % 2 + kernel // 2 * 2
        return np.ceil(kernel * kernel * channels / WORD_BYTES) + kernel * row * (
            CHANNELS_EXPANDED * 2 / WORD_BYTES
        )

    def depthwise_input(self, units: MemoryUnits, b_bits: Any) -> Any:
        """Input and ring of k packed input rows."""
        return self.size(units.expanded, b_bits) + self.size(units.depthwise_extra, b_bits)

    def depthwise_beside(self, units: MemoryUnits, b_bits: Any) -> Any:
        """The ring: the output is written over the input."""
        return self.size(units.depthwise_extra, b_bits)

    def depthwise_output(self, units: MemoryUnits, c_bits: Any) -> Any:
        """The whole output."""
        return self.size(units.filtered, c_bits)

    def merge(self, held: Any, output: Any) -> Any:
        """The sum is written over the shortcut, forwards or backwards as the widths demand."""
        return np.maximum(held, output)


@dataclass(frozen=True, slots=True)
class Paper:
    """The authors' public code, see the module's description.

    The granule is a byte, and fractions of it count.
    """

    name: str = "paper"
    granule: int = 1

    def units(self, table: LayerTable) -> MemoryUnits:
        """Bytes per bit; the depth-wise extra is one output plane."""
        mid, stream, none = table.c_mid / 8.0, _stream(table) / 8.0, np.zeros_like(table.c_mid)
        return MemoryUnits(
            stream=stream,
            expanded=table.area_in * mid,
            filtered=table.area_out * mid,
            held=_held(table, stream, self.elements(1.0)),
            depthwise_extra=table.area_out / 8.0,
            expand_scratch=none,
            depthwise_scratch=none,
            project_scratch=none,
        )

    def elements(self, count: Any) -> Any:
        """8 bits make a byte."""
        return count / 8.0

    def size(self, unit: Any, bits: Any) -> Any:
        """Bits divided by 8, not rounded."""
        return np.asarray(unit * bits)

    def dense_scratch(self, taps: Any, outputs: Any, *, windows: bool = False) -> Any:
        """None."""
        return taps * 0.0

    def depthwise_input(self, units: MemoryUnits, b_bits: Any) -> Any:
        """The input."""
        return np.asarray(units.expanded * b_bits)

    def depthwise_beside(self, units: MemoryUnits, b_bits: Any) -> Any:
        """The input: only one output plane at a time is apart from it."""
        return np.asarray(units.expanded * b_bits)

    def depthwise_output(self, units: MemoryUnits, c_bits: Any) -> Any:
        """One plane."""
        return np.asarray(units.depthwise_extra * c_bits)

    def merge(self, held: Any, output: Any) -> Any:
        """The output alone."""
        return output


MEMORY_MODELS: dict[str, MemoryModel] = {"arena": Arena(), "paper": Paper()}
"""Memory models by the name that ``--memory-model`` takes."""
