"""Comparison of runs: states, table, CSV, page, picture, and folders of runs."""

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest

from nas_engine.errors import InputError
from nas_engine.report.compare import (
    STATES,
    Compared,
    compared,
    comparison_csv,
    comparison_page,
    comparison_table,
    remarks,
    write_comparison,
)
from nas_engine.report.page.facts import RunFacts, Stale
from nas_engine.report.plots import ComparedRun, comparison_data
from tests.report.page_facts import DIFFERS, EQUAL, OWN_CORE, SEARCHED, proof, trained
from tests.report.page_html import Reader

STALE = Stale(record="verification.json", problem="it changed", command="nas-search verify")
TIGHT = replace(
    SEARCHED.asked, device=replace(SEARCHED.asked.device, reserved_flash_bytes=0, flash_bytes=1)
)


@pytest.mark.parametrize(
    ("facts", "state"),
    [
        (replace(SEARCHED, network=None), "nothing yet"),
        (SEARCHED, "searched"),
        (trained(quantised=None, integer=None, agreement=None), "trained in float"),
        (trained(), "trained"),
        (replace(trained(), verification=proof(OWN_CORE)), "verified"),
        (replace(trained(), verification=proof(EQUAL)), "equal, core not run"),
        (replace(trained(), verification=proof(OWN_CORE, DIFFERS)), "refuted"),
        (replace(trained(), stale=(STALE,)), "stale"),
        (replace(SEARCHED, asked=TIGHT), "over budget"),
    ],
)
def test_state(facts: RunFacts, state: str):
    assert compared(facts).state == state
    assert state in STATES


def test_row_has_the_figures_of_the_run():
    counted = {"Cortex-M7": {"stem": 70, "head": 5}, "Cortex-M0": {"stem": 900, "head": 5}}
    facts = replace(trained(), verification=proof(OWN_CORE, instructions=counted))
    row = compared(facts)
    assert facts.network is not None
    assert (row.accuracy, row.accuracy_of, row.images) == (88.0, "integers", 400)
    assert row.instructions == 75
    small = replace(facts.asked, device=replace(facts.asked.device, core="cortex-m0plus"))
    assert compared(replace(facts, asked=small)).instructions == 905
    assert compared(trained()).instructions is None
    assert row.macs == facts.network.total_macs
    assert row.latency_ms == facts.network.latency
    assert row.sram_budget == facts.asked.device.arena_bytes
    assert compared(SEARCHED).accuracy is None


def test_table_and_csv_hold_every_row_and_say_what_is_not_known():
    rows = [compared(trained()), compared(SEARCHED)]
    lines = comparison_table(rows).splitlines()
    assert len(lines) == 4
    assert lines[2].isascii()
    assert "88.00 +- 1.62" in lines[2]
    read = list(csv.DictReader(io.StringIO(comparison_csv(rows))))
    assert [row["accuracy"] for row in read] == ["88.0", ""]
    assert set(read[0]) == set(Compared.__dataclass_fields__)


def test_remarks_say_what_cannot_be_ranked():
    one = compared(trained())
    close = replace(one, accuracy=87.5, run="other", dataset="others", resolution=64)
    text = " ".join(remarks([one, close, replace(one, accuracy_of="float", accuracy=50.0)]))
    for part in ("different data", "integers", "one resolution", "within chance of the next"):
        assert part in text
    assert remarks([one, replace(one, accuracy=50.0)]) == []


def test_files_are_the_page_with_its_picture_the_table_and_the_picture(tmp_path: Path):
    long = "runs/" + "long-" * 7 + "name"
    rows = [
        replace(compared(trained()), run=long),
        replace(compared(trained()), run="<b>", accuracy=70.0),
    ]
    written = write_comparison(rows, tmp_path, "9")
    assert sorted(path.name for path in written) == [
        "compare.csv",
        "compare.html",
        "compare.png",
        "compare.svg",
    ]
    page = (tmp_path / "compare.html").read_text(encoding="utf-8")
    assert "2: &lt;b&gt;" in page
    assert '<table class="short long">' in page
    assert len(Reader(page).drawings) == 1
    assert comparison_page(rows, "9").title == "Comparison of 2 runs"
    with pytest.raises(InputError, match="no run of the comparison has a network"):
        write_comparison([compared(replace(SEARCHED, network=None))], tmp_path, "9")


def test_picture_refuses_a_value_outside_of_its_interval():
    run = ComparedRun(number=1, value=5, low=6, high=7, sram_bytes=1, flash_bytes=1)
    with pytest.raises(InputError, match="run 1: 5 is outside 6 to 7"):
        comparison_data("accuracy [%]", [run])
