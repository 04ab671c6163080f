"""A trained network without its rounding, layer by layer: what its integers are compared with."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from nas_engine.errors import InputError
from nas_engine.models.graph_network import GraphNetwork
from nas_engine.quantization.lsq import ActivationQuantiser, WeightQuantiser, activation_range


def layer_outputs(network: GraphNetwork) -> list[tuple[str, str]]:
    """Return the name of every layer and of the tensor that leaves it, in order."""
    return [(node.name, node.output) for node in network.graph.layers]


@torch.no_grad()
def error_squares(
    network: GraphNetwork, found: Mapping[str, npt.NDArray[np.float32]]
) -> npt.NDArray[np.float64]:
    """Return sums of squares that compare tensors of a network with its float output.

    Args:
        network: From ``unrounded``.
        found: The image and what left every layer, real values by tensor name, ``(n, h, w, c)``.

    Returns:
        ``(layers, 4)``: the float output from the image on, what was found less that; the float
        output of the layer alone, fed with what was found before it, what was found less that.

    Raises:
        InputError: A tensor of another shape.
    """
    given = {
        name: torch.from_numpy(values).permute(0, 3, 1, 2).contiguous()
        for name, values in found.items()
    }
    floats = {name: given[name] for name in network.graph.inputs}
    rows = []
    for node in network.graph.nodes:
        floats[node.output], own = network.compute(node, floats), network.compute(node, given)
        if node not in network.graph.layers:
            given[node.output] = own
            continue
        there = given[node.output]
        if own.shape != there.shape:
            shapes = (
                f"{list(own.shape[1:])} in the trained network and {list(there.shape[1:])} in the "
                "integer model"
            )
            raise InputError(f"{node.name} gives {shapes}")
        signals = floats[node.output].double(), own.double()
        rows.append(
            [float(part.square().sum()) for signal in signals for part in (signal, there - signal)]
        )
    return np.array(rows)


@torch.no_grad()
def unrounded(network: GraphNetwork) -> GraphNetwork:
    """Return a copy of a trained network whose quantisers saturate as before but do not round.

    Their ranges are a part of the network that training has learned: batch norms count on them, and
    so does the accuracy. With the ranges taken out too (all weights as they are, ReLU6 in place of
    the ranges) a network whose steps have moved far is another network, and what it differs by is
    not the error of its integers. So what saturates is no error here; what is rounded is.
    """
    copied = copy.deepcopy(network).eval()
    for _, unit in copied.units():
        unit.weight_quantiser, unit.output, unit.requantiser = (
            _range_of(unit.weight_quantiser),
            _range_of(unit.output),
            None,
        )
    for block in copied.blocks():
        if isinstance(block.output, ActivationQuantiser):
            low, high = activation_range(
                8, signed=True
            )  # what waits for a sum, see ActivationQuantiser.narrow
            own = block.own if isinstance(block.own, ActivationQuantiser) else block.output
            block.narrow = _Range(low * own.step, high * own.step)
        block.output = _range_of(block.output)
    copied.quantisers.clear()
    return copied


class _Range(nn.Module):
    """Clamps to a range, one for all values or one per entry of the first dimension."""

    def __init__(self, low: Tensor, high: Tensor) -> None:
        super().__init__()
        self.low, self.high = low.detach(), high.detach()

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` within the range."""
        return torch.clamp(x, self.low, self.high)


def _range_of(module: nn.Module) -> nn.Module:
    """Return the range of a quantiser; another module as it is."""
    if isinstance(module, WeightQuantiser):
        return _Range(-module.limit * module.step, module.limit * module.step)
    return (
        _Range(module.low * module.step, module.high * module.step)
        if isinstance(module, ActivationQuantiser)
        else module
    )
