"""The pictures of a report, drawn as PNG and SVG; those that show the same data already are kept.

No torch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas_engine.errors import PathError
from nas_engine.files import write_atomically
from nas_engine.reading import LARGE_FILE, read_regular
from nas_engine.report.page.facts import TEACHER, RunFacts
from nas_engine.report.page.network import BIT_MAP, FLASH, SRAM, TIME, TIMELINE
from nas_engine.report.page.search import FRONT, PROGRESS, SHORTLIST
from nas_engine.report.page.training import ALLOCATIONS, CURVES, ERRORS
from nas_engine.sealed import read_sealed_json, seal_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure


BUDGETS = "budget_bars"
"""A picture that the page has no need of, because it draws bars itself; it is saved with the others
for slides and papers."""

KEPT = "pictures.json"
"""File next to the pictures: digests of what each of them shows and of its SVG, which becomes a
part of the page."""

Drawing = tuple[Any, "Callable[[Any], Figure]"]
"""Data of a picture, and the function that draws it."""


def draw_pictures(
    facts: RunFacts, names: Iterable[str], folder: Path, *, redraw: bool = False
) -> dict[str, bytes]:
    """Return the SVG of every picture, drawn into a folder next to its PNG.

    Args:
        facts: The run.
        names: Pictures whose data are there.
        folder: Where they lie.
        redraw: Whether those that show the same data are drawn all the same.

    Raises:
        StorageError: The disk is full.
    """
    from nas_engine.report.plots import save_figure  # matplotlib takes half a second to import

    makers, before, now, found = _makers(facts), {} if redraw else _kept(folder), {}, {}
    for name in names:
        record, draw = makers[name]()
        shown = _digest(f"{facts.version} {version('matplotlib')} {record!r}".encode())
        png, svg = (folder / f"{name}.{kind}" for kind in ("png", "svg"))
        drawn = read_regular(svg, LARGE_FILE) if svg.exists() and png.exists() else b""
        if before.get(name) != f"{shown} {_digest(drawn)}":
            save_figure(draw(record), folder, name)
            drawn = read_regular(svg, LARGE_FILE)
        now[name], found[name] = f"{shown} {_digest(drawn)}", drawn
    write_atomically(folder / KEPT, seal_json(now))
    return found


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _kept(folder: Path) -> Mapping[str, str]:
    """Return the digests of the pictures that are there; nothing if that is not known."""
    try:
        return read_sealed_json(folder / KEPT, "")[0]
    except PathError:
        return {}


def _makers(facts: RunFacts) -> Mapping[str, Callable[[], Drawing]]:
    """Return how each picture comes about; a picture is only asked for where its data are there."""
    from nas_engine.report import plots
    from nas_engine.report.plots import (
        allocations,
        budget_bars,
        layer_error,
        shortlist,
        training_curves,
    )

    network, plan, device = facts.network, facts.plan, facts.asked.device
    epochs, of_teacher = (
        [row for one in facts.trainings if (one.name == TEACHER) is teacher for row in one.epochs]
        for teacher in (False, True)
    )

    def curves() -> Drawing:
        accuracy = facts.result.accuracy if facts.result else None
        record = training_curves.training_curves_data(
            epochs, teacher_rows=of_teacher, result=accuracy
        )
        return record, training_curves.draw_training_curves

    def front() -> Drawing:
        budgets = {
            "sram_budget": device.arena_bytes,
            "flash_budget": device.storage_bytes,
            "macs_budget": facts.asked.limits.get("macs"),
        }
        return plots.front_data(facts.front, **budgets), plots.draw_front

    def candidates() -> Drawing:
        found = facts.shortlist
        assert found is not None
        tried = [one for one in found.members if one.accuracy is not None]
        members = [
            {name: getattr(one, name) for name in ("rank", "qe_score", "accuracy", "chosen")}
            for one in tried
        ]
        return shortlist.shortlist_data(
            members, found.images, found.epochs
        ), shortlist.draw_shortlist

    def methods() -> Drawing:
        found = facts.allocations
        assert found is not None
        record = allocations.allocation_maps(found.members, found.setting)
        return record, allocations.draw_allocations

    def errors() -> Drawing:
        assert facts.layer_errors is not None
        return layer_error.layer_error_data(facts.layer_errors), layer_error.draw_layer_error

    makers: dict[str, Callable[[], Drawing]] = {
        CURVES: curves,
        FRONT: front,
        SHORTLIST: candidates,
        ALLOCATIONS: methods,
        ERRORS: errors,
        PROGRESS: lambda: (plots.progress_data(facts.history), plots.draw_progress),
    }
    if network is not None and plan is not None:
        makers |= {
            BIT_MAP: lambda: (plots.bit_map_data(network), plots.draw_bit_map),
            SRAM: lambda: (plots.sram_data(network, device.arena_bytes), plots.draw_sram),
            TIMELINE: lambda: (
                plots.timeline_data(plan.tensors, plan.steps, device.arena_bytes),
                plots.draw_timeline,
            ),
            TIME: lambda: (plots.time_data(network), plots.draw_time),
            FLASH: lambda: (plots.flash_data(network, device.storage_bytes), plots.draw_flash),
            BUDGETS: lambda: (
                budget_bars.budget_bars_data(network, device, limits=facts.asked.limits),
                budget_bars.draw_budget_bars,
            ),
        }
    return makers
