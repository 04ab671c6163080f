"""Corrected input suggested by messages, in the words of the command given. No torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Remedies:
    """Advice that names options."""

    lower_rate: str
    """Against a loss that grows."""
    smaller_batch: str
    """Against a lack of memory."""
    go_on: str
    """How to go on after a stop."""
    images: str
    """The option that says how many images measure."""


OF_COMMANDS = Remedies(
    lower_rate="train again with --force and a lower --learning-rate",
    smaller_batch="train again with --force and a smaller --batch-size",
    go_on="--resume",
    images="--images",
)
"""Of ``nas-search train`` and ``nas-search refine``."""

OF_A_RUN = Remedies(
    lower_rate="give --set train.learning_rate=RATE, lower than now",
    smaller_batch="give --set train.batch_size=N, smaller than now",
    go_on="type the same command again",
    images="--set refine.images",
)
"""Of ``nas-search run``."""
