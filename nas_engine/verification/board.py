"""Emulated board: memory map, memory fence and linker script of a device.

The result of a machine's run is defined here too.

Flash lies at 0 and SRAM at 0x20000000, as on the boards ``mps2-an386`` (Cortex-M4) and
``mps2-an500`` (Cortex-M7) of Arm's MPS2 (DAI 0386, DAI 0500), which QEMU emulates. Those have 4 MiB
at each place; what limits a network to the device is the linker script, the memory protection unit
and, under unicorn, the map itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Protocol

from nas_engine.exporters.settings import DEFAULT_PREFIX
from nas_engine.exporters.to_c import own_names
from nas_engine.verification.backend import BackendError
from nas_engine.verification.elf import Elf

FLASH_ORIGIN, SRAM_ORIGIN = 0x00000000, 0x20000000

MACHINE_BYTES = 4 << 20
"""Memory of MPS2 boards at either place."""

IMAGES_ORIGIN = {"cortex-m4": 0x21000000}
"""First byte of the Flash beside the device's that holds images whose rows a network asks for: the
PSRAM of ``mps2-an386`` (16 MiB), which is read alone; ``ELSEWHERE`` on other boards."""

ELSEWHERE = 0x60000000
"""The same of ``mps2-an500``, where boards have memory-mapped external Flash or RAM (ARMv7-M ARM,
B3.1)."""

IMAGES_BYTES = 16 << 20
"""Memory there."""

COUNTER = 0x40028018
"""The board's free-running 25 MHz counter, FPGAIO COUNTER (DAI 0500, table 4-2); an ordinary
address elsewhere."""

FENCED = ("cortex-m7", "cortex-m4")
"""Cores whose memory protection unit the start-up sets (ARMv7-M); elsewhere the emulator's map
alone is the fence."""

REGIONS = 8
"""Regions of the memory protection unit of Cortex-M4 and M7 on these boards (ARMv7-M ARM, B3.5)."""

EXIT_DONE, EXIT_FAULT, EXIT_NO_FILE, EXIT_REFUSED = 0, 70, 71, 72
"""Exit states of the firmware, as in ``firmware/semihosting.h``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FenceRegion:
    """One region of the memory protection unit."""

    base: int
    """First byte, a multiple of the size."""
    log2_size: int
    """Size as a power of two, at least 5."""
    disabled: int
    """Bit i set: the i-th eighth is not part of it."""

    @property
    def end(self) -> int:
        """First byte behind the last enabled eighth."""
        return self.base + ((8 - self.disabled.bit_count()) << self.log2_size >> 3)


