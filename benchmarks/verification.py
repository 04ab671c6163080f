"""Trained networks and randomly sampled ones, exported, through every back-end: do all integers and
all bytes agree?

python -m benchmarks.verification --runs runs/CIFAR,runs/PERSON

Runs are directories that ``nas-search train`` has finished. Sampled networks come from the space
``mobilenet-32`` with random bits and random weights, see ``benchmarks.integer_reference``; their
images are handwritten digits, enlarged and tinted. Networks of residual blocks are random records,
one for each pair of widths in turn; their images are noise, 100 at most.
"""

from __future__ import annotations

import itertools
import tempfile
from collections import Counter
from collections.abc import Container, Iterable
from pathlib import Path

import numpy as np

from benchmarks.harness import Row, main
from benchmarks.integer_reference import pictures
from device_profiles import DeviceProfile, load_device
from nas_engine.architecture import Architecture
from nas_engine.costs.compute import macs
from nas_engine.costs.plan import plan_graph
from nas_engine.encoding import decode, space_frame
from nas_engine.evolution.operators import sample
from nas_engine.exporters.bundle import export_files, formats_of, subject_of
from nas_engine.exporters.settings import ExportSettings
from nas_engine.exporters.sizes import packed_bytes
from nas_engine.integer.lowering import lower
from nas_engine.integer.model import IntegerModel
from nas_engine.integer.reference import Images
from nas_engine.integer.store import GoldenVectors, SavedModel
from nas_engine.layers import unroll
from nas_engine.pipeline.export import export_run
from nas_engine.pipeline.verify import promised, verify, verify_run
from nas_engine.testing.networks import residual_record, untrained
from nas_engine.verification.result import Verdict, VerificationReport
from nas_engine.verification.table import back_ends
from search_spaces import load_space

MOST_MACS = 2_000_000
"""Sampled networks are smaller than this, so that a thousand images take seconds."""

RESOLUTION = 16
"""Pixels of the sampled networks."""


def sampled(count: int, seed: int = 0) -> list[Architecture]:
    """Return networks of the space with random bits in every layer."""
    space = load_space("mobilenet-32")
    frame = space_frame(space, RESOLUTION, 10)
    rng = np.random.default_rng(seed)
    chosen: list[Architecture] = []
    while len(chosen) < count:
        genes = sample(space, frame, 64, rng)
        small = np.flatnonzero(macs(unroll(frame, genes)) <= MOST_MACS)
        chosen += [decode(frame, genes[:, i]) for i in small]
    return chosen[:count]


def verify_model(
    model: IntegerModel,
    batch: Images,
    predicted: tuple[int, int],
    device: DeviceProfile,
    emulated_images: int,
    data: str,
    backends: Container[str] = (),
) -> VerificationReport:
    """Export a model and run it through every back-end on a batch of images.

    ``predicted`` are the bytes of its arena and of its weights, constants and layer table;
    ``backends`` are names of the table, all of its default without any.
    """
    subject = subject_of(
        SavedModel(model=model, golden=GoldenVectors.of(model, batch[:4])), device.name
    )
    with tempfile.TemporaryDirectory() as folder:
        for name, content in export_files(subject, ExportSettings(formats=formats_of())).items():
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        rows = [
            row
            for row in back_ends(device, len(batch), emulated_images)
            if (row.name in backends if backends else row.by_default)
            and (Path(folder) / row.file).exists()
        ]
        return verify(subject, predicted, Path(folder), rows, batch, data)


def verify_sampled(
    network: Architecture, seed: int, device: DeviceProfile, images: int, emulated_images: int
) -> VerificationReport:
    """Verify an architecture with random weights on handwritten digits, enlarged and tinted."""
    import sklearn.datasets  # noqa: F401  (without it the pictures would be noise)

    model = untrained(network, seed)
    batch = pictures(images, network.resolution, network.input_channels)
    told = "scikit-learn's digits, enlarged and tinted"
    return verify_model(model, batch, promised(network), device, emulated_images, told)


PAIRS = tuple(itertools.product(range(2, 9), repeat=2))
"""All pairs of widths of weights and inputs."""


def verify_residual(
    seed: int,
    device: DeviceProfile,
    images: int,
    emulated_images: int,
    backends: Container[str] = (),
) -> VerificationReport:
    """Verify a random network of residual blocks, all of one pair of widths, on noise.

    Predicted are the memory plan and the sum of its steps' bytes.
    """
    rng = np.random.default_rng(seed)
    model = lower(residual_record(rng, PAIRS[seed % len(PAIRS)], most=16))
    noise = rng.integers(-40, 296, (images, *model.tensor(model.image).shape))
    batch = np.clip(noise, 0, 255).astype(np.uint8)
    predicted = plan_graph(model).arena_bytes, packed_bytes(model)
    return verify_model(model, batch, predicted, device, emulated_images, "noise", backends)


