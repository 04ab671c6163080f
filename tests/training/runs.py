"""Run directories with a small winner, as a search leaves them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nas_engine.architecture import Architecture
from nas_engine.runs.run_directory import RunDirectory
from tests.training.tasks import digits_architecture


def small_run(path: Path, architecture: Architecture | None = None) -> Path:
    """Write a run directory and return its path."""
    path.mkdir()
    directory = RunDirectory(path)
    directory.write_config({"seed": 0})
    directory.write_best(architecture or digits_architecture(), {})
    return path


def results(run: Path) -> dict[str, Any]:
    """Return the result of a training, without times."""
    training, of_the_time = (
        run / "training",
        ("elapsed_s", "crc32", "sha256"),
    )  # the checks are of the times too
    rows = [json.loads(line) for line in (training / "metrics.jsonl").read_text().splitlines()]
    result = json.loads((training / "result.json").read_text())
    found: dict[str, Any] = {
        "metrics": [
            {key: value for key, value in row.items() if key not in of_the_time} for row in rows
        ],
        "result": {key: value for key, value in result.items() if key not in of_the_time},
        "files": sorted(str(file.relative_to(run)) for file in run.rglob("*")),
    }
    for name in (
        "training/recipe.yaml",
        "training/float.pt",
        "training/network.pt",
        "training/teacher/network.pt",
        "integer/model.npz",
    ):
        found[name] = (run / name).read_bytes() if (run / name).exists() else None
    return found
