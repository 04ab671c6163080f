"""Subject: a trained network cut at its layers.

Any rest of it can be run again with other weights or activations.

Each layer is one step, with the batch norm behind it folded in; each tensor that a layer takes is a
step of its own, which passes it on or quantises it. A run may begin at any step, from the values
that are alive there: what stands before a change is computed once.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nas_engine.models.graph_network import GraphNetwork
from nas_engine.training.steps import Change, StepList, Values, steps_of

Watch = Callable[[int, Tensor], None]
"""Is shown what a step gave, by position; later steps may overwrite it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerSize:
    """Storage and operations of one layer, independent of its widths.

    Layers that read the same tensor each count it as their input; ``shared_inputs`` tells which.
    """

    name: str
    """Name of the layer."""
    weights: int
    """Number of weights."""
    inputs: int
    """Numbers in its input tensor, one image."""
    macs: int
    """Multiply-accumulates of one image."""


class Subject:
    """A float network in evaluation mode as steps.

    Args:
        steps: Its steps, see ``subject_of``.
        sizes: Size of each layer, in the order they run.
        shape: Channels, height and width of the images it takes.
        device: Where its tensors are.

    Attributes:
        layers: Every layer by name, in the order they run.
    """

    def __init__(
        self,
        steps: StepList,
        sizes: tuple[LayerSize, ...],
        shape: tuple[int, int, int],
        device: torch.device,
    ) -> None:
        self.sizes, self.shape, self.device = sizes, shape, device
        self.layers, self._steps = steps.layers, steps.steps
        self._dies: list[tuple[int, ...]] = [()] * len(self._steps)
        last = {read: position for position, step in enumerate(self._steps) for read in step.reads}
        for position, end in last.items():
            self._dies[end] = (*self._dies[end], position)

    @property
    def end(self) -> int:
        """Position behind the last step."""
        return len(self._steps)

    def run(
        self,
        values: Values,
        start: int,
        changes: Mapping[int, Change],
        *,
        cuts: Collection[int] = (),
        kept: dict[int, Values] | None = None,
        watch: Watch | None = None,
    ) -> Tensor:
        """Run the steps from ``start`` to the end and return the logits, ``(n, classes)``.

        Args:
            values: What is alive at ``start``: from ``first_values`` or from ``kept``; stays as it
                is.
            start: Position of the first step to run.
            changes: What to put in, by position; layers that are not named have their trained
                weight.
            cuts: Positions at which to keep what is alive.
            kept: Where that is put, by position.
            watch: Is shown what every step gave.
        """
        values = dict(values)
        result: Any = None
        for position in range(start, len(self._steps)):
            if kept is not None and position in cuts:
                kept[position] = dict(values)
            result = self._steps[position].run(values, changes.get(position))
            if watch is not None and isinstance(result, Tensor):
                watch(position, result)
            values[position] = result
            for dead in self._dies[position]:
                del values[dead]
        assert isinstance(result, Tensor)
        return result

    def first_values(self, images: Tensor) -> Values:
        """Return the values before the first step, for network input ``(n, c, h, w)``."""
        return {-1: images.contiguous(memory_format=torch.channels_last)}

    def forward(
        self,
        images: Tensor,
        changes: Mapping[int, Change] | None = None,
        *,
        watch: Watch | None = None,
    ) -> Tensor:
        """Return the logits of images as the network takes them."""
        return self.run(self.first_values(images), 0, changes or {}, watch=watch)

    def rest(self, position: int) -> float:
        """Return the share of the multiply-accumulates that is left at a position."""
        steps = [layer.step for layer in self.layers.values()]
        left = sum(
            size.macs for step, size in zip(steps, self.sizes, strict=True) if step >= position
        )
        return left / sum(size.macs for size in self.sizes)

    def shared_inputs(self) -> tuple[tuple[str, ...], ...]:
        """Return the names of the layers that read each tensor which several layers read."""
        readers: dict[int, list[str]] = {}
        for layer in self.layers.values():
            readers.setdefault(layer.tensor, []).append(layer.name)
        return tuple(tuple(names) for names in readers.values() if len(names) > 1)


def subject_of(network: GraphNetwork) -> Subject:
    """Return the subject of a float network; the network that is given stays as it is.

    Raises:
        InputError: It has quantisers.
    """
    network = copy.deepcopy(network).eval().requires_grad_(False)
    graph = network.graph
    sizes = tuple(
        LayerSize(
            name=node.name,
            weights=graph.weights(node),
            inputs=graph.tensor(node.input).elements,
            macs=graph.macs(node),
        )
        for node in graph.layers
    )
    image = graph.tensor(graph.inputs[0])
    shape = (image.channels, image.height, image.width)
    return Subject(steps_of(network), sizes, shape, network.stem.weight.device)


def chunks_of(count: int, size: int) -> Iterator[slice]:
    """Yield slices of at most ``size`` that cover ``count``."""
    return (slice(first, min(first + size, count)) for first in range(0, count, size))
