"""Depth over width against the scalar reference."""

from __future__ import annotations

import pytest

from nas_engine.architecture import read_architecture
from nas_engine.costs.effectiveness import effectiveness
from nas_engine.encoding import architecture_frame, encode
from nas_engine.layers import unroll
from tests import reference
from tests.architectures import GOLDEN
from tests.populations import EVERY_SPACE, networks, population


@pytest.mark.parametrize("space", EVERY_SPACE)
@pytest.mark.parametrize("classes", [0, 10])
def test_is_the_scalar_reference(space: str, classes: int) -> None:
    frame, genes = population(EVERY_SPACE[space], 20, seed=5, classes=classes)
    found = effectiveness(unroll(frame, genes))
    assert found.shape == (20,)
    for i, net in enumerate(networks(frame, genes)):
        assert found[i] == pytest.approx(reference.effectiveness(net), rel=1e-12)


def test_a_wider_network_of_equal_depth_has_less() -> None:
    networks = [read_architecture(GOLDEN / f"{name}.txt") for name in ("mixed7d0G", "mixed19d2G")]
    small, large = (
        effectiveness(unroll(frame, encode(frame, [net])))[0]
        for net in networks
        for frame in [architecture_frame(net)]
    )
    assert large < small
