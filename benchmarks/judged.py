"""Shared part of the allocator studies: a trained network with its measurements, kept on disk.

Each has one calibration seed.

Widths are free in all layers but the first and the last, which have 8 bits throughout, as in
CLADO's public code. Calibration images are training images; what is judged is the network rounded
to its widths, without training.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.network_problem import network_problem
from benchmarks.subjects import load_subject
from benchmarks.traced import traced_subject
from nas_engine.allocation.iqp import solve
from nas_engine.allocation.problem import WEIGHTS, AllocationProblem, Floats, Levels
from nas_engine.allocation.records import BitAllocation, Evidence, Sensitivity
from nas_engine.allocation.table import allocate
from nas_engine.datasets import Dataset, Split, open_dataset
from nas_engine.files import write_atomically
from nas_engine.scoring.qe_score import ScoreSettings
from nas_engine.scoring.quantised_gaussian import log_std_table
from nas_engine.training.entropies import measure_entropies
from nas_engine.training.hessian import measure_hessian
from nas_engine.training.perturbation import Perturbations
from nas_engine.training.sensitivities import measure_pairs, measure_singles

RESOLUTION = 32
END_BITS = 8
"""Width of weights and inputs of the first and the last layer."""

ENTROPY_BATCH = 64
HESSIAN_IMAGES = 64


@functools.cache
def images_of(data: str) -> Dataset:
    """Return the data, read once."""
    return open_dataset(data, resolution=RESOLUTION, channels=3)


def drawn(split: Split, count: int, seed: int, stream: int = 0) -> Split:
    """Return images drawn at random; different streams of one seed share none as long as together
    they are not all images.
    """
    order = np.random.default_rng([seed, 55]).permutation(len(split))
    chosen = np.sort(order[stream * count : (stream + 1) * count])
    return Split(images=split.images[chosen], labels=split.labels[chosen])


class Judged:
    """A network with one set of calibration images.

    Args:
        network: File of its state dict.
        data: Path of its data.
        folder: Where measurements are kept; they are taken from there if they fit.
        seed: Draws the calibration images.
        images: How many.
        weight_bits: Widths that weights may have.
        activation_bits: Widths that activations may have; empty fixes them at ``END_BITS``.
        paired: How many of the images measure pairs; 0 measures none.
    """

    def __init__(
        self,
        network: str,
        data: str,
        folder: Path,
        *,
        seed: int,
        images: int,
        weight_bits: tuple[int, ...],
        activation_bits: tuple[int, ...] = (),
        paired: int = 0,
    ) -> None:
        self.dataset = images_of(data)
        self.calibration = drawn(self.dataset.train, images, seed)
        self.subject = traced_subject(load_subject(network), (3, RESOLUTION, RESOLUTION))
        names = list(self.subject.layers)
        self.ends = (names[0], names[-1])
        self.weight_bits, self.activation_bits, self.seed = weight_bits, activation_bits, seed
        self.problem = self.limited(None, None)
        self.perturbations = Perturbations(
            self.subject,
            self.problem,
            self.calibration.images,
            fixed=dict.fromkeys(self.ends, (END_BITS, END_BITS)),
            default_activation_bits=None if activation_bits else END_BITS,
        )
        widths = "".join(map(str, weight_bits)) + "-" + ("".join(map(str, activation_bits)) or "8")
        self.place = folder / f"{Path(network).stem.partition('-')[0]}-w{widths}-seed{seed}"
        self.evidence = self._measured(paired)

    def limited(
        self, mean_weight_bits: float | None, mean_activation_bits: float | None
    ) -> AllocationProblem:
        """Return the problem under mean widths."""
        return network_problem(
            self.subject.sizes,
            weight_bits=self.weight_bits,
            activation_bits=self.activation_bits,
            mean_weight_bits=mean_weight_bits,
            mean_activation_bits=mean_activation_bits,
            fixed=self.ends,
        )

    def _measured(self, paired: int) -> Evidence:
        images, labels = self.calibration.images, self.calibration.labels
        self.place.mkdir(parents=True, exist_ok=True)
        singles = measure_singles(
            self.perturbations, images, labels, state=self.place / "singles.npz"
        )
        pairs: Sensitivity | None = None
        if paired:
            pairs = measure_pairs(
                self.perturbations, images[:paired], labels[:paired], state=self.place / "pairs.npz"
            )
        hessian_file = self.place / "hessian.npy"
        if not hessian_file.exists():
            np.save(
                hessian_file,
                measure_hessian(
                    self.perturbations,
                    images[:HESSIAN_IMAGES],
                    labels[:HESSIAN_IMAGES],
                    seed=self.seed,
                ),
            )
        entropies = measure_entropies(
            self.perturbations, images, batches=max(1, len(images) // ENTROPY_BATCH)
        )
        return Evidence(
            singles=singles, pairs=pairs, hessian=np.load(hessian_file), entropies=entropies
        )

    def predicted_by_score(self) -> Floats:
        """Return minus what each choice adds to the QE-Score of a plain chain, ``ln S``, ``(n,)``:
        every layer counts the same.
        """
        settings, bits = ScoreSettings(), self.problem.choice_bits
        weights = np.array([variable.kind == WEIGHTS for variable in self.problem.variables])[
            self.problem.owner
        ]
        return -np.where(
            weights, log_std_table(settings.sigma_w)[bits], log_std_table(settings.sigma_a)[bits]
        )

    def allocated(
        self, method: str, problem: AllocationProblem, seed: int | None = None
    ) -> BitAllocation:
        """Return what an allocator chooses; ``qbr`` gives the choice of largest QE-Score, since
        these networks come from no search.
        """
        evidence = self.evidence
        if method == "qbr":
            evidence = replace(evidence, given=solve(problem, self.predicted_by_score()).levels)
        return allocate(
            method, problem, evidence, seed=self.seed if seed is None else seed, time_limit_s=20.0
        )

    def loss(self, levels: Levels, split: Split) -> tuple[float, float]:
        """Return mean loss (nats) and top-1 accuracy (percent) of the rounded network on images."""
        return self.perturbations.evaluate(levels, split.images, split.labels)


class Kept:
    """Figures by name in a file of JSON lines, so that a study that is stopped goes on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.values: dict[str, list[float]] = {}
        if path.exists():
            self.values = json.loads(path.read_text(encoding="utf-8"))

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def __getitem__(self, key: str) -> list[float]:
        return self.values[key]

    def put(self, key: str, value: Sequence[float]) -> list[float]:
        """Keep figures and return them."""
        self.values[key] = [float(part) for part in value]
        write_atomically(self.path, json.dumps(self.values, indent=0) + "\n")
        return self.values[key]
