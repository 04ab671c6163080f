"""``--score FILE.py:FUNCTION`` is a program: only a command that names it runs it."""

from __future__ import annotations

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
"""


def test_no_file_of_options_brings_a_program_along(run: Run) -> None:
    Path("theirs.py").write_text(PROGRAM)
    search = (*SMALL, "--out", "run", "--score", "theirs.py:score")
    assert run(*search).code == 0
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
    for call in (
        lambda: ne.search(out="run", resume=True),
        lambda: ne.run("whole.yaml", out="other"),
        lambda: ne.run(out="whole"),
    ):
        with pytest.raises(InputError, match="runs only if the command names it"):
            call()
    assert run("report", "run").code == 0
    assert run("plot", "run").code == 0
    assert not marker.exists()
    assert run("--resume", *search).code == 0
    assert marker.exists()
