"""Flash and SRAM that a search counts, against the linked image of networks of either kind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.kernels import write_export
from nas_engine.costs.flash import flash
from nas_engine.costs.memory import MEMORY_MODELS
from nas_engine.costs.plan import plan_schedule
from nas_engine.costs.sram import peak_sram
from nas_engine.encoding import GeneView, decode, space_frame
from nas_engine.evolution.operators import sample
from nas_engine.layers import unroll
from nas_engine.names import Schedule
from nas_engine.testing.networks import random_images, untrained
from nas_engine.verification.cortex_m import CortexM
from search_spaces import load_space


@pytest.mark.skipif(
    CortexM().missing() is not None,
    reason="needs a compiler and an emulator: pip install 'nas-search[mcu]'",
)
@pytest.mark.parametrize("schedule", ["layers", "rows"])
def test_a_flexible_network_is_linked_as_it_is_counted(schedule: Schedule, tmp_path: Path) -> None:
    """Both kinds of units, expansion 1, and shortcuts of every sort, at 2 to 8 bits."""
    space = load_space("flexible-32")
    frame = replace(space_frame(space, 9, 10), schedule=schedule)
    genes = sample(space, frame, 400, np.random.default_rng(4))
    view, table = GeneView(frame, genes), unroll(frame, genes)
    model = MEMORY_MODELS["arena"]
    counted, arena = flash(model, table, view.w_bits), peak_sram(model, table, view.a_bits)
    mixed = (view.kind.min(axis=0) != view.kind.max(axis=0)) & (view.depth.max(axis=0) > 1)
    narrow = mixed & (view.bottleneck == view.channels).any(axis=0)
    index = int(np.flatnonzero(narrow)[counted[narrow].argmin()])
    network = decode(frame, genes[:, index])
    integers = untrained(network)
    images = random_images(integers, 1)
    plan = plan_schedule(integers, network.schedule, network.image, network.room)
    golden = write_export(integers, images, tmp_path / "export", plan)
    backend = CortexM(sram_bytes=256 << 10, flash_bytes=1 << 20, images_limit=1)
    result = backend.run(tmp_path / "export", integers, images, tmp_path / "work")
    assert (result.logits == golden.logits).all()
    assert result.footprint is not None
    assert result.footprint.packed == counted[index]
    assert result.footprint.arena == plan.arena_bytes == arena[index]
