"""The fast weight gradient against autograd's in double precision."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from nas_engine.models.depthwise import depthwise_conv2d

SHAPES = [
    (kernel, stride, height, width)
    for kernel in (1, 3, 5, 7)
    for stride in (1, 2)
    for height, width in ((1, 1), (2, 9), (7, 5), (12, 12), (13, 8))
]


def tensors(kernel: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(kernel * height + width)
    return torch.randn(3, 6, height, width), torch.randn(6, 1, kernel, kernel)


def assert_near(result: Tensor | None, exact: Tensor | None) -> None:
    assert result is not None
    assert exact is not None
    assert (result - exact).abs().max() <= 2e-6 * max(exact.abs().max().item(), 1)


@pytest.mark.parametrize(
    "layout", [torch.contiguous_format, torch.channels_last], ids=["planes", "channels-last"]
)
@pytest.mark.parametrize(("kernel", "stride", "height", "width"), SHAPES)
def test_output_and_both_gradients(
    kernel: int, stride: int, height: int, width: int, layout: torch.memory_format
) -> None:
    x, weight = tensors(kernel, height, width)
    x = x.contiguous(memory_format=layout).requires_grad_()
    weight.requires_grad_()
    x64, weight64 = (tensor.detach().double().requires_grad_() for tensor in (x, weight))
    y = depthwise_conv2d(x, weight, stride, kernel // 2)
    y64 = functional.conv2d(x64, weight64, None, stride, kernel // 2, 1, 6)
    assert y.shape == y64.shape
    assert_near(y, y64)
    upstream = torch.randn(y.shape)
    y.backward(upstream)
    y64.backward(upstream.double())
    assert_near(x.grad, x64.grad)
    assert_near(weight.grad, weight64.grad)


@pytest.mark.parametrize("kernel", [5, 7])
def test_only_the_gradients_that_are_asked_for(kernel: int) -> None:
    x, weight = tensors(kernel, 9, 6)
    plain = functional.conv2d(x, weight, None, 1, kernel // 2, 1, 6)
    with torch.no_grad():
        assert torch.equal(depthwise_conv2d(x, weight, 1, kernel // 2), plain)
    weight.requires_grad_()
    depthwise_conv2d(x, weight, 1, kernel // 2).sum().backward()
    assert x.grad is None
    of_weight, weight.grad = weight.grad, None
    x.requires_grad_()
    depthwise_conv2d(x, weight, 1, kernel // 2).sum().backward()
    assert of_weight is not None
    assert weight.grad is not None
    assert torch.equal(of_weight, weight.grad)
    of_x, x.grad = x.grad, None
    depthwise_conv2d(x, weight.detach(), 1, kernel // 2).sum().backward()
    assert of_x is not None
    assert x.grad is not None
    assert torch.equal(of_x, x.grad)


def test_a_gradient_that_is_not_laid_out_in_memory() -> None:
    """``sum`` and transposes hand back gradients with strides of their own."""
    x, weight = tensors(5, 6, 6)
    weight.requires_grad_()
    upstream = torch.randn(3, 6, 6, 6).transpose(2, 3)
    (of_weight,) = torch.autograd.grad(depthwise_conv2d(x, weight, 1, 2), weight, upstream)
    (expected,) = torch.autograd.grad(
        functional.conv2d(x, weight, None, 1, 2, 1, 6), weight, upstream
    )
    torch.testing.assert_close(of_weight, expected, rtol=1e-5, atol=1e-5)
