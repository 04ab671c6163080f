"""NumPy archives with the keys that Keras made common: x_train, y_train, x_test, y_test."""

from __future__ import annotations

import errno
import io
import math
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nas_engine.datasets.assembly import MAX_BYTES, RawSplit, assemble, check_counts
from nas_engine.datasets.errors import DatasetError
from nas_engine.datasets.records import Dataset, Pixels, listed
from nas_engine.datasets.request import ImageRequest
from nas_engine.errors import FileFormatError, NasEngineError, one_line, shortened
from nas_engine.reading import LARGE_FILE, UnreadableError, open_regular

OVERSHOOT = 0.01
"""Part of the range by which floats may exceed it, as after a resize (chosen here)."""

_SUFFIXES = {"train": "train", "validation": "val", "test": "test"}
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_MOST_HEADER = 2**14
_AT_ONCE = 256


def is_npz(location: str | Path) -> bool:
    """Return whether there is a file with that ending."""
    path = Path(location)
    return path.suffix.lower() == ".npz" and path.is_file()


def read_npz(location: str | Path, request: ImageRequest) -> Dataset:
    """Return the data set of an archive.

    Images are ``[N, H, W]``, ``[N, H, W, C]`` or ``[N, C, H, W]``; labels are whole numbers ``[N]``
    or ``[N, 1]``. uint8 and other whole numbers are taken as they are and must lie in 0 to 255.
    Floats are taken as 0 to 1 if none of any split is above 1, otherwise as 0 to 255, and are
    rounded; a hundredth beyond either end is cut off, with a note.

    Raises:
        FileFormatError: Not an archive of arrays, or cut off, or with more than ``MAX_BYTES`` of
            them.
        UnreadableError: The operating system does not let it be read.
        DatasetError: A key is missing, an array has another shape or range; or as in ``assemble``.
    """
    path = Path(location)
    arrays, others = _load(path)
    suffixes = {
        purpose: suffix
        for purpose, suffix in _SUFFIXES.items()
        if purpose != "validation" or {"x_val", "y_val"} & arrays.keys()
    }
    images, notes = _as_bytes(
        path,
        {
            suffix: _with_channels(path, f"x_{suffix}", arrays[f"x_{suffix}"])
            for suffix in suffixes.values()
        },
    )
    return assemble(
        name=path.stem,
        source=str(path),
        classes=_class_names(path, arrays["classes"]) if "classes" in arrays else None,
        splits={
            purpose: RawSplit(
                where=f"x_{suffix}, y_{suffix}",
                images=images[suffix],
                labels=_labels(path, f"y_{suffix}", arrays[f"y_{suffix}"]),
            )
            for purpose, suffix in suffixes.items()
        },
        request=request,
        notes=(*((f"not read: {listed(others)}",) if others else ()), *notes),
    )


def _load(path: Path) -> tuple[dict[str, npt.NDArray[Any]], list[str]]:
    """Return the arrays with a known key, and the other keys.

    What the headers say is checked before an array is made.

    Raises:
        FileFormatError: Not an archive of plain arrays, or cut off, or more than ``MAX_BYTES``.
        DatasetError: A key is missing, or images and labels are not as many.
        UnreadableError: The operating system does not let it be read.
    """
    known = {"classes", *(f"{letter}_{suffix}" for letter in "xy" for suffix in _SUFFIXES.values())}
    with open_regular(path, LARGE_FILE) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                entries = {
                    name.removesuffix(".npy"): archive.getinfo(name) for name in archive.namelist()
                }
                headers = {
                    key: _header(archive, entry) for key, entry in entries.items() if key in known
                }
                others = [key for key in entries if key not in known]
                _check_headers(path, headers, others)
                return {key: _array(archive, entries[key]) for key in headers}, others
        except (MemoryError, NasEngineError):
            raise
        except (
            Exception
        ) as error:  # zipfile, zlib and the header's parser raise nearly anything on a damaged file
            if (refused := _refused(error)) is not None:
                raise UnreadableError(path, refused, "give the path of another file") from error
            reason = (
                "no zip archive, or one that is cut off"
                if isinstance(error, zipfile.BadZipFile)
                else shortened(one_line(str(error)))
            )
            problem = f"is no .npz of plain arrays ({reason}; found {path.stat().st_size:,} B)"
            raise FileFormatError(path, f"{problem}; write it again with np.savez") from error


