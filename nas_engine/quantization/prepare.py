"""Put quantisers into a float network, each with a first step measured on real images.

Widths come from the architecture: weights per output channel at ``w``, each activation tensor at
the ``a`` of the layer that takes it, logits at 8 bits. Blocks joined by a shortcut pass the
residual stream on without rescaling: as long as its width stays the same they share one quantiser,
so that a sum is an exact sum of integers.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from nas_engine.architecture import Architecture
from nas_engine.costs.memory import LOGIT_BITS
from nas_engine.models.mobilenet import MobileNet
from nas_engine.quantization.lsq import (
    SMALLEST_STEP,
    ActivationQuantiser,
    WeightQuantiser,
    least_error_step,
    paper_step,
)
from nas_engine.quantization.requantise import Requantiser

SAMPLE = 2**16
"""Values of one tensor that calibration looks at, about; ours."""

STEP_RULES = ("least-error", "paper")
"""How a first step is found: ``least_error_step`` (ours, the default) or ``paper_step`` (the LSQ
paper's)."""


def insert_quantisers(network: MobileNet) -> None:
    """Turn a float network into one that trains quantised, in place.

    Every step is 1 until ``calibrate`` or a state dict sets it.
    """
    widths = dict(
        zip(network.architecture.layer_names(), network.architecture.layer_bits(), strict=True)
    )
    for name, unit in network.units():
        unit.weight_quantiser = WeightQuantiser(widths[name].w, unit.weight.shape[0]).to(
            unit.weight.device
        )
    device = network.stem.weight.device

    def quantiser(bits: int, *, signed: bool) -> ActivationQuantiser:
        return ActivationQuantiser(bits, signed=signed).to(device)

    stream_bits = _stream_bits(network.architecture)
    stream = quantiser(stream_bits[0], signed=False)
    network.stem.output, network.stem.requantiser = stream, Requantiser(None, stream)
    for index, (name, block) in enumerate(network.named_blocks()):
        expanded = quantiser(widths[f"{name}.depthwise"].a, signed=False)
        filtered = quantiser(widths[f"{name}.project"].a, signed=False)
        block.expand.output, block.depthwise.output = expanded, filtered
        source, bits = stream, stream_bits[index + 1]
        if not (block.shortcut and source.signed and source.bits == bits):
            stream = quantiser(bits, signed=True)
        block.output, block.source, block.narrow = stream, source, stream.narrow
        block.expand.requantiser, block.depthwise.requantiser = (
            Requantiser(source, expanded),
            Requantiser(expanded, filtered),
        )
        block.project.requantiser = Requantiser(filtered, stream)
    pooled, logits = (
        quantiser(widths["classifier"].a, signed=False),
        quantiser(LOGIT_BITS, signed=True),
    )
    network.head.output, network.head.requantiser, network.pool_source = (
        pooled,
        Requantiser(stream, pooled),
        pooled,
    )
    network.classifier.output, network.classifier.requantiser = logits, Requantiser(pooled, logits)


def _stream_bits(architecture: Architecture) -> list[int]:
    """Return the width of the stem's output and of each block's output."""
    return [row[0].a for block in architecture.blocks for row in block.bits] + [
        architecture.head.bits.a
    ]


def quantisers(network: MobileNet) -> list[ActivationQuantiser | WeightQuantiser]:
    """Return every quantiser once."""
    return [
        module
        for module in network.modules()
        if isinstance(module, ActivationQuantiser | WeightQuantiser)
    ]


@torch.no_grad()
def bound_steps(network: MobileNet) -> None:
    """Bring every step back to where it has a meaning.

    Steps are above 0, and those of weights within ``step_range`` of their channel's weights.
    """
    for module in network.modules():
        if isinstance(module, ActivationQuantiser):
            module.step.clamp_(min=SMALLEST_STEP)
    for _, unit in network.units():
        if isinstance(unit.weight_quantiser, WeightQuantiser):
            unit.weight_quantiser.bound_step(unit.weight)


def is_quantised(network: MobileNet) -> bool:
    """Return whether ``insert_quantisers`` was called."""
    return network.pool_source is not None


@torch.no_grad()
def calibrate(network: MobileNet, images: Tensor, rule: str = "least-error") -> None:
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
