"""Small networks that sensitivities are measured on, with images and labels."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from benchmarks.network_problem import network_problem
from benchmarks.traced import traced_subject
from nas_engine.allocation.problem import ACTIVATIONS, WEIGHTS, AllocationProblem, Variable
from nas_engine.datasets.records import Labels, Pixels
from nas_engine.models.graph_network import ConvolutionUnit, GraphNetwork, average_pool
from nas_engine.training.perturbation import Perturbations
from nas_engine.training.subject import Subject, subject_of

SIDE, CLASSES = 6, 3


def any_subject(network: nn.Module, shape: tuple[int, int, int]) -> Subject:
    """Return the subject of any network."""
    return (
        subject_of(network) if isinstance(network, GraphNetwork) else traced_subject(network, shape)
    )


class LayerTracer(fx.Tracer):
    """Keeps layers whole, and average pools of a ``GraphNetwork``."""

    def __init__(self) -> None:
        super().__init__(autowrap_functions=(average_pool,))

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, ConvolutionUnit) or super().is_leaf_module(m, module_qualified_name)


class Toy(nn.Module):
    """Three convolutions, one of them on a shortcut that reads the same tensor as another, and a
    linear layer.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.left = nn.Conv2d(4, 4, 3, padding=1)
        self.right = nn.Conv2d(4, 4, 1, bias=False)
        self.linear = nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.norm(self.first(x)))
        x = x + functional.relu(self.left(x)) - self.right(x)
        result: Tensor = self.linear(x.mean((2, 3)))
        return result


class PlainNetwork(fx.Interpreter):
    """A network run module by module, with weights put into its layers and tensors rounded as they
    are made.

    Args:
        network: The one that ``perturbations`` was made from.
        perturbations: What choices do to it.
    """

    def __init__(self, network: nn.Module, perturbations: Perturbations) -> None:
        network = copy.deepcopy(network).eval().requires_grad_(False)
        super().__init__(fx.GraphModule(network, LayerTracer().trace(network)))
        self.perturbations = perturbations
        names = {name: name for name, _ in network.named_modules()}
        if isinstance(network, GraphNetwork):
            paths = {id(module): name for name, module in network.named_modules()}
            names = {paths[id(unit)]: name for name, unit in network.units()}
        self.layer_of = {
            node: perturbations.subject.layers[names[str(node.target)]]
            for node in self.module.graph.nodes  # type: ignore[union-attr]
            if node.op == "call_module"
            and names.get(str(node.target)) in perturbations.subject.layers
        }
        self.tensor_of = {node.args[0]: layer.tensor for node, layer in self.layer_of.items()}
        self.rounded: dict[tuple[str, int], Tensor] = {}
        self.quantisers: dict[int, Callable[[Tensor], Tensor]] = {}

    def set_choices(self, choices: Mapping[int, int]) -> None:
        """Put in the levels of some variables; all others are as in the reference network."""
        own, widths = (
            self.perturbations,
            {position: (layer, bits) for layer, position, bits in self.perturbations.always},
        )
        for index, variable in enumerate(own.problem.variables):
            level = choices.get(index, len(variable.bits) - 1 if own.base == "widest" else None)
            if level is not None:
                widths |= {
                    position: (layer, variable.bits[level]) for layer, position in own.places(index)
                }
        self.quantisers = {
            at: own.quantiser(layer.tensor, bits)
            for at, (layer, bits) in widths.items()
            if at != layer.step
        }
        for node, layer in self.layer_of.items():
            weight = layer.weight
            if layer.step in widths:
                key = layer.name, widths[layer.step][1]
                if key not in self.rounded:
                    self.rounded[key] = own.rounded_weight(*widths[layer.step])
                weight = self.rounded[key]
            self.fetch_attr(str(node.target)).weight.data = weight

    def run_node(self, n: fx.Node) -> Any:
        """Run one node of the graph, and round what it gives if a layer takes that."""
        result = super().run_node(n)
        quantiser = self.quantisers.get(self.tensor_of.get(n, -1))
        return result if quantiser is None else quantiser(result)

    def call_module(self, target: Any, args: Any, kwargs: Any) -> Any:
        """Run a module; a layer whose input has a width of its own rounds it first."""
        for node, layer in self.layer_of.items():
            if (
                node.target == target
                and layer.own_tensor != layer.tensor
                and layer.own_tensor in self.quantisers
            ):
                args = (self.quantisers[layer.own_tensor](args[0]), *args[1:])
        return super().call_module(target, args, kwargs)


class Attention(nn.Module):
    """Tokens, one attention with separate queries, keys and values, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 8, 2, 2)
        self.norm = nn.LayerNorm(8)
        self.q, self.k, self.v = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.drop = nn.Dropout()
        self.linear = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        y = self.drop(self.norm(x))
        q, k, v = self.q(y), self.k(y), self.v(y)
        x = x + (q @ k.transpose(1, 2)).softmax(-1) @ v
        result: Tensor = self.linear(functional.gelu(x).mean(1))
        return result


def seeded(network: nn.Module, seed: int = 0) -> nn.Module:
    """Give a network random weights and batch norms that do something."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                assert module.running_mean is not None
                assert module.running_var is not None
                for tensor in (module.running_mean, module.bias):
                    tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.1)
                for tensor in (module.running_var, module.weight):
                    tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
            elif isinstance(module, nn.Conv2d | nn.Linear):
                module.weight.copy_(
                    torch.randn(module.weight.shape, generator=generator)
                    / module.weight[0].numel() ** 0.5
                )
                if module.bias is not None:
                    module.bias.copy_(torch.randn(module.bias.shape, generator=generator) * 0.1)
    return network.eval()


def images_and_labels(
    count: int = 10, side: int = SIDE, channels: int = 1, classes: int = CLASSES
) -> tuple[Pixels, Labels]:
    rng = np.random.default_rng(1)
    return rng.integers(0, 256, (count, side, side, channels), dtype=np.uint8), rng.integers(
        0, classes, count
    )


def tied_problem() -> AllocationProblem:
    """Weights of two layers that are not neighbours share a width, so that another variable stands
    between them.
    """
    rows: list[tuple[str, str, tuple[str, ...], tuple[int, ...]]] = [
        ("ends weights", WEIGHTS, ("first", "linear"), (2, 3, 8)),
        ("left weights", WEIGHTS, ("left",), (2, 8)),
        ("inner activations", ACTIVATIONS, ("left", "right", "linear"), (2, 8)),
    ]
    return AllocationProblem(
        Variable(name=name, kind=kind, layers=layers, bits=bits, elements=1)
        for name, kind, layers, bits in rows
    )


def perturbed(
    network: nn.Module | None = None,
    kinds: str = "both",
    chunk: int = 4,
    weight_bits: tuple[int, ...] = (2, 4, 8),
    **options: Any,
) -> Perturbations:
    """Return what choices do to a network of ``SIDE`` pixels: of weights, of activations, of both,
    or tied.
    """
    subject = any_subject(seeded(Toy()) if network is None else network, (1, SIDE, SIDE))
    if kinds == "tied":
        problem = tied_problem()
    else:
        weights, activations = (
            (weight_bits if kinds != "activations" else ()),
            ((3, 8) if kinds != "weights" else ()),
        )
        problem = network_problem(subject.sizes, weight_bits=weights, activation_bits=activations)
    return Perturbations(subject, problem, images_and_labels(8)[0], chunk=chunk, **options)
