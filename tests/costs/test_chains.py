"""Peak of populations in chains (``test_cuts`` holds it to the byte); searches that need it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from nas_engine.costs.chains import fitting_sram, peak_in_chains
from nas_engine.costs.memory import MEMORY_MODELS
from nas_engine.costs.plan import plan_memory
from nas_engine.costs.sram import peak_sram
from nas_engine.encoding import GeneView, decode, space_frame
from nas_engine.evolution.config import build_problem, check_config, resolve_config
from nas_engine.evolution.evaluation import evaluate
from nas_engine.evolution.operators import sample
from nas_engine.layers import unroll
from nas_engine.units import parse_size
from tests.populations import EVERY_SPACE

ARENA = MEMORY_MODELS["arena"]


def test_chains_are_priced_where_single_units_do_not_fit() -> None:
    space = EVERY_SPACE["depthwise-separable"]
    frame = replace(space_frame(space, 33, 7), schedule="auto", image="rows")
    genes = sample(space, frame, 64, np.random.default_rng(5))
    table, a_bits = unroll(frame, genes), GeneView(frame, genes).a_bits
    apart, chained = (price(ARENA, table, a_bits) for price in (peak_sram, peak_in_chains))
    assert (chained < apart).any()
    most = float(np.median(apart))
    found = fitting_sram(ARENA, table, a_bits, most)
    np.testing.assert_array_equal(found, np.where(apart > most, chained, apart))


def test_a_budget_that_only_chains_serve_is_served() -> None:
    options = {"space": "residual-32", "flash": parse_size("512k"), "schedule": "auto"}
    config = resolve_config({**options, "sram": 13_000})
    check_config(config)
    problem, _ = build_problem(config)
    found = evaluate(problem, sample(problem.space, problem.frame, 256, np.random.default_rng(1)))
    apart = peak_sram(
        ARENA, unroll(problem.frame, found.genes), GeneView(problem.frame, found.genes).a_bits
    )
    saved = np.flatnonzero((found.violation == 0) & (apart > problem.arena_bytes))
    assert saved.size
    for column in saved[:4]:
        plan = plan_memory(decode(problem.frame, found.genes[:, column]))
        assert plan.arena_bytes == found.sram[column]
        assert any(len(one.stages) > 1 + (one.first_unit == 0) for one in plan.segments)
