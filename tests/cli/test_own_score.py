"""``--score`` and ``--cost`` with a file are programs: only a command that names one runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import nas_engine as ne
from nas_engine.errors import InputError
from tests.cli.command import SMALL, Run

PROGRAM = """
from pathlib import Path
Path("ran.txt").write_text("it ran")

def score(table, w_bits, a_bits):
    return table.weights.sum(axis=0)

def cost(table, w_bits, a_bits):
    return 1e-6 * (table.weights * w_bits).sum(axis=0)

def below(table, w_bits, a_bits):
    return -1.0 - table.c_in[0]
"""


def test_no_file_of_options_brings_a_program_along(run: Run) -> None:
    Path("theirs.py").write_text(PROGRAM)
    named = ("--score", "theirs.py:score", "--cost", "theirs.py:cost")
    search = (*SMALL, "--out", "run", *named, "--max-cost", "1.2")
    (winner,) = json.loads(run(*search, "--json").out)["winners"]
    assert 0 < winner["cost"] <= 1.2 == winner["limits"]["max_cost"]  # 1.45 without the limit
    marker = Path("ran.txt")
    marker.unlink()
    Path("whole.yaml").write_text("search: {score: 'theirs.py:score', sram: 24k, flash: 64k}\n")
    Path("whole").mkdir()
    (Path("whole") / "run.yaml").write_text(Path("whole.yaml").read_text())
    for command in (
        ("--resume", "--out", "run"),
        ("run", "whole.yaml"),
        ("run", "--out", "whole"),
    ):
        assert "which runs only if the command names it; look at it" in run(*command).refusal()
    only_one = run("--resume", "--out", "run", *named[:2]).refusal()
    assert "--cost: the options that are there name the program" in only_one
    for call in (
        lambda: ne.search(out="run", resume=True),
        lambda: ne.run("whole.yaml", out="other"),
        lambda: ne.run(out="whole"),
    ):
        with pytest.raises(InputError, match="runs only if the command names it"):
            call()
    assert run("report", "run").code == 0
    assert run("plot", "run").code == 0
    assert "At most 1.2 by" in Path("run/report.html").read_text(encoding="utf-8")
    assert not marker.exists()
    resumed = run("--resume", *search)
    assert resumed.code == 0
    assert "cost        " in resumed.out
    assert marker.exists()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (("--cost", "mine.py:below"), "below() returns -"),
        (("--max-cost", "3"), "add --cost FILE.py:FUNCTION"),
        (("--cost", "energy"), "--cost is 'energy'; expected FILE.py:FUNCTION such as my_cost.py:"),
    ],
)
def test_a_cost_that_is_none_is_one_line(run: Run, given: tuple[str, ...], says: str) -> None:
    Path("mine.py").write_text(PROGRAM)
    assert says in run(*SMALL, *given).refusal()
