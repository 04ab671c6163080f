"""Structures as the authors of QE-Score publish them: every form, every number, and everything that
can be wrong with them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nas_engine.architecture import (
    parse_architecture,
    read_architecture,
)
from tests.architectures import GOLDEN, PUBLISHED, published, refusal, small_literal
from tests.nested import change


class TestPublishedNotation:
    @pytest.mark.parametrize("name", PUBLISHED)
    def test_every_form_is_the_same_network(self, name: str) -> None:
        literal = published(name)
        net = read_architecture(GOLDEN / f"{name}.txt")
        for form in (
            literal,
            {"structure": literal},
            {"best_structures": [literal]},
            {"best_structures": [literal, []], "score": None},
        ):
            for text in (
                repr(form),
                json.dumps(form),
                json.dumps(form, indent=2),
                f"\n  {form!r}\n",
                repr(tuple(form) if isinstance(form, list) else form),
            ):
                assert parse_architecture(text) == net

    @pytest.mark.parametrize("name", PUBLISHED)
    def test_every_number_arrives(self, name: str) -> None:
        literal, net = published(name), read_architecture(GOLDEN / f"{name}.txt")
        assert (net.resolution, net.input_channels, net.classifier, net.pooled_shortcut) == (
            224,
            3,
            None,
            True,
        )
        for part, conv in ((literal[0], net.stem), (literal[-1], net.head)):
            assert (part["k"], part["s"], part["out"], part["nbitsW"], part["nbitsA"]) == (
                conv.kernel,
                conv.stride,
                conv.channels,
                conv.bits.w,
                conv.bits.a,
            )
        for part, block in zip(literal[1:-1], net.blocks, strict=True):
            assert (part["k"], part["s"], part["out"], part["btn"], part["L"]) == (
                block.kernel,
                block.stride,
                block.channels,
                block.bottleneck,
                block.depth,
            )
            assert part["nbitsW"] == [bits.w for row in block.bits for bits in row]
            assert part["nbitsA"] == [bits.a for row in block.bits for bits in row]

    def test_resolution_and_input_channels_of_a_literal(self) -> None:
        literal = small_literal()
        literal[0]["in"] = 1
        net = parse_architecture(json.dumps({"structure": literal, "resolution": 97}))
        assert (net.resolution, net.input_channels) == (97, 1)

    @pytest.mark.parametrize(
        ("where", "value", "says"),
        [
            ((0, "class"), "ConvKX", "block 0 is of class 'ConvKX'; expected ConvKXBNRELU"),
            ((1, "class"), ..., "block 1 is of class None; expected SuperQuantResK1DWK1"),
            ((1, "in"), 16, "block 1 takes 16 channels, block 0 gives 8"),
            ((2, "in"), ..., "block 2 takes None channels"),
            *(
                ((1, key), ..., f"block 1 has no key '{key}'")
                for key in ("k", "s", "btn", "L", "nbitsA", "nbitsW")
            ),
            *(
                ((0, key), ..., f"block 0 has no key '{key}'")
                for key in ("k", "s", "in", "nbitsA", "nbitsW")
            ),
            ((1, "L"), 3, "3 x L widths each in nbitsW and nbitsA"),
            ((1, "L"), "3", "3 x L widths each in nbitsW and nbitsA"),
            ((1, "L"), [2], "3 x L widths each in nbitsW and nbitsA"),
            ((1, "L"), 0, "3 x L widths each in nbitsW and nbitsA"),
            ((1, "L"), None, "block 1"),
            ((1, "L"), {}, "block 1"),
            ((1, "L"), {"a": 1}, "block 1"),
            ((1, "L"), -2, "3 x L widths each in nbitsW and nbitsA"),
            ((1, "nbitsA"), 5, "3 x L widths each in nbitsW and nbitsA"),
            ((1, "nbitsA"), [5] * 5, "3 x L widths each in nbitsW and nbitsA"),
            ((1, "nbitsA"), "555555", "activation bits is '5'"),
            ((1, "nbitsA"), [5] * 5 + [9], "activation bits is 9"),
            ((1, "nbitsW"), [5] * 5 + [[5]], "weight bits is [5]"),
            ((1, "nbitsW"), [5] * 5 + [5.0], "weight bits is 5.0"),
            ((0, "nbitsW"), None, "weight bits is None"),
            ((1, "btn"), 24.0, "bottleneck is 24.0"),
            ((1, "k"), 9, "kernel is 9"),
            ((1, "s"), 3, "stride is 3"),
            ((2, "s"), 2, "the head is 1x1 with stride 2"),
            ((2, "k"), 3, "the head is 3x3 with stride 1"),
            ((0, "in"), "3", "input_channels is '3'"),
            ((2, "out"), 10**30, "channels is 1000000000000000000000000000000"),
            ((1,), [], "expected a list of blocks"),
            ((1,), None, "expected a list of blocks"),
            ((1,), ..., "expected a list of blocks"),
        ],
    )
    def test_wrong_literal(self, where: tuple[Any, ...], value: object, says: str) -> None:
        literal = change(small_literal(), where, value)
        for form in (literal, {"structure": literal}, {"best_structures": [literal]}):
            assert says in refusal(repr(form))

    @pytest.mark.parametrize(
        "text",
        [
            "[]",
            "{}",
            "()",
            "[1, 2, 3]",
            "[[], [], []]",
            "[{}, {}, {}]",
            "[[[[]]]]",
            "{'structure': None}",
            "{'structure': 'abc'}",
            "{'structure': {}}",
            "{'best_structures': []}",
            "{'best_structures': 3}",
            "{'best_structures': 'abcd'}",
            "{'best_structures': {'a': 1}}",
            "{1: 2}",
            "{1, 2}",
            "{[1]: 2}",
            "[{{}: 1}]",
            "[{[]}]",
            "(None)",
            "[None]",
            "[1 + 2j]",
            "[b'a', 1, 2]",
            "[open('x')]",
            "[" + "9" * 5000 + "]",
            "[" + "-" * 20000 + "1]",
            "[" * 20000,
            "[" * 90 + "]" * 90,
            "{'a':" * 20000,
            "[\x00]",
            "['\\d', 1, 2]",
            "[...]",
            "{'structure': [" + "{}," * 3 + "], 'resolution': []}",
            "{" + "a: {" * 2000,
            "[\n1,\n2",
            "{",
            "(",
        ],
    )
    def test_nested_nonsense(self, text: str) -> None:
        refusal(text)

    @pytest.mark.parametrize("resolution", [0, -1, "224", None, 224.0, True, [224], {}, 10**20])
    def test_wrong_resolution(self, resolution: object) -> None:
        assert "resolution is" in refusal(
            repr({"structure": small_literal(), "resolution": resolution})
        )

    def test_nothing_in_a_literal_is_run(self, tmp_path: Path) -> None:
        refusal(f"[__import__('pathlib').Path({str(tmp_path / 'made')!r}).touch(), 1, 2]")
        assert not (tmp_path / "made").exists()
