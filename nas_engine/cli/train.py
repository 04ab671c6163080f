"""``nas-search train RUN|FILE`` and ``nas-search evaluate RUN``."""

from __future__ import annotations

import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nas_engine.cli.command import Explained, options_of
from nas_engine.cli.completion import complete_runs
from nas_engine.cli.console import (
    INTERRUPTED,
    emit,
    json_option,
    quiet_option,
    require_torch,
    show,
    show_stopped,
    show_table,
    tell,
)
from nas_engine.cli.options import OwnPath, command_options, run_argument, same_command
from nas_engine.errors import InputError, shown_path
from nas_engine.escaping import terminal_line

if TYPE_CHECKING:
    from nas_engine.training.result import Accuracy

course = options_of("Course of the training")


@click.command(
    cls=Explained,
    short_help="Train the winner of a run, or a network of your own, to integers.",
    examples=(
        "nas-search train runs/NAME",
        "nas-search train runs/NAME --data cifar-10-batches-py --teacher auto",
        "nas-search train runs/NAME --data cifar-10-batches-py --time-limit 1h --resume",
        "nas-search train network.yaml --sram 64k --flash 96k --data cifar-10-batches-py",
    ),
)
@click.argument("run", type=OwnPath(), metavar="RUN|FILE", shell_complete=complete_runs)
@command_options("train")
@course("--resume", is_flag=True, help="Continue the training in RUN; give the same options again.")
@course("--force", is_flag=True, help="Replace the training in RUN.")
@course("--out", type=click.Path(), help="Folder of the run of FILE.  [default: runs/NAME-DATA]")
@json_option
@quiet_option
@click.pass_context
def train(
    ctx: click.Context,
    /,
    run: str,
    out: str | None,
    device: str | None,
    sram: int | None,
    flash: int | None,
    schedule: str | None,
    input: str | None,
    method: str | None,
    data: str | None,
    recipe: str | None,
    teacher: str | None,
    teacher_code: bool,
    init_from: str | None,
    seed: int | None,
    accelerator: str | None,
    kernels: str | None,
    threads: int | None,
    log: str | None,
    limit: int | None,
    time_limit: float | None,
    resume: bool,
    force: bool,
    min_accuracy: float | None,
    **changes: Any,
) -> None:
    """Train the winner of a run: in float, then quantised to its bits, then lowered to integers.

    FILE is an architecture of your own (best.yaml of a run directory is one): all that nas-search
    run does but the search, for that network and its bits, in a folder of its own; the same command
    goes on. Budgets, device and method are for FILE alone.

    RUN is the directory that a search wrote. It gains training/ (checkpoint, metrics, networks,
    result) and integer/, the integer model that every export is measured against.

    A refined run (RUN/refine/METHOD) starts from the float weights of its origin: it trains
    quantised alone, --epochs long.

    Ctrl-C and --time-limit save the state; --resume continues to the very result of an
    uninterrupted training.
    """
    if resume and force:
        raise InputError("--resume continues a training, --force replaces it; give one of the two")
    of_file = {"device": device, "sram": sram, "flash": flash, "schedule": schedule, "input": input}
    if os.path.isfile(run) or (run.endswith((".yaml", ".yml")) and not os.path.isdir(run)):
        if init_from is not None:
            raise InputError(
                "--init-from is for a run directory, and this is the file of a network; leave it "
                "out, or search with it first and give RUN"
            )
        require_torch("training")
        _train_file(
            ctx,
            Path(run),
            out,
            {
                "search": of_file | {"space": run},
                "data": {"source": data, "limit": limit},
                "train": {
                    "recipe": recipe,
                    "teacher": teacher,
                    "min_accuracy": min_accuracy,
                    **changes,
                },
                "refine": {"method": method},
                "seed": seed,
            },
            force=force,
            threads=threads,
            accelerator=accelerator,
            kernels=kernels,
            teacher_code=teacher_code,
            log=log,
            time_limit=time_limit,
        )
        return
    for name, given in (of_file | {"method": method, "out": out}).items():
        if given is not None:
            raise InputError(
                f"--{name} is for an architecture file, and {shown_path(run)} is none; leave it "
                "out, or give the file of a network"
            )
    require_torch("training")
    from nas_engine.api import chosen_recipe
    from nas_engine.cli.progress import Screen
    from nas_engine.events import Event, Finished
    from nas_engine.pipeline.training import TrainingRequest, run_training
    from nas_engine.training.compute import prepare_compute, prepare_kernels
    from nas_engine.training.result import check_goal

    data = "digits" if data is None else data
    request = TrainingRequest(
        data=data,
        recipe=chosen_recipe(Path(run), data, recipe, changes),
        teacher="none" if teacher is None else teacher,
        teacher_code=teacher_code,
        seed=seed or 0,
        device=prepare_compute(accelerator or "auto", threads),
        init_from=init_from,
        limit=limit,
    )
    if min_accuracy is not None and not request.recipe.quantised_epochs:
        raise InputError(
            "--min-accuracy judges integers, and this recipe trains in float only; leave it out, "
            "or lower --float-share"
        )

    class Training(Screen):
        def __call__(self, event: Event, /) -> None:
            super().__call__(event)
            if isinstance(event, Finished):  # data are read; before, there is nothing to save
                self.catch_interrupt()

    with Training(time_limit, log) as screen:
        request = replace(
            request, kernels=prepare_kernels(kernels or "auto", request.device, screen)
        )
        result = run_training(Path(run), request, resume=resume, force=force, watch=screen)
    if result is None:
        command = same_command(ctx, add=["--resume"], leave_out=("resume", "force", "time_limit"))
        emit({"run": run, "finished": False, "continue": command})
        show_stopped(f"stopped; the state is saved; continue with: {command}")
        if screen.stopped.is_set():
            ctx.exit(INTERRUPTED)
        return
    emit({"run": run, "finished": True, **asdict(result)})
    show_table(_table(result.accuracy, result.accuracy.split))
    if result.quantised_epochs:
        show(f"written to {Path(run) / 'training'} and {Path(run) / 'integer'}")
    else:
        show(f"written to {Path(run) / 'training'}; never quantised, so there is no integer model")
    if min_accuracy is not None:
        check_goal(
            result.accuracy.integer, result.accuracy.images, result.accuracy.split, min_accuracy
        )


