"""RunFacts of a run directory or of a whole run, as far as their files are there. No torch."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from nas_engine import __version__
from nas_engine.costs.plan import plan_memory
from nas_engine.errors import FileFormatError, RunDirectoryError
from nas_engine.pipeline.run_options import stored_options
from nas_engine.pipeline.search_config import SearchConfig, build_problem
from nas_engine.pipeline.search_record import report_member
from nas_engine.report import layer_errors
from nas_engine.report.epochs import read_epochs
from nas_engine.report.page.facts import TEACHER, Allocations, Asked, RunFacts, Shortlist, Training
from nas_engine.report.page.reading import read_allocations, read_checksums, read_verification, shortlist_of
from nas_engine.report.pipeline_directory import PipelineDirectory
from nas_engine.report.run_directory import RunDirectory, TrainingDirectory
from nas_engine.report.run_record import RunRecord, StageRecord, read_record
from nas_engine.strict_yaml import read_mapping
from nas_engine.training.result import read_result

_Read = TypeVar("_Read")

SAME_BYTES = ("config.yaml", "best.yaml", "training/recipe.yaml", "training/network.pt", "integer/model.json", "integer/model.npz")
"""Files whose digests the report has, beside the exported ones."""

EXPORTED = ("model.tflite", "model_int4.tflite", "model_int.onnx", "model_qcdq.onnx", "quant.json")
"""Exported files likewise, behind the network in C, ``c/model.c`` or of another prefix."""


@dataclass(slots=True)
class _Reader:
    """Reads files that need not be there; what is damaged is remembered and left out."""

    problems: list[str] = field(default_factory=list)
    """What could not be read."""

    def read(self, path: Path, read: Callable[[Path], _Read]) -> _Read | None:
        """Return what ``read`` makes of a file, ``None`` if it is missing or damaged."""
        if not path.exists():
            return None
        try:
            return read(path)
        except FileFormatError as error:
            self.problems.append(str(error))
            return None


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
        raise RunDirectoryError(path, "holds no run; give the directory that nas-search run or a search wrote")
    mapping = run.read_config()
    if "resolutions" in mapping:
        sizes = ", ".join(str(path / f"r{size}") for size in mapping["resolutions"])
        raise RunDirectoryError(path, f"holds searches at several resolutions; report on one of them: {sizes}")
    reader = _Reader()
    asked = SearchConfig.from_mapping(mapping, path / "config.yaml")
    name = path.resolve().name
    refined = run.allocation.exists()
    if refined:
        name = f"{path.resolve().parents[1].name}, refined by {name}"
    return replace(
        _facts(path, run, asked, reader),
        name=name,
        network_is=("the refined network" if refined else "the best of the search") if _has_network(run) else "",
        trainings=_trainings(run, reader, "refined network" if refined else "network"),
        history=_history(run, reader),
        front=_front(run, reader),
        allocations=_allocations(run, reader, None),
        problems=tuple(reader.problems),
    )


def _whole_run(whole: PipelineDirectory) -> RunFacts:
    """Return the facts of a whole run: of its refined network, else of the winner, else of the best of the search."""
    reader = _Reader()
    record = reader.read(whole.record, read_record)
    runs = ((whole.final, "the final network"), (whole.network, "the winner of the shortlist"), (whole.search, "the best of the search"))
    run, network_is = next((pair for pair in runs if _has_network(pair[0])), (whole.search, ""))
    return replace(
        _facts(whole.path, run, _asked_of_run(whole), reader),
        whole=True,
        network_is=network_is,
        trainings=(*_trainings(whole.network, reader, "float stage"), *_trainings(whole.final, reader, "quantised stage")),
        history=_history(whole.search, reader),
        front=_front(whole.search, reader),
        allocations=_allocations(whole.network, reader, _chosen(record)),
        record=record,
        shortlist=_shortlist(record, whole, reader),
        problems=tuple(reader.problems),
    )


def _facts(path: Path, run: RunDirectory, config: SearchConfig, reader: _Reader) -> RunFacts:
    """Return what the directory of the network says; the rest is left empty."""
    problem, device = build_problem(config)
    network = report_member(run.read_best(), problem) if _has_network(run) else None
    exports = reader.read(run.export / "SHA256SUMS", read_checksums)
    asked = Asked(
        device=device,
        space=config.space,
        resolution=config.resolution,
        classes=config.classes,
        max_macs=config.max_macs,
        max_cycles=config.max_cycles,
        candidates=config.candidates,
        seed=config.seed,
        options=config.as_mapping(),
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
        verification=reader.read(run.verification, read_verification),
        layer_errors=reader.read(run.path / layer_errors.FILE, layer_errors.read_layer_errors),
        digests=_digests(run, path, exports or {}),
    )


def _has_network(run: RunDirectory) -> bool:
    return (run.path / "best.yaml").exists()


def _asked_of_run(whole: PipelineDirectory) -> SearchConfig:
    """Return the config of the search of a whole run, from ``run.yaml`` until the search has its own."""
    if whole.search.started():
        return SearchConfig.from_mapping(whole.search.read_config(), whole.search.path / "config.yaml")
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
    for folder, which in ((run.training.teacher, TEACHER), (run.training, name)):
        epochs = tuple(reader.read(folder.metrics, read_epochs) or ())
        result = reader.read(folder.result, read_result)
        if epochs or result:
            found.append(Training(name=which, folder=str(run.path), epochs=epochs, result=result, recipe=_recipe(folder, reader)))
    return tuple(found)


def _recipe(folder: TrainingDirectory, reader: _Reader) -> dict[str, Any]:
    return reader.read(folder.recipe, lambda path: read_mapping(path, "train again with --force")) or {}


def _allocations(run: RunDirectory, reader: _Reader, chosen: str | None) -> Allocations | None:
    """Return the methods that refined a run, or the one that made it."""
    paths = [run.refine.comparison] if run.refine.comparison.exists() else sorted(run.refine.path.glob("*/allocation.json"))
    if run.allocation.exists() and not paths:
        return reader.read(run.allocation, lambda path: read_allocations([path], None, {}))
    trained = {}
    for folder in sorted(run.refine.path.glob("*/training/result.json")):
        result = reader.read(folder, read_result)
        if result is not None and result.accuracy.integer is not None:
            trained[folder.parents[1].name] = result.accuracy.integer
    return reader.read(paths[0], lambda _: read_allocations(paths, chosen, trained)) if paths else None


def _stage(record: RunRecord | None, name: str) -> StageRecord | None:
    stage = record.stage(name) if record else None
    return stage if stage and stage.done and stage.figures else None


def _chosen(record: RunRecord | None) -> str | None:
    stage = _stage(record, "refine")
    return str(stage.figures.get("chosen")) if stage and stage.figures else None


def _shortlist(record: RunRecord | None, whole: PipelineDirectory, reader: _Reader) -> Shortlist | None:
    stage = _stage(record, "shortlist")
    figures = stage.figures if stage else None
    return reader.read(whole.record, lambda path: shortlist_of(figures, path)) if figures and "images" in figures else None


def _digests(run: RunDirectory, path: Path, exports: dict[str, str]) -> dict[str, str]:
    """Return path below the report's run and SHA-256 of the files that matter."""
    found = {}
    for name in SAME_BYTES:
        file = run.path / name
        try:
            found[_below(file, path)] = hashlib.sha256(file.read_bytes()).hexdigest()
        except OSError:
            continue
    in_c = [name for name in exports if re.fullmatch(r"c/(?!main\.c|\w*nas_)\w+\.c", name)]
    return found | {_below(run.export / name, path): exports[name] for name in (*in_c, *EXPORTED) if name in exports}


def _below(file: Path, path: Path) -> str:
    return file.relative_to(path).as_posix()
