"""Random units by rows and by layers in C, a tiny size of ``python -m benchmarks.blocks``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.blocks.__main__ import OnHost, run
from benchmarks.blocks.cases import Case, case
from nas_engine.verification.host_c import find_compiler

CASES = 56
"""Each pair of widths once; case 39 has a row that ends within the last word of the arena."""


@pytest.fixture(scope="module")
def on_host(tmp_path_factory: pytest.TempPathFactory) -> OnHost:
    if not find_compiler():
        pytest.skip("needs a C compiler")
    return OnHost(tmp_path_factory.mktemp("blocks"))


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return [case(0, index) for index in range(CASES)]


def test_every_value_is_the_reference_s(on_host: OnHost, cases: list[Case]) -> None:
    counts, failed = run(on_host, cases)
    assert not failed
    assert counts["networks"] == CASES
    assert counts["units by rows"] > CASES


def test_two_rows_at_once_are_the_reference_s(on_host: OnHost) -> None:
    counts, failed = run(on_host, [case(0, index, pairs=True) for index in range(36)])
    assert not failed
    assert counts["two rows at once"] > 3


def test_cases_are_of_every_kind(cases: list[Case]) -> None:
    told = " ".join(one.what for one in cases)
    parts = (
        "image rows, rows:stem..s1.b",
        "image whole, layers:stem",
        "rows:s1.b1..s1.b1",
        "rows:s1.b1..s1.b2",
        "rows:head",
        "layers:s1.b2",
        "1 layers unpacked",
        "2 layers unpacked",
    )
    for part in parts:
        assert part in told


def test_a_wrong_value_is_found(on_host: OnHost, cases: list[Case]) -> None:
    one = cases[0]
    pixel = len(one.words) - 8
    changed = bytearray(one.words)
    changed[pixel] ^= 0x80
    assert run(on_host, [replace(one, words=bytes(changed))])[0]["differing"] == 1


def test_a_case_is_the_same_each_time(tmp_path: Path) -> None:
    assert case(3, 17) == case(3, 17) != case(3, 18)
