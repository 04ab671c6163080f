"""Tables for the terminal."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_profiles import load_device
from nas_engine.costs.instruction_model import prediction_margin
from nas_engine.errors import InputError
from nas_engine.names import Schedule
from nas_engine.report.tables import (
    RESOLUTION_NOTE,
    WIDTH,
    binding_remark,
    budget_text,
    network_table,
    winners_table,
)
from tests.report.networks import make_network, make_report


class TestBudgetText:
    @pytest.mark.parametrize(
        ("used", "budget", "text"),
        [
            (255120, 262144, "97.3 %, 255,120/262,144 B"),
            (0, 1, "0.0 %, 0/1 B"),
            (1000.75, 1000, "100.1 %, 1,000.8/1,000 B"),
            (5e6, 1000.0, "500,000.0 %, 5,000,000/1,000 B"),
        ],
    )
    def test_form(self, used: float, budget: float, text: str) -> None:
        assert budget_text(used, budget) == text

    @pytest.mark.parametrize(
        ("used", "budget"), [(1, 0), (1, -5), (-1, 5), (1, math.nan), (math.nan, 1)]
    )
    def test_errors(self, used: float, budget: float) -> None:
        with pytest.raises(InputError, match="cannot be shown"):
            budget_text(used, budget)


@pytest.mark.parametrize(
    ("schedule", "room", "says"),
    [
        ("auto", None, "1 of 4 units: head; the others run by layers"),
        ("auto", 10**6, "none of 4 units"),
        ("rows", None, "2 of 4 units: s1.b1, head; the others run by layers"),
    ],
)
def test_units_by_rows_are_named(schedule: Schedule, room: int | None, says: str) -> None:
    network = replace(make_network(), schedule=schedule, room=room)
    lines = network_table(make_report(network)).splitlines()
    assert [line for line in lines if line.startswith("by rows")] == [f"by rows     {says}"]


def test_network_table() -> None:
    table = network_table(
        make_report(sram=(1.0, 2.0, 2048.0, 3.0, 2048.0, 5.5), cycles=3.2e6),
        sram_budget=2000,
        flash_budget=4200,
    )
    assert table.splitlines() == [
        "#  layer            operation    channels  output  bits  SRAM [B]  Flash [B]       MACs",
        "-  ---------------  -----------  --------  ------  ----  --------  ---------  ---------",
        "0  stem             conv 3x3/2   3->16     48x48   w8a8         1        100  1,000,000",
        "1  s1.b1.expand     conv 1x1     16->48    48x48   w8a2         2        200  1,000,000",
        (
            "2  s1.b1.depthwise  dw 3x3/2     48        24x24   w8a2     2,048        300  "
            "1,000,000  <- peak SRAM"
        ),
        "3  s1.b1.project    conv 1x1     48->24    24x24   w8a2         3        400  1,000,000",
        "4  head             conv 1x1     24->64    24x24   w5a6     2,048        500  1,000,000",
        "5  classifier       pool, dense  64->2     1x1     w4a8       5.5        600  1,000,000",
        "",
        "QE-Score    123.46  (stage terms, stem to last: 0.00 + 100.00 + 23.46)",
        (
            "peak SRAM   102.4 %, 2,048/2,000 B, OVER BUDGET by 48 B  (at s1.b1.depthwise, memory "
            "model 'arena')"
        ),
        "Flash       50.0 %, 2,100/4,200 B  (weights and parameters, memory model 'arena')",
        "MACs        6 M  (6,000,000)",
        "BitOps      2.5 G  (2,500,000,000)",
        "depth/width 0.55  (DeepMAD's effectiveness; --max-effectiveness limits it)",
        "cycles      about 3.2 M  (predicted, not a measured latency)",
    ]


def test_network_table_without_budgets_and_classifier() -> None:
    lines = network_table(make_report(make_network((2, 1), classifier=False))).splitlines()
    assert not any(line.startswith("cycles") or "classifier" in line for line in lines)
    assert "peak SRAM   1,010 B (1 KiB)  (at head, memory model 'arena')" in lines
    assert [line.split()[2:6] for line in lines if ".b1.depthwise" in line] == [
        ["dw", "3x3/2", "48", "24x24"],
        ["dw", "3x3/2", "48", "12x12"],
    ]


@given(
    depths=st.lists(st.integers(1, 11), min_size=1, max_size=10).map(tuple),
    classifier=st.booleans(),
    size=st.floats(1, 2**32 - 1),
    budget=st.one_of(st.none(), st.integers(1, 2**32)),
)
def test_aligned_and_never_too_wide(
    depths: tuple[int, ...], classifier: bool, size: float, budget: int | None
) -> None:
    network = make_network(depths, classifier)
    layers = len(network.layer_names())
    table = network_table(make_report(network, sram=(size,) * layers, cycles=1e12), budget, budget)
    lines = table.splitlines()
    rule = lines[1]
    gaps = [i for i, mark in enumerate(rule) if mark == " "]
    assert all(line[i : i + 1].strip() == "" for line in lines[: layers + 2] for i in gaps)
    assert lines[layers + 2] == ""
    assert table.isascii()
    assert max(map(len, lines)) <= WIDTH
    assert sum("<- peak SRAM" in line for line in lines) == 1


ROW = {
    "resolution": 96,
    "qe_score": 1234.567,
    "peak_sram_bytes": 255120,
    "flash_bytes": 1048000,
    "macs": 38.2e6,
    "bitops": 2.1e9,
}


class TestWinnersTable:
    def test_table(self) -> None:
        lines = winners_table([ROW, {**ROW, "resolution": 128, "qe_score": 7}]).splitlines()
        assert lines[:5] == [
            (
                "resolution  QE-Score              peak SRAM                      Flash    MACs  "
                "BitOps"
            ),
            (
                "----------  --------  ---------------------  -------------------------  ------  "
                "------"
            ),
            (
                "     96x96  1,234.57  255,120 B (249.1 KiB)  1,048,000 B (1,023.4 KiB)  38.2 M   "
                "2.1 G"
            ),
            (
                "   128x128      7.00  255,120 B (249.1 KiB)  1,048,000 B (1,023.4 KiB)  38.2 M   "
                "2.1 G"
            ),
            "",
        ]
        assert " ".join(lines[5:]) == RESOLUTION_NOTE
        assert max(map(len, lines)) <= WIDTH

    def test_nothing_found(self) -> None:
        assert winners_table([]).startswith("no feasible network at any resolution\n")

    def test_missing_key(self) -> None:
        with pytest.raises(InputError, match="winner 1 has no key 'bitops'"):
            winners_table([ROW, {key: value for key, value in ROW.items() if key != "bitops"}])


def test_matplotlib_is_not_needed() -> None:
    code = "import sys, nas_engine.report.tables; print('matplotlib' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout.strip() == "False"


class TestBindingRemark:
    def remark(self, sram: float, flash: float, **limits: float) -> str:
        device = load_device("cortex-m7").with_memory(4096 + 1000, 32768 + 1000)
        report = replace(
            make_report(sram=(sram,) * 6),
            flash_bytes=(flash, *(0.0,) * 5),
            limited={"macs": 98.0, "latency": 50.0, "effectiveness": 1.0},
        )
        return binding_remark(report, device, limits)

    def test_says_what_binds_and_what_is_free(self) -> None:
        assert self.remark(970, 300) == "what binds: SRAM (97.0%); free: 70% of Flash"
        assert self.remark(970, 1000, macs=100) == (
            "what binds: SRAM (97.0%), Flash (100.0%), macs (98.0%)"
        )

    def test_nothing_binds(self) -> None:
        text = self.remark(100, 200, latency=100.0, effectiveness=1.0)
        assert text == (
            "nothing binds: more --candidates or another --space may find more; free: 90% of SRAM "
            "and 80% of Flash"
        )

    def test_time_alone_binds(self) -> None:
        margin = prediction_margin(load_device("cortex-m7"))
        assert margin > 0
        text = self.remark(390, 400, latency=50.0 * (1 + margin) / 0.98)
        assert text.startswith(
            "what binds: latency (98.0%); free: 61% of SRAM and 60% of Flash, so"
        )
        assert "a larger --resolution" in text
