"""Fixtures of the command line's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas_engine.cli.main import main
from tests.cli.command import SMALL, Run, runner
from tests.generations import SMALL_SETTINGS


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run ``nas-search`` in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return runner(monkeypatch, capsys)


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, only to be read or copied."""
    path = tmp_path_factory.mktemp("finished") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nas_engine.pipeline.search.SearchSettings", SMALL_SETTINGS)
        patch.setattr("sys.argv", ["nas-search", *SMALL, "--out", str(path)])
        with pytest.raises(SystemExit) as caught:
            main()
    assert caught.value.code == 0
    return path
