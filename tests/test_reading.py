"""The one door for reading files: regular ones only, at once, and no more than was said."""

from __future__ import annotations

import errno
import gzip
import hashlib
import os
import socket
import sys
from pathlib import Path

import pytest

from nas_engine.errors import FileFormatError
from nas_engine.reading import (
    UnreadableError,
    is_regular,
    open_regular,
    parsing,
    read_regular,
    read_regular_text,
    regular_digest,
)


def test_a_file_and_a_link_to_it_are_read_up_to_the_size_stated(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"12345")
    (tmp_path / "link").symlink_to(file)
    for path in (file, tmp_path / "link", str(file)):
        assert read_regular(path, 5) == b"12345"
        assert is_regular(Path(path))
    with pytest.raises(
        FileFormatError, match=r"file: is larger than 4 B, the most that is read here"
    ):
        read_regular(file, 4)


@pytest.mark.skipif(sys.platform == "win32", reason="no named pipes in folders")
@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("pipe", "a named pipe"),
        ("folder", "a folder"),
        ("socket", "a socket"),
        ("device", "a device"),
    ],
)
def test_anything_but_a_regular_file_is_refused_at_once(
    kind: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket may not be long
    path = Path(kind)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(kind)
    else:
        path.symlink_to("/dev/zero")
    assert not is_regular(path)
    with pytest.raises(FileFormatError, match=f"{kind}: is {words}; expected a regular file"):
        open_regular(path, 2**20)


def test_what_the_system_refuses_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(
        UnreadableError, match=r"cannot be read \(No such file or directory\); search again"
    ) as missing:
        read_regular(tmp_path / "none", 10, "search again")
    assert missing.value.missing
    assert missing.value.exit_code == 2
    with pytest.raises(UnreadableError, match="null"):
        read_regular("a\0b", 10)
    (tmp_path / "file").write_bytes(b"1")

    def refuse(*_: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(UnreadableError, match="Too many open files") as refused:
        read_regular(tmp_path / "file", 10)
    assert refused.value.exit_code == 1
    assert not refused.value.missing
    assert not isinstance(refused.value, FileFormatError)


def test_running_out_of_memory_passes_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"1")

    def exhausted(*_: object) -> object:
        raise MemoryError

    monkeypatch.setattr(os, "fdopen", exhausted)
    open_files = len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0
    with pytest.raises(MemoryError):
        read_regular(tmp_path / "file", 10)
    if sys.platform == "linux":
        assert len(os.listdir("/proc/self/fd")) == open_files


def test_text_must_be_utf_8(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes("né\n".encode())
    assert read_regular_text(tmp_path / "text", 100) == "né\n"
    (tmp_path / "bytes").write_bytes(b"n\xe9\n")
    with pytest.raises(FileFormatError, match="is not a text file in UTF-8"):
        read_regular_text(tmp_path / "bytes", 100)


class OutOfMemoryError(RuntimeError):
    """Named as torch's."""


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OutOfMemoryError("CUDA"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory"),
    ],
)
def test_out_of_memory_is_never_damage(error: Exception) -> None:
    with pytest.raises(MemoryError), parsing("file", "is damaged"):
        raise error


@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE, errno.EACCES, errno.ENOMEM])
def test_what_the_system_refuses_while_a_file_is_parsed_is_no_damage(number: int) -> None:
    with (
        pytest.raises(
            UnreadableError, match=r"^file: cannot be read \(.+\); put it back$"
        ) as caught,
        parsing("file", "", "put it back"),
    ):
        raise OSError(number, os.strerror(number))
    assert caught.value.errno == number


@pytest.mark.parametrize(
    "error",
    [ValueError("x"), RuntimeError("y"), gzip.BadGzipFile("z"), AssertionError(), RecursionError()],
)
def test_whatever_else_a_parser_raises_is_damage(error: Exception) -> None:
    with pytest.raises(FileFormatError, match=r"^file: is damaged$"), parsing("file", "is damaged"):
        raise error
    with (
        pytest.raises(FileFormatError, match=f"^file: {type(error).__name__}$"),
        parsing("file", lambda error: type(error).__name__),
    ):
        raise error
    with pytest.raises(FileFormatError, match=r"^other: its own$"), parsing("file", "is damaged"):
        raise FileFormatError("other", "its own")


def test_the_digest_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"1" * 10**6)
    assert regular_digest(tmp_path / "file", 10**6) == hashlib.sha256(b"1" * 10**6).hexdigest()
    with pytest.raises(FileFormatError, match="larger than 10 B"):
        regular_digest(tmp_path / "file", 10)
