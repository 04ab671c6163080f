"""QEMU's MPS2 boards.

The memory protection unit keeps the firmware inside the device; the board's counter counts
instructions.
"""

from __future__ import annotations

import functools
import re
import shutil
import struct
import subprocess
import tempfile
import time
from pathlib import Path

from nas_engine.reading import LARGE_FILE, read_regular
from nas_engine.verification.backend import BackendError
from nas_engine.verification.board import (
    EXIT_FAULT,
    MACHINE_BYTES,
    Firmware,
    MachineRun,
    check_exit,
)
from nas_engine.verification.toolchain import run_tool

PROGRAM = "qemu-system-arm"
MACHINES = {"cortex-m7": "mps2-an500", "cortex-m4": "mps2-an386"}
"""Board of each core."""

TICKS_PER_INSTRUCTION = 64 / 40
"""With ``-icount shift=6`` an instruction takes 64 ns; the counter runs at 25 MHz, 40 ns."""

USAGE = {
    16: "undefined instruction",
    17: "invalid state",
    18: "invalid return",
    19: "no coprocessor",
    24: "unaligned access",
    25: "division by 0",
}
"""Bits of the configurable fault status register (ARMv7-M ARM, B3.2.15) from 16 on."""


class Qemu:
    """The emulator ``qemu-system-arm``."""

    name = "qemu"
    cores = tuple(MACHINES)

    def missing(self) -> str | None:
        """Return what to install, or ``None`` if it can run."""
        has = shutil.which(PROGRAM) is not None
        return None if has else f"{PROGRAM} is not on PATH; install it: apt install qemu-system-arm"

    def version(self) -> str:
        """Return program and version on one line."""
        return _version()

    def run(self, firmware: Firmware, images: bytes, timeout_s: float) -> MachineRun:
        """Run a firmware until it exits; see ``Machine``."""
        board = firmware.board
        if max(board.flash_bytes, board.sram_bytes) > MACHINE_BYTES:
            has = f"{board.flash_bytes:,} B of Flash and {board.sram_bytes:,} B of SRAM"
            raise BackendError(
                "qemu",
                f"the device has {has}, the emulated board {MACHINE_BYTES:,} B of each; use "
                "unicorn",
            )
        with tempfile.TemporaryDirectory(prefix="nas-search-") as name:
            folder = Path(name)
            (folder / "firmware.elf").write_bytes(firmware.content)
            (folder / "images").write_bytes(images)
            command = [
                PROGRAM,
                "-M",
                MACHINES[board.core],
                "-display",
                "none",
                "-monitor",
                "none",
                "-serial",
                "none",
                "-icount",
                "shift=6",
                "-semihosting-config",
                "enable=on,target=native",
                "-kernel",
                "firmware.elf",
            ]
            if board.images_bytes:  # in Flash beside the device's
                place = f"addr=0x{board.images_origin:x},force-raw=on"
                command += ["-device", f"loader,file=images,{place}"]
            began = time.perf_counter()
            try:
                done = subprocess.run(
                    command,
                    cwd=folder,
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    timeout=timeout_s,
                    check=False,
                )
            except subprocess.TimeoutExpired as error:
                problem = (
                    f"no end after {timeout_s:g} s; give more time, fewer images, or look for an "
                    "endless loop"
                )
                raise BackendError("qemu", problem) from error
            except OSError as error:
                raise BackendError("qemu", f"could not be run ({error})") from error
            seconds = time.perf_counter() - began
            files = {
                path.name: read_regular(path, LARGE_FILE)
                for path in folder.iterdir()
                if path.name not in ("firmware.elf", "images")
            }
        if done.returncode == EXIT_FAULT and len(files.get("fault", b"")) == 16:
            raise _fault(firmware, *struct.unpack("<4I", files["fault"]))
        if done.returncode < 0 or done.stderr:
            lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
            raise BackendError(
                "qemu",
                f"ended with status {done.returncode}: {lines[0] if lines else 'it said nothing'}",
            )
        check_exit("qemu", done.returncode)
        return MachineRun(files=files, seconds=seconds)


def _fault(firmware: Firmware, status: int, memory: int, bus: int, place: int) -> BackendError:
    """Return the error for a fault, from CFSR, MMFAR, BFAR and the program counter."""
    if status & 0x80:
        what = f"access to {firmware.board.where(memory)}"
    elif status & 0x8000:
        what = f"access to {firmware.board.where(bus)}"
    elif status & 0x1010:
        what = "no stack left for an exception: a stack overflow"
    elif status & 0x0101:
        what = f"execution at {firmware.board.where(place)}"
    else:
        what = next(
            (text for bit, text in USAGE.items() if status >> bit & 1),
            f"fault status 0x{status:08x}",
        )
    return firmware.fault("qemu", place, what)


@functools.cache
def _version() -> str:
    found = re.search(r"version (\d\S*)", run_tool([PROGRAM, "--version"]))
    return f"{PROGRAM} {found.group(1) if found else 'of unknown version'}"
