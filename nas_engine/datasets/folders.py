"""Image folders: one folder per class, usually inside one folder per split."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nas_engine.datasets.class_names import composed
from nas_engine.datasets.errors import DatasetError
from nas_engine.datasets.images import SUFFIXES, TO_CONVERT, read_images
from nas_engine.datasets.records import ALL, Dataset, Judged, Labels, SkippedFile, Split, listed
from nas_engine.datasets.request import ImageRequest
from nas_engine.datasets.selection import TEST_SHARE, balanced_choice, set_aside_by_name
from nas_engine.errors import InputError, shortened

SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "eval", "evaluation"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""Purpose of the images in a folder of that name, in small or capital letters."""

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
    return any(
        _purpose(folder) == "train"
        or _has_images(folder)
        or (_purpose(folder) and any(map(_has_images, _folders(folder))))
        for folder in _folders(root)
    )


def class_names(folder: Path) -> set[str]:
    """Return the names of the class folders in a folder, accents composed."""
    return {composed(each.name) for each in _folders(folder)}


def unread_files(root: Path) -> str | None:
    """Return the message for a folder whose folders hold files, but no images.

    Images are files with the ending of an image; ``None`` for any other folder.
    """
    places = [root, *_folders(root)]
    files = [
        entry
        for place in places
        for folder in _folders(place)
        for entry in _entries(folder)
        if not entry.is_dir()
    ]
    return _no_images(files) if files and not any(map(_is_image_name, files)) else None


def _no_images(entries: Sequence[Path]) -> str:
    """Return which endings there are, and what to do."""
    endings = Counter(entry.suffix.lower() for entry in entries)
    counts = [
        f"{repr(shortened(ending, 20)) if ending else 'no ending'} ({count:,})"
        for ending, count in endings.most_common(3)
    ]
    remedy = f"expected files that end with {', '.join(SUFFIXES)}"
    if endings.keys() & set(TO_CONVERT):
        remedy = f"convert them to JPEG or PNG; {remedy}"
    found = f", but files with {' and '.join(counts)}" if counts else ""
    return f"has no images{found}; {remedy}"


def read_image_folder(location: str | Path, request: ImageRequest) -> Dataset:
    """Return the data set of an image folder.

    Training images have the side ``request.training_resolution``.

    Raises:
        DatasetError: No training or no other images, a class folder that is empty or holds folders,
            splits with different classes, or too many files that cannot be used.
        InputError: A limit below the number of classes.
        MissingPackageError: Pillow is not installed.
    """
    root = Path(location)
    listings, notes = _listings(root)
    classes = tuple(listings["train"].files)
    if len(classes) < 2:
        raise DatasetError(
            root, f"has only one class ({listed(classes)}); expected at least two to tell apart"
        )
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


def read_judged_folder(location: str | Path, request: ImageRequest, split: str | None) -> Judged:
    """Return one split of an image folder, or all images of one without splits.

    The other splits need not be there.

    Args:
        location: The folder.
        request: Size and number of the images.
        split: ``test``, ``validation`` or ``train``; ``None`` for ``test``, or for all images where
            there are no splits.

    Raises:
        DatasetError: As in ``read_image_folder``, for what is read.
        InputError: There is no such split, or a limit below the number of classes.
    """
    root = Path(location)
    found, notes = _split_folders(root)
    if found is None and split is None:
        listing, purpose = _listing(root), ALL
        notes = (
            (
                "no folders 'train' and 'test', so all images are judged; add --split test if the "
                f"network was trained on {root}"
            ),
        )
    else:
        purpose = split or "test"
        if found is None:
            listings, notes = _divided(_listing(root))
        else:
            found, stands_in = _with_test(found)
            notes += stands_in
            listings = {purpose: _listing(found[purpose])} if purpose in found else {}
        if purpose not in listings:
            names = ", ".join(
                name
                for name in ("train", "validation", "test")
                if name in (listings if found is None else found)
            )
            raise InputError(
                f"{root}: there is no split '{purpose}'; give one of: {names} (--split)"
            )
        listing = listings[purpose]
    images, skipped = _read_split(purpose, listing, request, request.resolution)
    return Judged(
        name=root.resolve().name,
        source=str(root),
        classes=tuple(listing.files),
        split=purpose,
        images=images,
        skipped=tuple(skipped),
        notes=notes,
    )