def _refused(error: BaseException | None) -> OSError | None:
    """Return the operating system's error, which zipfile hides behind its own.

    A seek to a place that does not exist is no such error.
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            return error
        error = error.__context__
    return None


def _header(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> tuple[tuple[int, ...], int]:
    """Return the shape of an array and its size in bytes."""
    with archive.open(entry) as file:
        head = io.BytesIO(file.read(_MOST_HEADER))
    version = np.lib.format.read_magic(head)
    if version not in _HEADERS:
        raise ValueError(f"an array in version {version} of the format")
    shape, _, dtype = _HEADERS[version](head)
    if dtype.hasobject:
        raise ValueError("Object arrays cannot be loaded")
    size = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or head.tell() + size != entry.file_size:
        raise ValueError(f"{entry.filename} is not as large as its header says")
    return shape, size


def _check_headers(
    path: Path, headers: Mapping[str, tuple[tuple[int, ...], int]], others: Sequence[str]
) -> None:
    suffixes = [
        suffix
        for suffix in _SUFFIXES.values()
        if suffix != "val" or {"x_val", "y_val"} & headers.keys()
    ]
    missing = [
        key for suffix in suffixes for key in (f"x_{suffix}", f"y_{suffix}") if key not in headers
    ]
    if missing:
        held = listed(sorted([*headers, *others])) or "nothing"
        raise DatasetError(
            path,
            f"lacks {listed(missing)}; expected x_train, y_train, x_test, y_test (and x_val, "
            f"y_val); found {held}",
        )
    for suffix in suffixes:
        images, labels = headers[f"x_{suffix}"][0], headers[f"y_{suffix}"][0]
        if images and labels:
            check_counts(path, f"x_{suffix}, y_{suffix}", images[0], labels[0])
    size = sum(size for _, size in headers.values())
    if size > MAX_BYTES:
        remedy = "give fewer images, smaller ones, or an image folder"
        raise FileFormatError(
            path, f"its arrays have {size:,} B; at most {MAX_BYTES:,} B are read; {remedy}"
        )


def _array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> npt.NDArray[Any]:
    with archive.open(entry) as file:
        return np.asarray(np.lib.format.read_array(file, allow_pickle=False))


def _with_channels(path: Path, key: str, images: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return images as ``[N, H, W, C]``, of whatever number type they have."""
    if images.ndim == 3:
        return images[..., np.newaxis]
    if images.ndim != 4:
        raise DatasetError(
            path,
            f"{key} has the shape {list(images.shape)}; expected [N, H, W], [N, H, W, C] or [N, C, "
            "H, W]",
        )
    first, last = images.shape[1] in (1, 3), images.shape[3] in (1, 3)
    if first and last:
        raise DatasetError(
            path,
            f"{key} has the shape {list(images.shape)}, channels first or last; expected images "
            "larger than that",
        )
    return images.transpose(0, 2, 3, 1) if first else images


def _as_bytes(
    path: Path, arrays: Mapping[str, npt.NDArray[Any]]
) -> tuple[dict[str, Pixels], tuple[str, ...]]:
    """Return images as uint8, all splits by the same rule, and what had to be decided."""
    kinds = {array.dtype.kind for array in arrays.values()}
    if len(kinds) > 1 or not kinds <= set("uif"):
        types = ", ".join(f"x_{suffix} {array.dtype}" for suffix, array in arrays.items())
        raise DatasetError(
            path,
            f"the images are {types}; expected uint8, or another number type, the same for all",
        )
    low = float(np.min([array.min(initial=0) for array in arrays.values()]))
    high = float(np.max([array.max(initial=0) for array in arrays.values()]))
    largest, beyond = 255.0, 0.0
    if kinds == {"f"} and high <= 1 + OVERSHOOT:
        largest, beyond = 1.0, OVERSHOOT
    elif kinds == {"f"} and low >= 0:
        beyond = 255 * OVERSHOOT
    if not (low >= -beyond and high <= largest + beyond):  # also where one is not a number
        raise DatasetError(
            path,
            f"the pixels run from {low:g} to {high:g}; expected 0 to 255, or 0 to 1 as floats (not "
            "standardised)",
        )
    notes = (
        (f"pixels from {low:.6g} to {high:.6g} are cut to 0 to {largest:g}",)
        if low < 0 or high > largest
        else ()
    )
    return {suffix: _scaled(array, largest) for suffix, array in arrays.items()}, notes


def _scaled(array: npt.NDArray[Any], largest: float) -> Pixels:
    if array.dtype.kind != "f":
        return np.ascontiguousarray(array, np.uint8)
    result = np.empty(array.shape, np.uint8)
    for start in range(
        0, len(array), _AT_ONCE
    ):  # bit by bit: floats take four and eight times the memory
        part = array[start : start + _AT_ONCE].clip(0, largest)
        result[start : start + _AT_ONCE] = np.rint(part * np.float32(255 / largest))
    return result


def _labels(path: Path, key: str, labels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "uib":
        hint = (
            "one-hot rows become numbers with .argmax(1)"
            if labels.ndim == 2
            else "convert them with .astype('int64')"
        )
        if labels.dtype.kind in "US":
            hint = (
                "texts become numbers with classes, y = np.unique(y, return_inverse=True); save "
                "classes too"
            )
        raise DatasetError(
            path,
            f"{key} is {labels.dtype} {list(labels.shape)}; expected whole numbers [N]; {hint}",
        )
    return labels


def _class_names(path: Path, names: npt.NDArray[Any]) -> tuple[str, ...]:
    if names.ndim != 1 or names.dtype.kind not in "US":
        raise DatasetError(
            path,
            f"classes is {names.dtype} {list(names.shape)}; expected a list of texts, one per "
            "class",
        )
    return tuple(
        name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name) for name in names
    )
