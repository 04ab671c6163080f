"""Memory plan: where every tensor of one graph lies in the static arena, and from when to when.

Chains of blocks have two ends: the residual stream (block inputs and outputs, what waits for a
shortcut, the pooled vector) grows from offset 0; image, bottleneck tensors, head output and logits
end at the top; scratch lies between. At no step do more than one tensor of each end and the scratch
live, except where a step works in place (depth-wise over its input, a sum over its shortcut, a
residual's 1x1 shortcut over its input), so that the arena is exactly the largest live set: the
``arena`` cost, to the byte.

Other graphs are placed by best fit, and then by branch and bound (``costs.placement``); the largest
live set is a bound that they may miss (``MemoryPlan.gap_bytes``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from nas_engine.architecture import Architecture
from nas_engine.costs.memory import Arena, dense_scratch, depthwise_scratch, share
from nas_engine.costs.placement import Buffer, placed
from nas_engine.costs.row_roles import RING, roles_of
from nas_engine.costs.row_weights import kept_unpacked
from nas_engine.costs.rows import Segment, Stage, cut, units_of
from nas_engine.names import ImageInput, Schedule
from nas_engine.network.from_architecture import graph_of
from nas_engine.network.graph import KINDS, Graph, Node, Tensor

SCHEMA = "nas-search/memory-plan/1"
"""Version of the JSON form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedTensor:
    """One tensor or scratch buffer in the arena."""

    name: str
    """Name of the step that makes it, and what it is."""
    offset: int
    """First byte, from the start of the arena; a multiple of 4."""
    size: int
    """Bytes, padded to words."""
    bits: int
    """Width of its elements (8 for scratch, counted in bytes)."""
    kind: str = "tensor"
    """``"stream"`` (bottom of the arena), ``"bottleneck"`` (top: image, bottleneck tensors, head
    output, logits), ``"rows"`` (some rows of a tensor), ``"weights"`` (unpacked, in what is
    free), ``"scratch"``, or ``"tensor"`` where there are no two ends."""
    first_step: int
    """First step at which it lives."""
    last_step: int
    """Last step at which it lives."""
    in_place_of: str | None = None
    """The tensor that it is written over, step by step, at its first step."""
    rows: int | None = None
    """Rows of a tensor that it holds at a time; ``None`` for all, and for scratch."""


def bytes_in_use(tensors: Iterable[PlannedTensor]) -> int:
    """Return the bytes that tensors cover together: what two of them share counts once."""
    used, end = 0, 0
    for tensor in sorted(tensors, key=lambda t: t.offset):
        stop = tensor.offset + tensor.size
        used += max(0, stop - max(end, tensor.offset))
        end = max(end, stop)
    return used


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPlan:
    """The arena of one network."""

    arena_bytes: int
    """Size of the arena."""
    steps: tuple[str, ...]
    """Steps of the schedule, in order."""
    tensors: tuple[PlannedTensor, ...]
    """Everything that lives in it."""
    segments: tuple[Segment, ...] = ()
    """How units run, if any by rows; each of those segments is one step."""

    @property
    def image_rows(self) -> bool:
        """True if the image comes row by row from the caller."""
        return any(stage.reads_image for one in self.segments for stage in one.stages)

    def live(self, step: int) -> tuple[PlannedTensor, ...]:
        """Return what lives at a step."""
        return tuple(
            tensor for tensor in self.tensors if tensor.first_step <= step <= tensor.last_step
        )

    @property
    def bound_bytes(self) -> int:
        """Bytes of the largest live set: no arena can be smaller."""
        return max(bytes_in_use(self.live(step)) for step in range(len(self.steps)))

    @property
    def gap_bytes(self) -> int:
        """Bytes between the arena and its bound: 0 for a chain of blocks."""
        return self.arena_bytes - self.bound_bytes

    def room(self, name: str) -> int:
        """Return the bytes from a tensor's first one to the next tensor that lives with it.

        Above the last one they reach to the end of the arena.
        """
        own = next(tensor for tensor in self.tensors if tensor.name == name)
        steps = range(own.first_step, own.last_step + 1)
        above = (t.offset for step in steps for t in self.live(step) if t.offset > own.offset)
        return min(above, default=self.arena_bytes) - own.offset

    def as_json(self) -> dict[str, Any]:
        """Return the object that ``memory_plan.json`` holds."""
        return {
            "format": SCHEMA,
            "arena_bytes": self.arena_bytes,
            "steps": [
                {"name": name, "used_bytes": bytes_in_use(self.live(i))}
                for i, name in enumerate(self.steps)
            ],
            "tensors": [
                {
                    name: value
                    for name in PlannedTensor.__slots__
                    if (value := getattr(tensor, name)) is not None or name != "rows"
                }
                for tensor in self.tensors
            ],
        }


