"""Steps of any network that ``torch.fx`` can trace, for studies of networks that are not searched.

Layers are whole, batch norms that follow one are folded in; see ``nas_engine.training.steps``.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from nas_engine.errors import InputError, one_line, shortened
from nas_engine.reading import is_out_of_memory
from nas_engine.training.steps import Change, Function, StepList, Values, relu6_in_place
from nas_engine.training.subject import LayerSize, Subject

_IN_PLACE: dict[Any, Callable[[Tensor], Tensor]] = {
    nn.ReLU: functional.relu_,
    nn.ReLU6: relu6_in_place,
    functional.relu: functional.relu_,
    torch.relu: functional.relu_,
    functional.relu6: relu6_in_place,
}
"""Activations that overwrite their input where nothing else reads it: a tensor less to write."""


_PURE: dict[Any, Any] = {
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
    operator.itruediv: operator.truediv,
}
"""Out-of-place equivalent of each operator that writes to its first operand."""


def traced_subject(network: nn.Module, shape: tuple[int, int, int]) -> Subject:
    """Return the subject of a network; the network that is given stays as it is.

    Args:
        network: ``torch.fx`` must be able to trace it; layers are its ``nn.Conv2d`` and
            ``nn.Linear`` modules, by their paths.
        shape: Channels, height and width of the images it takes.

    Raises:
        InputError: A network that cannot be traced, writes into its tensors, or runs a layer
            twice.
    """
    network = copy.deepcopy(network).eval().requires_grad_(False)
    builder = _Builder(network)
    builder.build()
    device = next(network.parameters()).device
    return Subject(builder.made, measured_sizes(builder.made, shape, device), shape, device)


@torch.no_grad()
def measured_sizes(
    steps: StepList, shape: tuple[int, int, int], device: torch.device
) -> tuple[LayerSize, ...]:
    """Return the size of each layer, measured in a run of one image of zeros."""
    found: dict[int, Tensor] = {}
    Subject(steps, (), shape, device).forward(
        torch.zeros(1, *shape, device=device),
        watch=lambda position, value: found.__setitem__(position, value),
    )
    return tuple(
        LayerSize(
            name=layer.name,
            weights=layer.weight.numel(),
            inputs=found[layer.tensor].numel(),
            macs=found[layer.step].numel() * layer.weight[0].numel(),
        )
        for layer in steps.layers.values()
    )


class _Builder:
    """Turns the graph of a network into steps."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.made = StepList()
        try:
            self.graph = fx.Tracer().trace(network)
        except Exception as error:  # whatever a network does that a tracer cannot follow
            if is_out_of_memory(error):
                raise MemoryError(str(error)) from error
            reason = shortened(one_line(str(error)), 160)
            kind = type(network).__name__
            raise InputError(
                f"{kind} cannot be cut at its layers ({reason}); its forward must not branch on "
                "values"
            ) from error
        self.modules = dict(network.named_modules())
        self.names = {id(module): name for name, module in self.modules.items()}
        self.at: dict[fx.Node, int] = {}
        self.constants: dict[fx.Node, Any] = {}

    def build(self) -> None:
        nodes = list(self.graph.nodes)
        calls = [node for node in nodes if self._is_layer(node)]
        readers: dict[fx.Node, int] = {}
        for node in calls:
            source = self._source(node.args[0])
            readers[source] = readers.get(source, 0) + 1
        for node in nodes:
            if node.op == "placeholder":
                if self.at:
                    raise InputError(
                        f"{type(self.network).__name__} takes several inputs; expected images alone"
                    )
                self.at[node] = -1
            elif node.op == "get_attr":
                self.constants[node] = _attribute(self.network, str(node.target))
            elif node.op == "output":
                self._emit_output(node)
            elif self._source(node) is not node:
                self.at[node] = self.at[self._source(node)]
            elif node in calls:
                self._emit_layer(node, readers)
            elif node not in self.at:  # else a batch norm that is folded into the layer before it
                self._emit_plain(node)
            if node in readers and node.op != "get_attr":
                self.at[node] = self.made.emit_tensor(self.at[node])

    def _module(self, node: object) -> nn.Module | None:
        return (
            self.modules[str(node.target)]
            if isinstance(node, fx.Node) and node.op == "call_module"
            else None
        )

    def _is_layer(self, node: fx.Node) -> bool:
        return isinstance(self._module(node), nn.Conv2d | nn.Linear)

    def _source(self, node: Any) -> fx.Node:
        """Return the node whose value this one passes on unchanged.

        That is the given node itself unless it does nothing at evaluation.
        """
        while isinstance(self._module(node), nn.Identity | nn.Dropout):
            node = node.args[0]
        assert isinstance(node, fx.Node)
        return node

    def _emit_layer(self, node: fx.Node, readers: Mapping[fx.Node, int]) -> None:
        module = self._module(node)
        assert module is not None
        name = self.names[id(module)]
        if name in self.made.layers:
            raise InputError(
                f"layer '{name}' runs more than once in a pass; expected layers with weights of "
                "their own"
            )
        source = self._source(node.args[0])
        follower = next(iter(node.users)) if len(node.users) == 1 else node
        norm = self._module(follower)
        function: Function = functional.linear
        if isinstance(module, nn.Conv2d):
            function = module._conv_forward
        assert isinstance(module.weight, Tensor)
        has_norm = isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None
        self.at[node] = self.made.emit_layer(
            name,
            self.at[source],
            module.weight,
            norm if has_norm and isinstance(norm, nn.BatchNorm2d) else None,
            module.bias.detach() if isinstance(module.bias, Tensor) else None,
            function,
            shares_input=readers[source] > 1,
        )
        if has_norm:
            self.at[follower] = self.at[node]

    def _emit_plain(self, node: fx.Node) -> None:
        reads = [self.at[each] for each in node.all_input_nodes if each not in self.constants]
        function = self._function(node)
        key = type(function) if node.op == "call_module" else function
        previous = len(self.made.steps) - 1
        behind_layer = reads == [previous] and any(
            layer.step == previous for layer in self.made.layers.values()
        )
        if key in _IN_PLACE and behind_layer and self._only_reader(node.all_input_nodes[0], node):
            self.at[node] = self.made.emit_activation(function, previous, _IN_PLACE[key])
            return
        position_of = {
            each: self.at[each] for each in node.all_input_nodes if each not in self.constants
        }
        constants = self.constants

        def run(values: Values, change: Change | None) -> Any:
            def value(each: fx.Node) -> Any:
                return constants[each] if each in constants else values[position_of[each]]

            args, kwargs = fx.map_arg(node.args, value), fx.map_arg(node.kwargs, value)
            return function(*args, **kwargs)

        self.at[node] = self.made.emit(run, reads)

    def _function(self, node: fx.Node) -> Callable[..., Any]:
        """Return what a node does, without writing into what it reads."""
        if node.op == "call_module":
            module = self.modules[str(node.target)]
            if getattr(module, "inplace", False):
                module.inplace = False
            return module
        if "inplace" in node.kwargs:
            node.kwargs = {**node.kwargs, "inplace": False}
        if node.target in _IN_PLACE:
            node.args = node.args[:1]
        if node.op == "call_method":
            name = str(node.target)
            name = name if name.startswith("__") else name.rstrip("_")
            return lambda owner, *args, **kwargs: getattr(owner, name)(*args, **kwargs)
        if node.target is operator.setitem:
            raise InputError(
                f"{type(self.network).__name__} writes into a tensor by index; expected a forward "
                "without that"
            )
        function = _PURE.get(node.target, node.target)
        assert callable(function)
        return function

    def _only_reader(self, source: fx.Node, reader: fx.Node) -> bool:
        """Return True if only ``reader`` reads the result of ``source``'s step, under any name."""
        same = {node for node, position in self.at.items() if position == self.at[source]}
        return all(user is reader or user in same for node in same for user in node.users)

    def _emit_output(self, node: fx.Node) -> None:
        result = node.args[0]
        if not isinstance(result, fx.Node):
            raise InputError(
                f"{type(self.network).__name__} gives several results; expected logits alone"
            )
        source = self.at[result]
        self.made.emit(lambda values, change: values[source], (source,))


def _attribute(network: nn.Module, path: str) -> Any:
    found: Any = network
    for part in path.split("."):
        found = getattr(found, part)
    return found.detach() if isinstance(found, Tensor) else found
