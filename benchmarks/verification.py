"""Trained networks and randomly sampled ones, exported, through every back-end: do all integers and
all bytes agree?

python -m benchmarks.verification --runs runs/CIFAR,runs/PERSON

Runs are directories that ``nas-search train`` has finished. Sampled networks come from the space
``mobilenet-32`` with random bits and random weights, see ``benchmarks.integer_reference``; their
images are handwritten digits, enlarged and tinted.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

from benchmarks.harness import Row, main
from benchmarks.integer_reference import pictures, untrained
from device_profiles import DeviceProfile, load_device
from nas_engine.architecture import Architecture
from nas_engine.costs.compute import macs
from nas_engine.encoding import decode, space_frame
from nas_engine.evolution.operators import sample
from nas_engine.exporters.bundle import export_files, formats_of, subject_of
from nas_engine.exporters.settings import ExportSettings
from nas_engine.integer.store import GoldenVectors, SavedModel
from nas_engine.layers import unroll
from nas_engine.pipeline.export import export_run
from nas_engine.pipeline.verify import promised, verify, verify_run
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


def verify_sampled(
    network: Architecture, seed: int, device: DeviceProfile, images: int, emulated_images: int
) -> VerificationReport:
    """Export a network with random weights and verify it on handwritten digits, enlarged and
    tinted.
    """
    import sklearn.datasets  # noqa: F401  (without it the pictures would be noise)

    model = untrained(network, seed)
    batch = pictures(images, network.resolution, network.input_channels)
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
            for row in back_ends(device, images, emulated_images)
            if row.by_default and (Path(folder) / row.file).exists()
        ]
        return verify(
            subject,
            promised(network),
            Path(folder),
            rows,
            batch,
            "scikit-learn's digits, enlarged and tinted",
        )


def describe(what: str, report: VerificationReport) -> list[Row]:
    """Return a line per back-end and per amount of memory."""
    rows = []
    for one in report.comparisons:
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
    runs: str = "", networks: int = 50, images: int = 1000, emulated_images: int = 20
) -> list[Row]:
    rows: list[Row] = []
    for path in filter(None, runs.split(",")):
        export_run(Path(path))
        report = verify_run(Path(path), images=images, emulated_images=emulated_images)
        rows += describe(Path(path).resolve().name, report)
    device = load_device("cortex-m7")
    differing: Counter[str] = Counter()
    values: Counter[str] = Counter()
    problems: Counter[str] = Counter()
    memory = {"arena": 0, "weights, constants, layer table": 0, "total RAM (arena, data, stack)": 0}
    flash = 0.0
    pairs: set[tuple[int, int]] = set()
    exact: dict[str, bool] = {}
    for seed, network in enumerate(sampled(networks)):
        pairs |= {(bits.w, bits.a) for bits in network.layer_bits()}
        report = verify_sampled(network, seed, device, images, emulated_images)
        for one in report.comparisons:
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
    for name, count in values.items():
        ended = f"; {problems[name]} networks failed or not run" if problems[name] else ""
        rows.append(
            Row(
                what=(
                    f"{networks} sampled networks ({len(pairs)} pairs of widths): values that "
                    f"differ, {name}"
                ),
                measured=f"{differing[name]:,} of {count:,}{ended}",
                at_least="0" if exact[name] else "reported",
                reached=not (exact[name] and differing[name]) and not problems[name],
            )
        )
    for what, off in memory.items():
        most = 256 if "RAM" in what else 0
        rows.append(
            Row(
                what=f"the same: {what}, largest error",
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
    main("verification", run, runs="", networks=50, images=1000, emulated_images=20)