def fence(base: int, size: int, most: int) -> tuple[FenceRegion, ...]:
    """Return regions that cover ``[base, base + size)`` and, if they suffice, nothing else.

    Sizes that are no power of two take regions of which some eighths are disabled (ARMv7-M ARM,
    B3.5.3: from 256 bytes on, the first bits of ``disabled`` are the lowest eighths). The last
    region reaches beyond the end where the regions do not suffice, and to the next multiple of 32
    bytes always.

    Args:
        base: First byte, aligned to the next power of two of the size.
        size: Bytes, at least 1.
        most: Most regions, at least 1.
    """
    regions: list[FenceRegion] = []
    left = -(-size // 32) * 32
    while left > 0 and len(regions) < most:
        is_last = len(regions) == most - 1
        log2_size = (left - 1).bit_length()
        if log2_size < 8:  # too small for eighths: whole regions
            if not is_last:
                log2_size = left.bit_length() - 1
            used = 8
        else:
            eighth = 1 << log2_size >> 3
            used = -(-left // eighth) if is_last else left // eighth
        regions.append(
            FenceRegion(base=base, log2_size=log2_size, disabled=0xFF & ~((1 << used) - 1))
        )
        covered = regions[-1].end - base
        base, left = base + covered, left - covered
    return tuple(regions)


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """The memory of one device."""

    core: str
    """One of ``CORES`` of the tool chain."""
    sram_bytes: int
    """SRAM."""
    flash_bytes: int
    """Flash."""
    stack_bytes: int
    """Of the SRAM, what is kept for the stack; a multiple of 8."""
    images_bytes: int = 0
    """Images of which rows are read from Flash beside the device's; 0 where they are copied."""

    @property
    def images_origin(self) -> int:
        """First byte of images whose rows are read from Flash."""
        return IMAGES_ORIGIN.get(self.core, ELSEWHERE)

    def header(self) -> str:
        """Return ``board.h``: places, and the regions of the fence as pairs of base and attributes.

        There are none for a core without this kind of unit.
        """
        images = self.images_origin, self.images_origin + self.images_bytes
        places = "".join(
            f"#define BOARD_{name} 0x{place:08X}U\n"
            for name, place in zip(
                ("COUNTER", "IMAGES", "IMAGES_END"), (COUNTER, *images), strict=True
            )
        )
        if self.core not in FENCED:
            return places
        # Attributes (MPU_RASR): execute never, access (6 read-only, 3 all), memory type (cacheable,
        # device), eighths, size, enable.
        beside = fence(self.images_origin, self.images_bytes, 1)
        kinds = (
            (
                fence(FLASH_ORIGIN, min(self.flash_bytes, MACHINE_BYTES), 2 + (not beside)),
                6 << 24 | 1 << 17,
            ),
            (beside, 1 << 28 | 6 << 24 | 1 << 17),
            (
                fence(SRAM_ORIGIN, min(self.sram_bytes, MACHINE_BYTES), REGIONS - 4),
                1 << 28 | 3 << 24 | 1 << 17,
            ),
            (
                (FenceRegion(base=COUNTER & ~0xFFF, log2_size=12, disabled=0),),
                1 << 28 | 6 << 24 | 1 << 16,
            ),
        )
        pairs = [
            f"{{0x{region.base:08X}U, "
            f"0x{access | region.disabled << 8 | (region.log2_size - 1) << 1 | 1:08X}U}}"
            for regions, access in kinds
            for region in regions
        ]
        return f"{places}#define BOARD_FENCE {', '.join(pairs)}\n"

    def script(self, objects: str, prefix: str = DEFAULT_PREFIX, *, roomy: bool = False) -> str:
        """Return the linker script.

        Args:
            objects: Name of the folder that holds the objects.
            prefix: Of the export.
            roomy: Whether memory is nearly endless, to learn what an image that does not fit would
                need.
        """
        text = (files("nas_engine.verification") / "firmware" / "board.ld.in").read_text(
            encoding="utf-8"
        )
        values: dict[str, int | str] = {
            "FLASH_ORIGIN": FLASH_ORIGIN,
            "FLASH_BYTES": 1 << 28 if roomy else self.flash_bytes,
            "SRAM_ORIGIN": SRAM_ORIGIN,
            "SRAM_BYTES": 1 << 28 if roomy else self.sram_bytes,
            "STACK_BYTES": self.stack_bytes,
            "OBJECTS": objects,
            "PREFIX": prefix,
            "RUNTIME": own_names("nas_", prefix),
        }
        for name, value in values.items():
            text = text.replace(f"@{name}@", hex(value) if isinstance(value, int) else value)
        return text

    def where(self, address: int) -> str:
        """Return what an address is, for messages about an access that failed."""
        if FLASH_ORIGIN <= address < FLASH_ORIGIN + self.flash_bytes:
            return f"0x{address:08x}, which is Flash"
        if SRAM_ORIGIN <= address < SRAM_ORIGIN + self.sram_bytes:
            return f"0x{address:08x}, in SRAM"
        if SRAM_ORIGIN - (1 << 16) <= address < SRAM_ORIGIN:
            return f"0x{address:08x}, below the SRAM: a stack overflow"
        if address < SRAM_ORIGIN:
            return f"0x{address:08x}, outside {self.flash_bytes:,} B of Flash"
        return f"0x{address:08x}, outside {self.sram_bytes:,} B of SRAM"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Firmware:
    """A linked image and the board that it was linked for."""

    board: Board
    """The board."""
    content: bytes
    """The ELF file."""
    elf: Elf
    """The same, read."""
    prefix: str = DEFAULT_PREFIX
    """Of the export in it."""

    @property
    def entry(self) -> str:
        """Function that runs the first image."""
        names = (f"{self.prefix}_{name}" for name in ("invoke_rows_observed", "invoke_observed"))
        known = {symbol.name for symbol in self.elf.symbols}
        return next(name for name in names if name in known)

    def fault(self, machine: str, address: int, what: str) -> BackendError:
        """Return the error for a fault at a program address, 0 where that is not known."""
        where = f" at 0x{address:08x} ({self.elf.place(address)})" if address else ""
        return BackendError(machine, f"fault{where}: {what}")


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineRun:
    """Output of the firmware, and its run time."""

    files: Mapping[str, bytes]
    """The files that it wrote, by name."""
    seconds: float
    """Wall time of the emulation."""
    instructions: tuple[int, ...] | None = None
    """Instructions of every step of the first image, counted by the machine; ``None`` where the
    board's counter tells them."""


class Machine(Protocol):
    """An emulator."""

    @property
    def name(self) -> str:
        """Its name for ``--emulator`` and for messages."""

    @property
    def cores(self) -> tuple[str, ...]:
        """Cores that it runs."""

    def missing(self) -> str | None:
        """Return what to install, or ``None`` if it can run."""

    def version(self) -> str:
        """Return program and version on one line."""

    def run(self, firmware: Firmware, images: bytes, timeout_s: float) -> MachineRun:
        """Run a firmware until it exits.

        Args:
            firmware: The image.
            images: What it reads from its file ``images``.
            timeout_s: Longest wall time, in seconds.

        Raises:
            BackendError: A fault, an exit state other than 0, or no end in time.
        """


def check_exit(machine: str, status: int) -> None:
    """Raise an error for an exit state of the firmware other than 0.

    Raises:
        BackendError: The state is not ``EXIT_DONE``.
    """
    if status == EXIT_NO_FILE:
        raise BackendError(
            machine,
            "the firmware could not open its files; semihosting does not reach the work folder",
        )
    if status == EXIT_REFUSED:
        raise BackendError(machine, "model_init refused the arena: too small, or not aligned")
    if status != EXIT_DONE:
        raise BackendError(
            machine, f"the firmware ended with status {status}; expected {EXIT_DONE}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord:
    """Values that the firmware saw behind a step."""

    step: int
    """Number of the step."""
    row: int
    """First of their rows."""
    values: bytes
    """Values as they are packed: the whole output, or a row of it."""
    ticks: int
    """Ticks of the counter since the record before."""


def step_records(content: bytes) -> Iterator[StepRecord]:
    """Read the firmware's file ``steps``.

    Raises:
        BackendError: The file is cut off.
    """
    at, size = 4, len(content)
    began = int.from_bytes(content[:4], "little")
    while at < size:
        step, row, count, ended = (
            int.from_bytes(content[at + i : at + i + 4], "little") for i in range(0, 16, 4)
        )
        stop = at + 16 + count
        if stop + 4 > size:
            raise BackendError("firmware", f"wrote {size:,} B of steps, cut off at byte {at:,}")
        values = content[at + 16 : stop]
        yield StepRecord(step=step, row=row, values=values, ticks=(ended - began) & 0xFFFFFFFF)
        began, at = int.from_bytes(content[stop : stop + 4], "little"), stop + 4
