"""Time of other engines for a searched network: kinds of layers, and their published cycles."""

from __future__ import annotations

from dataclasses import replace

import pytest

from device_profiles import PublishedCycles, load_device
from nas_engine.architecture import read_architecture
from nas_engine.report.latency import core_remark, macs_by_kind, published_remark, published_times
from nas_engine.report.network import report_network
from tests.architectures import GOLDEN

REPORT = report_network(read_architecture(GOLDEN / "mixed7d0G.txt"))

ONE = PublishedCycles(
    board="B",
    engine="E 1",
    networks=3,
    first=2.0,
    pointwise=1.0,
    depthwise=6.0,
    dense=8.0,
    mean_error=0.1,
    left_out_error=0.123,
    source="made here",
)


def test_every_mac_is_of_one_kind() -> None:
    found = macs_by_kind(REPORT)
    by_name = {"first": 0.0, "pointwise": 0.0, "depthwise": 0.0, "dense": 0.0}
    for name, macs in zip(REPORT.layer_names, REPORT.macs, strict=True):
        kind = {"stem": "first", "classifier": "dense"}.get(name, "pointwise")
        by_name["depthwise" if name.endswith("depthwise") else kind] += macs
    assert found == {kind: macs for kind, macs in by_name.items() if macs}
    assert found.total() == REPORT.total_macs


def test_times_are_the_scalar_sum_at_the_clock_with_their_error() -> None:
    device = replace(load_device("cortex-m7"), clock_hz=100_000_000, published_cycles=(ONE,))
    macs = macs_by_kind(REPORT)
    cycles = 2 * macs["first"] + macs["pointwise"] + 6 * macs["depthwise"] + 8 * macs["dense"]
    assert published_times(REPORT, device) == [(ONE, pytest.approx(cycles / 1e5))]
    remark = published_remark(REPORT, device)
    assert remark is not None
    assert remark.startswith(
        "other engines at 8 bits, from what they published for this board: E 1 "
    )
    assert remark.endswith("s (left-out error 12%)")
    assert published_remark(REPORT, load_device("cortex-m7")) is None
    twice = replace(ONE, first=4.0, pointwise=2.0, depthwise=12.0, dense=16.0, left_out_error=0.3)
    remark = published_remark(REPORT, replace(device, published_cycles=(twice, ONE)))
    assert remark is not None
    low, high = (cycles / 1e8, 2 * cycles / 1e8)
    assert remark.endswith(f": 2 of them {low:.3g} to {high:.3g} s (left-out error up to 30%)")


def test_a_core_that_nobody_measured_is_named() -> None:
    device = load_device("rp2040")
    remark = core_remark(device)
    assert remark is not None
    assert remark.startswith("cortex-m0plus was not measured: ")
    assert core_remark(load_device("cortex-m7")) is None
    assert core_remark(replace(device, cycles_are_estimates=False)) is None  # of the board itself


def test_a_kind_that_was_not_fitted_is_no_time() -> None:
    assert ONE.cycles({"first": 1.0, "convolution": 0.0}) == 2.0
    assert ONE.cycles({"first": 1.0, "convolution": 1.0}) is None
    assert replace(ONE, convolution=0.5).cycles({"convolution": 4.0}) == 2.0
