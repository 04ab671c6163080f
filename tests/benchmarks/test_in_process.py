"""Commands in forked children: each fault that the studies look for is recognised."""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import in_process
from benchmarks.in_process import MIB, Outcome, in_child

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="there is no fork"),
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]


def _ended(
    what: Callable[[], int], folder: Path, monkeypatch: pytest.MonkeyPatch, **more: Any
) -> Outcome:
    monkeypatch.setattr(in_process, "command_line", lambda words: what())
    return in_child([], folder, **more)


def test_a_command_that_keeps_the_rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def what() -> int:
        print("note: halfway", file=sys.stderr)
        print("error: what came, what was expected", file=sys.stderr)
        return 2

    outcome = _ended(what, tmp_path, monkeypatch, after=lambda: {"met": 3})
    assert (outcome.code, outcome.note, outcome.faults()) == (2, {"met": 3}, [])
    assert outcome.err == "note: halfway\nerror: what came, what was expected\n"


@pytest.mark.parametrize(
    ("said", "code", "fault"),
    [
        ("error: a\nerror: b\n", 2, "more than one line"),
        ("error: a\nand more\n", 1, "more than one line"),
        ("", 2, "no message"),
        (f"error: {'x' * 700}\n", 2, "long line"),
        ("error: a\x1b[0m\n", 2, "control character"),
        ("error: a\n", 3, "exit code 3"),
        ("/x.py:1: UserWarning: y\n", 0, "stray warning"),
        ("Exception ignored in: x\n", 0, "stray warning"),
    ],
)
def test_what_is_wrong_with_a_message(
    said: str, code: int, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def what() -> int:
        sys.stderr.write(said)
        return code

    assert _ended(what, tmp_path, monkeypatch).faults() == [fault]


def test_a_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nas_engine.cli.main as main

    def fails() -> None:
        raise ValueError("x")

    monkeypatch.setattr(main, "main", fails)
    assert "traceback" in in_child([], tmp_path).faults()


def test_one_that_waits_for_ever_hangs_and_takes_its_children_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "fifo")

    def what() -> int:
        return len((tmp_path / "fifo").read_bytes())

    outcome = _ended(what, tmp_path, monkeypatch, hang_s=0.3)
    assert outcome.hung
    assert outcome.code is None
    assert outcome.faults() == ["hang"]


def test_one_that_works_gets_a_ctrl_c_and_may_end_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def what() -> int:
        try:
            while time.monotonic():
                sum(range(1000))
        except KeyboardInterrupt:
            return 130
        return 0

    outcome = _ended(what, tmp_path, monkeypatch, work_s=0.2)
    assert outcome.interrupted
    assert (outcome.code, outcome.faults()) == (130, [])


def test_memory_without_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The child's growth counts though this process freed as much just before the fork."""
    bytearray(b"x") * (2 * MIB)  # from here glibc takes such blocks from its heap
    freed = [bytearray(b"x") * MIB for _ in range(450)]
    last_of_the_heap = bytearray(b"x") * MIB
    del freed

    def what() -> int:
        held = [bytearray(b"x") * MIB for _ in range(400)]
        time.sleep(20)
        return len(held)

    outcome = _ended(what, tmp_path, monkeypatch, most=100 * MIB)
    assert outcome.excess
    assert outcome.faults() == ["memory"]
    assert last_of_the_heap


def test_temporary_files_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tempfile

    def what() -> int:
        tempfile.mkdtemp(prefix="left")
        return 0

    with warnings.catch_warnings():
        outcome = _ended(what, tmp_path, monkeypatch)
    assert outcome.faults() == ["temporary files left"]
    assert len(outcome.litter) == 1
