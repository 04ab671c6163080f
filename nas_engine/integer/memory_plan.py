"""Memory plan of an integer model: the arena that the exported C uses.

Sizes and placement are those that the search counted with.

``nas_engine.costs.plan`` plans an architecture, before there are any weights. This is the same for
the steps that are executed; where an integer model comes from an architecture, the two agree to the
byte.
"""

from __future__ import annotations

from nas_engine.costs.memory import Arena, dense_scratch, depthwise_scratch
from nas_engine.costs.plan import MemoryPlan, PlannedTensor, place
from nas_engine.integer.model import IntegerConvolution, IntegerModel
from nas_engine.network.graph import NetworkError, Node


def plan_memory(model: IntegerModel) -> MemoryPlan:
    """Return where every tensor and the scratch of every step lie in the arena.

    Step by step as in ``model.nodes``.

    Raises:
        NetworkError: Two tensors would need the same place: steps that do not form a chain
            with shortcuts.
    """
    drafts = _Draft(model)
    for number in range(len(model.nodes)):
        drafts.step(number)
    plan = place(
        tuple(step.name for step in model.nodes), drafts.bottom, drafts.top, drafts.scratch
    )
    _check(plan)
    return plan


class _Draft:
    """The steps walked one by one.

    Each writes to the other end of the arena than it reads from, unless it works in place.
    """

    def __init__(self, model: IntegerModel) -> None:
        self.model, self.arena = model, Arena()
        self.bottom: list[PlannedTensor] = []
        self.top: list[PlannedTensor] = []
        self.scratch: list[PlannedTensor] = []
        self.last_use = {model.image: 0, model.logits: len(model.nodes) - 1}
        self.shortcuts: set[str] = set()
        for number, step in enumerate(model.nodes):
            self.last_use |= dict.fromkeys(step.reads, number)
            if step.shortcut is not None:
                self.shortcuts.add(step.shortcut)
        self.end = {model.image: self.top}
        self._put(model.image, 0)

    def _size(self, elements: int, bits: int) -> int:
        return int(self.arena.size(elements, self.arena.share(bits))) * self.arena.granule

    def _put(self, name: str, first: int, over: str | None = None) -> None:
        tensor = self.model.tensor(name)
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
        step = self.model.nodes[number]
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
        if isinstance(step, IntegerConvolution):
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
        source, target = self.model.tensor(step.input), self.model.tensor(step.output)
        row, before = (t.width * t.channels for t in (target, source))
        in_bytes = not (row % 8 or before % 8)
        return self._size(row if in_bytes else row * target.height, target.bits)

    def _scratch(self, step: Node) -> int:
        if not isinstance(step, IntegerConvolution):
            return 0
        source, arena = self.model.tensor(step.input), self.arena
        if step.kind == "depthwise":
            ring = self._size(step.kernel_height * source.width * source.channels, source.bits)
            return (
                ring
                + int(depthwise_scratch(step.kernel_height, source.width, source.channels))
                * arena.granule
            )
        taps = step.taps * source.channels
        return int(dense_scratch(taps, len(step.weights), windows=step.taps > 1)) * arena.granule


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
