"""``nas-search run``: from budget to verified firmware and a report."""

from __future__ import annotations

import sys
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
)
from nas_engine.cli.options import RUNS, OwnPath, command_options
from nas_engine.errors import InputError, shortened
from nas_engine.escaping import command_line
from nas_engine.options import rows_of

if TYPE_CHECKING:
    from nas_engine.pipeline.run_config import RunConfig
    from nas_engine.runs.run_record import RunRecord

_folder = options_of("Folder of the run")


@click.command(
    cls=Explained,
    examples=(
        "nas-search run",
        (
            "nas-search run --device cortex-m7 --sram 256k --flash 1m --space mobilenet-32 "
            "--max-macs 12m --data cifar-10-batches-py"
        ),
        "nas-search run project.yaml --set train.batch_size=64",
        "nas-search run --out runs/NAME --epochs 40",
    ),
)
@click.argument("config", required=False, type=OwnPath())
@command_options("run")
@click.option(
    "--set",
    "settings",
    metavar="KEY=VALUE",
    multiple=True,
    help="Any key of the file, such as verify.images=1000.",
)
@_folder(
    "--out",
    type=click.Path(),
    help="Folder of the run, new or to go on with.  [default: runs/NAME]",
    shell_complete=complete_runs,
)
@_folder("--force", is_flag=True, help="Redo long stages too, where a setting has changed.")
@json_option
@quiet_option
@click.pass_context
def run(
    ctx: click.Context,
    /,
    config: str | None,
    settings: tuple[str, ...],
    workers: int | None,
    threads: int | None,
    accelerator: str | None,
    kernels: str | None,
    teacher_code: bool,
    log: str | None,
    out: str | None,
    force: bool,
    **given: Any,
) -> None:
    """Search, shortlist, train, refine, export, verify and report: budget to verified firmware.

    Without options it does so on scikit-learn's digits, in minutes. CONFIG is a YAML file with the
    sections search, data, shortlist, train, refine and verify; options override it. The same
    command continues after Ctrl-C or a kill. A stage that is done is not repeated unless something
    it depends on has changed.
    """
    require_torch("a whole run")
    asked, folder = _resolve(config, _options(given, settings), out)
    perform(
        ctx,
        asked,
        folder,
        force=force,
        workers=workers,
        threads=threads,
        accelerator=accelerator,
        kernels=kernels,
        teacher_code=teacher_code,
        log=log,
    )


def perform(
    ctx: click.Context,
    asked: RunConfig,
    folder: Path,
    *,
    force: bool,
    threads: int | None,
    accelerator: str | None,
    kernels: str | None,
    teacher_code: bool,
    workers: int | None = None,
    log: str | None = None,
    time_limit: float | None = None,
) -> None:
    """Do a whole run, show it, and end with its exit code."""
    from nas_engine.cli.progress import Screen
    from nas_engine.cli.search import cores
    from nas_engine.parts import ALLOCATOR, COST, SCORE, named_again
    from nas_engine.pipeline.run import run_pipeline
    from nas_engine.report.run_table import run_table
    from nas_engine.runs.run_record import STAGES
    from nas_engine.training.compute import prepare_compute, prepare_kernels
    from nas_engine.training.result import check_goal

    typed = command_line("nas-search", *sys.argv[1:])
    with Screen(time_limit, log) as screen:
        screen.catch_interrupt()
        device = prepare_compute(accelerator or "auto", threads)
        record = run_pipeline(
            asked,
            folder,
            force=force,
            workers=workers or cores(),
            accelerator=device,
            kernels=prepare_kernels(kernels or "auto", device, screen),
            teacher_code=teacher_code,
            command=typed,
            watch=screen,
        )
    last = record.stage(STAGES[-1])
    again: list[str | Path] = [
        "nas-search",
        "run",
        "--out",
        folder,
        *(["--teacher-code"] if teacher_code else []),
        *named_again(
            (SCORE, asked.search.score), (COST, asked.search.cost), (ALLOCATOR, asked.refine.method)
        ),
    ]
    emit(outcome(record, folder))
    show_table(run_table(record, screen.kept))
    if last is None or not last.done or screen.stop():
        show_stopped(f"stopped; what is done is kept; go on with: {command_line(*again)}")
        ctx.exit(INTERRUPTED if time_limit is None or screen.stopped.is_set() else 0)
    show(f"firmware in {folder / 'final' / 'export' / 'c'}, report: {folder / 'report.html'}")
    verified = record.stage("verify")
    if verified is None or not (verified.figures or {}).get("passed"):
        ctx.exit(1)
    goal, judged = asked.train.min_accuracy, record.stage("quantise")
    if goal is not None and judged is not None:
        accuracy = (judged.figures or {})["accuracy"]
        check_goal(accuracy["integer"], accuracy["images"], accuracy["split"], goal)


def outcome(record: RunRecord, folder: Path) -> dict[str, Any]:
    """Return what ``--json`` prints; ``None`` where the run has not come so far."""
    from nas_engine.cli.search import summary
    from nas_engine.report.search_record import load_runs
    from nas_engine.runs.pipeline_directory import PipelineDirectory
    from nas_engine.runs.run_record import record_mapping

    whole = PipelineDirectory(folder)
    reached = [run.path for run in (whole.final, whole.network, whole.search) if run.has_best()]
    trained, verified = record.stage("quantise"), record.stage("verify")
    return {
        "folder": str(folder),
        "accuracy": (trained.figures or {}).get("accuracy") if trained else None,
        "verified": (verified.figures or {}).get("passed") if verified else None,
        "network": summary(load_runs(reached[0])[0]) if reached else None,
        **record_mapping(record),
    }


def _options(given: dict[str, Any], settings: tuple[str, ...]) -> dict[str, Any]:
    """Return what was typed, by section and key."""
    from nas_engine.strict_yaml import parse_value

    options: dict[str, Any] = {}
    for name, row in rows_of("run").items():
        if row.section and given[name] is not None:
            options.setdefault(row.section, {})[row.key] = given[name]
    if given["seed"] is not None:
        options["seed"] = given["seed"]
    for setting in settings:
        place, equals, text = setting.partition("=")
        section, dot, key = place.strip().partition(".")
        if not (equals and dot and key and text.strip()) or section == "seed":
            raise InputError(
                f"--set: '{shortened(setting)}' is no setting; expected SECTION.KEY=VALUE, such as "
                "train.batch_size=64"
            )
        options.setdefault(section, {})[key] = parse_value(
            text, f"--set {shortened(place.strip())}"
        )
    return options


def _resolve(
    config: str | None, options: dict[str, Any], out: str | None
) -> tuple[RunConfig, Path]:
    """Return the config and the folder: options over the values of a file or an earlier run."""
    from nas_engine.cli.search import run_name
    from nas_engine.pipeline.run_config import resolve_run_config
    from nas_engine.runs.pipeline_directory import PipelineDirectory
    from nas_engine.runs.run_options import continued, over_file, read_options, stored_options

    if config is not None:
        layers = over_file(read_options(Path(config)), options)
    elif out is not None and PipelineDirectory(Path(out)).started():
        layers = continued(stored_options(PipelineDirectory(Path(out))), options)
    else:
        layers = options
    asked = resolve_run_config(layers)
    if out is not None:
        return asked, Path(out)
    name = (
        Path(config).stem
        if config is not None
        else f"{run_name([asked.search])}-{Path(asked.data.source).stem}"
    )
    return asked, Path(RUNS) / name
