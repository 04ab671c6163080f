"""Learned step size quantisation (LSQ): fake quantisation whose steps are trained with the weights.

Esser et al., "Learned Step Size Quantization", ICLR 2020: ``v = x/s``, ``x^ = s * round(clip(v,
low, high))`` (eq. 1, 2); the gradient passes where ``low < v < high`` (eq. 5), and of the step it
is ``round(v) - v`` there and ``low`` or ``high`` outside (eq. 3), scaled by ``1/sqrt(numel *
high)`` (section 2.2). Rounding is to nearest, ties to even, as torch rounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

SMALLEST_STEP = 1e-8
"""Steps are kept at or above this; a step of zero has no meaning."""


def activation_range(bits: int, signed: bool) -> tuple[int, int]:
    """Return the lowest and highest level of an activation.

    ``[0, 2^b - 1]``, or ``[-2^(b-1), 2^(b-1) - 1]`` if signed.
    """
    return (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)


def weight_limit(bits: int) -> int:
    """Return the largest level of a weight.

    Weights lie in ``±(2^(b-1) - 1)``, as in the TFLite int8 specification.
    """
    return (1 << (bits - 1)) - 1


def step_range(bits: int) -> tuple[float, float]:
    """Return the least and the largest step of a weight.

    They are multiples of the step that just holds the largest weight of its channel.

    A clipped weight moves its channel's step by a share of it that grows as ``Q^1.5 / sqrt(n)``
    (``Q`` levels, ``n`` weights), and a batch norm behind takes away what would pull it back: at 8
    bits steps of single channels run away in either direction. A step above 1 leaves levels unused.
    ``docs/training.md`` has what was measured.
    """
    return (0.25, 1.0) if bits >= 5 else (0.25, 2.0)


def fake_quantise(x: Tensor, step: Tensor, low: int, high: int, gradient_scale: float) -> Tensor:
    """Return ``x`` rounded to multiples of a learned step within ``low`` to ``high`` steps.

    Args:
        x: Any shape.
        step: Positive; one element, or one per entry of the first dimension of ``x`` with ones for
            the others.
        low: Lowest level.
        high: Highest level.
        gradient_scale: Factor on the gradient of the step, ``1/sqrt(numel * high)`` in the paper.
    """
    result: Tensor = _FakeQuantise.apply(  # type: ignore[no-untyped-call]
        x, step, low, high, gradient_scale
    )
    return result


class _FakeQuantise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, step: Tensor, low: int, high: int, gradient_scale: float
    ) -> Tensor:
        level = x / step
        rounded = level.round().clamp_(low, high)
        ctx.save_for_backward(level, rounded)
        ctx.range, ctx.gradient_scale, ctx.step_shape = (low, high), gradient_scale, step.shape
        return rounded * step

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        level, rounded = ctx.saved_tensors
        low, high = ctx.range
        of_x = torch.ops.aten.hardtanh_backward(
            gradient, level, low, high
        )  # zero where level <= low or level >= high
        # eq. 3: inside the range the step gets round(v) - v, outside the end of the range, which is
        # what `rounded` holds there
        of_step = torch.addcmul(gradient * rounded, of_x, level, value=-1.0)
        return of_x, of_step.sum_to_size(ctx.step_shape) * ctx.gradient_scale, None, None, None


class ActivationQuantiser(nn.Module):
    """Per-tensor fake quantisation with one learned step.

    Several layers may share one object, and so its step.
    """

    step: nn.Parameter

    def __init__(self, bits: int, *, signed: bool) -> None:
        super().__init__()
        self.bits = bits
        self.signed = signed
        self.low, self.high = activation_range(bits, signed)
        self.step = nn.Parameter(torch.ones(()))
        self.observer: Callable[[Tensor], Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` on the grid, ``(n, ...)``.

        The gradient of the step is scaled by the features of one sample.

        With an ``observer`` (calibration) return what that returns.
        """
        if self.observer is not None:
            return self.observer(x)
        return fake_quantise(
            x, self.step, self.low, self.high, 1.0 / math.sqrt(x[0].numel() * self.high)
        )

    def narrow(self, x: Tensor) -> Tensor:
        """Return ``x`` on the same grid within an int8 range.

        For a tensor that waits for a sum in the sum's own scale.
        """
        if self.observer is not None:
            return x
        low, high = activation_range(8, signed=True)
        return fake_quantise(x, self.step, low, high, 1.0 / math.sqrt(x[0].numel() * high))

    def extra_repr(self) -> str:
        """Return width and sign for ``print(network)``."""
        return f"bits={self.bits}, signed={self.signed}"


