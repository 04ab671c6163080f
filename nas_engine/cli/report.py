"""``nas-search report RUN``: an HTML report of a run."""

from __future__ import annotations

from pathlib import Path

import click

from nas_engine.cli.command import Explained
from nas_engine.cli.console import announce, as_json, emit, json_option, quiet_option, show
from nas_engine.cli.options import run_argument


@click.command(
    cls=Explained,
    short_help="Write an HTML report of a run.",
    examples=(
        "nas-search report runs/NAME",
        "nas-search report runs/NAME --watch --open",
    ),
)
@run_argument
@click.option("--open", "browse", is_flag=True, help="Show the page in the browser.")
@click.option(
    "--watch",
    is_flag=True,
    help="Serve the page to this machine alone, and draw it again as the run goes on, till Ctrl-C.",
)
@json_option
@quiet_option
def report(run: str, browse: bool, watch: bool) -> None:
    """Write RUN/report.html: verdict, budgets, accuracy, verification, layers, search, training.

    RUN is the directory of nas-search run or of a search, trained and verified or not yet: what is
    not there is named with the command that makes it. The page ends with how to reproduce the run;
    it is one file that fetches nothing, with its pictures next to it as PNG and SVG.
    """
    from nas_engine.report.write import write_report

    if watch and as_json():
        raise click.UsageError("--watch goes on till Ctrl-C and prints no object; leave out --json")
    announce(f"drawing the report of {run} ...")
    if watch:
        _watch(Path(run), browse)
        return
    page = write_report(Path(run), redraw=True)
    emit({"report": str(page), "bytes": page.stat().st_size})
    show(str(page))
    if browse:
        click.launch(page.resolve().as_uri())


def _watch(run: Path, browse: bool) -> None:
    from nas_engine.interrupts import stop_on_interrupt
    from nas_engine.report.watch import SECONDS, LiveReport, serve

    live = LiveReport(run)
    with stop_on_interrupt() as stopped, serve(live) as address:
        show(f"{address} shows {run}, every {SECONDS} s anew; Ctrl-C ends it")
        if browse:
            click.launch(address)
        while not stopped.wait(SECONDS):
            live.look()
