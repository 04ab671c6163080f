"""Reads the documentation: fenced blocks with what stands before them, commands, and links."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"

PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(DOCS.rglob("*.md")),
    ROOT / "benchmarks" / "README.md",
    ROOT / "benchmarks" / "RESULTS.md",
    *sorted((ROOT / "benchmarks" / "studies").rglob("README.md")),
]
"""Every page that a reader is sent to."""

NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
"""Their names, for the ids of tests."""

_FENCE = re.compile(r"^ *```([\w+-]*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"<!-- file: (\S+) -->\s*\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One fenced block."""

    page: Path
    """Where it stands."""
    line: int
    """Line of its first row, from 1."""
    language: str
    """Language after the fence, empty for none."""
    text: str
    """Its content."""
    file: str | None
    """Name from a line ``<!-- file: NAME -->`` right before it: what a reader saves it as."""

    def code(self) -> str:
        """Return its content after empty lines: a traceback has the line numbers of the page."""
        return "\n" * (self.line - 1) + self.text


def blocks(page: Path, language: str | None = None) -> list[Block]:
    """Return the fenced blocks of a page in their order, of one language or of all."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        before = text[: match.start()]
        named = _FILE.search(before)
        line = before.count("\n") + 2
        found.append(
            Block(
                page=page,
                line=line,
                language=match[1],
                text=match[2],
                file=named[1] if named else None,
            )
        )
    return [block for block in found if language in (None, block.language)]


def pages_with(language: str) -> list[Path]:
    """Return the pages that have a block of a language."""
    return [page for page in PAGES if blocks(page, language)]


def links(page: Path) -> list[str]:
    """Return the targets of all links and pictures of a page."""
    return re.findall(r"\]\(([^)\s]+)\)", _FENCE.sub("", page.read_text(encoding="utf-8")))


def anchors(page: Path) -> set[str]:
    """Return what links to headings of a page end in, as GitHub makes it: lower case, words joined
    by hyphens, nothing else.
    """
    headings = re.findall(
        r"^#+ (.*)$", _FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE
    )
    return {
        re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings
    }


def commands(page: Path) -> list[tuple[int, list[str]]]:
    """Return the ``nas-search`` commands in blocks without a programming language, with their
    lines; see ``_words``.
    """
    text = page.read_text(encoding="utf-8")
    rows: list[tuple[int, str]] = []
    for block in blocks(page):
        if block.language in ("", "sh", "bash", "console"):
            rows += [
                (block.line + i, row)
                for i, row in enumerate(block.text.replace("\\\n", " ").splitlines())
            ]
    for number, row in enumerate(
        _FENCE.sub(lambda match: "\n" * match[0].count("\n"), text).splitlines(), start=1
    ):
        if row.startswith("    "):
            rows.append((number, row))
    return [(number, words) for number, row in rows for words in _words(row)]


def inline_commands(page: Path) -> list[list[str]]:
    """Return the ``nas-search`` commands that stand in a sentence; they may leave arguments out."""
    text = re.sub(
        r"^    .*$", "", _FENCE.sub("", page.read_text(encoding="utf-8")), flags=re.MULTILINE
    )
    found = [re.sub(r"\s+", " ", code) for code in re.findall(r"`([^`]+)`", text)]
    return [words for code in found for words in _words(code)]


def _words(row: str) -> Iterator[list[str]]:
    """Yield the arguments of each command in a row: what stands behind three blanks is a remark or
    the next command.
    """
    for part in re.split(r" {3,}|&&|;", row.strip()):
        match = re.match(r"(?:\$ )?(?:\S*/)?nas-search(?= |$)(.*)", part.strip())
        if match:
            words = (
                re.split(r"[|>]", match[1].replace("NAME|FILE", "NAME"))[0]
                .replace("[", "")
                .replace("]", "")
                .replace("...", "")
            )
            yield shlex.split(words, comments=True)
