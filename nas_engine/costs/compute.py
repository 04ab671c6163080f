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
from nas_engine.layers import (
    KINDS,
    Floats,
    LayerTable,
    by_kind,
    macs_per_layer,
    output_channels,
    output_positions,
)

PAPER_OPS_PER_OUTPUT = 3
"""Batch-norm (2) and ReLU (1) per output element in the authors' count, each as 8 x 8 bit
operation."""


def macs(table: LayerTable) -> Floats:
    """Return the multiply-accumulates of each network, ``(n,)``."""
    return np.asarray(macs_per_layer(table).sum(axis=0))


def extra_bitops(model_name: str, table: LayerTable) -> Floats:
    """Return the BitOps that do not depend on any width, ``(n,)``.

    Zero except for the ``paper`` convention.
    """
    if model_name != "paper":
        return np.zeros(table.n)
    elements = PAPER_OPS_PER_OUTPUT * (output_channels(table) * output_positions(table))[:-1].sum(
        axis=0
    )
    if table.pooled is not None:
        elements += (table.area_in * table.c_in * table.pooled).sum(axis=0)
    return np.asarray(64.0 * elements)


def bitops(
    model_name: str, table: LayerTable, w_bits: npt.NDArray[Any], a_bits: npt.NDArray[Any]
) -> Floats:
    """Return the BitOps of each network.

    Args:
        model_name: ``"arena"`` or ``"paper"``, see the module's description.
        table: ``n`` networks.
        w_bits: Weight width of each layer, ``(layers, n)``.
        a_bits: Input width of each layer, ``(layers, n)``.

    Returns:
        BitOps, ``(n,)``.
    """
    products = (w_bits * a_bits).astype(np.float64)
    return np.asarray(
        (macs_per_layer(table) * products).sum(axis=0) + extra_bitops(model_name, table)
    )


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
    prices = {kind: np.nan_to_num(cycles_per_mac[kind]) for kind in KINDS}
    per_mac = np.empty(w_bits.shape)
    for row, kind in ((0, "conv"), (-2, "pointwise"), (-1, "dense")):
        per_mac[row] = prices[kind][w_bits[row], a_bits[row]]

    def per_mac_at(rows: slice) -> Callable[[BlockLayer], Floats]:
        return lambda layer: prices[layer.kind][w_bits[rows], a_bits[rows]]

    for place in range(PLACES):
        rows = slice(1 + place, -2, PLACES)
        per_mac[rows] = by_kind(table, place, per_mac_at(rows))
    return np.asarray((macs_per_layer(table) * per_mac).sum(axis=0))
