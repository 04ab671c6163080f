"""Images of any size and mode to squares of one size. Needs Pillow, except for arrays that fit already.

The shorter side is resized (bilinear, antialiased: every pixel of the source counts) and the longer one cut to the centre, in one step.
Grey becomes colour by repetition, colour grey by the luma of ITU-R BT.601. What is transparent shows white.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from nas_engine.datasets.errors import MissingPackageError
from nas_engine.datasets.records import Pixels
from nas_engine.errors import one_line, shortened

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".pgm", ".webp")
"""Endings of image files, in lower case."""

_KINDS = ("JPEG", "PNG", "BMP", "PPM", "WEBP")
_THREADS = 2  # Pillow lets go of Python's lock while it decodes and resizes
_CHUNK = 32


def fit_array(images: Pixels, size: int, channels: int) -> Pixels:
    """Return images at another size and number of channels.

    Args:
        images: uint8 ``[N, H, H, 1 or 3]``.
        size: Side of the result, in pixels.
        channels: 1 or 3.

    Returns:
        uint8 ``[N, size, size, channels]``; the array itself if it fits already.

    Raises:
        MissingPackageError: Pillow is not installed.
    """
    if images.shape[1:] == (size, size, channels):
        return images
    pillow = _pillow()
    source = images[..., 0] if images.shape[-1] == 1 else images
    result = np.empty((len(images), size, size, channels), np.uint8)

    def fit(index: int) -> None:
        result[index] = _fitted(pillow.fromarray(source[index]), size, channels)

    _for_each(fit, len(images))
    return result


def read_images(paths: list[Path], size: int, channels: int) -> tuple[Pixels, dict[int, str]]:
    """Return the images of files, and why some cannot be used.

    Args:
        paths: One file per image.
        size: Side of the result, in pixels.
        channels: 1 or 3.

    Returns:
        uint8 ``[len(paths), size, size, channels]``, and the reason for each index whose pixels mean nothing.

    Raises:
        MissingPackageError: Pillow is not installed.
    """
    _pillow()
    result = np.empty((len(paths), size, size, channels), np.uint8)
    reasons: dict[int, str] = {}

    def read(index: int) -> None:
        try:
            result[index] = _decoded(paths[index], size, channels)
        except Exception as error:  # Pillow's decoders raise nearly anything on a damaged file
            reasons[index] = _reason(error)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about damaged camera data and large pictures; the pixels are there
        _for_each(read, len(paths))
    return result, dict(sorted(reasons.items()))


def _pillow() -> ModuleType:
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingPackageError("Pillow", "reading and resizing images") from error
    return Image


def _for_each(work: Callable[[int], None], count: int) -> None:
    """Run work on every index from 0 to ``count`` - 1, on a few threads."""

    def share(start: int) -> None:
        for index in range(start, min(start + _CHUNK, count)):
            work(index)

    with ThreadPoolExecutor(_THREADS) as pool:
        for _ in pool.map(share, range(0, count, _CHUNK)):
            pass


def _decoded(path: Path, size: int, channels: int) -> Pixels:
    """Return one image file, uint8 ``[size, size, channels]``."""
    from PIL import Image, ImageOps

    if path.suffix.lower() not in SUFFIXES:
        raise ValueError("the name does not end like that of an image")
    with Image.open(path, formats=_KINDS) as image:
        image.draft(None, (2 * size, 2 * size))  # a large JPEG is decoded at 1/2, 1/4 or 1/8, never below twice the size wanted
        ImageOps.exif_transpose(image, in_place=True)
        return _fitted(image, size, channels)


def _fitted(image: Image.Image, size: int, channels: int) -> Pixels:
    """Return the centre of one image, uint8 ``[size, size, channels]``."""
    from PIL import Image

    image = _opaque(image).convert("L" if channels == 1 else "RGB")
    if image.size != (size, size):
        side = min(image.size)
        left, top = ((length - side) / 2 for length in image.size)
        image = image.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))
    return np.asarray(image).reshape(size, size, channels)


def _opaque(image: Image.Image) -> Image.Image:
    """Return an image of 8 bits per channel, transparent parts shown on white."""
    from PIL import Image

    if image.mode == "F":
        raise ValueError("pixels are floating-point numbers")
    if image.mode.startswith("I"):  # 16 bits of grey: the upper eight, which is what Pillow keeps of 16-bit colour
        return Image.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image


def _reason(error: Exception) -> str:
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "not a JPEG, PNG, BMP, PPM or WebP image"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return shortened(one_line(str(error) or type(error).__name__))
