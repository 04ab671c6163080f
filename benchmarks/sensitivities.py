"""Sensitivities of ResNet-20: measured pairs with kept prefixes, and Gauss-Newton singles, against
pairs one forward pass each.

python -m benchmarks.sensitivities --network resnet20-12fca82f.th --data cifar-10-batches-py

The setting is that of CLADO's public code (Deng et al., arXiv:2307.05657): weights at 2, 4 or 8
bits, activations at 8, first and last layer at 8 bits and not free. There, changes count from the
network with unrounded weights (base float); the changes here count from the network with every
width at its largest (base widest), so that a third of the choices change nothing and need no pass.

The plain way runs every pair from the image on, as the public code does. It uses our folded network
and rounded weights that are kept, so that the ratio is that of the method alone; the arithmetic is
the same, too. It must be: a tensor that is rounded to 8 bits turns a difference in the last bit of
a float into a whole step now and then, which moves the loss of an image in the fourth digit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.harness import Row, main
from benchmarks.network_problem import network_problem
from benchmarks.subjects import load_subject
from benchmarks.traced import traced_subject
from nas_engine.allocation.problem import Floats
from nas_engine.datasets import Split, open_dataset
from nas_engine.datasets.records import Labels, Pixels
from nas_engine.training.compute import prepare_compute
from nas_engine.training.perturbation import Perturbations
from nas_engine.training.sensitivities import measure_pairs, measure_singles
from nas_engine.training.steps import Change

END_BITS = 8
"""Width of the first and the last layer."""

LARGEST_DIFFERENCE = 1e-5
PAIRS_FASTER, SINGLES_FASTER = 3.0, 15.0

Choices = Mapping[int, int]
"""Level by variable; others are as in the reference network."""

Forward = Callable[[Choices, Tensor], Tensor]
"""Logits of a network with choices."""


def whole_passes(perturbations: Perturbations) -> Forward:
    """Return the function that runs the network from the image on."""

    def forward(choices: Choices, x: Tensor) -> Tensor:
        changes: dict[int, Change] = dict(perturbations.reference)
        for variable, level in choices.items():
            changes.update(perturbations.change(variable, level))
        return perturbations.subject.forward(x, changes)

    return forward


@torch.no_grad()
def brute_force(
    perturbations: Perturbations,
    images: Pixels,
    labels: Labels,
    sets: Sequence[Choices],
    forward: Forward,
) -> Floats:
    """Return the mean loss with each set of choices, ``(sets,)``, from one forward pass each."""
    sums = np.zeros(len(sets))
    for where, x in perturbations.chunks(images):
        truth = torch.tensor(labels[where])
        for index, choices in enumerate(sets):
            sums[index] += float(
                functional.cross_entropy(forward(choices, x).double(), truth, reduction="sum")
            )
    return sums / len(images)


def brute_force_pairs(
    perturbations: Perturbations, images: Pixels, labels: Labels, forward: Forward | None = None
) -> Floats:
    """Return CLADO's matrix, ``(n, n)``, by whole passes.

    ``forward`` may be that of another network.
    """
    problem = perturbations.problem
    choices = [
        (i, b) for i, variable in enumerate(problem.variables) for b in range(len(variable.bits))
    ]
    pairs = [
        pair
        for pair in combinations(range(problem.n), 2)
        if choices[pair[0]][0] != choices[pair[1]][0]
    ]
    sets: list[Choices] = [
        {},
        *({i: b} for i, b in choices),
        *(dict([choices[k], choices[m]]) for k, m in pairs),
    ]
    losses = brute_force(
        perturbations, images, labels, sets, forward or whole_passes(perturbations)
    )
    base, singles = losses[0], losses[1 : problem.n + 1]
    matrix = np.diag(2.0 * (singles - base))
    for (k, m), loss in zip(pairs, losses[problem.n + 1 :], strict=True):
        matrix[k, m] = matrix[m, k] = loss + base - singles[k] - singles[m]
    return matrix


def evaluations(perturbations: Perturbations) -> int:
    """Return how many passes that takes."""
    problem = perturbations.problem
    return 1 + problem.n + (problem.n**2 - int((problem.counts**2).sum())) // 2


def run(
    network: str,
    data: str,
    images: int = 128,
    layers: int = 0,
    weight_bits: tuple[int, ...] = (2, 4, 8),
    threads: int = 1,
) -> list[Row]:
    """Measure all on the same images.

    Args:
        network: File of a state dict that ``benchmarks.subjects`` knows.
        data: Path of its data, or ``digits`` for a quick look.
        images: How many.
        layers: How many layers are free, from the second on; 0 for all but the first and the last.
        weight_bits: Widths of weights.
        threads: Of torch.
    """
    prepare_compute("cpu", threads or None)
    split = open_dataset(data, resolution=32, channels=3, limit=images, seed=0).train
    subject = traced_subject(load_subject(network), (3, 32, 32))
    names = list(subject.layers)
    fixed = [names[0], *(names[layers + 1 :] if layers else names[-1:])]
    problem = network_problem(subject.sizes, weight_bits=weight_bits, fixed=fixed)
    rows: list[Row] = []
    for base in ("float", "widest"):
        perturbations = Perturbations(
            subject,
            problem,
            split.images,
            base=base,
            fixed=dict.fromkeys(fixed, (END_BITS, END_BITS)),
            default_activation_bits=END_BITS,
        )
        rows += _compared(
            perturbations, split, Path(network).stem.partition("-")[0], with_singles=base == "float"
        )
    return rows


def _compared(
    perturbations: Perturbations, split: Split, name: str, *, with_singles: bool
) -> list[Row]:
    problem = perturbations.problem
    perturbations.evaluate(
        problem.widest, split.images[:2], split.labels[:2]
    )  # the first pass of all is slow
    for index, variable in enumerate(problem.variables):
        for level in range(len(variable.bits)):
            perturbations.change(index, level)  # rounded weights are ready for all three
    times = [time.process_time()]
    singles = measure_singles(perturbations, split.images, split.labels) if with_singles else None
    times.append(time.process_time())
    pairs = measure_pairs(perturbations, split.images, split.labels)
    times.append(time.process_time())
    plain = brute_force_pairs(perturbations, split.images, split.labels)
    times.append(time.process_time())
    (singles_s, pairs_s, plain_s), passes = np.diff(times), evaluations(perturbations)
    of = (
        f"{name}, base {perturbations.base}, {len(problem.variables)} layers, {problem.n} choices, "
        f"{len(split)} images"
    )
    difference = float(np.abs(plain - pairs.matrix).max())
    rows = [
        Row(
            what=f"largest difference of a pair term from that of {passes:,} whole passes ({of})",
            measured=f"{difference:.1e} nats",
            at_least=f"{LARGEST_DIFFERENCE:.0e} or less",
            reached=difference <= LARGEST_DIFFERENCE,
        ),
        _faster(
            f"measured pairs, base {perturbations.base}",
            plain_s,
            passes,
            pairs_s,
            pairs.passes,
            PAIRS_FASTER,
        ),
    ]
    if singles is not None:
        rows.append(
            _faster(
                "Gauss-Newton matrix", plain_s, passes, singles_s, singles.passes, SINGLES_FASTER
            )
        )
    return rows


def _faster(
    what: str, plain_s: float, plain_passes: int, seconds: float, passes: float, at_least: float
) -> Row:
    work = (
        f"{plain_passes:,} passes in {plain_s:.0f} CPU seconds, {passes:.0f} passes' worth in "
        f"{seconds:.1f}"
    )
    return Row(
        what=f"{what}: times as fast as whole passes ({work})",
        measured=f"{plain_s / seconds:.1f}",
        at_least=f"{at_least:.0f}",
        reached=plain_s / seconds >= at_least,
    )


if __name__ == "__main__":
    main(
        "sensitivities",
        run,
        network="resnet20-12fca82f.th",
        data="cifar-10-batches-py",
        images=128,
        layers=0,
        threads=1,
    )