class WeightQuantiser(nn.Module):
    """Fake quantisation of a weight with one learned step per output channel."""

    step: nn.Parameter

    def __init__(self, bits: int, channels: int) -> None:
        super().__init__()
        self.bits = bits
        self.limit = weight_limit(bits)
        self.step_range = step_range(bits)
        self.step = nn.Parameter(torch.ones(channels, 1, 1, 1))

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight ``(o, i, k, k)`` on the grid."""
        return fake_quantise(
            weight,
            self.step,
            -self.limit,
            self.limit,
            1.0 / math.sqrt(weight[0].numel() * self.limit),
        )

    @torch.no_grad()
    def bound_step(self, weight: Tensor) -> None:
        """Bring the steps back into ``step_range``, given the weight ``(o, i, k, k)``.

        The steps of a channel of zeros become the smallest.
        """
        widest = weight.abs().amax(dim=(1, 2, 3), keepdim=True) / self.limit
        low, high = self.step_range
        self.step.clamp_(low * widest, high * widest).clamp_(min=SMALLEST_STEP)

    @torch.no_grad()
    def levels(self, weight: Tensor) -> Tensor:
        """Return the integers of the weight, ``(o, i, k, k)`` in ``±limit``."""
        return (weight / self.step).round().clamp_(-self.limit, self.limit)

    def extra_repr(self) -> str:
        """Return the width for ``print(network)``."""
        return f"bits={self.bits}, channels={self.step.shape[0]}"


@torch.no_grad()
def paper_step(x: Tensor, high: int) -> Tensor:
    """Return the initial step of the LSQ paper, ``2 mean|x| / sqrt(high)``, ``(o, 1, ...)``.

    The mean is over all but the first dimension.
    """
    mean = x.abs().mean(dim=tuple(range(1, x.dim())), keepdim=True)
    return (2.0 * mean / math.sqrt(high)).clamp_(min=SMALLEST_STEP)


_CANDIDATES = 60
_FIRST_SHARE = 0.1


@torch.no_grad()
def least_error_step(x: Tensor, low: int, high: int) -> Tensor:
    """Return the step with the least mean squared error, ``(o, 1, ...)``.

    The mean is over all but the first dimension.

    Chosen here: 60 candidates, geometric from 0.1 to 1 of the step that holds the largest value.
    Below 5 bits it starts much nearer to where training ends than ``paper_step``.
    """
    rows = x.reshape(x.shape[0], -1)
    ends = rows.clamp(max=0).abs().amax(1) / max(-low, 1), rows.clamp(min=0).amax(1) / high
    widest = torch.maximum(*ends) if low else ends[1]
    widest = widest.clamp(min=SMALLEST_STEP)
    best, best_error = widest.clone(), torch.full_like(widest, torch.inf)
    for share in torch.logspace(math.log10(_FIRST_SHARE), 0.0, _CANDIDATES).tolist():
        step = (widest * share).clamp(min=SMALLEST_STEP)
        error = (
            ((rows / step[:, None]).round_().clamp_(low, high) * step[:, None] - rows)
            .square_()
            .mean(1)
        )
        best = torch.where(error < best_error, step, best)
        best_error = torch.minimum(error, best_error)
    return best.view(-1, *[1] * (x.dim() - 1))
