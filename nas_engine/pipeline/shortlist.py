"""Shortlist: a short training of the best networks of the front, because the score is a proxy.

Needs torch. They are judged in integers on training images set aside (or the validation images); no
test image is looked at. Few images leave several alike: of these the one with the smallest loss in
its last epoch is taken, a mean over all training images. Of 80 networks trained alike
(``benchmarks.studies.proxy``) that loss ranks the accuracy on test images better than 1,000 images
set aside do (measured here).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nas_engine.architecture import Architecture
from nas_engine.errors import NasEngineError
from nas_engine.events import SILENT, Note, Sink
from nas_engine.evolution.problem import SearchProblem
from nas_engine.pipeline.judging import is_ahead
from nas_engine.pipeline.new_run import keep_or_write
from nas_engine.pipeline.training import LoweringError
from nas_engine.report.network import NetworkReport
from nas_engine.report.search_record import report_member
from nas_engine.runs.epochs import read_epochs
from nas_engine.runs.pipeline_directory import PipelineDirectory
from nas_engine.runs.run_directory import RunDirectory
from nas_engine.training.loop import DivergedError
from nas_engine.training.recipe import TrainingRecipe
from nas_engine.training.result import TrainingResult
from nas_engine.training.start import same_structure

SHARE = 0.25
"""Share of the whole training's epochs (chosen here)."""

FEWEST_EPOCHS = 2
"""Least number of epochs: one in float and one quantised."""

SCORE, ACCURACY, LOSS, FAILURES = "score", "accuracy", "loss", "failures"
"""Reasons for a decision: the score, without training; an accuracy ahead of all others by more than
chance; the training loss of several alike in accuracy; failure of all others."""

Attempt = Callable[[Path, str], TrainingResult | None]
"""Training (or its continuation) of a run directory, under a name for its progress; ``None`` if it
was told to stop."""


def short_recipe(recipe: TrainingRecipe, epochs: int | None) -> TrainingRecipe:
    """Return a recipe with the given epochs, or a quarter of its own."""
    return replace(
        recipe,
        epochs=max(FEWEST_EPOCHS, round(recipe.epochs * SHARE)) if epochs is None else epochs,
    )


def members(run: RunDirectory, count: int) -> list[Architecture]:
    """Return the ``count`` best networks of a front that differ in depth, best score first.

    No two have the same number of inverted residuals in every block: the very best scores of a
    front belong to one network with a channel more or less, and to train those next to each
    other says nothing (chosen here). Only where that leaves too few, others of different
    structure follow; no two differ in their widths alone.

    Raises:
        RunDirectoryError: There is no winner yet.
        FileFormatError: A damaged file.
    """
    scores = [row["qe_score"] for row in run.front.read()]
    order = sorted(range(len(scores)), key=lambda index: -scores[index])
    best = run.read_best()
    chosen, others = [best], list[Architecture]()
    for index in order:
        network = replace(run.read_member(index + 1), room=best.room)
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
    directory: PipelineDirectory,
    search: SearchProblem,
    networks: list[Architecture],
    attempt: Attempt,
    *,
    fresh: bool,
    watch: Sink = SILENT,
) -> dict[str, Any] | None:
    """Train each network briefly, write the run directory of the best and return their figures.

    ``None`` if an attempt was told to stop. A network alone is taken without training; one whose
    training diverges, or that cannot be lowered to integers, is left out. A run directory of the
    winner that is there stays if it is of the very same network.

    Args:
        directory: The whole run.
        search: The search problem.
        networks: The shortlist, the best score first.
        attempt: Trains one.
        fresh: Train again what is trained already.
        watch: Sink of a note on each network that is left out.

    Raises:
        InputError: Data that do not fit.
        FileFormatError: The epochs of a training are damaged.
        NasEngineError: A training ran out of memory, or every network failed.
        StorageError: The disk is full.
    """
    rows = [_row(rank, report_member(network, search)) for rank, network in enumerate(networks, 1)]
    trained: dict[int, TrainingResult] = {}
    for index, network in enumerate(networks if len(networks) > 1 else []):
        run, what = directory.candidate(index + 1), f"candidate {index + 1} of {len(networks)}"
        keep_or_write(run, directory.search, search, network, keep=not fresh)
        try:
            result = attempt(run.path, what)
        except (DivergedError, LoweringError) as error:
            rows[index]["failure"] = str(error)
            watch(Note(text=f"{what} is left out: {error}"))
            continue
        if result is None:
            return None
        trained[index] = result
        rows[index] |= {
            "accuracy": result.accuracy.integer or 0.0,
            "loss": read_epochs(run.training.metrics)[-1]["loss"],
        }
    if len(networks) > 1 and not trained:
        every = (
            f"none of the {len(networks)} networks of the shortlist could be trained; the first: "
            f"{rows[0]['failure']}"
        )
        raise NasEngineError(
            f"{every}; every network of a shortlist is trained alike: try another --recipe"
        )
    best, decided_by = _decision(rows, trained)
    rows[best]["chosen"] = True
    keep_or_write(directory.network, directory.search, search, networks[best])
    return {**_common(trained), "decided_by": decided_by, "members": rows}


def _decision(
    rows: Sequence[dict[str, Any]], trained: Mapping[int, TrainingResult]
) -> tuple[int, str]:
    """Return the row that is taken, and the reason."""
    if not trained:
        return 0, SCORE
    places = list(trained)
    accuracies, losses = ([rows[place][name] for place in places] for name in ("accuracy", "loss"))
    images = trained[places[0]].accuracy.images
    if len(places) == 1:
        return places[0], FAILURES
    return places[best_of(accuracies, losses, images)], LOSS if len(
        _alike(accuracies, images)
    ) > 1 else ACCURACY


def _common(trained: Mapping[int, TrainingResult]) -> dict[str, Any]:
    """Return images and epochs, which all trained networks share."""
    first = next(iter(trained.values()), None)
    return (
        {}
        if first is None
        else {
            "images": first.accuracy.images,
            "epochs": first.float_epochs + first.quantised_epochs,
        }
    )


def best_of(accuracies: Sequence[float], losses: Sequence[float], images: int) -> int:
    """Return the index of the smallest loss among the networks that none is clearly ahead of.

    Args:
        accuracies: On images set aside, percent.
        losses: Mean training loss of the last epoch.
        images: Images set aside.
    """
    return min(_alike(accuracies, images), key=lambda index: losses[index])


def _alike(accuracies: Sequence[float], images: int) -> list[int]:
    """Return the indices of networks that none is ahead of by more than the standard error."""
    return [
        index
        for index, accuracy in enumerate(accuracies)
        if not is_ahead(max(accuracies), accuracy, images)
    ]


def _row(rank: int, report: NetworkReport) -> dict[str, Any]:
    return {
        "rank": rank,
        "qe_score": report.qe_score,
        "peak_sram_bytes": report.peak_sram_bytes,
        "flash_bytes": report.total_flash_bytes,
        "macs": report.total_macs,
        "layers": len(report.layer_names),
        "accuracy": None,
        "loss": None,
        "failure": None,
        "chosen": False,
    }
