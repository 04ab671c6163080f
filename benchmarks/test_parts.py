"""Parts of the search loop, for pytest-benchmark: ``python -m pytest benchmarks
--benchmark-enable``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from device_profiles import load_device
from nas_engine.costs.flash import flash
from nas_engine.costs.sram import peak_sram
from nas_engine.encoding import GeneView
from nas_engine.evolution.evaluation import evaluate
from nas_engine.evolution.operators import mutate, sample
from nas_engine.evolution.problem import SearchProblem, make_problem
from nas_engine.evolution.qbr import refine
from nas_engine.evolution.search import SearchSettings
from nas_engine.heap import keep_freed_blocks
from nas_engine.layers import unroll
from nas_engine.scoring.qe_score import qe_score
from search_spaces import load_space

BATCH = SearchSettings().chunk


@pytest.fixture(scope="module")
def problem() -> SearchProblem:
    keep_freed_blocks()
    return make_problem(load_space("mobilenet"), load_device("cortex-m7").with_memory(2**18, 2**20))


def _parts(problem: SearchProblem) -> dict[str, Callable[[], Any]]:
    genes = sample(problem.space, problem.frame, BATCH, np.random.default_rng(0))
    view, table = GeneView(problem.frame, genes), unroll(problem.frame, genes)
    return {
        "unroll": lambda: unroll(problem.frame, genes),
        "score": lambda: qe_score(table, view.w_bits, view.a_bits, problem.score),
        "sram": lambda: peak_sram(problem.model, table, view.a_bits),
        "flash": lambda: flash(problem.model, table, view.w_bits),
        "refine": lambda: refine(problem, table),
        "mutate": lambda: mutate(
            problem.space, problem.frame, genes, np.random.default_rng(1), mutate_bits=False
        ),
        "evaluate": lambda: evaluate(problem, genes),
    }


@pytest.mark.parametrize(
    "part", ["unroll", "score", "sram", "flash", "refine", "mutate", "evaluate"]
)
def test_part(benchmark: Any, problem: SearchProblem, part: str) -> None:
    assert benchmark(_parts(problem)[part]) is not None
