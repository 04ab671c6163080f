"""Networks that are compared with one another: they fill the budget that they are named for."""

from __future__ import annotations

from pathlib import Path

import pytest

import benchmarks
from device_profiles import DeviceProfile
from nas_engine.allocation.device_problem import device_problem, levels_of
from nas_engine.architecture import Bits, read_architecture
from nas_engine.evolution.config import build_problem, resolve_config
from nas_engine.evolution.evaluation import evaluate_given
from nas_engine.evolution.problem import SearchProblem
from nas_engine.network.from_architecture import graph_of

FOLDER = Path(benchmarks.__file__).parent / "baselines"
BYTES = {
    "mobilenet-v2-48k": (46_472, 27_324),
    "mobilenet-v2-96k": (93_556, 48_028),
    "resnet-8": (81_120, 27_744),
    "resnet-8-48k": (48_776, 27_744),
    "resnet-8-96k": (95_256, 34_680),
    "searched-48k": (49_144, 32_004),
    "searched-96k": (98_268, 25_864),
}
"""Flash and peak SRAM of each, as a search counts them."""

FILES = pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)


def problem_of(path: Path) -> tuple[SearchProblem, DeviceProfile]:
    sram, flash = (36, 80) if path.stem.endswith("-48k") else (52, 128)
    sizes = {"device": "cortex-m7", "sram": sram * 1024, "flash": flash * 1024}
    return build_problem(resolve_config({**sizes, "space": str(path)}))


@FILES
def test_a_network_fits_its_budget(path: Path) -> None:
    problem, device = problem_of(path)
    assert problem.network is not None
    found = evaluate_given(problem)
    small = path.stem.endswith("-48k")
    budget = (32 * 1024, 48 * 1024) if small else (48 * 1024, 96 * 1024)
    assert (device.arena_bytes, device.storage_bytes) == budget
    assert found.violation[0] == 0
    assert (found.flash[0], found.sram[0]) == BYTES[path.stem]
    assert path.stem == "resnet-8" or found.flash[0] > 0.92 * device.storage_bytes


def test_resnet_8_has_the_layers_of_mlperf_tiny() -> None:
    """Stem, three blocks of 3x3 layers with 16, 32 and 64 channels, pool, dense layer."""
    network = read_architecture(FOLDER / "resnet-8.yaml")
    graph = graph_of(network)
    assert [node.name for node in graph.layers] == list(network.layer_names())
    assert network.layer_names()[-2:] == ("s3.b1.conv2", "classifier")
    sizes = [graph.tensor(node.output).shape for node in graph.nodes]
    assert sizes == [(32, 32, 16)] * 3 + [(16, 16, 32)] * 3 + [(8, 8, 64)] * 3 + [
        (1, 1, 64),
        (1, 1, 10),
    ]
    weights = 432 + 2 * 2304 + (4608 + 512 + 9216) + (18_432 + 2048 + 36_864) + 640
    assert sum(map(graph.weights, graph.nodes)) == weights
    assert sum(map(graph.macs, graph.nodes)) == 12_501_632


@pytest.mark.parametrize(
    ("name", "bits"),
    [
        ("resnet-8-48k", 5),
        ("mobilenet-v2-48k", 5),
        ("resnet-8-96k", 6),
        ("mobilenet-v2-96k", 5),
    ],
)
def test_what_a_user_would_take_has_one_width(name: str, bits: int) -> None:
    network = read_architecture(FOLDER / f"{name}.yaml")
    ends = {Bits(8, 8)}
    assert set(network.layer_bits()) == {Bits(bits, 8), *ends}
    assert {network.stem.bits, network.classifier and network.classifier.bits} == ends


@FILES
def test_its_own_widths_are_within_the_limits_of_refinement(path: Path) -> None:
    search, _ = problem_of(path)
    assert search.network is not None
    problem = device_problem(search, search.network)
    own = levels_of(problem, search.network)
    usage = problem.usage(own)
    assert problem.is_feasible(own), usage
    assert usage["Flash"][0] == BYTES[path.stem][0]


def test_there_is_a_row_for_each() -> None:
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(BYTES)
