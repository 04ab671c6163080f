"""IDX files: names, packing, and every byte that can be missing."""

from __future__ import annotations

import contextlib
import gzip
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas_engine.datasets import DatasetError
from nas_engine.datasets.idx import read_idx
from nas_engine.errors import FileFormatError
from tests.datasets.files import labels, pixels, read, write_idx, write_mnist


class TestReading:
    @pytest.mark.parametrize("packed", [True, False])
    def test_round_trip(self, tmp_path: Path, packed: bool) -> None:
        train, test = write_mnist(tmp_path / "mnist", packed=packed)
        data = read(tmp_path / "mnist", channels=1)
        np.testing.assert_array_equal(data.train.images[..., 0], train)
        np.testing.assert_array_equal(data.test.images[..., 0], test)
        assert data.train.labels.tolist() == labels(12, 3).tolist()
        assert (data.name, data.classes) == ("mnist", ("0", "1", "2"))

    def test_other_names(self, tmp_path: Path) -> None:
        write_mnist(tmp_path, packed=False)
        for path in [*tmp_path.iterdir()]:
            path.rename(tmp_path / path.name.replace("t10k", "test").replace("-idx", ".idx"))
        assert len(read(tmp_path).test) == 6

    def test_one_level_up(self, tmp_path: Path) -> None:
        write_mnist(tmp_path / "mnist")
        assert read(tmp_path).source == str(tmp_path / "mnist")

    def test_resized_to_colour(self, tmp_path: Path) -> None:
        write_mnist(tmp_path, side=28)
        data = read(tmp_path, resolution=32)
        assert data.train.images.shape == (12, 32, 32, 3)
        np.testing.assert_array_equal(data.train.images[..., 0], data.train.images[..., 2])


class TestErrors:
    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("train-labels-idx1-ubyte", "train-labels-idx1-ubyte"),
            ("t10k-images-idx3-ubyte", "t10k-images-idx3-ubyte or test-images-idx3-ubyte"),
        ],
    )
    def test_missing_file(self, tmp_path: Path, name: str, expected: str) -> None:
        write_mnist(tmp_path)
        (tmp_path / f"{name}.gz").unlink()
        with pytest.raises(
            DatasetError, match=rf"has IDX files, but not {expected} \(or the same with \.gz\)"
        ):
            read(tmp_path)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            pytest.param(
                lambda data: data[:-100],
                "is cut off: its header says 784 B in all .*, found 684 B",
                id="short",
            ),
            pytest.param(
                lambda data: data + b"12",
                "is too long: its header says 784 B in all .*, found more",
                id="long",
            ),
            pytest.param(
                lambda data: data[:7], "the header of an IDX file has 16 B, found 7 B", id="header"
            ),
            pytest.param(
                lambda data: b"\0\0\x0d\x03" + data[4:],
                "0x00000d03; an IDX file of images begins with 0x00000803",
                id="type",
            ),
            pytest.param(
                lambda data: gzip.compress(data)[:-1], "cut off in its last 8 B", id="checksum"
            ),
            pytest.param(lambda data: gzip.compress(data)[:-8] + bytes(8), "is damaged", id="gzip"),
            pytest.param(lambda data: b"\x1f\x8b<html>", "is damaged", id="no-gzip"),
        ],
    )
    def test_file(self, tmp_path: Path, change: Callable[[bytes], bytes], message: str) -> None:
        write_mnist(tmp_path, packed=False)
        path = tmp_path / "train-images-idx3-ubyte"
        path.write_bytes(change(path.read_bytes()))
        with pytest.raises(FileFormatError, match=message):
            read(tmp_path)

    def test_images_and_labels_differ(self, tmp_path: Path) -> None:
        write_mnist(tmp_path)
        write_idx(tmp_path, images=pixels(11, 8, 8), numbers=labels(12, 3))
        with pytest.raises(
            DatasetError, match="train: 11 images, but 12 labels; expected as many of both"
        ):
            read(tmp_path)

    def test_not_square(self, tmp_path: Path) -> None:
        write_mnist(tmp_path)
        write_idx(tmp_path, images=pixels(12, 8, 9), numbers=labels(12, 3))
        with pytest.raises(DatasetError, match="the images are 8 x 9 pixels; expected square ones"):
            read(tmp_path)

    def test_nothing_inside(self, tmp_path: Path) -> None:
        write_mnist(tmp_path)
        write_idx(tmp_path, images=pixels(0, 8, 8), numbers=[])
        with pytest.raises(DatasetError, match="no images"):
            read(tmp_path)

    def test_more_classes_in_the_test(self, tmp_path: Path) -> None:
        write_mnist(tmp_path)
        write_idx(tmp_path, images=pixels(12, 8, 8), numbers=labels(12, 4), split="t10k")
        with pytest.raises(
            DatasetError, match="the labels of test run from 0 to 3, but there are 3 classes"
        ):
            read(tmp_path)

    def test_fewer_classes_in_the_test(self, tmp_path: Path) -> None:
        write_mnist(tmp_path)
        write_idx(tmp_path, images=pixels(12, 8, 8), numbers=labels(12, 2), split="t10k")
        with pytest.raises(
            DatasetError, match="test has images of 2 of the 3 classes, none of '2'"
        ):
            read(tmp_path)

    def test_gap_in_the_labels(self, tmp_path: Path) -> None:
        write_mnist(tmp_path)
        write_idx(tmp_path, images=pixels(12, 8, 8), numbers=labels(12, 3) + 1)
        with pytest.raises(
            DatasetError,
            match=(
                "labels in train are 3 different numbers from 1 to 3; expected 0 to 2 without a gap"
            ),
        ):
            read(tmp_path)

    def test_one_class(self, tmp_path: Path) -> None:
        write_mnist(tmp_path, classes=1)
        with pytest.raises(DatasetError, match="has only one class"):
            read(tmp_path)


