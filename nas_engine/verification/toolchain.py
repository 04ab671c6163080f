"""Cross compilers for Cortex-M: GNU's if installed, else the LLVM of pip's ``ziglang``."""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from nas_engine.verification.backend import BackendError

CORES = {
    "cortex-m7": "fpv5-sp-d16",
    "cortex-m4": "fpv4-sp-d16",
    "cortex-m33": "fpv5-sp-d16",
    "cortex-m0": None,
}
"""Cores that firmware is built for, and the option ``-mfpu`` of each (GCC 12 manual, "ARM
Options"); ``None`` without such a unit."""

LLVM_CORES = {
    "cortex-m7": "cortex_m7",
    "cortex-m4": "cortex_m4",
    "cortex-m33": "cortex_m33+dsp",
    "cortex-m0": "cortex_m0",
}
"""LLVM's names of them; GNU's compiler gives a Cortex-M33 its DSP instructions without being told.
"""

COMPILERS = ("gcc", "zig")
"""Compilers, the preferred one first."""

GCC = "arm-none-eabi-gcc"

COMMON = (
    "-std=c99",
    "-ffreestanding",
    "-ffunction-sections",
    "-fdata-sections",
    "-fno-unwind-tables",
    "-fno-asynchronous-unwind-tables",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wconversion",
)
"""Options of every translation unit. ``-ffreestanding``: there is no C library."""

SECONDS = 300.0
"""Longest time of one compiler run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolchain:
    """A compiler and a linker."""

    name: str
    """``"gcc"`` or ``"zig"``."""
    version: str
    """Program and version, on one line."""

    @property
    def key(self) -> str:
        """Program with major and minor version: what code sizes depend on."""
        return " ".join(re.sub(r"^(\d+\.\d+).*", r"\1", word) for word in self.version.split()[:2])

    def compile_command(self, core: str) -> list[str]:
        """Return the command line that compiles one file for a core.

        The file and ``-o`` are not included.
        """
        if self.name == "gcc":
            return [GCC, *_gnu_target(core), "-O2", *COMMON]
        # LLVM unrolls loops, GCC does not: half as much code again, for about as many instructions.
        # At -O2 its code is 1 KB larger than at -Os, and takes 1 % more instructions. Its
        # sanitizers need a C library.
        interface = "eabihf" if CORES[core] else "eabi"
        target = [
            "-target",
            f"thumb-freestanding-{interface}",
            f"-mcpu={LLVM_CORES[core]}",
            "-Os",
            "-fno-unroll-loops",
        ]
        return [
            sys.executable,
            "-m",
            "ziglang",
            "cc",
            *target,
            *COMMON,
            "-g0",
            "-fno-sanitize=all",
            "-fno-stack-protector",
        ]

    def link_command(self, core: str) -> list[str]:
        """Return the command line that links, without objects, ``-T`` and ``-o``."""
        if self.name == "gcc":
            return [GCC, *_gnu_target(core), "-nostdlib", "-Wl,--gc-sections"]
        return [sys.executable, "-m", "ziglang", "ld.lld", "--gc-sections"]

    @property
    def libraries(self) -> tuple[str, ...]:
        """Arguments that follow the objects on the linker's command line."""
        return ("-lgcc",) if self.name == "gcc" else ()


def _gnu_target(core: str) -> list[str]:
    unit = CORES[core]
    return [
        f"-mcpu={core}",
        "-mthumb",
        *(["-mfloat-abi=hard", f"-mfpu={unit}"] if unit else ["-mfloat-abi=soft"]),
    ]


def missing_compiler(choice: str | None = None) -> str | None:
    """Return what to install to have a compiler, or ``None`` if there is one.

    If a compiler was chosen, the answer is about that one.
    """
    pip, apt = "pip install 'nas-search[mcu]'", "apt install gcc-arm-none-eabi"
    has = {
        "gcc": shutil.which(GCC) is not None,
        "zig": importlib.util.find_spec("ziglang") is not None,
    }
    if choice == "gcc":
        return None if has["gcc"] else f"{GCC} is not on PATH; install it: {apt}"
    if choice == "zig":
        return None if has["zig"] else f"ziglang is not installed; install it: {pip}"
    return (
        None
        if any(has.values())
        else f"no compiler for Arm: neither {GCC} nor ziglang; install one: {pip} (or {apt})"
    )


