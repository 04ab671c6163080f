"""The way in, the records, the digits, the summary."""

from __future__ import annotations

import builtins
import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas_engine.datasets import (
    FORMATS,
    Dataset,
    DatasetError,
    MissingPackageError,
    SkippedFile,
    Split,
    check_classes,
    open_dataset,
    summary_lines,
)
from nas_engine.datasets.selection import balanced_choice, set_aside_by_name, set_aside_by_rank
from nas_engine.datasets.summary import overview_lines
from nas_engine.errors import InputError, PathError
from nas_engine.reading import UnreadableError
from tests.datasets.files import labels, pixels, read, write_cifar10, write_folders, write_mnist


def make_dataset(
    train: list[int], test: list[int], classes: tuple[str, ...] = ("cat", "dog"), **more: Any
) -> Dataset:
    """Return a data set with these labels."""
    first, second = (
        Split(images=pixels(len(each), 4, 4, 1), labels=np.array(each, np.int64))
        for each in (train, test)
    )
    return Dataset(name="pets", source="here", classes=classes, train=first, test=second, **more)


class TestDigits:
    def test_sizes_and_values(self) -> None:
        data = open_dataset("digits", resolution=8, channels=1)
        assert len(data.train) + len(data.test) == 1797
        assert len(data.classes) == 10
        np.testing.assert_allclose(
            data.test.class_counts(10),
            0.2 * (data.test.class_counts(10) + data.train.class_counts(10)),
            atol=0.5,
        )
        assert {*np.unique(data.train.images)} == {round(value * 255 / 16) for value in range(17)}
        assert "a fixed 20 % of each class" in data.notes[0]

    def test_the_split_never_changes(self) -> None:
        first, second = (
            open_dataset("digits", resolution=8, channels=1, seed=seed) for seed in (0, 1)
        )
        np.testing.assert_array_equal(first.test.images, second.test.images)
        assert first.test.labels[:12].tolist() == [4, 5, 6, 9, 4, 7, 8, 9, 9, 6, 9, 9]

    def test_resized(self) -> None:
        assert open_dataset("digits", resolution=12, channels=3, limit=20).train.images.shape == (
            20,
            12,
            12,
            3,
        )

    def test_a_folder_of_that_name_is_a_path(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        write_folders(tmp_path / "digits")
        assert read("digits").source == "digits"
        assert read("digits").classes[0] == "0"
        assert read("./digits").classes == ("cat", "dog")
        assert read(Path("digits")).classes == ("cat", "dog")


class TestMissingPackages:
    def test_scikit_learn(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
        with pytest.raises(
            MissingPackageError,
            match=r"'digits' needs scikit-learn, .* pip install 'nas-search\[train\]'",
        ):
            read("digits")

    def test_pillow(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        write_mnist(tmp_path / "mnist")
        write_folders(tmp_path / "folders")
        genuine = builtins.__import__

        def refuse(name: str, *arguments: Any) -> Any:
            if name == "PIL":
                raise ImportError(name)
            return genuine(name, *arguments)

        monkeypatch.setattr(builtins, "__import__", refuse)
        read(tmp_path / "mnist", channels=1)  # fits already
        for arguments in ({"location": tmp_path / "mnist"}, {"location": tmp_path / "folders"}):
            with pytest.raises(MissingPackageError, match="needs Pillow") as caught:
                read(**arguments)
            assert caught.value.exit_code == 2


class TestPlaces:
    def test_every_format_has_a_row(self) -> None:
        assert [kind.name for kind in FORMATS] == [
            "digits",
            "CIFAR-10",
            "CIFAR-100",
            "IDX",
            ".npz",
            "image folder",
        ]

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            pytest.param(
                lambda path: None, "does not exist; expected the word digits; ", id="missing"
            ),
            pytest.param(lambda path: path.mkdir(), "is an empty folder; expected ", id="empty"),
            pytest.param(
                lambda path: path.write_text("x"), "is a file of another kind; expected ", id="file"
            ),
        ],
    )
    def test_nothing_to_read(
        self, tmp_path: Path, make: Callable[[Path], object], message: str
    ) -> None:
        make(tmp_path / "it")
        with pytest.raises(DatasetError, match=message) as caught:
            read(tmp_path / "it")
        assert all(kind.layout in str(caught.value) for kind in FORMATS)
        assert caught.value.exit_code == 2

    def test_unknown_layout_names_five(self, tmp_path: Path) -> None:
        for name in "gfedcba":
            (tmp_path / f"{name}.txt").touch()
        with pytest.raises(
            DatasetError,
            match=(
                r"no known layout: found 'a.txt', 'b.txt', 'c.txt', 'd.txt', 'e.txt' and 2 more; "
                r"expected"
            ),
        ):
            read(tmp_path)

    def test_flat_folder_of_images(self, tmp_path: Path) -> None:
        root = write_folders(tmp_path)
        with pytest.raises(DatasetError, match=r"no known layout: found '000\.png'"):
            read(root / "train" / "cat")

    def test_more_than_one(self, tmp_path: Path) -> None:
        write_cifar10(tmp_path / "cifar-10-batches-py")
        write_mnist(tmp_path / "mnist")
        with pytest.raises(
            DatasetError,
            match=(
                r"holds more than one data set; give one of them: '.*cifar-10-batches-py', "
                r"'.*mnist'"
            ),
        ):
            read(tmp_path)

    def test_empty_text(self) -> None:
        with pytest.raises(InputError, match="no data given"):
            read("")

    @pytest.mark.parametrize("location", ["a\0b", "x" * 5000])
    def test_names_that_cannot_be(self, location: str) -> None:
        with pytest.raises(PathError):
            read(location)

    def test_unreadable(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write_cifar10(tmp_path)

        def refuse(path: object, *_: object) -> int:
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr(os, "open", refuse)
        with pytest.raises(
            UnreadableError, match=r"batches\.meta: cannot be read \(Permission denied\)"
        ) as caught:
            read(tmp_path)
        assert caught.value.exit_code == 2

    def test_too_large_for_the_memory(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_mnist(tmp_path)

        def refuse(*_: object) -> None:
            raise MemoryError

        monkeypatch.setattr(
            importlib.import_module("nas_engine.datasets.assembly"), "fit_array", refuse
        )
        with pytest.raises(
            DatasetError,
            match="does not fit into memory at 8 x 8 pixels; give a lower resolution or a limit",
        ):
            read(tmp_path)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"resolution": 0}, "resolution is 0"),
            ({"resolution": 2000}, "expected a whole number of pixels from 1 to 1024"),
            ({"resolution": 32.0}, "resolution is 32.0"),
            ({"channels": 2}, "channels is 2; images have 1"),
            ({"resize_margin": 0.9}, "resize_margin is 0.9"),
            ({"resize_margin": float("nan")}, "resize_margin is nan"),
            ({"limit": 0}, "limit is 0"),
            (
                {"limit": 9},
                "limit is 9, but there are 10 classes; expected at least one image of each",
            ),
            ({"seed": -1}, "seed is -1"),
        ],
    )
    def test_arguments(self, arguments: dict[str, Any], message: str) -> None:
        with pytest.raises(InputError, match=message):
            read("digits", **arguments)


