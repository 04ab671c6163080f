"""``nas-search compare``: runs, folders of runs, and what is neither."""

from pathlib import Path

import pytest

from nas_engine.cli.options import RUNS
from nas_engine.errors import RunDirectoryError
from nas_engine.report.compare import compare, runs_in
from tests.cli.command import SMALL, Run


def test_takes_runs_and_folders_of_them(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "runs"
    run(*SMALL, "--out", folder / "one")
    run(*SMALL, "--resolution", "16,24", "--out", folder / "two")
    (folder / "notes.txt").write_text("not a run", encoding="utf-8")
    assert [path.name for path in runs_in([folder])] == ["one", "r16", "r24"]
    assert runs_in([folder, folder / "one"]) == runs_in([folder])
    assert [row.state for row in compare([folder])] == ["searched"] * 3
    found = run("compare", folder, "--out", tmp_path / "out")
    assert found.code == 0, found
    assert found.out.count("searched") == 3
    assert "rank networks of one resolution" in found.err
    assert (tmp_path / "out" / "compare.html").exists()
    (folder / "one" / "config.yaml").write_text("version: 0.0.1\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert folder.name == RUNS
    index = run("compare")
    assert index.code == 0
    assert index.out.count("searched") == 2
    assert "note: left out: " in index.err
    run("compare", folder / "one").refusal()


def test_refuses_what_holds_no_run(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(RunDirectoryError, match="holds no run"):
        runs_in([tmp_path])
    assert "holds no run; give directories" in run("compare", tmp_path / "missing").refusal()
    monkeypatch.chdir(tmp_path)
    assert run("compare").refusal().startswith("runs: holds no run")
