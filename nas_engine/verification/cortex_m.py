"""Cortex-M: the exported C run on an emulated core.

It is linked into a firmware for exactly the memory of a device.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nas_engine.errors import InputError
from nas_engine.exporters.settings import DEFAULT_PREFIX
from nas_engine.integer.model import IntegerModel
from nas_engine.integer.reference import Images
from nas_engine.quantization.record import QuantisedTensor
from nas_engine.reading import LARGE_FILE, read_regular
from nas_engine.verification.backend import BackendError, BackendRun, Footprint
from nas_engine.verification.board import (
    IMAGES_BYTES,
    Board,
    Firmware,
    Machine,
    StepRecord,
    step_records,
)
from nas_engine.verification.elf import Elf
from nas_engine.verification.interface import asks_for_rows, include_folders, prefix_of
from nas_engine.verification.qemu_machine import TICKS_PER_INSTRUCTION, Qemu
from nas_engine.verification.toolchain import (
    COMPILERS,
    CORES,
    Toolchain,
    compile_files,
    find_toolchain,
    link,
    missing_compiler,
)
from nas_engine.verification.unicorn_machine import Unicorn

MACHINES: tuple[Machine, ...] = (Qemu(), Unicorn())
"""Emulators, the preferred one first."""

FIRMWARE_FILES = ("startup.c", "harness.c", "arithmetic.c", "string.c", "string.h", "semihosting.h")
OBJECTS = "objects"
"""Folder of the objects within the work folder; the linker script knows its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CortexM:
    """The back-end: compiler, core, and memory of the device.

    Flash is filled with the whole image, start-up and file access of the harness included. SRAM
    holds stack, data and arena; the image does not link if they do not fit, and an access to
    anything else is a fault.
    """

    core: str = "cortex-m7"
    """One of ``CORES`` of the tool chain."""
    sram_bytes: int = 256 << 10
    """SRAM of the device."""
    flash_bytes: int = 1 << 20
    """Flash of the device."""
    images_limit: int = 20
    """Images that are run: the first ones, at most so many."""
    stack_bytes: int = 2048
    """Of the SRAM, what is kept for the stack; a multiple of 8. How much of it is used is measured.
    """
    compiler: str | None = None
    """``"gcc"``, ``"zig"``, or the first that is installed."""
    emulator: str | None = None
    """``"qemu"``, ``"unicorn"``, or the first that is installed."""
    timeout_s: float = 600.0
    """Longest wall time of the emulation, in seconds."""

    def __post_init__(self) -> None:
        if self.core not in CORES:
            raise InputError(f"the core is {self.core!r}; expected one of: {', '.join(CORES)}")
        if self.emulator is not None and self.emulator not in (
            machine.name for machine in MACHINES
        ):
            raise InputError(
                f"the emulator is {self.emulator!r}; expected one of: "
                f"{', '.join(machine.name for machine in MACHINES)}"
            )
        if self.compiler is not None and self.compiler not in COMPILERS:
            raise InputError(
                f"the compiler is {self.compiler!r}; expected one of: {', '.join(COMPILERS)}"
            )
        if (
            self.stack_bytes % 8
            or self.stack_bytes < 256
            or min(self.images_limit, self.sram_bytes, self.flash_bytes) < 1
        ):
            numbers = (
                f"stack {self.stack_bytes}, images {self.images_limit}, SRAM {self.sram_bytes}, "
                f"Flash {self.flash_bytes}"
            )
            raise InputError(
                f"{numbers}: expected a stack that is a multiple of 8 and at least 256, and "
                "numbers above 0"
            )

    @property
    def name(self) -> str:
        """Name in the table and on the command line."""
        return f"Cortex-{self.core.removeprefix('cortex-').upper()}"

    @property
    def exact(self) -> bool:
        """Every value must equal the integer reference."""
        return True

    @property
    def board(self) -> Board:
        """The memory of the device."""
        return Board(
            core=self.core,
            sram_bytes=self.sram_bytes,
            flash_bytes=self.flash_bytes,
            stack_bytes=self.stack_bytes,
        )

    def machine(self) -> Machine:
        """Return the emulator: the chosen one, else the first that is installed.

        Raises:
            BackendError: It is not installed.
        """
        chosen = [
            machine
            for machine in MACHINES
            if self.emulator in (None, machine.name) and self.core in machine.cores
        ]
        found = next((machine for machine in chosen if machine.missing() is None), None)
        if not chosen:
            raise BackendError(
                self.name,
                f"{self.emulator} has no board with a {self.name}; leave it to the other emulators",
            )
        if found is None:
            none = (
                "neither qemu-system-arm nor unicorn is installed; pip install 'nas-search[mcu]' "
                "or apt install qemu-system-arm"
            )
            raise BackendError(
                self.name, (chosen[0].missing() if len(chosen) == 1 else None) or none
            )
        return found

    def missing(self) -> str | None:
        """Return a line that says what is missing and how to install it, or ``None``.

        ``None`` means that the back-end can run.
        """
        problem = missing_compiler(self.compiler)
        if problem:
            return problem
        try:
            self.machine()
        except BackendError as error:
            return error.problem
        return None

    def run(self, export: Path, model: IntegerModel, images: Images, work: Path) -> BackendRun:
        """Run the first ``images_limit`` images through ``c/`` of an export.

        Args:
            export: The export directory: ``c/``.
            model: The network that it holds, for shapes and names.
            images: Images as uint8, ``[N, height, width, channels]``.
            work: A folder for what is built.

        Returns:
            Logits of these images (by rows, of as many as 16 MiB hold); checksums, footprint, and
            instructions of the first image.
            Unicorn counts the instructions of a step alone; with QEMU some 20 of the harness are
            among them.

        Raises:
            BackendError: It does not compile, link or fit, or it faults.
        """
        tools, machine = find_toolchain(self.compiler), self.machine()
        prefix = prefix_of(export)
        chosen, board = np.ascontiguousarray(images[: self.images_limit]), self.board
        if asks_for_rows(export / "c", prefix):
            chosen = chosen[: max(IMAGES_BYTES // chosen[0].nbytes, 1)]
            board = replace(board, images_bytes=chosen.nbytes)
        firmware = build(tools, board, export / "c", work, self.name, prefix)
        run = machine.run(firmware, chosen.tobytes(), self.timeout_s)
        logits = np.frombuffer(run.files.get("logits", b""), np.int8)
        class_count = len(model.classes)
        if logits.size != len(chosen) * class_count:
            problem = (
                f"the firmware wrote {logits.size} logits for {len(chosen)} images; expected "
                f"{len(chosen) * class_count}"
            )
            raise BackendError(self.name, problem)
        records = tuple(step_records(run.files.get("steps", b"")))
        counted = (
            run.instructions
            if run.instructions is not None
            else tuple(round(record.ticks / TICKS_PER_INSTRUCTION) for record in records)
        )
        instructions = dict.fromkeys((step.name for step in model.nodes), 0)
        for record, number in zip(records, counted, strict=True):
            instructions[model.nodes[record.step].name] += number
        return BackendRun(
            logits=logits.reshape(-1, class_count),
            seconds=run.seconds,
            version=f"{machine.version()}, {tools.version}",
            checksums=self._checksums(model, records),
            footprint=footprint(firmware, int.from_bytes(run.files.get("stack", b""), "little")),
            instructions=instructions,
        )

    def _checksums(self, model: IntegerModel, records: Sequence[StepRecord]) -> dict[str, int]:
        """Return the CRC-32 of every step's output, whole or row by row as it passed.

        Raises:
            BackendError: A step without output, or with rows that are not all of them in order.
        """
        sums: dict[int, int] = {}
        rows: dict[int, int] = {}
        by_rows = {record.step for record in records if record.row}
        for record in records:
            if record.step >= len(model.nodes) or record.row != rows.get(record.step, 0):
                raise BackendError(
                    self.name,
                    f"the firmware reported row {record.row} of step {record.step}; expected row "
                    f"{rows.get(record.step, 0)}",
                )
            tensor = model.tensor(model.nodes[record.step].output)
            count = 1 if record.step in by_rows else tensor.height
            values = unpacked(record.values, replace(tensor, height=count))
            sums[record.step] = zlib.crc32(values.tobytes(), sums.get(record.step, 0))
            rows[record.step] = record.row + count
        expected = {at: model.tensor(node.output).height for at, node in enumerate(model.nodes)}
        if rows != expected:
            missing = next(at for at, height in expected.items() if rows.get(at) != height)
            raise BackendError(
                self.name,
                f"the firmware reported {rows.get(missing, 0)} rows of step {missing}; expected "
                f"{expected[missing]}",
            )
        return {node.output: sums[at] for at, node in enumerate(model.nodes)}


def unpacked(content: bytes, tensor: QuantisedTensor) -> npt.NDArray[np.int8]:
    """Return a tensor from its bit stream: values as int8, ``[height, width, channels]``.

    Args:
        content: Bytes from the tensor's first one on.
        tensor: Its shape and bits.

    Raises:
        BackendError: There are too few bytes.
    """
    elements = tensor.height * tensor.width * tensor.channels
    size = -(-elements * tensor.bits // 8)
    if len(content) < size:
        raise BackendError(
            "firmware", f"tensor {tensor.name!r} has {len(content)} B in the arena; expected {size}"
        )
    bits = np.unpackbits(np.frombuffer(content, np.uint8, size), bitorder="little")[
        : elements * tensor.bits
    ]
    stored = np.packbits(bits.reshape(elements, tensor.bits), axis=1, bitorder="little")[:, 0]
    return (stored.astype(np.int16) + tensor.low).astype(np.int8).reshape(tensor.shape)


def build(
    tools: Toolchain,
    board: Board,
    sources: Path,
    work: Path,
    who: str = "firmware",
    prefix: str = DEFAULT_PREFIX,
) -> Firmware:
    """Compile and link an exported network with start-up and harness.

    Args:
        tools: The compiler.
        board: Core and memory.
        sources: The folder ``c`` of an export; ``main.c`` is left out.
        work: Folder for sources, objects and image.
        who: Name in messages.
        prefix: Of the export.

    Raises:
        BackendError: It does not compile or link, or it does not fit: then the message holds the
            byte counts.
    """
    objects = compile_firmware(tools, board, sources, work, prefix)
    script, image = work / "board.ld", work / "firmware.elf"
    script.write_text(board.script(OBJECTS, prefix), encoding="utf-8")
    try:
        link(tools, board.core, objects, script, image)
    except BackendError as error:
        raise _over_budget(tools, board, objects, work, who, prefix) or error from None
    content = read_regular(image, LARGE_FILE)
    return Firmware(board=board, content=content, elf=Elf(content, image.name), prefix=prefix)


def compile_firmware(
    tools: Toolchain, board: Board, sources: Path, work: Path, prefix: str = DEFAULT_PREFIX
) -> list[Path]:
    """Compile an exported network, start-up and harness; arguments and errors as in ``build``."""
    network = sorted(path for path in sources.glob("*.c") if path.name != "main.c")
    if not (sources / f"{prefix}.h").is_file() or not network:
        raise BackendError(
            "firmware", f"{sources} holds no {prefix}.h and {prefix}.c; export the network again"
        )
    own = work / "firmware"
    own.mkdir(parents=True, exist_ok=True)
    parts = list(network)
    for name in FIRMWARE_FILES:
        is_source = name.endswith(".c")
        path = own / (
            f"firmware.{name}" if is_source else name
        )  # no network has a file with two dots
        path.write_bytes((files("nas_engine.verification") / "firmware" / name).read_bytes())
        parts += [path] * is_source
    (own / "board.h").write_text(board.header(), encoding="utf-8")
    return compile_files(
        tools, board.core, parts, (*include_folders(sources, prefix, work), own), work / OBJECTS
    )


def _over_budget(
    tools: Toolchain, board: Board, objects: list[Path], work: Path, who: str, prefix: str
) -> BackendError | None:
    """Return an error with the byte counts if an image would link only in a larger memory."""
    script, image = work / "roomy.ld", work / "roomy.elf"
    script.write_text(board.script(OBJECTS, prefix, roomy=True), encoding="utf-8")
    try:
        link(tools, board.core, objects, script, image)
    except BackendError:
        return None
    elf = Elf(read_regular(image, LARGE_FILE), image.name)
    used = footprint(Firmware(board=board, content=elf.content, elf=elf), board.stack_bytes)
    problems = []
    if used.ram > board.sram_bytes:
        parts = (
            f"arena {used.arena:,} + stack {used.stack:,} + data {used.static_ram:,} > "
            f"{board.sram_bytes:,} B"
        )
        problems.append(f"SRAM over budget by {used.ram - board.sram_bytes:,} B: {parts}")
    if used.flash > board.flash_bytes:
        parts = f"packed {used.packed:,} + code {used.code:,} > {board.flash_bytes:,} B"
        problems.append(f"Flash over budget by {used.flash - board.flash_bytes:,} B: {parts}")
    return BackendError(who, "; ".join(problems)) if problems else None


def footprint(firmware: Firmware, stack: int) -> Footprint:
    """Return the memory of an image.

    Args:
        firmware: The image.
        stack: Bytes of stack.
    """
    elf = firmware.elf
    packed, arena = elf.size(".packed"), elf.size(".arena")
    flash = elf.address("flash_used")
    static = elf.address("sram_used") - elf.size(".stack") - arena
    return Footprint(
        packed=packed, code=flash - packed, arena=arena, static_ram=static, stack=stack
    )
