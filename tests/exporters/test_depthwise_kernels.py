"""The depth-wise and the pooling kernel compute what the integer reference computes, in place,
within their scratch.
"""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas_engine.exporters.packing import FAST_SHIFTS_FROM_ZERO
from nas_engine.integer.arithmetic import multiply_by_quantized_multiplier
from nas_engine.testing.networks import same_padding
from tests.exporters.depthwise_harness import (
    BACKWARD,
    GUARD,
    SOURCES,
    Case,
    compile_runtime,
    depthwise_case,
    load_kernels,
    pool_case,
    row_order_is_safe,
    sanitized_main,
)
from tests.exporters.kernels import IS_ZIG, SANITIZERS

Kernels = dict[str, Callable[[Any, Any], None]]
WIDTHS = st.integers(2, 8)


@pytest.fixture(scope="session")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Kernels:
    target = tmp_path_factory.mktemp("runtime") / "kernels.so"
    options = (
        "-O2",
        "-shared",
        "-fPIC",
        *(() if IS_ZIG else ("-fsanitize=undefined", "-fsanitize-undefined-trap-on-error")),
    )
    return load_kernels(compile_runtime(target, *options))


def same(shape: tuple[int, int, int], kernel: int, stride: int) -> tuple[int, int, int, int]:
    """Return TFLite's SAME padding: top, bottom, left, right."""
    (_, top, bottom), (_, left, right) = (same_padding(size, kernel, stride) for size in shape[:2])
    return top, bottom, left, right


@pytest.mark.parametrize("w_bits", range(2, 9))
def test_depthwise_at_every_pair_of_activation_widths(kernels: Kernels, w_bits: int) -> None:
    rng = np.random.default_rng(w_bits)
    for in_bits, out_bits, kernel, stride in itertools.product(
        range(2, 9), range(2, 9), (3, 5), (1, 2)
    ):
        shape = (int(rng.integers(1, 9)), int(rng.integers(1, 9)), int(rng.choice([1, 4, 6, 8])))
        signed = (bool(rng.integers(2)), bool(rng.integers(2)))
        padding = same(shape, kernel, stride)
        case = depthwise_case(
            rng,
            shape,
            kernel,
            stride,
            padding,
            (w_bits, in_bits, out_bits),
            signed,
            str(rng.choice(["start", "end"])),
        )
        case.run(kernels[case.kernel])


