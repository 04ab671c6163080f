"""Files written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path

from nas_engine.errors import NasEngineError, PathError, one_line, shown_path
from nas_engine.escaping import utf8
from nas_engine.reading import read_regular


class StorageError(NasEngineError):
    """A file that could not be written: full disk, missing rights.

    Attributes:
        path: The file.
        reason: What the operating system said.
    """

    def __init__(self, path: object, reason: str) -> None:
        self.path = str(path)
        self.reason = reason
        super().__init__(self.path, reason)

    def __str__(self) -> str:
        kept = "what stood there before is kept; make room, or give another place"
        return one_line(f"{shown_path(self.path)}: cannot be written ({self.reason}); {kept}")


@contextlib.contextmanager
def storage_errors(path: object) -> Iterator[None]:
    """Turn what the operating system refuses while a file is written into a ``StorageError``; too long a name is bad input."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise PathError(path, "is longer than the system allows; give a shorter name") from error
        raise StorageError(path, error.strerror or str(error)) from error


def remove_temporary_files(folder: Path) -> None:
    """Remove what ``write_atomically`` leaves in a folder when it is killed half-way."""
    for path in folder.glob(".*.tmp"):
        if re.fullmatch(r"\.[\w-]+\.\w+\.\d+\.tmp", path.name):
            path.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write a file through a temporary one beside it, flushed to disk before it takes the name; equal content is only dated now.

    Raises:
        StorageError: The disk is full or the folder cannot be written; an older file of that name is untouched.
    """
    data = utf8(content) if isinstance(content, str) else content
    with contextlib.suppress(OSError, PathError):
        if path.stat().st_size == len(data) and read_regular(path, len(data)) == data:
            os.utime(path)
            return
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
