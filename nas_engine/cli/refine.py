"""``nas-search refine RUN``."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nas_engine.cli.command import Explained, options_of
from nas_engine.cli.completion import METHODS, complete_list
from nas_engine.cli.console import (
    INTERRUPTED,
    emit,
    json_option,
    quiet_option,
    show,
    show_stopped,
    show_table,
)
from nas_engine.cli.options import DURATION, IMAGES, SEED, data_option, run_argument, same_command
from nas_engine.cli.train import require_torch
from nas_engine.escaping import command_line

if TYPE_CHECKING:
    from nas_engine.pipeline.refine import Refinement

__all__ = ["METHODS", "refine"]

choice, measuring, window = (
    options_of("Choice of bits"),
    options_of("Measuring"),
    options_of("Entropy window"),
)


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
@choice(
    "--method",
    metavar="NAME|all",
    default="gauss-newton",
    show_default=True,
    help=f"Of: {', '.join(METHODS)}; several with commas between, or all.",
    shell_complete=complete_list(*METHODS, "all"),
)
@data_option("Data whose training images are used.  [default: those it was trained on]", measuring)
@measuring(
    "--images",
    type=IMAGES,
    default=512,
    show_default=True,
    help="Training images that measure; others judge.",
)
@measuring(
    "--exact-pairs",
    is_flag=True,
    help="With 'all': measure pairs for 'clado' too, which takes long.",
)
@choice(
    "--swaps",
    type=click.IntRange(0, 1000),
    default=5,
    show_default=True,
    help="Rounds of swaps on the real loss; 0: none.",
)
@window(
    "--trials",
    type=click.IntRange(0, 100_000),
    default=50,
    show_default=True,
    help="Trials of 'entropy-window'; 0: untuned.",
)
@window(
    "--storage",
    type=click.Path(),
    help="File of these trials; several processes may share it.  [default: in RUN/refine]",
)
@window(
    "--floor",
    type=click.FloatRange(0, 100),
    metavar="POINTS",
    help=(
        "'entropy-window' loses so much accuracy at most, for fewest bits.  [default: best "
        "accuracy]"
    ),
)
@choice(
    "--solver-time",
    type=DURATION,
    default="20s",
    show_default=True,
    help="Time for a proof, per method.",
)
@measuring("--limit", type=IMAGES, help="Images per split at most.  [default: all]")
@measuring("--seed", type=SEED, default=0, show_default=True, help="Seed of images and methods.")
@click.option(
    "--threads", type=click.IntRange(1, 256), help="CPU threads.  [default: one per core]"
)
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
    run: str,
    method: str,
    data: str | None,
    images: int,
    exact_pairs: bool,
    swaps: int,
    trials: int,
    storage: str | None,
    floor: float | None,
    solver_time: float,
    limit: int | None,
    seed: int,
    threads: int | None,
    force: bool,
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
    from nas_engine.pipeline.refine_request import RefineRequest
    from nas_engine.report.allocations import allocation_table, comparison
    from nas_engine.training.compute import prepare_compute

    request = RefineRequest(
        method=method,
        data=data,
        images=images,
        exact_pairs=exact_pairs,
        swaps=swaps,
        trials=trials,
        storage=None if storage is None else Path(storage),
        floor=floor,
        solver_time_s=solver_time,
        limit=limit,
        seed=seed,
    )
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
