"""``nas-search train RUN`` and ``nas-search evaluate RUN``."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nas_engine.cli.options import DURATION, Parsed
from nas_engine.errors import InputError
from nas_engine.units import parse_count

if TYPE_CHECKING:
    from nas_engine.datasets import Dataset
    from nas_engine.training.recipe import TrainingRecipe
    from nas_engine.training.result import Accuracy


def _images(text: str, what: str) -> int:
    count = parse_count(text, what)
    if not 2 <= count <= 1e9 or count != int(count):
        raise InputError(f"{what}: '{text}' is not a whole number from 2; expected for example 1000")
    return int(count)


IMAGES = Parsed("images", _images)


@click.command()
@click.argument("run", type=click.Path())
@click.option("--data", metavar="PATH|digits", help="CIFAR archive, IDX or image folder, .npz; scikit-learn's digits.  [default: digits]")
@click.option("--recipe", metavar="NAME|FILE", help="How to train: cifar, digits, photos, or a YAML file.  [default: by the data]")
@click.option("--teacher", metavar="FILE|auto|none", help="Distil from a file, or from a wider one trained first.  [default: none]")
@click.option("--epochs", type=click.IntRange(1, 100_000), help="Epochs of both stages; fixed once begun.  [default: the recipe's]")
@click.option("--float-share", type=click.FloatRange(0, 1), help="Share of the epochs in float, first.  [default: the recipe's]")
@click.option("--batch-size", type=click.IntRange(2, 65536), help="Images of one step.  [default: the recipe's]")
@click.option(
    "--learning-rate",
    type=click.FloatRange(0, 100, min_open=True),
    help="Peak of the float stage; the other scales along.  [default: the recipe's]",
)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, help="Seed of weights, order and augmentation.  [default: 0]")
@click.option("--accelerator", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", help="Where to train.  [default: CUDA if there]")
@click.option("--threads", type=click.IntRange(1, 256), help="CPU threads; fewer where other work runs.  [default: one per core]")
@click.option("--limit", type=IMAGES, help="Images per split at most, for a quick try.  [default: all]")
@click.option("--time-limit", type=DURATION, help="Stop after this time, such as 1h; --resume goes on.  [default: none]")
@click.option("--resume", is_flag=True, help="Continue the training in RUN; give the same options again.")
@click.option("--force", is_flag=True, help="Replace the training in RUN.")
@click.pass_context
def train(
    ctx: click.Context,
    /,
    run: str,
    data: str | None,
    recipe: str | None,
    teacher: str | None,
    seed: int,
    accelerator: str,
    threads: int | None,
    limit: int | None,
    time_limit: float | None,
    resume: bool,
    force: bool,
    **changes: Any,
) -> None:
    """Train the winner of a run: in float, then quantised to its own bits, then lowered to integers.

    RUN is the directory that a search wrote. It gains training/ (checkpoint, metrics, networks, result) and integer/, the
    integer model that every export is measured against.

        nas-search train runs/NAME --data cifar-10-batches-py --teacher resnet20.th

    A refined run (RUN/refine/METHOD) starts from the float weights of its origin: it trains quantised alone, --epochs long.

    Ctrl-C and --time-limit save the state; --resume continues to the very result of an uninterrupted training.
    """
    if resume and force:
        raise InputError("--resume continues a training, --force replaces it; give one of the two")
    require_torch("training")
    from nas_engine.cli.training_progress import TrainingProgress
    from nas_engine.datasets import summary_lines
    from nas_engine.interrupts import stop_on_interrupt
    from nas_engine.pipeline.training import TrainingRequest, run_training
    from nas_engine.training.compute import prepare_compute

    data = "digits" if data is None else data
    request = TrainingRequest(
        data=data,
        recipe=_recipe(recipe, data, Path(run), changes),
        teacher="none" if teacher is None else teacher,
        seed=seed,
        device=prepare_compute(accelerator, threads),
        limit=limit,
    )
    stopped = threading.Event()
    with contextlib.ExitStack() as stack:
        progress = stack.enter_context(TrainingProgress(time_limit))

        def describe(dataset: Dataset) -> None:
            nonlocal stopped
            click.echo("\n".join(summary_lines(dataset)), err=True)
            stopped = stack.enter_context(stop_on_interrupt())  # before this there is nothing to save

        result = run_training(
            Path(run),
            request,
            resume=resume,
            force=force,
            stop=lambda: stopped.is_set() or progress.is_late(),
            observe=progress.observe,
            describe=describe,
            announce=progress.announce,
        )
    if result is None:
        click.echo(f"stopped; the state is saved; continue with: {_again(ctx)}")
        if stopped.is_set():
            ctx.exit(130)  # as shells have it: 128 + SIGINT
        return
    click.echo(_table(result.accuracy))
    if result.quantised_epochs:
        click.echo(f"written to {Path(run) / 'training'} and {Path(run) / 'integer'}")
    else:
        click.echo(f"written to {Path(run) / 'training'}; never quantised, so there is no integer model")


@click.command()
@click.argument("run", type=click.Path())
@click.option("--data", metavar="PATH|digits", help="Data to evaluate on.  [default: those it was trained on]")
@click.option("--split", type=click.Choice(["test", "validation", "train"]), default="test", help="Which part of them.  [default: test]")
@click.option("--limit", type=IMAGES, help="Images at most.  [default: all]")
@click.option("--threads", type=click.IntRange(1, 256), help="CPU threads.  [default: one per core]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def evaluate(run: str, data: str | None, split: str, limit: int | None, threads: int | None, as_json: bool) -> None:
    """Evaluate a trained run: top-1 accuracy in float, fake-quantised and in integers, side by side.

    RUN is a directory that nas-search train has finished.

        nas-search evaluate runs/NAME --data cifar-10-batches-py
    """
    require_torch("evaluation")
    from nas_engine.cli.training_progress import TrainingProgress
    from nas_engine.pipeline.evaluation import evaluate_run
    from nas_engine.training.compute import prepare_compute

    prepare_compute("cpu", threads)
    with TrainingProgress() as progress:
        dataset, accuracy = evaluate_run(Path(run), data, split=split, limit=limit, announce=progress.announce)
    if as_json:
        click.echo(json.dumps({"data": dataset.source, **accuracy.as_mapping()}))
    else:
        click.echo(f"{dataset.name}, from {dataset.source}\n{_table(accuracy)}")


def require_torch(purpose: str) -> None:
    """Check that torch is installed, without importing it.

    Raises:
        MissingPackageError: It is not; says what to type.
    """
    from importlib.util import find_spec

    if find_spec("torch") is None:
        from nas_engine.datasets import MissingPackageError

        raise MissingPackageError("torch", purpose)


def _recipe(name: str | None, data: str, run: Path, changes: dict[str, Any]) -> TrainingRecipe:
    """Return the recipe with the options applied; without a name the one that fits the data."""
    from dataclasses import replace

    from nas_engine.pipeline.training import default_recipe
    from nas_engine.report.run_directory import RunDirectory
    from nas_engine.training.recipe import load_recipe

    recipe = load_recipe(default_recipe(data, run) if name is None else name)
    given = {key: value for key, value in changes.items() if value is not None}
    start = RunDirectory(run).start
    if os.path.exists(start):  # unlike Path.exists, False for a name that cannot be
        if "float_share" in given:
            raise InputError(f"--float-share: {start} holds float weights already, so there is no float stage; leave it out")
        if "epochs" in given:
            given["float_share"] = 0.0
    if "learning_rate" in given:
        given["quantised_learning_rate"] = recipe.quantised_learning_rate * given["learning_rate"] / recipe.learning_rate
    return replace(recipe, **given)


def _again(ctx: click.Context) -> str:
    """Return the command that continues: the same options, but for those that say how to begin or when to stop."""
    words = ["nas-search", "train", ctx.params["run"], "--resume"]
    for option in ctx.command.params:
        name = option.name or ""
        given = ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
        if given and name not in ("run", "resume", "force", "time_limit"):
            words += [option.opts[0], str(ctx.params[name])]
    return shlex.join(words)


def _table(accuracy: Accuracy) -> str:
    rows = [
        ("float, before quantisation", accuracy.floating),
        ("fake-quantised", accuracy.quantised),
        ("integer", accuracy.integer),
        ("integer predicts as fake-quantised", accuracy.agreement),
    ]
    lines = [f"top-1 accuracy on {accuracy.images:,} images ({accuracy.split})"]
    return "\n".join([*lines, *(f"  {name:<36} {value:6.2f} %" for name, value in rows if value is not None)])
