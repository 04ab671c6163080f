"""``nas-search refine RUN``."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nas_engine.cli.command import Explained
from nas_engine.cli.console import (
    INTERRUPTED,
    emit,
    json_option,
    quiet_option,
    require_torch,
    show,
    show_stopped,
    show_table,
)
from nas_engine.cli.options import command_options, run_argument, same_command
from nas_engine.escaping import command_line

if TYPE_CHECKING:
    from nas_engine.pipeline.refine import Refinement


@click.command(
    cls=Explained,
    short_help="Refine the bits of a trained run within the same budgets.",
    examples=(
        "nas-search refine runs/NAME",
        "nas-search refine runs/NAME --method all --data cifar-10-batches-py",
        "nas-search refine runs/NAME --method entropy-window --trials 200 --floor 0.5",
    ),
)
@run_argument
@command_options("refine")
@click.option(
    "--force",
    is_flag=True,
    help="Take a run that is not trained, and replace refined runs that are.",
)
@json_option
@quiet_option
@click.pass_context
def refine(
    ctx: click.Context,
    /,
    run: str,
    threads: int | None,
    force: bool,
    **options: Any,
) -> None:
    """Refine the bits of a trained run: measure what widths cost, choose within the same budgets.

    RUN is a directory that nas-search train has finished. Each method leaves a run directory
    RUN/refine/METHOD with its bits and the float weights; train, export, verify and plot take it as
    any other. Only training images are used.

    Ctrl-C keeps what is measured; the same command goes on.
    """
    require_torch("refinement")
    from nas_engine.cli.progress import Screen
    from nas_engine.pipeline.refine import run_refinement
    from nas_engine.pipeline.refine_request import request_of
    from nas_engine.report.allocations import allocation_table, comparison
    from nas_engine.training.compute import prepare_compute

    request = request_of(options)
    prepare_compute("cpu", threads)
    result = None
    with Screen() as screen, contextlib.suppress(KeyboardInterrupt):
        screen.catch_interrupt()
        result = run_refinement(Path(run), request, force=force, watch=screen)
    if result is None:
        show_stopped(
            f"stopped; what was measured is kept in {Path(run) / 'refine'}; go on with: "
            f"{same_command(ctx)}"
        )
        ctx.exit(INTERRUPTED)
    emit(comparison(result.reports, result.setting) | {"train": _train_command(result)})
    show_table(allocation_table(result.reports, result.setting))
    which = "the best one" if len(result.reports) > 1 else "it"
    show("")
    show(f"written to {Path(run) / 'refine'}")
    show(f"train {which}: {_train_command(result)}")


def _train_command(result: Refinement) -> str:
    return command_line("nas-search", "train", result.chosen.path, "--data", Path(result.data))
