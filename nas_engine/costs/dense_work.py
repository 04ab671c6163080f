"""Work of the kernels over all channels: 1x1 and k x k convolutions and dense layers.

``exporters/runtime/nas_dense*.c`` and ``nas_convolution_stream.c``: tiles of output channels, and
for each all pixels, three at a time; a last one or two stand alone. Weights of 4 bits on few pixels
or narrow inputs are multiplied as they stand in Flash, two pixels at a time.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from nas_engine.costs.layer_work import Layers, Prices, some, up
from nas_engine.costs.memory import (
    CHANNELS_UNPACKED,
    MOST_DOUBLINGS,
    PIXELS_AT_ONCE,
    PIXELS_EXPANDED,
    SPREAD_CHANNEL_BYTES,
    WORD_BYTES,
)
from nas_engine.network.kernels import NATIVE_PIXELS, NATIVE_TAPS

FOUR = 4
"""Taps of a word of weights."""

EIGHT = 8
"""Elements of a group that begins and ends at whole bytes at every width."""

ROUND = 4
"""Words of weights of a round of the loop of three pixels."""

RESULTS_HELD = 32
"""Results of a pixel that are finished at once: a shortcut is added, and they are packed."""

ALIGNED = np.array([1.0, 0.25, 0.5, 0.25, 1.0, 0.25, 0.5, 0.25, 1.0])
"""Share of pairs of channels whose weights begin at whole bytes, by their width, where the taps are
no multiple of four."""


def pointwise(layer: Layers, price: Prices) -> Any:
    """Return the instructions of 1x1 layers and dense layers."""
    driven, copied = layer.driven(price), 0.0
    if some(layer.in_place):
        bits = layer.out_width * layer.outputs * layer.out_bits
        aligned = (layer.width * layer.inputs * layer.a_bits % 8 == 0) & (bits % 8 == 0)
        layer = replace(layer, rows=np.where(layer.in_place & aligned, 1, layer.rows))
        words = layer.out_height * bits / np.where(bits % 32 == 0, 32, 8)
        copied = layer.in_place * (layer.calls * price["copy row"] + words * price["copy word"])
    pixels = layer.pixels
    threes = np.floor(pixels / PIXELS_AT_ONCE)
    left = pixels - PIXELS_AT_ONCE * threes
    runs = (layer.a_bits == 8) & (layer.stride == 1) & (layer.inputs % FOUR == 0)
    load = threes * np.where(runs, price["load run"], price["load"]) + (left > 0) * price["load"]
    load = load + _expanded(layer, threes, left, price)
    return _dense(layer, layer.inputs, load, price) + driven + copied


def convolution(layer: Layers, price: Prices) -> Any:
    """Return the instructions of k x k layers over all channels."""
    k, stride, bytes_in = layer.kernel, layer.stride, layer.a_bits == 8
    taps, pixels = k * k * layer.inputs, layer.pixels
    in_groups = layer.inputs % np.where(bytes_in, FOUR, EIGHT) == 0
    image = (k == 3) & ((layer.inputs == 3) | (layer.inputs == 1))
    _, rows = _inner(layer.height, layer.out_height, k, stride, 0)
    first, columns = _inner(layer.width, layer.out_width, k, stride, PIXELS_AT_ONCE - 1)
    in_step = (layer.out_width % PIXELS_AT_ONCE == 0) | layer.by_rows
    groups = np.where(
        in_step,
        np.floor((first + columns - 1) / PIXELS_AT_ONCE) - up(first, PIXELS_AT_ONCE) + 1,
        columns / PIXELS_AT_ONCE,
    )
    quick = bytes_in & (in_groups | image)
    inner = np.maximum(groups, 0) * rows / layer.calls * quick
    inner = np.minimum(inner, np.floor(pixels / PIXELS_AT_ONCE))
    gathered = np.where(layer.inputs == 1, price["window grey"], price["window image"])
    window = price["window"] + np.where(
        image, gathered, k * price["window row"] + taps / FOUR * price["three four"]
    )
    groups_at_edge = np.where(
        bytes_in, taps / FOUR * price["edge four"], taps / EIGHT * price["edge eight"]
    )
    each = np.where(bytes_in, price["edge gathered byte"], price["edge gathered bits"])
    edge = price["edge"] + k * price["edge row"]
    edge = edge + np.where(in_groups, groups_at_edge, taps * each)
    load = inner * window + (pixels - PIXELS_AT_ONCE * inner) * edge
    return _dense(layer, taps, load, price) + layer.driven(price)


def _inner(size: Any, out: Any, kernel: Any, stride: Any, more: int) -> tuple[Any, Any]:
    """Return the first position whose window, and those of ``more`` behind it, lie in the input.

    And how many there are.
    """
    pad = np.floor(np.maximum((out - 1) * stride + kernel - size, 0) / 2)
    first = up(pad, stride)
    last = np.minimum(np.floor((size - kernel + pad) / stride), out - 1) - more
    return first, np.maximum(last - first + 1, 0)


def _direct(layer: Layers) -> Any:
    """Return where results go straight to the output."""
    return (layer.shortcut_bits == 0) & (layer.out_bits == 8) & (layer.outputs % 2 == 0)


def native(layer: Layers) -> Any:
    """Return where weights are multiplied as they stand in Flash: ``network.kernels.kernel_of``."""
    four = layer.w_bits == 4
    if not some(four):
        return np.False_
    few = (layer.a_bits < 8) | (layer.out_height * layer.out_width < NATIVE_PIXELS)
    fits = (layer.inputs % NATIVE_TAPS[4] == 0) & (layer.outputs % 2 == 0) & (layer.kernel == 1)
    return four & few & fits & ~layer.in_place & ~layer.kept


def _expanded(layer: Layers, threes: Any, left: Any, price: Prices) -> Any:
    """Return what it takes to bring the taps of 1x1 layers, for threes of pixels and others."""
    taps, bytes_in = layer.inputs, layer.a_bits == 8
    found = taps / FOUR * (threes * price["three four"] + left * price["left four"])
    found = found + left * price["left"]
    quick = taps % FOUR == 0
    if some(~bytes_in):
        each = price["narrow"] + taps / EIGHT * price["narrow eight"]
        found = np.where(bytes_in, found, (PIXELS_AT_ONCE * threes + left) * each)
        quick = quick & (bytes_in | (taps % EIGHT == 0))
    if some(~quick):
        single = (PIXELS_AT_ONCE * threes + left) * taps * price["single"]
        found = np.where(quick, found, single)
    return found


def _dense(layer: Layers, taps: Any, load: Any, price: Prices) -> Any:
    """Return all instructions of layers over all channels.

    Args:
        layer: The layers.
        taps: Inputs per output channel.
        load: What it takes to bring the taps of all pixels of a call once.
        price: Prices of the loops.
    """
    pixels, channels = layer.pixels, layer.outputs
    in_flash, direct = native(layer), _direct(layer)
    fours, pairs = up(taps, FOUR), up(channels, 2)
    threes = np.floor(pixels / PIXELS_AT_ONCE)
    tile = np.where((threes == 0) & _is_tile(layer, taps), channels, layer.tile)
    tile = np.maximum(np.minimum(tile, 2 * pairs), 1)
    tiles = up(channels, tile)
    left = pixels - PIXELS_AT_ONCE * threes
    runs, results = tiles, np.asarray(0.0)
    if some(~direct):
        runs = np.where(direct, tiles, _split(channels, tile))
        groups = threes + (left > 0)
        results = np.where(direct, 0.0, _results(layer, tile, runs, groups, price))
    found = threes * (
        runs * price["three"]
        + pairs
        * (
            price["three pair"]
            + up(fours, ROUND) * price["three pair round"]
            + fours * price["three pair four"]
        )
    )
    found = found + pairs * (threes > 0) * price["spread pair"]
    if some(left == 1):
        pair = price["one pair"] + fours * price["one pair four"]
        found = found + (left == 1) * (runs * price["one"] + pairs * pair)
    if some(left == 2):
        pair = price["two pair"] + fours * price["two pair four"]
        found = found + (left == 2) * (runs * price["two"] + pairs * pair)
    found = found + tiles * (price["tile"] + load) + results
    if some(in_flash):
        found = np.where(in_flash, _natively(layer, price), found)
    found = (found + price["layer"]) * layer.calls
    return found + _unpacked(layer, taps, in_flash, price)


def _unpacked(layer: Layers, taps: Any, in_flash: Any, price: Prices) -> Any:
    """Return what it takes to unpack the weights."""
    channels = layer.outputs
    fours, pairs = np.floor(taps / FOUR), up(channels, 2)
    in_fours = taps % FOUR == 0
    unpacked = ~in_flash & ((layer.w_bits < 8) | ~in_fours | (channels % 2 == 1))
    each = np.where(layer.w_bits < 8, price["unpack eight"], price["unpack eight bytes"])
    found = pairs * (price["unpack pair"] + fours * each)
    if some(~in_fours):
        aligned = ALIGNED[layer.w_bits.astype(np.intp)]
        few = fours * (aligned * each + (1 - aligned) * 2 * price["unpack four"])
        few = pairs * (price["unpack pair"] + few + 2 * price["unpack four"])
        found = np.where(in_fours, found, few)
    return unpacked * found * np.where(layer.kept, 1.0, layer.calls)


def _natively(layer: Layers, price: Prices) -> Any:
    """Return the instructions of layers whose weights are multiplied as they stand in Flash."""
    halves, taps, channels = up(layer.pixels, 2), layer.inputs, layer.outputs
    direct, whole = _direct(layer), np.maximum(channels, 1)
    runs = np.where(direct, 1.0, _split(channels, whole))
    pair = price["native pair"] + taps / EIGHT * price["native pair eight"]
    found = price["load"] + taps / FOUR * price["native offset"] + runs * price["native"]
    found = halves * (found + up(channels, 2) * pair) + _expanded(layer, 0, 2 * halves, price)
    results = np.where(direct, 0.0, _results(layer, whole, runs, halves, price))
    return found + results


def _split(channels: Any, tile: Any) -> Any:
    """Return the runs in which the results of tiles of channels are finished."""
    whole = np.floor(channels / tile)
    return whole * up(tile, RESULTS_HELD) + up(channels - whole * tile, RESULTS_HELD)


def _results(layer: Layers, tile: Any, runs: Any, groups: Any, price: Prices) -> Any:
    """Return what it takes to add shortcuts and to pack, per call.

    Args:
        layer: The layers.
        tile: Channels of a tile.
        runs: Runs of ``RESULTS_HELD`` channels at most.
        groups: Groups of one to three pixels that are finished together.
        price: Prices of the loops.
    """
    channels, pixels = layer.outputs, layer.pixels
    found = groups * runs * price["finish"]
    summed = layer.shortcut_bits > 0
    if some(summed):
        wider = layer.shortcut_bits - layer.out_bits
        scaled = runs * price["add"] + channels / 2 * price["add two"]
        alike = runs * price["add alike"] + np.floor(channels / FOUR) * price["add alike four"]
        alike = alike + channels % FOUR * price["add alike one"]
        added = np.where(layer.same_scale, alike, scaled)
        added = added + (layer.out_bits < 8) * channels / FOUR * price["fetch four"]
        added = added + channels * ((wider < 0) * price["widen"] + (wider > 0) * price["narrowed"])
        found = found + summed * pixels * added
    stored = ~summed | (layer.out_bits < 8)
    if some(stored):
        found = found + stored * (
            groups * runs * price["store"] + pixels * _packed(layer, tile, price)
        )
    return found


def _packed(layer: Layers, tile: Any, price: Prices) -> Any:
    """Return what it takes to pack the results of a pixel."""
    channels, bits = layer.outputs, _slot_bits(layer)
    whole = np.floor(channels / tile)
    rest = channels - tile * whole
    begins = np.gcd(EIGHT, tile.astype(np.intp) * bits) / EIGHT  # share of tiles at whole bytes
    in_bytes = np.where(channels * bits % EIGHT == 0, begins, 0.0)
    wide, odd = bits == 8, bits % 2 == 1
    eights = np.where(wide, 0.0, whole * _groups(tile, EIGHT) + _groups(rest, EIGHT))
    fours = whole * _groups(tile, FOUR) + _groups(rest, FOUR) - 2 * eights
    fours = np.where(odd, 0.0, fours)
    each = price["store eight"] + (bits & 4 > 0) * price["store word"]
    each = each + (bits & 2 > 0) * price["store half"] + (bits & 1 > 0) * price["store byte"]
    found = eights * each + fours * (price["store four"] + bits / 2 * price["store four byte"])
    runs = _split(channels, tile)
    left = channels - in_bytes * (EIGHT * eights + FOUR * fours)
    return in_bytes * (runs * price["store pixel"] + found) + left * price["store one"]


def _slot_bits(layer: Layers) -> Any:
    """Return the width at which results are written: that of the shortcut where that is wider."""
    return np.maximum(layer.out_bits, layer.shortcut_bits).astype(np.intp)


def _groups(channels: Any, size: int) -> Any:
    """Return the groups of so many results in runs of ``RESULTS_HELD`` channels at most."""
    whole = np.floor(channels / RESULTS_HELD)
    rest = channels - RESULTS_HELD * whole
    return whole * (RESULTS_HELD // size) + np.floor(rest / size)


def _held(layer: Layers) -> tuple[Any, Any, Any, Any]:
    """Return how the scratch of dense layers is divided, in bytes and channels.

    That is all of it, what three pixels take, what a channel takes beside them, and the channels of
    the smallest tile. ``memory.tile_bytes`` has the same numbers.
    """
    taps, windows = layer.kernel * layer.kernel * layer.inputs, layer.kernel > 1
    padded, even = WORD_BYTES * up(taps, WORD_BYTES), 2 * up(layer.outputs, 2)
    few = np.minimum(even, CHANNELS_UNPACKED)
    in_flash = _is_tile(layer, taps)
    least = padded * (few + (2 + windows) * PIXELS_EXPANDED)
    pixels = 2 * PIXELS_AT_ONCE * padded
    beside = np.where(windows | in_flash, few, few - 2)
    spread = 2 * np.floor((least - pixels) / (2 * SPREAD_CHANNEL_BYTES))
    beside = np.where(in_flash, np.maximum(beside, spread), beside)
    each = SPREAD_CHANNEL_BYTES * (even > CHANNELS_UNPACKED) + padded * ~in_flash
    return least, pixels, each, beside


def _is_tile(layer: Layers, taps: Any) -> Any:
    """Return where weights are bytes in the order of the inner loop before the layer runs."""
    return layer.kept | ((layer.w_bits == 8) & (taps % FOUR == 0) & (layer.outputs % 2 == 0))


def channels_held(layer: Layers, doublings: int) -> Any:
    """Return the output channels of which a dense layer holds weights or constants at once.

    Args:
        layer: Layers over all channels.
        doublings: How often the tile is doubled, 0 to ``MOST_DOUBLINGS``.
    """
    return _in_bytes(layer, _held(layer)[-1] * 2**doublings)


def _in_bytes(layer: Layers, channels: Any) -> Any:
    """Return a number of channels, or a few less whose results end at a whole byte."""
    even, bits = 2 * up(layer.outputs, 2), _slot_bits(layer)
    channels = np.minimum(channels, even)
    over = channels % (EIGHT // (bits & -bits))
    found = channels - over * ((channels < even) & (channels >= 4 * over))
    return np.maximum(found, np.minimum(even, 2))


def tile_channels(layer: Layers, room: Any) -> Any:
    """Return the channels that are held at once where some bytes are free beside the scratch.

    Args:
        layer: Layers over all channels.
        room: Those bytes.
    """
    least, pixels, each, beside = _held(layer)
    even = 2 * up(layer.outputs, 2)
    fits = (least + room - pixels) / np.maximum(each, 1)  # channels
    doubled = np.floor(np.log2(np.maximum(fits / np.maximum(beside, 1), 1)))
    found = beside * np.exp2(np.minimum(doubled, MOST_DOUBLINGS))
    all_fit = (fits >= even) & (even <= beside * 2**MOST_DOUBLINGS)
    return _in_bytes(layer, np.where(all_fit, even, found))
