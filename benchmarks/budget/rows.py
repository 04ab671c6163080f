"""Figures of the benchmark's networks, and how each ranks what training made of them.

Networks trained on a CPU and on a GPU are never in one correlation. Intervals are 95 % bootstraps
over the networks.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.budget.networks import HALVES, KINDS, Entry
from benchmarks.harness import Row
from benchmarks.statistics import Floats, spearman_estimate
from nas_engine.encoding import GeneView, architecture_frame, encode
from nas_engine.evolution.classes import standing
from nas_engine.layers import unroll
from nas_engine.report.network import report_network
from nas_engine.scoring.path_noise import PATH_NOISE_FORMS, path_noise
from nas_engine.scoring.qe_score import ScoreSettings, default_stage_weights

FEWEST = 4
"""Networks below which no correlation is given."""

DRAWN = (10, 20)
"""Networks of the sets in which regret is measured."""

DRAWS = 4000
"""Sets of each size."""

Record = dict[str, Any]
"""Record of one training, with the figures of its network."""


def figures_of(entry: Entry) -> dict[str, float]:
    """Return what is known of a network without training; of each, a larger or smaller value."""
    network = entry.architecture
    frame = architecture_frame(network)
    genes = encode(frame, [network])
    table, view = unroll(frame, genes), GeneView(frame, genes)
    score = ScoreSettings(stage_weights=default_stage_weights(network))
    report = report_network(network, score=score)
    noises = {
        name: float(path_noise(table, view.w_bits, view.a_bits, form)[0])
        for name, form in PATH_NOISE_FORMS.items()
    }
    return {
        "qe-score": report.qe_score,
        **noises,
        "effectiveness": report.effectiveness,
        "convolutions": float(len(report.layer_names) - 1),
        "macs": report.total_macs,
        "parameters": float(table.weights.sum()),
        "flash_bytes": report.total_flash_bytes,
        "peak_sram_bytes": report.peak_sram_bytes,
    }


def described(records: Sequence[Record], entries: Sequence[Entry]) -> list[Record]:
    """Return records with cell and figures of their networks, in the order of the entries."""
    by_name = {entry.name: entry for entry in entries}
    order = {entry.name: place for place, entry in enumerate(entries)}
    found = []
    for record in sorted(records, key=lambda record: order.get(record["network"], len(order))):
        if (entry := by_name.get(record["network"])) is not None:
            cell = {"half": entry.half, "kind": entry.kind, "pattern": entry.pattern}
            losses = [row["loss"] for row in record["history"]]
            trained = {"loss_1": losses[0], "loss_2": losses[min(1, len(losses) - 1)]}
            found.append(
                {name: value for name, value in record.items() if name != "history"}
                | cell
                | figures_of(entry)
                | trained
                | {"loss": losses[-1]}
            )
    return found


COLUMNS = (
    *("network", "half", "kind", "pattern", "accuracy", "loss", "loss_1", "loss_2", "qe-score"),
    *PATH_NOISE_FORMS,
    *("effectiveness", "convolutions", "macs", "parameters", "flash_bytes", "peak_sram_bytes"),
    *("seed", "epochs", "images", "processor_seconds", "device", "kernels", "torch"),
)
"""Columns of the CSV."""


def as_csv(found: Sequence[Record]) -> str:
    """Return records as the text of a CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(found)
    return text.getvalue()


def predictors(found: Sequence[Record]) -> dict[str, Floats]:
    """Return every figure that may rank networks, larger is better, ``(n,)`` each."""

    def column(name: str) -> Floats:
        return np.array([record[name] for record in found], np.float64)

    def rank(values: Floats) -> Floats:
        return np.asarray(values.argsort().argsort(), np.float64)

    noises = {f"- {name}": -column(name) for name in PATH_NOISE_FORMS}
    values = {
        **noises,
        "QE-Score": column("qe-score"),
        "QE-Score / convolutions": column("qe-score") / column("convolutions"),
        "- effectiveness": -column("effectiveness"),
        "- convolutions": -column("convolutions"),
        "MACs": column("macs"),
        "- path-noise-without-stem and octave of MACs, ranks added": standing(
            column("path-noise-without-stem"), column("macs")
        ),
        "parameters": column("parameters"),
    }
    for epochs in (1, 2):
        loss = -column(f"loss_{epochs}")
        values[f"loss of epoch {epochs}"] = loss
        values |= {
            f"loss of epoch {epochs} and {name}, ranks added": rank(loss) + rank(noise)
            for name, noise in noises.items()
        }
    return values


def regret(values: Floats, accuracy: Floats, drawn: int, seed: int = 0) -> float:
    """Return the mean loss of accuracy where a figure picks one of ``drawn`` networks."""
    rng, lost = np.random.default_rng(seed), 0.0
    for _ in range(DRAWS):
        chosen = rng.choice(accuracy.size, min(drawn, accuracy.size), replace=False)
        lost += accuracy[chosen].max() - accuracy[chosen[values[chosen].argmax()]]
    return lost / DRAWS


def rows_of(found: Sequence[Record], again: Sequence[Record]) -> list[Row]:
    """Return the rows of all records: of each device, the whole set and its parts."""
    rows = list[Row]()
    for device in dict.fromkeys(record["device"] for record in found):
        own = [record for record in found if record["device"] == device]
        rows.append(_about(device, own))
        parts = {"all": own}
        for key, names in (("half", HALVES), ("kind", KINDS)):
            parts |= {name: [one for one in own if one[key] == name] for name in names}
        for name, part in parts.items():
            if len(part) >= FEWEST:
                rows += _ranked(f"{device}, {name} ({len(part)} networks)", part)
        rows += _repeated(device, own, [one for one in again if one["device"] == device])
    return rows


def _about(device: str, found: Sequence[Record]) -> Row:
    accuracy = np.array([record["accuracy"] for record in found])
    seconds = np.mean([record["processor_seconds"] for record in found])
    made = ", ".join(dict.fromkeys(f"{one['kernels']}, torch {one['torch']}" for one in found))
    return _row(
        f"{device}: {len(found)} networks, {found[0]['epochs']} epochs of {found[0]['images']:,} "
        f"images ({made}): accuracy",
        f"{accuracy.min():.2f} to {accuracy.max():.2f} %, mean {accuracy.mean():.2f} %, standard "
        f"deviation {accuracy.std():.2f}; {seconds:.0f} s of processor time per network",
    )


def _ranked(what: str, part: Sequence[Record]) -> list[Row]:
    accuracy = np.array([record["accuracy"] for record in part])
    rows = []
    for name, values in predictors(part).items():
        lost = ", ".join(f"{regret(values, accuracy, drawn):.2f} ({drawn})" for drawn in DRAWN)
        rows.append(
            _row(
                f"{what}: {name}",
                f"Spearman {spearman_estimate(values, accuracy)}; regret {lost} points",
            )
        )
    return rows


def _repeated(device: str, found: Sequence[Record], again: Sequence[Record]) -> list[Row]:
    first = {record["network"]: record["accuracy"] for record in found}
    pairs = np.array(
        [(first[one["network"]], one["accuracy"]) for one in again if one["network"] in first]
    )
    if len(pairs) < FEWEST:
        return []
    change = pairs[:, 1] - pairs[:, 0]
    return [
        _row(
            f"{device}: {len(pairs)} networks with another seed",
            f"Spearman {spearman_estimate(*pairs.T)}; standard deviation of one run "
            f"{change.std(ddof=1) / np.sqrt(2):.2f} points",
        )
    ]


def _row(what: str, measured: str) -> Row:
    return Row(what=what, measured=measured, at_least="for comparison", reached=True)
