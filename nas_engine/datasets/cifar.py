"""CIFAR-10 and CIFAR-100 as published for Python: folders of pickles, or their archive."""

from __future__ import annotations

import gzip
import tarfile
from collections.abc import Callable, Container
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from nas_engine.datasets.assembly import RawSplit, assemble
from nas_engine.datasets.errors import DatasetError
from nas_engine.datasets.pickles import load_pickle
from nas_engine.datasets.records import Dataset, listed
from nas_engine.datasets.request import ImageRequest
from nas_engine.errors import FileFormatError, NasEngineError
from nas_engine.reading import UnreadableError, open_regular, read_regular

_SIDE = 32
_ROW = 3 * _SIDE * _SIDE
_ARCHIVES = (".tar.gz", ".tgz")

MAX_FILE_BYTES = 2**29
"""Largest file, and most that an archive may unpack to, in bytes: more than twice what the
originals have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Variant:
    """One of the two data sets."""

    name: str
    folder: str
    archive: str
    archive_bytes: int
    train: tuple[str, ...]
    test: str
    meta: str
    labels_key: str
    names_key: str
    images_per_file: dict[str, int]

    @property
    def files(self) -> tuple[str, ...]:
        return (*self.train, self.test, self.meta)


_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))

_CIFAR10 = _Variant(
    name="CIFAR-10",
    folder="cifar-10-batches-py",
    archive="cifar-10-python",
    archive_bytes=170_498_071,
    train=_BATCHES,
    test="test_batch",
    meta="batches.meta",
    labels_key="labels",
    names_key="label_names",
    images_per_file=dict.fromkeys((*_BATCHES, "test_batch"), 10_000),
)

_CIFAR100 = _Variant(
    name="CIFAR-100",
    folder="cifar-100-python",
    archive="cifar-100-python",
    archive_bytes=169_001_437,
    train=("train",),
    test="test",
    meta="meta",
    labels_key="fine_labels",
    names_key="fine_label_names",
    images_per_file={"train": 50_000, "test": 10_000},
)


def is_cifar10(location: str | Path) -> bool:
    """Return whether there is a CIFAR-10 folder, whole or not, or its archive."""
    return _is(_CIFAR10, Path(location))


def is_cifar100(location: str | Path) -> bool:
    """Return whether there is a CIFAR-100 folder, whole or not, or its archive."""
    return _is(_CIFAR100, Path(location))


def read_cifar10(location: str | Path, request: ImageRequest) -> Dataset:
    """Return CIFAR-10; errors as in ``load_pickle`` and ``assemble``, and for missing files."""
    return _read(_CIFAR10, Path(location), request)


def read_cifar100(location: str | Path, request: ImageRequest) -> Dataset:
    """Return CIFAR-100 with its 100 fine classes; errors as in ``read_cifar10``."""
    return _read(_CIFAR100, Path(location), request)


def _is(variant: _Variant, path: Path) -> bool:
    if path.is_file():
        return path.name.startswith(variant.archive) and path.name.endswith(_ARCHIVES)
    return path.is_dir() and (
        path.name == variant.folder or sum((path / name).is_file() for name in variant.files) > 1
    )


def _read(variant: _Variant, path: Path, request: ImageRequest) -> Dataset:
    read = _reader(variant, path)
    meta = load_pickle(read(variant.meta), path / variant.meta, whole=100)
    names = meta.get(variant.names_key)
    if not isinstance(names, list) or not all(isinstance(name, bytes | str) for name in names):
        raise FileFormatError(
            path / variant.meta,
            f"has no list of names under '{variant.names_key}'; download the original",
        )
    batches = [_read_batch(variant, read(name), path / name) for name in variant.train]
    train = RawSplit(
        where="train",
        images=np.concatenate([batch.images for batch in batches]),
        labels=np.concatenate([batch.labels for batch in batches]),
    )
    del batches
    return assemble(
        name=variant.name,
        source=str(path),
        classes=tuple(
            name.decode("utf-8", "replace") if isinstance(name, bytes) else name for name in names
        ),
        splits={
            "train": train,
            "test": _read_batch(variant, read(variant.test), path / variant.test),
        },
        request=request,
    )


def _read_batch(variant: _Variant, data: bytes, path: Path) -> RawSplit:
    """Return one file of images; the pixels stand there as planes of red, green and blue."""
    batch = load_pickle(data, path, whole=_ROW * variant.images_per_file[path.name])
    pixels, labels = batch.get("data"), batch.get(variant.labels_key)
    if not isinstance(pixels, np.ndarray) or pixels.ndim != 2 or pixels.shape[1] != _ROW:
        raise FileFormatError(
            path, f"has no uint8 array [N, {_ROW}] under 'data'; download the original"
        )
    if not isinstance(labels, list) or not all(
        type(label) is int and 0 <= label < 2**31 for label in labels
    ):
        raise FileFormatError(
            path,
            f"has no list of class numbers under '{variant.labels_key}'; download the original",
        )
    if len(labels) != len(pixels):
        raise DatasetError(
            path, f"{len(pixels):,} images, but {len(labels):,} labels; expected as many of both"
        )
    images = np.ascontiguousarray(pixels.reshape(-1, 3, _SIDE, _SIDE).transpose(0, 2, 3, 1))
    return RawSplit(where=path.name, images=images, labels=np.array(labels, np.int64))


def _reader(variant: _Variant, path: Path) -> Callable[[str], bytes]:
    """Return what reads one of the files by its name, after a look whether all are there."""
    if path.is_dir():
        _check_complete(variant, path, [name for name in variant.files if (path / name).is_file()])
        return lambda name: read_regular(path / name, MAX_FILE_BYTES)
    members = {}
    try:
        with open_regular(path, MAX_FILE_BYTES) as file, gzip.GzipFile(fileobj=file) as unpacked:
            stream = cast("BinaryIO", _Limited(unpacked))
            with tarfile.open(fileobj=stream, mode="r|") as archive:
                for member in archive:
                    name = Path(member.name).name
                    if (
                        name in variant.files
                        and member.type in (tarfile.REGTYPE, tarfile.AREGTYPE)
                        and not member.issparse()
                    ):
                        content = archive.extractfile(member)
                        assert content is not None
                        members[name] = content.read()
    except (MemoryError, NasEngineError):
        raise
    except Exception as error:  # tarfile, gzip and zlib raise nearly anything on a damaged file
        if isinstance(error, OSError) and error.errno is not None:
            raise UnreadableError(path, error, "give the path of another file") from error
        raise FileFormatError(
            path,
            f"is cut off or no .tar.gz: expected {variant.archive_bytes:,} B, as the original has, "
            f"found {path.stat().st_size:,} B; "
            "download it again",
        ) from error
    _check_complete(variant, path, members)
    return members.__getitem__


class _Limited:
    """Unpacked content of an archive, up to a limit: bombs end with an error, not out of memory."""

    def __init__(self, file: gzip.GzipFile) -> None:
        self._file = file
        self._left = MAX_FILE_BYTES

    def read(self, size: int) -> bytes:
        """Return the next bytes."""
        data = self._file.read(min(size, self._left + 1))
        self._left -= len(data)
        if self._left < 0:
            raise tarfile.ReadError(f"more than {MAX_FILE_BYTES:,} B unpacked")
        return data


def _check_complete(variant: _Variant, path: Path, found: Container[str]) -> None:
    missing = [name for name in variant.files if name not in found]
    if missing:
        raise DatasetError(
            path, f"lacks {listed(missing)} of {variant.name}; unpack or download it again"
        )
