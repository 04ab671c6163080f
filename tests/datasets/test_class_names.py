"""Classes matched by name, split folders of any spelling, and folders that are only judged."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas_engine.datasets import (
    Dataset,
    DatasetError,
    Judged,
    Split,
    matched_classes,
    open_judged,
    place_of,
    summary_lines,
)
from nas_engine.datasets.images import SUFFIXES
from nas_engine.datasets.records import judged_split
from nas_engine.errors import InputError
from tests.datasets.files import labels, pixels, read, write_folders, write_image, write_mnist

COMPOSED, DECOMPOSED = "café", unicodedata.normalize("NFD", "café")
NAMES = st.lists(
    st.text("abcéü0123", min_size=1, max_size=3),
    min_size=2,
    max_size=6,
    unique_by=lambda name: name,
)


def dataset(names: tuple[str, ...]) -> Dataset:
    numbers = labels(2 * len(names), len(names))
    images = np.repeat(numbers.astype(np.uint8), 3).reshape(-1, 1, 1, 3)
    split = Split(images=images, labels=numbers)
    return Dataset(
        name="n", source="here", classes=names, train=split, test=split, validation=split
    )


class TestMatching:
    @given(names=NAMES, data=st.data())
    def test_another_order_is_matched_by_name(self, names: list[str], data: st.DataObject) -> None:
        known = data.draw(st.permutations(names))
        for found in (dataset(tuple(names)), judged_split(dataset(tuple(names)), "test")):
            matched = matched_classes(found, known)
            splits = (
                [matched.images]
                if isinstance(matched, Judged)
                else [split for _, split in matched.splits()]
            )
            assert matched.classes == tuple(known)
            assert matched.notes == ()
            for split in splits:  # every image still has the name that it had: its pixel says which
                assert [known[label] for label in split.labels] == [
                    names[pixel] for pixel in split.images[:, 0, 0, 0]
                ]

    @given(names=NAMES, known=NAMES)
    def test_other_names_are_refused_and_named(self, names: list[str], known: list[str]) -> None:
        numbers = {str(number) for number in range(len(names))}
        if set(names) == set(known) or (
            len(names) == len(known) and numbers in (set(names), set(known))
        ):
            return
        with pytest.raises(DatasetError) as caught:
            matched_classes(dataset(tuple(names)), known)
        assert caught.value.exit_code == 2
        for word, some in (
            ("missing", set(known) - set(names)),
            ("extra", set(names) - set(known)),
        ):
            assert (f"; {word} " in str(caught.value)) == bool(some)

    def test_accents_in_either_way(self) -> None:
        assert matched_classes(dataset((DECOMPOSED, "tea")), ["tea", COMPOSED]).classes == (
            "tea",
            COMPOSED,
        )
        assert matched_classes(
            dataset((COMPOSED, "tea")), ["tea", DECOMPOSED]
        ).test.labels.tolist() == [1, 0, 1, 0]

    def test_by_number_where_there_are_no_names(self) -> None:
        matched = matched_classes(dataset(("0", "1")), ["dog", "cat"])
        assert matched.test.labels.tolist() == [0, 1, 0, 1]
        note = (
            "the data have numbers in place of class names, so classes are matched by number: '0' "
            "is 'dog', '1' is 'cat'"
        )
        assert matched.notes == (note,)
        named = matched_classes(dataset(("cat", "dog")), ["0", "1"])
        says = (
            "the network has numbers in place of class names, so classes are matched by number: "
            "'cat' is '0', 'dog' is '1'"
        )
        assert named.notes == (says,)

    def test_folders_of_more_than_ten_numbers(self) -> None:  # sorted as texts: 0, 1, 10, 2
        names = tuple(sorted(map(str, range(11))))
        expected = [int(name) for name in names] * 2
        assert (
            matched_classes(
                dataset(names), [f"n{number}" for number in range(11)]
            ).test.labels.tolist()
            == expected
        )
        assert (
            matched_classes(
                dataset(names), [str(number) for number in range(11)]
            ).test.labels.tolist()
            == expected
        )


class TestJudged:
    def open(self, root: Path, split: str | None = None) -> Judged:
        return open_judged(root, resolution=8, channels=3, split=split)

    def test_all_of_a_folder_without_splits(self, tmp_path: Path) -> None:
        root = write_folders(tmp_path / "board", splits=("",), count=50)
        found = self.open(root)
        assert (len(found.images), found.split, found.what) == (
            100,
            "all",
            f"all images of board, {root}",
        )
        assert "so all images are judged" in found.notes[0]
        assert len(self.open(root, "test").images) + len(self.open(root, "train").images) == 100
        np.testing.assert_array_equal(self.open(root, "test").images.images, read(root).test.images)

    @pytest.mark.parametrize("name", ["test", "Test", "testing", "TESTING", "val", "Eval"])
    def test_one_split_is_enough(self, tmp_path: Path, name: str) -> None:
        root = write_folders(tmp_path, splits=(name,))
        assert (len(self.open(root).images), self.open(root).split) == (8, "test")

    def test_splits_that_are_not_there(self, tmp_path: Path) -> None:
        root = write_folders(tmp_path / "a", splits=("train", "test"))
        assert len(self.open(root, "train").images) == 8
        with pytest.raises(
            InputError, match="there is no split 'validation'; give one of: train, test"
        ):
            self.open(root, "validation")
        with pytest.raises(InputError, match="there is no split 'test'; give one of: train"):
            self.open(write_folders(tmp_path / "b", splits=("train",)))

    def test_other_formats_have_their_test_split(self, tmp_path: Path) -> None:
        write_mnist(tmp_path)
        assert (len(self.open(tmp_path).images), self.open(tmp_path).what) == (
            6,
            f"the test images of {tmp_path.name}, {tmp_path}",
        )

    def test_place(self, tmp_path: Path) -> None:
        write_folders(tmp_path / "up" / "pets")
        (tmp_path / "link").symlink_to(tmp_path / "up")
        assert (
            place_of(tmp_path / "link")
            == place_of(tmp_path / "up" / "pets")
            == str(tmp_path / "up" / "pets")
        )
        assert place_of("digits") == "digits"


class TestNamesOfSplits:
    @pytest.mark.parametrize(
        ("train", "other"),
        [
            ("Train", "Test"),
            ("TRAIN", "VAL"),
            ("Training", "Testing"),
            ("training", "validation"),
            ("train", "eval"),
            ("train", "Dev"),
        ],
    )
    def test_understood(self, tmp_path: Path, train: str, other: str) -> None:
        data = read(write_folders(tmp_path, splits=(train, other)))
        assert len(data.train) == len(data.test) == 8
        assert data.classes == ("cat", "dog")

    @pytest.mark.parametrize(
        "splits",
        [("Train", "train", "test"), ("train", "test", "Testing"), ("train", "dev", "eval")],
    )
    def test_twice(self, tmp_path: Path, splits: tuple[str, ...]) -> None:
        with pytest.raises(
            DatasetError,
            match=r"has more than one folder of (training|train|test|validation) images",
        ):
            read(write_folders(tmp_path, splits=splits))

    def test_other_names_are_explained(self, tmp_path: Path) -> None:
        with pytest.raises(
            DatasetError,
            match=(
                "two folders with the same classes, 'set_a', 'set_b': rename them to 'train' and "
                "'test'"
            ),
        ):
            read(write_folders(tmp_path / "a", splits=("set_a", "set_b")))
        with pytest.raises(
            DatasetError, match="'train', 'proof' have the same classes; rename 'proof' to 'test'"
        ):
            read(write_folders(tmp_path / "b", splits=("train", "proof")))

    def test_classes_of_such_names(self, tmp_path: Path) -> None:
        assert read(
            write_folders(tmp_path, splits=("",), classes=("dev", "prod", "test"))
        ).classes == ("dev", "prod", "test")


class TestNamesOfClasses:
    def test_accents_in_two_ways(self, tmp_path: Path) -> None:
        write_folders(tmp_path, splits=("train",), classes=(COMPOSED, "tea"))
        write_folders(tmp_path, splits=("test",), classes=(DECOMPOSED, "tea"))
        assert read(tmp_path).classes == (COMPOSED, "tea")

    def test_two_that_become_one(self, tmp_path: Path) -> None:
        root = write_folders(tmp_path, splits=("",), classes=(COMPOSED, DECOMPOSED, "tea"))
        if (
            len(os.listdir(root)) < 3
        ):  # a file system that composes names itself has no such folders
            return
        with pytest.raises(
            DatasetError,
            match="has two folders named 'café', whose accents are written in two ways",
        ):
            read(root)

    def test_sorted_as_composed(
        self, tmp_path: Path
    ) -> None:  # as bytes, e with its accent apart comes before f
        assert read(
            write_folders(tmp_path, classes=(unicodedata.normalize("NFD", "é"), "f"))
        ).classes == ("f", "é")


class TestEndings:
    @pytest.mark.parametrize(
        ("name", "says"),
        [
            ("1.heic", r"files with '\.heic' \(2\); convert them to JPEG or PNG"),
            ("1.TIF", r"files with '\.tif' \(2\); convert them to JPEG or PNG"),
            ("1.gif", r"convert them to JPEG or PNG"),
            ("1.avif", r"convert them to JPEG or PNG"),
            ("1", r"files with no ending \(2\)"),
            ("1.xyz", r"files with '\.xyz' \(2\)"),
        ],
    )
    @pytest.mark.parametrize("split", ["", "train"])
    def test_found_and_accepted_are_named(
        self, tmp_path: Path, name: str, says: str, split: str
    ) -> None:
        for each in ("cat", "dog"):
            (tmp_path / "pets" / split / each).mkdir(parents=True)
            (tmp_path / "pets" / split / each / name).write_bytes(b"x")
        if split:
            write_folders(tmp_path / "pets", splits=("test",))
            says = says.replace("2", "1")
        with pytest.raises(
            DatasetError, match=f"has no images, but {says}" if "files" in says else says
        ) as caught:
            read(tmp_path / "pets")
        assert ", ".join(SUFFIXES) in str(caught.value)

    def test_some(self, tmp_path: Path) -> None:
        root = write_folders(tmp_path, count=20)
        write_image(root / "train" / "cat" / "a.jfif", pixels(8, 8, 3), format="JPEG")
        (root / "train" / "cat" / "b.heic").write_bytes(b"x")
        data = read(root)
        assert len(data.train) == 41
        assert any(
            "b.heic: the name ends with '.heic'; convert it to JPEG or PNG" in line
            for line in summary_lines(data)
        )


def test_what_is_no_file_is_skipped(tmp_path: Path) -> None:
    root = write_folders(tmp_path, count=20)
    (root / "train" / "cat" / "dangling.png").symlink_to("/nowhere/x.png")
    (root / "train" / "cat" / "loop.png").symlink_to("loop.png")
    os.mkfifo(root / "train" / "dog" / "pipe.png")
    data = read(root)
    assert sorted(Path(file.path).name for file in data.skipped) == [
        "dangling.png",
        "loop.png",
        "pipe.png",
    ]
    assert len(data.train) == 40
