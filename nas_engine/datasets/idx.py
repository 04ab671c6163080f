"""IDX files, the format of MNIST and its relatives: four files, packed with gzip or not."""

from __future__ import annotations

import math
import struct
import zlib
from pathlib import Path

import numpy as np

from nas_engine.datasets.assembly import RawSplit, assemble
from nas_engine.datasets.errors import DatasetError
from nas_engine.datasets.records import Dataset, Pixels
from nas_engine.datasets.request import ImageRequest
from nas_engine.errors import FileFormatError

_PREFIXES = {"train": ("train",), "test": ("t10k", "test")}
_DIMENSIONS = {"images": 3, "labels": 1}
_GZIP = b"\x1f\x8b"


def is_idx(location: str | Path) -> bool:
    """Return whether a folder holds at least one of the four files."""
    folder = Path(location)
    return folder.is_dir() and any(_find(folder, split, what) for split in _PREFIXES for what in _DIMENSIONS)


def read_idx_folder(location: str | Path, request: ImageRequest) -> Dataset:
    """Return the data set of four IDX files.

    Raises:
        DatasetError: One of the files is missing; or as in ``assemble``.
        FileFormatError: As in ``read_idx``.
    """
    folder = Path(location)
    splits = {}
    for split, prefixes in _PREFIXES.items():
        paths = {what: _find(folder, split, what) for what in _DIMENSIONS}
        for what, path in paths.items():
            if path is None:
                names = " or ".join(_file_name(prefix, what) for prefix in prefixes)
                raise DatasetError(folder, f"has IDX files, but not {names} (or the same with .gz); download it too")
        images, labels = (read_idx(path, _DIMENSIONS[what]) for what, path in paths.items() if path)
        splits[split] = RawSplit(where=split, images=images[..., np.newaxis], labels=labels)
    return assemble(name=folder.resolve().name, source=str(folder), classes=None, splits=splits, request=request)


def read_idx(path: Path, dimensions: int) -> Pixels:
    """Return the array of an IDX file of bytes.

    Args:
        path: The file, as it is or packed with gzip.
        dimensions: 3 for images ``[N, H, W]``, 1 for labels ``[N]``.

    Raises:
        FileFormatError: Not IDX, of another kind, damaged, or shorter or longer than its header says.
    """
    data = path.read_bytes()
    is_whole = True
    if data.startswith(_GZIP):
        data, is_whole = _unpacked(data, path)
    header = 4 + 4 * dimensions
    if len(data) < header:
        raise FileFormatError(path, f"is cut off: the header of an IDX file has {header} B, found {len(data)} B; download it again")
    magic, *shape = struct.unpack_from(f">{1 + dimensions}I", data)
    expected = 0x800 + dimensions  # 8: unsigned bytes
    if magic != expected:
        kind = "images" if dimensions == 3 else "labels"
        raise FileFormatError(path, f"begins with 0x{magic:08x}; an IDX file of {kind} begins with 0x{expected:08x}")
    size = header + math.prod(shape)
    if len(data) != size:
        what = "is cut off" if len(data) < size else "is too long"
        raise FileFormatError(path, f"{what}: its header says {size:,} B in all (unpacked), found {len(data):,} B; download it again")
    if not is_whole:
        raise FileFormatError(path, "is cut off in its last 8 B, where gzip keeps a checksum; download it again")
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)


def _unpacked(data: bytes, path: Path) -> tuple[bytes, bool]:
    """Return what gzip packed, as far as it goes, and whether that is all."""
    unpacker = zlib.decompressobj(wbits=31)
    try:
        return unpacker.decompress(data), unpacker.eof
    except zlib.error as error:
        raise FileFormatError(path, f"is damaged ({error}); download it again") from error


def _find(folder: Path, split: str, what: str) -> Path | None:
    for prefix in _PREFIXES[split]:
        name = _file_name(prefix, what)
        for each in (name, name.replace("-idx", ".idx")):
            for path in (folder / each, folder / f"{each}.gz"):
                if path.is_file():
                    return path
    return None


def _file_name(prefix: str, what: str) -> str:
    return f"{prefix}-{what}-idx{_DIMENSIONS[what]}-ubyte"