class TestRecords:
    def test_arrays_cannot_be_written_to(self) -> None:
        images = pixels(2, 4, 4, 3)
        split = Split(images=images, labels=labels(2, 2))
        for array in (split.images, split.labels):
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 0
        images[0] = 0  # the caller's own array is left as it was
        assert len(split) == 2

    @pytest.mark.parametrize(
        ("images", "numbers"),
        [
            (pixels(2, 4, 4), labels(2, 2)),
            (pixels(2, 4, 5, 3), labels(2, 2)),
            (pixels(2, 4, 4, 2), labels(2, 2)),
            (pixels(2, 4, 4, 3) / 255, labels(2, 2)),
            (pixels(2, 4, 4, 3), labels(3, 2)),
            (pixels(2, 4, 4, 3), labels(2, 2).astype(np.int32)),
        ],
    )
    def test_splits_are_checked(self, images: Any, numbers: Any) -> None:
        with pytest.raises(InputError, match="expected"):
            Split(images=images, labels=numbers)

    def test_class_counts(self) -> None:
        split = Split(images=pixels(5, 4, 4, 3), labels=np.array([0, 2, 2, 0, 2]))
        assert split.class_counts(4).tolist() == [2, 0, 3, 0]
        with pytest.raises(InputError, match="labels run from 0 to 2; expected 0 to 1"):
            split.class_counts(2)

    def test_number_of_classes(self) -> None:
        data = make_dataset([0, 1], [1, 0])
        check_classes(data, 2)
        message = (
            "here: the data has 2 classes, the network 1000; search again with --classes 2 or give "
            "other data"
        )
        with pytest.raises(DatasetError, match=message):
            check_classes(data, 1000)

    def test_split_without_images(self) -> None:
        with pytest.raises(DatasetError, match="has no images for test"):
            make_dataset([0, 1], [])


