"""Trainings that differ in one thing, compared seed by seed; each is a line of its records."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from benchmarks.harness import Row, machine
from nas_engine.files import write_atomically
from nas_engine.kernels import Kernels

Records = dict[str, dict[str, Any]]
"""Records of trainings by their keys."""


def read_records(path: Path) -> Records:
    """Return the trainings of a file, none where there is no file."""
    if not path.exists():
        return {}
    rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return {row["training"]: row for row in rows}


def add_record(
    path: Path, done: Records, key: str, accuracy: float, seconds: float, kernels: Kernels | None
) -> None:
    """Add a training to the records and to their file."""
    done[key] = {
        "training": key,
        "accuracy": accuracy,
        "seconds": round(seconds, 1),
        "kernels": None if kernels is None else kernels.name,
        "machine": machine(),
    }
    write_atomically(path, "".join(json.dumps(row) + "\n" for row in done.values()))


def compared(title: str, names: Sequence[str], found: Mapping[str, Sequence[float]]) -> list[Row]:
    """Return a row per arm: accuracy over the seeds, difference to the first arm seed by seed.

    Args:
        title: Title of the arms together.
        names: Arms in order.
        found: Accuracies of each, seed by seed, percent.
    """
    rows, base = list[Row](), found[names[0]]
    for name in names:
        own = found[name]
        differences = [value - other for value, other in zip(own, base, strict=True)]
        error = stdev(differences) / math.sqrt(len(own)) if len(own) > 1 else math.inf
        against = "" if own is base else f"; {mean(differences):+.2f} ± {error:.2f} points"
        each = ", ".join(f"{value:.2f}" for value in own)
        rows.append(
            Row(
                what=f"{title}: {name}",
                measured=f"{mean(own):.2f} % ({each}){against}",
                at_least="for comparison",
                reached=True,
            )
        )
    return rows
