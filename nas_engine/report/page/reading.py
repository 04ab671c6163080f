"""Files of a run that only the report reads back: allocations, checksums, the shortlist."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nas_engine.errors import FileFormatError
from nas_engine.escaping import command_line
from nas_engine.reading import SMALL_FILE, read_regular_text
from nas_engine.records import read, read_sealed
from nas_engine.report.allocations import COMPARISON_FORMAT, Allocation, Comparison
from nas_engine.report.allocations import FORMAT as ALLOCATION_FORMAT
from nas_engine.report.page.facts import Allocations, Shortlist
from nas_engine.strict_yaml import Fields

_REFINE = "refine again with nas-search refine RUN"


def read_checksums(path: Path) -> dict[str, str]:
    """Return path and SHA-256 of the files that ``SHA256SUMS`` names.

    Raises:
        FileFormatError: A damaged file.
    """
    remedy = f"export again: {command_line('nas-search', 'export', path.parents[1])}"
    found = {}
    for line in read_regular_text(path, SMALL_FILE, remedy).splitlines():
        match = re.fullmatch(r"([0-9a-f]{64})  (.+)", line)
        if match is None:
            raise FileFormatError(path, f"is damaged or of another version; {remedy}")
        found[match[2]] = match[1]
    return found


def read_allocations(
    paths: Sequence[Path], chosen: str | None, trained: Mapping[str, float]
) -> Allocations:
    """Return allocations from a ``comparison.json`` or several ``allocation.json`` of one network.

    Args:
        paths: The files, at least one.
        chosen: The method whose bits the network of the report has, ``None`` where that is not
            known.
        trained: Accuracy after training by method, percent.

    Raises:
        FileFormatError: A damaged file.
    """
    found: list[Allocation | Comparison] = [
        read_sealed(Comparison, path, COMPARISON_FORMAT, _REFINE, defaults=True)
        if path.name == "comparison.json"
        else read_sealed(Allocation, path, ALLOCATION_FORMAT, _REFINE, defaults=True)
        for path in paths
    ]
    methods = [
        one for each in found for one in (each.methods if isinstance(each, Comparison) else [each])
    ]
    warnings = dict.fromkeys(text for each in found for text in each.warnings)
    return Allocations(
        members=tuple({one.method: one for one in methods}.values()),
        setting=replace(found[-1].setting, warnings=tuple(warnings)),
        trained=trained,
        chosen=chosen,
    )


def shortlist_of(figures: Mapping[str, Any], path: Path) -> Shortlist:
    """Return the shortlist from the figures of its stage.

    Raises:
        FileFormatError: Figures of another shape.
    """
    try:
        return read(Shortlist, Fields(figures, path), defaults=True)
    except FileFormatError as error:
        raise FileFormatError(
            path, f"{error.problem}; remove it to run every stage again"
        ) from error
