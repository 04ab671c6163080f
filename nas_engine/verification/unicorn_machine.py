"""Unicorn, the CPU emulator available from pip.

It maps Flash and SRAM of the device and nothing else, and counts instructions exactly.

What its Cortex-M0 may not execute is refused as on the core, two kinds of instruction excepted (CBZ
and IT, seen by trying), and an access that is not aligned is a fault. On the others it does not
check that LDRD, LDM and VLDR are aligned, as the cores and QEMU do (ARMv7-M ARM, A3.2.1).
"""

from __future__ import annotations

import importlib
import importlib.util
import struct
import time
from typing import Any

from nas_engine.verification.backend import BackendError
from nas_engine.verification.board import (
    COUNTER,
    FLASH_ORIGIN,
    SRAM_ORIGIN,
    Firmware,
    MachineRun,
    check_exit,
)

PAGE = 4096
SYS_OPEN, SYS_WRITE, SYS_READ, SYS_EXIT_EXTENDED = 0x01, 0x05, 0x06, 0x20
BREAKPOINT = b"\xab\xbe"
"""``bkpt 0xAB``."""

MODELS = {
    "cortex-m7": "UC_CPU_ARM_CORTEX_M7",
    "cortex-m4": "UC_CPU_ARM_CORTEX_M4",
    "cortex-m33": "UC_CPU_ARM_CORTEX_M33",
    "cortex-m0": "UC_CPU_ARM_CORTEX_M0",
}
"""Unicorn's model of each core."""

DATA_ABORT = 4
"""Number of the exception for an access that the core refuses; memory that is not there ends
elsewhere, so that alignment is left."""

FAILED = 0xFFFFFFFF
"""Return value of SYS_OPEN if there is no such file."""


def instructions_in(code: bytes) -> int:
    """Return the number of Thumb instructions in whole code without data.

    A halfword whose upper five bits are 0b11101, 0b11110 or 0b11111 begins a 32-bit instruction
    (ARMv7-M ARM, A5.1).
    """
    at = count = 0
    while at < len(code):
        at += 4 if code[at + 1] >= 0xE8 else 2
        count += 1
    return count


class Unicorn:
    """The emulator of the package ``unicorn``."""

    name = "unicorn"
    cores = tuple(MODELS)

    def missing(self) -> str | None:
        """Return what to install, or ``None`` if it can run."""
        has = importlib.util.find_spec("unicorn") is not None
        return (
            None if has else "unicorn is not installed; install it: pip install 'nas-search[mcu]'"
        )

    def version(self) -> str:
        """Return program and version on one line."""
        from importlib.metadata import version

        return f"unicorn {version('unicorn')}"

    def run(self, firmware: Firmware, images: bytes, timeout_s: float) -> MachineRun:
        """Run a firmware until it exits; see ``Machine``."""
        return _Session(firmware, images).run(timeout_s)


