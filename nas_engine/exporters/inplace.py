"""In which order a depth-wise kernel that writes over its own input has to walk the rows.

The kernel keeps the ``k`` input rows of a window in scratch: before it writes output row ``y`` it
has read every input row that ``y``, and the rows before it in its order, need. An output row may
therefore lie on input rows that have been read, and on rows that nobody needs, but on no other.
Rows of narrow elements end within a byte, so places are counted in bits.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from nas_engine.network.graph import Node
from nas_engine.quantization.record import QuantisedTensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A tensor at its place in the arena."""

    tensor: QuantisedTensor
    """The tensor."""
    offset: int
    """First byte."""

    @property
    def row_bits(self) -> int:
        """Bits of one row."""
        return self.tensor.width * self.tensor.channels * self.tensor.bits

    @property
    def end(self) -> int:
        """First byte behind the tensor, padded to words."""
        return self.offset + -(-self.row_bits * self.tensor.height // 32) * 4

    def overlaps(self, other: Placed) -> bool:
        """Return whether the two share a byte, padding included."""
        return self.offset < other.end and other.offset < self.end


def row_order(step: Node, source: Placed, target: Placed) -> str | None:
    """Return the order of output rows that overwrites no input row before it is read.

    The order is ``"forward"`` or ``"backward"``.

    Args:
        step: Window, stride and padding.
        source: Its input, where it lies.
        target: Its output, where it goes.

    Returns:
        ``"forward"`` where both orders work, ``None`` where neither does.
    """
    rows = range(target.tensor.height)
    if _is_safe(step, source, target, rows):
        return "forward"
    return "backward" if _is_safe(step, source, target, reversed(rows)) else None


def _is_safe(step: Node, source: Placed, target: Placed, order: Iterable[int]) -> bool:
    def window(row: int) -> range:
        top = row * step.stride - step.padding[0]
        return range(max(top, 0), min(top + step.kernel_height, source.tensor.height))

    unread = {row for y in range(target.tensor.height) for row in window(y)}
    for y in order:
        unread.difference_update(window(y))
        start = target.offset * 8 + y * target.row_bits
        stop = start + target.row_bits
        for row in unread:
            first = source.offset * 8 + row * source.row_bits
            if start < first + source.row_bits and first < stop:
                return False
    return True
