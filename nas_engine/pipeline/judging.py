"""Training images that measure, others that judge, and what these say of a network. Needs torch."""

from __future__ import annotations

import math

import numpy as np

from nas_engine.allocation.problem import Levels
from nas_engine.datasets import Dataset, Split
from nas_engine.datasets.selection import balanced_choice
from nas_engine.errors import InputError, NasEngineError
from nas_engine.models.mobilenet import MobileNet
from nas_engine.report.allocations import Judged
from nas_engine.training.loop import predict
from nas_engine.training.perturbation import Perturbations

FEWEST_IMAGES = 64
"""Fewest images that measure, and fewest that judge; ours."""

JUDGED_IMAGES = 2000
"""Most images that judge; ours."""


def is_ahead(accuracy: float, other: float, images: int) -> bool:
    """Return whether an accuracy exceeds another by more than the standard error of the difference of two shares.

    Args:
        accuracy: In percent.
        other: In percent.
        images: Images that both were judged on; that they are the same makes the true error smaller.
    """
    variance = sum(share * (100.0 - share) for share in (accuracy, other)) / images
    return accuracy - other > math.sqrt(variance)


def draw_images(dataset: Dataset, count: int, seed: int) -> tuple[Split, Split]:
    """Return ``count`` training images that measure, and up to ``JUDGED_IMAGES`` others that judge, classes in balance.

    Raises:
        InputError: Too few images.
    """
    train, classes = dataset.train, len(dataset.classes)
    spare = len(train) - count
    if count < classes or spare < FEWEST_IMAGES:
        most = (len(train) - FEWEST_IMAGES) // 2 * 2
        remedy = "give more data" if most < max(FEWEST_IMAGES, classes) else f"give --images {max(FEWEST_IMAGES, classes)} to {most:,}"
        raise InputError(
            f"{dataset.source}: too few images for the precision asked: {count:,} that measure (at least one for each of {classes} "
            f"classes) and {FEWEST_IMAGES} others that judge, of {len(train):,} for training; {remedy}"
        )
    chosen = balanced_choice(train.labels, count, seed)
    assert chosen is not None
    rest = np.setdiff1d(np.arange(len(train)), chosen)
    others = balanced_choice(train.labels[rest], min(JUDGED_IMAGES, len(rest)), seed)
    rest = rest if others is None else rest[others]
    first, second = (Split(images=train.images[at], labels=train.labels[at]) for at in (chosen, rest))
    return first, second


def judge(perturbations: Perturbations, levels: Levels, judged: Split) -> Judged:
    """Return loss and accuracy of an allocation without training."""
    loss, accuracy = perturbations.evaluate(levels, judged.images, judged.labels)
    return Judged(loss=loss, accuracy=accuracy)


def judge_float(network: MobileNet, judged: Split) -> Judged:
    """Return loss and accuracy of a float network.

    Raises:
        NasEngineError: The loss is not finite.
    """
    logits = predict(network, judged.images).astype(np.float64)
    highest = logits.max(1, keepdims=True)
    own = logits[np.arange(len(logits)), judged.labels]
    losses = np.log(np.exp(logits - highest).sum(1)) + highest[:, 0] - own
    loss = float(losses.mean())
    if not np.isfinite(loss):
        raise NasEngineError(f"the loss of the float network is {loss}; its training diverged; train again with --force")
    return Judged(loss=loss, accuracy=float(100.0 * np.mean(logits.argmax(1) == judged.labels)))
