"""Archives of arrays that the program wrote itself (``.npz`` without compression), read without taking more memory than they are large."""

from __future__ import annotations

import io
import math
import zipfile
from typing import Any

import numpy as np
import numpy.typing as npt


def stored_arrays(content: bytes) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of an archive by name.

    Args:
        content: What ``numpy.savez`` made. A compressed archive is refused: what it unfolds to has no limit.

    Raises:
        ValueError: No such archive, or an array of objects, or sizes that the archive cannot hold.
        zipfile.BadZipFile: Damaged, as are other errors of ``zipfile``.
    """
    found = {}
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = archive.infolist()
        if sum(entry.file_size for entry in entries) > len(content):
            raise ValueError("the archive is smaller than what it says that it holds")
        for entry in entries:
            if entry.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"{entry.filename} is compressed")
            member = io.BytesIO(archive.read(entry))
            version = np.lib.format.read_magic(member)
            if version != (1, 0):
                raise ValueError(f"{entry.filename} is of version {version}")
            shape, _, dtype = np.lib.format.read_array_header_1_0(member)
            if dtype.hasobject or member.tell() + math.prod(shape) * dtype.itemsize != entry.file_size:
                raise ValueError(f"{entry.filename} is not as large as its shape says")
            member.seek(0)
            found[entry.filename.removesuffix(".npy")] = np.lib.format.read_array(member, allow_pickle=False)
    return found
