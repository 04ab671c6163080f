"""Memory plan: where every tensor of one network lies in the static arena, and from when to when.

Two ends: the residual stream (block inputs and outputs, what waits for a shortcut, the pooled
vector) grows from offset 0; image, bottleneck tensors, head output and logits end at the top;
scratch lies between. At no step do more than one tensor of each end and the scratch live, except
where a step works in place (depth-wise over its input, a sum over its shortcut), so that the arena
is exactly the largest live set: the ``arena`` cost, to the byte.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nas_engine.architecture import Architecture
from nas_engine.block_kinds import INVERTED_RESIDUAL
from nas_engine.costs.memory import (
    IMAGE_BITS,
    LOGIT_BITS,
    Arena,
    dense_scratch,
    depthwise_scratch,
)
from nas_engine.costs.schedule import bit_costs
from nas_engine.encoding import GeneView, architecture_frame, encode
from nas_engine.layers import unroll
from nas_engine.network.from_architecture import graph_of
from nas_engine.network.graph import KINDS, Graph, NetworkError, Node

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
    output, logits) or ``"scratch"``."""
    first_step: int
    """First step at which it lives."""
    last_step: int
    """Last step at which it lives."""
    in_place_of: str | None = None
    """The tensor that it is written over, step by step, at its first step."""


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
    """Steps of the schedule, in order: the layers, ``pool`` before the classifier."""
    tensors: tuple[PlannedTensor, ...]
    """Everything that lives in it."""

    def live(self, step: int) -> tuple[PlannedTensor, ...]:
        """Return what lives at a step."""
        return tuple(
            tensor for tensor in self.tensors if tensor.first_step <= step <= tensor.last_step
        )

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
                {name: getattr(tensor, name) for name in PlannedTensor.__slots__}
                for tensor in self.tensors
            ],
        }


def place(
    steps: tuple[str, ...],
    bottom: list[PlannedTensor],
    top: list[PlannedTensor],
    scratch: list[PlannedTensor],
) -> MemoryPlan:
    """Return the plan of tensors whose sizes and lives are known.

    ``bottom`` at offset 0, ``top`` up to the end, scratch in between.
    """

    def largest(end: list[PlannedTensor], step: int) -> int:
        return max((t.size for t in end if t.first_step <= step <= t.last_step), default=0)

    arena = max(
        sum(largest(end, step) for end in (bottom, scratch, top)) for step in range(len(steps))
    )
    placed = [
        *(replace(t, kind="stream") for t in bottom),
        *(replace(t, kind="bottleneck", offset=arena - t.size) for t in top),
        *(replace(t, kind="scratch", offset=largest(bottom, t.first_step)) for t in scratch),
    ]
    return MemoryPlan(
        arena_bytes=arena,
        steps=steps,
        tensors=tuple(sorted(placed, key=lambda t: (t.first_step, t.offset))),
    )


def plan_memory(architecture: Architecture) -> MemoryPlan:
    """Return the plan of a network for the layer-by-layer schedule.

    The schedule is that of the ``arena`` memory model.
    """
    if any(block.kind != INVERTED_RESIDUAL for block in architecture.blocks):
        return plan_graph(graph_of(architecture))
    draft = _Draft(architecture)
    draft.stem()
    for row in range(draft.frame.max_residuals):
        draft.residual(row)
    draft.end()
    return draft.plan()


def plan_graph(graph: Graph[Any, Any]) -> MemoryPlan:
    """Return where every tensor and the scratch of every node lie in the arena.

    Raises:
        NetworkError: Two tensors would need the same place: nodes that do not form a chain with
            shortcuts.
    """
    drafts = _GraphDraft(graph)
    for number in range(len(graph.nodes)):
        drafts.step(number)
    plan = place(
        tuple(step.name for step in graph.nodes), drafts.bottom, drafts.top, drafts.scratch
    )
    _check(plan)
    return plan


