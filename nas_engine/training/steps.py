"""Steps of a network: one per layer, tensor, activation, pool and sum, batch norms folded in.

Nothing that a step gave is written to later, but by an activation that alone reads what the layer
right before it gave: so the values that are alive anywhere can be kept and used again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from nas_engine.errors import InputError
from nas_engine.models.folding import scale_and_shift
from nas_engine.models.graph_network import ConvolutionUnit, GraphNetwork
from nas_engine.network.from_architecture import same_padding
from nas_engine.network.graph import Node

Values = dict[int, Any]
"""Results of steps, by their position."""

Change = Callable[[Tensor], Tensor] | Tensor
"""Replacement at a step: a folded weight at a layer, a function at a tensor."""

Function = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""Function of a layer: of its input, folded weight and bias."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layer:
    """One layer of a subject."""

    name: str
    """Path of its module; for a ``GraphNetwork`` its name in ``Architecture.layer_names()``."""
    weight: Tensor
    """Its weight as trained, first dimension output channels."""
    scale: Tensor | None
    """Factor of each output channel by the batch norm behind it, ``(o,)``."""
    bias: Tensor | None
    """Bias with that of the batch norm, ``(o,)``."""
    apply: Callable[[Tensor, Tensor], Tensor]
    """From input and folded weight to the output before the activation."""
    step: int
    """Position of the layer; what it gives is after batch norm and before the activation."""
    tensor: int
    """Position of the tensor that enters it: a change there reaches every reader of the tensor."""
    own_tensor: int
    """Position where a change of that tensor is seen by this layer alone; ``tensor`` if no other
    layer reads it."""

    def fold(self, weight: Tensor) -> Tensor:
        """Return a weight with the factors of the batch norm, as ``apply`` takes it."""
        if self.scale is not None:
            weight = weight * self.scale.view(-1, *[1] * (weight.dim() - 1))
        return weight.contiguous(memory_format=torch.channels_last) if weight.dim() == 4 else weight


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One step: what it does with the values before it, and which of them it reads."""

    run: Callable[[Values, Change | None], Any]
    """From values and what is put in, to what the step gives."""
    reads: frozenset[int]
    """Positions of steps; -1 is the image."""


class StepList:
    """Steps that are emitted one by one.

    Attributes:
        layers: Every layer by name, in the order they run.
        steps: All steps.
    """

    def __init__(self) -> None:
        self.layers: dict[str, Layer] = {}
        self.steps: list[Step] = []

    def emit(self, run: Callable[[Values, Change | None], Any], reads: Collection[int]) -> int:
        """Add a step and return its position."""
        self.steps.append(Step(run, frozenset(reads)))
        return len(self.steps) - 1

    def emit_tensor(self, source: int) -> int:
        """Add a step that passes a tensor on, or changes it."""

        def run(values: Values, change: Change | None) -> Any:
            assert not isinstance(change, Tensor)
            return values[source] if change is None else change(values[source])

        return self.emit(run, (source,))

    def emit_layer(
        self,
        name: str,
        tensor: int,
        weight: Tensor,
        norm: nn.BatchNorm2d | None,
        bias: Tensor | None,
        function: Function,
        *,
        shares_input: bool,
    ) -> int:
        """Add a layer with its batch norm, behind a tensor of its own if others read its input."""
        own = self.emit_tensor(tensor) if shares_input else tensor
        scale = None
        if norm is not None:
            scale, shift = scale_and_shift(norm)
            bias = shift if bias is None else bias * scale + shift
        layer = Layer(
            name=name,
            weight=weight.detach(),
            scale=scale,
            bias=bias,
            apply=lambda x, w: function(x, w, bias),
            step=len(self.steps),
            tensor=tensor,
            own_tensor=own,
        )
        trained = layer.fold(layer.weight)

        def run(values: Values, change: Change | None) -> Any:
            return layer.apply(values[own], change if isinstance(change, Tensor) else trained)

        self.layers[name] = layer
        return self.emit(run, (own,))

    def emit_activation(
        self,
        function: Callable[..., Any],
        source: int,
        in_place: Callable[[Tensor], Tensor] | None,
    ) -> int:
        """Add an activation, which overwrites its input if ``in_place`` is given.

        It must then be the only reader of a layer's result. With gradients nothing is overwritten.
        """

        def run(values: Values, change: Change | None) -> Any:
            x = values[source]
            return function(x) if in_place is None or x.requires_grad else in_place(x)

        return self.emit(run, (source,))


def steps_of(network: GraphNetwork) -> StepList:
    """Return the steps of a network, in the order of its graph; the last gives the logits.

    Args:
        network: In evaluation mode, of float numbers. The steps use its tensors.

    Raises:
        InputError: It has quantisers.
    """
    graph, units, made = network.graph, dict(network.units()), StepList()
    readers = Counter(node.input for node in graph.layers)
    at: dict[str, int] = {}

    def put(name: str, position: int) -> None:
        at[name] = made.emit_tensor(position) if name in readers else position

    def pool(node: Node) -> int:
        source = at[node.input]
        return made.emit(
            lambda values, change: network.compute(node, {node.input: values[source]}), (source,)
        )

    def layer(node: Node) -> int:
        unit, block = units[node.name], network.end_of(node.name)
        position = made.emit_layer(
            node.name,
            at[node.input],
            unit.weight,
            unit.norm if isinstance(unit.norm, nn.BatchNorm2d) else None,
            None if unit.bias is None else unit.bias.detach(),
            _function(node.name, unit),
            shares_input=readers[node.input] > 1,
        )
        if not isinstance(unit.output, nn.Identity):
            return made.emit_activation(unit.output, position, relu6_in_place)
        if node.shortcut is not None:
            own, added = position, at[node.shortcut]
            position = made.emit(lambda values, change: values[own] + values[added], (own, added))
        if block is None or isinstance(block.output, nn.Identity):
            return position
        return made.emit_activation(block.output, position, None)

    for name in graph.inputs:
        put(name, -1)
    for node in graph.nodes:
        put(node.output, layer(node) if node.name in units else pool(node))
    logits = at[graph.outputs[0]]
    made.emit(lambda values, change: values[logits].flatten(1), (logits,))
    return made


def relu6_in_place(x: Tensor) -> Tensor:
    """Return a tensor rectified and cut off at 6, in its own place."""
    return functional.relu6(x, inplace=True)


def _function(name: str, unit: ConvolutionUnit) -> Function:
    """Return the function of a layer in float.

    Raises:
        InputError: It has quantisers.
    """
    if not isinstance(unit.weight_quantiser, nn.Identity) or unit.requantiser is not None:
        raise InputError(
            f"layer '{name}' has quantisers; expected the float network "
            "(training/float.pt of a run)"
        )
    return lambda x, weight, bias: _convolve_unit(unit, x, weight, bias)


def _convolve_unit(unit: ConvolutionUnit, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    (top, bottom), (left, right) = (
        same_padding(size, unit.kernel, unit.stride) for size in x.shape[2:]
    )
    padding = top
    if not top == bottom == left == right:
        x, padding = functional.pad(x, (left, right, top, bottom)), 0
    return functional.conv2d(
        x, weight, bias, unit.stride, padding, 1, weight.shape[0] if unit.depthwise else 1
    )
