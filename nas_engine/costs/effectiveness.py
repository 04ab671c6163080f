"""Depth over width: the effectiveness of DeepMAD (Shen et al., CVPR 2023).

A search may limit it from above.

    rho = L / (w_1 w_2 ... w_L)^(1/L)
    w_i = fan-in of convolution i: input channels of a group times kernel area

L counts the convolutions of the chain: neither the classifier nor a 1x1 shortcut. Their argument:
the entropy of a network grows with its depth without end, while what passes from end to end falls
with rho, so entropy is maximised under a limit on rho. What limits are worth on trained networks
here is measured by ``benchmarks.studies.proxy``.
"""

from __future__ import annotations

import numpy as np

from nas_engine.block_kinds import PLACES
from nas_engine.layers import Bools, Floats, LayerTable, by_kind, output_channels


def convolutions(table: LayerTable) -> Bools:
    """Return the mask of convolutions on a network's chain, ``(layers, n)``; no classifier."""
    exists = np.asarray(table.weights > 0)
    exists[-1] = False
    if not table.frame.plain:
        nothing, all_units = np.zeros_like(table.active), np.ones_like(table.active)
        scored = by_kind(table, 0, lambda layer: all_units if layer.scored else nothing)
        exists[1:-2:PLACES] &= scored.astype(bool)
    return exists


def log_fan_in(table: LayerTable) -> Floats:
    """Return the natural logarithm of each convolution's fan-in, ``(layers, n)``, 0 elsewhere."""
    return np.asarray(
        np.log(
            np.where(
                convolutions(table), table.weights / np.maximum(output_channels(table), 1.0), 1.0
            )
        )
    )


def effectiveness(table: LayerTable) -> Floats:
    """Return rho of each network, ``(n,)``; small is wide and shallow.

    Args:
        table: ``n`` networks.
    """
    depth = convolutions(table).sum(axis=0)
    return np.asarray(depth / np.exp(log_fan_in(table).sum(axis=0) / depth))
