"""Lowering: trained network to integers. Batch norm vanishes into weight scales and biases.

Per output channel, with ``s_in`` the input's scale and ``2^shift`` the carried shift:

    weight_scale = float32(weight_scale * |gain| / 2^shift)   (a negative gain negates weights)
    bias         = round(offset / (s_in * weight_scale))

Only scales (to float32) and biases (to whole numbers) are rounded: the integer weights are those of
training. Channels that training has silenced are the exception: a constant is written as a bias
alone, and weights whose sum moves the output by next to nothing beside a large offset are counted
in a coarser unit, so that the bias fits into int32.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from nas_engine.integer.arithmetic import INT32_MAX, Ints, round_half_away
from nas_engine.integer.bounds import accumulator_bounds, sum_range
from nas_engine.integer.model import (
    Addition,
    IntegerConvolution,
    IntegerModel,
    IntegerSum,
    Requantizer,
)
from nas_engine.network.graph import NetworkError, Node
from nas_engine.quantization.record import (
    QuantisedLayer,
    QuantisedNetwork,
    QuantisedTensor,
    is_constant,
    weight_shift,
)

_BEYOND = 512.0
"""Levels from which on every output is clamped, and a result that a shortcut is added to as well.
"""

_FINEST = 2.0**-10
"""Levels of the result to one unit of the accumulator in a constant channel: a whole level is a
power of two of them, and stays exact."""

_COARSE_BIAS = 2.0**30
"""Largest bias, sum included, of a channel whose unit had to become coarser."""

_LEAST_UNIT = 2.0**-29
"""Fewest levels of the result to one unit of the accumulator: requantisation then shifts by at most
28 to the right."""


def lower(network: QuantisedNetwork, provenance: Mapping[str, str] | None = None) -> IntegerModel:
    """Return the integers of a trained network.

    Args:
        network: The network.
        provenance: Where it comes from: free texts by name.

    Raises:
        NetworkError: A scale beyond float32, or an accumulator that could overflow; names
            the layer.
    """
    tensors = {
        tensor.name: replace(tensor, scale=_float32(tensor.scale)) for tensor in network.tensors
    }
    return IntegerModel(
        tensors=tuple(tensors.values()),
        nodes=tuple(_lower_node(node, tensors) for node in network.nodes),
        inputs=network.inputs,
        outputs=network.outputs,
        classes=network.classes,
        provenance=provenance or {},
    )


def _float32(scale: float) -> float:
    with np.errstate(over="ignore", under="ignore"):
        return float(np.float32(scale))


def _lower_node(node: Node, tensors: Mapping[str, QuantisedTensor]) -> Node:
    if isinstance(node, QuantisedLayer):
        return _lower_layer(node, tensors)
    return IntegerSum.between(node, tensors) if node.kind == "add" else node


def _lower_layer(
    layer: QuantisedLayer, tensors: Mapping[str, QuantisedTensor]
) -> IntegerConvolution:
    source, target = tensors[layer.input], tensors[layer.output]
    scale = target.scale if layer.own_scale is None else _float32(layer.own_scale)
    addition = (
        None if layer.shortcut is None else Addition.between(tensors[layer.shortcut], scale, target)
    )
    shift = weight_shift(layer.weight_bits)
    low, high = source.low - source.zero_point, source.high - source.zero_point

    least, most = sum_range(layer.weights, low, high)
    largest = np.maximum(-least, most) << shift
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        real_scale = layer.weight_scale * np.abs(layer.gain) / 2**shift
        unit = real_scale * source.scale / scale
        reach, level = np.where(largest > 0, largest * unit, 0.0), layer.offset / scale
        constant = is_constant(reach) | (np.abs(level) > reach + _BEYOND)
        coarser = np.where(constant, 0, _coarser(unit, np.abs(level), largest))
        weight_scale = np.where(
            constant, _FINEST * scale / source.scale, real_scale * 2.0**coarser
        ).astype(np.float32)
    if not ((weight_scale > 0) & np.isfinite(weight_scale)).all():
        found = f"weight_scale times gain reaches from {real_scale.min():g} to {real_scale.max():g}"
        raise NetworkError(layer.name, f"{found}; expected numbers above 0 that float32 can hold")
    sign = np.where(constant, 0, np.where(layer.gain < 0, -1, 1))
    weights = round_half_away(layer.weights * (sign / 2.0**coarser)[:, None, None, None]).astype(
        np.int8
    )

    offset = np.where(
        constant, round_half_away(np.clip(level, -_BEYOND, _BEYOND)) * scale, layer.offset
    )
    bias = round_half_away(offset / (source.scale * weight_scale.astype(np.float64))).astype(
        np.int32
    )
    requantizer = Requantizer.between(source.scale, weight_scale, scale)
    return IntegerConvolution(
        **layer.as_fields(),
        weights=weights,
        weight_scale=weight_scale,
        bias=bias,
        requantizer=requantizer,
        addition=addition,
        bounds=accumulator_bounds(
            layer.name, sum_range(weights, low, high), shift, bias, requantizer.shift
        ),
    )


def _coarser(
    unit: npt.NDArray[np.float64], offset: npt.NDArray[np.float64], largest: Ints
) -> npt.NDArray[np.int64]:
    """Return the power of two by which each channel's unit is too fine.

    Too fine for its bias, or for the shift of its requantisation.

    Args:
        unit: Levels of the result to one unit of the accumulator, ``(O,)``.
        offset: Levels, ``(O,)``.
        largest: Largest absolute sum, in units, ``(O,)``.
    """
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        bias = offset / unit
        too_large = np.where(bias > INT32_MAX - largest, (bias + largest) / _COARSE_BIAS, 1.0)
        power = np.ceil(np.log2(np.maximum(np.maximum(too_large, _LEAST_UNIT / unit), 1.0)))
    return np.where(np.isfinite(power), power, 0).astype(np.int64)
