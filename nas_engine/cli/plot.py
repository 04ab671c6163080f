"""``nas-search plot RUN``: draw the pictures of a run again."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("run", type=click.Path())
def plot(run: str) -> None:
    """Draw the pictures of a run directory again: bit map, SRAM and Flash per layer, memory plan, progress, front.

    RUN is the directory that a search wrote.

        nas-search plot runs/NAME
    """
    from nas_engine.pipeline import draw_plots, load_runs

    for record in load_runs(Path(run)):
        for path in draw_plots(record):
            click.echo(path)
