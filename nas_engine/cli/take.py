"""``nas-search take RUN``: a network of the front as a run of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from nas_engine.cli.command import Explained, options_of
from nas_engine.cli.console import emit, json_option, quiet_option, show, show_table
from nas_engine.cli.options import run_argument
from nas_engine.escaping import command_line

_file = options_of("Files")


@click.command(
    cls=Explained,
    short_help="Make a run of a network of the front.",
    examples=(
        "nas-search take runs/NAME",
        "nas-search take runs/NAME --pick 17 --out runs/smaller",
    ),
)
@run_argument
@click.option(
    "--pick",
    type=click.IntRange(min=1),
    help="Number of the network in RUN/pareto.  [default: show ten that differ]",
)
@_file("--out", type=click.Path(), help="Folder of the new run.  [default: RUN-PICK]")
@_file("--force", is_flag=True, help="Replace a run in it.")
@json_option
@quiet_option
def take(run: str, pick: int | None, out: str | None, force: bool) -> None:
    """Make a run of a network of the front, which train, refine, export and verify take.

    RUN is the directory that a search or nas-search run wrote. Without --pick the ten networks of
    its front that differ most are shown, with their numbers.
    """
    from nas_engine.pipeline import take as taking
    from nas_engine.report.front import differing
    from nas_engine.report.tables import front_table

    front = taking.front_of(Path(run))
    if pick is None:
        numbers = differing(front)
        show_table(front_table(front, numbers))
        show("")
        again = command_line("nas-search", "take", Path(run), "--pick", str(numbers[-1]))
        show(f"{len(numbers)} that differ of {len(front):,}; make a run of one with: {again}")
        emit({"run": run, "networks": len(front), "differing": [_row(front, n) for n in numbers]})
        return
    made = taking.take(Path(run), pick, None if out is None else Path(out), force=force)
    show(f"written to {made.path}; train it with: {command_line('nas-search', 'train', made.path)}")
    emit({"run": str(made.path), **_row(front, pick)})


def _row(front: Any, number: int) -> dict[str, Any]:
    row = front[number - 1]
    counted = ("peak_sram_bytes", "flash_bytes", "macs", "bitops")
    return {
        "pick": number,
        "qe_score": row["qe_score"],
        **{name: round(row[name]) for name in counted},
    }
