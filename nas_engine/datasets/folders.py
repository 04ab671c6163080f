"""Image folders: one folder per class, usually inside one folder per split."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nas_engine.datasets.errors import DatasetError
from nas_engine.datasets.images import SUFFIXES, read_images
from nas_engine.datasets.records import Dataset, Labels, SkippedFile, Split, listed
from nas_engine.datasets.request import ImageRequest
from nas_engine.datasets.selection import TEST_SHARE, balanced_choice, set_aside_by_name

SPLIT_NAMES = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}
"""What a folder of that name holds."""

MAX_SKIPPED_SHARE = 0.1
"""Part of a split's files that may be unusable before the whole is refused."""

_IGNORED = {"thumbs.db", "desktop.ini", "__macosx"}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Listing:
    """The files of one split, before any is opened."""

    folder: Path
    files: dict[str, list[Path]]
    """By class, both in the order of their names."""
    strays: list[Path]
    """Images beside the class folders."""


def is_image_folder(location: str | Path) -> bool:
    """Return whether a folder holds ``train``, a split with class folders, or class folders."""
    root = Path(location)
    if not root.is_dir():
        return False
    folders = _folders(root)
    return any(
        folder.name == "train" or _has_images(folder) or (folder.name in SPLIT_NAMES and any(map(_has_images, _folders(folder))))
        for folder in folders
    )


def read_image_folder(location: str | Path, request: ImageRequest) -> Dataset:
    """Return the data set of an image folder; training images have the side ``request.training_resolution``.

    Raises:
        DatasetError: No training or no other images, a class folder that is empty or holds folders, splits with different classes, or
            too many files that cannot be used.
        InputError: A limit below the number of classes.
        MissingPackageError: Pillow is not installed.
    """
    root = Path(location)
    listings, notes = _listings(root)
    classes = tuple(listings["train"].files)
    if len(classes) < 2:
        raise DatasetError(root, f"has only one class ({listed(classes)}); expected at least two to tell apart")
    splits: dict[str, Split] = {}
    skipped: list[SkippedFile] = []
    for purpose, listing in listings.items():
        size = request.training_resolution if purpose == "train" else request.resolution
        splits[purpose], unusable = _read_split(purpose, listing, request, size)
        skipped += unusable
    return Dataset(
        name=root.resolve().name,
        source=str(root),
        classes=classes,
        train=splits["train"],
        test=splits["test"],
        validation=splits.get("validation"),
        skipped=tuple(skipped),
        notes=notes,
    )


def _listings(root: Path) -> tuple[dict[str, _Listing], tuple[str, ...]]:
    """Return the files of each purpose, and what had to be decided."""
    folders = {folder.name: folder for folder in _folders(root)}
    names = folders.keys() & SPLIT_NAMES.keys()
    if not names or (names == {"train"} and len(folders) > 1 and _has_images(folders["train"])):  # the latter: a class of trains
        return _divided(_listing(root))
    notes = []
    others = sorted(folders.keys() - names)
    if others:
        notes.append(f"folders not read: {listed(others)}")
    found = {SPLIT_NAMES[name]: folders[name] for name in sorted(names)}
    if len(found) < len(names):
        raise DatasetError(root, f"has more than one folder of validation images ({listed(sorted(names))}); keep one")
    if "train" not in found:
        raise DatasetError(root, f"has {listed(sorted(names))}, but no folder 'train'; expected train/CLASS/*.jpg and test/CLASS/*.jpg")
    if len(found) == 1:
        raise DatasetError(
            root, f"has 'train', but neither 'test' nor 'val'; add one, or give {root / 'train'} to have a fifth of it set aside"
        )
    if "test" not in found:
        notes.append(f"no folder 'test': the images of '{found['validation'].name}' are the test images")
        found["test"] = found.pop("validation")
    listings = {purpose: _listing(folder) for purpose, folder in found.items()}
    for listing in listings.values():
        _check_same_classes(listings["train"], listing)
    return listings, tuple(notes)