def plan_memory(architecture: Architecture, segments: Sequence[Segment] = ()) -> MemoryPlan:
    """Return the plan of a network under the ``arena`` memory model.

    Its steps are the layers, and ``pool`` before the classifier; units by rows are one step.

    Args:
        architecture: The network, which says how it runs.
        segments: How its units run, if that is another cut than its own.
    """
    graph = graph_of(architecture)
    segments = segments or segments_of(
        graph, architecture.schedule, architecture.image, architecture.room
    )
    shortcuts = {node.shortcut for node in graph.nodes}
    pools = [node.name for node in graph.nodes if node.kind == "average_pool"]
    return _without(
        plan_graph(graph, segments),
        {name for name in pools if graph.node(name).output in shortcuts},
    )


def plan_graph(graph: Graph[Tensor, Node], segments: Sequence[Segment] = ()) -> MemoryPlan:
    """Return where every tensor and the scratch of every node lie, node by node.

    A chain of blocks is placed at two ends, another graph by ``packed``.

    Args:
        graph: The network.
        segments: How its units run, all of them, as ``costs.rows.cut`` returns them; all by layers
            if there are none.
    """
    draft = _Draft(graph, segments)
    at_ends = draft.at_two_ends()
    return at_ends if at_ends is not None else packed(draft.steps, draft.placed)


def live_bytes(plan: MemoryPlan) -> dict[str, int]:
    """Return the bytes that live at each step, by name."""
    return {name: bytes_in_use(plan.live(at)) for at, name in enumerate(plan.steps)}


def plan_schedule(
    graph: Graph[Tensor, Node],
    schedule: Schedule = "layers",
    image: ImageInput = "whole",
    room: int | None = None,
) -> MemoryPlan:
    """Return the plan with the fewest units by rows whose arena fits some room.

    Args:
        graph: The network, a chain of blocks where the schedule is another than ``layers``.
        schedule: How units may run.
        image: How the image comes.
        room: Bytes that the arena may take; without them it is the smallest.

    Raises:
        InputError: The image comes by rows, which the network cannot take.
    """
    return plan_graph(graph, segments_of(graph, schedule, image, room))


def segments_of(
    graph: Graph[Tensor, Node], schedule: Schedule, image: ImageInput, room: int | None
) -> tuple[Segment, ...]:
    """Return how the units of a chain of blocks run, none where all run by layers.

    Arguments and errors as ``plan_schedule``.
    """
    if schedule == "layers" and image == "whole":
        return ()
    return cut(graph, live_bytes(plan_graph(graph)), schedule, image, room=room)


def live_per_layer(architecture: Architecture) -> tuple[int, ...]:
    """Return the bytes live at each layer as the network runs, in the order of ``layer_names``.

    Those of a segment at all its layers; the pool's count at the classifier, or by rows at the
    head.
    """
    graph = graph_of(architecture)
    by_layers, units = live_bytes(plan_graph(graph)), units_of(graph)
    by_rows: dict[str, int] = {}
    way = architecture.schedule, architecture.image, architecture.room
    for segment in segments_of(graph, *way):
        for unit in units[segment.first_unit : segment.last_unit + 1] if segment.stages else ():
            by_rows |= {node.name: segment.bytes for node in unit.nodes}
    live = by_layers | by_rows
    if "pool" in live and "pool" not in by_rows:
        live["classifier"] = max(live["classifier"], live["pool"])
    return tuple(live[name] for name in architecture.layer_names())


