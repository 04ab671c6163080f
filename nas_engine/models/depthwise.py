"""Depth-wise 2-D convolution whose weight gradient is fast on a CPU for wide kernels too.

oneDNN's weight gradient of a stride-1 depth-wise convolution is fast for kernels of width 3 and
about six times slower per tap for wider ones. A kernel of width 5 is covered by two windows of
width 3 that overlap in one column (7: three), so narrow gradients of shifted inputs give the wide
one. The numbers are those of ``torch.nn.functional.conv2d`` up to the order of summation. Trainings
go through ``nas_engine.kernels`` where they can.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

_NARROW = 3
"""Width of the kernels whose weight gradient is fast."""


def depthwise_conv2d(
    x: Tensor, weight: Tensor, stride: int, padding: int, bias: Tensor | None = None
) -> Tensor:
    """Return the depth-wise convolution of a batch.

    Args:
        x: ``(n, c, h, w)``.
        weight: ``(c, 1, k, k)``.
        stride: 1 or 2, both ways.
        padding: Zeros on each side.
        bias: ``(c,)``, or ``None``.

    Returns:
        ``(n, c, h', w')``, as ``functional.conv2d`` with ``groups=c``.
    """
    kernel = weight.shape[-1]
    slow = bias is None and stride == 1 and kernel > _NARROW and 2 * padding == kernel - 1
    if slow and torch.is_grad_enabled() and x.device.type == "cpu" and x.dtype == torch.float32:
        result: Tensor = _WideDepthwise.apply(x, weight)  # type: ignore[no-untyped-call]
        return result
    return functional.conv2d(x, weight, bias, stride, padding, 1, weight.shape[0])


class _WideDepthwise(torch.autograd.Function):
    """Stride 1, as many outputs as inputs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return functional.conv2d(x, weight, None, 1, weight.shape[-1] // 2, 1, weight.shape[0])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        of_x = of_weight = None
        if ctx.needs_input_grad[0]:  # a convolution with the kernel turned by half a turn
            of_x = functional.conv2d(
                gradient, weight.flip(2, 3), None, 1, weight.shape[-1] // 2, 1, weight.shape[0]
            )
        if ctx.needs_input_grad[1]:
            of_weight = _weight_gradient(x, weight, gradient)
        return of_x, of_weight


def _weight_gradient(x: Tensor, weight: Tensor, gradient: Tensor) -> Tensor:
    channels, kernel = weight.shape[0], weight.shape[-1]
    padded = functional.pad(x, [kernel // 2] * 4)
    columns = gradient.shape[3] + _NARROW - 1  # what a narrow window sees
    result = torch.empty_like(weight, memory_format=torch.contiguous_format)
    narrow = torch.empty_like(result[..., :_NARROW], memory_format=torch.contiguous_format)
    for left in range(0, kernel - _NARROW + 1, _NARROW - 1):
        seen = padded[..., left : left + columns].contiguous(memory_format=torch.channels_last)
        result[..., left : left + _NARROW] = torch.ops.aten.convolution_backward(
            gradient,
            seen,
            narrow,
            None,
            [1, 1],
            [0, 0],
            [1, 1],
            False,
            [0, 0],
            channels,
            [False, True, False],
        )[1]
    return result
