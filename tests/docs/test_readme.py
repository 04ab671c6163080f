"""The front page: short, its figures measured, its output that of the program."""

from __future__ import annotations

import json
import re

import pytest

from nas_engine.report.tables import network_table
from nas_engine.runs.run_record import STAGES
from tests.docs.pages import ROOT, blocks
from tests.report.networks import make_network, make_report

README = ROOT / "README.md"
ROWS = re.findall(
    r"^\| ([^|]+) \| ([^|]+) \| `python -m benchmarks\.(\w+)` \|$",
    README.read_text(encoding="utf-8"),
    re.MULTILINE,
)
"""Figure, what it is, and the study it is from."""


def measured(study: str) -> list[dict[str, str]]:
    path = ROOT / "benchmarks" / "results" / f"{study}.json"
    rows: list[dict[str, str]] = json.loads(path.read_text(encoding="utf-8"))["rows"]
    return rows


def test_is_short() -> None:
    text = README.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 90
    assert len(text.split()) <= 900
    rows = [line for line in text.splitlines() if line.startswith("|") and "|---" not in line]
    assert len(rows) <= 12
    assert "image classification on microcontrollers" in text.lower()


def test_seven_figures() -> None:
    assert len(ROWS) == 7


@pytest.mark.parametrize(("figure", "what", "study"), ROWS, ids=[row[0] for row in ROWS])
def test_figures_are_those_measured(figure: str, what: str, study: str) -> None:
    """Every number of the first column is in a row of the study; sums are computed."""
    rows = measured(study)
    if figure.startswith("0 of "):
        compared = [row["measured"] for row in rows if row["at_least"] == "0"]
        pairs = [re.fullmatch(r"0 of ([\d,]+)", text) for text in compared]
        assert all(pairs)
        total = sum(int(pair[1].replace(",", "")) for pair in pairs if pair)
        assert figure == f"0 of {total:,}"
        assert "53 networks" in what
        assert any(row["what"].startswith("50 sampled networks") for row in rows)
        names = {row["what"].split(":")[0] for row in rows if ": host C" in row["what"]}
        assert len(names) == 3
        return
    if figure == "0 B":
        errors = {row["what"]: row["measured"] for row in rows if row["what"].endswith("error")}
        assert errors.pop("the same: arena, largest error") == figure
        assert errors.pop("the same: weights, constants, layer table, largest error") == figure
        assert what.endswith("(all RAM: 8 B, all Flash: 0.21 %)")
        assert list(errors.values()) == ["8 B", "0.21%"]
        return
    text = " ".join(f"{row['what']} {row['measured']}" for row in rows)
    for number in re.findall(r"\d(?:[\d,.]*\d)?", figure):
        assert re.search(rf"(?<![\d.,]){re.escape(number)}(?!\d)", text), number


def test_comparisons_are_those_of_the_studies() -> None:
    """Figures of other projects are on the page of results."""
    results = (ROOT / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")
    for others in (
        "ResNet-8 of MLPerf Tiny: 87.2 %, int8 file of 98,496 B",
        "CMSIS-NN 2.04 (s8)",
        "depth-wise 3 x 3 8.35",
        "32 to 42 candidates per second",
        "86.24 %, 98,304 B, 57,664 B",
    ):
        assert others in results


def test_the_stages_shown_are_those_of_a_run() -> None:
    (shown,) = [block for block in blocks(README) if block.text.startswith("search ")]
    assert [line.split()[0] for line in shown.text.splitlines()] == list(STAGES)


def test_the_summary_shown_has_the_lines_of_a_search() -> None:
    (shown,) = [block for block in blocks(README) if "\nQE-Score " in block.text]
    table = network_table(make_report(make_network()), sram_budget=2000, flash_budget=4200)
    printed = [re.split(r" {2,}", line)[0] for line in table.splitlines()]
    rows = shown.text.splitlines()
    begin = printed.index("QE-Score")
    found = [re.split(r" {2,}", row)[0] for row in rows[1:]]
    assert found == printed[begin : begin + len(found)]
    assert len(found) >= 3