class _GraphDraft:
    """The steps walked one by one.

    Each writes to the other end of the arena than it reads from, unless it works in place.
    """

    def __init__(self, graph: Graph[Any, Any]) -> None:
        self.graph, self.arena = graph, Arena()
        self.bottom: list[PlannedTensor] = []
        self.top: list[PlannedTensor] = []
        self.scratch: list[PlannedTensor] = []
        (image,), (end,) = graph.inputs, graph.outputs
        self.last_use = {image: 0, end: len(graph.nodes) - 1}
        self.shortcuts: set[str] = set()
        for number, step in enumerate(graph.nodes):
            self.last_use |= dict.fromkeys(step.reads, number)
            if step.shortcut is not None:
                self.shortcuts.add(step.shortcut)
        self.end = {image: self.top}
        self._put(image, 0)

    def _size(self, elements: int, bits: int) -> int:
        return int(self.arena.size(elements, self.arena.share(bits))) * self.arena.granule

    def _put(self, name: str, first: int, over: str | None = None) -> None:
        tensor = self.graph.tensor(name)
        height, width, channels = tensor.shape
        size, last = (
            self._size(height * width * channels, tensor.bits),
            self.last_use.get(name, first),
        )
        planned = PlannedTensor(
            name=name,
            offset=0,
            size=size,
            bits=tensor.bits,
            first_step=first,
            last_step=last,
            in_place_of=over,
        )
        self.end[name].append(planned)

    def step(self, number: int) -> None:
        """Plan the output and the scratch of a step."""
        step = self.graph.nodes[number]
        over = self._written_over(step, number)
        over = over if over is not None else self._crowded_out(step, number)
        here = self.end[over if over is not None else step.input]
        self.end[step.output] = (
            here if over is not None else self.bottom if here is self.top else self.top
        )
        self._put(step.output, number, over)
        if size := self._scratch(step) + (self._row(step) if over == step.input else 0):
            self.scratch.append(
                PlannedTensor(
                    name=f"{step.name} scratch",
                    offset=0,
                    size=size,
                    bits=8,
                    first_step=number,
                    last_step=number,
                )
            )

    def _written_over(self, step: Node, number: int) -> str | None:
        """Return the tensor in whose place the output is made, if there is one."""
        if step.shortcut is not None:
            return step.shortcut
        if self.last_use[step.input] > number:
            return None
        if KINDS[step.kind].has_weights:
            return step.input if step.kind == "depthwise" else None
        return (
            step.input
            if step.output in self.shortcuts and step.stride >= step.kernel_height
            else None
        )

    def _crowded_out(self, step: Node, number: int) -> str | None:
        """Return the input of a 1x1 layer that has to be made over it.

        That is the shortcut of a residual block, whose other branch already waits at the other end.
        """
        is_1x1 = step.kind == "conv" and step.kernel_height == step.kernel_width == 1
        if not is_1x1 or self.last_use[step.input] > number:
            return None
        other = self.bottom if self.end[step.input] is self.top else self.top
        return step.input if any(tensor.last_step >= number for tensor in other) else None

    def _row(self, step: Node) -> int:
        """Return the bytes of what waits in scratch where a 1x1 layer is made over its input.

        A row of the output, or all of it where rows do not begin at whole bytes at every width.
        """
        if step.kind != "conv":
            return 0
        source, target = self.graph.tensor(step.input), self.graph.tensor(step.output)
        row, before = (t.width * t.channels for t in (target, source))
        in_bytes = not (row % 8 or before % 8)
        return self._size(row if in_bytes else row * target.height, target.bits)

    def _scratch(self, step: Node) -> int:
        if not KINDS[step.kind].has_weights:
            return 0
        source, arena = self.graph.tensor(step.input), self.arena
        if step.kind == "depthwise":
            ring = self._size(step.kernel_height * source.width * source.channels, source.bits)
            return (
                ring
                + int(depthwise_scratch(step.kernel_height, source.width, source.channels))
                * arena.granule
            )
        taps, outputs = step.taps * source.channels, self.graph.tensor(step.output).channels
        return int(dense_scratch(taps, outputs, windows=step.taps > 1)) * arena.granule


def _check(plan: MemoryPlan) -> None:
    """Refuse a plan in which two tensors share bytes at a step.

    Allowed only if one of them is written over the other.
    """
    for step in range(len(plan.steps)):
        live = sorted(plan.live(step), key=lambda tensor: tensor.offset)
        for i, below in enumerate(live):
            for above in live[i + 1 :]:
                if (
                    above.offset < below.offset + below.size
                    and above.in_place_of != below.name
                    and below.in_place_of != above.name
                ):
                    problem = f"and {above.name!r} would share bytes at step {plan.steps[step]!r}"
                    raise NetworkError(
                        below.name, f"{problem}; expected a chain of inverted residuals"
                    )


