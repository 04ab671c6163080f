"""Shortlist: a short training of the best networks of the front, because the score is a proxy.

Needs torch. They are judged in integers on training images set aside (or the validation images); no
test image is looked at. Few images leave several alike: of these the one with the smallest loss in
its last epoch is taken, a mean over all training images. Of 80 networks trained alike
(``benchmarks.studies.proxy``) that loss ranks the accuracy on test images better than 1,000 images
set aside do (measured here). Many networks are narrowed down first, see
``nas_engine.pipeline.rungs``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nas_engine.architecture import Architecture
from nas_engine.errors import NasEngineError
from nas_engine.events import SILENT, Note, Sink
from nas_engine.evolution.problem import SearchProblem
from nas_engine.pipeline.judging import is_ahead
from nas_engine.pipeline.members import figures_of
from nas_engine.pipeline.new_run import keep_or_write
from nas_engine.pipeline.rungs import best_of_ranks
from nas_engine.pipeline.training import LoweringError
from nas_engine.report.network import NetworkReport
from nas_engine.report.search_record import report_member
from nas_engine.runs.epochs import read_epochs
from nas_engine.runs.pipeline_directory import PipelineDirectory
from nas_engine.training.loop import DivergedError
from nas_engine.training.result import TrainingResult

SCORE, ACCURACY, LOSS, FAILURES = "score", "accuracy", "loss", "failures"
"""Reasons for a decision: the score, without training; an accuracy ahead of all others by more than
chance; the training loss of several alike in accuracy; failure of all others."""

Attempt = Callable[[Path, str], TrainingResult | None]
"""Training (or its continuation) of a run directory, under a name for its progress; ``None`` if it
was told to stop."""


def choose(
    directory: PipelineDirectory,
    search: SearchProblem,
    networks: Mapping[int, Architecture],
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
        networks: The shortlist by rank, the best score first.
        attempt: Trains one.
        fresh: Train again what is trained already.
        watch: Sink of a note on each network that is left out.

    Raises:
        InputError: Data that do not fit.
        FileFormatError: The epochs of a training are damaged.
        NasEngineError: A training ran out of memory, or every network failed.
        StorageError: The disk is full.
    """
    rows = {rank: _row(rank, report_member(network, search)) for rank, network in networks.items()}
    trained: dict[int, TrainingResult] = {}
    for place, (rank, network) in enumerate(networks.items() if len(networks) > 1 else (), 1):
        run, what = directory.candidate(rank), f"candidate {place} of {len(networks)}"
        keep_or_write(run, directory.search, search, network, keep=not fresh)
        try:
            result = attempt(run.path, what)
        except (DivergedError, LoweringError) as error:
            rows[rank]["failure"] = str(error)
            watch(Note(text=f"{what} is left out: {error}"))
            continue
        if result is None:
            return None
        trained[rank] = result
        rows[rank] |= {
            "accuracy": result.accuracy.integer or 0.0,
            "loss": read_epochs(run.training.metrics)[-1]["loss"],
        }
    if len(networks) > 1 and not trained:
        raise _nothing_left(rows)
    best, decided_by = _decision(rows, trained)
    rows[best]["chosen"] = True
    keep_or_write(directory.network, directory.search, search, networks[best])
    return {**_common(trained), "decided_by": decided_by, "members": list(rows.values())}


def narrow(
    directory: PipelineDirectory,
    search: SearchProblem,
    networks: Mapping[int, Architecture],
    attempt: Attempt,
    *,
    rung: int,
    go_on: int,
    fresh: bool,
    watch: Sink = SILENT,
) -> dict[str, Any] | None:
    """Train each network of a rung in float and return their figures, and which go on.

    ``None`` if an attempt was told to stop. One whose training diverges is left out.

    Args:
        directory: The whole run.
        search: The search problem.
        networks: The networks by rank.
        attempt: Trains one.
        rung: Number of the rung, from 1.
        go_on: Networks that go on.
        fresh: Train again what is trained already.
        watch: Sink of a note on each network that is left out.

    Raises:
        InputError: Data that do not fit.
        FileFormatError: The epochs of a training are damaged.
        NasEngineError: A training ran out of memory, or every network failed.
        StorageError: The disk is full.
    """
    rows, epochs = dict[int, dict[str, Any]](), 0
    for place, (rank, network) in enumerate(networks.items(), 1):
        run, what = directory.candidate(rank, rung), f"candidate {place} of {len(networks)}"
        keep_or_write(run, directory.search, search, network, keep=not fresh)
        row: dict[str, Any] = {
            "rank": rank,
            "qe_score": report_member(network, search).qe_score,
            "path_noise": figures_of(network).noise,
            "loss": None,
            "accuracy": None,
            "failure": None,
            "goes_on": False,
        }
        rows[rank] = row
        try:
            result = attempt(run.path, what)
        except DivergedError as error:
            row["failure"] = str(error)
            watch(Note(text=f"{what} is left out: {error}"))
            continue
        if result is None:
            return None
        epochs = result.float_epochs
        row["loss"] = read_epochs(run.training.metrics)[-1]["loss"]
        row["accuracy"] = result.accuracy.floating
    there = [row for row in rows.values() if row["failure"] is None]
    if not there:
        raise _nothing_left(rows)
    losses, noises = ([row[name] for row in there] for name in ("loss", "path_noise"))
    for index in best_of_ranks(losses, noises, go_on):
        there[index]["goes_on"] = True
    return {"epochs": epochs, "members": list(rows.values())}


def _nothing_left(rows: Mapping[int, Mapping[str, Any]]) -> NasEngineError:
    first = next(iter(rows.values()))["failure"]
    return NasEngineError(
        f"none of the {len(rows)} networks of the shortlist could be trained; the first: {first}; "
        "every network of a shortlist is trained alike: try another --recipe"
    )


def _decision(
    rows: Mapping[int, Mapping[str, Any]], trained: Mapping[int, TrainingResult]
) -> tuple[int, str]:
    """Return the rank that is taken, and the reason."""
    if not trained:
        return min(rows), SCORE
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
    figures = report.as_json()
    return {
        "rank": rank,
        **{
            name: figures[name]
            for name in ("qe_score", "peak_sram_bytes", "flash_bytes", "macs", "layers")
        },
        "accuracy": None,
        "loss": None,
        "failure": None,
        "chosen": False,
    }
