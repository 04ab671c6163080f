"""Lowering: from a trained network to integers. Batch norm vanishes into weight scales and biases.

Per output channel, with ``s_in`` the input's scale and ``2^shift`` the carried shift:

    weight_scale = float32(weight_step * |gain| / 2^shift)      a negative gain turns the integer weights around
    bias         = round(offset / (s_in * weight_scale))

Only scales (to float32) and biases (to whole numbers) are rounded: the integer weights are those of training.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from nas_engine.integer.arithmetic import INT32_MAX, round_half_away
from nas_engine.integer.bounds import accumulator_bounds, sum_range
from nas_engine.integer.model import Addition, IntegerConvolution, IntegerModel, IntegerPool, Requantizer, TensorSpec
from nas_engine.quantization.record import QuantisationError, QuantisedLayer, QuantisedNetwork, QuantisedTensor, weight_shift

SILENT_LEVELS = 2.0**-10
"""A channel whose convolution can never move the output by this many levels is lowered to its offset alone."""

_FINEST = 2.0**-10
"""Levels of the output to one unit of the accumulator in such a channel: fine enough for any offset."""


def lower(network: QuantisedNetwork, provenance: Mapping[str, str] | None = None) -> IntegerModel:
    """Return the integers of a trained network.

    Args:
        network: The network.
        provenance: Where it comes from: free texts by name.

    Raises:
        QuantisationError: A step size beyond float32, a bias beyond int32, an accumulator that could overflow; names the layer.
    """
    tensors = {tensor.name: _lower_tensor(tensor) for tensor in network.tensors}
    steps = tuple(
        _lower_layer(step, tensors)
        if isinstance(step, QuantisedLayer)
        else IntegerPool(
            name=step.name, input=step.input, output=step.output, kernel=step.kernel, stride=step.stride, padding=step.padding
        )
        for step in network.steps
    )
    return IntegerModel(
        image=network.image,
        tensors=tuple(tensors.values()),
        steps=steps,
        logits=network.logits,
        classes=network.classes,
        provenance=provenance or {},
    )


def _lower_tensor(tensor: QuantisedTensor) -> TensorSpec:
    with np.errstate(over="ignore", under="ignore"):
        scale = float(np.float32(tensor.step))
    return TensorSpec(
        name=tensor.name,
        height=tensor.height,
        width=tensor.width,
        channels=tensor.channels,
        bits=tensor.bits,
        signed=tensor.signed,
        scale=scale,
    )


def _lower_layer(layer: QuantisedLayer, tensors: Mapping[str, TensorSpec]) -> IntegerConvolution:
    source, target = tensors[layer.input], tensors[layer.output]
    shift = weight_shift(layer.weight_bits)
    low, high = source.low - source.zero_point, source.high - source.zero_point

    least, most = sum_range(layer.weights, low, high)
    with np.errstate(over="ignore", under="ignore"):
        real_scale = layer.weight_step * np.abs(layer.gain) / 2**shift
        reach = (np.maximum(-least, most) << shift) * (real_scale * source.scale / target.scale)
        silent = reach < SILENT_LEVELS
        weight_scale = np.where(silent, _FINEST * target.scale / source.scale, real_scale).astype(np.float32)
    if not ((weight_scale > 0) & np.isfinite(weight_scale)).all():
        found = f"weight_step times gain reaches from {real_scale.min():g} to {real_scale.max():g}"
        raise QuantisationError(layer.name, f"{found}; expected numbers above 0 that float32 can hold")
    sign = np.where(silent, 0, np.where(layer.gain < 0, -1, 1)).astype(np.int8)
    weights = layer.weights * sign[:, None, None, None]

    # A constant a million levels away is beyond the clamp, wherever exactly it is.
    offset = np.where(silent, np.clip(layer.offset, -(2.0**20) * target.scale, 2.0**20 * target.scale), layer.offset)
    bias = _lower_bias(layer.name, offset, source.scale * weight_scale.astype(np.float64))
    requantizer = Requantizer.between(source.scale, weight_scale, target.scale)
    return IntegerConvolution(
        name=layer.name,
        kind=layer.kind,
        input=layer.input,
        output=layer.output,
        kernel=layer.kernel,
        stride=layer.stride,
        padding=layer.padding,
        weights=weights,
        weight_bits=layer.weight_bits,
        weight_scale=weight_scale,
        bias=bias,
        requantizer=requantizer,
        addition=Addition.between(tensors[layer.shortcut], target) if layer.shortcut is not None else None,
        bounds=accumulator_bounds(layer.name, sum_range(weights, low, high), shift, bias, requantizer.shift),
    )


def _lower_bias(name: str, offset: npt.NDArray[np.float64], scale: npt.NDArray[np.float64]) -> npt.NDArray[np.int32]:
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        bias = round_half_away(offset / scale)
    beyond = ~(np.abs(bias) <= INT32_MAX)
    if beyond.any():
        channel = int(np.flatnonzero(beyond)[0])
        raise QuantisationError(
            name,
            f"the offset of channel {channel} ({offset[channel]:g}) is {bias[channel]:.3g} steps of its accumulator, beyond int32; "
            "train with a smaller offset or a larger gain",
        )
    return bias.astype(np.int32)
