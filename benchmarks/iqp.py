"""How fast the integer quadratic program of CLADO is proven, and how good its answer is where it is
not.

python -m benchmarks.iqp

Instances: the 53 convolutions of ResNet-50 under a mean weight width of 4 bits. ``gn`` is like a
Gauss-Newton matrix: losses fall by 4 with each bit, layers near each other in depth are correlated
(0.37 next to each other, 0.16 two apart, 0.08 far), two widths of one layer by half; the matrix is
a sample of 400 logit vectors, so it is positive semidefinite. ``clado:v`` adds noise of ``v`` times
the root of the two diagonal entries to the pairs, sets what is within a layer to zero and clips
eigenvalues, as the authors do.

With 3 widths (2, 4, 8) the proof must be complete within the limit. With 7 widths the answer must
be within 1 % of the best known: the best of many seeds of a long local search and of a long proof,
kept in iqp_best.json and renewed by ``--long SECONDS`` (that many for each instance).
"""

from __future__ import annotations

import json
import time

import numpy as np

from benchmarks.harness import HERE, Row, main
from benchmarks.network_problem import network_problem
from nas_engine.allocation.iqp import solve
from nas_engine.allocation.problem import AllocationProblem, Floats
from nas_engine.allocation.quadratic import psd_clip
from nas_engine.training.subject import LayerSize

WIDTHS = {3: (2, 4, 8), 7: (2, 3, 4, 5, 6, 7, 8)}
STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))
"""Inner channels and blocks of ResNet-50's stages."""

PROVEN = 1e-6
"""Relative gap that counts as a proof."""

BEST = HERE / "iqp_best.json"
"""Best known objectives, with the seconds that were spent on each."""


def resnet50() -> list[LayerSize]:
    """Return the 53 convolutions; only their weights matter here."""
    counts, channels = [3 * 64 * 49], 64
    for inner, blocks in STAGES:
        for block in range(blocks):
            counts += [channels * inner, inner * inner * 9, inner * inner * 4] + [
                channels * inner * 4
            ] * (block == 0)
            channels = 4 * inner
    return [
        LayerSize(name=f"conv{i}", weights=count, inputs=1, macs=1)
        for i, count in enumerate(counts)
    ]


def instance(
    kind: str, widths: int, seed: int, layers: int = 53
) -> tuple[AllocationProblem, Floats]:
    """Return the problem and its quadratic objective, for ``gn`` or ``clado:v``."""
    rng = np.random.default_rng(seed)
    problem = network_problem(resnet50()[:layers], weight_bits=WIDTHS[widths], mean_weight_bits=4.0)
    owner, bits = problem.owner, problem.choice_bits.astype(np.float64)
    size = np.exp(rng.normal(0, 0.7, layers))[owner] * 2.0 ** -(bits - 2)
    apart = np.abs(owner[:, None] - owner[None, :])
    correlation = (0.08 + 0.92 * 0.315**apart) * np.where(bits[:, None] == bits[None, :], 1.0, 0.5)
    logits = (
        np.linalg.cholesky(correlation + 1e-9 * np.eye(problem.n))
        @ rng.normal(size=(problem.n, 400))
        * size[:, None]
    )
    matrix = logits @ logits.T / 400
    if kind != "gn":
        noise = rng.normal(size=matrix.shape)
        root = np.sqrt(np.outer(np.diagonal(matrix), np.diagonal(matrix)))
        matrix = np.where(
            apart > 0,
            matrix + float(kind.split(":")[1]) * (noise + noise.T) / np.sqrt(2) * root,
            0.0,
        ) + np.diag(np.diagonal(matrix))
        matrix = psd_clip(matrix)
    return problem, 2 * matrix


def best_known(kind: str, widths: int, seed: int, layers: int, seconds: float) -> float:
    """Search for long, remember the best objective and return it; with no time, return the one
    remembered, or infinity.
    """
    records = json.loads(BEST.read_text(encoding="utf-8")) if BEST.exists() else {}
    name = f"{kind} {layers}x{widths} seed {seed}"
    record = records.get(name, {"objective": float("inf"), "seconds": 0.0})
    if seconds <= 0:
        return float(record["objective"])
    problem, matrix = instance(kind, widths, seed, layers)
    began, turn = time.perf_counter(), 1
    best = min(
        record["objective"],
        solve(problem, np.zeros(problem.n), matrix, time_limit_s=seconds / 2).objective,
    )
    while time.perf_counter() - began < seconds:
        best = min(
            best, solve(problem, np.zeros(problem.n), matrix, seed=turn, prove=False).objective
        )
        turn += 1
    records[name] = {"objective": best, "seconds": record["seconds"] + seconds}
    BEST.write_text(json.dumps(records, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return float(best)


def run(
    kinds: str = "gn,clado:0.1,clado:0.3",
    seeds: int = 2,
    layers: int = 53,
    limit: float = 20.0,
    long: float = 0.0,
) -> list[Row]:
    """Solve each kind with ``seeds`` seeds, with 3 widths and with 7."""
    rows = []
    for kind in kinds.split(","):
        for seed in range(seeds):
            problem, matrix = instance(kind, 3, seed, layers)
            found = solve(problem, np.zeros(problem.n), matrix, time_limit_s=limit)
            what = f"{kind}, {layers} layers x 3 widths, seed {seed}"
            figures = (
                f"gap {found.gap:.1e} after {found.seconds:.1f} s, {found.nodes:,} nodes, "
                f"objective {found.objective:.6f}"
            )
            rows.append(
                Row(
                    what=what,
                    measured=figures,
                    at_least=f"proven within {limit:g} s",
                    reached=found.gap <= PROVEN,
                )
            )
    for kind in kinds.split(","):
        for seed in range(seeds):
            known = best_known(kind, 7, seed, layers, long)
            problem, matrix = instance(kind, 7, seed, layers)
            found = solve(problem, np.zeros(problem.n), matrix, time_limit_s=limit)
            what = f"{kind}, {layers} layers x 7 widths, seed {seed}"
            best = min(known, found.objective)
            above = found.objective / best - 1
            figures = (
                f"{100 * above:.2f} % above, gap {100 * found.gap:.2g} % after {found.seconds:.1f} "
                f"s, objective {found.objective:.6f}"
            )
            wanted = f"at most 1 % above the best known ({best:.6f}) within {limit:g} s"
            rows.append(
                Row(
                    what=what,
                    measured=figures,
                    at_least=wanted,
                    reached=above <= 0.01 and np.isfinite(known),
                )
            )
    return rows


if __name__ == "__main__":
    main("iqp", run, kinds="gn,clado:0.1,clado:0.3", seeds=2, layers=53, limit=20.0, long=0.0)
