"""Stages of a whole run in order: settings, inputs, action and outputs of each.

Needs torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nas_engine.costs.own import cost_digest
from nas_engine.digests import digests, file_digest
from nas_engine.evolution.config import build_problem
from nas_engine.evolution.limits import LIMITS
from nas_engine.pipeline import stage_actions as act
from nas_engine.pipeline.training import AUTO, NONE
from nas_engine.pipeline.work import Figures, Work
from nas_engine.records import plain
from nas_engine.runs.chain import CHAIN, RESULT
from nas_engine.runs.ledger import digest_of, stamp
from nas_engine.runs.pipeline_directory import PipelineDirectory
from nas_engine.runs.run_directory import RunDirectory
from nas_engine.scoring.objective import QE_SCORE, objective_digest
from nas_engine.training.recipe import TrainingRecipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage."""

    purpose: str
    """Purpose of the stage, for people."""
    version: int
    """Version of what the stage computes and writes. Raise it in the very change after which the
    same settings and inputs give other files or figures: runs of before then do the stage again.
    The version of the package does not count, so that a release that changes nothing here redoes
    nothing."""
    settings: Callable[[Work], Mapping[str, Any]]
    """Settings that its result depends on, as plain values."""
    inputs: Callable[[Work], Mapping[str, str]]
    """Inputs by name and digest; asked when all earlier stages are done."""
    perform: Callable[[Work, bool], Figures | None]
    """Action; takes whether to resume, and returns figures, or ``None`` if told to stop."""
    outputs: Callable[[PipelineDirectory], list[Path]]
    """Files and folders that later stages or users need."""
    command: Callable[[Work], list[str | Path]] = lambda work: []
    """Command of this stage alone; empty where there is none."""
    again: Callable[[Figures], bool] = lambda figures: False
    """Condition on its last figures under which an up-to-date stage is done again."""


def _search_settings(work: Work) -> dict[str, Any]:
    problem, device = build_problem(work.config.search)
    shipped = {
        "space_digest": digest_of(repr(problem.space)),
        "device_digest": digest_of(repr(device)),
    }
    given = {} if problem.network is None else {"network_digest": digest_of(repr(problem.network))}
    if problem.objective != QE_SCORE:
        given["score_digest"] = objective_digest(problem.objective)
    if problem.own_cost is not None:
        given["cost_digest"] = cost_digest(problem.own_cost)
    return work.config.search.as_options() | shipped | given


def _shortlist_settings(work: Work) -> dict[str, Any]:
    """Return what the shortlist depends on; rungs that were measured follow from the minutes."""
    given, settings = work.config.shortlist, asdict(work.config.shortlist)
    if given.planned:
        del settings["rungs"]
        return settings | _training_settings(work, work.recipe)
    for name in ("minutes", "rungs"):
        if settings[name] is None:
            del settings[name]
    if given.alone or work.rungs is None:
        return settings
    return settings | _training_settings(work, work.rung_recipe(work.rungs[-1], last=True))


def _training_settings(work: Work, recipe: TrainingRecipe) -> dict[str, Any]:
    return {
        "recipe": plain(recipe),
        "limit": work.config.data.limit,
        "seed": work.config.seed,
    }


def _budgets(work: Work) -> dict[str, Any]:
    search = work.config.search
    limits = {row.key: search.limits.get(row.name) for row in LIMITS if row.counted}
    if "latency" in search.limits:
        limits["max_latency"] = search.limits["latency"]
    return {
        "device_digest": digest_of(repr(build_problem(search)[1])),
        "memory_model": search.memory_model,
        **limits,
    }


def _data(work: Work) -> dict[str, str]:
    return {"data": stamp(work.config.data.source)}


def _teacher(given: str) -> dict[str, str]:
    return {"teacher": given if given in (AUTO, NONE) else file_digest(Path(given))}


def _network(run: RunDirectory) -> dict[str, str]:
    return {"network": file_digest(run.path / "best.yaml")}


