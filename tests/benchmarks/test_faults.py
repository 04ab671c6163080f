"""Faults on purpose: they are met where they should be, and a command that takes one badly is found
out.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks.faults.fault import ERRORS, Fault
from benchmarks.in_process import Outcome, in_child

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="there is no fork"),
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]


def _met(
    kind: str, number: int, what: Callable[[Path], object], root: Path, **more: bool
) -> Outcome:
    """Do something under a fault, in a child, and return what was met."""
    fault = Fault(kind, number, (str(root),), **more)
    root.mkdir(exist_ok=True)
    (root / "data").write_bytes(bytes(100))
    np.save(root / "array.npy", np.arange(3))

    def under() -> None:
        fault.arm()
        what(root)

    failed: list[str] = []

    def before() -> None:
        try:
            under()
        except (OSError, MemoryError) as error:
            failed.append(type(error).__name__ + str(getattr(error, "errno", "")))

    return in_child(
        ["--version"], root.parent, before=before, after=lambda: fault.note() | {"failed": failed}
    )


WAYS: dict[str, list[Callable[[Path], object]]] = {
    "open": [
        lambda at: (at / "data").read_bytes(),
        lambda at: (at / "new").write_text("x"),
        lambda at: os.open(at / "data", 0),
    ],
    "read": [
        lambda at: (at / "data").read_bytes(),
        lambda at: (at / "data").open().readline(),
        lambda at: np.load(at / "array.npy"),
    ],
    "write": [
        lambda at: (at / "new").write_text("x"),
        lambda at: np.savez(at / "new.npz", a=np.arange(3)),
    ],
    "fsync": [lambda at: os.fsync(os.open(at / "data", os.O_RDWR))],
    "rename": [
        lambda at: (at / "data").rename(at / "b"),
        lambda at: os.replace(at / "data", at / "b"),
    ],
    "folder": [
        lambda at: (at / "b").mkdir(),
        lambda at: list(at.iterdir()),
        lambda at: (at / "data").unlink(),
    ],
    "array": [
        lambda at: np.load(at / "array.npy"),
        lambda at: (at / "data").read_bytes(),
        lambda at: np.frombuffer(b"ab"),
    ],
}


def test_every_kind_has_ways() -> None:
    assert set(WAYS) == set(ERRORS)


@pytest.mark.parametrize("kind", ERRORS)
def test_a_fault_of_every_kind_is_met(kind: str, tmp_path: Path) -> None:
    for at, way in enumerate(WAYS[kind]):
        outcome = _met(kind, 1, way, tmp_path / str(at))
        assert outcome.note["place"], f"way {at}"
        expected = "MemoryError" if kind == "array" else ("OSError", "PermissionError")
        assert outcome.note["failed"][0].startswith(expected), f"way {at}"


def test_the_second_alone_fails_or_all_from_it_on(tmp_path: Path) -> None:
    def thrice(at: Path) -> None:
        told = []
        for name in "abc":
            try:
                (at / name).write_text(name)
                told.append("written")
            except OSError as error:
                told.append(errno.errorcode[error.errno or 0])
        (at.parent / f"{at.name}.told").write_text(" ".join(told))

    _met("write", 2, thrice, tmp_path / "one")
    _met("write", 2, thrice, tmp_path / "all", lasting=True)
    assert (tmp_path / "one.told").read_text() == "written EIO written"
    assert (tmp_path / "all.told").read_text() == "written EIO EIO"


def test_what_lies_elsewhere_never_fails(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("x")
    outcome = _met("open", 1, lambda at: (tmp_path / "elsewhere").read_text(), tmp_path / "root")
    assert outcome.note == {"place": "", "counts": {}, "failed": []}


SWEPT = ("search", "export alone", "evaluate")
"""Stages and commands swept here, every 7th n.

Those that train take too long for tests: ``python -m benchmarks.faults``."""


def test_every_seventh_call_fails_and_the_same_command_goes_on(tmp_path: Path) -> None:
    words = [
        sys.executable,
        "-m",
        "benchmarks.faults",
        "--every",
        "7",
        "--repeats",
        "2",
        "--folder",
        str(tmp_path),
    ]
    words += [word for name in SWEPT for word in ("--stage", name)]
    done = subprocess.run(
        words, capture_output=True, text=True, cwd=Path(__file__).parents[2], check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    met = [int(line[27:32]) for line in done.stdout.splitlines() if line.startswith(SWEPT)]
    assert len(met) == len(SWEPT) * len(ERRORS)
    assert sum(met) > 30
    assert list(tmp_path.iterdir()) == []
