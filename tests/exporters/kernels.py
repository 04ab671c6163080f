"""Runs the C kernels on this machine: one small program, compiled with sanitizers, that takes
layers and answers with the arena.

Tensors lie in the arena with poisoned gaps between them, so that AddressSanitizer sees every access
beyond a tensor's whole words.
"""

from __future__ import annotations

import os
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

from nas_engine.compilers import find_compiler
from nas_engine.costs.memory import tile_bytes
from nas_engine.exporters.inplace import Placed, row_order
from nas_engine.exporters.packing import PackedLayer, addition_flags
from nas_engine.exporters.to_c import runtime_files
from nas_engine.integer.model import IntegerConvolution, IntegerModel
from nas_engine.quantization.record import QuantisedTensor

RUNTIME = Path(__file__).parents[2] / "nas_engine" / "exporters" / "runtime"
KERNELS = (
    "nas_pointwise_w8",
    "nas_pointwise_w4",
    "nas_pointwise_stream",
    "nas_pointwise_rows",
    "nas_convolution_stream",
)
SOURCES = tuple(RUNTIME / name for name in runtime_files(KERNELS) if name.endswith(".c"))
COMPILER = find_compiler()
IS_ZIG = "ziglang" in COMPILER
WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror")
SANITIZERS = (
    "-O1",
    "-g",
    f"-fsanitize={'undefined' if IS_ZIG else 'address,undefined'}",
    "-fno-sanitize-recover=all",
)

BACKWARD, FAST_ROUNDING, ADD_SHORTCUT = 1, 2, 4
FLAGS = {"NAS_ADD_SHORTCUT": ADD_SHORTCUT, "NAS_SAME_SCALE": 8, "NAS_QUICK_ADDITION": 16}
TWICE_THE_TILE = 32
GAP = 32

PROGRAM = r"""
#include <stdio.h>
#include <stdlib.h>
#include "nas_runtime.h"
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(at, size) ((void)(at), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(at, size) ((void)(at), (void)(size))
#endif

static void (*const kernels[])(const nas_layer *, uint8_t *) = {@KERNELS@};

static void take(void *to, size_t size)
{
    if (fread(to, 1, size, stdin) != size) {
        exit(0);
    }
}

static void *block(size_t size)
{
    void *at = malloc(size ? size : 1);
    if (!at) {
        exit(2);
    }
    take(at, size);
    return at;
}

int main(void)
{
    for (;;) {
        uint32_t h[24], sizes[4];
        nas_addition addition;
        take(h, sizeof h);
        take(&addition, sizeof addition);
        take(sizes, sizeof sizes);
        uint32_t *weights = block(4 * sizes[0]);
        int32_t *constants = block(4 * sizes[1]);
        uint32_t *gaps = block(8 * sizes[2]);
        uint8_t *arena = block(sizes[3]);
        nas_layer layer = {
            .run = kernels[h[0]], .weights = weights, .constants = constants, .addition = &addition,
            .input = h[1], .output = h[2], .scratch = h[3],
            .in_height = (uint16_t)h[4], .in_width = (uint16_t)h[5], .in_channels = (uint16_t)h[6],
            .out_height = (uint16_t)h[7], .out_width = (uint16_t)h[8],
            .out_channels = (uint16_t)h[9], .kernel = (uint8_t)h[10], .stride = (uint8_t)h[11],
            .pad_top = (uint8_t)h[12], .pad_left = (uint8_t)h[13], .weight_bits = (uint8_t)h[14],
            .in_bits = (uint8_t)h[15], .out_bits = (uint8_t)h[16], .shortcut_bits = (uint8_t)h[17],
            .in_zero = (uint8_t)h[18], .out_zero = (uint8_t)h[19], .shortcut_zero = (uint8_t)h[20],
            .flags = (uint8_t)h[21]};
        for (uint32_t i = 0; i < sizes[2]; i++) {
            ASAN_POISON_MEMORY_REGION(arena + gaps[2 * i], gaps[2 * i + 1]);
        }
        layer.run(&layer, arena);
        ASAN_UNPOISON_MEMORY_REGION(arena, sizes[3]);
        fwrite(arena, 1, sizes[3], stdout);
        fflush(stdout);
        free(weights);
        free(constants);
        free(gaps);
        free(arena);
    }
}
"""

