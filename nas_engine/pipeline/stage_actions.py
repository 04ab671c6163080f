"""Actions of the stages of a whole run, on files that earlier stages left. Needs torch.

Each calls the function of its own command. It takes the work and whether to resume, and returns its
figures, or ``None`` if it was told to stop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from nas_engine.architecture import Architecture
from nas_engine.digests import file_digest
from nas_engine.events import Note, Started
from nas_engine.evolution.config import build_problem
from nas_engine.pipeline.export import export_run
from nas_engine.pipeline.layer_errors import measure_layer_errors
from nas_engine.pipeline.members import figures_of, members
from nas_engine.pipeline.new_run import copy_file, keep_or_write
from nas_engine.pipeline.refine import run_refinement
from nas_engine.pipeline.run_config import write_run_config
from nas_engine.pipeline.rungs import Rung, by_minutes, written
from nas_engine.pipeline.search import run_search
from nas_engine.pipeline.shortlist import Attempt, choose, narrow
from nas_engine.pipeline.training import TrainingRequest, measured_epoch, run_training
from nas_engine.pipeline.verify import verify_run
from nas_engine.pipeline.work import Figures, Work
from nas_engine.report.tables import depth_remark
from nas_engine.runs.run_directory import RunDirectory
from nas_engine.training.compute import threads_of_torch
from nas_engine.verification.claims import claim_of

HOLDOUT = 0.2
"""Share of the training images that judges the shortlist (chosen here)."""


def search(work: Work, resume: bool) -> Figures | None:
    """Search; the winner and the front are in ``search/``."""
    record = run_search(
        work.config.search,
        work.directory.search.path,
        resume=resume,
        force=not resume,
        workers=work.workers,
        watch=work.watch,
    )
    if record.interrupted:
        return None
    best = record.best
    if remark := depth_remark(best):
        work.watch(Note(text=remark))
    names = ("qe_score", "peak_sram_bytes", "flash_bytes", "macs", "cycles", "latency_ms")
    figures = best.as_json()
    return {name: figures[name] for name in names} | {"candidates": record.evaluated}


def shortlist(work: Work, resume: bool) -> Figures | None:
    """Train the best networks of the front briefly; the best of them is in ``network/``.

    Each is trained by one thread, so that no number of cores changes which is taken.
    """
    settings, watch = work.config.shortlist, work.watch
    with threads_of_torch(1):
        problem = build_problem(work.config.search)[0]
        asked = work.rungs[0].networks if work.rungs else settings.count
        found = members(work.directory.search, asked, classed=problem.classed)
        rungs = work.rungs or _measured_rungs(work, found)
        count = rungs[0].networks
        found = found[:count]
        if len(found) < count:
            watch(
                Note(
                    text=f"the front holds {len(found)} networks of different structure, fewer "
                    f"than the {count} asked for"
                )
            )
        if not settings.alone and (settings.planned or len(rungs) > 1):
            watch(Note(text=f"networks x epochs of each rung: {written(rungs)}"))
        networks = dict(enumerate(found, 1))
        narrowed = []
        for number, (rung, after) in enumerate(pairwise(rungs), 1):
            figures = narrow(
                work.directory,
                problem,
                networks,
                _attempt(work, rung, last=False),
                rung=number,
                go_on=after.networks,
                fresh=not resume,
                watch=watch,
            )
            if figures is None:
                return None
            narrowed.append(figures)
            going = [row["rank"] for row in figures["members"] if row["goes_on"]]
            networks = {rank: networks[rank] for rank in going}
        figures = choose(
            work.directory,
            problem,
            networks,
            _attempt(work, rungs[-1], last=True),
            fresh=not resume,
            watch=watch,
        )
    if figures is None or len(found) == 1:
        return figures
    return figures | {"threads": 1, **({"rungs": narrowed} if narrowed else {})}


def _attempt(work: Work, rung: Rung, *, last: bool) -> Attempt:
    """Return the training of a network on a rung."""
    request = work.request(work.rung_recipe(rung, last=last), holdout=HOLDOUT)
    return lambda path, what: run_training(path, request, resume=True, name=what, watch=work.watch)


def _measured_rungs(work: Work, found: Sequence[Architecture]) -> tuple[Rung, ...]:
    """Return the rungs for the minutes that are given, and write them into ``run.yaml``.

    The time of an epoch is measured of the winner, and taken to grow with the MACs. A run that is
    stopped or killed goes on by these.
    """
    settings = work.config.shortlist
    assert settings.minutes is not None
    epoch_s, steps = measured_epoch(found[0], work.request(work.recipe, holdout=HOLDOUT))
    macs = [figures_of(network).macs for network in found]
    epoch_s *= sum(macs) / len(macs) / macs[0]
    rungs = by_minutes(settings.count, settings.minutes, epoch_s, steps, work.recipe.epochs)
    planned = replace(settings, rungs=written(rungs))
    write_run_config(work.directory.config, replace(work.config, shortlist=planned))
    return rungs


def train(work: Work, resume: bool) -> Figures | None:
    """Train the winner in float."""
    request = work.request(work.float_recipe, teacher=work.config.train.teacher)
    return _trained(work, work.directory.network.path, request, resume)


def quantise(work: Work, resume: bool) -> Figures | None:
    """Train the final network with its own widths, and lower it to integers."""
    figures = _trained(
        work, work.directory.final.path, work.request(work.recipe, teacher=work.teacher), resume
    )
    if figures is not None:
        measure_layer_errors(work.directory.final.path, watch=work.watch)
    return figures


def _trained(work: Work, path: Path, request: TrainingRequest, resume: bool) -> Figures | None:
    result = run_training(path, request, resume=resume, force=not resume, watch=work.watch)
    return (
        None
        if result is None
        else {"accuracy": result.accuracy.in_short(), "seconds_of_training": result.elapsed_s}
    )


def refine(work: Work, resume: bool) -> Figures | None:
    """Choose the winner's widths again; the network with the best, or its own, is in ``final/``."""
    found = run_refinement(
        work.directory.network.path, work.refine_request, force=True, watch=work.watch
    )
    if found is None:
        return None
    _take(work, found.chosen)
    methods = {
        report.method: {
            "accuracy": report.judged.accuracy,
            "loss": report.judged.loss,
            "mean_w_bits": report.mean_w_bits,
            "mean_a_bits": report.mean_a_bits,
            "usage": {name: [one.used, one.limit] for name, one in report.usage.items()},
        }
        for report in found.reports
    }
    return {
        "chosen": found.chosen.path.name,
        "images": found.setting.judged_images,
        "methods": methods,
    }


