"""In which order a kernel may write over its own input: the rule against a walk bit by bit."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas_engine.exporters.inplace import Placed, row_order
from nas_engine.network.graph import Node
from nas_engine.quantization.record import QuantisedTensor


def tensor(name: str, shape: tuple[int, int, int], bits: int) -> QuantisedTensor:
    return QuantisedTensor(
        name=name,
        height=shape[0],
        width=shape[1],
        channels=shape[2],
        bits=bits,
        signed=False,
        scale=1.0,
    )


def survives(step: Node, source: Placed, target: Placed, backward: bool) -> bool:
    """Walk through a layer bit by bit as a kernel with a ring of input rows does, and look whether
    each bit read is still the input's.
    """
    bits = [""] * (8 * max(source.end, target.end))
    for i in range(source.tensor.height * source.row_bits):
        bits[8 * source.offset + i] = "input"
    loaded: set[int] = set()
    rows = range(target.tensor.height)
    for y in reversed(rows) if backward else rows:
        for row in range(
            y * step.stride - step.padding[0],
            y * step.stride - step.padding[0] + step.kernel_height,
        ):
            if 0 <= row < source.tensor.height and row not in loaded:
                start = 8 * source.offset + row * source.row_bits
                if set(bits[start : start + source.row_bits]) != {"input"}:
                    return False
                loaded.add(row)
        for i in range(target.row_bits):
            bits[8 * target.offset + y * target.row_bits + i] = "output"
    return True


class TestRowOrder:
    @given(st.data())
    def test_agrees_with_a_walk_bit_by_bit(self, data: st.DataObject) -> None:
        def draw(low: int, high: int) -> int:
            return data.draw(st.integers(low, high))

        kernel, stride = draw(1, 5), draw(1, 3)
        padding = (draw(0, kernel - 1), draw(0, kernel - 1), 0, 0)
        height, width, channels = draw(1, 7), draw(1, 3), draw(1, 3)
        out = (height + sum(padding) - kernel) // stride + 1
        if out < 1:
            return
        step = Node(
            name="p",
            kind="average_pool",
            inputs=("i",),
            output="o",
            kernel_height=kernel,
            kernel_width=kernel,
            stride=stride,
            padding=padding,
        )
        source = Placed(
            tensor=tensor("i", (height, width, channels), draw(2, 8)), offset=draw(0, 8)
        )
        target = Placed(tensor=tensor("o", (out, width, channels), draw(2, 8)), offset=draw(0, 8))
        forward, backward = (survives(step, source, target, order) for order in (False, True))
        assert row_order(step, source, target) == (
            "forward" if forward else "backward" if backward else None
        )

    @pytest.mark.parametrize(
        ("bits", "expected"), [((8, 8), "forward"), ((4, 8), "forward"), ((8, 4), "backward")]
    )
    def test_both_at_the_top_of_the_arena(self, bits: tuple[int, int], expected: str) -> None:
        step = Node(
            name="p",
            kind="average_pool",
            inputs=("i",),
            output="o",
            kernel_height=3,
            kernel_width=3,
            stride=1,
            padding=(1, 1, 1, 1),
        )
        shape = (16, 16, 4)
        sizes = [16 * 16 * 4 * b // 8 for b in bits]
        source, target = (
            Placed(tensor=tensor(name, shape, b), offset=2048 - size)
            for name, b, size in zip("io", bits, sizes, strict=True)
        )
        assert row_order(step, source, target) == expected

    @pytest.mark.parametrize("stride", [1, 2])
    @pytest.mark.parametrize("kernel", [3, 5, 7])
    def test_every_depthwise_of_a_search_space_has_an_order(self, kernel: int, stride: int) -> None:
        for size, b_in, b_out in itertools.product(range(1, 14), range(2, 9), range(2, 9)):
            out = -(-size // stride)
            total = max((out - 1) * stride + kernel - size, 0)
            padding = (total // 2, total - total // 2, total // 2, total - total // 2)
            step = Node(
                name="d",
                kind="average_pool",
                inputs=("i",),
                output="o",
                kernel_height=kernel,
                kernel_width=kernel,
                stride=stride,
                padding=padding,
            )
            source = Placed(tensor=tensor("i", (size, size, 8), b_in), offset=0)
            target = Placed(tensor=tensor("o", (out, out, 8), b_out), offset=0)
            top = max(source.end, target.end)
            assert row_order(
                step,
                replace(source, offset=top - source.end),
                replace(target, offset=top - target.end),
            )

    def test_overlap_includes_the_padding_to_words(self) -> None:
        first = Placed(tensor=tensor("i", (1, 1, 5), 8), offset=0)
        assert first.end == 8
        assert first.overlaps(Placed(tensor=tensor("o", (1, 1, 1), 8), offset=4))
        assert not first.overlaps(Placed(tensor=tensor("o", (1, 1, 1), 8), offset=8))
