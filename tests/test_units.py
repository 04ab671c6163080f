"""Sizes, counts and durations as people type them."""

from __future__ import annotations

import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas_engine.errors import InputError
from nas_engine.units import (
    format_count,
    format_latency,
    format_size,
    parse_count,
    parse_duration,
    parse_latency,
    parse_size,
)


class TestParseSize:
    @pytest.mark.parametrize(
        ("text", "size"),
        [
            ("256k", 262_144),
            ("256K", 262_144),
            ("256kB", 262_144),
            ("256KiB", 262_144),
            ("256 kib", 262_144),
            (" 256k ", 262_144),
            ("1m", 1_048_576),
            ("1.5M", 1_572_864),
            ("0.5k", 512),
            ("262144", 262_144),
            ("7B", 7),
            (7, 7),
            ("4g", 2**32),
        ],
    )
    def test_reads(self, text: str | int, size: int) -> None:
        assert parse_size(text) == size
        assert type(parse_size(text)) is int

    @pytest.mark.parametrize(
        "text",
        [
            "",
            " ",
            "k",
            "256kk",
            "256 k b",
            "-1",
            "0",
            "0k",
            "1.3",
            "0.1k",
            "1e3",
            "nan",
            "inf",
            "1,000",
            "0x10",
            "²",
            "5g",
            "9" * 400,
            True,
            None,
            -3,
        ],
    )
    def test_refuses_with_one_line_that_names_the_option(self, text: object) -> None:
        with pytest.raises(InputError, match=r"^--sram: ") as caught:
            parse_size(text, "--sram")  # type: ignore[arg-type]
        assert len(str(caught.value).splitlines()) == 1

    @given(st.integers(1, 2**32))
    def test_every_size_is_read_back_from_its_own_text(self, size: int) -> None:
        assert parse_size(str(size)) == parse_size(size) == size
        assert parse_size(f"{size // 1024 + 1}k" if size < 2**31 else "1k") % 1024 == 0

    @given(st.text(max_size=8))
    def test_any_text_is_a_size_or_an_input_error(self, text: str) -> None:
        with contextlib.suppress(InputError):
            assert 0 < parse_size(text) <= 2**32


class TestParseCount:
    @pytest.mark.parametrize(
        ("text", "count"),
        [
            ("50m", 5e7),
            ("50M", 5e7),
            ("1k", 1e3),
            ("2g", 2e9),
            ("1e6", 1e6),
            ("1.5e+3", 1500),
            (500_000, 5e5),
            (0.5, 0.5),
        ],
    )
    def test_reads(self, text: str | float, count: float) -> None:
        assert parse_count(text) == count

    @pytest.mark.parametrize(
        "text", ["", "0", "-5", "m", "1e999", "inf", "nan", True, None, "5 mm", "9" * 400]
    )
    def test_refuses(self, text: object) -> None:
        with pytest.raises(InputError, match=r"^--max-macs: "):
            parse_count(text, "--max-macs")  # type: ignore[arg-type]


class TestParseDuration:
    @pytest.mark.parametrize(
        ("text", "seconds"),
        [
            ("60s", 60),
            ("60", 60),
            (60, 60),
            (1.5, 1.5),
            ("5m", 300),
            ("5min", 300),
            ("1h", 3600),
            ("0.5H", 1800),
            (" 2 s ", 2),
        ],
    )
    def test_reads(self, text: str | float, seconds: float) -> None:
        assert parse_duration(text) == seconds

    @pytest.mark.parametrize(
        "text", ["", "0", "0s", "-1s", "s", "1d", "1e3s", "inf", "nan", True, None, "9" * 400]
    )
    def test_refuses(self, text: object) -> None:
        with pytest.raises(InputError, match=r"^--time-limit: "):
            parse_duration(text, "--time-limit")  # type: ignore[arg-type]


class TestFormat:
    @pytest.mark.parametrize(
        ("size", "text"),
        [
            (262_144, "262,144 B (256 KiB)"),
            (255_120, "255,120 B (249.1 KiB)"),
            (0, "0 B (0 KiB)"),
            (122.5, "122.500 B (0.1 KiB)"),
        ],
    )
    def test_size(self, size: float, text: str) -> None:
        assert format_size(size) == text

    @given(st.integers(0, 2**40))
    def test_size_shows_the_exact_bytes(self, size: int) -> None:
        assert int(format_size(size).split(" B ")[0].replace(",", "")) == size

    @pytest.mark.parametrize(
        ("count", "text"),
        [
            (38_200_000, "38.2 M"),
            (999, "999"),
            (1000, "1 k"),
            (2.5e9, "2.5 G"),
            (0, "0"),
            (999_000, "999 k"),
            (999_499_999, "999 M"),
        ],
    )
    def test_count(self, count: float, text: str) -> None:
        assert format_count(count) == text

    @pytest.mark.parametrize(("count", "text"), [(999_950, "1 M"), (999_999_999, "1 G")])
    def test_count_just_below_a_prefix(self, count: float, text: str) -> None:
        assert format_count(count) == text

    @given(st.floats(1, 9.99e11))
    def test_count_is_read_back_within_its_three_digits(self, count: float) -> None:
        text = format_count(count)
        assert "e" not in text
        number, _, prefix = text.partition(" ")
        assert math.isclose(
            float(number) * {"": 1, "k": 1e3, "M": 1e6, "G": 1e9}[prefix],
            count,
            rel_tol=0.005 if prefix else 0.5,
        )


class TestLatency:
    @pytest.mark.parametrize(
        ("text", "milliseconds"),
        [
            ("200ms", 200.0),
            ("0.2 s", 200.0),
            ("1S", 1000.0),
            ("800us", 0.8),
            ("200", 200.0),
            (0.5, 0.5),
            ("none", math.inf),
            ("1e+20", 1e20),
        ],
    )
    def test_reads(self, text: str | float, milliseconds: float) -> None:
        assert parse_latency(text) == pytest.approx(milliseconds)

    @pytest.mark.parametrize("text", ["", "0", "-1ms", "200 MHz", "1h", "nan", "ms", True, "1,5s"])
    def test_nonsense(self, text: str) -> None:
        with pytest.raises(InputError, match=r"expected for example 200ms, 0\.2s or none$"):
            parse_latency(text)

    @given(st.floats(1e-3, 1e5))
    def test_a_plain_number_is_read_back(self, milliseconds: float) -> None:
        assert parse_latency(milliseconds) == milliseconds

    @pytest.mark.parametrize(
        ("range_", "text"),
        [
            ((477.9, 999.2), "478 to 999 ms"),
            ((0.0123, 4.0), "0.0123 to 4 ms"),
            ((99.96, 120.0), "100 to 120 ms"),
            ((477.9, 999.6), "0.478 to 1 s"),
            ((2612.0, 5894.0), "2.61 to 5.89 s"),
        ],
    )
    def test_writes_a_range_in_one_unit(self, range_: tuple[float, float], text: str) -> None:
        assert format_latency(range_) == text