class TestLimits:
    """Sizes in a header are checked before memory is taken for them."""

    def bomb(self, folder: Path, count: int) -> None:
        write_mnist(folder)
        head = struct.pack(">4I", 0x803, count, 8, 8)
        (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(head + bytes(50_000_000)))

    def test_counts(self, tmp_path: Path) -> None:
        self.bomb(tmp_path, 2**27)
        tracemalloc.start()
        with pytest.raises(DatasetError, match="train: 134,217,728 images, but 12 labels"):
            read(tmp_path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 8_000_000

    def test_bytes(self, tmp_path: Path) -> None:
        self.bomb(tmp_path, 2**27)
        with pytest.raises(
            FileFormatError,
            match=r"8,589,934,608 B in all \(unpacked\); at most 4,294,967,296 B are read",
        ):
            read_idx(tmp_path / "train-images-idx3-ubyte.gz", 3)

    def test_more_than_the_header_says(self, tmp_path: Path) -> None:
        self.bomb(tmp_path, 12)
        tracemalloc.start()
        with pytest.raises(
            FileFormatError,
            match=r"is too long: its header says 784 B in all \(unpacked\), found more",
        ):
            read(tmp_path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 8_000_000


IMAGES = struct.pack(">4I", 0x803, 2, 5, 5) + pixels(2, 5, 5).tobytes()
PACKED = gzip.compress(IMAGES, mtime=0)


@given(length=st.integers(0, len(IMAGES) - 1))
def test_cut_anywhere(tmp_path_factory: pytest.TempPathFactory, length: int) -> None:
    path = tmp_path_factory.getbasetemp() / "cut"
    path.write_bytes(IMAGES[:length])
    with pytest.raises(FileFormatError, match=f"found {length} B"):
        read_idx(path, 3)


@given(length=st.integers(0, len(PACKED) - 1))
def test_packed_cut_anywhere(tmp_path_factory: pytest.TempPathFactory, length: int) -> None:
    path = tmp_path_factory.getbasetemp() / "cut.gz"
    path.write_bytes(PACKED[:length])
    with pytest.raises(FileFormatError, match="is cut off"):
        read_idx(path, 3)


@given(data=st.binary(max_size=80), packed=st.booleans(), dimensions=st.sampled_from([1, 3]))
def test_any_bytes(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, packed: bool, dimensions: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(b"\x1f\x8b\x08" + data if packed else data)
    with contextlib.suppress(FileFormatError):  # and nothing else
        read_idx(path, dimensions)
