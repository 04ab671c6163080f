"""C export compiled for this machine and run.

It runs under sanitizers over a share of the images, and optimised over all of them.

The two builds start with an arena of different bytes and must give the same logits, so that a value
read before it is written shows too. A third build has the flags of the Makefile that is exported,
warnings as errors among them, and runs the self-test of the export.
"""

from __future__ import annotations

import os
import re
import shlex
import struct
import subprocess
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np

from nas_engine.compilers import find_compiler
from nas_engine.errors import shortened
from nas_engine.integer.model import IntegerModel
from nas_engine.integer.reference import Images, Values
from nas_engine.integer.reference import run as reference
from nas_engine.verification.backend import BackendError, BackendRun
from nas_engine.verification.interface import include_folders, prefix_of

STANDARD = "-std=c99"
"""The language."""

OPTIMISED = ("-O3",)
"""Flags of the build that runs all images."""

CHECKED = ("-O2",)
"""Flags of the build under sanitizers, beside those that say which."""

SANITIZERS = (("address", "undefined"), ("undefined",))
"""Sanitizers, the most wanted first: not every compiler comes with the libraries of all, and some
take the flag without effect."""

_NAME = "host C"
_MAKEFILE = ("c_templates", "Makefile.in")

_PROBE = """\
#include <stdlib.h>

/* Without an argument it ends well. Each of two arguments stands for a fault that \
the sanitizer of this name must catch. */
int main(int count, char **arguments)
{
    if (count > 1 && arguments[1][0] == 'a') {
        volatile char *bytes = malloc(5);
        bytes[5] = 1;
    } else if (count > 1) {
        volatile int most = 0x7FFFFFFF;
        most = most + 1;
    }
    return 0;
}
"""

