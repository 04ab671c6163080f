"""The arithmetic against scalar Python integers, at random and at the extremes."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nas_engine.integer import arithmetic
from nas_engine.network.graph import value_range
from tests.integer import scalar

INT32 = st.one_of(
    st.integers(-(2**31), 2**31 - 1),
    st.sampled_from([-(2**31), 1 - 2**31, -1, 0, 1, 2**30, 2**31 - 1]),
)
REAL = st.one_of(
    st.floats(0, 2.0**20), st.floats(0, 2.0**-25), st.integers(-40, 20).map(lambda e: 2.0**e)
)


@given(a=INT32, b=INT32)
@example(a=-(2**31), b=-(2**31))
@example(a=-(2**30), b=1)
@example(a=2**30, b=1)
def test_high_mul(a: int, b: int) -> None:
    assert arithmetic.saturating_rounding_doubling_high_mul(a, b) == scalar.high_mul(a, b)


@given(x=INT32, exponent=st.integers(0, 31))
def test_divide_by_pot(x: int, exponent: int) -> None:
    away = math.floor(abs(Fraction(x, 2**exponent)) + Fraction(1, 2)) * (1 if x > 0 else -1)
    assert (
        arithmetic.rounding_divide_by_pot(x, exponent) == scalar.divide_by_pot(x, exponent) == away
    )


@given(real=REAL)
@example(real=math.nextafter(1.0, 0.0))
@example(real=math.nextafter(2.0**-32, 0.0))
@example(real=2.0**-32)
@example(real=5e-324)
@example(real=0.0)
def test_quantize_multiplier(real: float) -> None:
    multiplier, shift = (int(value) for value in arithmetic.quantize_multiplier(real))
    assert (multiplier, shift) == scalar.quantize_multiplier(real)
    if multiplier:
        assert 2**30 <= multiplier < 2**31
        assert abs(
            Fraction(multiplier) * Fraction(2) ** (shift - 31) / Fraction(real) - 1
        ) <= Fraction(1, 2**31)
    else:
        assert real < 2.0**-32


@given(values=st.lists(INT32, min_size=1), real=st.floats(2.0**-33, 0.999))
def test_multiply(values: list[int], real: float) -> None:
    multiplier, shift = scalar.quantize_multiplier(real)
    got = arithmetic.multiply_by_quantized_multiplier(values, multiplier, shift)
    assert got.tolist() == [scalar.requantise(value, multiplier, shift) for value in values]
    for value, result in zip(
        values, got.tolist(), strict=True
    ):  # two roundings of a half each, the first one scaled down
        assert abs(result - value * real) <= 1.01


@given(values=st.lists(st.integers(-(2**20), 2**20), min_size=1), real=st.floats(1.0, 1000.0))
def test_multiply_with_a_left_shift(values: list[int], real: float) -> None:
    multiplier, shift = scalar.quantize_multiplier(real)
    got = arithmetic.multiply_by_quantized_multiplier(values, multiplier, shift)
    assert got.tolist() == [scalar.requantise(value, multiplier, shift) for value in values]


SCALE = st.floats(2.0**-12, 4.0, width=32)


@given(
    values1=st.integers(-255, 255),
    values2=st.integers(-128, 127),
    scale1=SCALE,
    scale2=SCALE,
    out=SCALE,
)
def test_add(values1: int, values2: int, scale1: float, scale2: float, out: float) -> None:
    got = arithmetic.add(values1, values2, arithmetic.addition_multipliers(scale1, scale2, out))
    assert got == scalar.add(values1, scale1, values2, scale2, out)
    assert (
        abs(int(got) - (values1 * scale1 + values2 * scale2) / out)
        <= 0.5 + 2.0**-15 * max(scale1, scale2) / out
    )


@given(scale=SCALE)
def test_add_of_equal_scales_is_exact(scale: float) -> None:
    first, second = np.arange(-255, 256)[:, None], np.arange(-128, 128)
    got = arithmetic.add(first, second, arithmetic.addition_multipliers(scale, scale, scale))
    np.testing.assert_array_equal(got, first + second)


@given(total=st.integers(-(2**24), 2**24), count=st.integers(1, 4096))
def test_mean(total: int, count: int) -> None:
    half = count // 2
    expected = (
        scalar.divide(total + half, count) if total > 0 else scalar.divide(total - half, count)
    )
    assert arithmetic.rounded_mean(total, count) == expected


@given(value=st.floats(-(2.0**52), 2.0**52))
@example(value=0.49999999999999994)
@example(value=-2.5)
def test_round_half_away(value: float) -> None:
    expected = math.floor(abs(Fraction(value)) + Fraction(1, 2)) * (-1 if value < 0 else 1)
    assert arithmetic.round_half_away(value) == expected


@pytest.mark.parametrize("bits", range(2, 9))
def test_value_range(bits: int) -> None:
    for signed in (False, True):
        zero, low, high = value_range(bits, signed)
        assert (zero, low, high) == scalar.level_range(bits, signed)
        assert high - low + 1 == 2**bits
        assert -128 <= low <= zero <= high <= 127
