"""Quantisers on layers of any network: values on their grids, steps of least error, signs, and what
is refused.
"""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from benchmarks.studies.resnet_qat.fake_quantisation import (
    calibrate_layers,
    quantise_layers,
    step_parameters,
)
from nas_engine.errors import InputError
from nas_engine.models.cifar_resnet import cifar_resnet
from nas_engine.quantization.lsq import ActivationQuantiser, WeightQuantiser, least_error_step

WEIGHTS = {"0": 4, "3": 3}
INPUTS = {"0": 5, "3": 2}


def small_network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 16, 5)
    )


def images() -> Tensor:
    return torch.randn(32, 3, 6, 6, generator=torch.Generator().manual_seed(1))


def quantised() -> nn.Sequential:
    network = small_network()
    quantise_layers(network, WEIGHTS, INPUTS)
    calibrate_layers(network, images())
    return network


def test_levels_of_weights_and_inputs_are_whole_numbers_within_the_width() -> None:
    network = quantised()
    inputs: dict[str, Tensor] = {}
    for name in WEIGHTS:  # runs after the hook that quantises
        network.get_submodule(name).register_forward_pre_hook(
            lambda layer, x, name=name: inputs.update({name: x[0]})
        )
    network(images())
    for name in WEIGHTS:
        layer = network.get_submodule(name)
        step = layer.parametrizations.weight[0].quantiser.step
        levels = layer.weight / step.view(-1, *[1] * (layer.weight.dim() - 1))
        assert torch.allclose(levels, levels.round(), atol=1e-4)
        assert levels.abs().max().round() == 2 ** (WEIGHTS[name] - 1) - 1
        quantiser = layer.input_quantiser
        levels = inputs[name] / quantiser.step
        assert torch.allclose(levels, levels.round(), atol=1e-4)
        assert (levels.min().round(), levels.max().round()) == (quantiser.low, quantiser.high)


def test_steps_are_those_of_least_error_on_the_float_network() -> None:
    network, plain = quantised(), small_network()
    for name in WEIGHTS:
        quantiser = network.get_submodule(name).parametrizations.weight[0].quantiser
        weight = plain.get_submodule(name).weight
        assert torch.equal(
            quantiser.step.flatten(),
            least_error_step(weight, -quantiser.limit, quantiser.limit).flatten(),
        )
    with (
        torch.no_grad()
    ):  # all values are few enough to be looked at; the lowest is looked at twice
        seen = plain[:3](images()).flatten()
    expected = least_error_step(torch.cat([seen, seen.min().view(1)]).view(1, -1), 0, 3)
    assert network[3].input_quantiser.step == expected.squeeze()


def test_inputs_are_signed_where_the_images_are() -> None:
    network = quantised()
    assert network[0].input_quantiser.signed
    assert not network[3].input_quantiser.signed


def test_a_layer_used_twice_sees_both_inputs() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(2, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(-self.conv(x).abs())

    network = Twice()
    quantise_layers(network, {}, {"conv": 4})
    calibrate_layers(network, torch.rand(4, 2, 5, 5))
    assert network.conv.input_quantiser.signed


def test_gradients_reach_weights_and_every_step_and_mode_is_kept() -> None:
    network = quantised().train()
    calibrate_layers(network, images())
    assert network.training
    network(images()).square().sum().backward()
    steps = list(step_parameters(network))
    assert len(steps) == 4
    assert all(step.grad is not None and step.grad.abs().sum() > 0 for step in steps)
    assert network[3].parametrizations.weight.original.grad.abs().sum() > 0


def test_state_dict_restores_a_calibrated_network() -> None:
    first, second = quantised(), quantised()
    with torch.no_grad():
        for step in step_parameters(first):
            step.mul_(1.3)
    assert not torch.equal(first(images()), second(images()))
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(images()), second(images()))
    assert torch.equal(copy.deepcopy(first)(images()), first(images()))


def test_a_resnet_at_8_bits_is_nearly_the_float_one_and_only_named_layers_change() -> None:
    torch.manual_seed(0)
    plain = cifar_resnet(20).eval()
    x = torch.rand(8, 3, 16, 16) * 2 - 1
    names = [
        name for name, module in plain.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)
    ]
    network = copy.deepcopy(plain)
    quantise_layers(network, dict.fromkeys(names, 8), dict.fromkeys(names[1:], 8))
    calibrate_layers(network, x)
    logits, expected = network(x), plain(x)
    assert not torch.equal(logits, expected)
    assert (logits - expected).abs().mean() < 0.05 * expected.abs().mean()
    assert (
        sum(isinstance(module, WeightQuantiser) for module in network.modules()) == len(names) == 20
    )
    assert (
        sum(isinstance(module, ActivationQuantiser) for module in network.modules())
        == len(names) - 1
    )

    half = copy.deepcopy(plain)
    quantise_layers(half, {"layer1.0.conv1": 2}, {})
    assert not parametrize.is_parametrized(half.layer1[0].conv2)
    assert not hasattr(half.layer1[0].conv1, "input_quantiser")


@pytest.mark.parametrize(
    ("weights", "inputs", "message"),
    [
        ({"1": 4}, {}, "'1' is no convolution"),
        ({}, {"9": 4}, "'9' is no convolution"),
        ({"0": 1}, {}, "width of layer '0' is 1"),
        ({}, {"3": 9}, "width of layer '3' is 9"),
        ({"0": 4.0}, {}, "4.0"),
    ],
)
def test_what_is_refused_leaves_the_network_as_it_was(
    weights: dict[str, int], inputs: dict[str, int], message: str
) -> None:
    network = small_network()
    with pytest.raises(InputError, match=message):
        quantise_layers(network, {"3": 4, **weights}, inputs)
    assert not parametrize.is_parametrized(network[3])


@pytest.mark.parametrize(("weights", "inputs"), [({"0": 4}, {}), ({}, {"0": 4})])
def test_a_layer_is_quantised_once(weights: dict[str, int], inputs: dict[str, int]) -> None:
    network = quantised()
    with pytest.raises(InputError, match="quantised already"):
        quantise_layers(network, weights, inputs)
