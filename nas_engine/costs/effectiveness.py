"""Depth over width: the effectiveness of DeepMAD (Shen et al., CVPR 2023), which a search may limit from above.

    rho = L / (w_1 w_2 ... w_L)^(1/L)     w_i = fan-in of convolution i: input channels of a group times kernel area

L counts the convolutions; the classifier is none. Their argument: the entropy of a network grows with its depth without end, while what
passes from end to end falls with rho, so entropy is maximised under a limit on rho. What limits are worth on trained networks here is
measured by ``benchmarks.proxy``.
"""

from __future__ import annotations

import numpy as np

from nas_engine.layers import Floats, LayerTable, output_channels


def effectiveness(table: LayerTable) -> Floats:
    """Return rho of each network, ``(n,)``; small is wide and shallow.

    Args:
        table: ``n`` networks.
    """
    weights = table.weights[:-1]
    exists = weights > 0
    depth = exists.sum(axis=0)
    fan_in = np.where(exists, weights / np.maximum(output_channels(table)[:-1], 1.0), 1.0)
    return np.asarray(depth / np.exp(np.log(fan_in).sum(axis=0) / depth))
