"""Networks that are compared with one another: they fill the budget that they are named for."""

from __future__ import annotations

from pathlib import Path

import pytest

import benchmarks
from device_profiles import DeviceProfile
from nas_engine.allocation.device_problem import device_problem, levels_of
from nas_engine.architecture import Bits, read_architecture
from nas_engine.costs.plan import live_per_layer
from nas_engine.evolution.config import build_problem, resolve_config
from nas_engine.evolution.evaluation import evaluate_given
from nas_engine.evolution.problem import SearchProblem

FOLDER = Path(benchmarks.__file__).parent / "baselines"
BYTES = {
    "mobilenet-v2-48k": (46_472, 27_324),
    "resnet-8-48k": (48_164, 27_744),
    "searched-48k": (49_144, 32_004),
}
"""Flash and smallest arena of each."""

FILES = pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)


def problem_of(path: Path) -> tuple[SearchProblem, DeviceProfile]:
    sizes = {"device": "cortex-m7", "sram": 36 * 1024, "flash": 80 * 1024}
    return build_problem(resolve_config({**sizes, "space": str(path)}))


@FILES
def test_a_network_fills_its_budget(path: Path) -> None:
    problem, device = problem_of(path)
    assert problem.network is not None
    found = evaluate_given(problem)
    assert (device.arena_bytes, device.storage_bytes) == (32 * 1024, 48 * 1024)
    assert found.violation[0] == 0
    assert (found.flash[0], found.sram[0]) == BYTES[path.stem]
    assert found.flash[0] > 0.92 * device.storage_bytes


@pytest.mark.parametrize("name", ["resnet-8-48k", "mobilenet-v2-48k"])
def test_what_a_user_would_take_has_5_bits(name: str) -> None:
    network = read_architecture(FOLDER / f"{name}.yaml")
    ends = {Bits(8, 8)}
    assert set(network.layer_bits()) == {Bits(5, 8), *ends}
    assert {network.stem.bits, network.classifier and network.classifier.bits} == ends


@FILES
def test_its_own_widths_are_within_the_limits_of_refinement(path: Path) -> None:
    search, _ = problem_of(path)
    assert search.network is not None
    problem = device_problem(search, search.network)
    own = levels_of(problem, search.network)
    usage = problem.usage(own)
    assert problem.is_feasible(own), usage
    assert usage["peak SRAM"][0] == max(live_per_layer(search.network))
    assert usage["Flash"][0] == BYTES[path.stem][0]


def test_there_is_a_row_for_each() -> None:
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(BYTES)
