"""``nas-search plot RUN``: draw the pictures of a run again."""

from __future__ import annotations

from pathlib import Path

import click

from nas_engine.cli.command import Explained
from nas_engine.cli.console import announce, emit, json_option, quiet_option, show
from nas_engine.cli.options import run_argument


@click.command(
    cls=Explained,
    short_help="Draw the pictures of a run again.",
    examples=("nas-search plot runs/NAME",),
)
@run_argument
@json_option
@quiet_option
def plot(run: str) -> None:
    """Draw the pictures of a run again: bit map, SRAM, Flash, memory plan, progress, front.

    RUN is the directory that a search wrote.
    """
    from nas_engine.pipeline import draw_plots, load_runs

    pictures: list[str] = []
    for record in load_runs(Path(run)):
        announce(f"drawing the pictures of {record.directory.path} ...")
        drawn = [str(path) for path in draw_plots(record)]
        for picture in drawn:
            show(picture)
        pictures += drawn
    emit({"pictures": pictures})
