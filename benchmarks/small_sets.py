"""Whole runs on small image folders, through the command line: none may be refused after the search
has begun.

python -m benchmarks.small_sets

Each folder has two classes of scikit-learn's digits as PNG, ``train/`` with that many images,
``test/`` with ten.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.harness import Row, main

COUNTS = "10,34,70,127,128,300,575,576"
"""Training images: below, at and above what a choice of bits needs, and what it asks for."""

OPTIONS = (
    *(
        "--space",
        "mobilenet-32",
        "--resolution",
        "16",
        "--max-macs",
        "1m",
        "--sram",
        "24k",
        "--flash",
        "48k",
        "--epochs",
        "2",
    ),
    *(
        "--set",
        "verify.images=4",
        "--set",
        "verify.emulated_images=1",
        "--set",
        "verify.backends=[host-c, onnx]",
    ),
)
"""Of every run: a small space, and a proof on one machine."""

SAID = {
    "the bits of the search are kept": "the search's bits are kept",
    "training images measure what bits cost, instead of": "half of them measure",
}
"""Sentences of a run about its images, and their short form in a row."""


def write_folder(path: Path, count: int) -> Path:
    """Write an image folder of even and odd digits with ``count`` training images and ten test
    images, and return it.
    """
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    pictures = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    for number, picture in enumerate(pictures[: count + 10]):
        split = "train" if number < count else "test"
        folder = path / split / ("odd" if number % 2 else "even")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).resize((20, 20)).save(folder / f"{number:04d}.png")
    return path


def run(counts: str = COUNTS, candidates: int = 2000) -> list[Row]:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for count in map(int, counts.split(",")):
            data = write_folder(Path(folder) / f"folder{count}", count)
            options = [
                *OPTIONS,
                "--candidates",
                str(candidates),
                "--data",
                str(data),
                "--out",
                str(Path(folder) / f"run{count}"),
            ]
            command = [sys.executable, "-m", "nas_engine.cli.main", "run", *options]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            said = next(
                (short for text, short in SAID.items() if text in done.stderr),
                "as many measure as asked",
            )
            failed = (
                ""
                if done.returncode == 0
                else f": {(done.stderr.strip().splitlines() or [''])[-1]}"
            )
            rows.append(
                Row(
                    what=f"a whole run on an image folder of {count} training images ({said})",
                    measured=f"exit {done.returncode}{failed}",
                    at_least="exit 0",
                    reached=done.returncode == 0,
                )
            )
            print(rows[-1].what, rows[-1].measured, flush=True)
    return rows


if __name__ == "__main__":
    main("small_sets", run, counts=COUNTS, candidates=2000)
