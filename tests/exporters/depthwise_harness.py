"""One layer of the C runtime on the host: random layers, the arena they run in, and what the
integer reference says about them.
"""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import nas_engine.exporters
from nas_engine.compilers import find_compiler
from nas_engine.exporters.to_c import runtime_files
from nas_engine.integer import reference
from nas_engine.integer.arithmetic import multiply_by_quantized_multiplier
from nas_engine.integer.bounds import accumulator_bounds, sum_range
from nas_engine.integer.model import IntegerConvolution, Requantizer
from nas_engine.network.graph import Node, value_range
from nas_engine.quantization.record import QuantisedTensor

RUNTIME = Path(nas_engine.exporters.__file__).parent / "runtime"
"""Directory of the C sources."""

KERNELS = ("nas_depthwise", "nas_depthwise_3x3", "nas_depthwise_5x5", "nas_average_pool")
"""The kernels under test."""

SOURCES = tuple(name for name in runtime_files(KERNELS) if name.endswith(".c"))
"""Their files."""

STRICT = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-Wconversion", "-Wshadow", "-pedantic")
"""Options under which the sources have no warnings."""

GUARD = 64
"""Bytes before and behind the arena that must stay as they are."""

BACKWARD, FAST_ROUNDING = 1, 2

Bytes = npt.NDArray[np.uint8]


class Layer(ctypes.Structure):
    """``nas_layer`` of nas_runtime.h."""

    _fields_ = (
        ("run", ctypes.c_void_p),
        ("weights", ctypes.c_void_p),
        ("constants", ctypes.c_void_p),
        ("addition", ctypes.c_void_p),
        *((name, ctypes.c_uint32) for name in ("input", "output", "scratch")),
        *(
            (name, ctypes.c_uint16)
            for name in (
                "in_height",
                "in_width",
                "in_channels",
                "out_height",
                "out_width",
                "out_channels",
            )
        ),
        *((name, ctypes.c_uint8) for name in ("kernel", "stride", "pad_top", "pad_left")),
        *(
            (name, ctypes.c_uint8)
            for name in ("weight_bits", "in_bits", "out_bits", "shortcut_bits")
        ),
        *((name, ctypes.c_uint8) for name in ("in_zero", "out_zero", "shortcut_zero", "flags")),
    )


def compile_runtime(target: Path, *options: str, sources: tuple[str | Path, ...] = SOURCES) -> Path:
    """Compile the kernels with the host's compiler and return the file made."""
    files = [str(RUNTIME / source) for source in sources]
    subprocess.run(
        [*find_compiler(), *STRICT, "-I", str(RUNTIME), *options, *files, "-o", str(target)],
        check=True,
    )
    return target


def load_kernels(library: Path) -> dict[str, Callable[[Any, Any], None]]:
    """Return the kernels of a shared library by name."""
    loaded = ctypes.CDLL(str(library))
    kernels = {}
    for name in KERNELS:
        kernels[name] = getattr(loaded, name)
        kernels[name].argtypes, kernels[name].restype = (
            (ctypes.POINTER(Layer), ctypes.c_void_p),
            None,
        )
    return kernels


def packed(values: npt.ArrayLike, bits: int) -> Bytes:
    """Return integers as a dense little-endian bit stream, padded to words; negative ones in two's
    complement.
    """
    flat = np.asarray(values, np.int64).reshape(-1, 1)
    stream = np.packbits(
        ((flat >> np.arange(bits)) & 1).astype(np.uint8).reshape(-1), bitorder="little"
    )
    return np.pad(stream, (0, -len(stream) % 4))


def unpacked(stream: Bytes, bits: int, count: int) -> npt.NDArray[np.int64]:
    """Return ``count`` unsigned integers of a bit stream."""
    split = (
        np.unpackbits(stream, bitorder="little", count=count * bits)
        .reshape(count, bits)
        .astype(np.int64)
    )
    return np.asarray(split @ (1 << np.arange(bits)), np.int64)


