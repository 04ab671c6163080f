"""Candidates for a proxy against their definitions computed layer by layer, and the statistics
against SciPy.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from benchmarks import statistics
from benchmarks.proxy_candidates import (
    PUBLISHED,
    Widths,
    candidates,
    limited,
    sigma_grid,
    stage_log_widths,
    trivial,
)
from benchmarks.proxy_networks import networks
from benchmarks.proxy_sampling import Setting
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


@pytest.mark.parametrize("seed", range(5))
def test_kendall_is_scipys(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "BOOTSTRAPS", 200)
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 9, 30).astype(float)
    y = x + rng.normal(size=30)
    tau, rho = statistics.kendall_estimate(x, y), statistics.spearman_estimate(x, y)
    assert statistics.kendall(x, y) == tau.value == pytest.approx(stats.kendalltau(x, y).statistic)
    assert rho.value == pytest.approx(stats.spearmanr(x, y).statistic)
    for found in (tau, rho):
        assert found.low < found.value < found.high
        assert found.high - found.low < 0.8


def test_a_constant_has_no_correlation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "BOOTSTRAPS", 10)
    assert np.isnan(statistics.kendall_estimate(np.ones(5), np.arange(5)).low)
    assert str(statistics.kendall_estimate(np.arange(9), np.arange(9))) == "1.00 [1.00, 1.00]"


def test_leave_one_out_does_not_see_the_case_it_predicts() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(30, 3))
    target = features @ np.array([1.0, -2.0, 0.5])
    np.testing.assert_allclose(
        statistics.leave_one_out(features, target, ridge=1e-9), target, atol=1e-6
    )
    changed = target.copy()
    changed[4] += 100.0
    before, after = (statistics.leave_one_out(features, values)[4] for values in (target, changed))
    assert before == pytest.approx(after)


def test_the_best_of_the_first_and_the_one_a_second_measure_picks() -> None:
    target, equal = np.array([5.0, 8.0, 6.0, 7.0]), np.zeros(4)
    values, second = np.array([9.0, 1.0, 8.0, 7.0]), np.array([1.0, 9.0, 3.0, 2.0])
    assert [statistics.best_of_top(values, target, k) for k in (1, 2, 3, 4)] == [5.0, 6.0, 7.0, 8.0]
    assert [statistics.best_of_top(equal, target, k) for k in (1, 2)] == [5.0, 8.0]
    assert [statistics.reranked(values, second, target, k) for k in (1, 3, 4)] == [5.0, 6.0, 8.0]
