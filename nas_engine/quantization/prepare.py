"""Put quantisers into a float network, each with a first step measured on real images.

Widths come from the architecture: weights per output channel at ``w``, each activation tensor at
the ``a`` of the layer that takes it, logits at 8 bits. Blocks joined by a shortcut pass the
residual stream on without rescaling: as long as its width stays the same they share one quantiser,
so that a sum is an exact sum of integers. A sum that is rectified is unsigned; there the result of
the last layer has a step of its own.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from nas_engine.models.graph_network import GraphNetwork
from nas_engine.quantization.lsq import (
    SMALLEST_STEP,
    ActivationQuantiser,
    WeightQuantiser,
    least_error_step,
    paper_step,
)
from nas_engine.quantization.requantise import Requantiser

SAMPLE = 2**16
"""Values of one tensor that calibration looks at, about (chosen here)."""

STEP_RULES = ("least-error", "paper")
"""Rules for a first step: ``least_error_step`` (chosen here, default) or ``paper_step`` (LSQ's)."""


def insert_quantisers(network: GraphNetwork) -> None:
    """Turn a float network into one that trains quantised, in place.

    Every step is 1 until ``calibrate`` or a state dict sets it.
    """
    graph, found = network.graph, dict[str, ActivationQuantiser]()
    units, device = dict(network.units()), network.stem.weight.device
    for node in graph.nodes:
        source, target = found.get(node.input), graph.tensor(node.output)
        if node.name not in units:
            assert source is not None  # a pool of the image would need a quantiser of its own
            found[target.name] = source
            continue
        unit, block = units[node.name], network.end_of(node.name)
        unit.weight_quantiser = WeightQuantiser(node.weight_bits, target.channels).to(device)
        output = found.get(node.shortcut) if node.shortcut is not None else None
        levels = (target.bits, target.signed)
        if output is None or not target.signed or (output.bits, output.signed) != levels:
            output = ActivationQuantiser(target.bits, signed=target.signed).to(device)
        found[target.name] = output
        unit.requantiser = Requantiser(source, output)
        if block is None:
            unit.output = output
            continue
        block.output, block.narrow = output, output.narrow
        if node.shortcut is not None and not target.signed:
            block.own = own = ActivationQuantiser(8, signed=True).to(device)
            unit.requantiser, block.narrow = Requantiser(source, own), own
    for block in network.blocks():
        block.source = found[block.input]
    network.pool_source = found[graph.node("pool").input]
    network.quantisers.update(found)


def quantisers(network: GraphNetwork) -> list[ActivationQuantiser | WeightQuantiser]:
    """Return every quantiser once."""
    return [
        module
        for module in network.modules()
        if isinstance(module, ActivationQuantiser | WeightQuantiser)
    ]


@torch.no_grad()
def bound_steps(network: GraphNetwork) -> None:
    """Bring every step back to where it has a meaning.

    Steps are above 0, and those of weights within ``step_range`` of their channel's weights.
    """
    for module in network.modules():
        if isinstance(module, ActivationQuantiser):
            module.step.clamp_(min=SMALLEST_STEP)
    for _, unit in network.units():
        if isinstance(unit.weight_quantiser, WeightQuantiser):
            unit.weight_quantiser.bound_step(unit.weight)


def is_quantised(network: GraphNetwork) -> bool:
    """Return whether ``insert_quantisers`` was called."""
    return bool(network.quantisers)


@torch.no_grad()
def calibrate(network: GraphNetwork, images: Tensor, rule: str = "least-error") -> None:
    """Set every step.

    Those of weights from the weights, those of activations from their values for one batch in
    float.

    Args:
        network: With quantisers.
        images: ``(n, c, h, w)``, scaled; some hundred.
        rule: One of ``STEP_RULES``.
    """
    for _, unit in network.units():
        quantiser = unit.weight_quantiser
        if isinstance(quantiser, WeightQuantiser):
            limit = quantiser.limit
            step = (
                least_error_step(unit.weight, -limit, limit)
                if rule == "least-error"
                else paper_step(unit.weight, limit)
            )
            quantiser.step.copy_(step)
    training = network.training
    network.eval()
    observed = [module for module in quantisers(network) if isinstance(module, ActivationQuantiser)]
    for module in observed:
        module.observer = _Observer(module, rule)
    try:
        network(images)
    finally:
        for module in observed:
            module.observer = None
        network.train(training)


class _Observer:
    """Fits the step of one quantiser to all its inputs.

    A quantiser of a residual stream sees every tensor of the stream.
    """

    def __init__(self, quantiser: ActivationQuantiser, rule: str) -> None:
        self.quantiser, self.rule = quantiser, rule
        self.seen: list[Tensor] = []

    def __call__(self, x: Tensor) -> Tensor:
        x = x if self.quantiser.signed else functional.relu6(x)
        values = x.flatten()
        self.seen.append(values[:: max(1, values.numel() // SAMPLE) | 1])
        row, low, high = torch.cat(self.seen).view(1, -1), self.quantiser.low, self.quantiser.high
        step = (
            least_error_step(row, low, high)
            if self.rule == "least-error"
            else paper_step(row, high)
        )
        self.quantiser.step.copy_(step.reshape(()))
        return x
