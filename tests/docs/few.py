"""Whole runs that end soon: C alone is exported, one back-end runs it, and one picture is drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from device_profiles import DeviceProfile, load_device
from nas_engine.exporters.table import EXPORTERS
from nas_engine.pipeline import verify
from nas_engine.report import write as report
from nas_engine.report.pictures import draw_pictures
from nas_engine.verification.table import Row, back_ends


def only(*names: str) -> tuple[Row, ...]:
    """Return rows of the table of back-ends."""
    return tuple(row for row in back_ends(load_device("cortex-m7"), 1, 1) if row.name in names)


def few_back_ends(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Leave some back-ends of those that are verified (``host-c`` if none is named), the C of what
    is exported, a report's first picture.

    Skips the test where a compiler or an emulator is missing.
    """
    kept = names or ("host-c",)
    for row in only(*kept):
        if (line := row.backend.missing()) is not None:
            pytest.skip(line)

    def rows(device: DeviceProfile, images: int, emulated_images: int) -> tuple[Row, ...]:
        return tuple(row for row in back_ends(device, images, emulated_images) if row.name in kept)

    monkeypatch.setattr(verify, "back_ends", rows)

    def pictures(
        facts: Any, names: list[str], folder: Path, *, redraw: bool = False
    ) -> dict[str, Any]:
        drawn = draw_pictures(facts, names[:1], folder, redraw=redraw)
        return {name: next(iter(drawn.values())) for name in names if drawn}

    monkeypatch.setattr(report, "draw_pictures", pictures)
    monkeypatch.setattr(
        "nas_engine.exporters.bundle.EXPORTERS",
        {name: EXPORTERS[name] for name in ("manifest", "c")},
    )
