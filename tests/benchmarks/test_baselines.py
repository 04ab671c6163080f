"""Networks that searched ones are compared with: they fill the budget that they are named for."""

from __future__ import annotations

from pathlib import Path

import pytest

import benchmarks
from nas_engine.allocation.device_problem import device_problem, levels_of
from nas_engine.architecture import Bits
from nas_engine.evolution.config import build_problem, resolve_config
from nas_engine.evolution.evaluation import evaluate_given

FOLDER = Path(benchmarks.__file__).parent / "baselines"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_baseline_fills_its_budget_at_5_bits(path: Path) -> None:
    sizes = {"device": "cortex-m7", "sram": 36 * 1024, "flash": 80 * 1024}
    problem, device = build_problem(resolve_config({**sizes, "space": str(path)}))
    network = problem.network
    assert network is not None
    found = evaluate_given(problem)
    assert (device.arena_bytes, device.storage_bytes) == (32 * 1024, 48 * 1024)
    assert found.violation[0] == 0
    assert found.flash[0] > 0.92 * device.storage_bytes
    ends = {Bits(8, 8)}
    assert set(network.layer_bits()) == {Bits(5, 8), *ends}
    assert {network.stem.bits, network.classifier and network.classifier.bits} == ends


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_its_own_widths_are_within_the_limits_of_refinement(path: Path) -> None:
    sizes = {"device": "cortex-m7", "sram": 36 * 1024, "flash": 80 * 1024}
    search, _ = build_problem(resolve_config({**sizes, "space": str(path)}))
    assert search.network is not None
    found = evaluate_given(search)
    problem = device_problem(search, search.network)
    own = levels_of(problem, search.network)
    usage = problem.usage(own)
    assert problem.is_feasible(own), usage
    assert usage["peak SRAM"][0] == found.sram[0]
    assert usage["Flash"][0] == found.flash[0]


def test_there_are_two() -> None:
    assert {path.stem for path in FOLDER.glob("*.yaml")} == {"resnet-8-48k", "mobilenet-v2-48k"}
