"""The smallest possible budget is the smallest: no small network of a shipped space needs less,
tried one by one.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from nas_engine.costs.flash import flash
from nas_engine.costs.sram import peak_sram
from nas_engine.encoding import GeneView, bottleneck_choices, legal, space_frame
from nas_engine.evolution.feasibility import smallest_network
from nas_engine.layers import unroll
from tests.populations import MODELS, SHIPPED, problem_for


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
    frame = space_frame(space, resolution, space.classes)
    problem = problem_for(space, frame, 1e9, 1e9, model=model)
    smallest = smallest_network(problem)
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
    assert flash(model, table, many.w_bits).min() == flash(model, alone, one.w_bits)[0]
