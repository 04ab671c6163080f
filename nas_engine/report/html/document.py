"""Plain records that a page is made of: sections of tables, bars, pictures and sentences.

Text is plain text; drawing escapes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class Tone(StrEnum):
    """How something is meant; it is always said in words too, never by the colour alone."""

    PLAIN = "plain"
    """A fact."""
    GOOD = "good"
    """As promised."""
    BAD = "bad"
    """Not as promised."""
    WARN = "warn"
    """Not checked: perhaps as promised."""
    FAINT = "faint"
    """Not known, or irrelevant."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A field of a table."""

    text: str
    """Text of the cell."""
    tone: Tone = Tone.PLAIN
    """How it is meant."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """A paragraph."""

    text: str
    """The sentence."""
    tone: Tone = Tone.PLAIN
    """How it is meant; a box is drawn around what is good or bad."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table; it scrolls in its own box where it is wider than the page."""

    caption: str
    """Caption."""
    columns: tuple[str, ...]
    """Titles."""
    rows: tuple[tuple[Cell | str, ...], ...]
    """Fields; the first of each row names it."""
    numbers: tuple[int, ...] = ()
    """Columns that are set flush right."""
    marked: tuple[int, ...] = ()
    """Highlighted rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """Large number at the top of the page."""

    name: str
    """Name of the fact."""
    value: str
    """The number with its unit."""
    note: str
    """Remark on it."""
    source: str
    """How it is known, such as ``measured``."""
    tone: Tone = Tone.PLAIN
    """How it is meant."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Numbers side by side."""

    items: tuple[Figure, ...]
    """The numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """Use of a limited resource, in parts of the same unit."""

    name: str
    """Name of the resource."""
    used: float
    """Amount used of ``limit``."""
    limit: float
    """Amount available."""
    reserved: float
    """Amount that exists in addition to the limit but is reserved for others; 0 for none."""
    text: str
    """The same in words and numbers."""


@dataclass(frozen=True, slots=True)
class Bars:
    """Bars below one another."""

    items: tuple[Bar, ...]
    """The bars."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A figure; its drawing is handed to ``render_page`` by name."""

    name: str
    """File name without ending."""
    text: str
    """Description for screen readers."""
    caption: str
    """Caption below the picture."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Names and values."""

    items: tuple[tuple[str, str], ...]
    """Pairs."""


@dataclass(frozen=True, slots=True)
class Commands:
    """Lines to type."""

    lines: tuple[str, ...]
    """The lines."""


@dataclass(frozen=True, slots=True)
class Items:
    """A list of sentences."""

    lines: tuple[str, ...]
    """The sentences."""


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading within a section."""

    text: str
    """Text of the heading."""


Block = Sentence | Table | Figures | Bars | Picture | Facts | Commands | Items | Heading
"""Block of a section."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of the page with a heading of its own."""

    key: str
    """Its anchor: letters and hyphens."""
    title: str
    """Its heading."""
    blocks: tuple[Block, ...]
    """Blocks of the section."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The whole."""

    title: str
    """Title of the page."""
    subtitle: str
    """One line below."""
    sections: tuple[Section, ...]
    """Its parts, the first without heading in the table of contents."""
    footer: str
    """Footer: program and version."""

    def pictures(self) -> Iterator[str]:
        """Yield the names of the pictures, in their order."""
        for section in self.sections:
            for block in section.blocks:
                if isinstance(block, Picture):
                    yield block.name
