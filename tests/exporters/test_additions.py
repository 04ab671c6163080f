"""The shortcut's addition in C, for every pair of operands, against the integer arithmetic."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from nas_engine.exporters.packing import addition_flags
from nas_engine.exporters.to_c import runtime_files
from nas_engine.integer.arithmetic import add
from nas_engine.integer.model import Addition
from nas_engine.quantization.record import QuantisedTensor
from tests.exporters.kernels import COMPILER, FLAGS, RUNTIME, compiled

pytestmark = pytest.mark.skipif(not COMPILER, reason="needs a C compiler")

ADDITIONS = r"""
#include <stdio.h>
#include "nas_bits.h"
#include "nas_dense_output.h"

static uint8_t arena[256 * 256 + 1024];

/* Reads six constants, bits and zero of shortcut and output, flags; writes for every stored value
 * of the shortcut the sums with all results, 256 bytes. */
int main(void)
{
    int32_t in[11];
    while (fread(in, 4, 11, stdin) == 11) {
        const nas_addition addition = {in[0], in[1], in[2], in[3], in[4], in[5]};
        const uint32_t bits = (uint32_t)in[6], values = 1U << bits;
        const uint32_t wide = in[6] > in[8] ? bits : (uint32_t)in[8];
        const nas_layer layer = {
            .addition = &addition, .output = 0, .scratch = sizeof arena - 512, .in_height = 1,
            .in_width = (uint16_t)values, .in_channels = 8, .out_height = 1,
            .out_width = (uint16_t)values, .out_channels = 256, .kernel = 1, .stride = 1,
            .weight_bits = 8, .in_bits = 8, .out_bits = (uint8_t)in[8],
            .shortcut_bits = (uint8_t)in[6], .shortcut_zero = (uint8_t)in[7],
            .out_zero = (uint8_t)in[9], .flags = (uint8_t)in[10]};
        for (uint32_t i = 0; i < 256U * values; i++) {
            nas_put(arena, i, bits, i / 256U);
        }
        nas_dense dense;
        nas_dense_begin(&dense, &layer, arena);
        const uint32_t counts[] = {16, 7, 9, 1, 15, 16};
        for (uint32_t pixel = 0; pixel < values; pixel += 2U) {
            for (uint32_t channel = 0, turn = 0; channel < 256U; turn++) {
                const uint32_t left = 256U - channel, wanted = counts[turn % 6U];
                const uint32_t count = left < wanted ? left : wanted;
                for (uint32_t i = 0; i < count; i++) {
                    dense.bytes[0][i] = dense.bytes[1][i] = (uint8_t)(channel + i);
                }
                nas_dense_finish(&dense, pixel, 2, channel, count);
                channel += count;
            }
        }
        for (uint32_t i = 0; i < 256U * values; i++) {
            putchar((int)nas_get(arena, i, wide));
        }
    }
    return 0;
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    used = runtime_files(["nas_pointwise_stream"])
    sources = [RUNTIME / name for name in used if name.endswith(".c")]
    return compiled(tmp_path_factory.mktemp("additions"), ADDITIONS, sources=sources)


def tensor(bits: int, signed: bool, scale: float) -> QuantisedTensor:
    size = {"height": 1, "width": 1, "channels": 1}
    return QuantisedTensor(
        name=f"{scale}", bits=bits, signed=signed, scale=float(np.float32(scale)), **size
    )


def expected(
    shortcut: QuantisedTensor, addition: Addition, output: QuantisedTensor
) -> npt.NDArray[np.int64]:
    """Return the stored sums, ``[values of the shortcut, 256]``."""
    first = np.arange(2**shortcut.bits) + shortcut.low - shortcut.zero_point
    sums = add(
        first[:, None],
        np.arange(-128, 128),
        (addition.first, addition.second, addition.out),
    )
    return np.clip(sums + output.zero_point, output.low, output.high) - output.low


def found(
    program: Path,
    shortcut: QuantisedTensor,
    addition: Addition,
    output: QuantisedTensor,
    flags: int,
) -> npt.NDArray[np.int64]:
    zeros = [tensor.zero_point - tensor.low for tensor in (shortcut, output)]
    numbers = (*addition.first, *addition.second, *addition.out)
    given = struct.pack("<11i", *numbers, shortcut.bits, zeros[0], output.bits, zeros[1], flags)
    done = subprocess.run([str(program)], input=given, capture_output=True, check=True)
    return np.frombuffer(done.stdout, np.uint8).astype(np.int64).reshape(-1, 256)


RATIOS = (1.0, 2.0, 0.7, 1.9, 2.0**-9.7, 2.0**9.7, 2.0**-19.5, 2.0**-25)


@pytest.mark.parametrize("ratio", RATIOS)
def test_every_pair_of_operands(program: Path, ratio: float) -> None:
    """The form that the export chooses and the general one, scales of the sum far and near."""
    quick = 0
    for number, far in enumerate((1.0, 0.83, 3.3, 2.0**-12, 2.0**18.9 / max(ratio, 1.0))):
        shortcut = tensor(8, bool(number % 2), 0.02)
        output = tensor(8, number % 3 == 0, 0.02 / far if number else 0.02 * max(ratio, 1.0))
        addition = Addition.between(shortcut, float(np.float32(0.02 * ratio)), output)
        names = addition_flags(addition, shortcut, output)
        quick += "NAS_QUICK_ADDITION" in names
        sums = expected(shortcut, addition, output)
        for chosen in (names, ("NAS_ADD_SHORTCUT",))[: 1 + (number == 1)]:
            flags = sum(FLAGS[name] for name in chosen)
            np.testing.assert_array_equal(
                found(program, shortcut, addition, output, flags), sums, err_msg=f"{chosen}, {far}"
            )
    assert quick >= 3 or ratio < 2.0**-20


@pytest.mark.parametrize("bits", [(5, 8), (8, 5), (4, 4), (6, 3), (3, 6)])
def test_narrow_operands(program: Path, bits: tuple[int, int]) -> None:
    for signed in (False, True):
        shortcut, output = tensor(bits[0], signed, 0.3), tensor(bits[1], not signed, 0.2)
        addition = Addition.between(shortcut, float(np.float32(0.05)), output)
        names = addition_flags(addition, shortcut, output)
        assert "NAS_QUICK_ADDITION" in names
        flags = sum(FLAGS[name] for name in names)
        sums = expected(shortcut, addition, output)
        # read before nas_dense_end narrows what lies in slots of the wider width
        np.testing.assert_array_equal(found(program, shortcut, addition, output, flags), sums)


def test_one_scale_needs_no_rounding(program: Path) -> None:
    for bits, signed in ((8, True), (8, False), (5, False)):
        shortcut = tensor(bits, signed, 0.02)
        addition = Addition.between(shortcut, shortcut.scale, shortcut)
        names = addition_flags(addition, shortcut, shortcut)
        assert "NAS_SAME_SCALE" in names
        flags = sum(FLAGS[name] for name in names)
        sums = expected(shortcut, addition, shortcut)
        np.testing.assert_array_equal(found(program, shortcut, addition, shortcut, flags), sums)


def test_one_scale_of_two_zeros_is_quick_instead() -> None:
    shortcut, output = tensor(8, True, 0.02), tensor(8, False, 0.02)
    addition = Addition.between(shortcut, shortcut.scale, output)
    assert addition_flags(addition, shortcut, output)[1:] == ("NAS_QUICK_ADDITION",)
