"""Comparison of run.json with the files and records of a whole run. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from nas_engine.errors import FileFormatError
from nas_engine.reading import UnreadableError
from nas_engine.report.page.facts import RunFacts
from nas_engine.runs.ledger import changed_output, plain
from nas_engine.runs.pipeline_directory import PipelineDirectory
from nas_engine.runs.run_record import RunRecord, StageRecord
from nas_engine.training.result import TrainingResult, read_result

_OWN_RECORDS = ("export", "verify", "report")
"""Stages whose commands, typed alone, may follow a run: their records say themselves what they are
of."""


def finished_stage(record: RunRecord | None, name: str) -> StageRecord | None:
    """Return a finished stage with figures, else ``None``."""
    stage = record.stage(name) if record else None
    return stage if stage and stage.done and stage.figures else None


def outputs_changed(record: RunRecord, whole: PipelineDirectory) -> list[str]:
    """Return in words, stage by stage, what is no longer as the run left it."""
    found = []
    for stage in record.stages:
        if (
            stage.done
            and stage.name not in _OWN_RECORDS
            and (changed := changed_output(stage, whole.path)) is not None
        ):
            found.append(f"stage '{stage.name}': {changed}")
    return found


def figures_changed(record: RunRecord, whole: PipelineDirectory, facts: RunFacts) -> list[str]:
    """Return in words the figures of a run that differ from the records they came from."""
    found = []
    for stage, what, said, recorded in _pairs(record, whole, facts):
        if said != recorded:
            found.append(f"stage '{stage}' says {what} {said}, its record {recorded}")
    return found


def _pairs(
    record: RunRecord, whole: PipelineDirectory, facts: RunFacts
) -> Iterator[tuple[str, str, Any, Any]]:
    """Yield stage, what is compared, what run.json says, and what the record says."""
    trainings = {training.name: training.result for training in facts.trainings}
    for stage, name in (("train", "float stage"), ("quantise", "quantised stage")):
        yield from _accuracies(stage, finished_stage(record, stage), trainings.get(name))
    verify = finished_stage(record, "verify")
    if verify and verify.figures and facts.verification:
        yield "verify", "passed", verify.figures.get("passed"), facts.verification.passed
        said, recorded = (
            verify.figures.get("backends"),
            {one.backend: str(one.verdict) for one in facts.verification.backends},
        )
        for name, verdict in said.items() if isinstance(said, Mapping) else ():
            yield (
                "verify",
                f"of {name}",
                verdict,
                recorded.get(name, verdict),
            )  # it may have been verified again, by others
    if (refine := finished_stage(record, "refine")) and refine.figures and facts.allocations:
        methods = refine.figures.get("methods")
        for member in facts.allocations.members:
            said = methods.get(member.method) if isinstance(methods, Mapping) else None
            found = {"accuracy": member.judged.accuracy, "loss": member.judged.loss}
            for name, value in said.items() if isinstance(said, Mapping) else ():
                if name in found:
                    yield "refine", f"of {member.method} {name}", value, found[name]
    for candidate in facts.shortlist.members if facts.shortlist else ():
        path = whole.candidate(candidate.rank).training.result
        if not path.exists():
            continue
        try:
            result = read_result(path)
        except (FileFormatError, UnreadableError):
            continue  # it was the stage's; what it left is compared by digest
        yield (
            "shortlist",
            f"of candidate {candidate.rank} an accuracy of",
            candidate.accuracy,
            result.accuracy.integer,
        )
    if (search := finished_stage(record, "search")) and search.figures and facts.history:
        yield (
            "search",
            "candidates",
            search.figures.get("candidates"),
            facts.history[-1].get("evaluated"),
        )


def _accuracies(
    stage: str, found: StageRecord | None, result: TrainingResult | None
) -> Iterator[tuple[str, str, Any, Any]]:
    accuracy = found.figures.get("accuracy") if found and found.figures else None
    if result is None or not isinstance(accuracy, Mapping):
        return
    recorded = plain(result.accuracy.in_short())
    for name, value in accuracy.items():
        yield stage, name, value, recorded.get(name)
