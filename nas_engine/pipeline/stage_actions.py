"""Actions of the stages of a whole run, on files that earlier stages left. Needs torch.

Each calls the function of its own command. It takes the work and whether to resume, and returns its
figures, or ``None`` if it was told to stop.
"""

from __future__ import annotations

from pathlib import Path

from nas_engine.digests import file_digest
from nas_engine.events import Note, Started
from nas_engine.evolution.config import build_problem
from nas_engine.pipeline.export import export_run
from nas_engine.pipeline.layer_errors import measure_layer_errors
from nas_engine.pipeline.new_run import copy_file, keep_or_write
from nas_engine.pipeline.refine import run_refinement
from nas_engine.pipeline.search import run_search
from nas_engine.pipeline.shortlist import choose, members
from nas_engine.pipeline.training import TrainingRequest, run_training
from nas_engine.pipeline.verify import verify_run
from nas_engine.pipeline.work import Figures, Work
from nas_engine.report.tables import depth_remark
from nas_engine.runs.run_directory import RunDirectory
from nas_engine.training.result import TrainingResult
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
    costs = {
        "peak_sram_bytes": best.peak_sram_bytes,
        "flash_bytes": best.total_flash_bytes,
        "macs": best.total_macs,
    }
    return {"qe_score": best.qe_score, **costs, "candidates": record.evaluated}


def shortlist(work: Work, resume: bool) -> Figures | None:
    """Train the best networks of the front briefly; the best of them is in ``network/``."""
    watch, settings = work.watch, work.config.shortlist
    request = work.request(work.short_recipe, holdout=HOLDOUT)

    def attempt(path: Path, what: str) -> TrainingResult | None:
        return run_training(path, request, resume=True, name=what, watch=watch)

    networks = members(work.directory.search, settings.count)
    if len(networks) < settings.count:
        problem = (
            f"the front holds {len(networks)} networks of different structure, fewer than the "
            f"{settings.count} asked for"
        )
        watch(Note(text=problem))
    return choose(
        work.directory,
        build_problem(work.config.search)[0],
        networks,
        attempt,
        fresh=not resume,
        watch=watch,
    )


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