def describe(what: str, report: VerificationReport) -> list[Row]:
    """Return a line per back-end and per amount of memory."""
    rows = []
    for one in report.backends:
        exact = one.verdict is not Verdict.CLOSE
        measured = (
            f"{one.differing:,} of {one.values:,}" if one.values else f"{one.verdict}: {one.note}"
        )
        if one.differing:
            measured += (
                f" (at most {one.largest}; {one.predictions:,} of {one.images:,} predictions)"
            )
        wanted = "0" if exact else "reported"
        reached = not (exact and one.differing) and bool(one.values)
        rows.append(
            Row(
                what=f"{what}: {one.backend}, {one.images:,} images",
                measured=measured,
                at_least=wanted,
                reached=reached,
            )
        )
    for line in report.memory:
        rows.append(
            Row(
                what=f"{what}: {line.what}, {line.backend}",
                measured=(
                    f"{line.measured:,} B, predicted "
                    f"{'-' if line.predicted is None else format(line.predicted, ',')} B"
                ),
                at_least=f"within {line.tolerance:,} B",
                reached=line.verdict is Verdict.EQUAL,
            )
        )
    return rows


def run(
    runs: str = "",
    networks: int = 50,
    images: int = 1000,
    emulated_images: int = 20,
    residual: int = len(PAIRS),
) -> list[Row]:
    rows: list[Row] = []
    for path in filter(None, runs.split(",")):
        export_run(Path(path))
        report = verify_run(Path(path), images=images, emulated_images=emulated_images)
        rows += describe(Path(path).resolve().name, report)
    device = load_device("cortex-m7")
    chosen = sampled(networks)
    pairs = {(bits.w, bits.a) for network in chosen for bits in network.layer_bits()}
    rows += tally(
        f"{networks} sampled networks ({len(pairs)} pairs of widths)",
        (
            verify_sampled(network, seed, device, images, emulated_images)
            for seed, network in enumerate(chosen)
        ),
    )
    pairs = {PAIRS[seed % len(PAIRS)] for seed in range(residual)}
    rows += tally(
        f"{residual} networks of residual blocks ({len(pairs)} pairs of widths)",
        (
            verify_residual(seed, device, min(images, 100), emulated_images)
            for seed in range(residual)
        ),
    )
    return rows


def tally(what: str, reports: Iterable[VerificationReport]) -> list[Row]:
    """Return a line per back-end and per amount of memory, over all reports; none without any."""
    differing: Counter[str] = Counter()
    values: Counter[str] = Counter()
    problems: Counter[str] = Counter()
    memory = {"arena": 0, "weights, constants, layer table": 0, "total RAM (arena, data, stack)": 0}
    flash = 0.0
    exact: dict[str, bool] = {}
    for report in reports:
        for one in report.backends:
            exact[one.backend] = exact.get(one.backend, True) and one.verdict is not Verdict.CLOSE
            differing[one.backend] += one.differing + len(one.differing_tensors)
            values[one.backend] += one.values
            problems[one.backend] += one.verdict in (Verdict.FAILED, Verdict.SKIPPED)
        for line in report.memory:
            off = abs(line.measured - (line.predicted or 0))
            if line.what in memory:
                memory[line.what] = max(memory[line.what], off)
            else:
                flash = max(flash, off / line.measured)
    if not values:
        return []
    rows = []
    for name, count in values.items():
        ended = f"; {problems[name]} networks failed or not run" if problems[name] else ""
        rows.append(
            Row(
                what=f"{what}: values that differ, {name}",
                measured=f"{differing[name]:,} of {count:,}{ended}",
                at_least="0" if exact[name] else "reported",
                reached=not (exact[name] and differing[name]) and not problems[name],
            )
        )
    for part, off in memory.items():
        most = 256 if "RAM" in part else 0
        rows.append(
            Row(
                what=f"the same: {part}, largest error",
                measured=f"{off:,} B",
                at_least=f"{most} B",
                reached=off <= most,
            )
        )
    rows.append(
        Row(
            what="the same: total Flash, largest error",
            measured=f"{flash:.2%}",
            at_least="1 %",
            reached=flash <= 0.01,
        )
    )
    return rows


if __name__ == "__main__":
    main(
        "verification",
        run,
        runs="",
        networks=50,
        images=1000,
        emulated_images=20,
        residual=len(PAIRS),
    )