_DRIVER = """\
#include "model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef _WIN32
#include <fcntl.h>
#include <io.h>
#endif

static unsigned rows_seen[MODEL_LAYERS];

static uint32_t crc32_of(uint32_t crc, uint32_t byte)
{
    unsigned i;
    crc ^= byte;
    for (i = 0; i < 8U; i++) {
        crc = (crc >> 1) ^ (0xEDB88320U & (0U - (crc & 1U)));
    }
    return crc;
}

/* CRC-32 of an output as int8 values, each bit of its stream looked at by itself. */
static void note(unsigned step, unsigned row, const void *values, unsigned bytes, void *context)
{
    const model_layer_info *layer = model_layer(step);
    const uint8_t *stream = (const uint8_t *)values;
    const uint32_t elements = (uint32_t)layer->output_width * layer->output_channels;
    const uint32_t count = layer->by_rows ? elements : elements * layer->output_height;
    const uint32_t low = (uint32_t)(int32_t)layer->output_low;
    uint32_t *sum = (uint32_t *)context + step, i, bit, at = 0;
    uint32_t crc = row == 0 ? 0xFFFFFFFFU : *sum ^ 0xFFFFFFFFU;
    if (bytes != (count * layer->output_bits + 7U) / 8U || row != rows_seen[step]++) {
        crc = 0U; /* never that of the reference, but by chance */
    }
    for (i = 0; i < count; i++) {
        uint32_t value = 0;
        for (bit = 0; bit < layer->output_bits; bit++, at++) {
            value |= (((uint32_t)stream[at >> 3] >> (at & 7U)) & 1U) << bit;
        }
        crc = crc32_of(crc, (value + low) & 0xFFU);
    }
    *sum = crc ^ 0xFFFFFFFFU;
}

#if MODEL_IMAGE_BY_ROWS
/* Rows in order, each once, in memory of their own: sanitizers see what is read beyond it. */
static const uint8_t *image_row(void *context, unsigned row)
{
    static uint8_t *line;
    static unsigned next;
    const size_t bytes = (size_t)MODEL_INPUT_WIDTH * MODEL_INPUT_CHANNELS;
    free(line);
    line = row == next % MODEL_INPUT_HEIGHT ? malloc(bytes) : NULL;
    next++;
    if (line != NULL) {
        memcpy(line, (const uint8_t *)context + row * bytes, bytes);
    }
    return line;
}
#endif

/* Images come in on stdin; a CRC-32 for each step of the first image goes out, \
then the logits of every image. */
int main(void)
{
    static uint32_t sums[MODEL_LAYERS];
    static uint8_t image[MODEL_INPUT_HEIGHT * MODEL_INPUT_WIDTH * MODEL_INPUT_CHANNELS];
    void *arena = malloc(MODEL_ARENA_BYTES);
    int first = 1;
#ifdef _WIN32
    (void)_setmode(_fileno(stdin), _O_BINARY);
    (void)_setmode(_fileno(stdout), _O_BINARY);
#endif
    if (arena == NULL) {
        return 2;
    }
    memset(arena, ARENA_FILL, MODEL_ARENA_BYTES);
    if (model_init(arena, MODEL_ARENA_BYTES) != 0) {
        return 3;
    }
    while (fread(image, 1, sizeof image, stdin) == sizeof image) {
        const int8_t *logits;
#if MODEL_IMAGE_BY_ROWS
        logits = first ? model_invoke_rows_observed(arena, image_row, image, note, sums)
                       : model_invoke_rows(arena, image_row, image);
        if (logits == NULL) {
            return 5;
        }
#else
        memcpy(model_input(arena), image, sizeof image);
        logits = first ? model_invoke_observed(arena, note, sums) : model_invoke(arena);
#endif
        if (first) {
            if (fwrite(sums, 1, sizeof sums, stdout) != sizeof sums) {
                return 4;
            }
            first = 0;
        }
        if (fwrite(logits, 1, MODEL_CLASSES, stdout) != MODEL_CLASSES) {
            return 4;
        }
    }
    free(arena);
    return fflush(stdout) == 0 ? 0 : 4;
}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostC:
    """Compiles ``c/`` of an export with this machine's C compiler and runs it."""

    name: str = _NAME
    """Name in the table and on the command line."""
    exact: bool = True
    """Every value must equal the integer reference."""
    sanitized_images: int = 32
    """Images that run under sanitizers, at most."""
    timeout_seconds: float = 900
    """Longest time for one compilation, and for one run of a program."""

    def missing(self) -> str | None:
        """Return a line that says how to get a compiler, or ``None`` if there is one.

        Errors are those of ``find_compiler``.
        """
        if find_compiler():
            return None
        return (
            "there is no C compiler: set CC, install gcc or clang, or pip install "
            "'nas-search[mcu]' for the one in ziglang"
        )

    def run(self, export: Path, model: IntegerModel, images: Images, work: Path) -> BackendRun:
        """Compile an export and run images through it.

        Args:
            export: The export directory.
            model: The network that it holds, for shapes and names.
            images: Images as uint8, ``[N, height, width, channels]``, at least one.
            work: An empty folder for what is built.

        Returns:
            Logits and checksums of the optimised build.

        Raises:
            BackendError: No compiler, an export that does not compile, a program that fails, runs
                too long, or finds a fault of its own memory use; two builds that do not agree.
        """
        compiler = find_compiler()
        if not compiler:
            raise BackendError(_NAME, str(self.missing()))
        shape = model.tensor(model.image).shape
        if images.dtype != np.uint8 or images.shape[1:] != shape or not len(images):
            found = f"the images are {images.dtype} {list(images.shape)}"
            raise BackendError(
                _NAME, f"{found}; expected uint8 [N, {', '.join(map(str, shape))}], at least one"
            )
        sanitizers = self._sanitizers(compiler, work)
        builds = (
            ("checked", (*compiler, *CHECKED, *sanitizers), 0xFF),
            ("optimised", (*compiler, *OPTIMISED), 0),
        )
        prefix = prefix_of(export)
        folders = include_folders(export / "c", prefix, work)
        with ThreadPoolExecutor(2) as pool:
            shipped = pool.submit(self._self_test, export / "c", prefix, work, compiler)
            checked, optimised = pool.map(
                lambda build: self._compile(export / "c", prefix, folders, work, *build), builds
            )
        few = images[: max(self.sanitized_images, 1)]
        logits, sums = self._execute(checked, model, few)
        start = time.perf_counter()
        parts = np.array_split(images, min(2, os.cpu_count() or 1, len(images)))
        with ThreadPoolExecutor(len(parts)) as pool:
            results = list(pool.map(lambda part: self._execute(optimised, model, part), parts))
        seconds = time.perf_counter() - start
        everything = np.concatenate([part for part, _ in results])
        if not np.array_equal(everything[: len(few)], logits) or results[0][1] != sums:
            raise BackendError(
                _NAME, _disagreement(model, logits, everything[: len(few)], sums, results[0][1])
            )
        if (problem := shipped.result()) and np.array_equal(
            everything[:1], reference(model, images[:1])
        ):  # else the comparison says more
            raise BackendError(_NAME, problem)
        return BackendRun(
            logits=everything,
            seconds=seconds,
            version=self._version(compiler, sanitizers, len(few)),
            checksums=sums,
        )

    def _sanitizers(self, compiler: Sequence[str], work: Path) -> tuple[str, ...]:
        """Return the best sanitizer flags that can be used and do find faults.

        A program can be built and run with them.
        """
        source, program = work / "probe.c", work / _program("probe")
        source.write_text(_PROBE, encoding="utf-8")
        for names in SANITIZERS:
            flags = (f"-fsanitize={','.join(names)}", "-fno-sanitize-recover=all")
            if (
                self._call(
                    [*compiler, STANDARD, *CHECKED, *flags, str(source), "-o", str(program)]
                ).returncode
                != 0
            ):
                continue
            ends_well = self._call([str(program)]).returncode == 0
            if ends_well and all(
                self._call([str(program), name]).returncode != 0 for name in names
            ):
                return flags
        return ()

    def _self_test(
        self, folder: Path, prefix: str, work: Path, compiler: Sequence[str]
    ) -> str | None:
        """Build the self-test as ``make test`` does, and run it; return what it finds wrong."""
        program, flags = work / _program("self_test"), shipped_flags()
        inputs = [*map(str, _sources(folder, prefix)), str(folder / "main.c")]
        done = self._call(
            [
                *compiler,
                *flags,
                f"-D{prefix.upper()}_PRINTF",
                f"-I{folder}",
                *inputs,
                "-o",
                str(program),
            ]
        )
        if done.returncode != 0:
            told = (
                f"the export does not compile with the flags of its Makefile ({shlex.join(flags)})"
            )
            raise BackendError(_NAME, f"{told}: {_first_error(done.stderr)}")
        done = self._call([str(program)])
        return (
            f"the self-test of the export fails with status {done.returncode}: "
            f"{_first_error(done.stdout)}"
            if done.returncode
            else None
        )

    def _compile(
        self,
        folder: Path,
        prefix: str,
        include: Sequence[Path],
        work: Path,
        name: str,
        compiler: Sequence[str],
        fill: int,
    ) -> Path:
        sources = _sources(folder, prefix)
        driver, program = work / f"{name}.c", work / _program(name)
        driver.write_text(_DRIVER, encoding="utf-8")
        inputs, folders = [str(driver), *map(str, sources)], [f"-I{folder}" for folder in include]
        done = self._call(
            [*compiler, STANDARD, f"-DARENA_FILL={fill}", *folders, *inputs, "-o", str(program)]
        )
        if done.returncode != 0:
            raise BackendError(_NAME, f"the export does not compile: {_first_error(done.stderr)}")
        return program

    def _execute(
        self, program: Path, model: IntegerModel, images: Images
    ) -> tuple[Values, dict[str, int]]:
        """Run a program over images and return their logits and the checksums of the first.

        There is one checksum for each step's output.
        """
        done = self._call([str(program)], images.tobytes())
        if done.returncode != 0:
            raise BackendError(
                _NAME,
                f"the {program.stem} program ended with status {done.returncode}: "
                f"{_first_error(done.stderr)}",
            )
        steps, class_count = len(model.nodes), len(model.classes)
        if len(done.stdout) != 4 * steps + len(images) * class_count:
            expected = (
                f"expected {4 * steps + len(images) * class_count}: is this the export of another "
                "network?"
            )
            raise BackendError(
                _NAME, f"the {program.stem} program wrote {len(done.stdout)} bytes; {expected}"
            )
        sums = struct.unpack_from(f"={steps}I", done.stdout)
        logits = np.frombuffer(done.stdout, np.int8, offset=4 * steps).reshape(
            len(images), class_count
        )
        return logits, {step.output: value for step, value in zip(model.nodes, sums, strict=True)}

    def _call(
        self, command: Sequence[str], data: bytes = b""
    ) -> subprocess.CompletedProcess[bytes]:
        # Leaks are of no interest in a program that ends at once, and looking for them fails under
        # a debugger or in some containers.
        environment = os.environ | {
            "ASAN_OPTIONS": "detect_leaks=0",
            "UBSAN_OPTIONS": "print_stacktrace=0",
            "LC_ALL": "C",
        }
        try:
            return subprocess.run(
                command,
                input=data,
                capture_output=True,
                timeout=self.timeout_seconds,
                env=environment,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise BackendError(
                _NAME,
                f"{Path(command[0]).name} took longer than {self.timeout_seconds:g} s; give fewer "
                "images",
            ) from error
        except OSError as error:
            raise BackendError(
                _NAME,
                f"{command[0]} cannot be started ({error.strerror or error}); set CC to a C "
                "compiler",
            ) from error

    def _version(self, compiler: Sequence[str], sanitizers: Sequence[str], count: int) -> str:
        text = self._call([*compiler, "--version"]).stdout.decode(errors="replace").strip()
        first = text.splitlines()[0].strip() if text else shlex.join(compiler)
        flags = (
            f"{CHECKED[0]} {sanitizers[0]}"
            if sanitizers
            else f"{CHECKED[0]}, as this compiler has no sanitizers,"
        )
        return f"{first} ({flags} over {count} image{'s' * (count > 1)}; {OPTIMISED[0]} over all)"


def shipped_flags() -> tuple[str, ...]:
    """Return the default compiler flags of the exported Makefile.

    They set the language, warnings as errors and the optimisation; the Makefile uses them where
    none are given.
    """
    text = files("nas_engine.exporters").joinpath(*_MAKEFILE).read_text(encoding="utf-8")
    found = dict(re.findall(r"^(WARNINGS|CFLAGS) \??= (.+)$", text, re.MULTILINE))
    return tuple(shlex.split(f"{found['WARNINGS']} {found['CFLAGS']}"))


def _sources(folder: Path, prefix: str) -> list[Path]:
    """Return the C files of an export's folder ``c`` but the self-test's."""
    if not (path := folder / f"{prefix}.c").is_file():
        raise BackendError(_NAME, f"there is no {path}; export the network to C first")
    return sorted(path for path in folder.glob("*.c") if path.name != "main.c")


def _program(name: str) -> str:
    return f"{name}.exe" if os.name == "nt" else name


def _first_error(text: bytes) -> str:
    """Return the line of a compiler's or sanitizer's output that says what is wrong."""
    lines = [line.strip() for line in text.decode(errors="replace").splitlines() if line.strip()]
    telling = [
        line for line in lines if re.search("error|undefined reference", line, re.IGNORECASE)
    ]
    return shortened((telling or lines or ["no message"])[0], 300)


def _disagreement(
    model: IntegerModel,
    checked: Values,
    optimised: Values,
    checked_sums: Mapping[str, int],
    optimised_sums: Mapping[str, int],
) -> str:
    """Return the message about two builds that compute different values."""
    wrong = int((checked != optimised).any(axis=1).sum())
    found = (
        f"the {CHECKED[0]} and {OPTIMISED[0]} builds differ in the logits of {wrong} of "
        f"{len(checked)} images"
    )
    step = next(
        (
            step.name
            for step in model.nodes
            if checked_sums[step.output] != optimised_sums[step.output]
        ),
        None,
    )
    first = f", first in step {step!r}" if step else ""
    return (
        f"{found}{first}: the C depends on undefined behaviour or on what the arena held before; "
        "report it"
    )
