"""Picture files: every PNG there can be, EXIF of every kind, sizes. What is expected is written
here pixel by pixel.
"""

from __future__ import annotations

import io
import itertools
import os
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from nas_engine.datasets import images as loader
from nas_engine.datasets.images import MAX_PIXELS, SUFFIXES, read_images
from nas_engine.datasets.picture_files import orientation_of
from nas_engine.reading import UnreadableError
from tests.datasets.files import jpeg, pixels

DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
"""Bits per channel that PNG allows, by colour type: grey, colour, palette, grey with alpha, colour
with alpha."""

CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
SIDE = 8
Pixel = Sequence[int]


def chunk(kind: bytes, content: bytes) -> bytes:
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )


def png(
    samples: npt.NDArray[Any],
    depth: int,
    colour: int,
    *,
    extra: Sequence[tuple[bytes, bytes]] = (),
    late: Sequence[bytes] = (),
    adam: bool = False,
) -> bytes:
    """Return a PNG of samples ``[H, W, channels]``, whatever Pillow can write; ``late`` comes
    behind the pixels as it is.
    """
    height, width, _ = samples.shape

    def lines(part: npt.NDArray[Any]) -> bytes:
        bits = (
            (part.reshape(len(part), -1, 1).astype(np.int64) >> np.arange(depth - 1, -1, -1)) & 1
        ).astype(np.uint8)
        return b"".join(b"\0" + np.packbits(row).tobytes() for row in bits.reshape(len(part), -1))

    passes = [
        (0, 0, 8, 8),
        (0, 4, 8, 8),
        (4, 0, 8, 4),
        (0, 2, 4, 4),
        (2, 0, 4, 2),
        (0, 1, 2, 2),
        (1, 0, 2, 1),
    ]  # of Adam7
    raw = (
        b"".join(lines(samples[y::dy, x::dx]) for y, x, dy, dx in passes)
        if adam
        else lines(samples)
    )
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, int(adam))
    parts = [
        chunk(b"IHDR", head),
        *(chunk(*each) for each in extra),
        chunk(b"IDAT", zlib.compress(raw)),
        *late,
        chunk(b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def on_white(value: int, alpha: int) -> int:
    return (2 * (value * alpha + 255 * (255 - alpha)) + 255) // 510


def defined(
    sample: Pixel, depth: int, colour: int, palette: Sequence[Pixel], trns: Sequence[int] | None
) -> list[int]:
    """Return the colour that docs/data.md and the standard of PNG give to one pixel."""
    if colour == 3:
        alpha = trns[sample[0]] if trns and sample[0] < len(trns) else 255
        return [on_white(value, alpha) for value in palette[sample[0]]]
    grey_or_colour, alphas = sample[: 3 if colour & 2 else 1], sample[3 if colour & 2 else 1 :]
    eight = [
        value >> 8 if depth == 16 else value * 255 // (2**depth - 1)
        for value in [*grey_or_colour, *alphas]
    ]
    values = eight[: len(grey_or_colour)] * (1 if colour & 2 else 3)
    if trns is not None:  # only the file's own depth of each number counts
        return [255] * 3 if [level % 2**depth for level in trns] == list(grey_or_colour) else values
    return [on_white(value, eight[-1]) for value in values] if alphas else values


def combinations() -> list[Any]:
    cases = []
    for colour, depths in DEPTHS.items():
        for depth, transparent, adam in itertools.product(
            depths, (False, True) if colour < 4 else (False,), (False, True)
        ):
            cases.append(
                pytest.param(
                    colour,
                    depth,
                    transparent,
                    adam,
                    id=f"type{colour}-{depth}{'-tRNS' * transparent}{'-adam7' * adam}",
                )
            )
    return cases


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(("colour", "depth", "transparent", "adam"), combinations())
def test_every_kind_of_png(
    tmp_path: Path, colour: int, depth: int, transparent: bool, adam: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    samples = rng.integers(0, 2**depth, (SIDE, SIDE, CHANNELS[colour]))
    palette = rng.integers(0, 256, (min(2**depth, 256), 3)).tolist()
    extra: list[tuple[bytes, bytes]] = []
    trns: list[int] | None = None
    if colour == 3:
        extra.append((b"PLTE", bytes(itertools.chain(*palette))))
        if transparent:  # partly transparent colours, and fewer than there are colours
            trns = [0, *rng.integers(0, 256, len(palette) // 2).tolist()][: len(palette)]
            samples[1, 1] = 0
            extra.append((b"tRNS", bytes(trns)))
    elif transparent:
        trns = samples[2, 3].tolist()
        near = samples[2, 3].copy()
        near[-1] ^= 1  # in 16 bits a neighbour that has the same upper byte is another level
        samples[0, :4], samples[4, 4:] = near, samples[2, 3]
        if depth < 16 and seed:
            trns = [level + 2**depth for level in trns]  # bits above the depth do not count
        extra.append((b"tRNS", struct.pack(f">{len(trns)}H", *trns)))
    (tmp_path / "a.png").write_bytes(png(samples, depth, colour, extra=extra, adam=adam))
    images, reasons = read_images([tmp_path / "a.png"], SIDE, 3)
    assert reasons == {}
    expected = [
        [defined(sample, depth, colour, palette, trns) for sample in row]
        for row in samples.tolist()
    ]
    np.testing.assert_array_equal(images[0], expected)
    if transparent:
        assert (images[0] == 255).all(axis=2).any()


@pytest.mark.parametrize("lossless", [True, False])
def test_transparent_webp(tmp_path: Path, lossless: bool) -> None:
    clear = Image.new("RGBA", (8, 8), (10, 20, 30, 0))
    clear.paste((200, 100, 50, 255), (4, 0, 8, 8))
    clear.save(tmp_path / "a.webp", lossless=lossless, quality=100, exact=True)
    images, _ = read_images([tmp_path / "a.webp"], 8, 3)
    np.testing.assert_array_equal(images[0, :, :3], np.full((8, 3, 3), 255))
    np.testing.assert_allclose(
        images[0, :, 6:].astype(int), np.full((8, 2, 3), (200, 100, 50)), atol=6
    )


def tiff(entries: Sequence[tuple[int, int, int, bytes]], order: str = "<") -> bytes:
    """Return a block of EXIF without its name; an entry is tag, type, count and four bytes."""
    body = b"".join(struct.pack(f"{order}HHI", *entry[:3]) + entry[3] for entry in entries)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
    return head + struct.pack(f"{order}H", len(entries)) + body + bytes(4)


STORED = np.zeros((16, 16, 3), np.uint8)
STORED[:8, :8], STORED[:8, 8:], STORED[8:, :8] = (200, 40, 40), (40, 200, 40), (40, 40, 200)
PLAIN_JPEG = jpeg(STORED, quality=100, subsampling=0)


def with_exif(kind: str, block: bytes) -> bytes:
    """Return the same picture with a block of EXIF, as it is."""
    if kind == "jpg":
        return (
            PLAIN_JPEG[:2]
            + b"\xff\xe1"
            + struct.pack(">H", len(block) + 8)
            + b"Exif\0\0"
            + block
            + PLAIN_JPEG[2:]
        )
    if kind == "png":
        return png(STORED, 8, 2, extra=[(b"eXIf", block)])
    if kind == "png-late":
        return png(STORED, 8, 2, late=[chunk(b"eXIf", block)])
    file = io.BytesIO()
    Image.fromarray(STORED).save(file, "WEBP", lossless=True, exif=block)
    return file.getvalue()


KINDS = ("jpg", "png", "png-late", "webp")
TURNED = {
    1: STORED,
    2: STORED[:, ::-1],
    3: STORED[::-1, ::-1],
    4: STORED[::-1],
    5: STORED.transpose(1, 0, 2),
}
TURNED |= {6: TURNED[5][:, ::-1], 7: TURNED[5][::-1, ::-1], 8: TURNED[5][::-1]}


def read_one(folder: Path, name: str, data: bytes) -> npt.NDArray[np.int64]:
    (folder / name).write_bytes(data)
    images, reasons = read_images([folder / name], 16, 3)
    assert reasons == {}
    return images[0].astype(np.int64)


class TestExif:
    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("order", ["<", ">"])
    @pytest.mark.parametrize("kind", KINDS)
    def test_orientation(self, tmp_path: Path, kind: str, order: str, orientation: int) -> None:
        others = [
            (0x0100, 4, 1, bytes(4)),
            (0x0112, 3, 1, struct.pack(f"{order}HH", orientation, 0)),
        ]
        image = read_one(tmp_path, f"a.{kind[:4].strip('-')}", with_exif(kind, tiff(others, order)))
        np.testing.assert_allclose(image, TURNED[orientation].astype(int), atol=12)

    @given(
        entries=st.lists(
            st.tuples(
                st.sampled_from(
                    [0x011A, 0x011B, 0x0128, 0x0131, 0x010F, 0x8769, 0x8825, 0x9C9C, 0xA005]
                )
                | st.integers(0x113, 0xFFFF),
                st.integers(0, 20),
                st.sampled_from([0, 1, 2, 3, 2**31, 2**32 - 1]) | st.integers(0, 9),
                st.binary(min_size=4, max_size=4),
            ),
            max_size=5,
        ),
        tail=st.binary(max_size=40),
        kind=st.sampled_from(KINDS),
        order=st.sampled_from("<>"),
    )
    @settings(max_examples=150)
    def test_no_other_tag_decides(
        self,
        tmp_path_factory: pytest.TempPathFactory,
        entries: list[tuple[int, int, int, bytes]],
        tail: bytes,
        kind: str,
        order: str,
    ) -> None:
        block = tiff([(0x0112, 3, 1, struct.pack(f"{order}HH", 6, 0)), *entries], order) + tail
        image = read_one(
            tmp_path_factory.getbasetemp(), f"tag.{kind[:4].strip('-')}", with_exif(kind, block)
        )
        np.testing.assert_allclose(image, TURNED[6].astype(int), atol=12)

    @given(block=st.binary(max_size=60), kind=st.sampled_from(KINDS))
    @settings(max_examples=100)
    def test_no_block_leaves_a_picture_out(
        self, tmp_path_factory: pytest.TempPathFactory, block: bytes, kind: str
    ) -> None:
        image = read_one(
            tmp_path_factory.getbasetemp(),
            f"any.{kind[:4].strip('-')}",
            with_exif(kind, block or b"\0"),
        )
        np.testing.assert_allclose(image, STORED.astype(int), atol=12)

    @pytest.mark.parametrize(
        ("entry", "expected"),
        [
            pytest.param((0x0112, 3, 1, b"\6\0\0\0"), 6, id="short"),
            pytest.param((0x0112, 4, 1, b"\6\0\0\0"), 6, id="long"),
            pytest.param((0x0112, 1, 1, b"\6\0\0\0"), 6, id="byte"),
            pytest.param((0x0112, 3, 2, b"\6\0\3\0"), 6, id="first-of-two"),
            pytest.param((0x0112, 2, 2, b"6\0\0\0"), 1, id="text"),
            pytest.param((0x0112, 3, 9, b"\6\0\0\0"), 1, id="elsewhere"),
            pytest.param((0x0112, 3, 1, b"\x63\0\0\0"), 1, id="99"),
            pytest.param((0x0112, 3, 1, b"\0\0\0\0"), 1, id="zero"),
        ],
    )
    def test_what_counts_as_orientation(
        self, entry: tuple[int, int, int, bytes], expected: int
    ) -> None:
        for head in (b"", b"Exif\0\0"):
            assert orientation_of(head + tiff([entry])) == expected

    def test_cut_anywhere_means_upright(self) -> None:
        block = tiff([(0x0100, 4, 1, bytes(4)), (0x0112, 3, 1, b"\6\0\0\0")])
        last = next(
            length for length in range(len(block) + 1) if orientation_of(block[:length]) == 6
        )
        assert last >= 8 + 2 + 12 + 10
        assert all(orientation_of(block[:length]) == 1 for length in range(last))

    @pytest.mark.parametrize("kind", [b"eXIf", b"zTXt", b"iCCP", b"pHYs", b"tIME", b"acTL"])
    def test_a_damaged_part_beside_the_pixels(self, tmp_path: Path, kind: bytes) -> None:
        damaged = struct.pack(">I", 5) + kind + b"12345" + b"none"  # no checksum
        for data in (
            png(STORED, 8, 2, late=[damaged]),
            png(STORED, 8, 2).replace(b"\0\0\0\0IEND", damaged + b"\0\0\0\0IEND"),
        ):
            np.testing.assert_array_equal(read_one(tmp_path, "a.png", data), STORED)
        early = png(STORED, 8, 2)
        np.testing.assert_array_equal(
            read_one(tmp_path, "a.png", early[:33] + damaged + early[33:]), STORED
        )

    def test_damaged_list_of_other_pictures_in_a_jpeg(self, tmp_path: Path) -> None:
        listing = b"MPF\0" + tiff(
            [(0xB001, 4, 1, b"\2\0\0\0"), (0xB002, 7, 32, b"\xff\xff\xff\x7f")]
        )
        data = (
            PLAIN_JPEG[:2]
            + b"\xff\xe2"
            + struct.pack(">H", len(listing) + 2)
            + listing
            + PLAIN_JPEG[2:]
        )
        np.testing.assert_allclose(read_one(tmp_path, "a.jpg", data), STORED.astype(int), atol=12)


class TestSizes:
    @pytest.mark.parametrize(
        ("name", "data"),
        [
            ("a.ppm", b"P6 60000 60000 255\n"),
            (
                "a.png",
                png(np.zeros((1, 1, 3), np.uint8), 8, 2).replace(
                    struct.pack(">II", 1, 1), struct.pack(">II", 60000, 60000), 1
                ),
            ),
            (
                "a.bmp",
                b"BM"
                + struct.pack("<IHHI", 54, 0, 0, 54)
                + struct.pack("<IiiHHIIiiII", 40, 60000, 60000, 1, 24, 0, 0, 0, 0, 0, 0),
            ),
            (
                "a.jpg",
                PLAIN_JPEG.replace(
                    struct.pack(">BHH", 8, 16, 16), struct.pack(">BHH", 8, 60000, 60000)
                ),
            ),
            (
                "a.webp",
                b"RIFF"
                + struct.pack("<I", 22)
                + b"WEBPVP8X"
                + struct.pack("<IB3x", 10, 0)
                + b"\x5f\xea\0" * 2,
            ),
        ],
    )
    def test_too_many_pixels(
        self, tmp_path: Path, name: str, data: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if name == "a.png":  # otherwise the header's checksum is wrong
            data = data[:29] + struct.pack(">I", zlib.crc32(data[12:29])) + data[33:]
        (tmp_path / name).write_bytes(data)

        def refuse(*_: object) -> None:
            raise AssertionError("decoded")

        monkeypatch.setattr("PIL.ImageFile.ImageFile.load", refuse)
        _, reasons = read_images([tmp_path / name], 8, 3)
        assert reasons == {0: "more than 179 million pixels; make it smaller"}

    def test_limit(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert round(MAX_PIXELS / 1e6) == 179
        Image.new("L", (20, 10)).save(tmp_path / "a.png")
        for most, reasons in (
            (200, {}),
            (199, {0: "more than 179 million pixels; make it smaller"}),
        ):
            monkeypatch.setattr(loader, "MAX_PIXELS", most)
            assert read_images([tmp_path / "a.png"], 8, 3)[1] == reasons

    def test_large_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        Image.new("L", (20, 10)).save(tmp_path / "a.png")
        monkeypatch.setattr(loader, "MAX_FILE_BYTES", 20)
        assert read_images([tmp_path / "a.png"], 8, 3)[1] == {
            0: "is larger than 20 B, the most that is read here; give another file"
        }


class TestFaults:
    def test_no_regular_file_is_waited_for(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe.png")
        (tmp_path / "device.png").symlink_to("/dev/zero")
        (tmp_path / "loop.png").symlink_to("loop.png")
        _, reasons = read_images(
            [tmp_path / name for name in ("pipe.png", "device.png", "loop.png", "gone.png")], 8, 3
        )
        expected = {0: "a named pipe", 1: "a device", 2: "Too many levels", 3: "No such file"}
        assert all(text in reasons[index] for index, text in expected.items())

    @pytest.mark.parametrize(
        "error", [OSError(24, "Too many open files"), OSError(5, "Input/output error")]
    )
    def test_a_fault_of_the_machine_is_no_damage(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError
    ) -> None:
        (tmp_path / "a.png").write_bytes(png(STORED, 8, 2))

        def refuse(*_: object) -> None:
            raise error

        monkeypatch.setattr(os, "open", refuse)
        with pytest.raises(UnreadableError) as caught:
            read_images([tmp_path / "a.png"], 8, 3)
        assert caught.value.exit_code == 1

    def test_no_memory_is_no_damage(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "a.png").write_bytes(png(STORED, 8, 2))

        def refuse(*_: object) -> None:
            raise MemoryError

        monkeypatch.setattr("PIL.ImageFile.ImageFile.load", refuse)
        with pytest.raises(MemoryError):
            read_images([tmp_path / "a.png"], 8, 3)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_ending_is_taken(tmp_path: Path, suffix: str) -> None:
    kind = {".png": "PNG", ".bmp": "BMP", ".ppm": "PPM", ".pgm": "PPM", ".webp": "WEBP"}.get(
        suffix, "JPEG"
    )
    for name in (f"a{suffix}", f"b{suffix.upper()}"):
        Image.fromarray(pixels(8, 8)).save(tmp_path / name, kind)
        assert read_images([tmp_path / name], 8, 3)[1] == {}


@pytest.mark.parametrize("suffix", [".heic", ".HEIF", ".tif", ".tiff", ".gif", ".avif"])
def test_endings_to_convert(tmp_path: Path, suffix: str) -> None:
    assert read_images([tmp_path / f"a{suffix}"], 8, 3)[1] == {
        0: f"the name ends with '{suffix}'; convert it to JPEG or PNG"
    }
