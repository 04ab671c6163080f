"""NumPy archives with the keys that Keras made common: x_train, y_train, x_test, y_test."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nas_engine.datasets.assembly import RawSplit, assemble
from nas_engine.datasets.errors import DatasetError
from nas_engine.datasets.records import Dataset, Pixels, listed
from nas_engine.datasets.request import ImageRequest
from nas_engine.errors import FileFormatError, one_line, shortened

_SUFFIXES = {"train": "train", "validation": "val", "test": "test"}


def is_npz(location: str | Path) -> bool:
    """Return whether there is a file with that ending."""
    path = Path(location)
    return path.suffix.lower() == ".npz" and path.is_file()


def read_npz(location: str | Path, request: ImageRequest) -> Dataset:
    """Return the data set of an archive.

    Images are ``[N, H, W]``, ``[N, H, W, C]`` or ``[N, C, H, W]``; labels are whole numbers ``[N]`` or ``[N, 1]``. uint8 and other
    whole numbers are taken as they are and must lie in 0 to 255. Floats are taken as 0 to 1 if none of any split is above 1, otherwise as
    0 to 255, and are rounded.

    Raises:
        FileFormatError: Not an archive of arrays, or cut off.
        DatasetError: A key is missing, an array has another shape or range; or as in ``assemble``.
    """
    path = Path(location)
    arrays, others = _load(path)
    purposes = {purpose: suffix for purpose, suffix in _SUFFIXES.items() if purpose != "validation" or {"x_val", "y_val"} & arrays.keys()}
    keys = [f"{letter}_{suffix}" for suffix in purposes.values() for letter in "xy"]
    missing = [key for key in keys if key not in arrays]
    if missing:
        held = listed(sorted([*arrays, *others])) or "nothing"
        raise DatasetError(path, f"lacks {listed(missing)}; expected x_train, y_train, x_test, y_test (and x_val, y_val); found {held}")
    images = _as_bytes(path, {suffix: _with_channels(path, f"x_{suffix}", arrays[f"x_{suffix}"]) for suffix in purposes.values()})
    return assemble(
        name=path.stem,
        source=str(path),
        classes=_class_names(path, arrays["classes"]) if "classes" in arrays else None,
        splits={
            purpose: RawSplit(
                where=f"x_{suffix}, y_{suffix}", images=images[suffix], labels=_labels(path, f"y_{suffix}", arrays[f"y_{suffix}"])
            )
            for purpose, suffix in purposes.items()
        },
        request=request,
        notes=(f"not read: {listed(others)}",) if others else (),
    )


def _load(path: Path) -> tuple[dict[str, npt.NDArray[Any]], list[str]]:
    """Return the arrays with a known key, and the other keys."""
    known = {"classes", *(f"{letter}_{suffix}" for letter in "xy" for suffix in _SUFFIXES.values())}
    with path.open("rb") as file:
        try:
            if not zipfile.is_zipfile(file):
                raise ValueError("no zip archive, or one that is cut off")
            file.seek(0)
            with np.load(file, allow_pickle=False) as archive:
                return {key: archive[key] for key in archive.files if key in known}, [key for key in archive.files if key not in known]
        except Exception as error:  # zipfile, zlib and the header's parser raise nearly anything on a damaged file
            problem = f"is no .npz of plain arrays ({shortened(one_line(str(error)))}; found {path.stat().st_size:,} B)"
            raise FileFormatError(path, f"{problem}; write it again with np.savez") from error


def _with_channels(path: Path, key: str, images: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return images as ``[N, H, W, C]``, of whatever number type they have."""
    if images.ndim == 3:
        return images[..., np.newaxis]
    if images.ndim != 4:
        raise DatasetError(path, f"{key} has the shape {list(images.shape)}; expected [N, H, W], [N, H, W, C] or [N, C, H, W]")
    first, last = images.shape[1] in (1, 3), images.shape[3] in (1, 3)
    if first and last:
        raise DatasetError(path, f"{key} has the shape {list(images.shape)}, channels first or last; expected images larger than that")
    return images.transpose(0, 2, 3, 1) if first else images


def _as_bytes(path: Path, arrays: dict[str, npt.NDArray[Any]]) -> dict[str, Pixels]:
    """Return images as uint8, all splits by the same rule."""
    kinds = {array.dtype.kind for array in arrays.values()}
    if len(kinds) > 1 or not kinds <= set("uif"):
        types = ", ".join(f"x_{suffix} {array.dtype}" for suffix, array in arrays.items())
        raise DatasetError(path, f"the images are {types}; expected uint8, or another number type, the same for all")
    low = float(np.min([array.min(initial=0) for array in arrays.values()]))
    high = float(np.max([array.max(initial=0) for array in arrays.values()]))
    if not (low >= 0 and high <= 255):  # also where one is not a number
        raise DatasetError(path, f"the pixels run from {low:g} to {high:g}; expected 0 to 255, or 0 to 1 as floats (not standardised)")
    factor = 255 if kinds == {"f"} and high <= 1 else 1
    return {
        suffix: np.ascontiguousarray(array if array.dtype.kind != "f" else np.rint(array * np.float32(factor)), np.uint8)
        for suffix, array in arrays.items()
    }


def _labels(path: Path, key: str, labels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "uib":
        hint = "one-hot rows become numbers with .argmax(1)" if labels.ndim == 2 else "convert them with .astype('int64')"
        raise DatasetError(path, f"{key} is {labels.dtype} {list(labels.shape)}; expected whole numbers [N]; {hint}")
    return labels


def _class_names(path: Path, names: npt.NDArray[Any]) -> tuple[str, ...]:
    if names.ndim != 1 or names.dtype.kind not in "US":
        raise DatasetError(path, f"classes is {names.dtype} {list(names.shape)}; expected a list of texts, one per class")
    return tuple(name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name) for name in names)
