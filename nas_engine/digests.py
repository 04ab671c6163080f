"""SHA-256 of files and folders: no link in a folder is followed, only regular files are opened."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from nas_engine.reading import KINDS, LARGE_FILE, UnreadableError, open_regular

FILE, FOLDER = "a file", "a folder"
"""Kinds of entries that an export or a run may have."""

NONE = "none"
"""Value in place of the digest of a missing file."""

_PIECE = 1 << 20


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a regular file or a link to one, else ``"none"`` or the kind.

    Raises:
        UnreadableError: The operating system refuses.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return kind_of(os.stat(path).st_mode)
        with open_regular(path, LARGE_FILE) as file:
            found = hashlib.sha256()
            while piece := file.read(_PIECE):
                found.update(piece)
            return found.hexdigest()
    except UnreadableError as error:
        if error.missing:
            return NONE
        raise
    except (FileNotFoundError, NotADirectoryError):
        return NONE
    except OSError as error:
        raise UnreadableError(path, error, "give yourself the right to read it") from error


def kind_of(mode: int) -> str:
    """Return the kind of entry of a mode of ``os.lstat``, such as ``a file`` or ``a link``."""
    if stat.S_ISREG(mode):
        return FILE
    if stat.S_ISLNK(mode):
        return "a link"
    return next((name for is_kind, name in KINDS if is_kind(mode)), "no regular file")


def contents(folder: Path) -> dict[str, str]:
    """Return the kind of every entry below a folder by its path there, in order.

    Paths have ``/`` between names; links are not followed.

    Raises:
        UnreadableError: The operating system refuses.
    """
    found: dict[str, str] = {}
    waiting = [""]
    while waiting:
        below = waiting.pop()
        try:
            with os.scandir(folder / below) as entries:
                for entry in entries:
                    name = below + entry.name
                    found[name] = kind_of(entry.stat(follow_symlinks=False).st_mode)
                    if found[name] == FOLDER:
                        waiting.append(f"{name}/")
        except OSError as error:
            raise UnreadableError(
                folder / below, error, "give yourself the right to read it"
            ) from error
    return dict(sorted(found.items()))


def digests(root: Path, paths: Iterable[Path]) -> dict[str, str]:
    """Return the SHA-256 of files by their path below ``root``, a folder replaced by its files.

    An entry of a folder that is neither file nor folder, such as a link, and a link to a folder,
    have their kind in place of a digest.

    Raises:
        UnreadableError: The operating system refuses.
    """
    found: dict[str, str] = {}
    for path in paths:
        name = path.relative_to(root).as_posix()
        if not path.is_dir() or path.is_symlink():
            found[name] = "a link" if path.is_dir() else file_digest(path)
            continue
        for below, kind in contents(path).items():
            if kind != FOLDER:
                found[f"{name}/{below}"] = file_digest(path / below) if kind == FILE else kind
    return found


def surplus(folder: Path, expected: Iterable[str]) -> tuple[str, str] | None:
    """Return path and kind of the first entry below a folder that is not expected there.

    Args:
        folder: The folder.
        expected: Paths of files below it, ``/`` between names.

    Raises:
        UnreadableError: The operating system refuses.
    """
    files = set(expected)
    folders = {name[:at] for name in files for at in range(len(name)) if name[at] == "/"}
    for name, kind in contents(folder).items():
        if name not in (folders if kind == FOLDER else files) or kind not in (FILE, FOLDER):
            return name, kind
    return None
