"""Orientation and transparency stored in the bytes of a picture file. No Pillow.

Orientation is which way is up; transparency is read from PNG files.

Pillow's decoders also read what cameras and editors write beside the pixels, and stop at a mistake
there. Here such parts are cut out before they see the file, so that pixels alone decide whether a
picture can be used.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_PARTS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}
"""Chunks that say something about pixels; the others are left out."""

_JPEG = b"\xff\xd8"
_LEFT_OUT = {*range(0xE1, 0xEE), 0xEF, 0xFE}
"""Markers of what is left out: notes of applications but 0 (JFIF) and 14 (Adobe: how colours are
coded), and comments."""

_SCAN = 0xDA
_BARE = {0x01, *range(0xD0, 0xD9)}
"""Markers without a length."""

_EXIF = b"Exif\0\0"
_ORIENTATION = 0x0112
_WHOLE = {1: "B", 3: "H", 4: "I"}
"""Types of whole numbers in TIFF, for ``struct``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureFile:
    """One file, taken apart."""

    pixels: bytes
    """The file without what has nothing to do with pixels."""
    orientation: int
    """How the stored picture lies, 1 to 8 as in EXIF; 1, upright, where nothing readable is said.
    """
    level: tuple[int, ...] | None = None
    """Of a PNG without a palette: the grey value or colour that is transparent, in the file's own
    depth."""
    depth: int = 8
    """Bits per channel of a PNG."""


def take_apart(data: bytes) -> PictureFile:
    """Return the content of a file.

    One that is no PNG or JPEG, or is damaged, is returned with its bytes as they are.
    """
    if data.startswith(_PNG):
        return _png(data)
    if data.startswith(_JPEG):
        return _jpeg(data)
    return PictureFile(pixels=data, orientation=1)


def orientation_of(exif: bytes) -> int:
    """Return the orientation that a block of EXIF states, 1 to 8.

    1 for a block that cannot be read or states none.
    """
    start = len(_EXIF) if exif.startswith(_EXIF) else 0
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[start : start + 4])
    if order is None:
        return 1
    try:
        place = start + struct.unpack_from(f"{order}I", exif, start + 4)[0]
        (count,) = struct.unpack_from(f"{order}H", exif, place)
        for entry in range(place + 2, place + 2 + 12 * count, 12):
            tag, kind, values = struct.unpack_from(f"{order}HHI", exif, entry)
            if tag == _ORIENTATION:
                fits = kind in _WHOLE and 1 <= values <= 4 // struct.calcsize(_WHOLE[kind])
                value = struct.unpack_from(order + _WHOLE[kind], exif, entry + 8)[0] if fits else 1
                return value if 1 <= value <= 8 else 1
    except struct.error:  # cut off
        pass
    return 1


def _png(data: bytes) -> PictureFile:
    view, exif = memoryview(data), b""
    depth, colour, level = 8, 3, None
    place = len(_PNG)
    parts = [view[:place]]
    while place + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        whole = view[place : place + 12 + length]
        content = whole[8:-4]
        if len(whole) < 12 + length:
            break
        place += len(whole)
        if kind == b"IHDR" and length == 13:
            depth, colour = content[8], content[9]
        if kind == b"eXIf":
            exif = exif or bytes(content)
        elif kind == b"tRNS" and colour != 3:
            count = {0: 1, 2: 3}.get(colour, 0)
            if count and length == 2 * count:
                level = tuple(
                    value & ((1 << depth) - 1) for value in struct.unpack(f">{count}H", content)
                )
        elif kind in _PNG_PARTS or not kind[0] & 0x20:  # a small first letter: can be ignored
            parts.append(whole)
    return PictureFile(
        pixels=b"".join([*parts, view[place:]]),
        orientation=orientation_of(exif),
        level=level,
        depth=depth,
    )


def _jpeg(data: bytes) -> PictureFile:
    view, exif = memoryview(data), b""
    place = len(_JPEG)
    parts = [view[:place]]
    while place + 4 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xFF:  # padding
            place += 1
            continue
        length = 0 if marker in _BARE else struct.unpack_from(">H", data, place + 2)[0]
        whole = view[place : place + 2 + length]
        if marker == _SCAN or len(whole) < 2 + length:
            break
        if marker == 0xE1 and whole[4:10] == _EXIF:
            exif = exif or bytes(whole[4:])
        if marker not in _LEFT_OUT:
            parts.append(whole)
        place += len(whole)
    return PictureFile(pixels=b"".join([*parts, view[place:]]), orientation=orientation_of(exif))