class _Draft:
    """The schedule walked step by step, collecting what lives at either end."""

    def __init__(self, architecture: Architecture) -> None:
        self.frame, self.model, self.net = architecture_frame(architecture), Arena(), architecture
        genes = encode(self.frame, [architecture])
        self.table = unroll(self.frame, genes)
        self.costs = {
            name: np.asarray(cost) for name, cost in bit_costs(self.model, self.table).items()
        }
        self.a_bits: list[int] = GeneView(self.frame, genes).a_bits[:, 0].tolist()
        layers = architecture.layer_names()
        self.steps = (*layers[:-1], "pool", layers[-1]) if architecture.classifier else layers
        self.bottom: list[PlannedTensor] = []
        self.top: list[PlannedTensor] = []
        self.scratch: list[PlannedTensor] = []

    def size(self, elements: Any, bits: int) -> int:
        return int(self.model.size(elements, self.model.share(bits))) * self.model.granule

    def put(
        self,
        end: list[PlannedTensor],
        name: str,
        size: int,
        bits: int,
        steps: tuple[int, int],
        over: str | None = None,
    ) -> None:
        if size:
            end.append(
                PlannedTensor(
                    name=name,
                    offset=0,
                    size=size,
                    bits=bits,
                    first_step=steps[0],
                    last_step=steps[1],
                    in_place_of=over,
                )
            )

    def work(self, step: int, granules: Any) -> None:
        self.put(
            self.scratch,
            f"{self.steps[step]} scratch",
            int(granules) * self.model.granule,
            8,
            (step, step),
        )

    def stream(self, row: int, name: str, first: int, over: str | None) -> None:
        """Put a tensor of the residual stream.

        The input of inverted residual ``row``, or of the head.
        """
        step = 1 + 3 * row
        last = step
        elements = self.costs["output"][row - 1, 0] if row else self.costs["stem output"][0]
        if row < self.frame.max_residuals and self.table.shortcut[row, 0] and not self._pooled(row):
            last = step + 2
        self.put(
            self.bottom,
            name,
            self.size(elements, self.a_bits[step]),
            self.a_bits[step],
            (first, last),
            over,
        )

    def _pooled(self, row: int) -> bool:
        return self.table.pooled is not None and bool(self.table.pooled[row, 0])

    def stem(self) -> None:
        pixels = self.frame.input_channels * self.frame.resolution**2
        self.put(
            self.top,
            "image",
            self.size(float(pixels), IMAGE_BITS),
            IMAGE_BITS,
            (0, 0),
        )
        taps, windows = (
            float(self.frame.stem_kernel**2 * self.frame.input_channels),
            self.frame.stem_kernel > 1,
        )
        self.work(0, dense_scratch(taps, self.net.stem.channels, windows=windows))
        self.stream(0, "stem output", 0, None)

    def residual(self, row: int) -> None:
        step, costs = (
            1 + 3 * row,
            {name: cost[row, 0] for name, cost in self.costs.items() if cost.ndim == 2},
        )
        _, b, c = self.a_bits[step : step + 3]
        name = self.steps[step].rsplit(".", 1)[0]
        source = self.bottom[-1].name
        if self._pooled(row):
            self.put(
                self.bottom,
                f"{name} pooled shortcut",
                self.size(costs["held"], self.a_bits[step]),
                self.a_bits[step],
                (step + 1, step + 2),
                source,
            )
            source = self.bottom[-1].name
        self.put(self.top, f"{name} expanded", self.size(costs["expanded"], b), b, (step, step + 1))
        self.put(
            self.top,
            f"{name} filtered",
            self.size(costs["filtered"], c),
            c,
            (step + 1, step + 2),
            f"{name} expanded",
        )
        ring = self.model.size(costs["ring"], self.model.share(b))
        for offset, granules in enumerate(
            (
                costs["expand scratch"],
                ring + costs["depthwise scratch"],
                costs["project scratch"],
            )
        ):
            self.work(step + offset, granules)
        self.stream(
            row + 1, f"{name} output", step + 2, source if self.table.shortcut[row, 0] else None
        )

    def end(self) -> None:
        head = 1 + 3 * self.frame.max_residuals
        classifier = self.net.classifier
        area, channels = float(self.table.head_area[0]), float(self.net.head.channels)
        out_bits = classifier.bits.a if classifier else 8
        last = head + 1 if classifier else head
        self.put(
            self.top,
            "head output",
            self.size(area * channels, out_bits),
            out_bits,
            (head, last),
        )
        self.work(head, dense_scratch(float(self.net.blocks[-1].channels), channels))
        if classifier:
            self.put(
                self.bottom,
                "pooled vector",
                self.size(channels, out_bits),
                out_bits,
                (head + 1, head + 2),
            )
            logits = self.size(float(classifier.classes), LOGIT_BITS)
            self.put(self.top, "logits", logits, LOGIT_BITS, (head + 2, head + 2))
            self.work(head + 2, dense_scratch(channels, classifier.classes))

    def plan(self) -> MemoryPlan:
        return place(self.steps, self.bottom, self.top, self.scratch)
