"""Candidates for a proxy against their definitions computed layer by layer."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.studies.proxy.candidates import (
    PUBLISHED,
    Widths,
    candidates,
    limited,
    sigma_grid,
    stage_log_widths,
    trivial,
)
from benchmarks.studies.proxy.networks import networks
from benchmarks.studies.proxy.sampling import Setting
from nas_engine.encoding import GeneView, encode
from nas_engine.layers import LayerTable, unroll
from nas_engine.scoring.qe_score import ScoreSettings, qe_score

SETTING = Setting()
NETWORKS = [network.architecture for network in networks("free", 6, SETTING)]
WEIGHTS = SETTING.shape.stage_weights
Arrays = tuple[LayerTable, Widths, Widths]


@pytest.fixture(scope="module")
def arrays() -> Arrays:
    genes = encode(SETTING.frame, NETWORKS)
    view = GeneView(SETTING.frame, genes)
    return unroll(SETTING.frame, genes), view.w_bits, view.a_bits


def fan_ins(index: int) -> list[list[float]]:
    """Return the fan-in of each convolution, by the score's stage it belongs to."""
    network = NETWORKS[index]
    stages, channels = (
        [[network.stem.kernel**2 * network.input_channels * 1.0]],
        network.stem.channels,
    )
    for block in network.blocks:
        if block.stride == 2:
            stages.append([])
        for _ in range(block.depth):
            stages[-1] += [float(channels), float(block.kernel**2), float(block.bottleneck)]
            channels = block.channels
    stages[-1].append(float(channels))
    return stages


def test_log_widths_are_summed_up_to_the_end_of_each_stage(arrays: Arrays) -> None:
    sums = stage_log_widths(arrays[0])
    for i in range(len(NETWORKS)):
        assert sums[:, i] == pytest.approx(
            np.cumsum([sum(map(math.log, stage)) for stage in fan_ins(i)])
        )


def test_the_published_score_is_the_products_own(arrays: Arrays) -> None:
    table, w_bits, a_bits = arrays
    found = candidates(table, w_bits, a_bits, WEIGHTS)
    assert all(
        np.isfinite(values).all() and values.shape == (len(NETWORKS),) for values in found.values()
    )
    np.testing.assert_array_equal(
        found[PUBLISHED], qe_score(table, w_bits, a_bits, ScoreSettings(stage_weights=WEIGHTS))
    )
    np.testing.assert_array_equal(
        found[PUBLISHED], sigma_grid(table, w_bits, a_bits, WEIGHTS)[5.0, 4.0]
    )
    assert (found["QE-Score with 8 bits everywhere (structure alone)"] > found[PUBLISHED]).all()


def test_the_resolution_term_of_one_network(arrays: Arrays) -> None:
    table, w_bits, a_bits = arrays
    network = NETWORKS[0]
    ends = [
        network.stem.channels,
        *(network.blocks[i].channels for i in (1, 3)),
        network.head.channels,
    ]
    areas = [32**2, 16**2, 8**2, 4**2]
    sums = np.cumsum([sum(map(math.log, stage)) for stage in fan_ins(0)])
    sizes = [math.log(area * channels) for area, channels in zip(areas, ends, strict=True)]
    expected = sum(
        weight * size * total for weight, size, total in zip((1, 1, 1, 8), sizes, sums, strict=True)
    )
    assert candidates(table, w_bits, a_bits, WEIGHTS)["DeepMAD entropy (float)"][
        0
    ] == pytest.approx(expected)


def test_trivial_figures_of_one_network(arrays: Arrays) -> None:
    table, w_bits, a_bits = arrays
    found = trivial(table, w_bits, a_bits, "arena")
    inner = NETWORKS[1].layer_bits()[:-1]
    assert found["depth (convolutions)"][1] == len(inner)
    assert found["mean weight bits of the layers"][1] == pytest.approx(
        np.mean([bits.w for bits in inner])
    )
    assert found["mean activation bits of the layers"][1] == pytest.approx(
        np.mean([bits.a for bits in inner])
    )


def test_a_limit_keeps_the_order_within_and_puts_the_others_behind() -> None:
    score, depth = np.array([3.0, 9.0, 1.0, 7.0]), np.array([10.0, 30.0, 12.0, 25.0])
    assert np.argsort(-limited(score, depth, 20.0)).tolist() == [0, 2, 3, 1]
    np.testing.assert_array_equal(limited(score, depth, 30.0), score)