def _train_file(
    ctx: click.Context, file: Path, out: str | None, options: dict[str, Any], **given: Any
) -> None:
    """Do a whole run of one network."""
    from nas_engine.architecture import read_architecture
    from nas_engine.cli.run import perform
    from nas_engine.pipeline.run_config import resolve_run_config

    found = {
        section: {key: value for key, value in values.items() if value is not None}
        if isinstance(values, dict)
        else values
        for section, values in options.items()
        if values is not None
    }
    read_architecture(file)  # a space, which a run may also have, is refused
    asked = resolve_run_config(found)
    folder = f"runs/{file.stem}-{Path(asked.data.source).stem}" if out is None else out
    perform(ctx, asked, Path(folder), **given)


@click.command(
    cls=Explained,
    short_help="Evaluate a trained run: float, fake-quantised, integers.",
    examples=(
        "nas-search evaluate runs/NAME",
        "nas-search evaluate runs/NAME --data cifar-10-batches-py --split validation",
        "nas-search evaluate runs/NAME --limit 1000 --json",
        "nas-search evaluate runs/NAME --layers",
    ),
)
@run_argument
@command_options("evaluate")
@click.option(
    "--split",
    type=click.Choice(["test", "validation", "train"]),
    help="Which part of them.  [default: test; all of a new folder without splits]",
)
@click.option(
    "--layers",
    is_flag=True,
    help="Also measure the quantisation error of every layer; the report draws it.",
)
@json_option
@quiet_option
def evaluate(
    run: str,
    data: str | None,
    split: str | None,
    limit: int | None,
    min_accuracy: float | None,
    threads: int | None,
    layers: bool,
) -> None:
    """Evaluate a trained run: top-1 accuracy in float, fake-quantised and in integers.

    RUN is a directory that nas-search train has finished. --layers compares integers and float
    layer by layer on at most 64 of the images and writes RUN/layer_errors.json.
    """
    require_torch("evaluation")
    from nas_engine.cli.progress import Screen
    from nas_engine.datasets.records import ALL
    from nas_engine.pipeline.evaluation import evaluate_run
    from nas_engine.pipeline.layer_errors import LAYER_IMAGES, measure_layer_errors
    from nas_engine.records import plain
    from nas_engine.report.layer_errors import errors_table
    from nas_engine.training.compute import prepare_compute
    from nas_engine.training.result import check_goal

    prepare_compute("cpu", threads)
    with Screen() as screen:
        judged, accuracy = evaluate_run(Path(run), data, split=split, limit=limit, watch=screen)
        images = min(limit or LAYER_IMAGES, LAYER_IMAGES)
        errors = (
            measure_layer_errors(Path(run), data, images=images, split=split, watch=screen)
            if layers
            else None
        )
    for note in judged.notes:
        tell(f"note: {note}")
    emit(
        {
            "data": judged.source,
            "accuracy": plain(accuracy),
            **({"layers": plain(errors.layers)} if errors else {}),
        }
    )
    show(f"{judged.name}, from {judged.source}")
    show_table(_table(accuracy, "all of the folder" if accuracy.split == ALL else accuracy.split))
    if errors:
        show_table(f"\n{errors_table(errors)}")
    if min_accuracy is not None:
        check_goal(accuracy.integer, accuracy.images, accuracy.split, min_accuracy)


def _table(accuracy: Accuracy, where: str) -> str:
    from nas_engine.training.result import chance_remark

    rows = [
        ("float, before quantisation", accuracy.floating),
        ("fake-quantised", accuracy.quantised),
        ("integer", accuracy.integer),
        ("integer predicts as fake-quantised", accuracy.agreement),
    ]
    if (found := accuracy.by_class) is not None:
        rows.append((f"always '{terminal_line(found.largest)}', the largest class", found.share))
    lines = [f"top-1 accuracy on {accuracy.images:,} images ({where})"]
    lines += [f"  {name:<36} {value:6.2f} %" for name, value in rows if value is not None]
    remark = chance_remark(accuracy)
    return "\n".join([*lines, *([terminal_line(remark)] if remark else [])])
