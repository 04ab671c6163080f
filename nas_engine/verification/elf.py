"""Reader of 32-bit little-endian ELF files.

It gives the contents of a linked firmware, their addresses, and which code needs which.

Format: Tool Interface Standard (TIS) Executable and Linking Format 1.2; ELF for the Arm
Architecture (2023Q3). Only what is needed here: sections, symbols, program headers and relocations
of static images and of the objects that they were linked from.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cached_property

from nas_engine.errors import InputError

ARM = 40
"""``e_machine`` of 32-bit Arm."""

SHT_SYMTAB, SHT_NOBITS = 2, 8
SHF_ALLOC = 2
PT_LOAD = 1
STT_FUNC = 2
SHN_UNDEFINED, SHN_FIRST_SPECIAL = 0, 0xFF00


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One section."""

    name: str
    """Name."""
    kind: int
    """``sh_type``."""
    flags: int
    """``sh_flags``."""
    address: int
    """Address at run time, 0 in an object."""
    offset: int
    """First byte in the file."""
    size: int
    """Bytes."""
    link: int
    """Index of the section that it refers to."""
    info: int
    """For relocations: index of the section that they change."""
    alignment: int
    """Alignment in bytes."""

    @property
    def is_allocated(self) -> bool:
        """True if the section takes memory on the target."""
        return bool(self.flags & SHF_ALLOC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Symbol:
    """One symbol."""

    name: str
    """Name, empty for most section symbols."""
    value: int
    """Address, or offset in its section in an object; bit 0 of a Thumb function is cleared."""
    size: int
    """Bytes, 0 where unknown."""
    is_function: bool
    """True if the symbol names code."""
    section: int | None
    """Index of its section; ``None`` if undefined or absolute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """Bytes to be put into memory before the start."""

    address: int
    """Where they are put: the load address, in Flash for initial values of data."""
    content: bytes
    """The bytes."""


class Elf:
    """One ELF file.

    Args:
        content: Its bytes.
        name: What messages call it.

    Raises:
        InputError: It is not a little-endian 32-bit Arm ELF file.
    """

    def __init__(self, content: bytes, name: str = "the file") -> None:
        self.content = content
        if (
            content[:6] != b"\x7fELF\x01\x01"
            or len(content) < 52
            or struct.unpack_from("<H", content, 18)[0] != ARM
        ):
            raise InputError(
                f"{name} is not an ELF file of a little-endian 32-bit Arm; expected what the cross "
                "compiler writes"
            )

    def _table(self, offset_at: int, count_at: int, fields: int) -> list[tuple[int, ...]]:
        (start,), (width, count) = (
            struct.unpack_from("<I", self.content, offset_at),
            struct.unpack_from("<HH", self.content, count_at),
        )
        return [
            struct.unpack_from(f"<{fields}I", self.content, start + i * width) for i in range(count)
        ]

    def _text(self, start: int) -> str:
        return self.content[start : self.content.index(b"\0", start)].decode("utf-8", "replace")

    @cached_property
    def sections(self) -> tuple[Section, ...]:
        """All sections in the order of the file.

        The empty first one is included, so that indices hold.
        """
        rows = self._table(32, 46, 10)
        names = rows[struct.unpack_from("<H", self.content, 50)[0]][4] if rows else 0
        keys = ("kind", "flags", "address", "offset", "size", "link", "info", "alignment")
        return tuple(
            Section(name=self._text(names + row[0]), **dict(zip(keys, row[1:9], strict=True)))
            for row in rows
        )

    @cached_property
    def symbols(self) -> tuple[Symbol, ...]:
        """All symbols in the order of the file."""
        found = []
        for table in (section for section in self.sections if section.kind == SHT_SYMTAB):
            names = self.sections[table.link].offset
            for at in range(table.offset, table.offset + table.size, 16):
                name, value, size, info, _, index = struct.unpack_from("<IIIBBH", self.content, at)
                is_function = info & 15 == STT_FUNC
                found.append(
                    Symbol(
                        name=self._text(names + name),
                        value=value & ~1 if is_function else value,
                        size=size,
                        is_function=is_function,
                        section=index if SHN_UNDEFINED < index < SHN_FIRST_SPECIAL else None,
                    )
                )
        return tuple(found)

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        """Segments that a loader puts into memory, in the order of the file."""
        rows = self._table(28, 42, 8)
        return tuple(
            Segment(address=address, content=self.content[offset : offset + size])
            for kind, offset, _, address, size, *_ in rows
            if kind == PT_LOAD and size
        )

    def size(self, section: str) -> int:
        """Return the bytes of all sections of a name, 0 if there is none."""
        return sum(item.size for item in self.sections if item.name == section)

    def address(self, symbol: str) -> int:
        """Return the address of a symbol.

        Raises:
            InputError: There is no such symbol.
        """
        for item in self.symbols:
            if item.name == symbol:
                return item.value
        raise InputError(
            f"the image has no symbol {symbol!r}; expected one that was linked with start-up and "
            "harness"
        )

    def place(self, address: int) -> str:
        """Return the function at an address as ``name+0x12``, or that it is in none."""
        for item in self.symbols:
            if item.is_function and item.value <= address < item.value + max(item.size, 2):
                return f"{item.name}+0x{address - item.value:x}"
        return "in no function"
