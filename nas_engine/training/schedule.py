"""Learning rate over a stage: linear warm-up, then half a cosine to zero.

Source: Loshchilov and Hutter 2017.
"""

from __future__ import annotations

import math

LONGEST_WARMUP = 0.2
"""Largest share of a stage that warms up (chosen here)."""


def learning_rate(step: int, steps: int, warmup: int, peak: float) -> float:
    """Return the rate at step ``step`` of ``steps``.

    The first ``warmup`` steps rise (at most a fifth of the stage).
    """
    warmup = min(warmup, int(steps * LONGEST_WARMUP))
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1)))
