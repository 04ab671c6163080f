"""SearchFront: the networks that a search leaves to choose from, a table of figures and an architecture file each."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from nas_engine.architecture import dump_architecture
from nas_engine.errors import FileFormatError
from nas_engine.files import storage_errors, write_atomically
from nas_engine.report.network import NetworkReport

FRONT_COLUMNS = ("file", "qe_score", "peak_sram_bytes", "flash_bytes", "macs", "bitops", "cycles_estimate")
"""Columns of ``pareto.csv``."""


@dataclass(frozen=True, slots=True)
class SearchFront:
    """``pareto.csv`` and ``pareto/`` of a run directory."""

    path: Path
    """The run directory."""

    def write(self, front: Iterable[NetworkReport]) -> None:
        """Write ``pareto.csv`` and one architecture file per member in ``pareto/``."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(FRONT_COLUMNS)
        names = set()
        for number, member in enumerate(front, 1):
            name = f"{number:03d}.yaml"
            names.add(name)
            write_atomically(self.path / "pareto" / name, dump_architecture(member.architecture))
            sizes = (member.peak_sram_bytes, member.total_flash_bytes, member.total_macs, member.bitops, member.cycles or 0.0)
            writer.writerow([f"pareto/{name}", repr(member.qe_score), *(f"{size:.0f}" for size in sizes)])
        write_atomically(self.path / "pareto.csv", buffer.getvalue())
        with storage_errors(self.path / "pareto"):
            for path in (self.path / "pareto").glob("*.yaml"):
                if path.name not in names and path.stem.isdecimal():
                    path.unlink()

    def read(self) -> list[dict[str, float]]:
        """Return the numbers of ``pareto.csv``, one mapping per member.

        Raises:
            FileFormatError: A damaged file.
        """
        path = self.path / "pareto.csv"
        try:
            with path.open(newline="", encoding="utf-8") as file:
                reader = csv.DictReader(file)
                rows = [{key: float(row[key]) for key in FRONT_COLUMNS[1:]} for row in reader]
            if tuple(reader.fieldnames or ()) != FRONT_COLUMNS or not all(math.isfinite(value) for row in rows for value in row.values()):
                raise ValueError("another table, or not finite")
        except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
            raise FileFormatError(path, f"cannot be read as the table of the front (columns {', '.join(FRONT_COLUMNS)})") from error
        return rows