def _all(name: str, *paths: Path) -> dict[str, str]:
    return {name: digest_of(digests(paths[0].parent, paths))}


def _front(at: PipelineDirectory) -> list[Path]:
    return [at.search.path / name for name in ("best.yaml", "pareto.csv", "pareto")]


def _training(run: RunDirectory) -> list[Path]:
    """Return the outputs of a training: its result, and the files that this is made of."""
    made_of = [run.path / name for name in CHAIN[RESULT].inputs if name.startswith("training/")]
    return [*(path for path in made_of if path.exists()), run.training.result]


def _alone(verb: str, run: RunDirectory, *more: str) -> list[str | Path]:
    return ["nas-search", verb, run.path, *more]


STAGE_TABLE: Mapping[str, Stage] = {
    "search": Stage(
        purpose="search networks and bits for the budgets",
        version=1,
        settings=_search_settings,
        inputs=lambda work: {},
        perform=act.search,
        outputs=lambda at: [*_front(at), at.search.path / "memory_plan.json"],
    ),
    "shortlist": Stage(
        purpose="train the best of the front briefly, keep the one that does best",
        version=1,
        settings=_shortlist_settings,
        inputs=lambda work: _data(work) | _all("front", *_front(work.directory)),
        perform=act.shortlist,
        outputs=lambda at: [at.network.path / "best.yaml"],
    ),
    "train": Stage(
        purpose="train it in float",
        version=1,
        settings=lambda work: _training_settings(work, work.float_recipe),
        inputs=lambda work: (
            _data(work) | _network(work.directory.network) | _teacher(work.config.train.teacher)
        ),
        perform=act.train,
        outputs=lambda at: _training(at.network),
    ),
    "refine": Stage(
        purpose="choose its bits again, by what the data say",
        version=1,
        settings=lambda work: (
            asdict(work.config.refine)
            | _budgets(work)
            | {"limit": work.config.data.limit, "seed": work.config.seed}
        ),
        inputs=lambda work: (
            _data(work)
            | _network(work.directory.network)
            | {"weights": file_digest(work.directory.network.training.float_network)}
        ),
        perform=act.refine,
        outputs=lambda at: [at.final.path / "best.yaml", at.final.start, at.final.allocation],
    ),
    "quantise": Stage(
        purpose="train it with its own bits, convert it to integers",
        version=1,
        settings=lambda work: _training_settings(work, work.quantised_recipe),
        inputs=lambda work: (
            _data(work)
            | _network(work.directory.final)
            | {"start": file_digest(work.directory.final.start)}
            | _teacher(work.teacher)
        ),
        perform=act.quantise,
        outputs=lambda at: [*_training(at.final), at.final.integer, at.final.layer_errors],
    ),
    "export": Stage(
        purpose="write C, TFLite and ONNX",
        version=1,
        settings=_budgets,
        inputs=lambda work: _all("integers", work.directory.final.integer),
        perform=act.export,
        outputs=lambda at: [at.final.export],
        command=lambda work: _alone("export", work.directory.final),
    ),
    "verify": Stage(
        purpose="compare every back-end with the integer reference",
        version=1,
        settings=lambda work: asdict(work.config.verify) | _budgets(work),
        inputs=lambda work: _data(work) | _all("export", work.directory.final.export),
        perform=act.verify,
        outputs=lambda at: [at.final.verification],
        command=lambda work: _alone("verify", work.directory.final),
        again=lambda figures: bool(figures["skipped"]) or "core" not in figures,
    ),
    "report": Stage(
        purpose="draw the report",
        version=1,
        settings=lambda work: {},
        inputs=lambda work: {},
        perform=act.report,
        outputs=lambda at: [at.report],
        command=lambda work: ["nas-search", "report", work.directory.path],
        again=lambda figures: True,
    ),
}
"""Every stage by its name, in order; a stage is one row here and one function in ``stage_actions``.
"""
