"""The table of code sizes: what is shared counts once, what is not in it is not guessed."""

from __future__ import annotations

import pytest

from benchmarks.code_size import write_table
from nas_engine.errors import InputError
from nas_engine.network.kernels import KERNELS
from nas_engine.verification.code_size import (
    CodePrediction,
    CodeSizes,
    predict,
    read_table,
    shipped_table,
)
from nas_engine.verification.toolchain import CORES

SIZES = CodeSizes(
    core="cortex-m7",
    compiler="acme 1.2",
    base=1000,
    static_ram=8,
    stacks={"first": 300, "second": 400},
    kernels={
        "first": {"a.text.first": 100, "c.text.shared": 20},
        "second": {"b.text.second": 200, "c.text.shared": 20},
    },
)


def test_shared_sections_count_once() -> None:
    assert SIZES.predict(["first"]) == CodePrediction(code=1120, static_ram=8, stack=300)
    assert SIZES.predict(["second"]) == CodePrediction(code=1220, static_ram=8, stack=400)
    assert SIZES.predict(["first", "second", "first"]) == CodePrediction(
        code=1320, static_ram=8, stack=400
    )


def test_nothing_is_guessed() -> None:
    assert SIZES.predict([]) is None
    assert SIZES.predict(["first", "third"]) is None
    assert predict("cortex-m7", "acme 1.2", KERNELS) is None
    assert predict("cortex-m3", "arm-none-eabi-gcc 12.2", KERNELS) is None


def test_text_and_back() -> None:
    text = write_table([SIZES])
    assert read_table(text) == (SIZES,)
    assert write_table(read_table(text)) == text


@pytest.mark.parametrize(
    "text", ["", "[]", "format: other\nrows: []", "format: nas-search/code-size/1", "a: [", "7"]
)
def test_other_texts(text: str) -> None:
    with pytest.raises(InputError, match=r"expected what python -m benchmarks\.code_size writes"):
        read_table(text)


def test_the_shipped_table_has_every_kernel() -> None:
    rows = shipped_table()
    assert {row.core for row in rows} == set(CORES)
    for row in rows:
        found = predict(row.core, row.compiler, KERNELS)
        assert found is not None
        assert 4096 < found.code < 20_000
        assert 0 < found.stack < 2048
