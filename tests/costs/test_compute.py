"""MACs, BitOps and cycles against the scalar reference."""

from __future__ import annotations

import numpy as np
import pytest

from nas_engine.architecture import read_architecture
from nas_engine.costs.compute import bitops, cycles, macs
from nas_engine.costs.memory import MEMORY_MODELS
from nas_engine.encoding import GeneView, architecture_frame, encode
from nas_engine.layers import KINDS, unroll
from tests import reference
from tests.architectures import GOLDEN
from tests.populations import EVERY_PAIR, EVERY_SPACE, SPACES, networks, population, resolutions

ARENA, PAPER = MEMORY_MODELS["arena"], MEMORY_MODELS["paper"]


@pytest.mark.parametrize("space", EVERY_SPACE)
@pytest.mark.parametrize("classes", [0, 10])
def test_macs_and_bitops_are_the_scalar_reference(space: str, classes: int) -> None:
    for resolution in resolutions(EVERY_SPACE[space]):
        frame, genes = population(
            EVERY_SPACE[space], 15, seed=resolution, resolution=resolution, classes=classes
        )
        view, table = GeneView(frame, genes), unroll(frame, genes)
        ours, paper, counted = (
            bitops(ARENA, table, view.w_bits, view.a_bits),
            bitops(PAPER, table, view.w_bits, view.a_bits),
            macs(table),
        )
        for i, net in enumerate(networks(frame, genes)):
            assert counted[i] == reference.macs(net)
            assert ours[i] == reference.bitops(net)
            assert paper[i] == 64 * reference.paper_bitops_over_64(net)


@pytest.mark.parametrize(
    ("name", "over_64"), [("mixed7d0G", 106_853_001.5), ("mixed19d2G", 293_479_179)]
)
def test_published_bitops(name: str, over_64: float) -> None:
    net = read_architecture(GOLDEN / f"{name}.txt")
    frame = architecture_frame(net)
    genes = encode(frame, [net])
    view = GeneView(frame, genes)
    assert (bitops(PAPER, unroll(frame, genes), view.w_bits, view.a_bits) / 64).tolist() == [
        over_64
    ]
    assert reference.paper_bitops_over_64(net) == over_64


@pytest.mark.parametrize("space", EVERY_SPACE)
def test_cycles_are_the_scalar_reference(space: str) -> None:
    rng = np.random.default_rng(0)
    tables = {kind: np.where(EVERY_PAIR, rng.uniform(0.5, 4, (9, 9)), np.nan) for kind in KINDS}
    for classes in (0, 10):
        frame, genes = population(EVERY_SPACE[space], 20, seed=3, classes=classes)
        view, table = GeneView(frame, genes), unroll(frame, genes)
        found = cycles(table, view.w_bits, view.a_bits, tables)
        for i, net in enumerate(networks(frame, genes)):
            wanted = sum(
                layer.macs * tables[layer.kind][layer.w, layer.a] for layer in reference.layers(net)
            )
            assert found[i] == pytest.approx(wanted, rel=1e-12)


def test_bitops_apart_from_widths_are_those_of_width_zero() -> None:
    frame, genes = population(SPACES["qe-score-2022"], 30)
    view, table = GeneView(frame, genes), unroll(frame, genes)
    for model in MEMORY_MODELS.values():
        assert (
            bitops(model, table, view.w_bits * 0, view.a_bits) == model.extra_bitops(table)
        ).all()
    assert not ARENA.extra_bitops(table).any()
