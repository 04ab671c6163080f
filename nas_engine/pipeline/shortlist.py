"""The best networks of the front, each with a short training: the score is a proxy, so it does not have the last word. Needs torch.

They are judged in integers on training images set aside (or the validation images); no test image is looked at. Few images leave
several alike: of these the one with the smallest loss in its last epoch is taken, a mean over all training images. Of 80 networks
trained alike (``benchmarks.proxy``) that loss ranks the accuracy on test images better than 1,000 images set aside do: ours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nas_engine.architecture import Architecture, read_architecture
from nas_engine.evolution.problem import SearchProblem
from nas_engine.pipeline.judging import is_ahead
from nas_engine.pipeline.new_run import keep_or_write
from nas_engine.pipeline.search_record import report_member
from nas_engine.report.epochs import read_epochs
from nas_engine.report.network import NetworkReport
from nas_engine.report.pipeline_directory import PipelineDirectory
from nas_engine.report.run_directory import RunDirectory
from nas_engine.training.recipe import TrainingRecipe
from nas_engine.training.result import TrainingResult
from nas_engine.training.start import same_structure

SHARE = 0.25
"""Share of the whole training's epochs; ours."""

FEWEST_EPOCHS = 2
"""One in float and one quantised, at least."""

Attempt = Callable[[Path, str], TrainingResult | None]
"""Trains (or goes on training) a run directory, named for whoever watches; ``None`` if it was told to stop."""


def short_recipe(recipe: TrainingRecipe, epochs: int | None) -> TrainingRecipe:
    """Return a recipe with fewer epochs: those given, or a quarter of them."""
    return replace(recipe, epochs=max(FEWEST_EPOCHS, round(recipe.epochs * SHARE)) if epochs is None else epochs)


def members(run: RunDirectory, count: int) -> list[Architecture]:
    """Return the ``count`` networks of a front with the best scores that differ in depth, the best first.

    No two have the same number of inverted residuals in every block: the very best scores of a front belong to one network with a channel
    more or less, and to train those beside each other says nothing (ours). Only where that leaves too few, others of different structure
    follow; networks that differ in their widths alone never stand beside each other.

    Raises:
        RunDirectoryError: There is no winner yet.
        FileFormatError: A damaged file.
    """
    scores = [row["qe_score"] for row in run.front.read()]
    order = sorted(range(len(scores)), key=lambda index: -scores[index])
    chosen, others = [run.read_best()], list[Architecture]()
    for index in order:
        network = read_architecture(run.path / "pareto" / f"{index + 1:03d}.yaml")
        if any(same_structure(network, other) for other in (*chosen, *others)):
            continue
        alike = any(depths(network) == depths(other) for other in chosen)
        (others if alike else chosen).append(network)
        if len(chosen) == count:
            return chosen
    return [*chosen, *others][:count]


def depths(network: Architecture) -> tuple[int, ...]:
    """Return the number of inverted residuals of each block, from the input to the output."""
    return tuple(len(block.bits) for block in network.blocks)


def choose(
    directory: PipelineDirectory, search: SearchProblem, networks: list[Architecture], attempt: Attempt, *, fresh: bool
) -> dict[str, Any] | None:
    """Train each network shortly, write the best one's run directory and return how they did; ``None`` if an attempt was told to stop.

    A network alone is taken without training. A run directory of the winner that is there stays if it is of the very same network.

    Args:
        directory: The whole run.
        search: What was searched for.
        networks: The shortlist, the best score first.
        attempt: Trains one.
        fresh: Whether to train those again that are trained.

    Raises:
        InputError: Data that do not fit.
        FileFormatError: The epochs of a training are damaged.
        NasEngineError: A training failed.
        StorageError: The disk is full.
    """
    reports = [report_member(network, search) for network in networks]
    results, losses = list[TrainingResult](), list[float]()
    for rank, network in enumerate(networks if len(networks) > 1 else [], 1):
        run = directory.candidate(rank)
        keep_or_write(run, directory.search, search, network, keep=not fresh)
        result = attempt(run.path, f"candidate {rank} of {len(networks)}")
        if result is None:
            return None
        results.append(result)
        losses.append(read_epochs(run.training.metrics)[-1]["loss"])
    accuracies = [result.accuracy.integer or 0.0 for result in results]
    best = best_of(accuracies, losses, results[0].accuracy.images) if results else 0
    keep_or_write(directory.network, directory.search, search, networks[best])
    rows = [_row(rank, report, rank == best) for rank, report in enumerate(reports)]
    for row, accuracy, loss in zip(rows, accuracies, losses, strict=False):
        row |= {"accuracy": accuracy, "loss": loss}
    trained = {"images": results[0].accuracy.images, "epochs": results[0].float_epochs + results[0].quantised_epochs} if results else {}
    return {**trained, "members": rows}


def best_of(accuracies: Sequence[float], losses: Sequence[float], images: int) -> int:
    """Return which network does best: the smallest loss among those that no other is ahead of by more than the standard error.

    Args:
        accuracies: On images set aside, percent.
        losses: Mean training loss of the last epoch.
        images: Images set aside.
    """
    alike = [index for index, accuracy in enumerate(accuracies) if not is_ahead(max(accuracies), accuracy, images)]
    return min(alike, key=lambda index: losses[index])


def _row(index: int, report: NetworkReport, chosen: bool) -> dict[str, Any]:
    return {
        "rank": index + 1,
        "qe_score": report.qe_score,
        "peak_sram_bytes": report.peak_sram_bytes,
        "flash_bytes": report.total_flash_bytes,
        "macs": report.total_macs,
        "layers": len(report.layer_names),
        "accuracy": None,
        "loss": None,
        "chosen": chosen,
    }
