"""Placement: offsets of buffers whose sizes and lives are known, for graphs that are no chains.

Best fit by size first; then branch and bound over the order in which buffers get the lowest place
that is free. Some order gives the smallest arena (sort an optimal placement by its offsets), so the
search is exact where it ends before ``MOST_TRIES``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

MOST_TRIES = 20_000
"""Placements that the branch and bound looks at before it keeps the best so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Buffer:
    """Bytes that live from one step to another."""

    size: int
    """Bytes."""
    first_step: int
    """First step at which it lives."""
    last_step: int
    """Last step at which it lives."""

    def meets(self, other: Buffer) -> bool:
        """Return whether both live at one step."""
        return self.first_step <= other.last_step and other.first_step <= self.last_step


Spans = list[tuple[int, int]]
"""First bytes and first bytes behind, sorted."""


def _taken(buffer: Buffer, placed: Sequence[tuple[Buffer, int]]) -> Spans:
    return sorted((start, start + one.size) for one, start in placed if buffer.meets(one))


def _gaps(spans: Spans) -> Spans:
    """Return what is free between spans that may overlap."""
    gaps, end = [], 0
    for start, stop in spans:
        if start > end:
            gaps.append((end, start))
        end = max(end, stop)
    return gaps


def _lowest(buffer: Buffer, spans: Spans) -> int:
    """Return the lowest place that is free."""
    fitting = (start for start, stop in _gaps(spans) if stop - start >= buffer.size)
    return next(fitting, max((stop for _, stop in spans), default=0))


def _best(buffer: Buffer, spans: Spans) -> int:
    """Return the place in the smallest gap that holds a buffer, else above all."""
    fitting = [(stop - start, start) for start, stop in _gaps(spans) if stop - start >= buffer.size]
    return min(fitting)[1] if fitting else max((stop for _, stop in spans), default=0)


def placed(buffers: Sequence[Buffer]) -> list[int]:
    """Return the offset of each buffer; those that live at one step do not overlap."""
    steps = range(max((one.last_step for one in buffers), default=0) + 1)
    live = ([b.size for b in buffers if b.first_step <= step <= b.last_step] for step in steps)
    bound = max(map(sum, live), default=0)

    def top(offsets: Sequence[int]) -> int:
        return max((at + one.size for one, at in zip(buffers, offsets, strict=True)), default=0)

    best = min((_in_order(buffers, choose) for choose in (_best, _lowest)), key=top)
    return best if top(best) == bound else _Search(buffers, bound, best, top(best)).best


def _in_order(buffers: Sequence[Buffer], choose: Callable[[Buffer, Spans], int]) -> list[int]:
    """Return offsets where buffers are placed one after the other, the largest first."""
    order = sorted(range(len(buffers)), key=lambda i: (-buffers[i].size, buffers[i].first_step))
    offsets: dict[int, int] = {}
    for i in order:
        near = [(buffers[j], at) for j, at in offsets.items()]
        offsets[i] = choose(buffers[i], _taken(buffers[i], near))
    return [offsets[i] for i in range(len(buffers))]


class _Search:
    """Branch and bound from an incumbent.

    Attributes:
        best: Offsets of the smallest arena so far.
    """

    def __init__(self, buffers: Sequence[Buffer], bound: int, best: list[int], least: int) -> None:
        self.buffers, self.bound = buffers, bound
        self.best, self.least, self.tries = best, least, 0
        self._branch({}, 0, 0)

    def _branch(self, offsets: dict[int, int], lowest: int, arena: int) -> None:
        """Extend a placement by buffers at ``lowest`` or above: orders are those of offsets."""
        if len(offsets) == len(self.buffers):
            self.best, self.least = [offsets[i] for i in range(len(offsets))], arena
            return
        near = [(self.buffers[i], at) for i, at in offsets.items()]
        ways = []
        for i, buffer in enumerate(self.buffers):
            if i not in offsets:
                start = _lowest(buffer, _taken(buffer, near))
                ways.append((start, -buffer.size, i))
                if start + buffer.size >= self.least:
                    return  # it lies there or above, whatever comes between
        for start, size, i in sorted(ways):
            if self.tries >= MOST_TRIES or self.least == self.bound:
                return
            if start >= lowest and max(arena, start - size) < self.least:
                self.tries += 1
                self._branch({**offsets, i: start}, start, max(arena, start - size))
