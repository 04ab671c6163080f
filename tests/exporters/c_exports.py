"""Small networks exported to C, and what it takes to compile and look into them."""

from __future__ import annotations

import importlib.util
import shutil
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nas_engine import verification
from nas_engine.compilers import find_compiler
from nas_engine.costs.plan import plan_graph
from nas_engine.exporters.exporter import ExportSubject
from nas_engine.exporters.settings import ExportSettings
from nas_engine.exporters.to_c import CExporter
from nas_engine.integer.lowering import lower
from nas_engine.integer.model import IntegerModel
from nas_engine.integer.store import GoldenVectors
from nas_engine.testing.networks import Untrained, random_images

STRICT = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-Wconversion", "-pedantic")


def small_network(seed: int = 0, classes: int = 3, size: tuple[int, int] = (9, 11)) -> IntegerModel:
    """Return a network with every kind of step: dense widths that have kernels of their own and
    others, shortcuts, a pooled one.
    """
    built = Untrained((*size, 3), np.random.default_rng(seed))
    stream = built.layer("stem", 16, 3, 1, 8, 8)
    for name, widths, stride in (("a", (8, 8, 4), 1), ("b", (4, 5, 2), 2), ("c", (2, 3, 7), 1)):
        built.layer(f"{name}.expand", 32, 1, 1, widths[0], 4, source=stream)
        filtered = built.layer(f"{name}.depthwise", 32, 3, stride, widths[1], 6, kind="depthwise")
        uneven = (0, stream.height % 2, 0, stream.width % 2)
        shortcut = built.pool(f"{name}.pool", 2, 2, stream, uneven) if stride == 2 else stream
        stream = built.layer(
            f"{name}.project",
            16,
            1,
            1,
            widths[2],
            8,
            signed=True,
            source=filtered,
            shortcut=shortcut,
        )
    side = max(stream.height, stream.width)
    down, right = side - stream.height, side - stream.width
    built.pool(
        "pool", side, 1, stream, (down // 2, down - down // 2, right // 2, right - right // 2)
    )
    built.layer("classifier", classes, 1, 1, 8, 8, signed=True)
    return lower(built.network(), {"seed": str(seed)})


def subject_of(model: IntegerModel, seed: int = 0) -> ExportSubject:
    """Return what an exporter takes."""
    golden = GoldenVectors.of(model, random_images(model, 2, seed))
    return ExportSubject(model=model, golden=golden, plan=plan_graph(model), manifest={})


def export_c(folder: Path, subject: ExportSubject, prefix: str = "model") -> Path:
    """Write the C export of a network below a folder and return where its files lie."""
    for name, content in (
        CExporter()
        .files(replace(subject, settings=ExportSettings(formats=("c",), prefix=prefix)))
        .items()
    ):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder / "c"


def host_compiler() -> tuple[str, ...]:
    """Return this machine's C compiler; skips the test where there is none."""
    return find_compiler() or pytest.skip("needs a C compiler")


def arm_compilers() -> list[tuple[str, ...]]:
    """Return the commands of the compilers for a Cortex-M7 that are installed."""
    found: list[tuple[str, ...]] = []
    if shutil.which("arm-none-eabi-gcc"):
        found.append(
            (
                "arm-none-eabi-gcc",
                "-mcpu=cortex-m7",
                "-mthumb",
                "-mfloat-abi=hard",
                "-mfpu=fpv5-sp-d16",
            )
        )
    if importlib.util.find_spec("ziglang"):
        zig = (
            sys.executable,
            "-m",
            "ziglang",
            "cc",
            "-target",
            "thumb-freestanding-eabihf",
            "-mcpu=cortex_m7",
        )
        found.append(
            (*zig, "-isystem", str(Path(verification.__file__).parent / "firmware"))
        )  # zig brings no string.h for bare metal
    return found


def compile_c(compiler: tuple[str, ...], *arguments: str | Path) -> None:
    """Run a compiler; a failure shows what it said."""
    done = subprocess.run(
        [*compiler, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def sections(path: Path) -> dict[str, int]:
    """Return the bytes of each section of an ELF file by its name; of equal names, their sum."""
    data = path.read_bytes()
    assert data[:4] == b"\x7fELF", "expected an ELF file"
    assert data[5] == 1, "expected a little-endian ELF file"
    wide = data[4] == 2
    start, entry, count, names = (
        *struct.unpack_from("<Q" if wide else "<I", data, 0x28 if wide else 0x20),
        *struct.unpack_from("<HHH", data, 0x3A if wide else 0x2E),
    )
    rows = []
    for i in range(count):
        at = start + i * entry
        name = struct.unpack_from("<I", data, at)[0]
        offset, size = struct.unpack_from(
            "<QQ" if wide else "<II", data, at + (0x18 if wide else 0x10)
        )
        rows.append((name, offset, size))
    table = rows[names][1]
    found: dict[str, int] = {}
    for name, _, size in rows:
        text = data[table + name : data.index(b"\0", table + name)].decode()
        found[text] = found.get(text, 0) + size
    return found


def is_elf_host() -> bool:
    """Return whether this machine's compilers write ELF files."""
    return sys.platform.startswith("linux")
