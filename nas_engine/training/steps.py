"""Steps of a network: its ``torch.fx`` graph, with layers whole and batch norms folded in.

The batch norms are those that follow a layer.

Nothing that a step gave is written to later, but by an activation that alone reads what the layer
right before it gave: so the values that are alive anywhere can be kept and used again.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from nas_engine.errors import InputError, one_line, shortened
from nas_engine.models.mobilenet import ConvolutionUnit, MobileNet, average_pool
from nas_engine.network.from_architecture import same_padding
from nas_engine.reading import is_out_of_memory

Values = dict[int, Any]
"""Results of steps, by their position."""

Change = Callable[[Tensor], Tensor] | Tensor
"""Replacement at a step: a folded weight at a layer, a function at a tensor."""

_IN_PLACE: dict[Any, Callable[[Tensor], Tensor]] = {
    nn.ReLU: functional.relu_,
    nn.ReLU6: lambda x: functional.relu6(x, inplace=True),
    functional.relu: functional.relu_,
    torch.relu: functional.relu_,
    functional.relu6: lambda x: functional.relu6(x, inplace=True),
}
"""Activations that overwrite their input where nothing else reads it: a tensor less to write."""


_PURE: dict[Any, Any] = {
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
    operator.itruediv: operator.truediv,
}
"""Out-of-place equivalent of each operator that writes to its first operand."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layer:
    """One layer of a subject."""

    name: str
    """Path of its module; for a ``MobileNet`` its name in ``Architecture.layer_names()``."""
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
    """Position of the tensor that enters it: a change there is seen by all that read the tensor."""
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


