"""The pictures of a run, drawn from its files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nas_engine.costs.plan import plan_memory
from nas_engine.report.search_record import SearchRecord

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PLOTS = (
    "bit_map",
    "sram_per_layer",
    "flash_per_layer",
    "memory_plan",
    "search_progress",
    "pareto_front",
)
"""Pictures of a run."""


def plot_of(record: SearchRecord, name: str) -> Figure:
    """Return one of ``PLOTS`` of a run.

    Raises:
        FileFormatError: A damaged file in the run directory.
    """
    from nas_engine.report import plots  # matplotlib takes half a second to import

    best, device, directory = record.best, record.device, record.directory
    match name:
        case "bit_map":
            return plots.draw_bit_map(plots.bit_map_data(best))
        case "sram_per_layer":
            return plots.draw_sram(plots.sram_data(best, device.arena_bytes))
        case "flash_per_layer":
            return plots.draw_flash(plots.flash_data(best, device.storage_bytes))
        case "memory_plan":
            plan = plan_memory(best.architecture)
            data = plots.timeline_data(plan.tensors, plan.steps, device.arena_bytes)
            return plots.draw_timeline(data)
        case "search_progress":
            return plots.draw_progress(plots.progress_data(directory.history.read()))
    return plots.draw_front(
        plots.front_data(
            directory.front.read(),
            sram_budget=device.arena_bytes,
            flash_budget=device.storage_bytes,
            macs_budget=record.config.limits.get("macs"),
        )
    )


def draw_plots(record: SearchRecord) -> list[Path]:
    """Draw every picture of a run into its ``plots/`` as PNG and SVG and return their paths.

    Raises:
        FileFormatError: A damaged file in the run directory.
        StorageError: The disk is full.
    """
    from nas_engine.report.plots import save_figure

    figures = {name: plot_of(record, name) for name in PLOTS}
    return [
        path
        for name, figure in figures.items()
        for path in save_figure(figure, record.directory.plots, name)
    ]


def plots_are_current(record: SearchRecord) -> bool:
    """Return whether every picture is there and none is older than the checkpoint."""
    pictures = [
        record.directory.plots / f"{stem}.{kind}" for stem in PLOTS for kind in ("png", "svg")
    ]
    try:
        return (
            min(path.stat().st_mtime_ns for path in pictures)
            >= record.directory.checkpoint.stat().st_mtime_ns
        )
    except OSError:
        return False
