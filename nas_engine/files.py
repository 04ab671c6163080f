"""Files written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
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
    """Turn errors of the operating system on writing into ``StorageError`` or bad input."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise PathError(
                path, "is longer than the system allows; give a shorter name"
            ) from error
        raise StorageError(path, error.strerror or str(error)) from error


_TEMPORARY = re.compile(r"\..+\.(\d+)\.tmp", re.DOTALL)
_NO_FOLDER_SYNC = {
    errno.EINVAL,
    errno.ENOTSUP,
    errno.ENOSYS,
    errno.EBADF,
}  # file systems that cannot


def temporary(path: Path) -> Path:
    """Return the temporary name next to a file or folder under which this process writes it."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def sweep(folder: Path) -> None:
    """Remove temporary files of killed processes in a folder and below; those of live ones stay."""
    for place, folders, files in os.walk(folder):
        for name in [name for name in (*folders, *files) if _is_left(name)]:
            path = Path(place, name)
            if name in folders:
                folders.remove(name)
            with contextlib.suppress(OSError):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def _is_left(name: str) -> bool:
    found = _TEMPORARY.fullmatch(name)
    return found is not None and not (int(found[1]) != os.getpid() and _lives(int(found[1])))


def _lives(process: int) -> bool:
    if os.name == "nt":  # signal 0 would end it there
        return False
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # somebody else's
        return True
    return process > 0


def sync_folder(folder: Path) -> None:
    """Flush the names in a folder to disk, where the platform can.

    Raises:
        OSError: The disk fails.
    """
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(descriptor)


def write_synced(path: Path, data: bytes) -> None:
    """Write a file into an existing folder and flush it to disk; the caller syncs the folder.

    Raises:
        OSError: The disk is full, or the folder cannot be written.
    """
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write a file through a temporary one next to it; file and names are flushed to disk.

    Equal content gets a new date only.

    Raises:
        StorageError: The disk is full or the folder cannot be written; an older file of that name
            is untouched.
    """
    data = utf8(content) if isinstance(content, str) else content
    with contextlib.suppress(OSError, PathError):
        if path.stat().st_size == len(data) and read_regular(path, len(data)) == data:
            os.utime(path)
            return
    draft = temporary(path)
    try:
        with storage_errors(path):
            made = [folder for folder in path.parents if not folder.exists()]
            path.parent.mkdir(parents=True, exist_ok=True)
            write_synced(draft, data)
            os.replace(draft, path)
            for folder in (path.parent, *(new.parent for new in made)):
                sync_folder(folder)
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
