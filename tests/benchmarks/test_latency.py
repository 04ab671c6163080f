"""Published latencies: geometry of known networks, the fit, and its error."""

import numpy as np
import pytest

from benchmarks.latency.__main__ import run
from benchmarks.latency.boards import PROFILES, published_cycles
from benchmarks.latency.fit import Published, by_pair, fitted, model_of, read_rows, scaled
from benchmarks.latency.networks import KINDS, macs_by_kind
from benchmarks.latency.pace import loops, ranges
from device_profiles import device_names, load_device

RNG = np.random.default_rng(0)
PER_MAC = np.array([2.9, 0.95, 6.4, 8.0, 0.8])


def rows(count: int) -> list[Published]:
    macs = RNG.uniform(1e5, 1e7, (count, len(KINDS)))
    return [
        Published(
            network=str(number),
            board="B",
            core="M7",
            engine="E",
            milliseconds=1.0,
            cycles=float(each @ PER_MAC),
            macs=tuple(each.tolist()),
            source="made here",
        )
        for number, each in enumerate(macs)
    ]


def test_macs_of_known_networks_are_the_published_ones():
    # read_rows compares each with column "macs" of its source
    assert sum(row.macs is not None for row in read_rows()) > 200
    assert macs_by_kind("mcunet-vww1", "", "VWW") is None


def test_fit_finds_the_coefficients_and_predicts_what_is_left_out():
    model = model_of(rows(9), fitted)
    np.testing.assert_allclose(model.coefficients, PER_MAC, rtol=1e-6)
    np.testing.assert_allclose(model.left_out, 0, atol=1e-6)


def test_scaled_is_the_least_squares_of_relative_errors():
    some = rows(4)
    macs, cycles = np.array([row.macs for row in some]), np.array([row.cycles for row in some])
    half = scaled(PER_MAC / 2, macs, cycles * RNG.uniform(0.9, 1.1, 4))
    tried = np.linspace(0.9, 1.1, 20001)
    ratio = (macs @ PER_MAC)[:, None] / cycles[:, None] * tried
    assert half.shape == PER_MAC.shape
    exact = scaled(PER_MAC / 2, macs, cycles)
    np.testing.assert_allclose(exact, PER_MAC * tried[((ratio - 1) ** 2).sum(0).argmin()], 1e-4)


def test_study_prints_every_row_and_keeps_its_goal(capsys: pytest.CaptureFixture[str]):
    found = run()
    printed = capsys.readouterr().out
    assert found[0].reached
    assert found[0].what.startswith("STM32H747I-DISCO")
    assert printed.count(" ms ") == len(read_rows())


def test_profiles_hold_the_published_fits_and_the_ranges_of_their_cores():
    rows = read_rows()
    found, paces = published_cycles(by_pair(rows)), ranges(rows)
    assert set(found) == set(PROFILES.values())
    for name in device_names():
        profile = load_device(name)
        assert profile.published_cycles == found.get(name, ()), name
        pace = profile.cycles_per_instruction
        assert pace is not None
        core = profile.core.removeprefix("cortex-").upper()
        if core != "M0PLUS":
            assert (pace.least, pace.most) == paces[core], name


def test_loops_are_innermost_and_without_calls():
    assembly = """f:
.L2:
	ldr	r1, [r0]	@ outer
.L3:
	adds	r1, r1, #1
	@ remark
	.loc 1
	bne	.L3
	cmp	r1, r2
	bne	.L2
.L4:
	bl	g
	bne	.L4
	b	.L9
"""
    assert list(loops(assembly)) == [["\tadds\tr1, r1, #1", "\tbne\t.Lx"]]
