"""Files written whole or not at all: what is flushed, in which order, and what a killed process
leaves.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from nas_engine.files import StorageError, sweep, temporary, write_atomically
from nas_engine.runs.run_directory import RunDirectory

DEAD = 99_999_999
"""Number of no process: beyond what Linux, macOS and Windows give."""

FILES: Mapping[str, bytes] = {"quant.json": b"{}", "c/model.c": b"int x;", "c/board/a.h": b""}


def record(monkeypatch: pytest.MonkeyPatch, root: Path) -> list[str]:
    """Return a list that fills with what is flushed or renamed, by path below ``root``."""
    done: list[str] = []
    fsync, replace, rename = os.fsync, os.replace, Path.rename

    def name(path: str | Path) -> str:
        return Path(path).relative_to(root).as_posix().replace(f".{os.getpid()}.tmp", ".tmp")

    def flushed(descriptor: int) -> None:
        done.append(f"sync {name(os.readlink(f'/proc/self/fd/{descriptor}'))}")
        fsync(descriptor)

    def replaced(source: Path, target: Path) -> None:
        done.append(f"name {name(target)}")
        replace(source, target)

    def renamed(self: Path, target: Path) -> Path:
        done.append(f"name {name(target)}")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(os, "replace", replaced)
    monkeypatch.setattr(Path, "rename", renamed)
    return done


linux = pytest.mark.skipif(sys.platform != "linux", reason="looks up descriptors in /proc")


@linux
def test_a_file_is_flushed_before_it_takes_its_name_and_its_folders_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = record(monkeypatch, tmp_path)
    write_atomically(tmp_path / "a" / "b" / "file", "text")
    assert done == ["sync a/b/.file.tmp", "name a/b/file", "sync a/b", "sync a", "sync ."]
    done.clear()
    write_atomically(tmp_path / "a" / "b" / "file", "other")
    assert done == ["sync a/b/.file.tmp", "name a/b/file", "sync a/b"]
    assert (tmp_path / "a" / "b" / "file").read_text() == "other"


@linux
def test_an_export_is_flushed_whole_before_it_takes_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = record(monkeypatch, tmp_path)
    RunDirectory(tmp_path).write_export(FILES)
    files = [f"sync .export.tmp/{name}" for name in FILES]
    assert done == [
        *files,
        "sync .export.tmp",
        "sync .export.tmp/c",
        "sync .export.tmp/c/board",
        "name export",
        "sync .",
    ]


@pytest.mark.parametrize("call", range(7))
def test_whatever_flush_fails_is_one_error_and_leaves_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    directory, fsync, calls = RunDirectory(tmp_path), os.fsync, []
    directory.write_export({"quant.json": b"old"})

    def fail(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) > call:
            raise OSError(errno.EIO, "Input/output error")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StorageError, match="Input/output error"):
        directory.write_export(FILES)
    assert [path.name for path in tmp_path.iterdir()] == ["export"]
    assert (tmp_path / "export" / "quant.json").read_bytes() == (b"{}" if call == 6 else b"old")
    calls.clear()
    if call < 2:
        with pytest.raises(StorageError, match="file: cannot be written"):
            write_atomically(tmp_path / "file", "text")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["export", *["file"] * call]


@pytest.mark.parametrize("number", sorted({errno.EINVAL, errno.ENOTSUP}))
def test_a_file_system_that_cannot_flush_folders_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    fsync = os.fsync

    def refuse(descriptor: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(number, "no")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refuse)
    write_atomically(tmp_path / "file", "text")
    assert (tmp_path / "file").read_text() == "text"


def test_what_killed_processes_left_is_removed_wherever_it_lies(tmp_path: Path) -> None:
    inner = tmp_path / "search" / "pareto"
    inner.mkdir(parents=True)
    left = [
        tmp_path / f".run.json.{DEAD}.tmp",
        inner / f".001.yaml.{DEAD}.tmp",
        tmp_path / f".a b\n'c'.{DEAD}.tmp",
        temporary(inner / "x"),
    ]
    stays = [
        tmp_path / f".run.json.{os.getppid()}.tmp",
        tmp_path / ".notes.tmp",
        tmp_path / f"run.json.{DEAD}.tmp",
        inner / "001.yaml",
    ]
    for path in (*left, *stays):
        path.touch()
    folder = tmp_path / f".export.{DEAD}.tmp" / "c"
    folder.mkdir(parents=True)
    (folder / "model.c").touch()
    outside = tmp_path.parent / "outside"
    outside.mkdir(exist_ok=True)
    (outside / f".file.{DEAD}.tmp").touch()
    (tmp_path / "link").symlink_to(outside)
    (tmp_path / f".link.{DEAD}.tmp").symlink_to(outside)
    sweep(tmp_path)
    assert not [
        path
        for path in (*left, folder.parent, tmp_path / f".link.{DEAD}.tmp")
        if os.path.lexists(path)
    ]
    assert all(path.exists() for path in (*stays, outside / f".file.{DEAD}.tmp"))
