"""Standard deviation of a quantised Gaussian: the S table of QE-Score.

A Gaussian N(0, sigma^2) is quantised with step 1 and clipped symmetrically at +-2^(b-1), which
makes 2^b + 1 levels (training uses the usual 2^(b-1) - 1, the score does not):

    S(sigma, b)^2 = 2 * sum_{k=1..2^(b-1)} (2k - 1) * Q((k - 1/2) / sigma)
    Q(z) = erfc(z / sqrt 2) / 2

Source: Sun et al., NeurIPS 2022, and its public code, whose 63 tabulated entries this reproduces.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import numpy.typing as npt

MAX_BITS = 8
"""Widest quantiser tabulated."""


def quantised_std(sigma: float, bits: int) -> float:
    """Return S(sigma, bits).

    Args:
        sigma: Standard deviation before quantisation, in quantisation steps, above 0.
        bits: Width, 1 to 8.

    Example:
        >>> round(quantised_std(4, 2), 6)
        1.738823
    """
    terms = (
        (2 * k - 1) * math.erfc((k - 0.5) / sigma / math.sqrt(2)) / 2
        for k in range(1, 2 ** (bits - 1) + 1)
    )
    return math.sqrt(2 * math.fsum(terms))


@functools.lru_cache(maxsize=64)
def log_std_table(sigma: float) -> npt.NDArray[np.float64]:
    """Return ln S(sigma, b) for b = 0..8, shape ``(9,)``, read-only.

    Entry 0 is 0 so that a layer without bits counts nothing.
    """
    table = np.array(
        [0.0] + [math.log(quantised_std(sigma, bits)) for bits in range(1, MAX_BITS + 1)]
    )
    table.flags.writeable = False
    return table
