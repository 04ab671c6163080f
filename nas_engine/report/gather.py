"""RunFacts of a run directory or of a whole run, as far as their files are there. No torch."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from nas_engine import __version__
from nas_engine.costs.plan import plan_memory
from nas_engine.digests import contents, digests, file_digest
from nas_engine.errors import FileFormatError, RunDirectoryError
from nas_engine.escaping import command_line
from nas_engine.evolution.config import SearchConfig, build_problem
from nas_engine.exporters.bundle import DIGESTS
from nas_engine.reading import UnreadableError, is_regular
from nas_engine.report import layer_errors
from nas_engine.report.page.facts import (
    TEACHER,
    Allocations,
    Asked,
    RunFacts,
    Shortlist,
    Stale,
    Training,
)
from nas_engine.report.page.reading import (
    read_allocations,
    read_checksums,
    shortlist_of,
)
from nas_engine.report.run_figures import figures_changed, finished_stage, outputs_changed
from nas_engine.report.search_record import report_member
from nas_engine.runs import chain
from nas_engine.runs.epochs import read_epochs
from nas_engine.runs.pipeline_directory import PipelineDirectory
from nas_engine.runs.run_directory import RunDirectory, TrainingDirectory
from nas_engine.runs.run_options import stored_options
from nas_engine.runs.run_record import RunRecord, read_record
from nas_engine.strict_yaml import read_mapping
from nas_engine.training.result import read_result
from nas_engine.verification.result import read_verification

_Read = TypeVar("_Read")

SAME_BYTES = (
    "config.yaml",
    "best.yaml",
    "training/recipe.yaml",
    "training/network.pt",
    "integer/model.json",
    "integer/model.npz",
)
"""Files whose digests the report has, in addition to the exported ones."""

EXPORTED = ("model.tflite", "model_int4.tflite", "model_int.onnx", "model_qcdq.onnx", "quant.json")
"""Exported files likewise, behind the network in C, ``c/model.c`` or of another prefix."""


@dataclass(slots=True)
class _Reader:
    """Reader of optional files; damaged or foreign ones are recorded and left out."""

    root: Path
    """The folder of the report, which paths are shown below."""
    problems: list[str] = field(default_factory=list)
    """Files that could not be read, and why."""
    stale: list[Stale] = field(default_factory=list)
    """Records that do not match the files next to them."""
    unchecked: list[Stale] = field(default_factory=list)
    """Records without digests."""

    def read(self, path: Path, read: Callable[[Path], _Read]) -> _Read | None:
        """Return what ``read`` makes of a file, ``None`` if it is missing or damaged."""
        if not os.path.lexists(path):
            return None
        try:
            return read(path)
        except (FileFormatError, UnreadableError) as error:
            self.problems.append(str(error))
            return None

    def read_record(
        self, run: RunDirectory, record: str, read: Callable[[Path], _Read]
    ) -> _Read | None:
        """Return likewise what ``read`` makes of a record, ``None`` also if it is stale."""
        path = run.path / record
        finding = self.read(path, lambda _: chain.check(run, record))
        if finding is None:
            return None
        found = Stale(
            record=_below(path, self.root), problem=finding.problem, command=finding.command
        )
        if finding.standing is chain.Standing.STALE:
            self.stale.append(found)
            return None
        if finding.standing is chain.Standing.UNCHECKED:
            self.unchecked.append(found)
        return self.read(path, read)

    def kept(self, facts: RunFacts) -> RunFacts:
        """Return facts with the problems recorded; a stale run keeps neither proof nor record."""
        stale = tuple(self.stale)
        left = replace(
            facts, problems=tuple(self.problems), stale=stale, unchecked=tuple(self.unchecked)
        )
        return replace(left, verification=None, record=None, shortlist=None) if stale else left


def gather(path: Path) -> RunFacts:
    """Return the facts of a run.

    Raises:
        RunDirectoryError: No run, a search at several resolutions, or a run of another version.
        InputError: A device or space that is no longer there.
        FileFormatError: A damaged config or network.
    """
    whole, run = PipelineDirectory(path), RunDirectory(path)
    if whole.started():
        return _whole_run(whole)
    if not run.started():
        raise RunDirectoryError(
            path, "holds no run; give the directory that nas-search run or a search wrote"
        )
    mapping = run.read_config()
    if "resolutions" in mapping:
        sizes = ", ".join(str(path / f"r{size}") for size in mapping["resolutions"])
        raise RunDirectoryError(
            path, f"holds searches at several resolutions; report on one of them: {sizes}"
        )
    reader = _Reader(root=path)
    asked = SearchConfig.from_mapping(mapping, path / "config.yaml")
    name = path.resolve().name
    refined = run.allocation.exists()
    if refined:
        name = f"{path.resolve().parents[1].name}, refined by {name}"
    trainings = _trainings(run, reader, "refined network" if refined else "network")
    facts = replace(
        _facts(path, run, asked, reader),
        name=name,
        network_is=("the refined network" if refined else "the best of the search")
        if run.has_best()
        else "",
        trainings=trainings,
        history=_history(run, reader),
        front=_front(run, reader),
        allocations=_allocations(run, reader, None),
    )
    return reader.kept(facts)


def _whole_run(whole: PipelineDirectory) -> RunFacts:
    """Return the facts of a whole run: its refined network, else its winner, else its search."""
    reader = _Reader(root=whole.path)
    record = reader.read(whole.record, read_record)
    runs = (
        (whole.final, "the final network"),
        (whole.network, "the winner of the shortlist"),
        (whole.search, "the best of the search"),
    )
    run, network_is = next((pair for pair in runs if pair[0].has_best()), (whole.search, ""))
    trainings = (
        *_trainings(whole.network, reader, "float stage"),
        *_trainings(whole.final, reader, "quantised stage"),
    )
    facts = replace(
        _facts(whole.path, run, _asked_of_run(whole), reader),
        whole=True,
        network_is=network_is,
        trainings=trainings,
        history=_history(whole.search, reader),
        front=_front(whole.search, reader),
        allocations=_allocations(whole.network, reader, _chosen(record)),
        record=record,
        shortlist=_shortlist(record, whole, reader),
    )
    reader.read_record(whole.final, chain.ALLOCATION, lambda path: path)
    if record is not None:
        command = command_line("nas-search", "run", "--out", whole.path)
        problems = outputs_changed(record, whole) + figures_changed(record, whole, facts)
        reader.stale += [
            Stale(record=whole.record.name, problem=problem, command=command)
            for problem in problems
        ]
    return reader.kept(facts)


def _facts(path: Path, run: RunDirectory, config: SearchConfig, reader: _Reader) -> RunFacts:
    """Return what the directory of the network says; the rest is left empty."""
    problem, device = build_problem(config)
    network = report_member(run.read_best(), problem) if run.has_best() else None
    exports = _exports(run, reader)
    asked = Asked(
        device=device,
        space=config.space,
        resolution=config.resolution,
        class_count=config.class_count,
        limits={**config.limits, **problem.limits},
        candidates=config.candidates,
        seed=config.seed,
        options=config.as_options(),
    )
    return RunFacts(
        name=path.resolve().name,
        path=str(path),
        whole=False,
        version=__version__,
        asked=asked,
        folder=str(run.path),
        network=network,
        plan=plan_memory(network.architecture) if network else None,
        exports=exports,
        verification=reader.read_record(run, chain.VERIFICATION, read_verification),
        layer_errors=reader.read_record(run, chain.LAYER_ERRORS, layer_errors.read_layer_errors),
        digests=_digests(run, path, exports or {}),
    )


def _exports(run: RunDirectory, reader: _Reader) -> dict[str, str] | None:
    """Return path and digest of each exported file.

    ``None`` without an export, or where it is not what was written.
    """
    if not os.path.lexists(run.export):
        return None
    command = command_line("nas-search", "export", run.path)
    settings = run.path / chain.EXPORT
    if not os.path.lexists(settings):
        problem = "exports of nas-search 0.1.0 have none"
        reader.unchecked.append(
            Stale(record=_below(settings, reader.root), problem=problem, command=command)
        )
    elif reader.read_record(run, chain.EXPORT, lambda path: path) is None:
        return None
    listed = reader.read(run.export / DIGESTS, read_checksums)
    found = reader.read(
        run.export, lambda folder: digests(folder, [folder / name for name in contents(folder)])
    )
    if found is None or listed is None:
        return None
    found.pop(DIGESTS, None)
    wrong = [name for name in sorted({**listed, **found}) if listed.get(name) != found.get(name)]
    if wrong:
        reader.stale.append(
            Stale(
                record=_below(run.export, reader.root),
                problem=f"{wrong[0]} is not as it was written",
                command=command,
            )
        )
        return None
    return found


def _asked_of_run(whole: PipelineDirectory) -> SearchConfig:
    """Return the search config of a whole run, from ``run.yaml`` until the search has its own."""
    if whole.search.started():
        return SearchConfig.from_mapping(
            whole.search.read_config(), whole.search.path / "config.yaml"
        )
    search = stored_options(whole).get("search")
    if search is None:
        raise FileFormatError(whole.config, "has no section 'search'; start the run again")
    values = {key: value for key, value in search.items() if key not in ("sram", "flash")}
    sizes = {f"{memory}_bytes": search.get(memory) for memory in ("sram", "flash")}
    return SearchConfig.from_mapping({**values, **sizes, "version": __version__}, whole.config)


def _history(run: RunDirectory, reader: _Reader) -> tuple[dict[str, Any], ...]:
    found = reader.read(run.path / "search.jsonl", lambda _: tuple(run.history.read()))
    return found or ()


def _front(run: RunDirectory, reader: _Reader) -> tuple[dict[str, float], ...]:
    found = reader.read(run.path / "pareto.csv", lambda _: tuple(run.front.read()))
    return found or ()


def _trainings(run: RunDirectory, reader: _Reader, name: str) -> tuple[Training, ...]:
    """Return the training of a run behind that of its teacher, if it has one."""
    found = []
    known = len(reader.stale)
    own = reader.read_record(run, chain.RESULT, read_result)
    if len(reader.stale) > known:
        return ()
    for folder, which, result in ((run.training.teacher, TEACHER, None), (run.training, name, own)):
        epochs = tuple(reader.read(folder.metrics, read_epochs) or ())
        if epochs or result:
            found.append(
                Training(
                    name=which,
                    folder=str(run.path),
                    epochs=epochs,
                    result=result,
                    recipe=_recipe(folder, reader),
                )
            )
    return tuple(found)


def _recipe(folder: TrainingDirectory, reader: _Reader) -> dict[str, Any]:
    return (
        reader.read(folder.recipe, lambda path: read_mapping(path, "train again with --force"))
        or {}
    )


def _allocations(run: RunDirectory, reader: _Reader, chosen: str | None) -> Allocations | None:
    """Return the methods that refined a run, or the one that made it."""
    refined = [
        RunDirectory(path.parent) for path in sorted(run.refine.path.glob("*/allocation.json"))
    ]
    records = (
        [(run, chain.COMPARISON)]
        if run.refine.comparison.exists()
        else [(one, chain.ALLOCATION) for one in refined or [run]]
    )
    paths = [
        path
        for one, record in records
        if (path := reader.read_record(one, record, lambda path: path)) is not None
    ]
    trained = {}
    for one in refined:
        result = reader.read_record(one, chain.RESULT, read_result)
        if result is not None and result.accuracy.integer is not None:
            trained[one.path.name] = result.accuracy.integer
    return (
        reader.read(paths[0], lambda _: read_allocations(paths, chosen, trained)) if paths else None
    )


def _chosen(record: RunRecord | None) -> str | None:
    stage = finished_stage(record, "refine")
    return str(stage.figures.get("chosen")) if stage and stage.figures else None


def _shortlist(
    record: RunRecord | None, whole: PipelineDirectory, reader: _Reader
) -> Shortlist | None:
    stage = finished_stage(record, "shortlist")
    figures = stage.figures if stage else None
    return (
        reader.read(whole.record, lambda path: shortlist_of(figures, path))
        if figures and "images" in figures
        else None
    )


def _digests(run: RunDirectory, path: Path, exports: dict[str, str]) -> dict[str, str]:
    """Return path below the report's run and SHA-256 of the files that matter."""
    found = {}
    for name in SAME_BYTES:
        file = run.path / name
        if is_regular(file):
            found[_below(file, path)] = file_digest(file)
    in_c = [name for name in exports if re.fullmatch(r"c/(?!main\.c|\w*nas_)\w+\.c", name)]
    return found | {
        _below(run.export / name, path): exports[name]
        for name in (*in_c, *EXPORTED)
        if name in exports
    }


def _below(file: Path, path: Path) -> str:
    return file.relative_to(path).as_posix()
