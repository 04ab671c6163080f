"""Work of the depth-wise kernels: ``exporters/runtime/nas_depthwise*.c``.

Four channels of the rows that an output row needs are unpacked to planes, multiplied, and where
results have less than 8 bits packed. Rows of bytes at a stride of 1 are made two at a time where
the map is large enough; by rows, where the ring has a row more.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nas_engine.costs.layer_work import Layers, Prices, some, up
from nas_engine.costs.memory import CHANNELS_EXPANDED
from nas_engine.network.kernels import DEPTHWISE_KERNELS

STRIDES = (1, 2)
"""Strides of the loops of ``DEPTHWISE_KERNELS``."""


def depthwise(layer: Layers, price: Prices) -> Any:
    """Return the instructions of depth-wise layers."""
    k, stride, channels = layer.kernel, layer.stride, layer.inputs
    height, width, columns = layer.height, layer.width, layer.out_width
    bytes_in, bytes_out, by_layers = layer.a_bits == 8, layer.out_bits == 8, ~layer.by_rows
    groups, half, taps = up(channels, CHANNELS_EXPANDED), np.floor(k / 2), k * k * channels
    quick = (np.isin(k, tuple(DEPTHWISE_KERNELS))) & (stride <= max(STRIDES))
    roomy = width * channels >= 2 * CHANNELS_EXPANDED * (width + width % 2 + 2 * half)
    fits = bytes_in & bytes_out & (stride == 1) & (channels % CHANNELS_EXPANDED == 0) & quick
    twos = np.where(by_layers, fits & roomy, layer.rows == 2)
    held = k + twos
    made = np.where(twos, up(layer.out_height, 2), layer.out_height)  # one row or two
    above = np.floor(np.maximum((layer.out_height - 1) * stride + k - height, 0) / 2)
    below = np.maximum((layer.out_height - 1) * stride + k - height - above, 0)
    beyond = (above * (above + 1) + below * (below + 1)) / 2 / stride  # rows of padding in all
    beyond = np.where(twos, half + np.maximum(2 * made + half - height, 0), beyond)
    rows = np.maximum(made * held - beyond, made)
    reach = (columns - 1) * stride + k
    left = np.floor(np.maximum(reach - width, 0) / 2)
    right = np.maximum(reach - width - left, 0)
    edges = left % 2 + (left + width) % 2
    words = np.maximum(np.floor(np.minimum(reach, width) / 2) - left % 2, 0)
    padded = made * held * (np.floor(left / 2) + np.floor(right / 2)) + beyond * (width / 2 + left)
    pads = made * held * price["pad row"] + padded * price["pad word"]
    row = price["expand row"] + words * price["expand pair"] + edges * price["expand edge"]
    if some(~bytes_in):
        row = np.where(bytes_in, row, _expanded_bits(layer, words, edges, price))
    multiplied = _multiplied(layer, quick, twos, price)
    found = made * price["row"] + groups * (made * price["row group"] + rows * row)
    if some(~bytes_out):  # padding is written again before each group
        each = np.where(layer.out_bits % 2 == 0, price["pack bytes"], price["pack bits"])
        packed = made * groups * (price["pack"] + columns * each)
        found = found + np.where(bytes_out, pads, groups * pads + packed)
    else:
        found = found + pads
    found = found + made * channels * multiplied
    found = found + taps * np.where(layer.w_bits < 8, price["unpack weight"], price["copy weight"])
    fetched = price["layer"] + _fetched(layer, twos, made, half, price)
    return found + by_layers * fetched + layer.driven(price)


def _expanded_bits(layer: Layers, words: Any, edges: Any, price: Prices) -> Any:
    """Return what it takes to unpack four channels of a row of narrow inputs."""
    channels = layer.inputs
    row = price["expand bits row"] + words * price["expand bits pair"]
    row = row + edges * price["expand bits edge"]
    slow = CHANNELS_EXPANDED * (layer.width + edges) * price["expand any"]
    in_bytes = (channels * layer.a_bits % 8 == 0) & (channels % CHANNELS_EXPANDED == 0)
    return np.where(in_bytes, row, slow)


def _fetched(layer: Layers, twos: Any, made: Any, half: Any, price: Prices) -> Any:
    """Return what it takes to copy rows of the input into the ring, or those kept for two rows."""
    bits = layer.width * layer.inputs * layer.a_bits
    each = np.where(
        bits % 8 == 0, bits / 128 * price["fetch sixteen"], bits / 8 * price["fetch byte"]
    )
    ring = layer.height * (price["fetch row"] + each)
    return np.where(twos, made * half * bits / 128 * price["keep sixteen"], ring)


def _multiplied(layer: Layers, quick: Any, twos: Any, price: Prices) -> Any:
    """Return the instructions of a channel of an output row, or of two."""
    k, columns = layer.kernel, layer.out_width
    product = k * k * price["plain product"] + k * price["plain row"] + price["plain result"]
    found = price["plain"] + columns * product if some(~quick) else np.asarray(0.0)
    for size in DEPTHWISE_KERNELS:
        for way, mask in (
            *((f"stride {at}", (layer.stride == at) & ~twos) for at in STRIDES),
            ("two rows", twos),
        ):
            own = quick & (k == size) & mask
            if not some(own):
                continue
            name = f"{size}x{size} {way}"
            alone = size > 3 and way == "stride 2"  # a round makes one result, else two
            rounds = columns if alone else up(columns, 2)
            value = price[f"{name} channel"] + rounds * price[f"{name} round"]
            if not alone:
                value = value + (columns % 2) * (columns > 1) * price[f"{name} odd"]
            found = np.where(own, value, found)
    return found
