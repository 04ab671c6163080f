"""Peak of populations in chains: that of the cut of each network; searches that need it."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

from nas_engine.costs.chains import fitting_sram, peak_in_chains
from nas_engine.costs.memory import MEMORY_MODELS
from nas_engine.costs.plan import live_bytes, plan_graph, plan_memory
from nas_engine.costs.rows import cut
from nas_engine.costs.sram import peak_sram
from nas_engine.encoding import GeneView, decode, space_frame
from nas_engine.errors import InputError
from nas_engine.evolution.config import build_problem, check_config, resolve_config
from nas_engine.evolution.evaluation import evaluate
from nas_engine.evolution.operators import sample
from nas_engine.layers import unroll
from nas_engine.names import ImageInput
from nas_engine.network.from_architecture import graph_of
from nas_engine.units import parse_size
from tests.populations import EVERY_SPACE

ARENA = MEMORY_MODELS["arena"]


@pytest.mark.parametrize("image", get_args(ImageInput))
@pytest.mark.parametrize("name", EVERY_SPACE)
def test_peak_is_that_of_the_best_cut(name: str, image: ImageInput) -> None:
    """To the byte, with one width and with mixed ones; never more than that of single units."""
    space = EVERY_SPACE[name]
    frame = replace(
        space_frame(space, max(space.min_resolution, 33), 7), schedule="auto", image=image
    )
    genes = sample(space, frame, 8, np.random.default_rng(3))
    view = GeneView(frame, genes)
    inner = view.a_bits[1:-1, :4]
    inner[:] = np.where(inner > 0, 8, 0)
    table = unroll(frame, genes)
    found = peak_in_chains(ARENA, table, view.a_bits)
    assert (found <= peak_sram(ARENA, table, view.a_bits)).all()
    for column in range(table.n):
        graph = graph_of(decode(frame, genes[:, column]))
        try:
            segments = cut(graph, live_bytes(plan_graph(graph)), "auto", image)
        except InputError:
            assert np.isinf(found[column])
        else:
            assert found[column] == max(segment.bytes for segment in segments)


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
