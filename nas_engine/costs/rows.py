"""Cut of one network into segments that run by layers or by rows, and the bytes of each.

A *unit* is the stem (0), a block's unit (1, 2, ... in order), the head with its pool, or the
classifier, which has the pool where there is no head. By layers each of its layers makes its whole
output before the next one runs. By rows a unit makes one row of its output at a time: it asks for
the rows of its input that are new, expands them into a ring of k rows, filters one row and projects
it. No row is computed twice. Whole tensors lie at both ends of a segment alone; a segment of
several units, a chain, asks from the last unit back to the first. The stem may begin a chain, from
a whole image or from rows of it.

Row by row runs what can be packed by rows: a row of each tensor that is not whole is a whole number
of bytes, and a sum is not wider than the shortcut that it is written over; else by layers.

Source: line buffers as in StreamNet (Zheng et al., NeurIPS 2023); optimal cuts as in msf-CNN (Huang
et al., NeurIPS 2025). Sizes and rules are those of this project's runtime.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Literal

from nas_engine.costs.memory import (
    CHANNELS_EXPANDED,
    WORD_BYTES,
    dense_scratch,
    depthwise_scratch,
)
from nas_engine.costs.row_roles import Roles, roles_of
from nas_engine.errors import InputError
from nas_engine.names import ImageInput as ImageInput
from nas_engine.names import Schedule as Schedule
from nas_engine.network.graph import Graph, Node, Tensor
from nas_engine.network.kernels import DEPTHWISE_KERNELS

NO_ROWS_OF_STEM = (
    "--input rows: the rows of the stem's output are no whole number of bytes; give --input whole"
)
"""Message where the image comes by rows and the stem cannot."""

COUNTER_BYTES = WORD_BYTES
"""Word of a stage that counts the rows it has taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Buffers of one unit that runs by rows, in bytes, beside whole tensors; each in words."""

    unit: int
    """Number of the unit."""
    ring_rows: int = 0
    """Rows of the ring: of the image, of the expanded or middle tensor, or of the input that the
    depth-wise layer of a unit without expansion reads."""
    ring: int = 0
    """The ring; row i lies in slot ``i % kernel``."""
    filtered: int = 0
    """One row between a depth-wise layer and the 1x1 layer behind it, or of the head's output; 0
    where the ring holds it."""
    in_pairs: bool = False
    """True if a depth-wise layer makes two rows at once, over the two oldest of a ring that has one
    row more than its kernel."""
    weights: int = 0
    """Weights of the depth-wise layer, unpacked."""
    counter: int = COUNTER_BYTES
    """Counter of the rows taken."""
    waiting_rows: int = 0
    """Input rows that come from the stage before and wait here."""
    waiting: int = 0
    """Those rows; 0 where the input is whole."""
    sums: int = 0
    """Sums of the head's pool, int32."""
    scratch: int = 0
    """Most scratch of its layers; stages of a chain share the largest."""

    @property
    def reads_image(self) -> bool:
        """True for a stem whose image comes row by row from the caller."""
        return self.unit == 0 and self.ring > 0

    @property
    def own(self) -> int:
        """Bytes that live as long as the segment runs: everything but the scratch."""
        parts = (self.ring, self.filtered, self.weights, self.counter, self.waiting, self.sums)
        return sum(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """Consecutive units that run together."""

    first_unit: int
    """Number of its first unit."""
    last_unit: int
    """Number of its last unit; that of the first by layers."""
    how: Literal["layers", "rows"]
    """How it runs."""
    stages: tuple[Stage, ...] = ()
    """Buffers of its units, first to last; none by layers."""
    bytes: int
    """Most bytes live while it runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """Nodes of one unit in the order of execution."""

    name: str
    """Name, such as ``s1.b1``."""
    nodes: tuple[Node, ...]
    """Its nodes."""


def units_of(graph: Graph[Tensor, Node]) -> tuple[Unit, ...]:
    """Return the units of a chain of blocks: stem, units of blocks, head and classifier.

    The pool is one of the head's, or, without a head, of the classifier's.
    """
    has_head = any(node.name == "head" for node in graph.nodes)

    def name(node: Node) -> str:
        if node.name == "pool":
            return "head" if has_head else "classifier"
        return node.name.rpartition(".")[0] or node.name

    return tuple(Unit(name=key, nodes=tuple(own)) for key, own in groupby(graph.nodes, name))


def cut(
    graph: Graph[Tensor, Node],
    by_layers: Mapping[str, int],
    schedule: Schedule = "auto",
    image: ImageInput = "whole",
    *,
    room: int | None = None,
    chains: bool = True,
) -> tuple[Segment, ...]:
    """Return the segments of a chain of blocks with the fewest units by rows, in order.

    By layers takes fewer instructions, so units run by rows only where the room asks for it. Of
    several such cuts it is the one with the shortest chains, of those with the least peak. Within
    the room, without one that peak, depth-wise layers make two rows at once.

    Args:
        graph: A network of stem, blocks, head and, mostly, a classifier.
        by_layers: Bytes that live at each node if all run by layers, by name.
        schedule: How units may run; ``rows`` takes layers only where rows cannot be packed.
        image: How the image comes; ``rows`` runs the stem by rows under any schedule.
        room: Bytes that the arena may take; where no cut fits them, or without them, the peak is
            the least.
        chains: Whether several units may run together; else the stem and the first alone do, as
            populations are priced (``costs.schedule``).

    Raises:
        InputError: The stem's output cannot be packed by rows, and the image comes by rows.
    """
    if schedule == "auto" and image == "whole" and max(by_layers.values()) <= (room or 0):
        units = enumerate(units_of(graph))
        return tuple(_by_layers(number, unit, by_layers) for number, unit in units)
    ending = segments_by_end(graph, by_layers, schedule, image, chains=chains)
    ends = ending.keys()
    least: list[float] = [0]
    for end in ends:
        least.append(
            min(
                (max(least[one.first_unit], one.bytes) for one in ending[end]),
                default=math.inf,
            )
        )
    if math.isinf(least[-1]):
        raise InputError(NO_ROWS_OF_STEM)
    most = max(least[-1], room or 0)
    # units by rows and segments add up, so the best way to an end goes on from best ways
    best: list[tuple[tuple[int, int, int], tuple[Segment, ...]] | None] = [((0, 0, 0), ())]
    for end in ends:
        reached = [
            (
                (before[0][0] + len(one.stages), before[0][1] - 1, max(before[0][2], one.bytes)),
                (*before[1], one),
            )
            for one in ending[end]
            if one.bytes <= most and (before := best[one.first_unit]) is not None
        ]
        best.append(min(reached, key=lambda way: way[0], default=None))
    found = best[-1]
    assert found is not None
    return tuple(
        max(
            (
                other
                for other in ending[one.last_unit + 1]
                if (other.first_unit, other.how) == (one.first_unit, one.how)
                and other.bytes <= most
            ),
            key=lambda one: sum(stage.in_pairs for stage in one.stages),
        )
        for one in found[1]
    )


def segments_by_end(
    graph: Graph[Tensor, Node],
    by_layers: Mapping[str, int],
    schedule: Schedule = "auto",
    image: ImageInput = "whole",
    *,
    chains: bool = True,
) -> dict[int, tuple[Segment, ...]]:
    """Return the segments that a cut may have, by the number of the unit behind; see ``cut``."""
    choices = _Choices(graph, by_layers, schedule, image, chains)
    return {end: tuple(choices.ending_at(end)) for end in range(1, len(choices.units) + 1)}


def _by_layers(number: int, unit: Unit, live: Mapping[str, int]) -> Segment:
    """Return a unit that runs by layers, from the bytes that live at each node."""
    most = max(live[node.name] for node in unit.nodes)
    return Segment(first_unit=number, last_unit=number, how="layers", bytes=most)


class _Choices:
    """Segments that may end at a unit, with their bytes."""

    def __init__(
        self,
        graph: Graph[Tensor, Node],
        by_layers: Mapping[str, int],
        schedule: Schedule,
        image: ImageInput,
        chains: bool,
    ) -> None:
        self.units = units_of(graph)
        self.tensors = {tensor.name: tensor for tensor in graph.tensors}
        self.by_layers, self.schedule, self.image = by_layers, schedule, image
        self.chains = chains
        self.last = graph.last_reads()
        self.at = {node.name: at for at, node in enumerate(graph.nodes)}
        stages = [self._stage(number) for number in range(len(self.units))]
        self.first = [stage and self._ways(stage, is_first=True) for stage in stages]
        self.behind = [stage and self._ways(stage, is_first=False) for stage in stages]
        ends = ("head", "classifier")
        self.end = next(i for i, unit in enumerate(self.units) if unit.name in ends)

    def ending_at(self, end: int) -> Iterator[Segment]:
        """Yield the segments whose last unit is the one before ``end``."""
        last = end - 1
        runs = [one for first in range(end) for one in self._by_rows(first, last)]
        alone = any(one.first_unit == last for one in runs)
        if not (self.schedule == "rows" and alone) and not (last == 0 and self.image == "rows"):
            yield _by_layers(last, self.units[last], self.by_layers)
        yield from runs

    def _by_rows(self, first: int, last: int) -> Iterator[Segment]:
        """Yield the segments of some units by rows; none where they cannot run so."""
        if first == last == 0 and self.image == "whole":
            return  # a stem by rows, alone and from a whole image, saves nothing
        if (self.schedule == "layers" and last > 0) or (last >= self.end > first):
            return
        if not self.chains and last - first > (first == 0):
            return
        units = [self.first[first], *self.behind[first + 1 : last + 1]]
        ways = [both for both in units if both is not None]
        if len(ways) < len(units):
            return
        whole = self._whole(first, last)
        for stages in dict.fromkeys(zip(*ways, strict=True)):
            scratch = max(stage.scratch for stage in stages)
            yield Segment(
                first_unit=first,
                last_unit=last,
                how="rows",
                stages=stages,
                bytes=whole + scratch + sum(stage.own for stage in stages),
            )

    def _ways(self, stage: Stage, is_first: bool) -> tuple[Stage, Stage] | None:
        """Return a stage of a segment with one row at once, and with two where they can be made.

        ``None`` for one that cannot lie behind the first of a segment.
        """
        if is_first:
            stage = replace(stage, waiting_rows=0, waiting=0)  # its input is whole
        elif self._needs_its_rows(stage.unit):
            return None
        return stage, self._in_pairs(stage, is_first)

    def _in_pairs(self, stage: Stage, is_first: bool) -> Stage:
        """Return a stage with two rows at once where its depth-wise layer can make them.

        They take the places of two rows of the ring, four channels after the other. A unit behind
        the first of a segment cannot that adds its source: two rows of that do not always lie one
        behind the other, and they would have to wait for one row more.
        """
        roles = roles_of(self.units[stage.unit].nodes)
        if roles is None or roles.project is None or (not is_first and roles.adds_source):
            return stage
        window = roles.window
        source, target = self.tensors[window.input], self.tensors[window.output]
        half, size = window.kernel_height // 2, (source.height, source.width)
        if not (
            window.kernel_height in DEPTHWISE_KERNELS
            and window.stride == 1
            and window.padding == (half,) * 4
            and (target.height, target.width) == size
            and source.bits == target.bits == 8
            and source.channels % CHANNELS_EXPANDED == 0
        ):
            return stage
        rows = window.kernel_height + 1
        others = (self._scratch(node) for node in self.units[stage.unit].nodes if node != window)
        planes = self._scratch(window) // window.kernel_height * rows
        return replace(
            stage,
            in_pairs=True,
            ring_rows=rows,
            ring=rows * _row(source),
            filtered=0,
            scratch=max(planes, *others),
        )

    def _needs_its_rows(self, number: int) -> bool:
        """Return whether a sum cannot be made where rows of its unit's source wait.

        The ring of a depth-wise layer without a layer in front holds them, and still needs them; a
        narrower sum has no other place of their width.
        """
        roles = roles_of(self.units[number].nodes)
        if roles is None or roles.take is not None or not roles.adds_source:
            return False
        return self.tensors[roles.last.output].bits != self._input(number).bits

    def _whole(self, first: int, last: int) -> int:
        """Return the bytes of the whole tensors at both ends of a segment by rows."""
        nodes = self.units[first].nodes
        source, target = self._input(first), self.tensors[self.units[last].nodes[-1].output]
        if first == 0:
            return (self.image == "whole") * _bytes(source) + _bytes(target)
        if first == last and nodes[-1].shortcut == nodes[0].input:
            return max(source.height * _row(source), _bytes(target))
        return _bytes(source) + _bytes(target)

    def _input(self, unit: int) -> Tensor:
        return self.tensors[self.units[unit].nodes[0].input]

    def _stage(self, number: int) -> Stage | None:
        """Return the buffers of a unit by rows that asks for its input rows, ``None`` for none."""
        unit, roles = self.units[number], roles_of(self.units[number].nodes)
        tensors = [self.tensors[node.output] for node in unit.nodes]
        source, target = self._input(number), tensors[-1]
        if roles is None or not _in_bytes(source) or not self._is_closed(unit, roles):
            return None
        if number == 0:
            return self._stem_stage(source, target, unit.nodes[0])
        if roles.pools:
            return self._head_stage(number, source, tensors[0])
        if len(unit.nodes) == 1 or not all(map(_in_bytes, tensors)):
            return None
        added = source if roles.adds_source else tensors[1] if roles.side else None
        if added is not None and not (
            target.bits <= source.bits if added is source else added.bits <= target.bits
        ):
            return None  # a sum is made where the source lies, a 1x1 shortcut where the sum goes
        scratch = max(map(self._scratch, unit.nodes))
        window = roles.window
        taken = self.tensors[window.input]
        rows = min(window.kernel_height, taken.height)
        if roles.take is not None and roles.takes_window:
            first = roles.take
            reach = first.stride * window.padding[0] - first.padding[0] + first.kernel_height
            waiting = min(max(reach, first.kernel_height), source.height)
            return Stage(
                unit=number,
                ring_rows=rows,
                ring=rows * _row(taken),
                waiting_rows=waiting,
                waiting=waiting * _row(source),
                scratch=scratch,
            )
        behind = window.kernel_height - window.padding[0]  # of the newest row, where it is added
        waiting = 0 if taken is source else behind if roles.adds_source else 1
        return Stage(
            unit=number,
            ring_rows=rows,
            ring=rows * _row(taken),
            filtered=_row(self.tensors[window.output]),
            weights=_words(window.taps * taken.channels, 8),
            waiting_rows=waiting,
            waiting=waiting * _row(source),
            scratch=scratch,
        )

    def _is_closed(self, unit: Unit, roles: Roles) -> bool:
        """Return whether nothing later reads what is not whole, or is written over."""
        inner = [node.output for node in unit.nodes[:-1]] + [roles.source] * roles.adds_source
        return all(self.last[name] <= self.at[roles.last.name] for name in inner)

    def _stem_stage(self, source: Tensor, target: Tensor, node: Node) -> Stage | None:
        if not _in_bytes(target):
            return None
        rows = min(node.kernel_height, source.height) if self.image == "rows" else 0
        return Stage(unit=0, ring_rows=rows, ring=rows * _row(source), scratch=self._scratch(node))

    def _head_stage(self, number: int, source: Tensor, features: Tensor) -> Stage:
        return Stage(
            unit=number,
            filtered=_row(features),
            counter=0,
            sums=WORD_BYTES * features.channels,
            scratch=self._scratch(self.units[number].nodes[0]),
        )

    def _scratch(self, node: Node) -> int:
        """Return the scratch of a layer by rows; a depth-wise one's weights are apart."""
        source = self.tensors[node.input]
        if node.kind == "depthwise":
            words = depthwise_scratch(node.kernel_height, source.width, 0)
        else:
            outputs = self.tensors[node.output].channels
            words = dense_scratch(node.taps * source.channels, outputs, windows=node.taps > 1)
        return int(words) * WORD_BYTES


def _words(elements: int, bits: int) -> int:
    """Return the bytes of packed elements, padded to words."""
    return -(-elements * bits // (8 * WORD_BYTES)) * WORD_BYTES


def _bytes(tensor: Tensor) -> int:
    return _words(tensor.elements, tensor.bits)


def _row(tensor: Tensor) -> int:
    return _words(tensor.width * tensor.channels, tensor.bits)


def _in_bytes(tensor: Tensor) -> bool:
    """Return whether every row of a tensor begins at a whole byte."""
    return tensor.width * tensor.channels * tensor.bits % 8 == 0
