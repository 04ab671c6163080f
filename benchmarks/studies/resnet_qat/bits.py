"""Widths for the study of training: an allocator's choice at mean widths of weights and
activations, as a file of bits.

python -m benchmarks.studies.resnet_qat.bits --data cifar-10-batches-py \\
    --network resnet20-12fca82f.th --method entropy-window --out bits.json

The entropy window is tuned by an Optuna study: window, axis, estimator and thresholds for the best
accuracy within both means, judged by rounding alone on training images set aside. Prints loss and
accuracy on those images.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from benchmarks.judged import END_BITS, Judged, drawn
from nas_engine.allocation.problem import ACTIVATIONS, WEIGHTS, AllocationProblem, Levels
from nas_engine.files import write_atomically
from nas_engine.training.compute import prepare_compute
from nas_engine.training.entropy_study import tune_entropy_window

WIDTHS = (2, 3, 4, 5, 6, 8)
"""Widths of random allocations too."""

HELD_OUT = 2000
"""Training images that judge the trials."""


def chosen(
    judged: Judged, method: str, problem: AllocationProblem, trials: int, storage: Path
) -> Levels:
    """Return the widths that a method chooses; the entropy window is tuned."""
    if method != "entropy-window":
        return judged.allocated(method, problem).levels
    held_out = drawn(judged.dataset.train, HELD_OUT, judged.seed + 1000)

    def accuracy(levels: Levels) -> float:
        return judged.loss(levels, held_out)[1] / 100.0

    tuned = tune_entropy_window(
        problem,
        judged.evidence,
        accuracy,
        floor=None,
        aim="accuracy",
        trials=trials,
        storage=storage,
    )
    print(f"{trials} trials: {tuned.settings}")
    return tuned.levels


def bits_file(
    judged: Judged, problem: AllocationProblem, levels: Levels
) -> dict[str, dict[str, int]]:
    """Return the widths by kind and layer, those of the first and the last layer among them."""
    found: dict[str, dict[str, int]] = {
        kind: dict.fromkeys(judged.ends, END_BITS) for kind in (WEIGHTS, ACTIVATIONS)
    }
    for variable, width in zip(problem.variables, problem.bits(levels), strict=True):
        found[variable.kind] |= dict.fromkeys(variable.layers, width)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.studies.resnet_qat.bits")
    parser.add_argument("--data", default="cifar-10-batches-py")
    parser.add_argument("--network", default="resnet20-12fca82f.th")
    parser.add_argument("--method", default="gauss-newton")
    parser.add_argument("--mean", type=float, default=3.6)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--folder", type=Path, default=Path("runs/benchmark-resnet-qat"))
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    prepare_compute("cpu", 1)
    judged = Judged(
        given.network,
        given.data,
        given.folder,
        seed=0,
        images=given.images,
        weight_bits=WIDTHS,
        activation_bits=WIDTHS,
        paired=0,
    )
    problem = judged.limited(given.mean, given.mean)
    levels = chosen(
        judged,
        given.method,
        problem,
        given.trials,
        judged.place / f"entropy-study-{given.mean:g}.log",
    )
    write_atomically(given.out, json.dumps(bits_file(judged, problem, levels), indent=1) + "\n")
    loss, accuracy = judged.loss(levels, drawn(judged.dataset.train, HELD_OUT, judged.seed + 1000))
    means = ", ".join(
        f"{problem.mean_bits(levels, kind):.3f} bits of {kind}" for kind in (WEIGHTS, ACTIVATIONS)
    )
    print(
        f"{given.method}: {means}; after rounding loss {loss:.3f}, accuracy {accuracy:.2f} % on "
        f"{HELD_OUT} training images"
    )
    print(problem.bits(levels))


if __name__ == "__main__":
    main()
