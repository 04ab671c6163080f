"""The report of a run: its files in, one HTML page and its pictures out. No torch."""

from __future__ import annotations

from pathlib import Path

from nas_engine.files import sweep, write_atomically
from nas_engine.report.gather import gather
from nas_engine.report.html.render import render_page
from nas_engine.report.page import build_page
from nas_engine.report.pictures import BUDGETS, draw_pictures
from nas_engine.runs.pipeline_directory import PipelineDirectory
from nas_engine.runs.run_directory import RunDirectory


def write_report(path: Path, *, redraw: bool = False) -> Path:
    """Write ``report.html`` and its pictures into a run, finished or not; return the page's path.

    Args:
        path: What ``nas-search run`` or a search wrote, or one of the run directories of a
            refinement.
        redraw: Whether pictures are drawn even where those that are there show the same data, drawn
            by the same versions.

    Raises:
        RunDirectoryError: No run, a search at several resolutions, or a run of another version.
        InputError: A device or a search space that is no longer there.
        FileFormatError: A damaged config or network; other damaged files are named on the page
            instead.
        StorageError: The disk is full.
    """
    facts = gather(path)
    page = build_page(facts)
    folder = PipelineDirectory(path).pictures if facts.whole else RunDirectory(path).plots
    names = [*page.pictures(), *([BUDGETS] if facts.network else [])]
    pictures = draw_pictures(facts, names, folder, redraw=redraw)
    target = PipelineDirectory(path).report
    sweep(path)
    write_atomically(target, render_page(page, pictures))
    return target
