"""Claims of a verification about a device's core: only what ran, by one table."""

from __future__ import annotations

from dataclasses import replace

import pytest

from device_profiles import device_names, load_device
from nas_engine.report.verification_table import verification_table
from nas_engine.verification.claims import STANDS_FOR, claim_of, stand_in, title
from nas_engine.verification.result import Comparison, Verdict, VerificationReport
from nas_engine.verification.table import CORES, FEW_IMAGES, back_ends

HOST = Comparison(backend="host C", verdict=Verdict.EQUAL, images=9)


def ran(core: str, verdict: Verdict = Verdict.EQUAL) -> Comparison:
    return Comparison(
        backend=title(core),
        verdict=verdict,
        images=2,
        note="needs unicorn" if verdict is Verdict.SKIPPED else "",
    )


def last_line(core: str, *comparisons: Comparison) -> str:
    return verification_table(
        VerificationReport(data="d", backends=comparisons, memory=(), core=core)
    ).splitlines()[-1]


def test_every_shipped_device_has_a_core_in_the_table() -> None:
    for name in device_names():
        assert load_device(name).core in STANDS_FOR, name


def test_what_stands_for_a_core_is_a_back_end() -> None:
    assert {emulated for emulated, _ in STANDS_FOR.values()} == set(CORES)
    for core in CORES:
        assert STANDS_FOR[core] == (core, "")
    names = {row.name: row.backend.name for row in back_ends(load_device("rp2040"), 10, 5)}
    assert {core: names[core] for core in CORES} == {core: title(core) for core in CORES}


@pytest.mark.parametrize("core", STANDS_FOR)
def test_only_the_core_that_stands_for_it_proves_anything(core: str) -> None:
    others = [ran(name) for name in CORES if name != stand_in(core)]
    assert not claim_of(core, [HOST, *others]).proven
    assert "verified: what runs" not in last_line(core, HOST, *others)
    for verdict in (Verdict.DIFFERS, Verdict.FAILED, Verdict.SKIPPED, Verdict.CLOSE):
        assert not claim_of(core, [HOST, *others, ran(str(stand_in(core)), verdict)]).proven
    found = claim_of(core, [HOST, ran(str(stand_in(core)))])
    assert found.proven
    assert found.ran_on == title(str(stand_in(core)))
    assert (
        last_line(core, HOST, ran(str(stand_in(core))))
        == "verified: what runs is what was promised"
    )


@pytest.mark.parametrize(
    "core", ["xtensa-lx7", "cortex-m85", "cortex-m55", "rv32imc", "cortex-a7", "cortex-m", "M7"]
)
def test_a_core_that_no_emulator_has_is_never_verified(core: str) -> None:
    found = claim_of(core, [HOST, *map(ran, CORES)])
    assert not found.proven
    assert "no emulator here has it, and no C was compiled for it" in found.says
    assert (
        last_line(core, HOST, *map(ran, CORES))
        == "equal wherever it ran, but not verified for this device"
    )


def test_what_is_said() -> None:
    assert claim_of("cortex-m0plus", [ran("cortex-m0")]).says == (
        "for its Cortex-M0+ the C ran on an emulated Cortex-M0, 2 images: ARMv6-M code, which a "
        "Cortex-M0+ executes"
    )
    assert claim_of("Cortex-M0+", [ran("cortex-m0")]).proven
    assert (
        claim_of("cortex-m7", [ran("cortex-m7")]).says
        == "its own core, Cortex-M7, ran emulated, 2 images"
    )
    assert (
        claim_of("cortex-m7", [HOST]).says
        == "its core, Cortex-M7, was not run: Cortex-M7 was not asked for"
    )
    assert (
        claim_of("cortex-m7", [ran("cortex-m7", Verdict.SKIPPED)]).says
        == "its core, Cortex-M7, was not run: needs unicorn"
    )
    assert not claim_of("", [ran("cortex-m7")]).proven


@pytest.mark.parametrize(
    ("device", "full"),
    [("rp2040", "cortex-m0"), ("stm32u585", "cortex-m33"), ("cortex-m7", "cortex-m7")],
)
def test_the_devices_own_core_gets_all_images(device: str, full: str) -> None:
    counts = {row.core: row.images for row in back_ends(load_device(device), 100, 20) if row.core}
    few = {core for core in ("cortex-m33", "cortex-m0") if core != full}
    assert counts == {core: FEW_IMAGES if core in few else 20 for core in CORES}
    assert all(
        row.images == 1 for row in back_ends(replace(load_device(device)), 100, 1) if row.core
    )
