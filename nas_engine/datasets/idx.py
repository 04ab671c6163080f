"""IDX files, the format of MNIST and its relatives: four files, packed with gzip or not."""

from __future__ import annotations

import math
import struct
import zlib
from pathlib import Path

import numpy as np

from nas_engine.datasets.assembly import MAX_BYTES, RawSplit, assemble, check_counts
from nas_engine.datasets.errors import DatasetError
from nas_engine.datasets.records import Dataset, Pixels
from nas_engine.datasets.request import ImageRequest
from nas_engine.errors import FileFormatError
from nas_engine.reading import LARGE_FILE, open_regular

_PREFIXES = {"train": ("train",), "test": ("t10k", "test")}
_DIMENSIONS = {"images": 3, "labels": 1}
_GZIP = b"\x1f\x8b"
_PART = 2**20
"""Packed bytes that are read at a time."""


def is_idx(location: str | Path) -> bool:
    """Return whether a folder holds at least one of the four files."""
    folder = Path(location)
    return folder.is_dir() and any(
        _find(folder, split, what) for split in _PREFIXES for what in _DIMENSIONS
    )


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
                raise DatasetError(
                    folder,
                    f"has IDX files, but not {names} (or the same with .gz); download it too",
                )
        found = {what: path for what, path in paths.items() if path}
        check_counts(
            folder, split, *(_shape(path, _DIMENSIONS[what])[0] for what, path in found.items())
        )
        images, labels = (read_idx(path, _DIMENSIONS[what]) for what, path in found.items())
        splits[split] = RawSplit(where=split, images=images[..., np.newaxis], labels=labels)
    return assemble(
        name=folder.resolve().name, source=str(folder), classes=None, splits=splits, request=request
    )


def read_idx(path: Path, dimensions: int) -> Pixels:
    """Return the array of an IDX file of bytes.

    Args:
        path: The file, as it is or packed with gzip.
        dimensions: 3 for images ``[N, H, W]``, 1 for labels ``[N]``.

    Raises:
        FileFormatError: Not IDX, of another kind, damaged, shorter or longer than its header says,
            or with more than ``MAX_BYTES``.
        UnreadableError: The operating system does not let it be read.
    """
    header, shape = 4 + 4 * dimensions, _shape(path, dimensions)
    size = header + math.prod(shape)
    if size > MAX_BYTES:
        raise FileFormatError(
            path,
            f"its header says {size:,} B in all (unpacked); at most {MAX_BYTES:,} B are read; give "
            "fewer images",
        )
    data, is_whole = _beginning(path, size)
    if len(data) != size:
        what, found = (
            ("is cut off", f"{len(data):,} B") if len(data) < size else ("is too long", "more")
        )
        raise FileFormatError(
            path,
            f"{what}: its header says {size:,} B in all (unpacked), found {found}; download it "
            "again",
        )
    if not is_whole:
        raise FileFormatError(
            path, "is cut off in its last 8 B, where gzip keeps a checksum; download it again"
        )
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)


def _shape(path: Path, dimensions: int) -> tuple[int, ...]:
    """Return the shape that the header of a file states."""
    header = 4 + 4 * dimensions
    data, _ = _beginning(path, header)
    if len(data) < header:
        raise FileFormatError(
            path,
            f"is cut off: the header of an IDX file has {header} B, found {len(data)} B; download "
            "it again",
        )
    magic, *shape = struct.unpack_from(f">{1 + dimensions}I", data)
    expected = 0x800 + dimensions  # 8: unsigned bytes
    if magic != expected:
        kind = "images" if dimensions == 3 else "labels"
        raise FileFormatError(
            path, f"begins with 0x{magic:08x}; an IDX file of {kind} begins with 0x{expected:08x}"
        )
    return tuple(shape)


def _beginning(path: Path, most: int) -> tuple[bytearray, bool]:
    """Return the unpacked content of a file, and whether gzip reported its end.

    The content has at most one byte more than ``most``.
    """
    data = bytearray()
    with open_regular(path, LARGE_FILE) as file:
        packed = file.read(len(_GZIP)) == _GZIP
        file.seek(0)
        if not packed:
            return bytearray(file.read(most + 1)), True
        unpacker = zlib.decompressobj(wbits=31)
        try:
            while len(data) <= most and not unpacker.eof:
                part = unpacker.unconsumed_tail or file.read(_PART)
                piece = unpacker.decompress(part, most + 1 - len(data))
                if not (part or piece):
                    break
                data += piece
        except zlib.error as error:
            raise FileFormatError(path, f"is damaged ({error}); download it again") from error
    return data, unpacker.eof


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
