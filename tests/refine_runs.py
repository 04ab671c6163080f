"""A trained run whose budgets bind, for tests of refinement."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.small import SPACE as SPACE
from nas_engine.evolution.config import resolve_config
from nas_engine.pipeline.refine_request import RefineRequest
from nas_engine.pipeline.training import TrainingRequest, run_training
from nas_engine.runs.run_directory import RunDirectory
from tests.training.runs import small_run
from tests.training.tasks import small_recipe

RESERVED = {"sram_bytes": 4096, "flash_bytes": 32768}
"""Bytes that the profile of cortex-m7 reserves for firmware."""

NEEDED = {"sram_bytes": 1352, "flash_bytes": 4724}
"""Bytes that ``digits_architecture`` needs at its own widths."""


def usable_run(folder: Path) -> Path:
    """Write a run that tells digits apart, with budgets that its own widths just fit, and return
    its path.
    """
    space = folder / "space.yaml"
    space.write_text(SPACE)
    budgets = {name.removesuffix("_bytes"): RESERVED[name] + NEEDED[name] for name in NEEDED}
    options = {"device": "cortex-m7", "space": str(space), "schedule": "layers"}
    config = resolve_config({**options, "resolution": 8, "classes": 10, **budgets})
    run = small_run(folder / "run")
    RunDirectory(run).write_config(config.as_mapping())
    recipe = small_recipe(epochs=5, float_share=0.8, batch_size=32)
    assert run_training(run, TrainingRequest(data="digits", recipe=recipe, limit=640)) is not None
    return run


def asked(method: str, **changes: Any) -> RefineRequest:
    """Return a request that takes a second or two."""
    return RefineRequest(
        **(
            {"method": method, "images": 64, "swaps": 1, "trials": 3, "solver_time_s": 0.3}
            | changes
        )
    )
