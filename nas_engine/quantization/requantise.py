"""Rounding between layers as in the integer model.

For the evaluation of a fake-quantised network.

In training a layer's output is rounded once, to the nearest level. The integer model rounds the
bias to its accumulator's unit and rounds twice on the way to the output (docs/integer_model.md).
Few values of a layer differ for that, and by one level, but differences grow from layer to layer
until some predictions differ (``python -m benchmarks.cifar`` counts them). So what is evaluated
rounds as the integers will. Training itself is left alone: its gradients pass straight through any
rounding.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nas_engine.models.graph_network import IMAGE_SCALE, ConvolutionUnit
from nas_engine.quantization.lsq import ActivationQuantiser, WeightQuantiser
from nas_engine.quantization.record import is_constant, weight_shift


@dataclass(frozen=True, slots=True)
class Requantiser:
    """Requantiser that replaces batch norm (or bias) in one quantised layer at evaluation."""

    source: ActivationQuantiser | None
    """Quantiser of the layer's input; ``None`` for the image."""
    target: ActivationQuantiser
    """Quantiser whose step the result is a multiple of."""

    @torch.no_grad()
    def __call__(self, unit: ConvolutionUnit, sums: Tensor) -> Tensor:
        """Return the layer's output ``(n, o, h, w)`` in whole steps, not yet clamped.

        The output is unrounded while the target is calibrated.

        Args:
            unit: The layer.
            sums: Its convolution, without norm and bias, ``(n, o, h, w)``.
        """
        quantiser = unit.weight_quantiser
        assert isinstance(quantiser, WeightQuantiser)
        gain, offset = affine(unit)
        if self.target.observer is not None:
            return (sums * gain[:, None, None] + offset[:, None, None]).to(sums.dtype)
        step_in = (
            torch.tensor(IMAGE_SCALE, device=sums.device)
            if self.source is None
            else self.source.step
        )
        low, high = (-128, 127) if self.source is None else (self.source.low, self.source.high)
        step_out = self.target.step.double()
        unit_of_sums = step_in.double() * quantiser.step.flatten().double()
        shift = weight_shift(quantiser.bits)
        finest = unit_of_sums * gain.abs() / 2**shift
        constant = is_constant(
            _largest_sum(quantiser.levels(unit.weight), low, high) * 2**shift * finest / step_out
        )
        finest = torch.where(constant, step_out, finest)
        bias = _round_half_away(offset / finest)
        ratio = finest / step_out
        right = (-torch.frexp(ratio)[1]).clamp(min=0)
        n = 2.0**right

        def column(values: Tensor) -> Tensor:
            return values[:, None, None]

        whole = (sums.double() / column(unit_of_sums)).round_()
        factor = torch.where(constant, 0.0, gain.sign() * 2**shift)
        first = (whole * column(factor) + column(bias)).mul_(column(ratio * n)).add_(0.5).floor_()
        return (_round_half_away(first / column(n)) * step_out).to(sums.dtype)


def affine(unit: ConvolutionUnit) -> tuple[Tensor, Tensor]:
    """Return gain and offset of what follows a convolution at evaluation, float64 ``(o,)`` each."""
    norm = unit.norm
    if isinstance(norm, nn.BatchNorm2d):
        assert norm.running_mean is not None
        assert norm.running_var is not None
        gain = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
        return gain, norm.bias.double() - norm.running_mean.double() * gain
    assert unit.bias is not None
    return torch.ones_like(unit.bias, dtype=torch.float64), unit.bias.double()


def _largest_sum(levels: Tensor, low: int, high: int) -> Tensor:
    """Return the largest absolute sum of each channel, float64 ``(o,)``.

    The maximum is over all inputs from ``low`` to ``high``.
    """
    rows = levels.flatten(1).double()
    positive, negative = rows.clamp(min=0).sum(1), rows.clamp(max=0).sum(1)
    return torch.maximum(-(positive * low + negative * high), positive * high + negative * low)


def _round_half_away(values: Tensor) -> Tensor:
    return values.sign() * (values.abs() + 0.5).floor_()
