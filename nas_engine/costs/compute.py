"""Computation: MACs, BitOps and a cycle estimate.

BitOps are the sum of MACs * weight bits * activation bits. The ``paper`` convention (the authors'
public code) adds what batch-norm, ReLU and pooled shortcuts cost there: three operations of 64
BitOps per output element and one per pooled input element.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from nas_engine.block_kinds import PLACES, BlockLayer
from nas_engine.costs.memory import MemoryModel
from nas_engine.layers import (
    KINDS,
    Floats,
    LayerTable,
    by_kind,
    macs_per_layer,
)


def macs(table: LayerTable) -> Floats:
    """Return the multiply-accumulates of each network, ``(n,)``."""
    return np.asarray(macs_per_layer(table).sum(axis=0))


def bitops(
    model: MemoryModel, table: LayerTable, w_bits: npt.NDArray[Any], a_bits: npt.NDArray[Any]
) -> Floats:
    """Return the BitOps of each network.

    Args:
        model: Its ``extra_bitops`` come on top.
        table: ``n`` networks.
        w_bits: Weight width of each layer, ``(layers, n)``.
        a_bits: Input width of each layer, ``(layers, n)``.

    Returns:
        BitOps, ``(n,)``.
    """
    products = (w_bits * a_bits).astype(np.float64)
    return np.asarray((macs_per_layer(table) * products).sum(axis=0) + model.extra_bitops(table))


def cycles(
    table: LayerTable,
    w_bits: npt.NDArray[Any],
    a_bits: npt.NDArray[Any],
    cycles_per_mac: dict[str, Floats],
) -> Floats:
    """Return an estimate of the processor cycles of each network.

    MACs times the device's cycles per MAC.

    Args:
        table: ``n`` networks.
        w_bits: Weight width of each layer, ``(layers, n)``.
        a_bits: Input width of each layer, ``(layers, n)``.
        cycles_per_mac: For each of ``KINDS`` a table of shape ``(9, 9)``, indexed by weight and
            activation bits.

    Returns:
        Cycles, ``(n,)``: an estimate, never a latency claim.
    """
    return np.asarray(cycles_per_layer(table, w_bits, a_bits, cycles_per_mac).sum(axis=0))


def cycles_per_layer(
    table: LayerTable,
    w_bits: npt.NDArray[Any],
    a_bits: npt.NDArray[Any],
    cycles_per_mac: dict[str, Floats],
) -> Floats:
    """Return that estimate for each layer, ``(layers, n)``; arguments as ``cycles``."""
    prices = {kind: np.nan_to_num(cycles_per_mac[kind]) for kind in KINDS}
    per_mac = np.empty(w_bits.shape)
    for row, kind in ((0, "conv"), (-2, "pointwise"), (-1, "dense")):
        per_mac[row] = prices[kind][w_bits[row], a_bits[row]]

    def per_mac_at(rows: slice) -> Callable[[BlockLayer], Floats]:
        return lambda layer: prices[layer.kind][w_bits[rows], a_bits[rows]]

    for place in range(PLACES):
        rows = slice(1 + place, -2, PLACES)
        per_mac[rows] = by_kind(table, place, per_mac_at(rows))
    return np.asarray(macs_per_layer(table) * per_mac)
