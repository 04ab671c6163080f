"""Random crops, flips and mixup of training images.

All randomness comes from the caller's generator, drawn in a fixed order.

The same generator state gives the same batch, so ``numpy.random.default_rng((seed, epoch, step))``
makes a step repeatable.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from nas_engine.errors import InputError
from nas_engine.models.graph_network import IMAGE_OFFSET
from nas_engine.ranges import Range
from nas_engine.records import Share, check

Kind = Literal["none", "crop", "resized-crop"]
"""Method that crops an image."""

MAX_PADDING = 128
"""Widest border accepted, pixels."""

_LOG_ASPECT = math.log(4 / 3)
"""Width over height of a resized crop is between 3/4 and 4/3, as in Szegedy et al. 2015 (section
6)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """Random augmentation of the images of a training batch.

    Raises:
        InputError: A value out of its range.
    """

    kind: Kind
    """``none``: the centre, never flipped. ``crop``: a window of the padded image (He et al. 2016,
    section 4.2). ``resized-crop``: a rectangle of random size and aspect, scaled (Szegedy et al.
    2015, section 6)."""
    padding: Annotated[int, Range(0, MAX_PADDING)] = 4
    """Border that ``crop`` adds on each side, in pixels of value 128, which is zero for the
    network."""
    flip: bool = True
    """True if images are mirrored left to right, each with probability 1/2."""
    smallest_area: Share = 0.5
    """Least share of the image's area in a ``resized-crop``."""

    def __post_init__(self) -> None:
        check(self)
        if self.smallest_area == 0:
            raise InputError("smallest_area: is 0; expected a number above 0, up to 1")

    def batch(self, images: Tensor, rng: np.random.Generator, resolution: int) -> Tensor:
        """Return the images as the network sees them in one training step.

        Args:
            images: ``(n, h, w, c)`` of uint8, on the CPU.
            rng: Where all random numbers come from.
            resolution: Height and width of the result in pixels.

        Returns:
            ``(n, resolution, resolution, c)`` of uint8.

        Raises:
            InputError: The images are too small.
        """
        if self.kind == "none":
            return centre_crop(images, resolution)
        crop = self._crop if self.kind == "crop" else self._resized_crop
        return crop(images, rng, resolution)

    def _flips(self, n: int, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
        return rng.random(n) < 0.5 if self.flip else np.zeros(n, bool)

    def _crop(self, images: Tensor, rng: np.random.Generator, resolution: int) -> Tensor:
        n, height, width, channels = images.shape
        pad = self.padding
        _check_size(height + 2 * pad, width + 2 * pad, resolution, f" with a padding of {pad}")
        padded = np.full((n, height + 2 * pad, width + 2 * pad, channels), IMAGE_OFFSET, np.uint8)
        padded[:, pad : pad + height, pad : pad + width] = images.numpy()
        top = rng.integers(0, height + 2 * pad - resolution, n, endpoint=True)
        left = rng.integers(0, width + 2 * pad - resolution, n, endpoint=True)
        flips = self._flips(n, rng)
        rows = padded.reshape(n, height + 2 * pad, -1)
        windows = np.lib.stride_tricks.sliding_window_view(
            rows, (resolution, resolution * channels), (1, 2)
        )
        cropped = windows[np.arange(n), top, left * channels].reshape(
            n, resolution, resolution, channels
        )
        cropped[flips] = cropped[flips, :, ::-1]
        return torch.from_numpy(cropped)

    def _resized_crop(self, images: Tensor, rng: np.random.Generator, resolution: int) -> Tensor:
        n, height, width, _ = images.shape
        area = rng.uniform(self.smallest_area, 1, n)
        # As near to the drawn aspect as the image's sides allow: 4/3 of the whole of a square image
        # does not fit into it.
        whole = width / height
        aspect = np.clip(
            np.exp(rng.uniform(-_LOG_ASPECT, _LOG_ASPECT, n)), area * whole, whole / area
        )
        across, down = (
            np.sqrt(area * aspect / whole),
            np.sqrt(area / aspect * whole),
        )  # shares of the image's sides
        x, y = (
            (1 - across) * rng.uniform(-1, 1, n),
            (1 - down) * rng.uniform(-1, 1, n),
        )  # centres; the image spans [-1, 1]
        zero = np.zeros(n)
        across = np.where(self._flips(n, rng), -across, across)
        affine = torch.from_numpy(
            np.stack([across, zero, x, zero, down, y], 1).reshape(n, 2, 3).astype(np.float32)
        )
        planes = images.permute(0, 3, 1, 2).to(torch.float32)
        grid = functional.affine_grid(
            affine, [n, planes.shape[1], resolution, resolution], align_corners=False
        )
        scaled = functional.grid_sample(
            planes, grid, mode="bilinear", padding_mode="border", align_corners=False
        )
        return scaled.round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def _check_size(height: int, width: int, resolution: int, how: str = "") -> None:
    if min(height, width) < resolution:
        raise InputError(
            f"images are {height}x{width} pixels{how}; expected at least "
            f"{resolution}x{resolution}, the network's input; "
            f"read them at resolution {resolution} or more"
        )


def centre_crop(images: Tensor, resolution: int) -> Tensor:
    """Return the centre of images, as evaluation sees them; a view.

    Args:
        images: ``(n, h, w, c)``.
        resolution: Height and width of the result in pixels.

    Returns:
        ``(n, resolution, resolution, c)``.

    Raises:
        InputError: The images are too small.
    """
    height, width = images.shape[1:3]
    _check_size(height, width, resolution)
    top, left = (height - resolution) // 2, (width - resolution) // 2
    return images[:, top : top + resolution, left : left + resolution]


def mixup(x: Tensor, rng: np.random.Generator, alpha: float) -> tuple[Tensor, Tensor, float]:
    """Return images blended in pairs, ``lam * x + (1 - lam) * x[permutation]``.

    Source: Zhang et al., "mixup", ICLR 2018.

    Args:
        x: ``(n, c, h, w)``, float.
        rng: Where all random numbers come from.
        alpha: Both parameters of the Beta distribution of ``lam``, above 0.

    Returns:
        The blend; the partner of each image, ``(n,)`` of int64; ``lam``, 0 to 1, one for the whole
        batch.
    """
    lam = float(rng.beta(alpha, alpha))
    permutation = torch.from_numpy(rng.permutation(len(x))).to(x.device)
    return torch.lerp(x[permutation], x, lam), permutation, lam
