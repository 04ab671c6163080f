"""Path noise against a loop over the layers of one network, and its constants against integrals."""

from __future__ import annotations

from functools import cache
from itertools import groupby

import numpy as np
import pytest

from nas_engine.architecture import Architecture
from nas_engine.encoding import GeneView
from nas_engine.layers import unroll
from nas_engine.network.from_architecture import graph_of
from nas_engine.scoring.path_noise import (
    PATH_NOISE_FORMS,
    PathNoiseForm,
    least_error,
    path_noise,
    stream_shares,
)
from search_spaces import SearchSpace
from tests.populations import EVERY_SPACE, networks, population

TABULATED = {
    "weight": (0.190, 0.0469, 0.0129, 0.0037, 0.0011, 0.0003, 0.0001),
    "rectified": (0.0469, 0.0129, 0.0037, 0.0011, 0.0003, 0.0001, 0.00003),
    "signed": (0.149, 0.0406, 0.0119, 0.0035, 0.0010, 0.0003, 0.0001),
}


@cache
def rectified_sum(power: float) -> float:
    """Integrate the power of relu(b + x), x the positive part of N(0, 2 power), on a grid."""
    x = np.linspace(-8, 8, 801)
    density = np.exp(-x * x / 2) / np.exp(-x * x / 2).sum()
    stream = np.maximum(x, 0) * np.sqrt(2 * power)
    return float(density @ np.square(np.maximum(x[:, None] + stream, 0)) @ density)


def slow(network: Architecture, form: PathNoiseForm) -> float:
    graph, total, power, rectified = graph_of(network), 0.0, 1.0, True
    layers = [node for node in graph.nodes if node.kind != "average_pool"]
    layers = layers[: -1 if network.classifier else None]
    for unit, group in groupby(layers, lambda node: node.name.rpartition(".")[0]):
        nodes = list(group)
        sums = any(node.shortcut is not None for node in nodes)
        projected = any(node.name.endswith(".shortcut") for node in nodes)
        added = 1.0 if projected else power if sums else 0.0
        share = 1 / (1 + added) if unit else 1.0
        for node in nodes:
            source, target = graph.tensor(node.input), graph.tensor(node.output)
            fan_in = node.taps * (1 if node.kind == "depthwise" else source.channels)
            is_stem = node.name == "stem"
            width = form.width / target.channels + form.fan_in / fan_in
            grid = "signed" if source.signed and not is_stem else "rectified"
            total += share * (0.0 if is_stem and not form.stem else width)
            total += share * least_error("weight", node.weight_bits)
            total += share * 4 * least_error(grid, source.bits)
        if unit:
            activated = not graph.tensor(nodes[-1].output).signed
            if not activated:
                power = 1 + added
            elif rectified and sums and not projected:
                power = rectified_sum(power)
            else:
                power = (1 + added) / 2
            rectified = activated
    return total


@pytest.mark.parametrize("space", EVERY_SPACE.values(), ids=lambda space: space.name)
def test_equals_a_loop_over_layers(space: SearchSpace) -> None:
    frame, genes = population(space, 6, seed=3)
    view, table = GeneView(frame, genes), unroll(frame, genes)
    for form in PATH_NOISE_FORMS.values():
        found = path_noise(table, view.w_bits, view.a_bits, form)
        wanted = [slow(network, form) for network in networks(frame, genes)]
        np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_shares_of_inverted_residuals_are_those_of_units_since_the_last_without_shortcut() -> None:
    frame, genes = population(EVERY_SPACE["mobilenet-32"], 40)
    table = unroll(frame, genes)
    shares = stream_shares(table)
    for column in range(table.n):
        count = 0
        for row in range(int(table.last_row[column])):
            count = count + 1 if table.shortcut[row, column] else 0
            assert shares[row, column] == pytest.approx(1 / (1 + count))


@pytest.mark.parametrize("kind", TABULATED)
@pytest.mark.parametrize("bits", range(2, 9))
def test_least_errors(kind: str, bits: int) -> None:
    half = 2 ** (bits - 1)
    low, high = {"weight": (1 - half, half - 1), "signed": (-half, half - 1)}.get(
        kind, (0, 2 * half - 1)
    )
    x = np.linspace(-8, 8, 16001)
    density = np.exp(-x * x / 2)
    signal = np.maximum(x, 0) if kind == "rectified" else x
    best = min(
        float(density @ np.square(np.clip(np.round(signal / step), low, high) * step - signal))
        for step in np.geomspace(0.01, 2.5, 400)
    )
    assert least_error(kind, bits) == pytest.approx(best / float(density @ signal**2), rel=4e-3)
    assert least_error(kind, bits) == pytest.approx(TABULATED[kind][bits - 2], rel=0.1, abs=5e-5)
