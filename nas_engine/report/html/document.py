"""Plain records that a page is made of: sections of tables, bars, pictures and sentences.

Text is plain text; drawing escapes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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
class Band:
    """Neighbouring columns of a cover with a common name."""

    name: str
    """The name; empty where there is no room for one."""
    first: int
    """Index of the first column."""
    last: int
    """Index of the last column."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """A row of a cover: a number of 2 to 8 in each column that has one."""

    name: str
    """Name."""
    values: tuple[int | None, ...]
    """One per column."""
    texts: tuple[str, ...]
    """The same in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Area:
    """A rectangle of a cover, below its lanes."""

    text: str
    """Description of it."""
    kind: int
    """Index of its kind in ``Cover.kinds``."""
    first: int
    """Index of the first column."""
    last: int
    """Index of the last column."""
    low: float
    """Lower end."""
    high: float
    """Upper end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cover:
    """The network in one figure: bits of its layers, and its memory below them."""

    text: str
    """Description for screen readers."""
    caption: str
    """Caption."""
    bands: tuple[Band, ...]
    """Names of the columns, which they cover together."""
    lanes: tuple[Lane, ...]
    """Rows of bits."""
    name: str
    """Name of the plan."""
    height: float
    """Top of the plan's axis, in the unit of ``areas``."""
    top: str
    """The same in words."""
    areas: tuple[Area, ...]
    """Rectangles of the plan, lowest first."""
    kinds: tuple[str, ...]
    """Names of their kinds."""
    marked: int
    """Index of the column of the peak."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """Counts by row and column of the same names."""

    caption: str
    """Caption."""
    names: tuple[str, ...]
    """Names, of rows and columns alike."""
    counts: tuple[tuple[int, ...], ...]
    """Counts, ``[row][column]``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thumbnail:
    """A small image."""

    png: str
    """Its PNG in base64."""
    text: str
    """Words below it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gallery:
    """Small images side by side."""

    caption: str
    """Caption."""
    items: tuple[Thumbnail, ...]
    """The images."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """Blocks that are shown on request."""

    title: str
    """Title, which is always shown."""
    blocks: tuple[Block, ...]
    """The blocks."""


Block = (
    Sentence
    | Table
    | Figures
    | Bars
    | Cover
    | Matrix
    | Gallery
    | Picture
    | Facts
    | Commands
    | Items
    | Heading
    | Fold
)
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
    folded: bool = False
    """True if it is closed at first."""


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
            for block in flat(section.blocks):
                if isinstance(block, Picture):
                    yield block.name


def flat(blocks: Iterable[Block]) -> Iterator[Block]:
    """Yield blocks in their order, those within folds too."""
    for block in blocks:
        yield block
        if isinstance(block, Fold):
            yield from flat(block.blocks)
