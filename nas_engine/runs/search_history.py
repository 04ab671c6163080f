"""SearchHistory: figures of every generation of a search, a line each of ``search.jsonl``."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas_engine.errors import FileFormatError
from nas_engine.files import storage_errors, write_atomically
from nas_engine.reading import SMALL_FILE, read_regular_text
from nas_engine.sealed import parse_line, seal_line

_REMEDY = "remove the file to go on without this history, or start again with --force"


@dataclass(frozen=True, slots=True)
class SearchHistory:
    """File of one JSON object per generation; a last line cut by a kill is ignored."""

    path: Path
    """The file."""

    def keep(self, generation: int) -> list[dict[str, Any]]:
        """Cut the file back to a generation, drop a partial line, and return the lines that remain.

        Raises:
            FileFormatError: A damaged file, or one that ends before the generation.
        """
        if not self.path.exists():
            return []
        kept = [row for row in self.read() if row["generation"] <= generation]
        if not kept or kept[-1]["generation"] != generation:
            raise FileFormatError(
                self.path, f"ends before generation {generation} of the checkpoint; {_REMEDY}"
            )
        write_atomically(self.path, "".join(map(seal_line, kept)))
        return kept

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Append lines.

        Raises:
            StorageError: The disk is full.
        """
        with storage_errors(self.path), self.path.open("a", encoding="utf-8") as file:
            file.writelines(map(seal_line, rows))
            file.flush()
            os.fsync(file.fileno())

    def read(self) -> list[dict[str, Any]]:
        """Return the lines.

        A partial line at the end is left out, one that lacks only its line break is kept.

        Raises:
            FileFormatError: A damaged line.
        """
        if not self.path.exists():
            return []
        *lines, rest = read_regular_text(self.path, SMALL_FILE, _REMEDY).split("\n")
        if "}" in rest:  # no kill leaves more than a whole line there
            lines.append(rest)
        rows: list[dict[str, Any]] = []
        for number, line in enumerate(lines, 1):
            try:
                rows.append(_row(line, rows[-1] if rows else None))
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise FileFormatError(self.path, f"line {number} is damaged; {_REMEDY}") from error
        return rows


def _row(line: str, before: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what one line says; raises what ``json`` raises, ``KeyError`` or ``ValueError``."""
    row: dict[str, Any] = parse_line(line)
    counts = [row["generation"], row["evaluated"]]
    numbers = [
        row["feasible"],
        row["elapsed_s"],
        *([] if row["best_score"] is None else [row["best_score"]]),
    ]
    if any(type(count) is not int or count < 0 for count in counts):
        raise ValueError("not a count")
    if (
        any(type(number) not in (int, float) or not math.isfinite(number) for number in numbers)
        or not 0 <= row["feasible"] <= 1
    ):
        raise ValueError("not a number")
    if before and (counts[0] <= before["generation"] or counts[1] < before["evaluated"]):
        raise ValueError("not in order")
    return row
