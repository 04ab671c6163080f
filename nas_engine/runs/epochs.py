"""The lines of ``metrics.jsonl``, one per epoch of a training. No torch."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from nas_engine.errors import FileFormatError
from nas_engine.reading import SMALL_FILE, read_regular_text
from nas_engine.sealed import parse_line

_REMEDY = "remove it to go on without these figures"


def read_epochs(path: Path) -> list[dict[str, Any]]:
    """Return the lines of ``metrics.jsonl``: stage, epoch, mean loss, accuracy in percent, more.

    Raises:
        UnreadableError: Missing, or the operating system refuses.
        FileFormatError: A damaged file.
    """
    lines = read_regular_text(path, SMALL_FILE, _REMEDY).splitlines()
    try:
        rows = [parse_line(line) for line in lines]
        for row in rows:
            known = row["stage"] in ("float", "quantised") and type(row["epoch"]) is int
            if not known or not all(math.isfinite(row[name]) for name in ("loss", "accuracy")):
                raise ValueError("no line of an epoch")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FileFormatError(path, f"is damaged; {_REMEDY}") from error
    return rows
