"""Trainings by the kernels in C against torch's own way: accuracies of several seeds.

python -m benchmarks.training_agreement

Both train the searched network of ``networks/mobilenet-32-64k-128k.yaml`` on scikit-learn's digits
at 32 x 32, float and then quantised, by the recipe ``digits`` cut short. Rounding flips single
levels, so no two such trainings are equal; the question is whether seeds differ more.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from benchmarks.harness import Row, main
from benchmarks.training_speed import NETWORK
from nas_engine.architecture import read_architecture
from nas_engine.datasets import open_dataset
from nas_engine.errors import NasEngineError
from nas_engine.kernels import Kernels
from nas_engine.training.compute import prepare_compute, prepare_kernels
from nas_engine.training.loop import TrainingTask, first_state, train
from nas_engine.training.recipe import load_recipe


def trained(task: TrainingTask) -> tuple[float, float]:
    """Return loss of the last epoch and accuracy on the test images."""
    rows: list[dict[str, float]] = []
    train(task, first_state(task), record=rows.append)
    return rows[-1]["loss"], rows[-1]["accuracy"]


def run(seeds: int = 3, epochs: int = 6, images: int = 1437, threads: int = 1) -> list[Row]:
    prepare_compute("cpu", threads)
    kernels = prepare_kernels("auto", "cpu")
    if kernels is None:
        raise NasEngineError("there are no kernels here; type nas-search train to see why")
    task = TrainingTask(
        architecture=read_architecture(NETWORK),
        recipe=replace(load_recipe("digits"), epochs=epochs),
        dataset=open_dataset("digits", resolution=32, channels=3, limit=images),
    )

    def of_seeds(by: Kernels | None) -> np.ndarray:
        return np.array([trained(replace(task, seed=seed, kernels=by)) for seed in range(seeds)]).T

    found, expected = of_seeds(kernels), of_seeds(None)
    rows = []
    for name, mine, theirs in zip(("loss", "accuracy"), found, expected, strict=True):
        spread = float(max(np.ptp(mine), np.ptp(theirs)))
        difference = float(mine.mean() - theirs.mean())
        both = "; ".join(
            f"{by} {', '.join(f'{x:.4g}' for x in values)}"
            for by, values in (("kernels", mine), ("torch", theirs))
        )
        rows.append(
            Row(
                what=f"{name} after {epochs} epochs of digits, seeds 0 to {seeds - 1}: {both}",
                measured=f"differ by {difference:+.4g}",
                at_least=f"at most {spread:.4g}, the spread of the seeds",
                reached=abs(difference) <= spread,
            )
        )
    return rows


if __name__ == "__main__":
    main("training_agreement", run, seeds=3, epochs=6, images=1437, threads=1)
