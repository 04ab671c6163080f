"""What a data set amounts to, in lines: sizes, balance of the classes, what was left out."""

from __future__ import annotations

from nas_engine.datasets.records import Dataset
from nas_engine.escaping import terminal_line

MAX_ROWS = 20
"""Most classes listed one by one."""

IMBALANCE = 1.5
"""The largest class of a split may have this many times the images of the smallest before it is remarked on."""

_SHOWN = 5


def summary_lines(dataset: Dataset) -> list[str]:
    """Return a description to be read: splits with their sizes, images per class, notes, and the first files that were skipped."""
    splits = dict(dataset.splits())
    counts = {purpose: split.class_counts(len(dataset.classes)).tolist() for purpose, split in splits.items()}
    lines = [f"{dataset.name}: {len(dataset.classes)} classes, from {dataset.source}"]
    for purpose, split in splits.items():
        lines.append(f"  {purpose:<10} {len(split):>9,} images of {' x '.join(map(str, split.images.shape[1:]))}")
    if len(dataset.classes) <= MAX_ROWS:
        width = max(len(name) for name in ("class", *dataset.classes))
        lines.append("  ".join([f"  {'class':<{width}}", *(f"{purpose:>10}" for purpose in splits)]))
        for index, name in enumerate(dataset.classes):
            lines.append("  ".join([f"  {name:<{width}}", *(f"{counts[purpose][index]:>10,}" for purpose in splits)]))
    else:
        for purpose, numbers in counts.items():
            lines.append(f"  {purpose}: {min(numbers):,} to {max(numbers):,} images per class")
    for purpose, numbers in counts.items():
        small, large = min(numbers), max(numbers)
        if large > IMBALANCE * small:
            lines.append(
                f"note: {purpose} is not balanced: {large:,} images of '{dataset.classes[numbers.index(large)]}', "
                f"{small:,} of '{dataset.classes[numbers.index(small)]}'; accuracy alone favours the larger class"
            )
    lines += [f"note: {note}" for note in dataset.notes]
    if dataset.skipped:
        lines.append(f"note: {len(dataset.skipped):,} file{'s' if len(dataset.skipped) > 1 else ''} skipped:")
        lines += [f"  {file.path}: {file.reason}" for file in dataset.skipped[:_SHOWN]]
        if len(dataset.skipped) > _SHOWN:
            lines.append(f"  and {len(dataset.skipped) - _SHOWN:,} more")
    return [terminal_line(line) for line in lines]