def row_order_is_safe(layer: Layer, *, backward: bool) -> bool:
    """Walk a depth-wise layer row by row, in bits: is every input row read before an output row is
    written over it?
    """
    in_row, out_row = (
        layer.in_width * layer.in_channels * layer.in_bits,
        layer.out_width * layer.in_channels * layer.out_bits,
    )
    written: list[tuple[int, int]] = []
    ring: set[int] = set()
    for row in range(layer.out_height)[:: -1 if backward else 1]:
        first = row * layer.stride - layer.pad_top
        needed = {i for i in range(first, first + layer.kernel) if 0 <= i < layer.in_height}
        for i in needed - ring:
            start = 8 * layer.input + i * in_row
            if any(low < start + in_row and start < high for low, high in written):
                return False
        ring = needed
        start = 8 * layer.output + row * out_row
        written.append((start, start + out_row))
    return True


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Case:
    """A layer with its input, ready to run."""

    layer: Layer
    """The record; offsets count from the arena's first byte."""
    arena: Bytes
    """The arena with the input in it and noise elsewhere, between guards."""
    stored: npt.NDArray[np.int64]
    """The input as stored."""
    expected: npt.NDArray[np.int64]
    """The output as stored, from the reference."""
    scratch_bytes: int
    """Bytes of the arena that the kernel may use at its scratch offset."""
    weights: Bytes
    """Packed weights."""
    constants: Bytes
    """Bias, multiplier and shift."""

    @property
    def kernel(self) -> str:
        """C function that an export takes for the layer."""
        if not self.scratch_bytes:
            return "nas_average_pool"
        return {3: "nas_depthwise_3x3", 5: "nas_depthwise_5x5"}.get(
            self.layer.kernel, "nas_depthwise"
        )

    def run(self, kernel: Callable[[Any, Any], None]) -> None:
        """Run the kernel, and compare every bit of the arena but the scratch with what it must be
        afterwards.
        """
        arena = self.arena.copy()
        assert arena.ctypes.data % 4 == 0
        kernel(ctypes.byref(self.layer), arena.ctypes.data + GUARD)
        self.compare(arena)

    def compare(self, arena: Bytes) -> None:
        """Refuse an arena with a wrong bit outside of the scratch."""
        bits = self.layer.out_bits
        start = GUARD + self.layer.output
        found = unpacked(arena[start:], bits, self.expected.size)
        np.testing.assert_array_equal(found.reshape(self.expected.shape), self.expected)
        free = np.ones(len(arena) * 8, bool)
        free[8 * start : 8 * start + bits * self.expected.size] = False
        scratch = 8 * (GUARD + self.layer.scratch)
        free[scratch : scratch + 8 * self.scratch_bytes] = False
        before, after = (
            np.unpackbits(self.arena, bitorder="little"),
            np.unpackbits(arena, bitorder="little"),
        )
        np.testing.assert_array_equal(before[free], after[free])


