"""Run directories for networks found elsewhere: whichever write fails, the same call ends with the
same files.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from pathlib import Path
from typing import Any

import pytest

from benchmarks.faults.sweep import files_of
from nas_engine.errors import NasEngineError
from nas_engine.evolution.config import build_problem, resolve_config
from nas_engine.pipeline.new_run import keep_or_write
from nas_engine.runs.run_directory import RunDirectory
from tests.refine_runs import NEEDED, RESERVED, SPACE
from tests.training.runs import small_run
from tests.training.tasks import digits_architecture


@pytest.mark.parametrize("call", ["replace", "open"])
def test_whichever_write_fails_the_same_call_ends_alike(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = tmp_path / "space.yaml"
    space.write_text(SPACE)
    budgets = {name: RESERVED[name] + NEEDED[name] for name in NEEDED}
    config = resolve_config(
        {"device": "cortex-m7", "space": str(space), "resolution": 8, "classes": 10, **budgets}
    )
    origin = RunDirectory(small_run(tmp_path / "origin"))
    origin.write_config(config.as_mapping())
    search, network = build_problem(config)[0], digits_architecture()
    keep_or_write(RunDirectory(tmp_path / "undisturbed"), origin, search, network)
    real, count = getattr(os, call), itertools.count(1)
    for number in itertools.count(1):
        run, count = RunDirectory(tmp_path / f"run{number}"), itertools.count(1)

        def failing(
            *args: Any, number: int = number, count: itertools.count[int] = count, **kwargs: Any
        ) -> Any:
            if next(count) == number:
                raise OSError(28, "No space left on device")
            return real(*args, **kwargs)

        with contextlib.suppress(NasEngineError), monkeypatch.context() as patched:
            patched.setattr(os, call, failing)
            keep_or_write(run, origin, search, network)
        keep_or_write(run, origin, search, network)
        assert files_of(run.path) == files_of(tmp_path / "undisturbed"), number
        if next(count) <= number:
            break
    assert number > 4
