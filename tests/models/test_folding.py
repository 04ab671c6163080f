"""Networks with folded norms equal the networks themselves."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from nas_engine.models.cifar_resnet import CifarResNet, cifar_resnet
from nas_engine.models.folding import folded, scale_and_shift
from nas_engine.models.graph_network import GraphNetwork
from tests.training.networks import block_kinds, small_architecture


def randomised(network: nn.Module) -> nn.Module:
    """Return a network whose norms are those of some training."""
    generator = torch.Generator().manual_seed(1)

    def between(low: float, high: float, like: Tensor) -> Tensor:
        return torch.rand(like.shape, generator=generator) * (high - low) + low

    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.weight.data = between(-1.5, 1.5, module.weight)
            module.bias.data = between(-1, 1, module.bias)
            module.running_mean.copy_(between(-1, 1, module.bias))
            module.running_var.copy_(between(0.1, 3, module.bias))
    return network.eval()


def networks() -> dict[str, CifarResNet | GraphNetwork]:
    torch.manual_seed(0)
    made: dict[str, CifarResNet | GraphNetwork] = {
        "resnet": cifar_resnet(20),
        "inverted": GraphNetwork(small_architecture()),
        "mixed": GraphNetwork(block_kinds()),
    }
    return made


@pytest.mark.parametrize("name", networks())
def test_equal_up_to_rounding_and_without_norms(name: str) -> None:
    network = networks()[name]
    randomised(network)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    channels = network.architecture.input_channels if isinstance(network, GraphNetwork) else 3
    x = torch.randint(-128, 128, (3, channels, 16, 16)) / 128
    result = folded(network)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in result.modules())
    with torch.no_grad():
        expected = network(x)
        torch.testing.assert_close(result(x), expected, rtol=1e-4, atol=1e-4)
    assert expected.std() > 0.1
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_scale_and_shift_are_the_norm() -> None:
    norm = nn.BatchNorm2d(5)
    randomised(norm)
    x = torch.randn(4, 5, 3, 3)
    scale, shift = scale_and_shift(norm)
    torch.testing.assert_close(norm(x), x * scale.view(-1, 1, 1) + shift.view(-1, 1, 1))