def _split_folders(root: Path) -> tuple[dict[str, Path] | None, tuple[str, ...]]:
    """Return the folder of each purpose, and the decisions made.

    ``None`` instead of the folders where the folders are classes.
    """
    folders = _folders(root)
    splits = [folder for folder in folders if _purpose(folder)]
    others = [folder for folder in folders if not _purpose(folder)]
    if not splits or (
        all(map(_has_images, splits)) and any(map(_has_images, others))
    ):  # the latter: a class of trains
        return None, ()
    found: dict[str, Path] = {}
    for folder in splits:
        other = found.setdefault(_purpose(folder), folder)
        if other is not folder:
            both = listed([other.name, folder.name])
            raise DatasetError(
                root, f"has more than one folder of {_purpose(folder)} images ({both}); keep one"
            )
    if len(found) == 1:
        (purpose, folder), classes = next(iter(found.items())), class_names(splits[0])
        twin = next((each for each in others if classes and class_names(each) == classes), None)
        if twin is not None:
            name = "test" if purpose == "train" else "train"
            raise DatasetError(
                root,
                f"{listed([folder.name, twin.name])} have the same classes; rename '{twin.name}' "
                f"to '{name}'",
            )
    return found, (
        f"folders not read: {listed([folder.name for folder in others])}",
    ) if others else ()


def _purpose(folder: Path) -> str:
    return SPLIT_NAMES.get(folder.name.casefold(), "")


def _with_test(found: Mapping[str, Path]) -> tuple[dict[str, Path], tuple[str, ...]]:
    """Return the folders with that of validation images in place of one that is missing."""
    found = dict(found)
    if "test" in found or "validation" not in found:
        return found, ()
    found["test"] = found.pop("validation")
    return found, (f"no folder 'test': the images of '{found['test'].name}' are the test images",)


def _listings(root: Path) -> tuple[dict[str, _Listing], tuple[str, ...]]:
    """Return the files of each purpose, and what had to be decided."""
    found, notes = _split_folders(root)
    if found is None:
        return _divided(_listing(root))
    names = [folder.name for folder in found.values()]
    if "train" not in found:
        raise DatasetError(
            root,
            f"has {listed(sorted(names))}, but no folder 'train'; expected train/CLASS/*.jpg and "
            "test/CLASS/*.jpg",
        )
    if len(found) == 1:
        raise DatasetError(
            root,
            f"has '{names[0]}', but neither 'test' nor 'val'; add one, or give {found['train']} to "
            "have a fifth of it set aside",
        )
    found, stands_in = _with_test(found)
    listings = {purpose: _listing(folder) for purpose, folder in found.items()}
    for listing in listings.values():
        _check_same_classes(listings["train"], listing)
    return listings, notes + stands_in


def _listing(folder: Path) -> _Listing:
    """Return the class folders of one folder and the files in each."""
    folders = _folders(folder)
    if not folders:
        raise DatasetError(
            folder,
            "has no class folders; expected one folder of images per class, such as "
            "train/cat/1.jpg",
        )
    files: dict[str, list[Path]] = {}
    for each in sorted(folders, key=lambda folder: composed(folder.name)):
        entries = _entries(each)
        inner = [entry for entry in entries if entry.is_dir()]
        if inner:
            raise DatasetError(
                each,
                f"has a folder '{inner[0].name}' in it; expected the images of a class directly in "
                "its folder",
            )
        if not any(map(_is_image_name, entries)):
            raise DatasetError(each, f"{_no_images(entries)}, or remove the folder")
        name = composed(each.name)
        if name in files:
            raise DatasetError(
                folder,
                f"has two folders named '{name}', whose accents are written in two ways; put their "
                "images into one",
            )
        files[name] = entries
    return _Listing(
        folder=folder,
        files=files,
        strays=[entry for entry in _entries(folder) if _is_image_name(entry) and entry.is_file()],
    )


