"""``nas-search compare RUN...``: runs side by side."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from nas_engine import __version__
from nas_engine.cli.command import Explained, options_of
from nas_engine.cli.completion import complete_runs
from nas_engine.cli.console import announce, emit, json_option, quiet_option, show, show_table, tell
from nas_engine.cli.options import RUNS, OwnPath

_files = options_of("Files")


@click.command(
    cls=Explained,
    short_help="Compare runs in one table.",
    examples=(
        "nas-search compare",
        "nas-search compare runs/one runs/other --out comparison",
    ),
)
@click.argument("runs", nargs=-1, type=OwnPath(), shell_complete=complete_runs)
@_files("--out", type=click.Path(), help="Folder for compare.html, .csv, .png and .svg.")
@json_option
@quiet_option
def compare(runs: tuple[str, ...], out: str | None) -> None:
    """Compare runs: accuracy, memory, MACs, counted instructions, and how far each is proven.

    RUNS are directories that nas-search run or a search wrote, of any device, resolution, space and
    seed, or folders of them; without RUNS it is the index of runs/.
    """
    from nas_engine.cli.progress import Screen
    from nas_engine.report.compare import compare as rows_of
    from nas_engine.report.compare import comparison_table, remarks, write_comparison

    announce("reading the runs ...")
    rows = rows_of([Path(run) for run in runs or (RUNS,)], Screen())
    show_table(comparison_table(rows))
    for remark in remarks(rows):
        tell(f"note: {remark}")
    written = write_comparison(rows, Path(out), __version__) if out is not None else []
    for path in written:
        show(str(path))
    emit({"runs": [asdict(row) for row in rows], "files": [str(path) for path in written]})