def _without(plan: MemoryPlan, dropped: set[str]) -> MemoryPlan:
    """Return a plan in which some steps are a part of those around them."""
    kept = [at for at, name in enumerate(plan.steps) if name not in dropped]
    tensors = [
        replace(
            tensor,
            first_step=next(i for i, at in enumerate(kept) if at >= tensor.first_step),
            last_step=max(i for i, at in enumerate(kept) if at <= tensor.last_step),
        )
        for tensor in plan.tensors
    ]
    return MemoryPlan(
        arena_bytes=plan.arena_bytes,
        steps=tuple(plan.steps[at] for at in kept),
        tensors=tuple(sorted(tensors, key=lambda t: (t.first_step, t.offset))),
        segments=plan.segments,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Operation:
    """One step of a plan: a node by layers, or units that run together by rows."""

    name: str
    nodes: tuple[Node, ...]
    stages: tuple[Stage, ...] = ()


def _operations(graph: Graph[Tensor, Node], segments: Sequence[Segment]) -> tuple[_Operation, ...]:
    """Return the steps of a plan, in order."""
    if not segments:
        return tuple(_Operation(name=node.name, nodes=(node,)) for node in graph.nodes)
    units, found = units_of(graph), []
    for segment in segments:
        own = units[segment.first_unit : segment.last_unit + 1]
        nodes = tuple(node for unit in own for node in unit.nodes)
        if segment.how == "layers":
            found += [_Operation(name=node.name, nodes=(node,)) for node in nodes]
        else:
            name = "..".join(dict.fromkeys((own[0].name, own[-1].name)))
            found.append(_Operation(name=name, nodes=nodes, stages=segment.stages))
    return tuple(found)


class _Draft:
    """Sizes, lives and, for chains, ends of everything that lives in the arena.

    Attributes:
        steps: Names of the steps.
        placed: Tensors and scratch, without offsets.
        filtered: Tensors that depth-wise layers made over the stream.
    """

    def __init__(self, graph: Graph[Tensor, Node], segments: Sequence[Segment] = ()) -> None:
        self.graph, self.arena, self.segments = graph, Arena(), tuple(segments)
        self.operations = operations = _operations(graph, segments)
        self.steps = tuple(operation.name for operation in operations)
        self.tensors = {tensor.name: tensor for tensor in graph.tensors}
        self.last = {
            name: at
            for at, one in enumerate(operations)
            for node in one.nodes
            for name in node.reads
        } | dict.fromkeys(graph.outputs, len(operations) - 1)
        self.shortcuts = {node.shortcut for node in graph.nodes}
        self.placed: list[PlannedTensor] = []
        self.is_top: dict[str, bool] = {}
        self.filtered: set[str] = set()
        for name in graph.inputs:
            self.is_top[name] = True
            if not any(stage.reads_image for one in segments for stage in one.stages):
                self._put(name, 0)
        for number, operation in enumerate(operations):
            if operation.stages:
                self._rows_step(number, operation)
            else:
                self._step(number, operation.nodes[0])

    def _size(self, elements: int, bits: int) -> int:
        return int(self.arena.size(elements, share(self.arena, bits))) * self.arena.granule

    def _put(self, name: str, first: int, over: str | None = None) -> None:
        tensor = self.tensors[name]
        made = PlannedTensor(
            name=name,
            offset=0,
            size=self._size(tensor.elements, tensor.bits),
            bits=tensor.bits,
            first_step=first,
            last_step=self.last.get(name, first),
            in_place_of=over,
        )
        self.placed.append(made)

    def _step(self, number: int, node: Node) -> None:
        """Plan the output, at the other end than the input if not in place, and the scratch."""
        over = self._written_over(node, number) or self._crowded_out(node, number)
        self._output(number, node.input, node.output, over)
        if node.kind == "depthwise" and over is not None and self._is_stream(over):
            self.filtered.add(node.output)
        row = self._row(node) if over == node.input else 0
        self._work(number, f"{node.name} scratch", self._scratch(node) + row)

    def _is_stream(self, name: str) -> bool:
        """Return whether a tensor lies between units, at either end behind units by rows."""
        if self.segments:
            return any(unit.nodes[0].input == name for unit in units_of(self.graph))
        return not self.is_top[name]

    def _output(self, number: int, source: str, target: str, over: str | None) -> None:
        self.is_top[target] = not self.is_top[source] if over is None else self.is_top[over]
        self._put(target, number, over)

    def _work(
        self, number: int, name: str, size: int, bits: int = 8, rows: int | None = None
    ) -> None:
        """Plan bytes that live at one step alone."""
        if size:
            self.placed.append(
                PlannedTensor(
                    name=name,
                    offset=0,
                    size=size,
                    bits=bits,
                    kind="scratch" if rows is None else "rows",
                    first_step=number,
                    last_step=number,
                    rows=rows,
                )
            )

    def _rows_step(self, number: int, operation: _Operation) -> None:
        """Plan what units by rows hold: whole tensors at both ends, and their own buffers.

        The sum of one block is written over its input.
        """
        nodes, stages = operation.nodes, operation.stages
        source, target = nodes[0].input, nodes[-1].output
        self._work(number, f"{operation.name} scratch", max(stage.scratch for stage in stages))
        alone = len(stages) == 1 and nodes[-1].shortcut == source and self.last[source] == number
        self._output(number, source, target, source if alone else None)
        if alone:
            entering, leaving = self.tensors[source], self.tensors[target]
            size = max(self._size(each.elements, each.bits) for each in (entering, leaving))
            rows = entering.height * self._size(entering.width * entering.channels, entering.bits)
            self._work(number, f"{operation.name} slack", max(0, rows - size))
        units = units_of(self.graph)
        for stage in stages:
            unit, work = units[stage.unit], partial(self._work, number)
            roles = roles_of(unit.nodes)
            assert roles is not None, "segments are those of costs.rows.cut"
            whole = stage is stages[0] and not stage.reads_image
            work(f"{unit.name} weights", stage.weights)
            for name, size, rows in (
                (roles.ring(whole=whole), stage.ring, stage.ring_rows),
                (roles.filtered, stage.filtered, 1),
                (roles.source, stage.waiting, stage.waiting_rows),
            ):
                work(name, size, self.tensors[name.removesuffix(RING)].bits, rows)
            work(f"{unit.name} sums", stage.sums)
            work(f"{unit.name} counter", stage.counter)

    def _written_over(self, node: Node, number: int) -> str | None:
        """Return the tensor in whose place the output is made, if there is one."""
        if node.shortcut is not None:
            return node.shortcut if self.last[node.shortcut] == number else None
        if self.last[node.input] > number:
            return None
        pools_shortcut = node.kind == "average_pool" and node.output in self.shortcuts
        in_place = node.kind == "depthwise" or (
            pools_shortcut and node.stride >= max(node.kernel_height, node.kernel_width)
        )
        return node.input if in_place else None

    def _crowded_out(self, node: Node, number: int) -> str | None:
        """Return the input of a 1x1 layer that has to be made over it.

        That is the shortcut of a residual block, whose other branch already waits at the other end,
        and what follows a depth-wise layer that worked on the stream, so that the stream stays.
        """
        is_1x1 = node.kind == "conv" and node.taps == 1 and node.shortcut is None
        if not is_1x1 or self.last[node.input] > number:
            return None
        other = not self.is_top[node.input]
        waits = any(
            self.is_top.get(each.name) is other and each.last_step >= number for each in self.placed
        )
        return node.input if waits or node.input in self.filtered else None

    def _row(self, node: Node) -> int:
        """Return the bytes of what waits in scratch where a 1x1 layer is made over its input.

        A row of the output, or all of it where rows do not begin at whole bytes at every width.
        """
        if node.kind != "conv":
            return 0
        source, target = self.tensors[node.input], self.tensors[node.output]
        row, before = (t.width * t.channels for t in (target, source))
        in_bytes = not (row % 8 or before % 8)
        return self._size(row if in_bytes else row * target.height, target.bits)

    def _scratch(self, node: Node) -> int:
        source, granule = self.tensors[node.input], self.arena.granule
        if not KINDS[node.kind].has_weights:
            return 0
        if node.kind == "depthwise":
            rows, channels = node.kernel_height, source.channels
            ring = self._size(rows * source.width * channels, source.bits)
            return ring + int(depthwise_scratch(rows, source.width, channels)) * granule
        outputs = self.tensors[node.output].channels
        words = dense_scratch(node.taps * source.channels, outputs, windows=node.taps > 1)
        return int(words) * granule

    def at_two_ends(self) -> MemoryPlan | None:
        """Return the plan with a tensor at each end and scratch between, ``None`` on overlap."""
        by_step = [
            [t for t in self.placed if t.first_step <= step <= t.last_step]
            for step in range(len(self.steps))
        ]

        def largest(is_top: bool, step: int) -> int:
            own = [
                t.size
                for t in by_step[step]
                if t.kind == "tensor" and self.is_top[t.name] is is_top
            ]
            return max(own, default=0)

        work = [sum(t.size for t in live if t.kind != "tensor") for live in by_step]
        arena = max(
            largest(False, step) + largest(True, step) + work[step]
            for step in range(len(self.steps))
        )
        tensors = []
        for t in self.placed:
            if t.kind == "tensor" and self.is_top[t.name]:
                tensors.append(replace(t, kind="bottleneck", offset=arena - t.size))
            elif t.kind == "tensor":
                tensors.append(replace(t, kind="stream", offset=0))
        for step, live in enumerate(by_step):
            own = [t for t in live if t.kind != "tensor"]
            low, high = largest(False, step), arena - largest(True, step)
            own += self._kept_weights(step, high - low - work[step])
            for t in own[:1]:  # scratch, and above it what is free
                tensors.append(replace(t, offset=low))
            for t in reversed(own[1:]):
                high -= t.size
                tensors.append(replace(t, offset=high))
        made = MemoryPlan(
            arena_bytes=arena,
            steps=self.steps,
            tensors=tuple(sorted(tensors, key=lambda t: (t.first_step, t.offset))),
            segments=self.segments,
        )
        return None if any(map(_collides, map(made.live, range(len(self.steps))))) else made

    def _kept_weights(self, step: int, room: int) -> list[PlannedTensor]:
        """Return weights of units by rows that stay unpacked in what is free at their step."""
        operation = self.operations[step]
        kept = kept_unpacked(self.graph, operation.nodes, room) if operation.stages else ()
        return [
            PlannedTensor(
                name=f"{node.name} weights",
                offset=0,
                size=size,
                bits=8,
                kind="weights",
                first_step=step,
                last_step=step,
            )
            for node, size in kept
        ]


def _collides(live: Iterable[PlannedTensor]) -> bool:
    """Return whether two tensors share bytes, and neither is written over the other."""
    order = sorted(live, key=lambda tensor: tensor.offset)
    return any(
        above.offset < below.offset + below.size
        and above.in_place_of != below.name
        and below.in_place_of != above.name
        for i, below in enumerate(order)
        for above in order[i + 1 :]
    )


def packed(steps: tuple[str, ...], tensors: Iterable[PlannedTensor]) -> MemoryPlan:
    """Return the plan of tensors whose sizes and lives are known, for graphs that are no chains.

    Tensors written over one another share their first byte; see ``costs.placement``.
    """
    members: dict[str, list[PlannedTensor]] = {}
    root: dict[str, str] = {}
    for tensor in tensors:
        root[tensor.name] = root.get(tensor.in_place_of or "", tensor.name)
        members.setdefault(root[tensor.name], []).append(tensor)
    buffers = [
        Buffer(
            size=max(member.size for member in group),
            first_step=min(member.first_step for member in group),
            last_step=max(member.last_step for member in group),
        )
        for group in members.values()
    ]
    offsets = placed(buffers)
    tensors = [
        replace(member, offset=offset)
        for group, offset in zip(members.values(), offsets, strict=True)
        for member in group
    ]
    return MemoryPlan(
        arena_bytes=max(
            offset + buffer.size for buffer, offset in zip(buffers, offsets, strict=True)
        ),
        steps=steps,
        tensors=tuple(sorted(tensors, key=lambda t: (t.first_step, t.offset))),
    )
