"""Images of any size and mode to squares of one size.

Needs Pillow, except for arrays that fit already.

The shorter side is resized (bilinear, antialiased: every pixel of the source counts) and the longer
one cut to the centre, in one step. Grey becomes colour by repetition, colour grey by the luma of
ITU-R BT.601. What is transparent shows white. Nothing in a file but its pixels and the orientation
that EXIF states decides about a picture.
"""

from __future__ import annotations

import contextlib
import io
import os
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from nas_engine.datasets.errors import MissingPackageError
from nas_engine.datasets.picture_files import PictureFile, orientation_of, take_apart
from nas_engine.datasets.records import Pixels
from nas_engine.errors import FileFormatError, one_line, shortened
from nas_engine.reading import UnreadableError, read_regular

if TYPE_CHECKING:
    from PIL import Image
    from PIL.ImageFile import ImageFile

SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jif", ".jfif", ".png", ".bmp", ".ppm", ".pgm", ".webp")
"""Endings of image files, in lower case."""

TO_CONVERT = (".heic", ".heif", ".tif", ".tiff", ".gif", ".avif")
"""Endings of images that are not read."""

MAX_PIXELS = 178_956_970
"""Largest picture that is decoded, in pixels. One takes up to 12 bytes per pixel for a while (2.1
GB), and two are decoded at a time only where both are small."""

MAX_FILE_BYTES = 2**30
"""Largest image file, in bytes."""

_TOO_LARGE = f"more than {MAX_PIXELS / 1e6:.0f} million pixels; make it smaller"
_LARGE = 2**24
_ALONE = threading.Lock()
"""Held while a picture of more than ``_LARGE`` pixels is decoded."""

_THREADS = 2  # Pillow lets go of Python's lock while it decodes and resizes
_CHUNK = 32


