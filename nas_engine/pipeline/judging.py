"""Training images that measure, others that judge, and the loss on these. Needs torch."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from nas_engine.allocation.problem import Levels
from nas_engine.datasets import Dataset, Split
from nas_engine.datasets.selection import balanced_choice, ranks_within_class
from nas_engine.errors import NasEngineError
from nas_engine.models.graph_network import GraphNetwork
from nas_engine.report.allocations import Judged
from nas_engine.training.loop import predict
from nas_engine.training.perturbation import Perturbations

FEWEST_IMAGES = 64
"""Fewest images that measure, and fewest that judge, where bits are chosen by them; no fewer than
there are classes either (chosen here)."""

JUDGED_IMAGES = 2000
"""Most images that judge (chosen here)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """Training images for a choice of bits."""

    measured: Split
    """Images that measure."""
    judged: Split
    """Other images, which judge."""
    enough: bool
    """True if they are enough to choose by: ``FEWEST_IMAGES`` on either side, and no fewer than
    classes."""
    note: str
    """Remark for the user; empty if there are as many as asked."""


def is_ahead(accuracy: float, other: float, images: int) -> bool:
    """Return whether an accuracy exceeds another by more than the standard error of the difference.

    Args:
        accuracy: In percent.
        other: In percent.
        images: Images that both were judged on; that they are the same makes the true error
            smaller.
    """
    variance = sum(share * (100.0 - share) for share in (accuracy, other)) / images
    return accuracy - other > math.sqrt(variance)


def images_to_measure(asked: int, images: int, class_count: int) -> int | None:
    """Return the number of training images that measure, even; ``None`` if they are too few.

    Args:
        asked: As many, but one of each class at least, if ``FEWEST_IMAGES`` others remain; half of
            all otherwise.
        images: Training images.
        class_count: Number of classes.
    """
    fewest = max(FEWEST_IMAGES, class_count)
    wanted = max(asked, class_count + class_count % 2)
    half = images // 4 * 2
    if wanted + fewest <= images:
        return wanted
    return half if half >= fewest else None


def shortage(asked: int, images: int, class_count: int) -> str:
    """Return the remark on too few training images; empty if there are as many as asked."""
    count = images_to_measure(asked, images, class_count)
    if count is None:
        fewest = max(FEWEST_IMAGES, class_count)
        return (
            f"{images:,} training images are too few to choose bits by (expected {fewest} that "
            f"measure and {fewest} others that judge)"
        )
    return (
        ""
        if count == asked
        else f"{count:,} of {images:,} training images measure what bits cost, instead of {asked:,}"
    )


def draw_images(dataset: Dataset, asked: int, seed: int) -> Drawn:
    """Return training images that measure and up to ``JUDGED_IMAGES`` others that judge, balanced.

    Args:
        dataset: Any.
        asked: Images that measure; fewer, half of all, where there are too few.
        seed: Which.
    """
    train, class_count = dataset.train, len(dataset.classes)
    count = images_to_measure(asked, len(train), class_count)
    order = np.lexsort((train.labels, ranks_within_class(train.labels, seed)))
    chosen = np.sort(order[: len(train) // 2 if count is None else count])
    rest = np.setdiff1d(np.arange(len(train)), chosen)
    others = balanced_choice(train.labels[rest], max(JUDGED_IMAGES, class_count), seed)
    rest = rest if others is None else rest[others]
    measured, judged = (
        Split(images=train.images[at], labels=train.labels[at]) for at in (chosen, rest)
    )
    return Drawn(
        measured=measured,
        judged=judged,
        enough=count is not None,
        note=shortage(asked, len(train), class_count),
    )


def judge(perturbations: Perturbations, levels: Levels, judged: Split) -> Judged:
    """Return loss and accuracy of an allocation without training."""
    loss, accuracy = perturbations.evaluate(levels, judged.images, judged.labels)
    return Judged(loss=loss, accuracy=accuracy)


def judge_float(network: GraphNetwork, judged: Split) -> Judged:
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
        raise NasEngineError(
            f"the loss of the float network is {loss}; its training diverged; train again with a "
            "lower learning rate"
        )
    return Judged(loss=loss, accuracy=float(100.0 * np.mean(logits.argmax(1) == judged.labels)))
