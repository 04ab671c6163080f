"""Summary of a data set, in lines: sizes, balance of the classes, what was left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from nas_engine.datasets.records import Dataset, Pixels, Split
from nas_engine.escaping import terminal_line

MAX_ROWS = 20
"""Most classes listed one by one."""

IMBALANCE = 1.5
"""The largest class of a split may have this many times the images of the smallest before it is
remarked on."""

FEWEST_LEVELS = 16
"""Pictures with fewer of the 256 levels, or with none above ``DARKEST``, are remarked on: they lost
their contrast on the way in (chosen here)."""

DARKEST = 63
"""Largest level that up to 14 bits reach in a file of 16."""

_SHOWN = 5
_AT_ONCE = 64


def summary_lines(dataset: Dataset) -> list[str]:
    """Return a readable description, one item per line.

    It lists splits with their sizes, images per class, notes and the first files skipped.
    """
    splits = dict(dataset.splits())
    counts = {
        purpose: split.class_counts(len(dataset.classes)).tolist()
        for purpose, split in splits.items()
    }
    lines = [f"{dataset.name}: {len(dataset.classes)} classes, from {dataset.source}"]
    for purpose, split in splits.items():
        lines.append(
            f"  {purpose:<10} {len(split):>9,} images of "
            f"{' x '.join(map(str, split.images.shape[1:]))}"
        )
    if len(dataset.classes) <= MAX_ROWS:
        width = max(len(name) for name in ("class", *dataset.classes))
        lines.append(
            "  ".join([f"  {'class':<{width}}", *(f"{purpose:>10}" for purpose in splits)])
        )
        for index, name in enumerate(dataset.classes):
            lines.append(
                "  ".join(
                    [
                        f"  {name:<{width}}",
                        *(f"{counts[purpose][index]:>10,}" for purpose in splits),
                    ]
                )
            )
    else:
        for purpose, numbers in counts.items():
            lines.append(f"  {purpose}: {min(numbers):,} to {max(numbers):,} images per class")
    lines += _remarks(dataset, contrast_remarks(splits))
    return [terminal_line(line) for line in lines]


def overview_lines(sample: Dataset, most: int) -> list[str]:
    """Return a few lines about data of which a sample was read: sizes, remarks, files skipped.

    Args:
        sample: As many images of each split as were read.
        most: Number from which a split may be larger than its sample.
    """
    sizes = ", ".join(
        f"{purpose} {'at least ' if len(split) >= most else ''}{len(split):,}"
        for purpose, split in sample.splits()
    )
    first = f"{sample.name}: {len(sample.classes)} classes; images: {sizes}"
    return [terminal_line(line) for line in (first, *_remarks(sample, ()))]


def _remarks(dataset: Dataset, contrast: Sequence[str]) -> list[str]:
    """Return lines on balance, contrast, what was decided and what was skipped."""
    lines = []
    for purpose, split in dataset.splits():
        numbers = split.class_counts(len(dataset.classes)).tolist()
        small, large = min(numbers), max(numbers)
        if large > IMBALANCE * small:
            lines.append(
                f"note: {purpose} is not balanced: {large:,} images of "
                f"'{dataset.classes[numbers.index(large)]}', "
                f"{small:,} of '{dataset.classes[numbers.index(small)]}'; accuracy alone favours "
                "the larger class"
            )
    lines += [f"note: {remark}" for remark in (*contrast, *dataset.notes)]
    if dataset.skipped:
        lines.append(
            f"note: {len(dataset.skipped):,} file{'s' if len(dataset.skipped) > 1 else ''} skipped:"
        )
        lines += [f"  {file.path}: {file.reason}" for file in dataset.skipped[:_SHOWN]]
        if len(dataset.skipped) > _SHOWN:
            lines.append(f"  and {len(dataset.skipped) - _SHOWN:,} more")
    return lines


def contrast_remarks(splits: Mapping[str, Split]) -> list[str]:
    """Return one sentence about splits whose pictures have hardly any contrast, or nothing."""
    found = []
    for purpose, split in splits.items():
        levels, low, high = _levels(split.images)
        if levels < FEWEST_LEVELS or high <= DARKEST:
            found.append(f"{purpose} uses {levels} of 256 levels, from {low} to {high}")
    remedy = "check how the pictures were made (whole numbers from 0 to 255, or floats from 0 to 1)"
    return [f"hardly any contrast: {'; '.join(found)}; {remedy}"] if found else []


def _levels(images: Pixels) -> tuple[int, int, int]:
    """Return how many levels are used, the least and the largest."""
    used = np.zeros(256, np.bool_)
    for start in range(0, len(images), _AT_ONCE):
        used[images[start : start + _AT_ONCE]] = True
    levels = np.flatnonzero(used)
    return len(levels), int(levels[0]), int(levels[-1])
