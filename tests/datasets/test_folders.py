"""Image folders: every kind of picture, every layout, every way to be wrong."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nas_engine.datasets import DatasetError, open_dataset, summary_lines
from nas_engine.datasets.images import SUFFIXES, fit_array, read_images
from tests.datasets.files import jpeg, pixels, read, write_folders, write_image


def colour(path: Path, size: int = 8, channels: int = 3) -> list[int]:
    """Return the middle pixel of one image file as the loader reads it."""
    images, reasons = read_images([path], size, channels)
    assert reasons == {}
    assert images.shape == (1, size, size, channels)
    result: list[int] = images[0, size // 2, size // 2].tolist()
    return result


class TestPictures:
    @pytest.mark.parametrize("suffix", [".png", ".bmp", ".ppm", ".PNG"])
    def test_exact_round_trip(self, tmp_path: Path, suffix: str) -> None:
        image = pixels(8, 8, 3)
        write_image(tmp_path / f"a{suffix}", image)
        images, _ = read_images([tmp_path / f"a{suffix}"], 8, 3)
        np.testing.assert_array_equal(images[0], image)

    @pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".webp"])
    def test_lossy(self, tmp_path: Path, suffix: str) -> None:
        write_image(
            tmp_path / f"a{suffix}", np.full((9, 12, 3), (200, 100, 50), np.uint8), quality=95
        )
        np.testing.assert_allclose(colour(tmp_path / f"a{suffix}"), [200, 100, 50], atol=3)

    def test_grey_is_repeated(self, tmp_path: Path) -> None:
        write_image(tmp_path / "a.png", np.full((8, 8), 77, np.uint8))
        assert colour(tmp_path / "a.png") == [77, 77, 77]
        write_image(tmp_path / "b.pgm", np.full((8, 8), 78, np.uint8))
        assert colour(tmp_path / "b.pgm", channels=1) == [78]

    def test_colour_to_grey_is_luma(self, tmp_path: Path) -> None:
        write_image(tmp_path / "a.png", np.full((8, 8, 3), (200, 100, 50), np.uint8))
        assert colour(tmp_path / "a.png", channels=1) == [
            round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)
        ]

    def test_palette(self, tmp_path: Path) -> None:
        image = Image.new("P", (8, 8), 1)
        image.putpalette([0, 0, 0, 10, 20, 30])
        write_image(tmp_path / "a.png", image)
        assert colour(tmp_path / "a.png") == [10, 20, 30]
        write_image(tmp_path / "b.png", image, transparency=1)
        assert colour(tmp_path / "b.png") == [255, 255, 255]
        write_image(tmp_path / "c.png", image, transparency=b"\xff\x00")  # one alpha per colour
        assert colour(tmp_path / "c.png") == [255, 255, 255]

    def test_transparent_is_white(self, tmp_path: Path) -> None:
        write_image(tmp_path / "a.png", Image.new("RGBA", (8, 8), (100, 0, 0, 0)))
        assert colour(tmp_path / "a.png") == [255, 255, 255]
        write_image(tmp_path / "b.png", Image.new("RGBA", (8, 8), (0, 0, 0, 51)))
        assert colour(tmp_path / "b.png") == [204, 204, 204]
        write_image(tmp_path / "c.png", Image.new("LA", (8, 8), (0, 255)))
        assert colour(tmp_path / "c.png") == [0, 0, 0]
        write_image(tmp_path / "d.png", Image.new("RGB", (8, 8), (1, 2, 3)), transparency=(1, 2, 3))
        assert colour(tmp_path / "d.png") == [255, 255, 255]

    def test_one_and_sixteen_bits(self, tmp_path: Path) -> None:
        write_image(tmp_path / "a.png", Image.new("1", (8, 8), 1))
        assert colour(tmp_path / "a.png") == [255, 255, 255]
        for suffix in ("png", "pgm"):
            write_image(tmp_path / f"b.{suffix}", np.full((8, 8), 0x80FF, np.uint16))
            assert colour(tmp_path / f"b.{suffix}", channels=1) == [0x80]

    def test_cmyk(self, tmp_path: Path) -> None:
        write_image(tmp_path / "a.jpg", Image.new("CMYK", (8, 8), (0, 255, 255, 0)), quality=100)
        np.testing.assert_allclose(colour(tmp_path / "a.jpg"), [255, 0, 0], atol=3)

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_camera_orientation(self, tmp_path: Path, orientation: int) -> None:
        upright = np.zeros((16, 16, 3), np.uint8)
        upright[:8, :8] = (200, 40, 40)
        upright[:8, 8:] = (40, 200, 40)
        stored = {
            1: upright,
            2: upright[:, ::-1],
            3: np.rot90(upright, 2),
            4: upright[::-1],
            5: upright.transpose(1, 0, 2),
            6: np.rot90(upright, 1),
            7: np.rot90(upright, 2).transpose(1, 0, 2),
            8: np.rot90(upright, -1),
        }[orientation]
        exif = Image.Exif()
        exif[0x0112] = orientation
        (tmp_path / "a.jpg").write_bytes(
            jpeg(np.ascontiguousarray(stored), exif=exif, quality=100, subsampling=0)
        )
        images, _ = read_images([tmp_path / "a.jpg"], 16, 3)
        np.testing.assert_allclose(images[0].astype(int), upright.astype(int), atol=12)

    def test_centre_of_a_wide_and_a_tall_picture(self, tmp_path: Path) -> None:
        wide = pixels(8, 14, 3)
        write_image(tmp_path / "wide.png", wide)
        write_image(tmp_path / "tall.png", np.ascontiguousarray(wide.transpose(1, 0, 2)))
        images, _ = read_images([tmp_path / "wide.png", tmp_path / "tall.png"], 8, 3)
        np.testing.assert_array_equal(images[0], wide[:, 3:11])
        np.testing.assert_array_equal(images[1], wide[:, 3:11].transpose(1, 0, 2))

    def test_resizing_counts_every_pixel(self, tmp_path: Path) -> None:
        board = np.zeros((64, 64), np.uint8)
        board[::2, ::2] = board[1::2, 1::2] = 255
        write_image(tmp_path / "a.png", board)
        assert 125 <= colour(tmp_path / "a.png", channels=1)[0] <= 130

    def test_large_jpeg_is_decoded_small(self, tmp_path: Path) -> None:
        x = np.linspace(0, 255, 640)
        slope = np.repeat(np.add.outer(x[:480], x)[..., None] / 2, 3, axis=2).astype(np.uint8)
        (tmp_path / "a.jpg").write_bytes(jpeg(slope, quality=95))
        write_image(tmp_path / "b.png", slope)
        images, _ = read_images([tmp_path / "a.jpg", tmp_path / "b.png"], 32, 3)
        np.testing.assert_allclose(images[0].astype(int), images[1].astype(int), atol=3)

    def test_arrays_and_files_are_resized_alike(self, tmp_path: Path) -> None:
        image = pixels(20, 20, 3)
        write_image(tmp_path / "a.png", image)
        for channels in (1, 3):
            images, _ = read_images([tmp_path / "a.png"], 9, channels)
            np.testing.assert_array_equal(fit_array(image[None], 9, channels), images)

    def test_an_array_that_fits_is_not_touched(self) -> None:
        images = pixels(2, 8, 8, 3)
        assert fit_array(images, 8, 3) is images


class TestSkipped:
    def test_named_with_a_reason_and_left_out(self, tmp_path: Path) -> None:
        root = write_folders(tmp_path, count=20)
        cats = root / "train" / "cat"
        whole = jpeg(pixels(64, 64, 3))
        (cats / "cut.jpg").write_bytes(whole[: len(whole) // 2])
        (cats / "text.jpg").write_text("no picture")
        (cats / "notes.txt").write_text("no picture")
        (cats / "gone.png").symlink_to(tmp_path / "nowhere.png")
        data = read(root)
        reasons = {Path(file.path).name: file.reason for file in data.skipped}
        assert reasons.pop("cut.jpg").startswith("image file is truncated")
        assert reasons == {
            "text.jpg": "not a JPEG, PNG, BMP, PPM or WebP image",
            "notes.txt": f"the name ends with '.txt'; expected {', '.join(SUFFIXES)}",
            "gone.png": "No such file or directory",
        }
        assert data.train.class_counts(2).tolist() == [20, 20]
        first, _ = read_images([cats / "000.png"], 8, 3)
        np.testing.assert_array_equal(data.train.images[0], first[0])
        assert any("4 files skipped" in line for line in summary_lines(data))

    def test_summary_shows_the_first_five(self, tmp_path: Path) -> None:
        root = write_folders(tmp_path, count=40)
        for index in range(7):
            (root / "train" / "dog" / f"x{index}.jpg").write_text("no picture")
        lines = summary_lines(read(root))
        assert lines[-1] == "  and 2 more"
        assert sum("not a JPEG" in line for line in lines) == 5

    def test_too_many(self, tmp_path: Path) -> None:
        root = write_folders(tmp_path, count=10)
        for name in ("a.jpg", "b.jpg", "c.jpg"):
            (root / "test" / "dog" / name).write_text("no picture")
        with pytest.raises(
            DatasetError,
            match=(
                r"test.dog.a\.jpg: not a JPEG.*; 3 of 23 files for test cannot be used, more than "
                r"10 %"
            ),
        ):
            read(root)

    def test_hidden_and_desktop_files_do_not_count(self, tmp_path: Path) -> None:
        root = write_folders(tmp_path)
        for name in (".DS_Store", "._000.png", "Thumbs.db", "desktop.ini"):
            for folder in (root, root / "train", root / "train" / "cat"):
                (folder / name).write_text("x")
        (root / "train" / ".cache").mkdir()
        (root / "__MACOSX").mkdir()
        data = read(root)
        assert data.skipped == ()
        assert data.notes == ()
        assert len(data.train) == 8

    def test_picture_beside_the_class_folders(self, tmp_path: Path) -> None:
        root = write_folders(tmp_path)
        write_image(root / "train" / "stray.png", pixels(8, 8, 3))
        (file,) = read(root).skipped
        assert (Path(file.path).name, file.reason) == ("stray.png", "lies beside the class folders")

    def test_damaged_camera_data_do_no_harm(self, tmp_path: Path) -> None:
        (tmp_path / "a.jpg").write_bytes(
            jpeg(pixels(8, 8, 3), exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12")
        )
        _, reasons = read_images([tmp_path / "a.jpg"], 8, 3)
        assert reasons == {}

    def test_hostile_size(self, tmp_path: Path) -> None:
        (tmp_path / "a.ppm").write_bytes(b"P6 60000 60000 255\n")
        _, reasons = read_images([tmp_path / "a.ppm"], 8, 3)
        assert reasons[0] == "more than 179 million pixels; make it smaller"


class TestLayouts:
    def test_train_and_test(self, tmp_path: Path) -> None:
        data = read(write_folders(tmp_path / "pets"))
        assert data.name == "pets"
        assert data.classes == ("cat", "dog")
        assert data.train.labels.tolist() == [0] * 4 + [1] * 4
        assert data.train.images.shape == (8, 8, 8, 3)
        assert data.validation is None

    @pytest.mark.parametrize("name", ["val", "valid", "validation"])
    def test_validation(self, tmp_path: Path, name: str) -> None:
        data = read(write_folders(tmp_path, splits=("train", "test", name)))
        assert data.validation is not None
        assert [purpose for purpose, _ in data.splits()] == ["train", "validation", "test"]

    def test_validation_stands_in_for_the_test(self, tmp_path: Path) -> None:
        data = read(write_folders(tmp_path, splits=("train", "val")))
        assert data.validation is None
        assert len(data.test) == 8
        assert data.notes == ("no folder 'test': the images of 'val' are the test images",)

    def test_class_folders_only(self, tmp_path: Path) -> None:
        root = write_folders(tmp_path, splits=("",), count=50)
        data = read(root)
        assert len(data.train) + len(data.test) == 100
        assert all(3 <= count <= 20 for count in data.test.class_counts(2))
        assert "about 20 % of each class" in data.notes[0]

        def contents(name: str) -> set[bytes]:
            return {image.tobytes() for image in getattr(read(root), name).images}

        train, test = contents("train"), contents("test")
        assert not train & test
        for index in range(30):  # adding files moves none of the others
            write_image(root / "cat" / f"new{index}.png", pixels(8, 8, 3, seed=50_000 + index))
        assert train < contents("train")
        assert test < contents("test")

    @pytest.mark.parametrize("count", [2, 3])
    def test_each_side_gets_one_of_a_small_class(self, tmp_path: Path, count: int) -> None:
        data = read(write_folders(tmp_path, splits=("",), classes=tuple("abcdefgh"), count=count))
        assert data.train.class_counts(8).min() >= 1
        assert data.test.class_counts(8).min() >= 1

    def test_one_level_up(self, tmp_path: Path) -> None:
        write_folders(tmp_path / "pets")
        (tmp_path / "notes.txt").write_text("x")
        assert read(tmp_path).source == str(tmp_path / "pets")

    def test_a_class_of_trains(self, tmp_path: Path) -> None:
        assert read(write_folders(tmp_path, splits=("",), classes=("bus", "train"))).classes == (
            "bus",
            "train",
        )

    def test_symbolic_links(self, tmp_path: Path) -> None:
        write_folders(tmp_path / "real")
        (tmp_path / "link").symlink_to(tmp_path / "real", target_is_directory=True)
        assert len(read(tmp_path / "link").train) == 8

    def test_other_folders_are_named(self, tmp_path: Path) -> None:
        assert read(write_folders(tmp_path, splits=("train", "test", "extras"))).notes == (
            "folders not read: 'extras'",
        )

    def test_room_for_crops(self, tmp_path: Path) -> None:
        data = open_dataset(write_folders(tmp_path), resolution=20, channels=1, resize_margin=1.1)
        assert data.train.images.shape[1:] == (22, 22, 1)
        assert data.test.images.shape[1:] == (20, 20, 1)

    def test_limit_opens_no_other_files(self, tmp_path: Path) -> None:
        root = write_folders(tmp_path, count=10)
        data = read(root, limit=6, seed=3)
        assert data.train.class_counts(2).tolist() == data.test.class_counts(2).tolist() == [3, 3]
        np.testing.assert_array_equal(data.train.images, read(root, limit=6, seed=3).train.images)
        assert not np.array_equal(data.train.images, read(root, limit=6, seed=4).train.images)


class TestErrors:
    def test_other_classes(self, tmp_path: Path) -> None:
        root = write_folders(tmp_path, classes=("cat", "dog", "fox"))
        (root / "test" / "fox").rename(root / "test" / "wolf")
        with pytest.raises(
            DatasetError,
            match=(
                r"test: has 3 classes, train has 3: missing 'fox'; extra 'wolf'; expected the same"
            ),
        ):
            read(root)

    @pytest.mark.parametrize(
        ("splits", "message"),
        [
            pytest.param(("train",), "has 'train', but neither 'test' nor 'val'", id="train-only"),
            pytest.param(
                ("test", "val"), "has 'test', 'val', but no folder 'train'", id="no-train"
            ),
            pytest.param(
                ("train", "val", "validation"),
                "more than one folder of validation images",
                id="twice",
            ),
        ],
    )
    def test_splits(self, tmp_path: Path, splits: tuple[str, ...], message: str) -> None:
        with pytest.raises(DatasetError, match=message):
            read(write_folders(tmp_path, splits=splits))

    def test_empty_class_folder(self, tmp_path: Path) -> None:
        root = write_folders(tmp_path)
        (root / "train" / "fox").mkdir()
        with pytest.raises(DatasetError, match=r"train.fox: has no images; expected"):
            read(root)

    def test_no_class_folders(self, tmp_path: Path) -> None:
        for split in ("train", "test"):
            write_image(tmp_path / split / "a.png", pixels(8, 8, 3))
        with pytest.raises(
            DatasetError,
            match=r"(train|test): has no class folders; expected one folder of images per class",
        ):
            read(tmp_path)

    def test_folder_in_a_class_folder(self, tmp_path: Path) -> None:
        root = write_folders(tmp_path)
        (root / "test" / "cat" / "more").mkdir()
        with pytest.raises(DatasetError, match="has a folder 'more' in it"):
            read(root)

    def test_one_class(self, tmp_path: Path) -> None:
        with pytest.raises(DatasetError, match=r"has only one class \('cat'\)"):
            read(write_folders(tmp_path, classes=("cat",)))

    def test_one_image_without_splits(self, tmp_path: Path) -> None:
        with pytest.raises(DatasetError, match=r"cat: has one image; expected at least two"):
            read(write_folders(tmp_path, splits=("",), count=1))

    def test_the_only_image_of_a_class_is_damaged(self, tmp_path: Path) -> None:
        root = write_folders(tmp_path, count=30)
        shutil.rmtree(root / "test" / "dog")
        (root / "test" / "dog").mkdir()
        (root / "test" / "dog" / "a.jpg").write_text("no picture")
        with pytest.raises(
            DatasetError, match="test has images of 1 of the 2 classes, none of 'dog'"
        ):
            read(root)
