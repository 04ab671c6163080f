"""Fake quantisation of any network, layer by layer.

Each named layer has a width for the weights and one for the input.

``nas_engine.quantization.prepare`` quantises searched networks as integers will run them. This is
for other networks, where only the error of the weights and of the inputs of convolutions matters,
such as to compare allocations of widths: sums, shortcuts and batch norms stay in float. Esser et
al., "Learned Step Size Quantization", ICLR 2020, section 2.1, quantise the same tensors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from nas_engine.errors import InputError, shortened
from nas_engine.quantization.lsq import ActivationQuantiser, WeightQuantiser, least_error_step
from nas_engine.quantization.prepare import SAMPLE

SMALLEST_BITS, LARGEST_BITS = 2, 8
"""Widths that the quantisers are made for."""

_INPUT = "input_quantiser"


class LayerWeightQuantiser(nn.Module):
    """Weight quantiser with one step per output channel.

    For the weight of a convolution ``(o, i, k, k)`` or of a linear layer ``(o, i)``.
    """

    def __init__(self, bits: int, channels: int) -> None:
        super().__init__()
        self.quantiser = WeightQuantiser(bits, channels)
        self.passes = False
        """True if weights pass unchanged, as during calibration."""

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight on its grid, in its own shape."""
        if self.passes:
            return weight
        if weight.dim() == 4:
            return self.quantiser(weight)  # type: ignore[no-any-return]
        return self.quantiser(weight[:, :, None, None])[:, :, 0, 0]  # type: ignore[no-any-return]


def quantise_layers(
    network: nn.Module, weight_bits: Mapping[str, int], activation_bits: Mapping[str, int]
) -> None:
    """Put fake quantisation on layers, in place.

    Every step is 1 until ``calibrate_layers`` or a state dict sets it.

    The widths apply to the weight and to the input of each layer; a layer that is not named stays
    as it is. Inputs are taken as not negative until ``calibrate_layers`` sees others.

    Args:
        network: Any, not quantised yet.
        weight_bits: Width by module name (as ``named_modules`` gives it) of a convolution or linear
            layer, 2 to 8.
        activation_bits: The same for inputs.

    Raises:
        InputError: A name that is no such layer, a layer that has quantisers already, or a width
            out of range.
    """
    layers = {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    }
    for bits_of in (weight_bits, activation_bits):
        for name, bits in bits_of.items():
            if name not in layers:
                known = ", ".join(list(layers)[:4])
                raise InputError(
                    f"'{shortened(name, 40)}' is no convolution or linear layer of the network; "
                    f"expected names as {known}"
                )
            if type(bits) is not int or not SMALLEST_BITS <= bits <= LARGEST_BITS:
                raise InputError(
                    f"width of layer '{name}' is {bits!r}; expected a whole number, "
                    f"{SMALLEST_BITS} to {LARGEST_BITS}"
                )
            if parametrize.is_parametrized(layers[name]) or hasattr(layers[name], _INPUT):
                raise InputError(
                    f"layer '{name}' is quantised already; load the float network again"
                )
    for name, bits in weight_bits.items():
        weight = layers[name].weight
        parametrize.register_parametrization(
            layers[name], "weight", LayerWeightQuantiser(bits, len(weight)).to(weight.device)
        )
    for name, bits in activation_bits.items():
        layers[name].add_module(
            _INPUT, ActivationQuantiser(bits, signed=False).to(layers[name].weight.device)
        )
        layers[name].register_forward_pre_hook(_quantise_input)


def _quantise_input(layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (layer.get_submodule(_INPUT)(inputs[0]), *inputs[1:])


def step_parameters(network: nn.Module) -> Iterator[nn.Parameter]:
    """Yield the step of every quantiser: optimisers treat them differently from weights."""
    return (
        module.step
        for module in network.modules()
        if isinstance(module, ActivationQuantiser | WeightQuantiser)
    )


@torch.no_grad()
def calibrate_layers(network: nn.Module, images: Tensor) -> None:
    """Set every step to the one of least squared error, and the sign of every input.

    The signs are those that the images give.

    Steps of weights come from the weights, those of inputs from one pass in float, with nothing
    quantised. Call it before an optimiser takes the parameters: an input that turns out signed gets
    a new quantiser.

    Args:
        network: After ``quantise_layers``.
        images: One batch as the network takes it; some hundred.
    """
    weights = [module for module in network.modules() if isinstance(module, LayerWeightQuantiser)]
    layers = [
        layer
        for layer in network.modules()
        if isinstance(getattr(layer, _INPUT, None), ActivationQuantiser)
    ]
    seen: dict[nn.Module, list[Tensor]] = {layer: [] for layer in layers}
    training = network.training
    network.eval()
    for layer in layers:
        _input_quantiser(layer).observer = _Observer(seen[layer])
    for of_weight in weights:
        of_weight.passes = True
    try:
        network(images)
    finally:
        for of_weight in weights:
            of_weight.passes = False
        for layer in layers:
            _input_quantiser(layer).observer = None
        network.train(training)
    for layer in layers:
        if seen[layer]:
            row = torch.cat(seen[layer]).view(1, -1)
            fitted = ActivationQuantiser(
                _input_quantiser(layer).bits, signed=bool(row.min() < 0)
            ).to(row.device)
            fitted.step.copy_(least_error_step(row, fitted.low, fitted.high).reshape(()))
            setattr(layer, _INPUT, fitted)
    for module in network.modules():
        if isinstance(module, parametrize.ParametrizationList) and isinstance(
            module[0], LayerWeightQuantiser
        ):
            quantiser = module[0].quantiser
            quantiser.step.copy_(
                least_error_step(module.original, -quantiser.limit, quantiser.limit).view_as(
                    quantiser.step
                )
            )


def _input_quantiser(layer: nn.Module) -> ActivationQuantiser:
    module = layer.get_submodule(_INPUT)
    assert isinstance(module, ActivationQuantiser)
    return module


class _Observer:
    """Keeps a sample of its input, with the lowest value, and returns all unchanged.

    The lowest value tells whether the input is signed.
    """

    def __init__(self, seen: list[Tensor]) -> None:
        self.seen = seen

    def __call__(self, x: Tensor) -> Tensor:
        values = x.detach().flatten()
        self.seen.append(
            torch.cat([values[:: max(1, values.numel() // SAMPLE) | 1], values.min().view(1)])
        )
        return x