class LayerTracer(fx.Tracer):
    """Keeps layers whole, and average pools of a ``MobileNet``."""

    def __init__(self) -> None:
        super().__init__(autowrap_functions=(average_pool,))

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Return whether a module becomes one node of the graph."""
        return isinstance(m, ConvolutionUnit) or super().is_leaf_module(m, module_qualified_name)


def steps_of(network: nn.Module) -> tuple[dict[str, Layer], list[Step]]:
    """Return the layers of a network by name, in the order they run, and its steps.

    The last step gives the logits.

    Args:
        network: In evaluation mode, of float numbers. The steps use its tensors.

    Raises:
        InputError: A network that cannot be traced, has quantisers, writes into its tensors, or
            runs a layer twice.
    """
    builder = _Builder(network)
    builder.build()
    return builder.layers, builder.steps


class _Builder:
    """Turns the graph of a network into steps."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.layers: dict[str, Layer] = {}
        self.steps: list[Step] = []
        try:
            self.graph = LayerTracer().trace(network)
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
        if isinstance(network, MobileNet):
            self.names |= {id(unit): name for name, unit in network.units()}
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
                self.at[node] = self._emit_tensor(self.at[node])

    def _module(self, node: object) -> nn.Module | None:
        return (
            self.modules[str(node.target)]
            if isinstance(node, fx.Node) and node.op == "call_module"
            else None
        )

    def _is_layer(self, node: fx.Node) -> bool:
        return isinstance(self._module(node), nn.Conv2d | nn.Linear | ConvolutionUnit)

    def _source(self, node: Any) -> fx.Node:
        """Return the node whose value this one passes on unchanged.

        That is the given node itself unless it does nothing at evaluation.
        """
        while isinstance(self._module(node), nn.Identity | nn.Dropout):
            node = node.args[0]
        assert isinstance(node, fx.Node)
        return node

    def _emit(self, run: Callable[[Values, Change | None], Any], reads: Collection[int]) -> int:
        self.steps.append(Step(run, frozenset(reads)))
        return len(self.steps) - 1

    def _emit_tensor(self, source: int) -> int:
        def run(values: Values, change: Change | None) -> Any:
            assert not isinstance(change, Tensor)
            return values[source] if change is None else change(values[source])

        return self._emit(run, (source,))

    def _emit_layer(self, node: fx.Node, readers: Mapping[fx.Node, int]) -> None:
        module = self._module(node)
        assert module is not None
        name = self.names[id(module)]
        if name in self.layers:
            raise InputError(
                f"layer '{name}' runs more than once in a pass; expected layers with weights of "
                "their own"
            )
        source = self._source(node.args[0])
        tensor = own = self.at[source]
        if readers[source] > 1:
            own = self._emit_tensor(tensor)
        norm, bias, function = _parts(module, name)
        follower = next(iter(node.users)) if len(node.users) == 1 else node
        behind = self._module(follower)
        if norm is None and isinstance(behind, nn.BatchNorm2d) and behind.running_mean is not None:
            norm = behind
            self.at[follower] = len(self.steps)
        assert isinstance(module.weight, Tensor)
        weight, scale = module.weight.detach(), None
        if norm is not None:
            scale, shift = _folded(norm)
            bias = shift if bias is None else bias * scale + shift
        step = len(self.steps)
        layer = Layer(
            name=name,
            weight=weight,
            scale=scale,
            bias=bias,
            apply=lambda x, w: function(x, w, bias),
            step=step,
            tensor=tensor,
            own_tensor=own,
        )
        trained = layer.fold(weight)

        def run(values: Values, change: Change | None) -> Any:
            return layer.apply(values[own], change if isinstance(change, Tensor) else trained)

        self.at[node] = self._emit(run, (own,))
        self.layers[name] = layer
        if isinstance(module, ConvolutionUnit) and not isinstance(module.output, nn.Identity):
            self.at[node] = self._emit_activation(module.output, type(module.output), step)

    def _emit_activation(self, module: Callable[..., Any], kind: object, source: int) -> int:
        """Emit an activation that directly follows a layer and is the only reader of its result.

        With gradients nothing is overwritten.
        """
        in_place = _IN_PLACE.get(kind)

        def run(values: Values, change: Change | None) -> Any:
            x = values[source]
            return module(x) if in_place is None or x.requires_grad else in_place(x)

        return self._emit(run, (source,))

    def _emit_plain(self, node: fx.Node) -> None:
        reads = [self.at[each] for each in node.all_input_nodes if each not in self.constants]
        function = self._function(node)
        key = type(function) if node.op == "call_module" else function
        previous = len(self.steps) - 1
        behind_layer = reads == [previous] and any(
            layer.step == previous for layer in self.layers.values()
        )
        if key in _IN_PLACE and behind_layer and self._only_reader(node.all_input_nodes[0], node):
            self.at[node] = self._emit_activation(function, key, previous)
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

        self.at[node] = self._emit(run, reads)

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
        self._emit(lambda values, change: values[source], (source,))


def _attribute(network: nn.Module, path: str) -> Any:
    found: Any = network
    for part in path.split("."):
        found = getattr(found, part)
    return found.detach() if isinstance(found, Tensor) else found


def _folded(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return factor and summand of each channel at evaluation, ``(o,)`` each."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = torch.rsqrt(norm.running_var + norm.eps)
    if norm.weight is not None:
        scale = scale * norm.weight.detach()
    shift = -norm.running_mean * scale
    return scale, shift if norm.bias is None else shift + norm.bias.detach()


_Function = Callable[[Tensor, Tensor, Tensor | None], Tensor]


def _parts(module: nn.Module, name: str) -> tuple[nn.BatchNorm2d | None, Tensor | None, _Function]:
    """Return batch norm (inside the layer), bias, and the function of input, weight and bias."""
    bias = module.bias.detach() if isinstance(module.bias, Tensor) else None
    if isinstance(module, ConvolutionUnit):
        if not isinstance(module.weight_quantiser, nn.Identity) or module.requantiser is not None:
            raise InputError(
                f"layer '{name}' has quantisers; expected the float network (training/float.pt of "
                "a run)"
            )
        return (
            module.norm if isinstance(module.norm, nn.BatchNorm2d) else None,
            bias,
            lambda x, w, b: _convolve_unit(module, x, w, b),
        )
    if isinstance(module, nn.Conv2d):
        return None, bias, module._conv_forward
    return None, bias, functional.linear


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
