"""``nas-search refine RUN``."""

from __future__ import annotations

import contextlib
import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nas_engine.cli.options import DURATION
from nas_engine.cli.train import IMAGES, require_torch

if TYPE_CHECKING:
    from nas_engine.pipeline.refine import Refinement

METHODS = ("uniform", "random", "qbr", "greedy", "diagonal", "hawq", "clado", "gauss-newton", "entropy-window")
"""What ``--method`` takes beside ``all``; a test keeps it equal to ``ALLOCATORS``, which is too heavy to import for ``--help``."""


@click.command()
@click.argument("run", type=click.Path())
@click.option("--method", metavar="NAME|all", default="gauss-newton", show_default=True, help=f"One of: {', '.join(METHODS)}; or all.")
@click.option("--data", metavar="PATH|digits", help="Data whose training images are used.  [default: those it was trained on]")
@click.option("--images", type=IMAGES, default=512, show_default=True, help="Training images that measure; others judge.")
@click.option("--exact-pairs", is_flag=True, help="With 'all': measure pairs for 'clado' too, which takes long.")
@click.option("--swaps", type=click.IntRange(0, 1000), default=5, show_default=True, help="Rounds of swaps on the real loss; 0: none.")
@click.option("--trials", type=click.IntRange(0, 100_000), default=50, show_default=True, help="Trials of 'entropy-window'; 0: untuned.")
@click.option("--storage", type=click.Path(), help="File of these trials; several processes may share it.  [default: in RUN/refine]")
@click.option(
    "--floor",
    type=click.FloatRange(0, 100),
    metavar="POINTS",
    help="'entropy-window' loses so much accuracy at most, for fewest bits.  [default: best accuracy]",
)
@click.option("--solver-time", type=DURATION, default="20s", show_default=True, help="Time for a proof, per method.")
@click.option("--limit", type=IMAGES, help="Images per split at most.  [default: all]")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Seed of images and methods.")
@click.option("--threads", type=click.IntRange(1, 256), help="CPU threads.  [default: one per core]")
@click.option("--force", is_flag=True, help="Take a run that is not trained, and replace refined runs that are.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
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
    as_json: bool,
) -> None:
    """Refine the bits of a trained run: measure what each width costs, choose anew within the same budgets, train again.

    RUN is a directory that nas-search train has finished. Each method leaves a run directory RUN/refine/METHOD with its bits and the
    float weights; train, export, verify and plot take it as any other. Only training images are used.

        nas-search refine runs/NAME --data cifar-10-batches-py

    Ctrl-C keeps what is measured; the same command goes on.
    """
    require_torch("refinement")
    from nas_engine.cli.refine_progress import RefineProgress
    from nas_engine.interrupts import stop_on_interrupt
    from nas_engine.pipeline.evidence import Watch
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
    with RefineProgress() as progress, stop_on_interrupt() as stopped, contextlib.suppress(KeyboardInterrupt):
        watch = Watch(stop=stopped.is_set, progress=progress.progress, announce=progress.announce, note=progress.note)
        result = run_refinement(Path(run), request, force=force, watch=watch)
    if result is None:
        click.echo(f"stopped; what was measured is kept in {Path(run) / 'refine'}; go on with: {_again(ctx)}", err=as_json)
        ctx.exit(130)  # as shells have it: 128 + SIGINT
    if as_json:
        click.echo(json.dumps(comparison(result.reports, result.setting) | {"train": _train_command(result)}))
        return
    click.echo(allocation_table(result.reports, result.setting))
    which = "the best one" if len(result.reports) > 1 else "it"
    click.echo(f"\nwritten to {Path(run) / 'refine'}\ntrain {which}: {_train_command(result)}")


def _train_command(result: Refinement) -> str:
    return shlex.join(["nas-search", "train", str(result.chosen.path), "--data", result.data])


def _again(ctx: click.Context) -> str:
    """Return the command that goes on: the same one."""
    words = ["nas-search", "refine", ctx.params["run"]]
    for option in ctx.command.params:
        name = option.name or ""
        if name != "run" and ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            value = ctx.params[name]
            words += [option.opts[0]] if value is True else [option.opts[0], f"{value:g}s" if name == "solver_time" else str(value)]
    return shlex.join(words)
