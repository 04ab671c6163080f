"""Images set aside from training, so that a choice between networks sees no test image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from nas_engine.datasets.records import Dataset, Split
from nas_engine.datasets.selection import ranks_within_class


def held_out(dataset: Dataset, share: float, seed: int = 0) -> Dataset:
    """Return a data set whose test images are training images set aside.

    Where the data have validation images of their own, those are the test images.

    Args:
        dataset: Any.
        share: Part of each class that is set aside, above 0 and below 1; at least one image of
            each.
        seed: Which.

    Raises:
        DatasetError: A class has only one training image.
    """
    if dataset.validation is not None:
        return replace(dataset, test=dataset.validation, validation=None)
    labels = dataset.train.labels
    counts = dataset.train.class_counts(len(dataset.classes))
    aside = ranks_within_class(labels, seed) < np.maximum(np.rint(share * counts), 1)[labels]
    kept, test = (
        Split(images=dataset.train.images[chosen], labels=labels[chosen])
        for chosen in (~aside, aside)
    )
    note = (
        f"{int(aside.sum()):,} training images are set aside to judge by; no test image is looked "
        "at"
    )
    return replace(dataset, train=kept, test=test, notes=(*dataset.notes, note))