class _NoUseError(Exception):
    """A picture that cannot be used; the message says why."""


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
        uint8 ``[len(paths), size, size, channels]``, and the reason for each index whose pixels
        mean nothing.

    Raises:
        MissingPackageError: Pillow is not installed.
        UnreadableError: The disk or the operating system is at fault, not one file.
    """
    _pillow()
    result = np.empty((len(paths), size, size, channels), np.uint8)
    reasons: dict[int, str] = {}

    def read(index: int) -> None:
        try:
            result[index] = _decoded(paths[index], size, channels)
        except UnreadableError as error:
            if error.exit_code != 2:  # not this one file: the disk, or too many open files
                raise
            reasons[index] = os.strerror(error.errno or 0)
        except FileFormatError as error:  # no regular file
            reasons[index] = shortened(one_line(error.problem))
        except _NoUseError as error:
            reasons[index] = str(error)

    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # about damaged camera data and large pictures; the pixels are there
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


def unread_suffix(suffix: str) -> str:
    """Return why a file of that ending is not read, and what to do."""
    ending = f"ends with '{shortened(suffix)}'" if suffix else "has no ending"
    remedy = (
        "convert it to JPEG or PNG"
        if suffix.lower() in TO_CONVERT
        else f"expected {', '.join(SUFFIXES)}"
    )
    return f"the name {ending}; {remedy}"


def _decoded(path: Path, size: int, channels: int) -> Pixels:
    """Return one image file, uint8 ``[size, size, channels]``."""
    if path.suffix.lower() not in SUFFIXES:
        raise _NoUseError(unread_suffix(path.suffix))
    file = take_apart(read_regular(path, MAX_FILE_BYTES))
    try:
        with _opened(file) as image:
            pixels = image.width * image.height
            if pixels > MAX_PIXELS:
                raise _NoUseError(_TOO_LARGE)
            with _ALONE if pixels > _LARGE else contextlib.nullcontext():
                image.draft(
                    None, (2 * size, 2 * size)
                )  # a large JPEG is decoded at 1/2, 1/4 or 1/8, never below twice the size wanted
                lies = (
                    file.orientation
                    if file.orientation != 1
                    else orientation_of(image.info.get("exif", b""))
                )  # the latter: WebP
                return _fitted(_upright(_opaque(image, file), lies), size, channels)
    except (MemoryError, _NoUseError):
        raise
    # Pillow's decoders raise nearly anything on a damaged file, OSError too though they read from
    # memory
    except Exception as error:
        from PIL.Image import DecompressionBombError

        too_large = isinstance(error, DecompressionBombError)
        raise _NoUseError(
            _TOO_LARGE if too_large else shortened(one_line(str(error) or type(error).__name__))
        ) from error


def _opened(file: PictureFile) -> ImageFile:
    """Return an image whose header has been read.

    ``Image.open`` would also look for other pictures in a JPEG.
    """
    from PIL import BmpImagePlugin, JpegImagePlugin, PngImagePlugin, PpmImagePlugin, WebPImagePlugin

    data, head = io.BytesIO(file.pixels), file.pixels[:12]
    if head.startswith(b"\xff\xd8"):
        return JpegImagePlugin.JpegImageFile(data)
    if head.startswith(b"\x89PNG"):
        return PngImagePlugin.PngImageFile(data)
    if head.startswith(b"BM"):
        return BmpImagePlugin.BmpImageFile(data)
    if head.startswith(b"P"):
        return PpmImagePlugin.PpmImageFile(data)
    if head.startswith(b"RIFF") and head.endswith(b"WEBP"):
        return WebPImagePlugin.WebPImageFile(data)
    raise _NoUseError("not a JPEG, PNG, BMP, PPM or WebP image")


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    """Return an image turned or mirrored as its EXIF orientation asks."""
    from PIL.Image import Transpose

    moves = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    return image.transpose(moves[orientation]) if orientation in moves else image


def _opaque(image: ImageFile, file: PictureFile) -> Image.Image:
    """Return an image of 8 bits per channel, transparent parts shown on white."""
    from PIL import Image

    if image.mode == "F":
        raise _NoUseError("pixels are floating-point numbers")
    if file.level is not None:
        shown = _eight_bits(image)
        shown[_at_level(image, file)] = 255
        return Image.fromarray(shown)
    if image.mode.startswith("I"):
        return Image.fromarray(_eight_bits(image))
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        clear, shown_on = image.convert("RGBA"), Image.new("RGB", image.size, "white")
        shown_on.paste(clear, mask=clear)
        return shown_on
    return image


def _eight_bits(image: Image.Image) -> Pixels:
    """Return grey or colour as uint8.

    Of 16 bits the upper eight are kept, as Pillow does for 16-bit colour.
    """
    if image.mode.startswith("I"):
        return (np.asarray(image) >> 8).clip(0, 255).astype(np.uint8)
    return np.array(image.convert("L") if image.mode == "1" else image)


def _at_level(image: ImageFile, file: PictureFile) -> npt.NDArray[np.bool_]:
    """Return the pixels that a PNG without a palette calls transparent, bool ``[H, W]``.

    These are the pixels that have the grey value or colour declared transparent.
    """
    assert file.level is not None
    values = np.asarray(image.convert("L") if image.mode == "1" else image)
    if values.ndim == 2:
        stretched = (
            255 // ((1 << file.depth) - 1) if file.depth <= 8 else 1
        )  # Pillow spreads fewer than 8 bits over 0 to 255
        return np.asarray(values == file.level[0] * stretched)
    if file.depth <= 8:
        return np.asarray((values == file.level).all(axis=2))
    with _opened(
        file
    ) as again:  # Pillow has no 16-bit colour: the lower bytes, as if they were the upper ones
        again.tile = [again.tile[0]._replace(args="RGB;16L")]
        lower = np.asarray(again)
    upper = (values == [level >> 8 for level in file.level]).all(axis=2)
    return np.asarray(upper & (lower == [level & 255 for level in file.level]).all(axis=2))


def _fitted(image: Image.Image, size: int, channels: int) -> Pixels:
    """Return the centre of one opaque image, uint8 ``[size, size, channels]``."""
    from PIL import Image

    image = image.convert("L" if channels == 1 else "RGB")
    if image.size != (size, size):
        side = min(image.size)
        left, top = ((length - side) / 2 for length in image.size)
        image = image.resize(
            (size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side)
        )
    return np.asarray(image).reshape(size, size, channels)
