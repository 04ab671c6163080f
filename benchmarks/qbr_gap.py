"""How close QBR's bits come to the exact optimum of the same structure.

python -m benchmarks.qbr_gap
"""

from __future__ import annotations

import numpy as np

from benchmarks.exact_bits import exact_score
from benchmarks.harness import Row, main
from device_profiles import load_device
from nas_engine.encoding import decode
from nas_engine.evolution.evaluation import evaluate
from nas_engine.evolution.operators import sample
from nas_engine.evolution.problem import make_problem
from search_spaces import load_space

KIB = 2**10
BUDGETS = ((64, 256), (128, 512), (256, 1024), (512, 2048))
"""SRAM and Flash in KiB; the structures are spread over them evenly."""


def run(structures: int = 200, seed: int = 0) -> list[Row]:
    gaps: list[float] = []
    for number, (sram, flash) in enumerate(BUDGETS):
        device = load_device("cortex-m7").with_memory(sram * KIB, flash * KIB)
        problem = make_problem(load_space("mobilenet"), device, resolution=128, class_count=10)
        rng = np.random.default_rng([seed, number])
        wanted = structures // len(BUDGETS) + (number < structures % len(BUDGETS))
        while wanted:
            found = evaluate(problem, sample(problem.space, problem.frame, 256, rng))
            tight = np.flatnonzero(
                (found.violation == 0)
                & (
                    (found.sram > 0.8 * problem.arena_bytes)
                    | (found.flash > 0.8 * problem.flash_bytes)
                )
            )
            for i in tight[:wanted]:
                exact = exact_score(problem, decode(problem.frame, found.genes[:, i]))
                gaps.append((exact - found.score[i]) / exact)
                wanted -= 1
    median, worst = float(np.median(gaps)), float(np.max(gaps))
    return [
        Row(
            what=(
                f"gap to the exact optimum, median of {len(gaps)} structures on which a budget "
                "bites"
            ),
            measured=f"{median:.4%}",
            at_least="0.5 %",
            reached=median <= 0.005,
        ),
        Row(what="worst gap", measured=f"{worst:.4%}", at_least="2 %", reached=worst <= 0.02),
        Row(
            what="least gap (below 0 would mean that the optimum is not one)",
            measured=f"{min(gaps):.1e}",
            at_least=">= -1e-12",
            reached=min(gaps) >= -1e-12,
        ),
    ]


if __name__ == "__main__":
    main("qbr_gap", run, structures=200, seed=0)
