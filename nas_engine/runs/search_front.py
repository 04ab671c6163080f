"""Front of a search: a table of figures and an architecture file for each network."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from nas_engine.architecture import Architecture, dump_architecture
from nas_engine.errors import FileFormatError
from nas_engine.files import storage_errors, write_atomically
from nas_engine.reading import SMALL_FILE, read_regular_text
from nas_engine.sealed import CHECK, crc, seal_yaml

FRONT_COLUMNS = (
    "file",
    "qe_score",
    "peak_sram_bytes",
    "flash_bytes",
    "macs",
    "bitops",
    "cycles_estimate",
)
"""Columns of ``pareto.csv``; followed by the check of each row."""

_REMEDY = "continue the search with --resume, which writes it anew"


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontRow:
    """One network of the front and its figures."""

    architecture: Architecture
    """The network itself."""
    qe_score: float
    """QE-Score."""
    peak_sram_bytes: float
    """Largest number of bytes live at any layer."""
    flash_bytes: float
    """Flash bytes of all layers."""
    macs: float
    """Multiply-accumulates."""
    bitops: float
    """BitOps."""
    cycles: float | None
    """Estimated cycles on a device, ``None`` without one."""


@dataclass(frozen=True, slots=True)
class SearchFront:
    """``pareto.csv`` and ``pareto/`` of a run directory."""

    path: Path
    """The run directory."""

    def write(self, front: Iterable[FrontRow]) -> None:
        """Write ``pareto.csv`` and one architecture file per member in ``pareto/``."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow((*FRONT_COLUMNS, CHECK))
        names = set()
        for number, member in enumerate(front, 1):
            name = f"{number:03d}.yaml"
            names.add(name)
            write_atomically(
                self.path / "pareto" / name, seal_yaml(dump_architecture(member.architecture))
            )
            sizes = (
                member.peak_sram_bytes,
                member.flash_bytes,
                member.macs,
                member.bitops,
                member.cycles or 0.0,
            )
            row = [f"pareto/{name}", repr(member.qe_score), *(f"{size:.0f}" for size in sizes)]
            writer.writerow([*row, _check(row)])
        write_atomically(self.path / "pareto.csv", buffer.getvalue())
        with storage_errors(self.path / "pareto"):
            for path in (self.path / "pareto").glob("*.yaml"):
                if path.name not in names and path.stem.isdecimal():
                    path.unlink()

    def read(self) -> list[dict[str, float]]:
        """Return the numbers of ``pareto.csv``, one mapping per member.

        Raises:
            UnreadableError: Missing, or the operating system refuses.
            FileFormatError: A damaged file.
        """
        path = self.path / "pareto.csv"
        text = read_regular_text(path, SMALL_FILE, _REMEDY)
        try:
            reader = csv.DictReader(io.StringIO(text, newline=""))
            found = list(reader)
            rows = [{key: float(row[key]) for key in FRONT_COLUMNS[1:]} for row in found]
            if any(
                row[CHECK] != _check([row[key] for key in FRONT_COLUMNS])
                for row in found
                if CHECK in row
            ):
                raise ValueError("not what was written")
            if tuple(reader.fieldnames or ()) not in (FRONT_COLUMNS, (*FRONT_COLUMNS, CHECK)):
                raise ValueError("another table")
            if not all(math.isfinite(value) for row in rows for value in row.values()):
                raise ValueError("not finite")
        except (ValueError, KeyError, TypeError, csv.Error) as error:
            columns = ", ".join(FRONT_COLUMNS)
            raise FileFormatError(
                path, f"cannot be read as the table of the front (columns {columns}); {_REMEDY}"
            ) from error
        return rows


def _check(row: Iterable[str]) -> str:
    return crc(",".join(row))
