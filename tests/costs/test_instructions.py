"""Instructions of populations: each network alone, tiles as the runtime has them, and the table."""

from __future__ import annotations

import numpy as np
import pytest

from nas_engine.costs.dense_work import channels_held, tile_channels
from nas_engine.costs.instruction_model import (
    GROUPS,
    InstructionModel,
    instruction_model,
    read_table,
    shipped_table,
)
from nas_engine.costs.instructions import instructions_per_layer
from nas_engine.costs.layer_work import Layers
from nas_engine.costs.memory import MOST_DOUBLINGS, dense_scratch, tile_bytes
from nas_engine.encoding import GeneView
from nas_engine.errors import InputError
from nas_engine.layers import unroll
from tests.populations import EVERY_SPACE, population


def any_prices(seed: int = 0) -> InstructionModel:
    """Return a model in which every loop has a price of its own."""
    rng = np.random.default_rng(seed)
    loops = {
        group: {name: float(rng.uniform(1, 100)) for name in names}
        for group, names in shipped_table()[0].loops.items()
    }
    return InstructionModel(core="any", compiler="any", mean_error=0, worst_error=0, loops=loops)


@pytest.mark.parametrize("space", EVERY_SPACE)
def test_a_population_is_its_networks_one_by_one(space: str) -> None:
    model = any_prices()
    for classes in (0, 10):
        frame, genes = population(EVERY_SPACE[space], 9, seed=5, classes=classes)
        view, table = GeneView(frame, genes), unroll(frame, genes)
        found = instructions_per_layer(model, table, view.w_bits, view.a_bits)
        assert (found[table.weights == 0] == 0).all()
        assert (found[table.weights > 0] > 0).all()
        for i in range(table.n):
            alone = genes[:, i : i + 1]
            own = GeneView(frame, alone)
            counts = instructions_per_layer(model, unroll(frame, alone), own.w_bits, own.a_bits)
            assert found[:, i].tolist() == pytest.approx(counts[:, 0].tolist(), rel=1e-12)


@pytest.mark.parametrize("bits", [5, 8])
@pytest.mark.parametrize("kernel", [1, 3])
def test_tiles_are_those_of_the_memory_plan(kernel: int, bits: int) -> None:
    for inputs, outputs in ((8, 16), (24, 144), (96, 24), (3, 8), (17, 5), (320, 1280)):
        layer = Layers(
            height=9, width=9, out_height=9, out_width=9, inputs=inputs, outputs=outputs,
            kernel=kernel, w_bits=bits,
        )  # fmt: skip
        taps, windows = kernel * kernel * inputs, kernel > 1
        in_flash = bits == 8 and taps % 4 == 0 and outputs % 2 == 0
        scratch = 4 * int(dense_scratch(taps, outputs, windows=windows))
        last = 0
        for doublings in range(MOST_DOUBLINGS + 1):
            size = tile_bytes(taps, outputs, doublings, windows=windows, in_flash=in_flash)
            held = channels_held(layer, doublings)
            fits = tile_channels(layer, size - scratch)
            assert fits >= held
            if doublings == 0 or size > last:
                assert tile_channels(layer, size - scratch - 1) < fits or doublings == 0
            last = size
        assert tile_channels(layer, 0) == channels_held(layer, 0)


def test_the_shipped_table_has_the_cores_that_are_emulated_exactly() -> None:
    for core in ("cortex-m7", "cortex-m4", "cortex-m33"):
        rows = [row for row in shipped_table() if row.core == core]
        assert instruction_model(core) == rows[0]
        for row in rows:
            assert instruction_model(core, row.compiler) == row
            assert 0 < row.mean_error <= row.worst_error <= 0.05
            assert set(row.loops) == set(GROUPS.values())
    assert instruction_model("cortex-m7", "tcc 0.9") is None
    assert instruction_model("xtensa-lx7") is None


@pytest.mark.parametrize("text", ["", "format: other/1", "format: nas-search/instructions/1", "["])
def test_what_is_no_table_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"benchmarks\.instruction_model"):
        read_table(text)
