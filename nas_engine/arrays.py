"""Uncompressed ``.npz`` archives of the program, read in no more memory than they are large."""

from __future__ import annotations

import io
import math
import zipfile
from typing import Any

import numpy as np
import numpy.typing as npt


def stored_entries(archive: zipfile.ZipFile, size: int) -> list[zipfile.ZipInfo]:
    """Return the entries of an uncompressed archive, none of them larger than its file.

    Args:
        archive: The archive.
        size: Size of its file, in bytes.

    Raises:
        ValueError: An entry is compressed, or they are larger than the file.
    """
    entries = archive.infolist()
    if sum(entry.file_size for entry in entries) > size:
        raise ValueError("the archive is smaller than what it says that it holds")
    for entry in entries:
        if entry.compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"{entry.filename} is compressed")
    return entries


def stored_arrays(content: bytes) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of an archive by name.

    Args:
        content: Bytes that ``numpy.savez`` wrote. A compressed archive is refused, because its
            content has no limit.

    Raises:
        ValueError: No such archive, or an array of objects, or sizes that the archive cannot hold.
        zipfile.BadZipFile: Damaged, as are other errors of ``zipfile``.
    """
    found = {}
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for entry in stored_entries(archive, len(content)):
            member = io.BytesIO(archive.read(entry))
            version = np.lib.format.read_magic(member)
            if version != (1, 0):
                raise ValueError(f"{entry.filename} is of version {version}")
            shape, _, dtype = np.lib.format.read_array_header_1_0(member)
            if (
                dtype.hasobject
                or member.tell() + math.prod(shape) * dtype.itemsize != entry.file_size
            ):
                raise ValueError(f"{entry.filename} is not as large as its shape says")
            member.seek(0)
            found[entry.filename.removesuffix(".npy")] = np.lib.format.read_array(
                member, allow_pickle=False
            )
    return found
