"""Request of the caller for a data set, whatever its format."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nas_engine.errors import InputError

MAX_RESOLUTION = 1024
"""Largest side of an image, in pixels; the same limit as a network's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRequest:
    """Size and number of the images; see ``open_dataset``.

    Raises:
        InputError: A value out of its range.
    """

    resolution: int
    """Side of the square images, in pixels."""
    channels: int
    """1 or 3."""
    resize_margin: float = 1.0
    """Side of the training images of an image folder, as a factor of ``resolution``; 1 to 2."""
    limit: int | None = None
    """Most images per split, or all."""
    seed: int = 0
    """Seed of the choice of those images."""

    def __post_init__(self) -> None:
        if type(self.resolution) is not int or not 1 <= self.resolution <= MAX_RESOLUTION:
            raise InputError(
                f"resolution is {self.resolution!r}; expected a whole number of pixels from 1 to "
                f"{MAX_RESOLUTION}"
            )
        if type(self.channels) is not int or self.channels not in (1, 3):
            raise InputError(f"channels is {self.channels!r}; images have 1 (grey) or 3 (colour)")
        if not 1 <= self.resize_margin <= 2:
            raise InputError(
                f"resize_margin is {self.resize_margin!r}; expected a factor from 1 to 2, such as "
                "1.15"
            )
        if self.limit is not None and (type(self.limit) is not int or self.limit < 1):
            raise InputError(
                f"limit is {self.limit!r}; expected a whole number of images per split, 1 or more"
            )
        if type(self.seed) is not int or not 0 <= self.seed < 2**32:
            raise InputError(
                f"seed is {self.seed!r}; expected a whole number from 0 to 4,294,967,295"
            )

    @property
    def training_resolution(self) -> int:
        """Side of the training images of an image folder, in pixels."""
        return math.ceil(
            round(self.resolution * self.resize_margin, 6)
        )  # 10 * 1.1 is a little more than 11
