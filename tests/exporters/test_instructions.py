"""Instructions of an export, step by step, against those that a search counts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.integer_reference import untrained
from nas_engine.costs.instructions import instructions_per_layer
from nas_engine.costs.plan import plan_memory, plan_schedule
from nas_engine.encoding import GeneView, architecture_frame, encode, layer_rows
from nas_engine.errors import InputError
from nas_engine.exporters.instructions import predicted_instructions
from nas_engine.layers import unroll
from nas_engine.names import ImageInput, Schedule
from tests.costs.test_instructions import any_prices
from tests.populations import EVERY_SPACE, networks, population

WAYS: tuple[tuple[Schedule, ImageInput, float], ...] = (
    ("auto", "whole", 1.0),
    ("auto", "whole", 1.3),
    ("auto", "rows", 1.1),
    ("rows", "whole", 1.6),
)
"""Schedule, image, and the room as a multiple of the smallest arena."""


@pytest.mark.parametrize(("place", "space"), tuple(enumerate(EVERY_SPACE)))
def test_steps_are_the_layers_that_a_search_counts(place: int, space: str) -> None:
    """One network by layers, one by rows: in chains, in little room and in more."""
    prices = any_prices()
    least = EVERY_SPACE[space].min_resolution
    frame, genes = population(EVERY_SPACE[space], 3, seed=11, resolution=least + 5, classes=5)
    ways = (("layers", "whole", 0.0), WAYS[place % len(WAYS)])
    for network, (schedule, image, share) in zip(networks(frame, genes)[1:], ways, strict=True):
        network = replace(network, schedule=schedule, image=image)
        try:
            room = int(share * plan_memory(network).arena_bytes) or None
        except InputError:  # rows of the stem's output that cannot be packed
            network, room = replace(network, image="whole"), None
        network = replace(network, room=room)
        model = untrained(network, alike=True)
        plan = plan_schedule(model, network.schedule, network.image, room)
        steps = predicted_instructions(prices, model, plan)
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