def place(
    layer: Layer,
    stored: npt.NDArray[np.int64],
    out_size: int,
    scratch: int,
    where: str,
    rng: np.random.Generator,
) -> Bytes:
    """Choose offsets and return the arena: output and input ``"apart"``, with the same ``"start"``
    or with the same ``"end"``.
    """
    source = packed(stored, layer.in_bits)
    size = -(-out_size * layer.out_bits // 32) * 4
    both = max(len(source), size)
    if where == "apart":
        layer.input, layer.output, both = 0, len(source), len(source) + size
    elif where == "end":
        layer.input, layer.output = both - len(source), both - size
    else:
        layer.input = layer.output = 0
    # The scratch lies below the tensors, as in a memory plan.
    layer.scratch = 0
    layer.input += scratch
    layer.output += scratch
    arena = np.empty(2 * GUARD + scratch + both, np.uint8)
    arena[:] = rng.integers(0, 256, arena.shape)
    start, used = GUARD + layer.input, stored.size * layer.in_bits
    merged = np.unpackbits(arena[start : start + len(source)], bitorder="little")
    merged[:used] = np.unpackbits(source, bitorder="little")[:used]
    arena[start : start + len(source)] = np.packbits(merged, bitorder="little")
    return arena


def stored_values(
    rng: np.random.Generator, bits: int, shape: tuple[int, ...]
) -> npt.NDArray[np.int64]:
    """Return random stored values that often lie at either end, or at one of them only."""
    high = 2**bits - 1
    kind = int(rng.integers(4))
    noise = rng.integers(-high // 2, high + high // 2 + 2, shape)
    return np.asarray(
        [noise, np.full(shape, 0), np.full(shape, high), rng.integers(0, 2, shape) * high][
            kind
        ].clip(0, high),
        np.int64,
    )


def tensor(name: str, shape: tuple[int, int, int], bits: int, signed: bool) -> QuantisedTensor:
    """Return a tensor of scale 1."""
    return QuantisedTensor(
        name=name,
        height=shape[0],
        width=shape[1],
        channels=shape[2],
        bits=bits,
        signed=signed,
        scale=1.0,
    )


def stored_zero(bits: int, signed: bool) -> int:
    """Return what a tensor stores for the real 0."""
    return 2 ** (bits - 1) if signed else 0


def depthwise_case(
    rng: np.random.Generator,
    shape: tuple[int, int, int],
    kernel: int,
    stride: int,
    padding: tuple[int, int, int, int],
    widths: tuple[int, int, int],
    signed: tuple[bool, bool],
    where: str = "end",
    extreme: bool = False,
) -> Case:
    """Return a random depth-wise layer of ``[H, W, C]`` with widths of (weights, input, output).

    ``extreme`` gives sums up to the end of int32 and shifts of every size; else the layer is one
    that a trained network could have. Where no row order is safe in place, the tensors are put
    apart.
    """
    w_bits, in_bits, out_bits = widths
    height, width, channels = shape
    top, bottom, left, right = padding
    out = (
        (height + top + bottom - kernel) // stride + 1,
        (width + left + right - kernel) // stride + 1,
        channels,
    )
    source, target = (
        tensor("in", shape, in_bits, signed[0]),
        tensor("out", out, out_bits, signed[1]),
    )
    most, carried = 2 ** (w_bits - 1) - 1, 8 - w_bits
    weights = rng.integers(-most, most + 1, (channels, kernel, kernel, 1))
    weights[rng.integers(0, 5, channels) == 0] = rng.choice([-most, most])
    spread = max(1.0, np.sqrt(kernel**2 * most * (most + 1) / 3) * 2**in_bits / 4) * 2**carried
    if extreme:
        sums = sum_range(weights, source.low - source.zero_point, source.high - source.zero_point)
        room = 2**30 - 1 if rng.integers(2) else 2**31 - 1
        least, largest = sums[0] << carried, sums[1] << carried
        bias = np.where(rng.integers(0, 2, channels) == 1, room - largest, -room - least)
        ranges = [(-31, 1), (-20, 0), (-20, 0), (0, 1)]
        shift = rng.integers(*ranges[int(rng.integers(4))], channels)
        multiplier = rng.choice([2**30, 2**30 + 1, 2**31 - 1, 0], channels)
    else:
        bias = rng.normal(0, spread, channels).astype(np.int64)
        factor = np.frexp(rng.uniform(0.5, 2, channels) * 2**out_bits / 4 / spread)
        multiplier, shift = np.minimum(np.round(factor[0] * 2.0**31), 2**31 - 1), factor[1]
    requantizer = Requantizer(multiplier=multiplier.astype(np.int32), shift=shift.astype(np.int32))
    sums = sum_range(weights, source.low - source.zero_point, source.high - source.zero_point)
    step = IntegerConvolution(
        name="layer",
        kind="depthwise",
        inputs=("in",),
        output="out",
        kernel_height=kernel,
        kernel_width=kernel,
        stride=stride,
        padding=padding,
        weights=weights,
        weight_bits=w_bits,
        weight_scale=np.ones(channels, np.float32),
        bias=bias,
        requantizer=requantizer,
        addition=None,
        bounds=accumulator_bounds("layer", sums, carried, bias, requantizer.shift),
    )
    stored = stored_values(rng, in_bits, shape)
    zero = stored_zero(in_bits, signed[0])
    acc = reference._accumulate(step, (stored - zero)[None], target)[0]
    result = multiply_by_quantized_multiplier(acc, requantizer.multiplier, requantizer.shift)
    expected = np.clip(result + target.zero_point, target.low, target.high) - target.low

    fast = step.bounds.accumulator < 2**30 and bool(
        ((requantizer.shift >= -20) & (requantizer.shift <= -1)).all()
    )
    folded = (bias - zero * (weights.reshape(channels, -1).sum(axis=1) << carried)).astype(np.int64)
    constants = np.concatenate(
        [
            (folded & 0xFFFFFFFF).astype("<u4").view(np.uint8),
            requantizer.multiplier.view(np.uint8),
            requantizer.shift.astype(np.int8).view(np.uint8),
        ]
    )
    layer = Layer(
        in_height=height,
        in_width=width,
        in_channels=channels,
        out_height=out[0],
        out_width=out[1],
        out_channels=channels,
        kernel=kernel,
        stride=stride,
        pad_top=top,
        pad_left=left,
        weight_bits=w_bits,
        in_bits=in_bits,
        out_bits=out_bits,
        in_zero=zero,
        out_zero=stored_zero(out_bits, signed[1]),
        flags=FAST_ROUNDING if fast else 0,
    )
    pitch = width + width % 2 + 2 * (kernel // 2)
    scratch = (
        -(-kernel * width * channels * in_bits // 32) * 4
        + -(-(kernel**2) * channels // 4) * 4
        + 8 * kernel * pitch
    )
    arena = place(layer, stored, expected.size, scratch, where, rng)
    orders = [backward for backward in (False, True) if row_order_is_safe(layer, backward=backward)]
    if not orders:
        arena = place(layer, stored, expected.size, scratch, "apart", rng)
        orders = [False, True]
    layer.flags |= BACKWARD if orders[int(rng.integers(len(orders)))] else 0
    return _case(
        layer,
        arena,
        stored,
        expected,
        scratch,
        packed(weights, w_bits),
        np.pad(constants, (0, -len(constants) % 4)),
    )


def pool_case(
    rng: np.random.Generator,
    shape: tuple[int, int, int],
    kernel: int,
    stride: int,
    padding: tuple[int, int, int, int],
    bits: int,
    signed: bool,
) -> Case:
    """Return a random average pool of ``[H, W, C]``, in place where that is allowed."""
    height, width, channels = shape
    top, bottom, left, right = padding
    out = (
        (height + top + bottom - kernel) // stride + 1,
        (width + left + right - kernel) // stride + 1,
        channels,
    )
    source, target = tensor("in", shape, bits, signed), tensor("out", out, bits, signed)
    stored = stored_values(rng, bits, shape)
    low = value_range(bits, signed)[1]
    step = Node(
        name="pool",
        kind="average_pool",
        inputs=("in",),
        output="out",
        kernel_height=kernel,
        kernel_width=kernel,
        stride=stride,
        padding=padding,
    )
    expected = reference._average_pool(step, (stored + low)[None], source, target)[0] - low
    layer = Layer(
        in_height=height,
        in_width=width,
        in_channels=channels,
        out_height=out[0],
        out_width=out[1],
        out_channels=channels,
        kernel=kernel,
        stride=stride,
        pad_top=top,
        pad_left=left,
        in_bits=bits,
        out_bits=bits,
        in_zero=stored_zero(bits, signed),
        out_zero=stored_zero(bits, signed),
    )
    in_place = kernel <= stride or out[:2] == (1, 1)
    arena = place(layer, stored, expected.size, 0, "start" if in_place else "apart", rng)
    nothing = np.zeros(4, np.uint8)
    return _case(layer, arena, stored, expected, 0, nothing, nothing)


def _case(
    layer: Layer,
    arena: Bytes,
    stored: npt.NDArray[np.int64],
    expected: npt.NDArray[np.int64],
    scratch: int,
    weights: Bytes,
    constants: Bytes,
) -> Case:
    layer.weights, layer.constants = weights.ctypes.data, constants.ctypes.data
    return Case(
        layer=layer,
        arena=arena,
        stored=stored,
        expected=expected,
        scratch_bytes=scratch,
        weights=weights,
        constants=constants,
    )


def sanitized_main(cases: list[Case]) -> str:
    """Return a C program that runs layers one after another, each array on the heap, and prints
    each arena.
    """
    kept = [name for name, _ in Layer._fields_[4:]]
    parts = [
        "#include <stdio.h>",
        "#include <stdlib.h>",
        "#include <string.h>",
        '#include "nas_runtime.h"',
    ]
    body = []
    for i, case in enumerate(cases):
        for name, array in (
            ("arena", case.arena[GUARD:-GUARD]),
            ("weights", case.weights),
            ("constants", case.constants),
        ):
            parts.append(
                f"static const uint8_t {name}_{i}[] = {{{', '.join(map(str, array.tolist()))}}};"
            )
        fields = ", ".join(f".{name} = {getattr(case.layer, name)}" for name in kept)
        parts.append(f"static const nas_layer layer_{i} = {{.run = {case.kernel}, {fields}}};")
        body.append(
            f"    run(&layer_{i}, arena_{i}, sizeof arena_{i}, weights_{i}, sizeof weights_{i}, "
            f"constants_{i}, sizeof constants_{i});"
        )
    parts.append(
        """static void *copied(const void *from, size_t size)
{
    void *to = malloc(size);
    if (to == NULL) {
        abort();
    }
    return memcpy(to, from, size);
}

static void run(const nas_layer *model, const void *a, size_t a_size, const void *w, size_t w_size,
                const void *c, size_t c_size)
{
    nas_layer layer = *model;
    uint8_t *arena = copied(a, a_size);
    uint32_t *weights = copied(w, w_size);
    int32_t *constants = copied(c, c_size);
    layer.weights = weights;
    layer.constants = constants;
    layer.run(&layer, arena);
    fwrite(arena, 1, a_size, stdout);
    free(arena);
    free(weights);
    free(constants);
}
"""
    )
    return "\n".join([*parts, "int main(void)", "{", *body, "    return 0;", "}", ""])