@st.composite
def depthwise_cases(draw: st.DrawFn) -> Case:
    """Layers of any shape, with any padding less than the kernel."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kernel, stride = draw(st.integers(1, 7)), draw(st.integers(1, 3))
    shape = (draw(st.integers(1, 12)), draw(st.integers(1, 12)), draw(st.integers(1, 13)))
    if draw(st.booleans()):
        padding = same(shape, kernel, stride)
    else:
        need = [max(0, kernel - size) for size in shape[:2]]
        before = [draw(st.integers(max(0, n - kernel + 1), kernel - 1)) for n in need]
        after = [
            draw(st.integers(max(0, n - b), kernel - 1)) for n, b in zip(need, before, strict=True)
        ]
        padding = (before[0], after[0], before[1], after[1])
    widths = (draw(WIDTHS), draw(WIDTHS), draw(WIDTHS))
    signed = (draw(st.booleans()), draw(st.booleans()))
    where = draw(st.sampled_from(["end", "end", "start", "apart"]))
    return depthwise_case(
        rng, shape, kernel, stride, padding, widths, signed, where, draw(st.booleans())
    )


@settings(max_examples=400, deadline=None)
@given(depthwise_cases())
def test_depthwise_of_any_shape(kernels: Kernels, case: Case) -> None:
    case.run(kernels[case.kernel])
    case.run(kernels["nas_depthwise"])


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("height", range(1, 10))
def test_two_output_rows_at_once(kernels: Kernels, kernel: int, height: int) -> None:
    """Bytes over bytes of the same shape, also with too few channels for it."""
    rng = np.random.default_rng(10 * height + kernel)
    for width, channels in itertools.product((1, 2, 5, 8), (12, 16, 32)):
        shape = (height, width, channels)
        case = depthwise_case(
            rng,
            shape,
            kernel,
            1,
            same(shape, kernel, 1),
            (int(rng.integers(2, 9)), 8, 8),
            (bool(rng.integers(2)), bool(rng.integers(2))),
            str(rng.choice(["start", "end"])),
        )
        assert case.layer.input == case.layer.output
        case.run(kernels[case.kernel])


def test_depthwise_works_in_place_in_both_row_orders(kernels: Kernels) -> None:
    rng = np.random.default_rng(5)
    needed = {False: 0, True: 0}
    for in_bits, out_bits in itertools.product(range(2, 9), repeat=2):
        case = depthwise_case(
            rng, (7, 5, 8), 3, 1, (1, 1, 1, 1), (8, in_bits, out_bits), (False, False), "end"
        )
        assert (
            case.layer.input + -(-280 * in_bits // 32) * 4
            == case.layer.output + -(-280 * out_bits // 32) * 4
        )
        safe = {
            backward: row_order_is_safe(case.layer, backward=backward) for backward in (False, True)
        }
        for backward, allowed in safe.items():
            case.layer.flags = case.layer.flags & ~BACKWARD | (BACKWARD if backward else 0)
            if allowed:
                case.run(kernels[case.kernel])
                needed[backward] += not safe[not backward]
    assert min(needed.values()) > 0


def test_the_wrong_row_order_is_noticed(kernels: Kernels) -> None:
    case = depthwise_case(
        np.random.default_rng(0), (8, 8, 8), 3, 1, (1, 1, 1, 1), (8, 8, 2), (False, False), "end"
    )
    assert case.layer.flags & BACKWARD
    case.layer.flags ^= BACKWARD
    with pytest.raises(AssertionError):
        case.run(kernels[case.kernel])


@st.composite
def pool_cases(draw: st.DrawFn) -> Case:
    """Pools of any shape: whole maps, disjoint and overlapping windows."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    channels = draw(st.sampled_from([*range(1, 9), 12, 16]))
    shape = (draw(st.integers(1, 9)), draw(st.integers(1, 9)), channels)
    if draw(st.booleans()):
        kernel, stride = max(shape[:2]), 1
        lack = [kernel - size for size in shape[:2]]
        padding = (lack[0] // 2, lack[0] - lack[0] // 2, lack[1] // 2, lack[1] - lack[1] // 2)
    else:
        kernel, stride = draw(st.integers(1, 4)), draw(st.integers(1, 4))
        before = [draw(st.integers(0, kernel - 1)) for _ in range(2)]
        after = [
            draw(st.integers(min(kernel - 1, max(0, kernel - s - b)), kernel - 1))
            for s, b in zip(shape, before, strict=False)
        ]
        padding = (before[0], after[0], before[1], after[1])
    return pool_case(rng, shape, kernel, stride, padding, draw(WIDTHS), draw(st.booleans()))


@settings(max_examples=300, deadline=None)
@given(pool_cases())
def test_average_pool(kernels: Kernels, case: Case) -> None:
    case.run(kernels["nas_average_pool"])


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", range(2, 9))
def test_average_pool_at_every_width(kernels: Kernels, bits: int, signed: bool) -> None:
    rng = np.random.default_rng(bits)
    for shape, kernel, stride, padding in [
        ((6, 6, 5), 2, 2, (0, 0, 0, 0)),
        ((7, 5, 6), 2, 2, (0, 1, 0, 1)),
        ((7, 7, 3), 7, 1, (0, 0, 0, 0)),
        ((5, 5, 4), 3, 3, (2, 2, 1, 0)),
        ((4, 4, 3), 3, 1, (1, 1, 1, 1)),
        ((24, 23, 4), 24, 1, (0, 0, 0, 1)),  # of 8 bits: more than 16 bits add up
    ]:
        pool_case(rng, shape, kernel, stride, padding, bits, signed).run(
            kernels["nas_average_pool"]
        )


def test_kernels_read_and_write_nothing_beyond_the_arena(tmp_path: Path) -> None:
    """The same kernels in a program of their own, every array of its exact size on the heap, with
    address and undefined sanitizers.
    """
    rng = np.random.default_rng(11)
    cases = [
        *(
            depthwise_case(
                rng,
                (5, width, channels),
                kernel,
                stride,
                same((5, width, channels), kernel, stride),
                widths,
                (True, False),
                "end",
            )
            for width, channels, kernel, stride, widths in [
                (1, 1, 3, 2, (8, 8, 8)),
                (7, 5, 3, 1, (4, 8, 7)),
                (6, 4, 5, 2, (3, 7, 4)),
                (5, 9, 3, 2, (2, 4, 2)),
                (4, 7, 5, 1, (7, 5, 8)),
                (6, 3, 7, 3, (5, 2, 3)),
                (6, 16, 3, 1, (8, 8, 8)),
                (3, 24, 5, 1, (4, 8, 8)),
            ]
        ),
        depthwise_case(rng, (4, 5, 6), 3, 1, (2, 2, 2, 2), (8, 6, 8), (True, True), "apart"),
        pool_case(rng, (6, 7, 3), 3, 3, (0, 0, 1, 1), 5, True),
        pool_case(rng, (4, 4, 5), 4, 1, (0, 0, 0, 0), 8, False),
    ]
    (tmp_path / "main.c").write_text(sanitized_main(cases))
    program = compile_runtime(
        tmp_path / "sanitized", *SANITIZERS, sources=(*SOURCES, tmp_path / "main.c")
    )
    output = subprocess.run([str(program)], check=True, capture_output=True).stdout
    for case in cases:
        size = len(case.arena) - 2 * GUARD
        arena = case.arena.copy()
        arena[GUARD:-GUARD] = np.frombuffer(output[:size], np.uint8)
        output = output[size:]
        case.compare(arena)
    assert not output


def test_fast_rounding_is_the_reference_rounding() -> None:
    """The formula of the DSP build, restated in Python integers, over the extremes of what the flag
    allows.
    """
    rng = np.random.default_rng(1)
    near = np.concatenate(
        [sign * np.int64(1 << power) + np.arange(-3, 4) for power in range(31) for sign in (1, -1)]
    )
    totals = np.unique(np.concatenate([near, rng.integers(-(2**30) + 1, 2**30, 20000)]))
    totals = totals[np.abs(totals) < 2**30]
    edges = np.asarray([0, 2**30, 2**30 + 1, 2**31 - 1, 1518500250], np.int64)
    for multiplier in np.concatenate([edges, rng.integers(2**30, 2**31, 12)]):
        for right, zero in itertools.product(range(1, 21), (0, 2, 128)):
            high = (
                ((2 * totals * multiplier + 2**31) >> 32)
                + ((2 * zero + 1) << (right - 1))
                - (totals < 0)
            )
            assert (np.abs(high) < 2**31).all()
            expected = multiply_by_quantized_multiplier(totals, multiplier, -right) + zero
            np.testing.assert_array_equal(high >> right, expected)
        for left in (shift for shift in FAST_SHIFTS_FROM_ZERO if shift >= 0):
            shifted = totals[np.abs(totals << left) < 2**30] << left
            high = ((2 * shifted * multiplier + 2**31) >> 32) - (shifted < 0)
            expected = multiply_by_quantized_multiplier(shifted >> left, multiplier, left)
            np.testing.assert_array_equal(np.maximum(high, 0), np.maximum(expected, 0))
