"""The report of one network: what ``nas-search score`` prints."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import pytest

from device_profiles import load_device
from nas_engine.architecture import read_architecture
from nas_engine.costs.plan import bytes_in_use, plan_memory
from nas_engine.encoding import architecture_frame
from nas_engine.errors import InputError, UnknownNameError
from nas_engine.layers import KINDS
from nas_engine.names import IMAGE_INPUTS, SCHEDULES
from nas_engine.report.network import report_network
from nas_engine.scoring.qe_score import ScoreSettings
from tests.populations import EVERY_SPACE, networks, population

GOLDEN = Path(__file__).parent.parent / "golden"


@pytest.mark.parametrize(
    ("name", "score", "flash", "bitops_over_64"),
    [
        ("mixed7d0G.txt", 1224.5367750152895, 887208, 106853001.5),
        ("mixed19d2G.txt", 1290.3356071584665, 1960690, 293479179),
    ],
)
def test_published_networks_count_as_their_authors_count(
    name: str, score: float, flash: float, bitops_over_64: float
) -> None:
    report = report_network(read_architecture(GOLDEN / name), memory_model="paper")
    assert report.qe_score == pytest.approx(score, rel=1e-9)
    assert report.total_flash_bytes == pytest.approx(flash, rel=1e-9)
    assert report.bitops / 64 == pytest.approx(bitops_over_64, rel=1e-9)
    assert len(report.layer_names) == len(report.sram_bytes) == len(report.flash_bytes) == 47
    assert sum(report.stage_terms) == pytest.approx(score, rel=1e-12)


def test_json_has_the_promised_keys_and_agrees_with_the_record() -> None:
    report = report_network(read_architecture(GOLDEN / "mixed7d0G.txt"))
    data = json.loads(json.dumps(report.as_json()))
    assert list(data) == [
        "qe_score",
        "stage_terms",
        "peak_sram_bytes",
        "sram_bytes_per_layer",
        "flash_bytes",
        "macs",
        "bitops",
        "cycles",
        "latency_ms",
        "effectiveness",
        "layers",
    ]
    assert all(type(data[key]) is int for key in ("peak_sram_bytes", "flash_bytes", "macs"))
    assert data["peak_sram_bytes"] == max(data["sram_bytes_per_layer"]) == report.peak_sram_bytes
    assert data["layers"] == len(data["sram_bytes_per_layer"]) == 47
    assert data["flash_bytes"] == sum(report.flash_bytes)
    assert report.sram_bytes[report.layer_names.index(report.peak_layer)] == report.peak_sram_bytes


def test_cycles_need_a_device_and_scale_with_its_table() -> None:
    network = read_architecture(GOLDEN / "mixed7d0G.txt")
    assert report_network(network).cycles is None
    tables = {kind: load_device("cortex-m7").cycles_table(kind) for kind in KINDS}
    report = report_network(network, cycles_per_mac=tables)
    once = report.cycles
    twice = report_network(
        network, cycles_per_mac={kind: 2 * table for kind, table in tables.items()}
    ).cycles
    assert once is not None
    assert sum(report.layer_cycles) == pytest.approx(once)
    assert report.layer_latency == ()
    low, high = zip(
        *replace(report, milliseconds_per_cycle=(1e-6, 2e-6)).layer_latency, strict=True
    )
    assert sum(low) == pytest.approx(1e-6 * once)
    assert high == pytest.approx([2 * each for each in low])
    assert once > report_network(network).total_macs
    assert twice == pytest.approx(2 * once)


@pytest.mark.parametrize("name", EVERY_SPACE)
def test_sram_as_a_network_runs_is_that_of_its_plan(name: str) -> None:
    """The largest is the arena; a unit by rows has it at every layer, a layer alone its own.

    Weights that stay unpacked in bytes that are free anyway do not count.
    """
    space = EVERY_SPACE[name]
    score = ScoreSettings(stage_weights=space.stage_weights)
    frame, genes = population(space, 3, seed=11)
    for schedule, image in itertools.product(SCHEDULES, IMAGE_INPUTS):
        for network in networks(replace(frame, schedule=schedule, image=image), genes):
            plan = plan_memory(network)
            stages = architecture_frame(network).n_score_stages  # fewer than the space has at most
            report = report_network(network, score=score.last(stages))
            assert report.peak_sram_bytes == plan.arena_bytes
            live = dict(zip(report.layer_names, report.sram_bytes, strict=True))
            for step in (step for step in plan.steps if step in live and step != "classifier"):
                at = plan.steps.index(step)
                needed = [tensor for tensor in plan.live(at) if tensor.kind != "weights"]
                assert live[step] == bytes_in_use(needed)


def test_errors() -> None:
    network = read_architecture(GOLDEN / "mixed7d0G.txt")
    with pytest.raises(InputError, match="'paper' does not count; give --memory-model arena"):
        report_network(replace(network, schedule="rows"), memory_model="paper")
    with pytest.raises(UnknownNameError, match="did you mean 'paper'"):
        report_network(network, memory_model="papr")
    with pytest.raises(InputError, match="has 5 stages, give 5"):
        report_network(network, score=ScoreSettings(stage_weights=(1.0, 2.0)))
