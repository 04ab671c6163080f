"""Random units by rows and by layers in C, every value of every tensor against the reference.

python -m benchmarks.blocks --cases 1000 [--on host|qemu|unicorn] [--core cortex-m4]
[--compiler zig] [--seed 0] [--first 0] [--pairs] [--record]

Networks of one to three units, cut at random, are data; the runtime is compiled once, on the host
under sanitizers. Kernels 3, 5 and 7, maps from 1x1 on, strides 1 and 2, all 49 pairs of widths.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.blocks.cases import Case, case
from benchmarks.harness import RESULTS, Row, write
from nas_engine.exporters.row_stages import ROW_PARTS
from nas_engine.exporters.to_c import runtime_files
from nas_engine.network.kernels import KERNELS
from nas_engine.verification.board import Board, Firmware
from nas_engine.verification.cortex_m import FIRMWARE_FILES, MACHINES, OBJECTS
from nas_engine.verification.elf import Elf
from nas_engine.verification.host_c import find_compiler
from nas_engine.verification.toolchain import compile_files, find_toolchain, link

HERE = Path(__file__).parent
FIRMWARE = HERE.parents[1] / "nas_engine" / "verification" / "firmware"

SANITIZED = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
"""Options of the host's compiler."""

AT_ONCE = 64
"""Cases of one run of an emulator."""


def sources(folder: Path, main_file: str) -> list[Path]:
    """Write the runtime and the driver into a folder and return the files to compile."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in runtime_files([*KERNELS, *ROW_PARTS]).items():
        (folder / name).write_bytes(content)
    for name in ("driver.c", "driver.h", main_file):
        text = (HERE / name).read_text(encoding="utf-8")
        (folder / name).write_text(text.replace("KERNELS", ", ".join(KERNELS)), encoding="utf-8")
    return sorted(folder.glob("*.c"))


class OnHost:
    """The driver as a program of this machine."""

    def __init__(self, folder: Path, options: Sequence[str] = SANITIZED) -> None:
        files = [str(path) for path in sources(folder / "host", "host.c")]
        self.program = folder / "blocks"
        command = [*find_compiler(), "-std=c99", *options, *files, "-o", str(self.program)]
        subprocess.run(command, check=True)

    def __call__(self, cases: Sequence[Case]) -> list[int]:
        """Return what differs in each case: 0 for nothing.

        Raises:
            RuntimeError: A sanitizer found something.
        """
        environment = os.environ | {"ASAN_OPTIONS": "detect_leaks=0"}
        content = b"".join(one.words for one in cases)
        done = subprocess.run(
            [str(self.program)], input=content, capture_output=True, env=environment, check=False
        )
        if done.returncode:
            at = cases[len(done.stdout)] if len(done.stdout) < len(cases) else cases[-1]
            raise RuntimeError(f"case {at.index} ({at.what}): {done.stderr.decode()[:1500]}")
        return list(done.stdout)


BOARDS = {"cortex-m33": "cortex-m7"}
"""Core of an emulated board that executes the code of another one, and as many instructions."""


class OnCore:
    """The driver as firmware of an emulated core."""

    def __init__(
        self, folder: Path, core: str, compiler: str, emulator: str, main_file: str = "core.c"
    ) -> None:
        tools = find_toolchain(compiler)
        board = Board(
            core=BOARDS.get(core, core), sram_bytes=4 << 20, flash_bytes=1 << 20, stack_bytes=8192
        )
        folder = folder / f"{core}-{compiler}"
        sources(folder, main_file)
        for name in set(FIRMWARE_FILES) - {"harness.c"}:
            (folder / f"firmware.{name}" if name.endswith(".c") else folder / name).write_bytes(
                (FIRMWARE / name).read_bytes()
            )
        (folder / "board.h").write_text(board.header(), encoding="utf-8")
        files = sorted(folder.glob("*.c"))
        objects = compile_files(tools, core, files, (folder,), folder / OBJECTS)
        (folder / "board.ld").write_text(board.script(OBJECTS), encoding="utf-8")
        link(tools, core, objects, folder / "board.ld", folder / "image.elf")
        content = (folder / "image.elf").read_bytes()
        self.firmware = Firmware(board=board, content=content, elf=Elf(content, "image.elf"))
        self.machine = next(one for one in MACHINES if one.name == emulator)

    def __call__(self, cases: Sequence[Case]) -> list[int]:
        """Return what differs in each case: 0 for nothing."""
        return list(self.output(b"".join(one.words for one in cases)))

    def output(self, words: bytes) -> bytes:
        """Return what the firmware writes of some networks."""
        return self.machine.run(self.firmware, words, 3600).files["logits"]


def run(runner: OnHost | OnCore, cases: Iterable[Case]) -> tuple[Counter[str], list[Case]]:
    """Return counts and the cases that differ."""
    counts, failed, waiting = Counter[str](), list[Case](), list[Case]()

    def flush() -> None:
        results = runner(waiting)
        assert len(results) == len(waiting), (len(results), waiting[len(results) :][:1])
        for one, result in zip(waiting, results, strict=True):
            counts["networks"] += 1
            counts["units by rows"] += len(one.blocks)
            counts["two rows at once"] += one.in_pairs
            counts["differing"] += result != 0
            if result:
                failed.append(one)
                print(f"case {one.index}, layer {result}: {one.what}", flush=True)
        waiting.clear()

    for one in cases:
        waiting.append(one)
        if len(waiting) == AT_ONCE:
            flush()
    if waiting:
        flush()
    return counts, failed


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; 1 if a value differs."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", 1)[0])
    parser.add_argument("--cases", type=int, default=500, help="networks")
    parser.add_argument("--first", type=int, default=0, help="number of the first")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--on", choices=("host", *(one.name for one in MACHINES)), default="host")
    parser.add_argument("--core", default="cortex-m7")
    parser.add_argument("--compiler", default="gcc")
    parser.add_argument("--pairs", action="store_true", help="mostly two rows at once")
    parser.add_argument("--record", action="store_true", help="keep the counts in RESULTS.md")
    given = parser.parse_args(arguments)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="nas-search-") as name:
        folder = Path(name)
        runner = (
            OnHost(folder)
            if given.on == "host"
            else OnCore(folder, given.core, given.compiler, given.on)
        )
        numbers = range(given.first, given.first + given.cases)
        made = (case(given.seed, index, pairs=given.pairs) for index in numbers)
        counts, failed = run(runner, made)
    where = (
        shlex.join(find_compiler())
        if given.on == "host"
        else f"{given.core}, {given.compiler}, {given.on}"
    )
    told = ", ".join(f"{count:,} {what}" for what, count in counts.items())
    print(f"{where}: {told}, {time.monotonic() - began:.0f} s", flush=True)
    if given.record:
        place = "host, sanitized" if given.on == "host" else where
        kind = ", pairs" if given.pairs else ""
        what = f"{place}, seed {given.seed}{kind}, networks from {given.first} on"
        record(what, told, not failed)
    return int(bool(failed))


def record(what: str, told: str, is_right: bool) -> None:
    """Put one row into the results, in the place of one of the same name."""
    row = Row(what=what, measured=told, at_least="0 differing", reached=is_right)
    path = RESULTS / "blocks.json"
    old = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.is_file() else []
    rows = {one.what: one for one in (*(Row(**each) for each in old), row)}
    write("blocks", "python -m benchmarks.blocks --record", [rows[name] for name in sorted(rows)])


if __name__ == "__main__":
    raise SystemExit(main())
