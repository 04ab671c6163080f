"""Batch norms folded into the convolutions before them, for networks that only answer."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from nas_engine.models.cifar_resnet import CifarResNet
from nas_engine.models.graph_network import GraphNetwork


def scale_and_shift(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return factor and summand of each channel at evaluation, ``(o,)`` each."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = torch.rsqrt(norm.running_var + norm.eps)
    if norm.weight is not None:
        scale = scale * norm.weight.detach()
    shift = -norm.running_mean * scale
    return scale, shift if norm.bias is None else shift + norm.bias.detach()


@torch.no_grad()
def folded(network: CifarResNet | GraphNetwork) -> CifarResNet | GraphNetwork:
    """Return a copy of a float network without batch norms, in evaluation mode.

    Its results are equal up to rounding.
    """
    result = copy.deepcopy(network).eval()
    if isinstance(result, CifarResNet):
        for module in (result, *result.blocks()):
            for name, child in list(module.named_children()):
                if isinstance(child, nn.Conv2d):
                    _fold(child, module, name.replace("conv", "bn"))
        return result
    for _, unit in result.units():
        if unit.bias is None:
            _fold(unit, unit, "norm")
    return result


def _fold(convolution: nn.Module, owner: nn.Module, name: str) -> None:
    """Fold the batch norm of a name into a convolution, and leave an identity in its place."""
    norm, weight = getattr(owner, name), convolution.weight
    assert isinstance(norm, nn.BatchNorm2d)
    assert isinstance(weight, nn.Parameter)
    scale, shift = scale_and_shift(norm)
    weight.mul_(scale.view(-1, 1, 1, 1))
    convolution.register_parameter("bias", nn.Parameter(shift))
    setattr(owner, name, nn.Identity())
