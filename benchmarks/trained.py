"""Shared part of the training studies: a searched network, trained into its own folder.

Training is resumable at any moment.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from nas_engine.pipeline import SearchRecord, load_runs, resolve_config, run_search
from nas_engine.pipeline.training import TrainingRequest, run_training
from nas_engine.training.recipe import load_recipe
from nas_engine.training.result import TrainingResult, read_result


def searched(folder: Path, options: Mapping[str, Any]) -> SearchRecord:
    """Return the run of a search, from its folder if it was done before."""
    run = folder / "search"
    if not (run / "best.yaml").exists():
        run_search(
            resolve_config({"max_latency": "none", **options}),
            run,
            resume=(run / "config.yaml").exists(),
        )
    return load_runs(run)[0]


def trained(
    folder: Path, name: str, recipe: str, request: Mapping[str, Any], **changes: Any
) -> TrainingResult:
    """Return the result of training a copy of the searched run; resumes where an earlier call was
    stopped.

    Args:
        folder: Of the study.
        name: Of the variant; its run directory.
        recipe: Name of a recipe.
        request: Fields of ``TrainingRequest`` without the recipe.
        changes: Fields of the recipe that differ.
    """
    run = folder / name
    if not run.exists():
        shutil.copytree(folder / "search", run)
    result = run / "training" / "result.json"
    if not result.exists():
        run_training(
            run,
            TrainingRequest(recipe=replace(load_recipe(recipe), **changes), **request),
            resume=True,
        )
    return read_result(result)
