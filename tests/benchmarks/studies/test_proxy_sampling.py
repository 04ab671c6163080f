"""The networks of the proxy study: of the space, within their limits, repeatable, and chosen
without a look at the score.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from benchmarks.studies.proxy import sampling as proxy_sampling
from benchmarks.studies.proxy.candidates import RHO_LIMITS
from benchmarks.studies.proxy.networks import networks
from benchmarks.studies.proxy.sampling import Setting, costs
from benchmarks.studies.proxy.uniform import DEPTHS, searched, uniform_network
from nas_engine.encoding import GeneView, encode
from nas_engine.layers import unroll
from nas_engine.scoring import qe_score
from tests import reference
from tests.legal import legal

SETTING = Setting(candidates=256)


@pytest.fixture
def blind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every part of the score fail."""

    def looked(*_: Any, **__: Any) -> None:
        raise AssertionError("the score was looked at")

    for name in ("qe_score", "structure_score", "bits_score", "layer_coefficients"):
        monkeypatch.setattr(qe_score, name, looked)


@pytest.mark.usefixtures("blind")
@pytest.mark.parametrize("part", ["free", "budget", "calibration"])
def test_networks_are_of_the_space_within_limits_and_repeatable(part: str) -> None:
    chosen = networks(part, 4, SETTING)
    assert [network.name for network in chosen] == [f"{part}-{i:03d}" for i in range(4)]
    assert networks(part, 3, SETTING) == chosen[:3]
    found = [network.architecture for network in chosen]
    assert len({str(network) for network in found}) == 4
    assert legal(SETTING.shape, SETTING.frame, encode(SETTING.frame, found)).all()
    sram, size, macs = costs(SETTING, found)
    assert (macs <= SETTING.macs[1]).all()
    if part == "budget":
        assert (np.abs(size / SETTING.flash_bytes - 1) <= SETTING.flash_within).all()
        assert (sram <= SETTING.sram_bytes).all()
    if part != "calibration":
        assert (macs >= SETTING.macs[0]).all()
    else:
        for network in found:
            assert len(set(network.layer_bits()[1:-1])) == 1


def test_activations_lose_no_more_bits_than_sram_asks_for() -> None:
    for network in networks("budget", 3, SETTING):
        roomy = Setting(sram_bytes=1024 * 1024)
        genes = encode(SETTING.frame, [network.architecture])
        assert proxy_sampling.to_sram(roomy, genes, np.random.default_rng(0))
        view = GeneView(SETTING.frame, genes)
        assert set(view.a_bits[view.a_bits > 0]) == {8}
        assert not proxy_sampling.to_sram(Setting(sram_bytes=1024), genes, np.random.default_rng(0))
        assert not proxy_sampling.to_flash(
            Setting(flash_bytes=1024), genes, np.random.default_rng(0)
        )


def test_baselines_fit_the_budget_fullest_first() -> None:
    found = [
        network.architecture for network in networks("baselines", 11, Setting(candidates=4096))
    ]
    sram, size, macs = costs(SETTING, found)
    assert (size <= SETTING.flash_bytes).all()
    assert (sram <= SETTING.sram_bytes).all()
    assert (macs <= SETTING.macs[1]).all()
    assert (np.diff(size[5:]) <= 0).all()
    assert size[5] > 0.9 * SETTING.flash_bytes
    assert [
        reference.effectiveness(net) <= limit
        for net, limit in zip(found[1:3], RHO_LIMITS, strict=True)
    ] == [True, True]
    assert reference.effectiveness(found[0]) > max(RHO_LIMITS)
    assert sum(block.depth for block in found[3].blocks) <= 6


def test_a_search_with_more_candidates_scores_no_less() -> None:
    def score(candidates: int) -> float:
        setting = Setting(candidates=candidates)
        genes = encode(
            setting.frame, [searched(setting, setting.shape, setting.shape.stage_weights)]
        )
        view = GeneView(setting.frame, genes)
        settings = qe_score.ScoreSettings(stage_weights=setting.shape.stage_weights)
        return float(
            qe_score.qe_score(unroll(setting.frame, genes), view.w_bits, view.a_bits, settings)[0]
        )

    assert score(4096) > score(64)


@pytest.mark.parametrize("change", [lambda w: {"width": w}, lambda w: {"expansion": 2 * w}])
def test_wider_uniform_networks_cost_more(change: Callable[[float], dict[str, float]]) -> None:
    base = {"width": 1.0, "depth": DEPTHS[1], "expansion": 2.0, "w": 4, "a": 4}
    sram, size, macs = costs(
        SETTING,
        [uniform_network(SETTING, **{**base, **change(factor)}) for factor in (0.75, 1.0, 1.5)],
    )  # type: ignore[arg-type]
    for cost in (sram, size, macs):
        assert (np.diff(cost) >= 0).all()
    assert (np.diff(macs) > 0).all()
