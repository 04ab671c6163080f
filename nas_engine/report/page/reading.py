"""Files of a run that only the report reads back: allocations, checksums, the shortlist."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from nas_engine.allocation.device_problem import FLASH, SRAM
from nas_engine.errors import FileFormatError
from nas_engine.escaping import command_line
from nas_engine.reading import SMALL_FILE, read_regular_text
from nas_engine.records import read
from nas_engine.report.allocations import COMPARISON_FORMAT
from nas_engine.report.allocations import FORMAT as ALLOCATION_FORMAT
from nas_engine.report.page.facts import Allocation, Allocations, Shortlist
from nas_engine.sealed import read_sealed_json
from nas_engine.strict_yaml import Fields

_Read = TypeVar("_Read")
_REFINE = "refine again with nas-search refine RUN"
_DAMAGE = (KeyError, ValueError, TypeError, AttributeError, RecursionError)


def _checked(path: Path, read: Callable[[], _Read], remedy: str) -> _Read:
    """Return what ``read`` returns; what goes wrong in it is damage of a file."""
    try:
        return read()
    except _DAMAGE as error:
        raise FileFormatError(path, f"is damaged or of another version; {remedy}") from error


def _object(path: Path, form: str, remedy: str) -> dict[str, Any]:
    data, _ = read_sealed_json(path, remedy)
    if data["format"] != form:
        raise ValueError(form)
    return data


def read_checksums(path: Path) -> dict[str, str]:
    """Return path and SHA-256 of the files that ``SHA256SUMS`` names.

    Raises:
        FileFormatError: A damaged file.
    """
    remedy = f"export again: {command_line('nas-search', 'export', path.parents[1])}"

    def read() -> dict[str, str]:
        found = {}
        for line in read_regular_text(path, SMALL_FILE, remedy).splitlines():
            match = re.fullmatch(r"([0-9a-f]{64})  (.+)", line)
            if match is None:
                raise ValueError("no checksum")
            found[match[2]] = match[1]
        return found

    return _checked(path, read, remedy)


def read_allocations(
    paths: Sequence[Path], chosen: str | None, trained: Mapping[str, float]
) -> Allocations:
    """Return allocations from a ``comparison.json`` or several ``allocation.json`` of one network.

    Args:
        paths: The files.
        chosen: The method whose bits the network of the report has, ``None`` where that is not
            known.
        trained: Accuracy after training by method, percent.

    Raises:
        FileFormatError: A damaged file.
    """
    members: dict[str, Allocation] = {}
    setting: Mapping[str, Any] = {}
    warnings: list[str] = []
    for path in paths:

        def read(path: Path = path) -> tuple[list[Allocation], Mapping[str, Any], list[str]]:
            compared = path.name == "comparison.json"
            data = _object(path, COMPARISON_FORMAT if compared else ALLOCATION_FORMAT, _REFINE)
            rows = [
                _allocation(row, chosen, trained)
                for row in (data["methods"] if compared else [data])
            ]
            setting = data["setting"]
            for name in ("images", "judged_images"):
                int(setting[name])
            return rows, setting, [str(text) for text in data["warnings"]]

        rows, setting, texts = _checked(path, read, _REFINE)
        members |= {row.method: row for row in rows}
        warnings += texts
    floating = setting.get("float", {}).get("accuracy")
    return Allocations(
        members=tuple(members.values()),
        images=int(setting.get("images", 0)),
        judged_images=int(setting.get("judged_images", 0)),
        floating=None if floating is None else float(floating),
        warnings=tuple(dict.fromkeys(warnings)),
    )


def _allocation(
    row: Mapping[str, Any], chosen: str | None, trained: Mapping[str, float]
) -> Allocation:
    usage, judged, method = row["usage"], row["judged"], str(row["method"])
    pattern = re.compile(r"w(\d)a(\d)")
    bits = {}
    for layer, text in row["bits"].items():
        match = pattern.fullmatch(text)
        if match is None:
            raise ValueError(text)
        bits[str(layer)] = (int(match[1]), int(match[2]))
    return Allocation(
        method=method,
        bits=bits,
        mean_w_bits=_optional(row["mean_weight_bits"]),
        mean_a_bits=_optional(row["mean_activation_bits"]),
        flash_bytes=_optional(usage.get(FLASH, {}).get("used")),
        peak_sram_bytes=_optional(usage.get(SRAM, {}).get("used")),
        loss=_optional(judged["loss"]),
        accuracy=_optional(judged["accuracy"]),
        seconds=_optional(row["seconds"]),
        status=str(row["status"] or ""),
        notes=tuple(map(str, row["notes"])),
        trained=trained.get(method),
        chosen=method == chosen,
    )


def _optional(value: Any) -> float | None:
    return None if value is None else float(value)


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