def _divided(whole: _Listing) -> tuple[dict[str, _Listing], tuple[str, ...]]:
    """Return the files of a folder without splits, some of each class set aside for the test."""
    train: dict[str, list[Path]] = {}
    test: dict[str, list[Path]] = {}
    for name, files in whole.files.items():
        if len(files) < 2:
            raise DatasetError(
                whole.folder / name,
                "has one image; expected at least two, one to learn from and one for the test",
            )
        aside = set_aside_by_name([f"{name}/{file.name}" for file in files])
        train[name] = [file for file, is_test in zip(files, aside, strict=True) if not is_test]
        test[name] = [file for file, is_test in zip(files, aside, strict=True) if is_test]
    note = (
        f"no folders 'train' and 'test': about {100 * TEST_SHARE:.0f} % of each class, chosen by "
        "file name, are the test images"
    )
    return {
        "train": _Listing(folder=whole.folder, files=train, strays=whole.strays),
        "test": _Listing(folder=whole.folder, files=test, strays=[]),
    }, (note,)


def _check_same_classes(train: _Listing, other: _Listing) -> None:
    missing = sorted(train.files.keys() - other.files.keys())
    extra = sorted(other.files.keys() - train.files.keys())
    if missing or extra:
        parts = [
            f"{word} {listed(names)}"
            for word, names in (("missing", missing), ("extra", extra))
            if names
        ]
        counts = f"has {len(other.files)} classes, {train.folder.name} has {len(train.files)}"
        raise DatasetError(
            other.folder, f"{counts}: {'; '.join(parts)}; expected the same class folders"
        )


def _read_split(
    purpose: str, listing: _Listing, request: ImageRequest, size: int
) -> tuple[Split, list[SkippedFile]]:
    """Return the images of one split, and what could not be used."""
    paths = [path for files in listing.files.values() for path in files]
    labels: Labels = np.repeat(
        np.arange(len(listing.files)), [len(files) for files in listing.files.values()]
    ).astype(np.int64)
    chosen = balanced_choice(labels, request.limit, request.seed)
    if chosen is not None:
        paths, labels = [paths[index] for index in chosen], labels[chosen]
    images, reasons = read_images(paths, size, request.channels)
    if len(reasons) > MAX_SKIPPED_SHARE * len(paths):
        first = min(reasons)
        raise DatasetError(
            paths[first],
            f"{reasons[first]}; {len(reasons):,} of {len(paths):,} files for {purpose} cannot be "
            "used, more than "
            f"{100 * MAX_SKIPPED_SHARE:.0f} %; replace or remove them",
        )
    skipped = [
        SkippedFile(path=str(path), reason="lies beside the class folders")
        for path in listing.strays
    ]
    skipped += [
        SkippedFile(path=str(paths[index]), reason=reason) for index, reason in reasons.items()
    ]
    if reasons:
        images, labels = np.delete(images, list(reasons), axis=0), np.delete(labels, list(reasons))
    return Split(images=images, labels=labels), skipped


def _entries(folder: Path) -> list[Path]:
    """Return the entries of a folder, by name, without hidden files and files left by desktops."""
    return sorted(
        path
        for path in folder.iterdir()
        if not path.name.startswith(".") and path.name.lower() not in _IGNORED
    )


def _folders(folder: Path) -> Sequence[Path]:
    return [path for path in _entries(folder) if path.is_dir()]


def _has_images(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return any(
            _is_image_name(Path(entry.name)) and not entry.name.startswith(".") and entry.is_file()
            for entry in entries
        )


def _is_image_name(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES
