"""A small trained and exported run, and the names and files that the pages' examples take for
granted.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from nas_engine.evolution.config import resolve_config
from nas_engine.pipeline.export import export_run
from nas_engine.pipeline.training import TrainingRequest, run_training
from nas_engine.quantization.extract import extract
from nas_engine.runs.run_directory import RunDirectory
from nas_engine.training.networks import load_network
from tests.docs.pages import ROOT, blocks
from tests.training.runs import small_run
from tests.training.tasks import IMAGES, digits, small_recipe

SECTIONS = (
    'search={"max_macs": "200k", "max_layers": 17, "resolution": 8, "candidates": 1}, '
    'data={"limit": 160}, shortlist={"count": 1}, '
    'train={"epochs": 2}, refine={"method": "qbr", "images": 64}, verify={"images": 2, '
    '"emulated_images": 1}'
)
"""A whole run of seconds."""

SMALLER: Mapping[str, Mapping[str, str]] = {
    "docs/how_to/python_api.md": {
        'max_macs="2m", out': 'max_macs="200k", max_layers=17, candidates=1, out',
        "resolution=16": "resolution=8",
        'data="digits", epochs=16': 'data="digits", epochs=2, limit=40, threads=1',
        'data="digits", epochs=8': 'data="digits", epochs=1, limit=40, threads=1',
        "ne.refine(found)": (
            'ne.refine(found, method="uniform", images=64, swaps=0, limit=200, threads=1)'
        ),
        "ne.export(refined)": 'ne.export(refined, ["c"])',
        "ne.verify(refined)": 'ne.verify(refined, images=2, backends=["host-c"])',
        'search={"max_macs": "2m"}, train={"epochs": 16}': f"{SECTIONS}, threads=1",
    },
}
"""Parts of examples at full size, and their replacements here, by page."""


def smaller(page: Path, text: str) -> str:
    """Return an example with the sizes that take seconds."""
    for old, new in smaller_parts(page).items():
        text = text.replace(old, new)
    return text


def smaller_parts(page: Path) -> Mapping[str, str]:
    """Return the parts of a page's examples that are replaced."""
    return SMALLER.get(str(page.relative_to(ROOT)), {})


def example_run(folder: Path) -> Path:
    """Train and export a network for digits of 8 x 8 pixels, in a second or two, and return its run
    directory.
    """
    run = small_run(folder / "run")
    RunDirectory(run).write_config(
        resolve_config({"space": "mobilenet-32", "resolution": 8, "classes": 10}).as_mapping()
    )
    assert (
        run_training(
            run,
            TrainingRequest(
                data="digits", recipe=small_recipe(epochs=2, ema_decay=0.5), limit=IMAGES
            ),
        )
        is not None
    )
    export_run(run, ["c"])
    return run


def prepare(page: Path, run: Path, folder: Path) -> dict[str, Any]:
    """Return the names that a page's examples use, and put the run where they look for it.

    Args:
        page: Page of the documentation.
        run: From ``example_run``.
        folder: The folder in which they run.
    """
    for block in blocks(page, "yaml"):
        if block.file:
            (folder / block.file).write_text(block.text, encoding="utf-8")
    if page.name in ("manifest.md", "read_the_report.md", "c_into_firmware.md"):
        shutil.copytree(run, folder / "run")
    if page.name == "integer_model.md":
        network = extract(
            load_network(run / "training" / "network.pt"), [str(digit) for digit in range(10)]
        )
        return {"network": network, "images": digits().test.images}
    if page.name == "own_data.md":
        write_pets(folder / "pets")
    return {}


def write_pets(folder: Path) -> None:
    """Write two folders of small pictures, one class darker than the other, with more of it."""
    rng = np.random.default_rng(0)
    for name, brightness, count in (("cat", 60, 20), ("dog", 180, 10)):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = np.clip(rng.normal(brightness, 30, (40, 48, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
