"""Thumbnails: small PNG files of images, for pages. No torch, no image library."""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np

from nas_engine.datasets.records import Pixels

SIDE = 48
"""Most pixels of a thumbnail's side (chosen here)."""

_COLOUR_TYPES = {1: 0, 3: 2}
"""Colour type of a PNG by channels: grey, RGB (PNG 3rd edition, 11.2.1)."""


def thumbnail(image: Pixels) -> str:
    """Return the PNG of an image in base64.

    An image larger than ``SIDE`` is reduced by the smallest whole factor that makes it fit; a pixel
    is the mean of those that it stands for, and what is left over at the right and below is cut.

    Args:
        image: uint8 ``[H, W, 1 or 3]``.
    """
    factor = -(-max(image.shape[:2]) // SIDE)
    height, width = (size // factor for size in image.shape[:2])
    cut = image[: height * factor, : width * factor].astype(np.float64)
    means = cut.reshape(height, factor, width, factor, -1).mean(axis=(1, 3))
    return base64.b64encode(png(np.rint(means).astype(np.uint8))).decode()


def png(image: Pixels) -> bytes:
    """Return the PNG of an image, uint8 ``[H, W, 1 or 3]``, without filters."""
    height, width, channels = image.shape
    head = struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPES[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.tobytes() for row in image)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in parts
    )