def _take(work: Work, chosen: RunDirectory) -> None:
    """Make a refined run the final one; what was made of an equal network and start stays."""
    final = work.directory.final
    same = file_digest(final.start) == file_digest(chosen.start)
    keep_or_write(
        final,
        work.directory.search,
        build_problem(work.config.search)[0],
        chosen.read_best(),
        keep=same,
    )
    for source, target in (
        (chosen.start, final.start),
        (chosen.classes, final.classes),
        (chosen.allocation, final.allocation),
    ):
        if source.exists():
            copy_file(source, target)


def export(work: Work, resume: bool) -> Figures | None:
    """Write C, TFLite, ONNX and manifest of the final network."""
    found = export_run(work.directory.final.path)
    return {
        "files": dict(found.files),
        "arena_bytes": found.arena_bytes,
        "packed_bytes": found.packed_bytes,
    }


def verify(work: Work, resume: bool) -> Figures | None:
    """Run the export through every back-end."""
    settings = work.config.verify
    report = verify_run(
        work.directory.final.path,
        work.config.data.source,
        images=settings.images,
        emulated_images=settings.emulated_images,
        backends=settings.backends or None,
        watch=work.watch,
    )
    verdicts = {comparison.backend: str(comparison.verdict) for comparison in report.backends}
    claim = claim_of(report.core, report.backends)
    core = {"device": claim.core, "ran_on": claim.ran_on, "says": claim.says}
    return {
        "passed": report.passed,
        "date": report.date,
        "backends": verdicts,
        "skipped": len(report.skipped),
        "core": core,
    }


def report(work: Work, resume: bool) -> Figures | None:
    """Draw the page."""
    from nas_engine.report.write import write_report

    work.watch(Started(text="drawing the report ..."))
    return {"bytes": write_report(work.directory.path).stat().st_size}
