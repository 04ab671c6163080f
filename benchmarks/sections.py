"""Sections that a linker keeps of objects for some symbols: the code that a kernel takes."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping

from nas_engine.verification.elf import Elf, Symbol

SHT_REL = 9


def needed_sections(objects: Mapping[str, Elf], roots: Iterable[str]) -> dict[tuple[str, str], int]:
    """Return what a linker that drops unused sections keeps of some objects for some symbols.

    Args:
        objects: Objects by name.
        roots: Global symbols that are needed.

    Returns:
        Bytes in memory, padded to the section's alignment or a word, by object and section name.
        Symbols that no object defines are left out: they come from the compiler's own library.
    """
    defined: dict[str, tuple[str, int]] = {}
    for name, elf in objects.items():
        for symbol in elf.symbols:
            if (
                symbol.name
                and symbol.section is not None
                and not symbol.name.startswith(("$", ".L"))
            ):
                defined.setdefault(symbol.name, (name, symbol.section))
    references = {name: _references(elf) for name, elf in objects.items()}
    todo = [defined[root] for root in roots if root in defined]
    seen: set[tuple[str, int]] = set()
    while todo:
        place = todo.pop()
        if place in seen:
            continue
        seen.add(place)
        name, index = place
        for symbol in references[name].get(index, ()):
            if symbol.section is not None:
                todo.append((name, symbol.section))
            elif symbol.name in defined:
                todo.append(defined[symbol.name])
    kept: dict[tuple[str, str], int] = {}
    for name, index in sorted(seen):
        section = objects[name].sections[index]
        if section.is_allocated and section.size:
            grain = max(section.alignment, 4)
            kept[name, section.name] = (
                kept.get((name, section.name), 0) + -(-section.size // grain) * grain
            )
    return kept


def _references(elf: Elf) -> dict[int, list[Symbol]]:
    """Return, for each section of an object, the symbols that its relocations name."""
    found: dict[int, list[Symbol]] = {}
    for table in (section for section in elf.sections if section.kind == SHT_REL):
        wanted = found.setdefault(table.info, [])
        for at in range(table.offset, table.offset + table.size, 8):
            wanted.append(elf.symbols[struct.unpack_from("<II", elf.content, at)[1] >> 8])
    return found
