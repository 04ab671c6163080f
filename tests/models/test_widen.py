"""The wider teacher has the shape of the searched network."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nas_engine.architecture import (
    Architecture,
    Bits,
    Block,
    Classifier,
    Convolution,
    dump_architecture,
    parse_architecture,
)
from nas_engine.models.widen import widen
from tests.populations import SHIPPED, networks, population
from tests.training.networks import block_kinds

W8A8 = Bits(8, 8)


def channels(network: Architecture) -> list[int]:
    blocks = [count for block in network.blocks for count in (block.bottleneck, block.channels)]
    return [network.stem.channels, *blocks, network.feature_channels]


@pytest.mark.parametrize("space", SHIPPED)
def test_channels_double_and_all_else_stays(space: str) -> None:
    for network in networks(*population(SHIPPED[space], 3, seed=1)):
        wide = widen(network)
        assert channels(wide) == [(2 * count + 4) // 8 * 8 for count in channels(network)]
        assert set(wide.layer_bits()) == {W8A8}
        assert wide.layer_names() == network.layer_names()
        assert parse_architecture(dump_architecture(wide)) == wide
        narrow = replace(
            wide,
            stem=network.stem,
            head=network.head,
            classifier=network.classifier,
            blocks=tuple(
                replace(w, bottleneck=n.bottleneck, channels=n.channels, bits=n.bits)
                for w, n in zip(wide.blocks, network.blocks, strict=True)
            ),
        )
        assert narrow == network


@pytest.mark.parametrize(
    ("count", "factor", "expected"),
    [(1, 2.0, 8), (10, 2.0, 24), (9, 2.0, 16), (12, 1.75, 24), (5000, 2.0, 8192), (24, 1.0, 24)],
)
def test_channels_are_multiples_of_8_within_the_limits(
    count: int, factor: float, expected: int
) -> None:
    conv = Convolution(kernel=1, stride=1, channels=count, bits=W8A8)
    block = Block(
        kernel=3, stride=2, bottleneck=count, channels=count, bits=((Bits(2, 3), W8A8, W8A8),)
    )
    network = Architecture(
        resolution=9,
        stem=conv,
        blocks=(block,),
        head=conv,
        classifier=Classifier(class_count=3, bits=Bits(4, 4)),
    )
    assert channels(widen(network, factor)) == [expected] * 4
    assert widen(replace(network, classifier=None)).classifier is None


def test_other_kinds_of_blocks_keep_their_layers_where_their_shapes_allow() -> None:
    network = block_kinds()
    wide = widen(network)
    assert [block.kind for block in wide.blocks] == [block.kind for block in network.blocks]
    assert channels(wide) == [16, 0, 16, 0, 24, 0, 24, 24]
    assert wide.layer_names() == network.layer_names()
    first = replace(network.blocks[0], channels=9, bits=((W8A8, W8A8, W8A8),))
    nearly = replace(network, blocks=(first, *network.blocks[1:]))  # 8 and 9 both become 16
    assert "s1.b1.shortcut" in nearly.layer_names()
    assert "s1.b1.shortcut" not in widen(nearly).layer_names()
    assert set(widen(nearly).layer_bits()) == {W8A8}