def _listing(folder: Path) -> _Listing:
    """Return the class folders of one folder and the files in each."""
    folders = _folders(folder)
    if not folders:
        raise DatasetError(folder, "has no class folders; expected one folder of images per class, such as train/cat/1.jpg")
    files = {}
    for each in folders:
        entries = _entries(each)
        inner = [entry for entry in entries if entry.is_dir()]
        if inner:
            raise DatasetError(each, f"has a folder '{inner[0].name}' in it; expected the images of a class directly in its folder")
        if not any(map(_is_image_name, entries)):
            raise DatasetError(each, f"has no images; expected files that end with {', '.join(SUFFIXES)}, or remove the folder")
        files[each.name] = entries
    return _Listing(folder=folder, files=files, strays=[entry for entry in _entries(folder) if _is_image_name(entry) and entry.is_file()])


def _divided(whole: _Listing) -> tuple[dict[str, _Listing], tuple[str, ...]]:
    """Return the files of a folder without splits, some of each class set aside for the test."""
    train: dict[str, list[Path]] = {}
    test: dict[str, list[Path]] = {}
    for name, files in whole.files.items():
        if len(files) < 2:
            raise DatasetError(whole.folder / name, "has one image; expected at least two, one to learn from and one for the test")
        aside = set_aside_by_name([f"{name}/{file.name}" for file in files])
        train[name] = [file for file, is_test in zip(files, aside, strict=True) if not is_test]
        test[name] = [file for file, is_test in zip(files, aside, strict=True) if is_test]
    note = f"no folders 'train' and 'test': about {100 * TEST_SHARE:.0f} % of each class, chosen by file name, are the test images"
    return {
        "train": _Listing(folder=whole.folder, files=train, strays=whole.strays),
        "test": _Listing(folder=whole.folder, files=test, strays=[]),
    }, (note,)


def _check_same_classes(train: _Listing, other: _Listing) -> None:
    missing = sorted(train.files.keys() - other.files.keys())
    extra = sorted(other.files.keys() - train.files.keys())
    if missing or extra:
        parts = [f"{word} {listed(names)}" for word, names in (("missing", missing), ("extra", extra)) if names]
        counts = f"has {len(other.files)} classes, {train.folder.name} has {len(train.files)}"
        raise DatasetError(other.folder, f"{counts}: {'; '.join(parts)}; expected the same class folders")


def _read_split(purpose: str, listing: _Listing, request: ImageRequest, size: int) -> tuple[Split, list[SkippedFile]]:
    """Return the images of one split, and what could not be used."""
    paths = [path for files in listing.files.values() for path in files]
    labels: Labels = np.repeat(np.arange(len(listing.files)), [len(files) for files in listing.files.values()]).astype(np.int64)
    chosen = balanced_choice(labels, request.limit, request.seed)
    if chosen is not None:
        paths, labels = [paths[index] for index in chosen], labels[chosen]
    images, reasons = read_images(paths, size, request.channels)
    if len(reasons) > MAX_SKIPPED_SHARE * len(paths):
        first = min(reasons)
        raise DatasetError(
            paths[first],
            f"{reasons[first]}; {len(reasons):,} of {len(paths):,} files for {purpose} cannot be used, more than "
            f"{100 * MAX_SKIPPED_SHARE:.0f} %; replace or remove them",
        )
    skipped = [SkippedFile(path=str(path), reason="lies beside the class folders") for path in listing.strays]
    skipped += [SkippedFile(path=str(paths[index]), reason=reason) for index, reason in reasons.items()]
    if reasons:
        images, labels = np.delete(images, list(reasons), axis=0), np.delete(labels, list(reasons))
    return Split(images=images, labels=labels), skipped


def _entries(folder: Path) -> list[Path]:
    """Return what lies in a folder, by name, without hidden files and what desktops leave behind."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith(".") and path.name.lower() not in _IGNORED)


def _folders(folder: Path) -> Sequence[Path]:
    return [path for path in _entries(folder) if path.is_dir()]


def _has_images(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return any(_is_image_name(Path(entry.name)) and not entry.name.startswith(".") and entry.is_file() for entry in entries)


def _is_image_name(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES
