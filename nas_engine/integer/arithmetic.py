"""The integer arithmetic: TFLite's int8 specification, with ranges of 2 to 8 bits.

Exact, vectorised, in int64.

Names and rounding follow the reference implementation of TensorFlow Lite and gemmlowp; each
function says which one. docs/integer_model.md writes the same as equations.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

INT32_MAX = 2**31 - 1
"""Largest int32; accumulators stay within plus and minus this."""

ADD_LEFT_SHIFT = 20
"""Bits by which an addition scales its operands up before it rounds (TFLite ``add.cc``, int8)."""

Ints = npt.NDArray[np.int64]
"""Array of int64."""


def round_half_away(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return float64 values rounded to whole numbers, halves away from zero (C ``round``).

    Exact below 2^52: ``floor(|v|)`` and the fraction behind it are, while ``floor(|v| + 0.5)``
    turns 0.49999999999999994 into 1.
    """
    array = np.asarray(values, np.float64)
    size = np.abs(array)
    whole = np.floor(size)
    return np.asarray(np.copysign(whole + (size - whole >= 0.5), array))


def quantize_multiplier(real: npt.ArrayLike) -> tuple[Ints, Ints]:
    """Return the multiplier (Q31) and the shift nearest to real multipliers.

    ``real ≈ multiplier / 2^31 * 2^shift``.

    TFLite ``QuantizeMultiplier`` (quantization_util.cc).

    Args:
        real: Finite numbers, 0 or above.

    Returns:
        Multipliers in ``[2^30, 2^31 - 1]``, or 0 below 2^-32; shifts, positive to the left.
    """
    fraction, exponent = np.frexp(np.asarray(real, np.float64))
    multiplier = round_half_away(fraction * 2.0**31).astype(np.int64)
    shift = exponent.astype(np.int64)
    up = multiplier == 2**31
    multiplier, shift = np.where(up, 2**30, multiplier), shift + up
    nothing = (shift < -31) | (multiplier == 0)
    return np.where(nothing, 0, multiplier), np.where(nothing, 0, shift)


def saturating_rounding_doubling_high_mul(a: npt.ArrayLike, b: npt.ArrayLike) -> Ints:
    """Return ``a * b / 2^31`` of int32 values, rounded to nearest, halves up.

    gemmlowp ``SaturatingRoundingDoublingHighMul``.
    """
    x, y = np.asarray(a, np.int64), np.asarray(b, np.int64)
    product = x * y
    total = product + np.where(product >= 0, 2**30, 1 - 2**30)
    high = np.where(total >= 0, total >> 31, -(-total >> 31))  # C division: towards zero
    return np.minimum(high, INT32_MAX)  # only -2^31 * -2^31 is beyond


def rounding_divide_by_pot(x: npt.ArrayLike, exponent: npt.ArrayLike) -> Ints:
    """Return ``x / 2^exponent`` rounded to nearest, halves away from zero.

    gemmlowp ``RoundingDivideByPOT``.
    """
    value, power = np.asarray(x, np.int64), np.asarray(exponent, np.int64)
    mask = (np.int64(1) << power) - 1
    threshold = (mask >> 1) + (value < 0)
    return np.asarray((value >> power) + ((value & mask) > threshold), np.int64)


def multiply_by_quantized_multiplier(
    x: npt.ArrayLike, multiplier: npt.ArrayLike, shift: npt.ArrayLike
) -> Ints:
    """Return ``x * multiplier / 2^31 * 2^shift``, rounded twice.

    TFLite ``MultiplyByQuantizedMultiplier`` (common.h).

    ``MultiplyByQuantizedMultiplierSmallerThanOneExp`` is the same for shifts of 0 or below.

    Args:
        x: int32 values that stay int32 values when shifted left by a positive shift.
        multiplier: As from ``quantize_multiplier``.
        shift: The same.
    """
    power = np.asarray(shift, np.int64)
    left, right = np.maximum(power, 0), np.maximum(-power, 0)
    return rounding_divide_by_pot(
        saturating_rounding_doubling_high_mul(np.asarray(x, np.int64) << left, multiplier), right
    )


def addition_multipliers(
    scale1: float, scale2: float, scale_out: float
) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """Return multiplier and shift of both operands and of the sum of an addition.

    TFLite ``add.cc``, int8.

    Args:
        scale1: Scale of the first operand, a float32 value.
        scale2: Scale of the second.
        scale_out: Scale of the sum.
    """
    twice_max = 2 * max(scale1, scale2)
    real = [scale1 / twice_max, scale2 / twice_max, twice_max / (2**ADD_LEFT_SHIFT * scale_out)]
    first, second, out = zip(
        *(column.tolist() for column in quantize_multiplier(real)), strict=True
    )
    return first, second, out


def add(
    values1: npt.ArrayLike,
    values2: npt.ArrayLike,
    multipliers: tuple[tuple[int, int], tuple[int, int], tuple[int, int]],
) -> npt.NDArray[np.int64]:
    """Return the sum of two operands, without zero point and clamp.

    TFLite ``reference_integer_ops::AddElementwise``.

    Args:
        values1: First operand minus its zero point, -255 to 255.
        values2: Second operand, the same.
        multipliers: From ``addition_multipliers``.
    """
    first, second, out = multipliers
    scaled1 = multiply_by_quantized_multiplier(
        np.asarray(values1, np.int64) << ADD_LEFT_SHIFT, *first
    )
    scaled2 = multiply_by_quantized_multiplier(
        np.asarray(values2, np.int64) << ADD_LEFT_SHIFT, *second
    )
    return multiply_by_quantized_multiplier(scaled1 + scaled2, *out)


def rounded_mean(total: npt.ArrayLike, count: npt.ArrayLike) -> Ints:
    """Return ``total / count``, rounded to nearest, halves away from zero.

    TFLite ``reference_integer_ops::AveragePool``.

    Args:
        total: Sums of int8 values as they stand, zero point included.
        count: Elements in each sum.
    """
    acc, n = np.asarray(total, np.int64), np.asarray(count, np.int64)
    size = (np.abs(acc) + n // 2) // n
    return np.where(acc > 0, size, -size)
