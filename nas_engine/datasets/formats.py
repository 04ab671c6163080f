"""The formats, and the one way in: whatever lies at a path becomes a ``Dataset``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nas_engine.datasets.cifar import is_cifar10, is_cifar100, read_cifar10, read_cifar100
from nas_engine.datasets.digits import is_digits, read_digits
from nas_engine.datasets.errors import DatasetError
from nas_engine.datasets.folders import (
    class_names,
    is_image_folder,
    read_image_folder,
    read_judged_folder,
    unread_files,
)
from nas_engine.datasets.idx import is_idx, read_idx_folder
from nas_engine.datasets.npz import is_npz, read_npz
from nas_engine.datasets.records import Dataset, Judged, judged_split, listed
from nas_engine.datasets.request import ImageRequest
from nas_engine.errors import InputError
from nas_engine.reading import UnreadableError


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One kind of data and the functions that know it."""

    name: str
    """Name of the format."""
    layout: str
    """Expected input, in a few words, for messages."""
    detect: Callable[[str | Path], bool]
    """True if a place holds this format. Looks at names only, and accepts an incomplete one,
    which ``read`` then explains."""
    read: Callable[[str | Path, ImageRequest], Dataset]
    """The data there."""
    judge: Callable[[str | Path, ImageRequest, str | None], Judged] | None = None
    """One split, or all images where there are no splits; ``None`` to take a split of what ``read``
    reads."""


FORMATS = (
    Format(name="digits", layout="the word digits", detect=is_digits, read=read_digits),
    Format(
        name="CIFAR-10",
        layout="cifar-10-batches-py or its .tar.gz",
        detect=is_cifar10,
        read=read_cifar10,
    ),
    Format(
        name="CIFAR-100",
        layout="cifar-100-python or its .tar.gz",
        detect=is_cifar100,
        read=read_cifar100,
    ),
    Format(name="IDX", layout="a folder of IDX files (MNIST)", detect=is_idx, read=read_idx_folder),
    Format(
        name=".npz",
        layout="an .npz file with x_train, y_train, x_test, y_test",
        detect=is_npz,
        read=read_npz,
    ),
    Format(
        name="image folder",
        layout="a folder with train/CLASS/*.jpg and test/CLASS/*.jpg",
        detect=is_image_folder,
        read=read_image_folder,
        judge=read_judged_folder,
    ),
)
"""One row per format; the first that knows a place reads it."""


def open_dataset(
    location: str | Path,
    *,
    resolution: int,
    channels: int,
    resize_margin: float = 1.0,
    limit: int | None = None,
    seed: int = 0,
) -> Dataset:
    """Return the data set at a place, at the size that a network takes.

    Args:
        location: The word ``digits``, or the path of data in one of the ``FORMATS``, or of a folder
            that holds one such.
        resolution: Side of the square images, in pixels.
        channels: 1 (grey) or 3 (colour), whatever the data have.
        resize_margin: Side of the training images as a factor of ``resolution``, rounded up: room
            for random crops. Only image folders have more to show than they are asked for; all
            other formats ignore it.
        limit: Most images per split, as many of each class as there are to be had; ``None`` for
            all.
        seed: Which images those are.

    Returns:
        Splits of uint8 ``[N, resolution, resolution, channels]``.

    Raises:
        InputError: An argument out of its range, a package that is not installed.
        DatasetError: Nothing there, nothing known, or data that cannot be learnt from.
        FileFormatError: A file that is cut off or of another kind.
    """
    request = ImageRequest(
        resolution=resolution,
        channels=channels,
        resize_margin=resize_margin,
        limit=limit,
        seed=seed,
    )
    with _faults(location, resolution):
        place, kind = _find(location)
        return kind.read(place, request)


def open_judged(
    location: str | Path,
    *,
    resolution: int,
    channels: int,
    split: str | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> Judged:
    """Return images to judge a network by: one split of the data at a place.

    Args:
        location: As in ``open_dataset``. An image folder need not have other splits than the one
            that is read.
        resolution: Side of the square images, in pixels.
        channels: 1 (grey) or 3 (colour), whatever the data have.
        split: ``test``, ``validation`` or ``train``; ``None`` for ``test``, but for all images of
            an image folder without splits.
        limit: Most images, as many of each class as there are to be had; ``None`` for all.
        seed: Which images those are.

    Raises:
        InputError: As in ``open_dataset``, and for a split that is not there.
    """
    request = ImageRequest(resolution=resolution, channels=channels, limit=limit, seed=seed)
    with _faults(location, resolution):
        place, kind = _find(location)
        return (
            kind.judge(place, request, split)
            if kind.judge
            else judged_split(kind.read(place, request), split or "test")
        )


def place_of(location: str | Path) -> str:
    """Return where the data at a place really are; errors as in ``open_dataset``.

    Links are followed, and the data may lie one level below.
    """
    with _faults(location):
        place, _ = _find(location)
        return str(place) if is_digits(place) else os.path.realpath(place)


@contextmanager
def _faults(location: str | Path, resolution: int = 0) -> Iterator[None]:
    """Name the data in what the operating system reports, and say what to do where memory ends."""
    try:
        yield
    except OSError as error:
        raise UnreadableError(
            error.filename or location, error, "give other data, or mend that"
        ) from error
    except MemoryError as error:
        raise DatasetError(
            location,
            f"does not fit into memory at {resolution} x {resolution} pixels; give a lower "
            "resolution or a limit",
        ) from error


def format_name(location: str | Path) -> str:
    """Return the name of the format at a place (in ``FORMATS``); errors as in ``open_dataset``."""
    with _faults(location):
        return _find(location)[1].name


def _find(location: str | Path) -> tuple[str | Path, Format]:
    """Return the place of the data (the location itself or one level below), and their format."""
    if location == "":
        raise InputError(f"no data given; expected {_layouts()}")
    kind = _format_of(location)
    if kind is not None:
        return location, kind
    path = Path(location)
    if not path.exists():
        raise DatasetError(location, f"does not exist; expected {_layouts()}")
    if not path.is_dir():
        raise DatasetError(location, f"is a file of another kind; expected {_layouts()}")
    names = sorted(entry.name for entry in path.iterdir() if not entry.name.startswith("."))
    if not names:
        raise DatasetError(location, f"is an empty folder; expected {_layouts()}")
    found = [(path / name, kind) for name, kind in _known(path, names)]
    folders = [Path(place) for place, kind in found if kind.name == "image folder"]
    if len(found) == len(folders) == 2 and class_names(folders[0]) == class_names(folders[1]):
        both = listed([folder.name for folder in folders])
        raise DatasetError(
            location,
            f"holds two folders with the same classes, {both}: rename them to 'train' and 'test'",
        )
    if len(found) > 1:
        raise DatasetError(
            location,
            "holds more than one data set; give one of them: "
            f"{listed([str(place) for place, _ in found])}",
        )
    unread = None if found else unread_files(path)
    if unread is not None:
        raise DatasetError(location, unread)
    if not found:
        raise DatasetError(
            location, f"no known layout: found {listed(names)}; expected {_layouts()}"
        )
    return found[0]


def _known(path: Path, names: list[str]) -> Iterator[tuple[str, Format]]:
    for name in names:
        kind = _format_of(path / name)
        if kind is not None:
            yield name, kind


def _format_of(location: str | Path) -> Format | None:
    return next((kind for kind in FORMATS if kind.detect(location)), None)


def _layouts() -> str:
    return "; ".join(kind.layout for kind in FORMATS)
