"""The picture of budgets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from device_profiles import DeviceProfile, load_device
from nas_engine.errors import InputError
from nas_engine.report.plots import BudgetBar, budget_bars_data, draw_budget_bars
from tests.report.networks import make_report
from tests.report.test_drawing import check_saved, texts


def device(sram: int = 266240, flash: int = 2**20) -> DeviceProfile:
    given = load_device("cortex-m7")
    return replace(
        given,
        sram_bytes=sram,
        flash_bytes=flash,
        reserved_sram_bytes=4096,
        reserved_flash_bytes=32768,
    )


REPORT = make_report(
    sram=(1000.0, 255120.0, 10.0, 10.0, 10.0, 10.0),
    flash=(1e5, 2e5, 3e5, 4e5, 1e4, 6.0),
    cycles=9e6,
)


def test_record() -> None:
    record = budget_bars_data(REPORT, device(), limits={"macs": 6e6, "bitops": 5e9, "cycles": 1e7})
    assert [bar.name for bar in record.bars] == ["SRAM", "Flash", "MACs", "BitOps", "cycles"]
    assert [(bar.used, bar.budget, bar.reserved) for bar in record.bars] == [
        (255120.0, 262144, 4096),
        (1010006.0, 1015808, 32768),
        (6e6, 6e6, 0.0),
        (2.5e9, 5e9, 0.0),
        (9e6, 1e7, 0.0),
    ]
    sram, flash, macs = record.bars[:3]
    assert sram.text == "97.3 %, 255,120/262,144 B (249.1 KiB)"
    assert sram.rest == "7,024 B left, 4,096 B reserved, peak at s1.b1.expand"
    assert flash.left == 1015808 - 1010006
    assert (macs.text, macs.rest) == ("100.0 %, 6,000,000/6,000,000 (6 M)", "0 left")
    assert record.device == device().title


def test_limits_that_are_not_given_have_no_bar() -> None:
    assert [bar.name for bar in budget_bars_data(REPORT, device()).bars] == ["SRAM", "Flash"]


def test_over_the_budget() -> None:
    bar = budget_bars_data(REPORT, device(sram=4096 + 255119)).bars[0]
    assert (bar.left, bar.text) == (-1, "over 100 %, 255,120/255,119 B (249.1 KiB)")
    assert bar.rest.startswith("over by 1 B, 4,096 B reserved")
    assert "over its budget" in texts(draw_budget_bars(budget_bars_data(REPORT, device(sram=8192))))
    assert "over its budget" not in texts(draw_budget_bars(budget_bars_data(REPORT, device())))


def test_errors() -> None:
    with pytest.raises(InputError, match="no cycles to compare"):
        budget_bars_data(make_report(), device(), limits={"cycles": 1e6})
    with pytest.raises(InputError, match=r"MACs: 6000000\.0 of 0\.0"):
        budget_bars_data(REPORT, device(), limits={"macs": 0.0})
    with pytest.raises(InputError, match="SRAM: -1 of 5"):
        BudgetBar(name="SRAM", used=-1, budget=5, reserved=0, unit="B")


@pytest.mark.parametrize("sram", [4097, 8192, 266240, 10**9])
def test_drawn_and_saved(sram: int, tmp_path: Path) -> None:
    record = budget_bars_data(
        REPORT,
        device(sram, 32769 if sram < 9000 else 2**31),
        limits={"macs": 6e6, "bitops": 1e3, "cycles": 1e17},
    )
    check_saved(draw_budget_bars(record), tmp_path / "plots", "budget_bars")


def test_two_bars_drawn(tmp_path: Path) -> None:
    check_saved(
        draw_budget_bars(budget_bars_data(make_report(memory_model="paper"), device())),
        tmp_path / "plots",
        "budget_bars",
    )
