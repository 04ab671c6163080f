"""Reading of regular files, without blocking and up to a stated size, for all file content."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from nas_engine.errors import FileFormatError, NasEngineError, PathError

SMALL_FILE = 64 * 2**20
"""Largest JSON, CSV or log file read, in bytes; those of a run are a few kilobytes to a few
megabytes."""

LARGE_FILE = 2**32
"""Largest file of weights, images or firmware read, in bytes."""

_OF_THE_PATH = {
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EACCES,
    errno.EPERM,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.EINVAL,
}
KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
"""Kinds of entry that a path may be in place of a regular file, with their names in messages."""


class UnreadableError(PathError):
    """File that the operating system refuses to read: missing, no rights, too many open.

    Attributes:
        errno: Number of the operating system's error, ``errno.ENOENT`` for a missing file.
        exit_code: 2 where another path or other rights mend it, 1 where the machine is at fault.
    """

    def __init__(self, path: object, error: OSError, remedy: str) -> None:
        self.errno = error.errno
        self.exit_code = 2 if error.errno in _OF_THE_PATH else 1
        reason = error.strerror or str(error)
        super().__init__(path, f"cannot be read ({reason}); {remedy}")

    @property
    def missing(self) -> bool:
        """True if there is no such file."""
        return self.errno in (errno.ENOENT, errno.ENOTDIR)


def open_regular(
    path: str | os.PathLike[str], most: int, remedy: str = "give the path of an existing file"
) -> BinaryIO:
    """Return a file opened to be read as bytes; the caller closes it.

    Args:
        path: The file; a link to a regular file is one.
        most: Largest size accepted, in bytes.
        remedy: What to do where it cannot be read, for the message.

    Raises:
        UnreadableError: Missing, or the operating system refuses.
        FileFormatError: A folder, a named pipe, a socket or a device; a file of more than ``most``
            bytes.
    """
    try:
        _check(os.stat(path), path, most)  # before it is opened: opening a device can have effects
        descriptor = os.open(
            path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        )
        try:
            _check(os.fstat(descriptor), path, most)  # again: another file may have taken the name
            return os.fdopen(descriptor, "rb")
        except BaseException:
            os.close(descriptor)
            raise
    except ValueError as error:  # a NUL in the path
        raise UnreadableError(path, OSError(errno.EINVAL, str(error)), remedy) from error
    except OSError as error:
        raise UnreadableError(path, error, remedy) from error


def read_regular(
    path: str | os.PathLike[str], most: int, remedy: str = "give the path of an existing file"
) -> bytes:
    """Return the content of a file; arguments and errors as in ``open_regular``."""
    with open_regular(path, most, remedy) as file:
        try:
            content = file.read(most + 1)
        except OSError as error:
            raise UnreadableError(path, error, remedy) from error
    if len(content) > most:  # it grew meanwhile
        raise _too_large(path, most)
    return content


def read_regular_text(
    path: str | os.PathLike[str], most: int, remedy: str = "give the path of an existing file"
) -> str:
    """Return the text of a UTF-8 file; arguments and errors as in ``open_regular``.

    Raises:
        FileFormatError: Also bytes that are no UTF-8.
    """
    try:
        return read_regular(path, most, remedy).decode()
    except UnicodeDecodeError as error:
        raise FileFormatError(path, f"is not a text file in UTF-8; {remedy}") from error


def regular_digest(
    path: str | os.PathLike[str], most: int, remedy: str = "give the path of an existing file"
) -> str:
    """Return the hexadecimal SHA-256 of a file; arguments and errors as in ``open_regular``."""
    digest, size = hashlib.sha256(), 0
    with open_regular(path, most, remedy) as file:
        try:
            while part := file.read(2**20):
                size += len(part)
                if size > most:  # some files of the system have no end, and a size of 0
                    raise _too_large(path, most)
                digest.update(part)
        except OSError as error:
            raise UnreadableError(path, error, remedy) from error
    return digest.hexdigest()


@contextlib.contextmanager
def parsing(
    path: object, problem: str | Callable[[Exception], str], remedy: str = "try again"
) -> Iterator[None]:
    """Turn what a parser raises on a damaged file into one line; other errors pass.

    Args:
        path: The file, for messages.
        problem: Problem and what to do, or a function that returns this for an error.
        remedy: What to do where the operating system refuses.

    Raises:
        FileFormatError: The parser found something wrong.
        MemoryError: Memory ran out; also what torch raises then.
        UnreadableError: The operating system refuses.
    """
    try:
        yield
    except (MemoryError, NasEngineError):
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise MemoryError(str(error)) from error
        if (
            isinstance(error, OSError) and error.errno is not None
        ):  # without a number it is a parser's own, such as gzip's
            raise UnreadableError(path, error, remedy) from error
        raise FileFormatError(
            path, problem if isinstance(problem, str) else problem(error)
        ) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error is out of memory: Python's, or torch's, which is a RuntimeError."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "DefaultCPUAllocator" in str(error)
    )


def _check(found: os.stat_result, path: str | os.PathLike[str], most: int) -> None:
    if not stat.S_ISREG(found.st_mode):
        kind = next((name for is_kind, name in KINDS if is_kind(found.st_mode)), "no regular file")
        raise FileFormatError(path, f"is {kind}; expected a regular file")
    if found.st_size > most:
        raise _too_large(path, most)


def _too_large(path: str | os.PathLike[str], most: int) -> FileFormatError:
    return FileFormatError(
        path, f"is larger than {most:,} B, the most that is read here; give another file"
    )


def is_regular(path: Path) -> bool:
    """Return whether there is a regular file or a link to one; False if it is inaccessible."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False
