"""The study of the whole run at a tiny size: real processes, a real kill."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml

from benchmarks import whole_run
from tests.whole_runs import tiny_config


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_the_whole_run_at_a_tiny_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    config = tmp_path / "tiny.yaml"
    config.write_text(yaml.safe_dump(tiny_config(tmp_path).as_mapping()))
    rows = whole_run.run(folder=str(tmp_path / "runs"), kills=1, config=str(config), threads=1)
    assert [row.what.split(",")[0].split(" (")[0] for row in rows] == [
        "whole run",
        "most memory of a process",
        "verification",
        "report.html",
        "files equal after 1 kills",
        "files left over after 1 kills",
    ]
    assert rows[2].reached
    assert rows[3].reached
    assert rows[4].reached
    assert rows[5].reached


def test_what_is_left_over_is_named(tmp_path: Path) -> None:
    for name in ("first/a", "first/b/c", "second/a", "second/b/.c.123.tmp"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    assert whole_run.beyond(tmp_path / "first", tmp_path / "second") == ["b/.c.123.tmp"]
