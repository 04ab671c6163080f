"""The pictures of a run, drawn from its files."""

from __future__ import annotations

from pathlib import Path

from nas_engine.costs.plan import plan_memory
from nas_engine.report.search_record import SearchRecord

PLOTS = (
    "bit_map",
    "sram_per_layer",
    "flash_per_layer",
    "memory_plan",
    "search_progress",
    "pareto_front",
)
"""Pictures of a run."""


def draw_plots(record: SearchRecord) -> list[Path]:
    """Draw every picture of a run into its ``plots/`` as PNG and SVG and return their paths.

    Raises:
        FileFormatError: A damaged file in the run directory.
        StorageError: The disk is full.
    """
    from nas_engine.report import plots  # matplotlib takes half a second to import

    best, device, directory = record.best, record.device, record.directory
    history, front = directory.history.read(), directory.front.read()
    plan = plan_memory(best.architecture)
    figures = {
        "bit_map": plots.draw_bit_map(plots.bit_map_data(best)),
        "sram_per_layer": plots.draw_sram(plots.sram_data(best, device.arena_bytes)),
        "flash_per_layer": plots.draw_flash(plots.flash_data(best, device.storage_bytes)),
        "memory_plan": plots.draw_timeline(
            plots.timeline_data(plan.tensors, plan.steps, device.arena_bytes)
        ),
        "search_progress": plots.draw_progress(plots.progress_data(history)),
        "pareto_front": plots.draw_front(
            plots.front_data(
                front,
                sram_budget=device.arena_bytes,
                flash_budget=device.storage_bytes,
                macs_budget=record.config.limits.get("macs"),
            )
        ),
    }
    assert tuple(figures) == PLOTS
    return [
        path
        for stem, figure in figures.items()
        for path in plots.save_figure(figure, directory.plots, stem)
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
