"""Accuracy after rounding, without training: every allocator at mean widths of 2.5 to 4 bits, three
calibration seeds.

python -m benchmarks.allocators --data cifar-10-batches-py --networks
resnet20-12fca82f.th,resnet32-d509ac18.th

Slow (an hour or two on one core, most of it CLADO's measured pairs and the test images); stop it
whenever you like, the same command goes on. Columns: mean width of the weights with 8-bit
activations, and 3.6 bits for both.

Options for several networks take one value per network, between commas: data, seeds, calibration
images, images on which pairs are measured (``--paired`` for weights alone, ``--joint`` for weights
and activations; 0 leaves the method ``clado`` out), and test images.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.harness import Row, main
from benchmarks.judged import Judged, Kept, drawn, images_of
from nas_engine.allocation.problem import AllocationProblem, Levels
from nas_engine.allocation.quadratic import objective_of
from nas_engine.allocation.swaps import real_loss_swaps
from nas_engine.training.compute import prepare_compute

METHODS = (
    "uniform",
    "random",
    "qbr",
    "greedy",
    "diagonal",
    "hawq",
    "entropy-window",
    "clado",
    "gauss-newton",
)
SWAPPED = "gauss-newton + swaps"
FAMILY = ("clado", "gauss-newton", SWAPPED)
"""Methods with quadratic objectives: those that see cross terms."""

ROUNDS, TRIED = 4, 10
"""Rounds of swaps, and evaluations of each."""

WIDTHS = (2, 3, 4, 8)
"""Widths to choose from; four, so that all pairs can be measured on a CPU."""


def chosen(judged: Judged, method: str, problem: AllocationProblem) -> Levels:
    """Return the widths that a method chooses, with real-loss swaps on the calibration images where
    its name says so.
    """
    found = judged.allocated(method.partition(" ")[0], problem)
    if method == SWAPPED:
        assert judged.evidence.singles is not None
        linear, quadratic = objective_of(judged.evidence.singles, problem)
        found = real_loss_swaps(
            problem,
            found,
            linear,
            quadratic,
            lambda levels: judged.loss(levels, judged.calibration)[0],
            rounds=ROUNDS,
            tried=TRIED,
        )
    return found.levels


def accuracies(
    network: str,
    data: str,
    folder: Path,
    *,
    seeds: int,
    images: int,
    paired: int,
    joint_paired: int,
    tested: int,
) -> dict[str, dict[str, list[float]]]:
    """Return the top-1 accuracy in percent, one figure per seed, by column and method."""
    test = images_of(data).test
    test = drawn(test, tested, 0) if tested else test
    kept = Kept(folder / f"accuracy-{Path(network).stem}-{len(test)}.json")
    found: dict[str, dict[str, list[float]]] = {}
    for seed in range(seeds):
        for joint in (False, True):
            columns: list[tuple[str, float, float | None]] = (
                [("3.6 / 3.6", 3.6, 3.6)] if joint else []
            )
            columns = columns or [(f"{mean:g} / 8", mean, None) for mean in (2.5, 3.0, 3.6, 4.0)]
            pairs = joint_paired if joint else paired
            judged = Judged(
                network,
                data,
                folder,
                seed=seed,
                images=images,
                weight_bits=WIDTHS,
                activation_bits=WIDTHS if joint else (),
                paired=pairs,
            )
            for column, mean_weights, mean_activations in columns:
                problem = judged.limited(mean_weights, mean_activations)
                for method in (*METHODS, SWAPPED):
                    if method == "clado" and not pairs:
                        continue
                    name = f"{column} {method} seed {seed}"
                    if (place := f"bits of {name}") not in kept:
                        kept.put(place, problem.bits(chosen(judged, method, problem)))
                    bits = kept[place]
                    key = f"seed {seed} {bits}"
                    if key not in kept:
                        kept.put(
                            key, judged.loss(problem.levels([int(width) for width in bits]), test)
                        )
                        print(f"{Path(network).stem} {name}: {kept[key][1]:.2f} %", flush=True)
                    found.setdefault(column, {}).setdefault(method, []).append(kept[key][1])
    return found


def _mean(values: list[float]) -> str:
    spread = f" ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
    return f"{np.mean(values):.1f}{spread}"


def rows_of(name: str, found: dict[str, dict[str, list[float]]]) -> list[Row]:
    """Return one row per method with all columns, and one row per column that compares the
    quadratic methods with the simple ones.
    """
    rows = []
    for method in (*METHODS, SWAPPED):
        cells = [
            f"{column}: {_mean(values[method])}"
            for column, values in found.items()
            if method in values
        ]
        if cells:
            rows.append(
                Row(
                    what=f"{name}, {method}, top-1 in %",
                    measured="; ".join(cells),
                    at_least="for comparison",
                    reached=True,
                )
            )
    for column, values in found.items():
        means = {method: float(np.mean(figures)) for method, figures in values.items()}
        best = max((means[method], method) for method in FAMILY if method in means)
        for other in ("uniform", "diagonal"):
            worst = min(
                (means[method] - means[other], method) for method in FAMILY if method in means
            )
            rows.append(
                Row(
                    what=f"{name}, {column}: best of CLADO's family ({best[1]}) less {other}",
                    measured=(
                        f"{best[0] - means[other]:+.1f} points (the worst of them, {worst[1]}: "
                        f"{worst[0]:+.1f})"
                    ),
                    at_least="0",
                    reached=best[0] >= means[other],
                )
            )
    return rows


def each(values: str, count: int) -> list[str]:
    """Return one value per network: those between commas, the last one for all that are left."""
    given = values.split(",")
    return [given[min(index, len(given) - 1)] for index in range(count)]


def run(
    data: str = "cifar-10-batches-py",
    networks: str = "resnet20-12fca82f.th,resnet32-d509ac18.th",
    folder: str = "runs/benchmark-allocators",
    seeds: str = "3",
    images: str = "512,256",
    paired: str = "256,0",
    joint: str = "0",
    tested: str = "5000,2000",
    threads: int = 1,
) -> list[Row]:
    prepare_compute("cpu", threads)
    names = networks.split(",")
    rows = []
    for network, source, *sizes in zip(
        names,
        *(each(part, len(names)) for part in (data, seeds, images, paired, joint, tested)),
        strict=True,
    ):
        draws, count, pairs, both, judging = map(int, sizes)
        found = accuracies(
            network,
            source,
            Path(folder),
            seeds=draws,
            images=count,
            paired=pairs,
            joint_paired=both,
            tested=judging,
        )
        rows += rows_of(Path(network).stem.partition("-")[0], found)
    return rows


if __name__ == "__main__":
    main(
        "allocators",
        run,
        data="cifar-10-batches-py",
        networks="resnet20-12fca82f.th,resnet32-d509ac18.th",
        folder="runs/benchmark-allocators",
        seeds="3",
        images="512,256",
        paired="256,0",
        joint="0",
        tested="5000,2000",
        threads=1,
    )