def find_toolchain(choice: str | None = None) -> Toolchain:
    """Return a compiler: the chosen one, else the first of ``COMPILERS`` that is installed.

    Args:
        choice: ``"gcc"``, ``"zig"`` or ``None``.

    Raises:
        BackendError: It is not installed, or it does not start.
    """
    if choice is not None and choice not in COMPILERS:
        raise BackendError(
            "toolchain", f"unknown compiler {choice!r}; expected one of: {', '.join(COMPILERS)}"
        )
    problem = missing_compiler(choice)
    if problem:
        raise BackendError("toolchain", problem)
    name = choice or next(name for name in COMPILERS if missing_compiler(name) is None)
    return Toolchain(name=name, version=_version(name))


@functools.cache
def _version(name: str) -> str:
    if name == "gcc":
        return f"{GCC} {run_tool([GCC, '-dumpfullversion']).strip()}"
    zig = run_tool([sys.executable, "-m", "ziglang", "version"]).strip()
    clang = re.search(
        r"clang version (\S+)", run_tool([sys.executable, "-m", "ziglang", "cc", "--version"])
    )
    return f"zig {zig} (clang {clang.group(1) if clang else 'of unknown version'})"


def run_tool(command: Sequence[str], folder: Path | None = None) -> str:
    """Run a compiler or a linker and return what it printed on its standard output.

    Args:
        command: Its command line.
        folder: Where it runs, and where zig keeps its cache; zig's own place without one.

    Raises:
        BackendError: It failed; the message holds the first line of its output that names an error.
    """
    environment = {**os.environ, "LC_ALL": "C"}
    if folder:
        environment |= {
            "ZIG_LOCAL_CACHE_DIR": str(folder / "zig"),
            "ZIG_GLOBAL_CACHE_DIR": str(folder / "zig"),
        }
    tool = Path(command[0]).name if command[0] != sys.executable else "zig"
    try:
        done = subprocess.run(
            list(command),
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BackendError(tool, f"could not be run ({error})") from error
    if done.returncode:
        lines = (done.stderr + done.stdout).decode("utf-8", "replace").splitlines()
        naming = (
            line for pattern in ("undefined ", "error: ", "") for line in lines if pattern in line
        )
        told = next(naming, "it said nothing")
        raise BackendError(tool, f"ended with status {done.returncode}: {told.strip()}")
    return done.stdout.decode("utf-8", "replace")


def compile_files(
    tools: Toolchain, core: str, sources: Iterable[Path], include: Iterable[Path], objects: Path
) -> list[Path]:
    """Compile C files into objects of the same names.

    Args:
        tools: The compiler.
        core: One of ``CORES``.
        sources: C files, none of which share a name.
        include: Folders of headers, the first one first.
        objects: Folder of the objects; it is made.

    Returns:
        The objects in the order of the sources.

    Raises:
        BackendError: A file does not compile.
    """
    objects.mkdir(parents=True, exist_ok=True)
    folders = [f"-I{folder.resolve()}" for folder in include]

    def one(source: Path) -> Path:
        target = objects.resolve() / f"{source.stem}.o"
        run_tool(
            [
                *tools.compile_command(core),
                *folders,
                "-c",
                str(source.resolve()),
                "-o",
                str(target),
            ],
            objects.resolve(),
        )
        return target

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(one, sources))


def link(tools: Toolchain, core: str, objects: Iterable[Path], script: Path, target: Path) -> None:
    """Link objects by a linker script.

    Raises:
        BackendError: The linker refused.
    """
    inputs = [str(item.resolve()) for item in objects]
    command = [
        *tools.link_command(core),
        "-T",
        str(script.resolve()),
        *inputs,
        *tools.libraries,
        "-o",
        str(target.resolve()),
    ]
    run_tool(command, target.resolve().parent)
