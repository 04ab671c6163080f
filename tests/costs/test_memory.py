"""Both memory models through the contract; the arena by hand; the published networks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.whole_networks import mobilenet_v2, with_bits
from nas_engine.architecture import (
    Architecture,
    Bits,
    Block,
    Classifier,
    Convolution,
    read_architecture,
)
from nas_engine.costs.flash import flash
from nas_engine.costs.memory import MEMORY_MODELS, MemoryModel
from nas_engine.costs.sram import sram_per_layer
from nas_engine.encoding import GeneView, architecture_frame, encode
from nas_engine.layers import unroll
from tests import reference
from tests.architectures import GOLDEN
from tests.contracts.memory_model_contract import MemoryModelContract

SIZES = {"mixed7d0G": 887_208, "mixed19d2G": 1_960_690}


class TestMemoryModels(MemoryModelContract):
    """Every row of the table."""

    @pytest.fixture(params=MEMORY_MODELS)
    def model(self, request: pytest.FixtureRequest) -> MemoryModel:
        return MEMORY_MODELS[request.param]


def by_layer(model: str, net: Architecture) -> list[float]:
    frame = architecture_frame(net)
    genes = encode(frame, [net])
    live: list[float] = sram_per_layer(
        MEMORY_MODELS[model], unroll(frame, genes), GeneView(frame, genes).a_bits
    )[:, 0].tolist()
    return live


def network(stride: int, channels: int, classifier: bool, pooled: bool = False) -> Architecture:
    bits = (Bits(8, 6), Bits(8, 3), Bits(8, 5))
    return Architecture(
        resolution=9,
        stem=Convolution(kernel=3, stride=2, channels=8, bits=Bits(8, 8)),
        blocks=(Block(kernel=3, stride=stride, bottleneck=24, channels=channels, bits=(bits,)),),
        head=Convolution(kernel=1, stride=1, channels=40, bits=Bits(8, 4)),
        classifier=Classifier(class_count=10, bits=Bits(8, 8)) if classifier else None,
        pooled_shortcut=pooled,
    )


class TestByHand:
    """Numbers worked out on paper: a 9x9 image, 5x5 after the stem, so that word padding shows."""

    def test_arena_with_a_shortcut(self) -> None:
        image, stream, expanded, filtered, out = (
            244,
            152,
            228,
            376,
            100,
        )  # 243 B, 150 B, 225 B, 375 B, 100 B in words
        ring, head, pooled, logits = (
            136,
            1000,
            40,
            12,
        )  # 3 rows x 5 x 24 at 3 bits = 135 B; 25 x 40 at 8 bits
        assert by_layer("arena", network(1, 8, classifier=True)) == [
            image + stream + 28 * (4 + 8 + 2),  # 27 taps count as 28
            stream + expanded + 8 * 20,
            stream
            + max(expanded, filtered)
            + ring
            + 216
            + 8 * 3 * (5 + 1 + 2),  # four channels of three padded rows at 16 bit
            filtered + max(stream, out) + 24 * (4 + 8) + 0 * out,
            out + head + 8 * 20,
            max(head + pooled, pooled + logits + 40 * (4 + 10)),
        ]

    def test_arena_with_a_stride(self) -> None:
        # 3x3 after the stride: 24 x 9 at 5 bits = 135 B, 16 x 9 at 4 bits = 72 B, 40 x 9 at 8 bits
        # = 360 B
        assert by_layer("arena", network(2, 16, classifier=False))[2:] == [
            228 + 136 + 216 + 8 * 3 * 8,
            136 + 72 + 24 * (4 + 16),
            72 + 360 + 16 * 20,
            0,
        ]

    def test_paper_with_a_pooled_shortcut(self) -> None:
        # the pooled 8 x 9 at 6 bits = 54 B wait during the depth-wise only, whose output is one 3x3
        # plane at 5 bits
        assert by_layer("paper", network(2, 8, classifier=False, pooled=True)) == [
            243 + 150,
            150 + 225,
            225 + 9 * 5 / 8 + 54,
            135 + 36,
            36 + 360,
            0,
        ]


@pytest.mark.parametrize("name", SIZES)
class TestPublished:
    def test_size(self, name: str) -> None:
        net = read_architecture(GOLDEN / f"{name}.txt")
        frame = architecture_frame(net)
        genes = encode(frame, [net])
        assert flash(
            MEMORY_MODELS["paper"], unroll(frame, genes), GeneView(frame, genes).w_bits
        ).tolist() == [SIZES[name]]
        assert sum(reference.paper_flash(net)) == SIZES[name]

    def test_sram_is_the_scalar_reference(self, name: str) -> None:
        net = read_architecture(GOLDEN / f"{name}.txt")
        for model in MEMORY_MODELS:
            for resolution in (224, 97, 225):
                assert by_layer(model, net.at_resolution(resolution))[:-1] == reference.sram(
                    model, net.at_resolution(resolution)
                )


def test_mobilenet_v2_at_8_and_3_bits() -> None:
    """The figures of the paper's slides, 1.4 MB at 8 bits and 514.5 KiB at 3, in the authors'
    model.
    """
    for bits, peak in ((8, 1_404_928), (3, 526_848)):
        net = replace(with_bits(mobilenet_v2(224, width=1.0), f"8,{bits}"), classifier=None)
        assert max(by_layer("paper", net)) == max(reference.sram("paper", net)) == peak
