"""Spearman's rank correlation of predicted and real changes of the loss, for each method.

Over random bits of ResNet-20.

python -m benchmarks.rank_correlation --data cifar-10-batches-py --network resnet20-12fca82f.th

Two kinds of random widths from 2 to 8 bits: free ones, and ones of equal size (mean width within a
twentieth of a bit), where size itself predicts nothing; and, for free weights *and* activations,
all but CLADO's measured pairs (31,752 of them, too slow here). The loss change is measured on
training images that nothing was calibrated on. Intervals are 95 % bootstraps over the assignments.
Slow (half an hour on one core); the same command goes on where it was stopped.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.harness import Row, main
from benchmarks.judged import Judged, Kept, drawn
from benchmarks.statistics import spearman_estimate
from nas_engine.allocation.problem import WEIGHTS, AllocationProblem, Floats, Levels
from nas_engine.allocation.quadratic import psd_clip
from nas_engine.errors import InputError
from nas_engine.training.compute import prepare_compute

WIDTHS = (2, 3, 4, 5, 6, 7, 8)
EQUAL_MEAN, EQUAL_WITHIN = 3.6, 0.05
STEPS = 300
"""Single steps of one random walk to a mean width."""


def random_levels(
    problem: AllocationProblem, count: int, seed: int, mean: float | None = None
) -> list[Levels]:
    """Return random widths; with ``mean`` ones whose mean width of weights is near it, made by
    random single steps.

    A walk that has not come near the mean after ``STEPS`` steps is begun anew, at most ``count *
    STEPS`` times in all.
    """
    rng = np.random.default_rng([seed, 3])
    found: list[Levels] = []
    for _ in range(count * STEPS):
        levels = np.asarray(rng.integers(0, problem.counts), np.intp)
        for _ in range(STEPS):
            excess = 0.0 if mean is None else problem.mean_bits(levels, WEIGHTS) - mean
            if abs(excess) <= EQUAL_WITHIN:
                found.append(levels)
                break
            step = -int(np.sign(excess))
            free = np.flatnonzero((levels + step >= 0) & (levels + step < problem.counts))
            levels[rng.choice(free)] += step
        if len(found) == count:
            return found
    raise InputError(
        f"only {len(found)} of {count} random assignments have a mean width within {EQUAL_WITHIN} "
        f"bits of {mean}"
    )


def rescaled(matrix: Floats, losses: Floats) -> Floats:
    """Return the matrix with the same correlations and twice the losses on its diagonal."""
    diagonal = np.diag(matrix)
    factor = np.sqrt(
        np.divide(
            2.0 * np.maximum(losses, 0.0), diagonal, out=np.zeros_like(losses), where=diagonal > 0
        )
    )
    return matrix * np.outer(factor, factor)


def predictors(judged: Judged) -> dict[str, Callable[[Levels], float]]:
    """Return what each method predicts of an assignment; larger is worse."""
    problem, evidence = judged.problem, judged.evidence
    assert evidence.singles is not None
    assert evidence.hessian is not None
    losses, hessian, score = evidence.singles.losses, evidence.hessian, judged.predicted_by_score()
    bits = problem.choice_bits.astype(np.float64)
    elements = np.array([variable.elements for variable in problem.variables], np.float64)[
        problem.owner
    ]

    def summed(costs: Floats) -> Callable[[Levels], float]:
        return lambda levels: float(costs[problem.positions(levels)].sum())

    def quadratic(matrix: Floats) -> Callable[[Levels], float]:
        return lambda levels: (
            0.5 * float(matrix[np.ix_(problem.positions(levels), problem.positions(levels))].sum())
        )

    found = {
        "diagonal (measured single losses)": summed(losses),
        "Gauss-Newton": quadratic(evidence.singles.matrix),
        "Gauss-Newton, diagonal only": quadratic(np.diag(np.diag(evidence.singles.matrix))),
        "Gauss-Newton scaled to the measured single losses": quadratic(
            rescaled(evidence.singles.matrix, losses)
        ),
        "HAWQ (Hessian trace)": summed(hessian),
        "QE-Score (equal layers)": summed(score),
        "size (mean bits)": summed(-elements * bits),
    }
    if evidence.pairs is not None:
        found["CLADO (measured pairs)"] = quadratic(evidence.pairs.matrix)
        found["CLADO, eigenvalues clipped"] = quadratic(psd_clip(evidence.pairs.matrix))
    for record in evidence.entropies:
        # the paper gives a layer of higher entropy more bits; as a prediction: noise of 4^-bits
        # weighted by the entropy (chosen here)
        weight = record.values.mean(axis=0)
        found[f"entropy ({record.estimator})"] = summed(
            (weight - weight.min())[problem.owner] * 0.25**bits
        )
    return found


def compared(
    judged: Judged, assignments: list[Levels], kept: Kept, name: str, images: int
) -> dict[str, tuple[float, float, float]]:
    """Return correlation and interval of each method."""
    held_out = drawn(judged.dataset.train, images, judged.seed + 1000)
    reference = judged.problem.widest
    for index, levels in enumerate([reference, *assignments]):
        if (key := f"{name} {index}") not in kept:
            kept.put(key, judged.loss(levels, held_out))
    base = kept[f"{name} 0"][0]
    real = np.array([kept[f"{name} {index}"][0] - base for index in range(1, len(assignments) + 1)])
    found = {}
    for method, predict in predictors(judged).items():
        predicted = np.array([predict(levels) for levels in assignments])
        estimate = spearman_estimate(predicted, real)
        found[method] = (estimate.value, estimate.low, estimate.high)
    return found


def run(
    data: str = "cifar-10-batches-py",
    network: str = "resnet20-12fca82f.th",
    folder: str = "runs/benchmark-rank-correlation",
    assignments: int = 200,
    images: int = 512,
    paired: int = 256,
    judging: int = 1000,
    threads: int = 1,
) -> list[Row]:
    prepare_compute("cpu", threads)
    rows = []
    place = Path(folder)
    for joint in (False, True):
        judged = Judged(
            network,
            data,
            place,
            seed=0,
            images=images,
            weight_bits=WIDTHS,
            activation_bits=WIDTHS if joint else (),
            paired=0 if joint else paired,
        )
        kept = Kept(
            place / f"losses-{Path(network).stem}-{judging}-{'joint' if joint else 'weights'}.json"
        )
        kinds = (
            [("free widths of weights and activations", None)]
            if joint
            else [
                ("free widths of weights, 8-bit activations", None),
                (f"equal mean width of weights {EQUAL_MEAN:g}, 8-bit activations", EQUAL_MEAN),
            ]
        )
        for kind, mean in kinds:
            chosen = random_levels(judged.problem, assignments, 0, mean)
            found = compared(judged, chosen, kept, kind, judging)
            for method, (value, low, high) in sorted(found.items(), key=lambda item: -item[1][0]):
                rows.append(
                    Row(
                        what=(
                            f"{Path(network).stem.partition('-')[0]}, {assignments} assignments, "
                            f"{kind}: {method}"
                        ),
                        measured=f"{value:.3f} [{low:.3f}, {high:.3f}]",
                        at_least="for comparison",
                        reached=True,
                    )
                )
    return rows


if __name__ == "__main__":
    main(
        "rank_correlation",
        run,
        data="cifar-10-batches-py",
        network="resnet20-12fca82f.th",
        folder="runs/benchmark-rank-correlation",
        assignments=200,
        images=512,
        paired=256,
        judging=1000,
        threads=1,
    )
