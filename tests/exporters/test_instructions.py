"""Instructions of an export, step by step, against those that a search counts."""

from __future__ import annotations

import pytest

from benchmarks.integer_reference import untrained
from nas_engine.costs.instructions import instructions_per_layer
from nas_engine.costs.plan import plan_graph
from nas_engine.encoding import GeneView, architecture_frame, encode, layer_rows
from nas_engine.exporters.instructions import predicted_instructions
from nas_engine.layers import unroll
from tests.costs.test_instructions import any_prices
from tests.populations import EVERY_SPACE, networks, population


@pytest.mark.parametrize("space", EVERY_SPACE)
def test_steps_are_the_layers_that_a_search_counts(space: str) -> None:
    prices = any_prices()
    least = EVERY_SPACE[space].min_resolution
    frame, genes = population(EVERY_SPACE[space], 3, seed=11, resolution=least + 5, classes=5)
    for network in networks(frame, genes)[1:]:
        model = untrained(network, alike=True)
        steps = predicted_instructions(prices, model, plan_graph(model))
        own = architecture_frame(network)
        one = encode(own, [network])
        view, table = GeneView(own, one), unroll(own, one)
        counts = instructions_per_layer(prices, table, view.w_bits, view.a_bits)
        rows = layer_rows(own, network)
        searched = dict(zip(network.layer_names(), counts[rows, 0].tolist(), strict=True))
        for name in [name for name in steps if name not in searched]:  # pools
            unit = name.rpartition(".")[0]
            behind = [layer for layer in searched if unit and layer.startswith(f"{unit}.")]
            steps[behind[-1] if behind else "classifier"] += steps.pop(name)
        assert steps == pytest.approx(searched, rel=1e-9)
