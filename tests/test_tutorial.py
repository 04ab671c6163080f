"""The tutorial's commands, one after the other as they stand there, at sizes that take seconds."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Mapping
from pathlib import Path

import pytest

from nas_engine.runs.run_directory import RunDirectory
from nas_engine.runs.run_record import STAGES, read_record
from tests.cli.command import runner
from tests.docs.few import few_back_ends
from tests.docs.pages import DOCS, blocks, commands

PAGE = DOCS / "tutorial.md"

SEARCH = ["--candidates", "1", "--resolution", "8", "--max-macs", "200k", "--workers", "1"]
LAYERS = "17"
TRAIN = ["--epochs", "2", "--limit", "200", "--threads", "1"]
REFINE = ("refine.images=64", "refine.swaps=0")
VERIFY = ("verify.images=2", "verify.emulated_images=1")
SETTINGS = (f"search.max_layers={LAYERS}", "shortlist.epochs=2", *REFINE, *VERIFY)

TINY: Mapping[str, list[str]] = {
    "": [*SEARCH, "--max-layers", LAYERS, "--no-plots"],
    "run": [
        *SEARCH,
        *TRAIN,
        "--shortlist",
        "2",
        *(word for setting in SETTINGS for word in ("--set", setting)),
    ],
    "train": TRAIN,
    "refine": [
        "--images",
        "64",
        "--swaps",
        "0",
        "--solver-time",
        "1s",
        "--limit",
        "200",
        "--threads",
        "1",
    ],
    "verify": ["--images", "2", "--emulated-images", "1"],
}
"""Options added to a command, by its name; of options given twice the last one counts."""


def test_every_command_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """C alone is exported, and runs on one core; other formats and back-ends have tests of their
    own.
    """
    few_back_ends(monkeypatch, "cortex-m7")
    monkeypatch.chdir(tmp_path)
    run, typed = runner(monkeypatch, capsys), commands(PAGE)
    names = [words[0] if words and not words[0].startswith("-") else "" for _, words in typed]
    assert {"", "run", "score", "train", "refine", "export", "verify", "report"} == set(names)
    for (line, words), name in zip(typed, names, strict=True):
        outcome = run(*words, *TINY.get(name, []))
        assert outcome.code == 0, f"tutorial.md:{line}: nas-search {' '.join(words)}: {outcome.err}"

    whole = read_record(tmp_path / "runs" / "whole" / "run.json")
    assert [stage.name for stage in whole.stages if stage.done] == list(STAGES)
    found = RunDirectory(tmp_path / "runs" / "digits" / "refine" / "gauss-newton")
    assert json.loads(found.verification.read_text())["passed"]
    for path in (
        tmp_path / "runs" / "whole" / "report.html",
        found.path / "report.html",
        found.export / "c" / "model.c",
    ):
        assert path.stat().st_size > 0, path

    module = types.ModuleType("documented_example")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for block in blocks(PAGE, "python"):
        exec(compile(block.code(), str(PAGE), "exec"), module.__dict__)
    assert (tmp_path / "firmware" / "firmware.elf").read_bytes()[:4] == b"\x7fELF"
