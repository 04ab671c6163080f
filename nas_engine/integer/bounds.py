"""Bounds of accumulators, proven from the actual integer weights and the range of the input.

Exact, not estimated.

A sum of ``x * w`` over independent ``x`` in ``[low, high]`` takes its extremes where every ``x`` is
at an end. Both ends include 0 (what a padded tap counts), so the same bounds hold for windows that
overlap the padding and for every partial sum, in any order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nas_engine.integer.arithmetic import INT32_MAX, Ints
from nas_engine.network.graph import NetworkError


def sum_range(weights: npt.NDArray[np.int8], low: int, high: int) -> tuple[Ints, Ints]:
    """Return the least and the largest sum of each output channel, ``(O,)`` each.

    Args:
        weights: Integer weights ``[O, k, k, I]`` or ``[C, k, k, 1]``.
        low: Smallest input minus its zero point, 0 or below.
        high: Largest input minus its zero point, 0 or above.
    """
    flat = weights.reshape(len(weights), -1).astype(np.int64)
    positive, negative = np.maximum(flat, 0).sum(axis=1), np.minimum(flat, 0).sum(axis=1)
    return positive * low + negative * high, positive * high + negative * low


@dataclass(frozen=True, slots=True, kw_only=True)
class AccumulatorBounds:
    """Range of the accumulators of a layer, over all channels and all inputs."""

    accumulator: int
    """Largest absolute value, bias included."""
    shifted: int
    """The same after the left shift of requantisation; equal where no channel shifts to the left.
    """


def accumulator_bounds(
    name: str,
    sums: tuple[Ints, Ints],
    carried_shift: int,
    bias: npt.ArrayLike,
    requantizer_shift: npt.ArrayLike,
) -> AccumulatorBounds:
    """Return the bounds of a layer.

    Args:
        name: Layer, for the message.
        sums: From ``sum_range``.
        carried_shift: Zeros behind the weights, from ``weight_shift``.
        bias: Biases, ``(O,)``.
        requantizer_shift: Shifts of requantisation, positive to the left, ``(O,)``.

    Raises:
        NetworkError: An int32 accumulator could overflow.
    """
    least, most = (total << carried_shift for total in sums)
    added = np.asarray(bias, np.int64)
    largest = np.maximum(np.abs(least + added), np.abs(most + added))
    shifts = np.asarray(requantizer_shift).tolist()
    shifted = max(
        value << max(shift, 0) for value, shift in zip(largest.tolist(), shifts, strict=True)
    )  # whole numbers of any size
    bounds = AccumulatorBounds(accumulator=int(largest.max()), shifted=shifted)
    if bounds.shifted > INT32_MAX:
        raise NetworkError(
            name,
            f"an accumulator can reach {bounds.shifted:,}, int32 ends at {INT32_MAX:,}; use fewer "
            "weight bits or a larger output step",
        )
    return bounds
