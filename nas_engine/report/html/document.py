"""What a page is made of, as plain records: sections of tables, bars, pictures and sentences.

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
    """Not known, or beside the point."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A field of a table."""

    text: str
    """What stands in it."""
    tone: Tone = Tone.PLAIN
    """How it is meant."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """A paragraph."""

    text: str
    """What it says."""
    tone: Tone = Tone.PLAIN
    """How it is meant; a box is drawn around what is good or bad."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table; it scrolls in its own box where it is wider than the page."""

    caption: str
    """What it shows."""
    columns: tuple[str, ...]
    """Titles."""
    rows: tuple[tuple[Cell | str, ...], ...]
    """Fields; the first of each row names it."""
    numbers: tuple[int, ...] = ()
    """Columns that are set flush right."""
    marked: tuple[int, ...] = ()
    """Rows that stand out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A number that stands large at the top of the page."""

    name: str
    """What it is."""
    value: str
    """The number with its unit."""
    note: str
    """What to know about it."""
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
    """What is used of something limited; parts of the same unit."""

    name: str
    """What is limited."""
    used: float
    """What is used of ``limit``."""
    limit: float
    """What may be used."""
    reserved: float
    """What exists beside the limit but is kept for others, 0 for nothing."""
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
    """What it shows, for those who do not see it."""
    caption: str
    """What stands below it."""


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
    """What it says."""


Block = Sentence | Table | Figures | Bars | Picture | Facts | Commands | Items | Heading
"""What a section holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of the page with a heading of its own."""

    key: str
    """Its anchor: letters and hyphens."""
    title: str
    """Its heading."""
    blocks: tuple[Block, ...]
    """What it holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The whole."""

    title: str
    """What the page is about."""
    subtitle: str
    """One line below."""
    sections: tuple[Section, ...]
    """Its parts, the first without heading in the table of contents."""
    footer: str
    """What made it."""

    def pictures(self) -> Iterator[str]:
        """Yield the names of the pictures, in their order."""
        for section in self.sections:
            for block in section.blocks:
                if isinstance(block, Picture):
                    yield block.name