class _Session:
    """One run: the core, its memory, the files, and the count."""

    def __init__(self, firmware: Firmware, images: bytes) -> None:
        # Both packages are only partly typed.
        self.uc: Any = importlib.import_module("unicorn")
        self.arm: Any = importlib.import_module("unicorn.arm_const")
        uc, arm, board = self.uc, self.arm, firmware.board
        self.firmware = firmware
        # Not UC_MODE_MCLASS: with it unicorn runs a Cortex-M33, whatever model is set.
        self.core: Any = uc.Uc(uc.UC_ARCH_ARM, uc.UC_MODE_THUMB)
        self.core.ctl_set_cpu_model(getattr(arm, MODELS[board.core]))
        for origin, size, access in (
            (FLASH_ORIGIN, board.flash_bytes, uc.UC_PROT_READ | uc.UC_PROT_EXEC),
            (SRAM_ORIGIN, board.sram_bytes, uc.UC_PROT_READ | uc.UC_PROT_WRITE),
            *((board.images_origin, board.images_bytes, uc.UC_PROT_READ),)
            * (board.images_bytes > 0),
        ):
            mapped = -(-size // PAGE) * PAGE
            self.core.mem_map(origin, mapped, access)
            if size % PAGE:
                kinds = uc.UC_HOOK_MEM_READ | uc.UC_HOOK_MEM_WRITE
                self.core.hook_add(
                    kinds, self.on_outside, begin=origin + size, end=origin + mapped - 1
                )
        self.core.mem_map(COUNTER & ~(PAGE - 1), PAGE, uc.UC_PROT_READ)
        self.core.mem_map(
            0xE000E000, PAGE, uc.UC_PROT_READ | uc.UC_PROT_WRITE
        )  # system control space
        for segment in firmware.elf.segments:
            self.core.mem_write(segment.address, segment.content)
        if board.images_bytes:
            self.core.mem_write(board.images_origin, images)
        self.core.hook_add(uc.UC_HOOK_MEM_INVALID, self.on_outside)
        self.core.hook_add(uc.UC_HOOK_INTR, self.on_interrupt)
        self.counting = self.core.hook_add(uc.UC_HOOK_BLOCK, self.on_block)

        self.images, self.read = images, 0
        self.files: dict[str, bytearray] = {}
        self.names: list[str] = []
        self.error: BackendError | None = None
        self.status: int | None = None
        self.pause = False

        self.begin, self.after = (
            firmware.elf.address(firmware.entry),
            firmware.elf.address("harness_after"),
        )
        self.resume_at: int | None = self.begin
        self.blocks: dict[tuple[int, int], int] = {}
        self.count = 0
        self.steps: list[int] = []

    def run(self, timeout_s: float) -> MachineRun:
        stack, at = struct.unpack("<II", bytes(self.core.mem_read(FLASH_ORIGIN, 8)))
        self.core.reg_write(self.arm.UC_ARM_REG_SP, stack)
        began = time.perf_counter()
        while self.status is None:
            left = timeout_s - (time.perf_counter() - began)
            try:
                if left > 0:
                    self.core.emu_start(at | 1, 0xFFFFFFFF, timeout=max(1, int(left * 1e6)))
            except self.uc.UcError as error:
                place = self.core.reg_read(self.arm.UC_ARM_REG_PC)
                raise self.error or self.firmware.fault("unicorn", place, str(error)) from error
            if self.error:
                raise self.error
            if self.pause:  # the first image is done: count no more, which is several times faster
                self.pause = False
                self.core.hook_del(self.counting)
                self.core.ctl_flush_tb()
                at = self.core.reg_read(self.arm.UC_ARM_REG_PC)
            elif self.status is None:
                raise BackendError(
                    "unicorn",
                    f"no end after {timeout_s:g} s; give more time, fewer images, or look for an "
                    "endless loop",
                )
        seconds = time.perf_counter() - began
        check_exit("unicorn", self.status)
        return MachineRun(
            files={name: bytes(content) for name, content in self.files.items()},
            seconds=seconds,
            instructions=tuple(self.steps),
        )

    def on_block(self, core: Any, address: int, size: int, _: Any) -> None:
        """Add a block's instructions; those of the harness between two steps do not count."""
        if self.resume_at is not None:
            if address != self.resume_at:
                return
            self.resume_at = None
        elif address == self.after:
            self.steps.append(self.count)
            self.count = 0
            self.resume_at = core.reg_read(self.arm.UC_ARM_REG_LR) & ~1
            return
        key = address, size
        if key not in self.blocks:
            self.blocks[key] = instructions_in(bytes(core.mem_read(address, size)))
        self.count += self.blocks[key]

    def on_outside(
        self, core: Any, access: int, address: int, size: int, value: int, _: Any
    ) -> bool:
        """Note an access to what is no memory of the device, and stop."""
        uc = self.uc
        reads = uc.UC_MEM_READ, uc.UC_MEM_READ_UNMAPPED, uc.UC_MEM_READ_PROT
        writes = uc.UC_MEM_WRITE, uc.UC_MEM_WRITE_UNMAPPED, uc.UC_MEM_WRITE_PROT
        kind = (
            "read from" if access in reads else "write to" if access in writes else "execution at"
        )
        place = core.reg_read(self.arm.UC_ARM_REG_PC)
        self.error = self.error or self.firmware.fault(
            "unicorn", place, f"{kind} {self.firmware.board.where(address)}"
        )
        core.emu_stop()
        return False

    def on_interrupt(self, core: Any, number: int, _: Any) -> None:
        """Serve a semihosting call; anything else is a fault."""
        place = core.reg_read(self.arm.UC_ARM_REG_PC)
        try:
            is_call = bytes(core.mem_read(place & ~1, 2)) == BREAKPOINT
        except self.uc.UcError:
            is_call = False
        if not is_call:
            told = (
                "unaligned access"
                if number == DATA_ABORT
                else f"exception {number}: an instruction that the core cannot execute"
            )
            self.error = self.firmware.fault("unicorn", place, told)
            core.emu_stop()
            return
        operation, at = core.reg_read(self.arm.UC_ARM_REG_R0), core.reg_read(self.arm.UC_ARM_REG_R1)
        arguments = struct.unpack("<III", bytes(core.mem_read(at, 12)))
        if operation == SYS_EXIT_EXTENDED:
            self.status = arguments[1]
            core.emu_stop()
            return
        try:
            core.reg_write(self.arm.UC_ARM_REG_R0, self.serve(core, operation, arguments))
        except (self.uc.UcError, IndexError):
            self.error = self.firmware.fault(
                "unicorn",
                place,
                f"semihosting call 0x{operation:x} with {[hex(a) for a in arguments]}",
            )
            core.emu_stop()
            return
        core.reg_write(self.arm.UC_ARM_REG_PC, place + 2 | 1)
        if self.pause:
            core.emu_stop()

    def serve(self, core: Any, operation: int, arguments: tuple[int, int, int]) -> int:
        """Do one semihosting call and return its result (Arm 100863, section 4)."""
        handle, at, count = arguments
        if operation == SYS_OPEN:
            name = bytes(core.mem_read(handle, count)).decode("ascii", "replace")
            if name != "images":
                self.files[name] = bytearray()
            self.names.append(name)
            return len(self.names)
        if operation == SYS_WRITE:
            name = self.names[handle - 1]
            if name == "logits" and not self.files[name]:
                self.pause = True
            self.files[name] += core.mem_read(at, count)
            return 0
        if operation == SYS_READ:
            part = self.images[self.read : self.read + count]
            self.read += len(part)
            core.mem_write(at, part)
            return count - len(part)
        return FAILED
