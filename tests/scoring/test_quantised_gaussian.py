"""The S table."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas_engine.scoring.quantised_gaussian import log_std_table, quantised_std
from tests import reference


@pytest.mark.parametrize(
    ("sigma", "row"),
    [
        (4, (1.738823, 2.890394, 3.850471, 4.010173, 4.010403, 4.010403, 4.010403)),
        (5, (1.792450, 3.112193, 4.528190, 5.002048, 5.008326, 5.008326, 5.008326)),
    ],
)
def test_published_table(sigma: float, row: tuple[float, ...]) -> None:
    assert tuple(round(quantised_std(sigma, bits), 6) for bits in range(2, 9)) == row


@given(st.floats(0.1, 1000), st.integers(1, 8))
def test_is_the_deviation_level_by_level(sigma: float, bits: int) -> None:
    assert quantised_std(sigma, bits) == pytest.approx(
        reference.quantised_std(sigma, bits), rel=1e-12
    )


@given(st.floats(0.1, 1000))
def test_a_wider_quantiser_never_has_less_and_never_more_than_it_can_hold(sigma: float) -> None:
    row = [quantised_std(sigma, bits) for bits in range(1, 9)]
    assert row == sorted(row)
    assert all(std <= 2 ** (bits - 1) * (1 + 1e-12) for bits, std in enumerate(row, 1))


def test_log_table() -> None:
    table = log_std_table(5.0)
    assert table.tolist() == [0.0] + [math.log(quantised_std(5, bits)) for bits in range(1, 9)]
    with pytest.raises(ValueError, match="read-only"):
        table[1] = 0
