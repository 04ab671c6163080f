"""Evidence for allocators, measured as far as methods need it and kept in ``RUN/refine/``.

Needs torch.

Every file names the network, the widths and the images it was measured with. One that was measured
with others, or that is damaged, is measured anew after saying so; one that was stopped half-way
goes on.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np

from nas_engine.allocation.problem import AllocationProblem, Floats, Levels
from nas_engine.allocation.quadratic import pair_noise
from nas_engine.allocation.records import Evidence, LayerEntropies, Sensitivity
from nas_engine.arrays import stored_arrays
from nas_engine.datasets import Split
from nas_engine.errors import FileFormatError
from nas_engine.events import Kind, Note, Progress, Sink, Started
from nas_engine.files import write_atomically
from nas_engine.reading import LARGE_FILE, parsing, read_regular
from nas_engine.report.allocations import Measurement
from nas_engine.runs.run_directory import RefineDirectory
from nas_engine.training.entropies import GAUSSIAN, HISTOGRAM, measure_entropies
from nas_engine.training.hessian import measure_hessian
from nas_engine.training.perturbation import Perturbations
from nas_engine.training.sensitivities import (
    MeasurementStoppedError,
    measure_pairs,
    measure_singles,
)

FORMAT = "nas-search/evidence/1"
"""Version of a file of entropies or of Hessian costs."""

ENTROPY_BATCHES = 16
"""Batches whose entropies are taken (chosen here)."""

HESSIAN_IMAGES = 128
"""Most images whose Hessian is probed (chosen here)."""

SINGLES, PAIRS, HESSIAN, ENTROPIES = "singles", "pairs", "hessian", "entropies"
"""Names of the measurements: fields of ``Evidence``, and stems of files."""


def measure(
    needs: Collection[str],
    perturbations: Perturbations,
    images: Split,
    folder: RefineDirectory,
    watch: Sink,
    *,
    given: Levels | None = None,
    seed: int = 0,
) -> tuple[Evidence, tuple[Measurement, ...]]:
    """Return the evidence that methods need, and a summary of each measurement.

    Args:
        needs: Fields of ``Evidence``.
        perturbations: The network and what choices do to it.
        images: Images to measure on.
        folder: Where measurements are kept.
        watch: Sink of progress and notes, and the answer whether to stop.
        given: Widths that came with the network.
        seed: Of the probes of the Hessian.

    Raises:
        MeasurementStoppedError: ``watch.stop`` said so; what is measured is kept.
        MeasurementError: A loss is not finite.
        UnreadableError: The operating system does not let a kept measurement be read; it stays as
            it is.
        StorageError: The disk is full.
    """
    found: list[Measurement] = []
    sensitivities: dict[str, Sensitivity] = {}
    for name, measure_one in ((SINGLES, measure_singles), (PAIRS, measure_pairs)):
        if name not in needs:
            continue
        watch(Started(text=f"measuring {name} ..."))
        path = folder.measurement(name)

        def attempt(
            name: str = name,
            measure_one: Callable[..., Sensitivity] = measure_one,
            path: Path = path,
        ) -> Sensitivity:
            return measure_one(
                perturbations,
                images.images,
                images.labels,
                state=path,
                stop=watch.stop,
                watch=lambda done, total: watch(
                    Progress(kind=Kind.MEASURING, what=f"measuring {name}", done=done, total=total)
                ),
            )

        sensitivities[name] = _anew_if_other(attempt, path, watch)
        found.append(_summary(name, perturbations.problem, sensitivities[name]))
    arrays: dict[str, Floats] = {}
    for name in (HESSIAN, ENTROPIES):
        if name in needs:
            took, arrays[name] = _kept(
                name, perturbations, images, folder.measurement(name), watch, seed
            )
            found.append(took)
    entropies = tuple(
        LayerEntropies(estimator=estimator, values=values)
        for estimator, values in zip((HISTOGRAM, GAUSSIAN), arrays.get(ENTROPIES, ()), strict=False)
    )
    evidence = Evidence(
        given=given,
        singles=sensitivities.get(SINGLES),
        pairs=sensitivities.get(PAIRS),
        hessian=arrays.get(HESSIAN),
        entropies=entropies,
    )
    return evidence, tuple(found)


def _anew_if_other(attempt: Callable[[], Sensitivity], path: Path, watch: Sink) -> Sensitivity:
    """Return a measurement; a file of something else is moved aside first."""
    try:
        return attempt()
    except FileFormatError as error:
        if not path.exists():
            raise
        aside = path.with_name(f"{path.stem}.earlier{path.suffix}")
        problem = error.problem.split(";")[0]
        watch(
            Note(text=f"{path}: {problem}; measured anew, the earlier file is kept as {aside.name}")
        )
        path.replace(aside)
        return attempt()


def _kept(
    name: str, perturbations: Perturbations, images: Split, path: Path, watch: Sink, seed: int
) -> tuple[Measurement, Floats]:
    """Return cost and values of a measurement in one pass, from its file or measured now."""
    if watch.stop():
        raise MeasurementStoppedError(0, 1, path)
    count = min(len(images), HESSIAN_IMAGES) if name == HESSIAN else len(images)
    used, labels = images.images[:count], images.labels[:count]
    head = {
        "format": FORMAT,
        "measurement": name,
        "seed": seed if name == HESSIAN else 0,
    } | perturbations.fingerprint(used, labels)
    if path.exists():
        content = read_regular(path, LARGE_FILE, "try again")
        problem = "was measured with another network, other images or another version"
        try:
            with parsing(path, "is damaged"):
                arrays = stored_arrays(content)
                if json.loads(str(arrays["head"])) == head:
                    took = Measurement(name=name, images=count, seconds=float(arrays["seconds"]))
                    return took, np.asarray(arrays["values"], np.float64)
        except FileFormatError as error:
            problem = error.problem
        watch(Note(text=f"{path}: {problem}; measured anew"))
    watch(Started(text=f"measuring {name} ..."))
    began = time.monotonic()
    if name == HESSIAN:
        values = measure_hessian(perturbations, used, labels, seed=seed)
    else:
        values = np.stack(
            [
                record.values
                for record in measure_entropies(perturbations, used, batches=ENTROPY_BATCHES)
            ]
        )
    took = Measurement(name=name, images=count, seconds=time.monotonic() - began)
    buffer = io.BytesIO()
    np.savez(buffer, head=np.array(json.dumps(head)), values=values, seconds=np.array(took.seconds))
    write_atomically(path, buffer.getvalue())
    return took, values


def _summary(name: str, problem: AllocationProblem, measured: Sensitivity) -> Measurement:
    """Return the largest loss, its standard error and the noise of the cross terms."""
    at = int(measured.losses.argmax())
    return Measurement(
        name=name,
        images=measured.images,
        seconds=measured.seconds,
        passes=measured.passes,
        largest=f"{problem.variables[problem.owner[at]].name} at {problem.choice_bits[at]} bits",
        loss=float(measured.losses[at]),
        standard_error=float(measured.standard_errors[at]),
        pair_noise=float("nan")
        if measured.halves is None
        else pair_noise(measured.halves, measured.matrix),
    )
