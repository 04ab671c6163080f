"""Images set aside from the training images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nas_engine.datasets import Dataset, DatasetError, Split
from nas_engine.datasets.holdout import held_out


def dataset(counts: tuple[int, ...]) -> Dataset:
    labels = np.repeat(np.arange(len(counts)), counts).astype(np.int64)
    images = np.zeros((len(labels), 2, 2, 1), np.uint8)
    images[:, 0, 0, 0] = np.arange(len(labels)) % 256
    images[:, 0, 1, 0] = np.arange(len(labels)) // 256
    train = Split(images=images, labels=labels)
    test = Split(images=images[::-1], labels=labels[::-1].copy())
    return Dataset(
        name="n", source="s", classes=tuple("abc")[: len(counts)], train=train, test=test
    )


def numbers(split: Split) -> set[int]:
    return {int(image[0, 0, 0]) + 256 * int(image[0, 1, 0]) for image in split.images}


def test_every_image_is_on_one_side_and_classes_keep_their_shares() -> None:
    whole = dataset((300, 100, 7))
    parted = held_out(whole, 0.2)
    assert numbers(parted.train) | numbers(parted.test) == numbers(whole.train)
    assert not numbers(parted.train) & numbers(parted.test)
    assert list(parted.test.class_counts(3)) == [60, 20, 1]
    assert "no test image" in parted.notes[-1]


def test_a_seed_decides_which() -> None:
    whole = dataset((300, 100))
    assert numbers(held_out(whole, 0.2, 1).test) == numbers(held_out(whole, 0.2, 1).test)
    assert numbers(held_out(whole, 0.2, 1).test) != numbers(held_out(whole, 0.2, 2).test)


def test_validation_images_are_taken_where_there_are_any() -> None:
    whole = dataset((30, 10))
    other = Split(images=whole.train.images[::5], labels=whole.train.labels[::5].copy())
    parted = held_out(replace(whole, validation=other), 0.2)
    assert numbers(parted.test) == numbers(other)
    assert numbers(parted.train) == numbers(whole.train)
    assert parted.validation is None


def test_a_class_with_one_image_cannot_be_parted() -> None:
    with pytest.raises(DatasetError, match=r"has images of 1 of the 2 classes"):
        held_out(dataset((30, 1)), 0.2)