ROUNDING = r"""
#include <stdio.h>
#include "nas_requantise.h"

/* Reads count, then total, multiplier, right, zero each; writes the general and quick result. */
int main(void)
{
    uint32_t count;
    if (fread(&count, 4, 1, stdin) != 1) {
        return 1;
    }
    while (count--) {
        int32_t in[4], out[2];
        if (fread(in, 4, 4, stdin) != 4) {
            return 1;
        }
        const uint32_t right = (uint32_t)in[2], zero = (uint32_t)in[3];
        out[0] = nas_multiply(in[0], in[1], -in[2]) + in[3];
        out[1] = right
            ? nas_multiply_fast(2 * in[0], in[1], right, nas_fast_addend(right, zero)) : 0;
        fwrite(out, 4, 2, stdout);
    }
    return 0;
}
"""

Values = npt.NDArray[np.int8]


def compiled(
    folder: Path,
    text: str = "",
    flags: Sequence[str] = SANITIZERS,
    sources: Sequence[Path] = (),
) -> Path:
    """Compile a program with sources, or the one that runs the dense kernels; return its path."""
    program, source = folder / "kernels", folder / "kernels.c"
    source.write_text(text or PROGRAM.replace("@KERNELS@", ", ".join(KERNELS)))
    files = [source, *(sources if text else SOURCES)]
    command = [*COMPILER, *WARNINGS, *flags, f"-I{RUNTIME}", *map(str, files), "-o", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return program


def stream(values: npt.NDArray[np.integer], bits: int) -> bytes:
    """Return numbers as a bit stream in whole words."""
    digits = (values.reshape(-1, 1).astype(np.int64) >> np.arange(bits)) & 1
    packed = np.packbits(digits.astype(np.uint8).reshape(-1), bitorder="little").tobytes()
    return packed + bytes(-len(packed) % 4)


def elements(
    content: bytes | npt.NDArray[np.uint32], count: int, bits: int
) -> npt.NDArray[np.int64]:
    """Return the first numbers of a bit stream, ``[count]``, 0 to 2^bits - 1."""
    digits = np.unpackbits(np.frombuffer(content, np.uint8), bitorder="little")[
        : count * bits
    ].reshape(count, bits)
    return digits.astype(np.int64) @ (1 << np.arange(bits))


def words(values: npt.NDArray[np.integer], tensor: QuantisedTensor) -> bytes:
    """Return a tensor as it is stored."""
    return stream(values.astype(np.int64) - tensor.low, tensor.bits)


class Program:
    """The running program."""

    def __init__(self, path: Path) -> None:
        environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            [str(path)], stdin=pipe, stdout=pipe, stderr=pipe, env=environment
        )

    def __enter__(self) -> Program:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.process.communicate()

    def run(
        self,
        model: IntegerModel,
        step: IntegerConvolution,
        packed: PackedLayer,
        values: dict[str, Values],
        *,
        fast: bool,
        noise: int = 0,
        doublings: int = 0,
    ) -> Values:
        """Return the output ``[H, W, C]`` of one layer; ``values`` holds its input and its
        shortcut. ``fast``: by the quick forms that hold for it, or by the general ones.
        """
        record, content = request(
            model, step, packed, values, fast=fast, noise=noise, doublings=doublings
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(record + content.arena)
            self.process.stdin.flush()
        except BrokenPipeError:
            pass
        arena = self.process.stdout.read(len(content.arena))
        if len(arena) != len(content.arena):
            raise AssertionError(
                f"{packed.kernel.name} stopped: {self.process.communicate()[1].decode()[-4000:]}"
            )
        in_place = content.input[0] == content.output
        for begin, size in content.gaps:
            assert arena[begin : begin + size] == content.arena[begin : begin + size], (
                "a gap was written"
            )
        begin, size = content.input
        assert in_place or arena[begin : begin + size] == content.arena[begin : begin + size], (
            "the input was written"
        )
        target = model.tensor(step.output)
        stored = elements(
            arena[content.output :], target.height * target.width * target.channels, target.bits
        )
        return (stored + target.low).astype(np.int8).reshape(target.shape)


class Content:
    """An arena and where things lie in it."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.arena = b""
        self.gaps: list[tuple[int, int]] = []
        self.input = (0, 0)
        self.output = 0

    def add(self, content: bytes, size: int | None = None) -> int:
        """Put bytes behind a gap, filled up with noise; return where they begin."""
        self.gaps.append((len(self.arena), GAP))
        begin = len(self.arena) + GAP
        rest = self.rng.bytes(max((size or 0) - len(content), 0))
        self.arena += self.rng.bytes(GAP) + content + rest
        return begin

    def close(self) -> None:
        """End with a gap."""
        self.add(b"")
        self.gaps[-1] = (self.gaps[-1][0], GAP)


def tensor_bytes(tensor: QuantisedTensor) -> int:
    """Return the bytes of a tensor in whole words."""
    return -(-tensor.height * tensor.width * tensor.channels * tensor.bits // 32) * 4


def scratch_bytes(step: IntegerConvolution, doublings: int) -> int:
    """Return the scratch of a dense kernel whose tile is doubled so often, nas_runtime.h."""
    taps, channels = step.weights[0].size, len(step.weights)
    in_flash = step.weight_bits == 8 and taps % 4 == 0 and channels % 2 == 0
    return tile_bytes(taps, channels, doublings, windows=step.taps > 1, in_flash=in_flash)


def row_bytes(source: QuantisedTensor, target: QuantisedTensor) -> int:
    """Return what a layer over its own input holds of its output, nas_runtime.h."""
    rows = [tensor.width * tensor.channels * tensor.bits for tensor in (source, target)]
    return tensor_bytes(target) if any(bits % 8 for bits in rows) else -(-rows[1] // 32) * 4


def request(
    model: IntegerModel,
    step: IntegerConvolution,
    packed: PackedLayer,
    values: dict[str, Values],
    *,
    fast: bool,
    noise: int,
    doublings: int,
) -> tuple[bytes, Content]:
    """Return what the program reads, without the arena, and the arena."""
    source, target = model.tensor(step.input), model.tensor(step.output)
    content = Content(np.random.default_rng(noise))
    stored = words(values[step.input], source)
    in_place = packed.kernel.name == "nas_pointwise_rows"
    at_input = content.add(stored, tensor_bytes(target) if in_place else None)
    content.input = (at_input, len(stored))
    shortcut = model.tensor(step.shortcut) if step.shortcut else None
    over = words(values[shortcut.name], shortcut) if shortcut else b""
    flags, more = FAST_ROUNDING if fast and packed.fast_rounding else 0, 0
    flags |= doublings * TWICE_THE_TILE
    if in_place:
        content.output, more = at_input, row_bytes(source, target)
        here, there = (Placed(tensor=tensor, offset=at_input) for tensor in (source, target))
        if not (here.row_bits % 8 or there.row_bits % 8):
            flags |= BACKWARD if row_order(step, here, there) == "backward" else 0
    else:
        content.output = content.add(over, max(tensor_bytes(target), len(over)))
    at_scratch = content.add(b"", scratch_bytes(step, doublings) + more)
    content.close()
    if shortcut and step.addition:
        names = addition_flags(step.addition, shortcut, target)
        flags |= sum(FLAGS[name] for name in names) if fast else ADD_SHORTCUT
    zeros = [
        tensor.zero_point - tensor.low if tensor else 0 for tensor in (source, target, shortcut)
    ]
    fields = (
        KERNELS.index(packed.kernel.name),
        at_input,
        content.output,
        at_scratch,
        *source.shape,
        *target.shape,
        step.kernel_height,
        step.stride,
        step.padding[0],
        step.padding[2],
        step.weight_bits,
        source.bits,
        target.bits,
        shortcut.bits if shortcut else 0,
        *zeros,
        flags,
        0,
        0,
    )
    addition = (
        (*step.addition.first, *step.addition.second, *step.addition.out)
        if step.addition
        else (0,) * 6
    )
    sizes = (len(packed.weights), len(packed.constants), len(content.gaps), len(content.arena))
    numbers = struct.pack("<24I6i4I", *fields, *addition, *sizes)
    gaps = b"".join(struct.pack("<II", *gap) for gap in content.gaps)
    return numbers + packed.weights.astype("<u4").tobytes() + packed.constants.astype(
        "<u4"
    ).tobytes() + gaps, content
