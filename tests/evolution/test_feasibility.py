"""The smallest possible budget is the smallest: no small network of a shipped space needs less,
tried one by one.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from nas_engine.costs.compute import macs
from nas_engine.costs.flash import flash
from nas_engine.costs.sram import peak_sram
from nas_engine.encoding import GeneView, bottleneck_choices, space_frame
from nas_engine.evolution.feasibility import smallest_networks
from nas_engine.layers import unroll
from tests.legal import legal
from tests.populations import EVERY_SPACE, MODELS, SHIPPED, population, problem_for


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", EVERY_SPACE)
def test_no_sampled_network_needs_less(name: str, model: str) -> None:
    """At the narrowest widths, of any kinds and strides; small networks among them."""
    space = EVERY_SPACE[name]
    frame, genes = population(space, 400, seed=31)
    problem = problem_for(space, frame, 1e9, 1e9, model=model)
    least = smallest_networks(problem)
    assert legal(space, frame, least).all()
    view = GeneView(frame, genes)
    for bits, choices in ((view.w_bits, space.weight_bits), (view.a_bits, space.activation_bits)):
        bits[1:-1] = np.where(bits[1:-1] > 0, choices[0], 0)
    one, table, alone = GeneView(frame, least), unroll(frame, genes), unroll(frame, least)
    for cost, smallest in (
        (peak_sram(problem.model, table, view.a_bits), peak_sram(problem.model, alone, one.a_bits)),
        (flash(problem.model, table, view.w_bits), flash(problem.model, alone, one.w_bits)),
        (macs(table), macs(alone)),
    ):
        assert cost.min() >= smallest.min()


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("size", ["smallest", "default", "largest"])
def test_no_small_network_needs_less(name: str, model: str, size: str) -> None:
    space = SHIPPED[name]
    resolution = {
        "smallest": space.min_resolution,
        "default": space.resolution,
        "largest": space.max_resolution,
    }[size]
    frame = space_frame(space, resolution, space.class_count)
    problem = problem_for(space, frame, 1e9, 1e9, model=model)
    smallest = smallest_networks(problem)
    ranges = [space.stem_channels, *(stage.channels for stage in space.stages)]
    steps = [
        [c for c in range(r.minimum, r.minimum + 3 * r.step, r.step) if c <= r.maximum]
        for r in ranges
    ]
    channels = np.array(list(itertools.product(*steps)), np.int16).T
    genes = np.repeat(smallest, channels.shape[1], axis=1)
    view = GeneView(frame, genes)
    view.stem[:], view.channels[:] = channels[0], channels[1:]
    for stage in range(frame.n_stages):
        view.bottleneck[stage] = bottleneck_choices(space, stage, view.channels[stage]).min(axis=0)
    genes = genes[:, legal(space, frame, genes)]
    assert genes.shape[1] > 20
    many, one = GeneView(frame, genes), GeneView(frame, smallest)
    table, alone = unroll(frame, genes), unroll(frame, smallest)
    assert (
        peak_sram(problem.model, table, many.a_bits).min()
        == peak_sram(problem.model, alone, one.a_bits)[0]
    )
    assert (
        flash(problem.model, table, many.w_bits).min() == flash(problem.model, alone, one.w_bits)[0]
    )