class TestSelection:
    @given(
        numbers=st.lists(st.integers(0, 4), min_size=5, max_size=60),
        share=st.floats(0, 1),
        seed=st.integers(0, 99),
    )
    def test_as_balanced_as_can_be(self, numbers: list[int], share: float, seed: int) -> None:
        array = np.array(numbers)
        limit = max(len(set(numbers)), round(share * len(numbers)))
        chosen = balanced_choice(array, limit, seed)
        if chosen is None:
            assert limit >= len(numbers)
            return
        assert chosen.tolist() == sorted({*chosen.tolist()})
        assert len(chosen) == limit
        have, got = (np.bincount(part, minlength=5) for part in (array, array[chosen]))
        most = got.max()
        assert all(
            taken == there or taken >= most - 1 for taken, there in zip(got, have, strict=True)
        )
        np.testing.assert_array_equal(chosen, balanced_choice(array, limit, seed))

    @given(names=st.lists(st.text(), min_size=2, max_size=30, unique=True))
    def test_set_aside_by_name(self, names: list[str]) -> None:
        aside = set_aside_by_name(names)
        assert len(aside) == len(names)
        assert set_aside_by_name(names[::-1]) == aside[::-1]

    def test_a_fifth_by_name(self) -> None:
        aside = set_aside_by_name([f"cat/{number}.jpg" for number in range(2000)])
        assert 360 <= sum(aside) <= 440
        assert [number for number in range(30) if aside[number]] == [3, 13]

    def test_either_way_of_writing_an_accent(self) -> None:
        names = [f"{number}é" for number in range(40)]
        assert set_aside_by_name(names) == set_aside_by_name(
            [name.replace("é", "e\u0301") for name in names]
        )

    def test_a_fifth_by_rank(self) -> None:
        aside = set_aside_by_rank(np.array([3] * 10 + [7] * 25))
        assert (aside[:10].sum(), aside[10:].sum()) == (2, 5)


class TestSummary:
    def test_lines(self) -> None:
        skipped = (SkippedFile(path="train/cat/1.jpg", reason="not an image"),)
        lines = summary_lines(
            make_dataset(
                [0, 0, 0, 0, 1, 1], [0, 1], skipped=skipped, notes=("something was decided",)
            )
        )
        assert lines == [
            "pets: 2 classes, from here",
            "  train              6 images of 4 x 4 x 1",
            "  test               2 images of 4 x 4 x 1",
            "  class       train        test",
            "  cat             4           1",
            "  dog             2           1",
            (
                "note: train is not balanced: 4 images of 'cat', 2 of 'dog'; accuracy alone "
                "favours the larger class"
            ),
            "note: something was decided",
            "note: 1 file skipped:",
            "  train/cat/1.jpg: not an image",
        ]

    def test_overview_of_a_sample(self) -> None:
        skipped = (SkippedFile(path="train/cat/1.jpg", reason="not an image"),)
        sample = make_dataset([0, 0, 0, 0, 1, 1], [0, 1], skipped=skipped, notes=("by hash",))
        assert overview_lines(sample, 5) == [
            "pets: 2 classes; images: train at least 6, test 2",
            *(line for line in summary_lines(sample)[6:]),
        ]

    def test_one_and_a_half_times_is_balanced(self) -> None:
        assert not any(
            "balanced" in line for line in summary_lines(make_dataset([0, 0, 0, 1, 1], [0, 1]))
        )

    def test_many_classes_are_summed_up(self) -> None:
        numbers = [*range(21), 3]
        lines = summary_lines(
            make_dataset(numbers, numbers, tuple(f"c{number}" for number in range(21)))
        )
        assert "  train: 1 to 2 images per class" in lines
        assert len(lines) == 7

    @pytest.mark.parametrize(
        ("images", "says"),
        [
            pytest.param(
                np.full((4, 8, 8, 3), 9), "train uses 1 of 256 levels, from 9 to 9", id="constant"
            ),
            pytest.param(
                pixels(4, 8, 8, 3) % 2, "train uses 2 of 256 levels, from 0 to 1", id="mask"
            ),
            pytest.param(
                pixels(4, 8, 8, 3) // 17 * 17 % 255,
                "train uses 15 of 256 levels, from 0 to 238",
                id="15",
            ),
            pytest.param(
                pixels(4, 8, 8, 3) // 64, "train uses 4 of 256 levels, from 0 to 3", id="10-bit"
            ),
            pytest.param(
                pixels(4, 8, 8, 3) // 16, "train uses 16 of 256 levels, from 0 to 15", id="12-bit"
            ),
            pytest.param(
                pixels(4, 8, 8, 3) // 4, "train uses 64 of 256 levels, from 0 to 63", id="14-bit"
            ),
            pytest.param(pixels(4, 8, 8, 3) // 16 * 17, None, id="16"),
        ],
    )
    def test_hardly_any_contrast(self, images: Any, says: str | None) -> None:
        good = Split(images=pixels(4, 8, 8, 3), labels=labels(4, 2))
        data = Dataset(
            name="n",
            source="s",
            classes=("a", "b"),
            train=Split(images=images.astype(np.uint8), labels=labels(4, 2)),
            test=good,
        )
        remarks = [line for line in summary_lines(data) if "contrast" in line]
        assert len(remarks) == (says is not None)
        assert says is None or remarks[0].startswith(f"note: hardly any contrast: {says}; check")

    def test_no_name_makes_a_line(self) -> None:
        skipped = (
            SkippedFile(
                path="a\nnote: everything is fine \x1b[31m\udce9.png", reason="no\rpicture"
            ),
        )
        lines = summary_lines(
            make_dataset([0, 1], [0, 1], skipped=skipped, notes=("folders not read: 'a\nb'",))
        )
        assert all(line.isprintable() for line in lines)
        assert lines[-1] == "  a\\nnote: everything is fine \\x1b[31m\\xe9.png: no\\rpicture"
