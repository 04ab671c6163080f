"""NumPy archives: shapes, number types, keys."""

from __future__ import annotations

import contextlib
import io
import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas_engine.datasets import DatasetError
from nas_engine.errors import FileFormatError
from nas_engine.reading import UnreadableError
from tests.datasets.files import labels, pixels, read


def arrays(**changes: Any) -> dict[str, Any]:
    """Return the four arrays of a small data set, some replaced; ``None`` removes one."""
    content = {
        "x_train": pixels(12, 8, 8, 3),
        "y_train": labels(12, 3),
        "x_test": pixels(6, 8, 8, 3, seed=1),
        "y_test": labels(6, 3),
    }
    return {key: value for key, value in {**content, **changes}.items() if value is not None}


def write(path: Path, **changes: Any) -> Path:
    """Write them."""
    np.savez(path, **arrays(**changes))
    return path


class TestReading:
    @pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
    def test_round_trip(self, tmp_path: Path, save: Any) -> None:
        content = arrays(
            x_val=pixels(3, 8, 8, 3), y_val=labels(3, 3), classes=np.array(["ant", "bee", "çat"])
        )
        save(tmp_path / "mine.npz", **content)
        data = read(tmp_path / "mine.npz")
        for key, split in (("train", data.train), ("val", data.validation), ("test", data.test)):
            assert split is not None
            np.testing.assert_array_equal(split.images, content[f"x_{key}"])
            np.testing.assert_array_equal(split.labels, content[f"y_{key}"])
        assert (data.name, data.classes, data.notes) == ("mine", ("ant", "bee", "çat"), ())

    def test_without_channels(self, tmp_path: Path) -> None:
        data = read(
            write(tmp_path / "a.npz", x_train=pixels(12, 8, 8), x_test=pixels(6, 8, 8)), channels=1
        )
        np.testing.assert_array_equal(data.train.images[..., 0], pixels(12, 8, 8))

    @pytest.mark.parametrize("channels", [1, 3])
    def test_channels_first(self, tmp_path: Path, channels: int) -> None:
        train = pixels(12, channels, 8, 8)
        data = read(
            write(tmp_path / "a.npz", x_train=train, x_test=pixels(6, channels, 8, 8)),
            channels=channels,
        )
        np.testing.assert_array_equal(data.train.images, train.transpose(0, 2, 3, 1))

    @pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
    @pytest.mark.parametrize("highest", [1, 255])
    def test_floats(self, tmp_path: Path, kind: type, highest: int) -> None:
        train, test = (pixels(count, 8, 8, 3) for count in (12, 6))
        test[:] //= 2  # the rule looks at all splits: a dark one is not made brighter
        scaled = {
            key: (value.astype(np.float64) * highest / 255).astype(kind)
            for key, value in (("x_train", train), ("x_test", test))
        }
        data = read(write(tmp_path / "a.npz", **scaled))
        np.testing.assert_array_equal(data.train.images, train)
        np.testing.assert_array_equal(data.test.images, test)

    @pytest.mark.parametrize("kind", [np.int64, np.uint16])
    def test_other_whole_numbers(self, tmp_path: Path, kind: type) -> None:
        content = arrays()
        data = read(
            write(
                tmp_path / "a.npz",
                x_train=content["x_train"].astype(kind),
                x_test=content["x_test"].astype(kind),
            )
        )
        np.testing.assert_array_equal(data.train.images, content["x_train"])

    @pytest.mark.parametrize(
        "numbers", [labels(12, 3).astype(np.uint8), labels(12, 3)[:, None]], ids=["uint8", "column"]
    )
    def test_labels(self, tmp_path: Path, numbers: Any) -> None:
        data = read(write(tmp_path / "a.npz", y_train=numbers))
        assert data.train.labels.dtype == np.int64
        assert data.train.labels.tolist() == labels(12, 3).tolist()

    def test_names_as_bytes_and_folder(self, tmp_path: Path) -> None:
        write(tmp_path / "a.npz", classes=np.array([b"a", b"b", b"c"]))
        assert read(tmp_path).classes == ("a", "b", "c")

    def test_other_keys_are_named(self, tmp_path: Path) -> None:
        assert read(write(tmp_path / "a.npz", author=np.array("me"))).notes == (
            "not read: 'author'",
        )

    def test_the_example_in_the_docs(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        page = Path(__file__).parents[2] / "docs" / "data.md"
        example = re.search(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.S)
        assert example is not None
        exec(example[1], {})
        assert read("mine.npz").classes == ("ant", "bee", "cat", "dog")


class TestErrors:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            pytest.param(
                {"x_test": None, "y_test": None},
                r"lacks 'x_test', 'y_test'; expected .*; found 'x_train', 'y_train'",
                id="keys",
            ),
            pytest.param({"x_val": pixels(2, 8, 8, 3)}, "lacks 'y_val'", id="half-a-validation"),
            pytest.param(
                {"x_train": pixels(12, 8, 9, 3)},
                "the images are 8 x 9 pixels; expected square ones",
                id="not-square",
            ),
            pytest.param(
                {"x_train": pixels(12, 8, 8, 4)}, "have 4 channels; expected 1", id="channels"
            ),
            pytest.param(
                {"x_train": pixels(12, 3, 8, 3)}, "channels first or last", id="ambiguous"
            ),
            pytest.param(
                {"x_train": pixels(12, 64)},
                r"x_train has the shape \[12, 64\]; expected \[N, H, W\]",
                id="flat",
            ),
            pytest.param(
                {"x_test": pixels(6, 8, 8)},
                "are 8 x 8 x 1, those of train 8 x 8 x 3; expected the same",
                id="test-grey",
            ),
            pytest.param(
                {"x_train": pixels(11, 8, 8, 3)},
                "x_train, y_train: 11 images, but 12 labels",
                id="number",
            ),
            pytest.param(
                {"x_test": pixels(0, 8, 8, 3), "y_test": labels(0, 3)},
                "x_test, y_test: no images",
                id="none",
            ),
            pytest.param({"x_train": pixels(12, 0, 0, 3)}, "0 x 0 pixels", id="no-pixels"),
            pytest.param(
                {"x_train": pixels(12, 8, 8, 3) / 255}, "x_train float64, x_test uint8", id="mixed"
            ),
            pytest.param(
                {"x_train": pixels(12, 8, 8) > 9, "x_test": pixels(6, 8, 8) > 9},
                "x_train bool",
                id="bool",
            ),
            pytest.param(
                {"x_train": pixels(12, 8, 8) - 9.0, "x_test": pixels(6, 8, 8) / 1},
                "pixels run from -9 to ",
                id="standardised",
            ),
            pytest.param(
                {"x_train": pixels(12, 8, 8) * np.nan, "x_test": pixels(6, 8, 8) / 1},
                "pixels run from nan to nan",
                id="nan",
            ),
            pytest.param(
                {"y_train": np.eye(3)[labels(12, 3)]},
                r"y_train is float64 \[12, 3\].*argmax",
                id="one-hot",
            ),
            pytest.param(
                {"y_train": labels(12, 3) / 1},
                r"y_train is float64 \[12\].*astype",
                id="float-labels",
            ),
            pytest.param(
                {"y_test": labels(6, 3) - 1},
                "labels of test run from -1 to 1, but there are 3 classes",
                id="negative",
            ),
            pytest.param(
                {"y_train": labels(12, 3) * 10**9},
                "3 different numbers from 0 to 2000000000",
                id="huge",
            ),
            pytest.param(
                {"classes": np.array(["a", "b"])},
                "run from 0 to 2, but there are 2 classes",
                id="few-names",
            ),
            pytest.param(
                {"classes": np.array(list("abcd"))},
                "train has images of 3 of the 4 classes, none of 'd'",
                id="many-names",
            ),
            pytest.param(
                {"classes": np.array(["a", "b", "b"])},
                "the class name 'b' stands twice",
                id="twice",
            ),
            pytest.param(
                {"classes": np.array(["a", "b", "c\n"])},
                r"the class name 'c\\n' is no printable text",
                id="line-break",
            ),
            pytest.param(
                {"classes": np.array([1, 2, 3])},
                r"classes is int64 \[3\]; expected a list of texts",
                id="name-numbers",
            ),
        ],
    )
    def test_content(self, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
        with pytest.raises(DatasetError, match=message) as caught:
            read(write(tmp_path / "a.npz", **changes))
        assert str(caught.value).startswith(str(tmp_path / "a.npz"))
        assert caught.value.exit_code == 2

    def test_objects_are_not_loaded(self, tmp_path: Path) -> None:
        with pytest.raises(
            FileFormatError, match=r"is no \.npz of plain arrays \(Object arrays cannot be loaded"
        ):
            read(write(tmp_path / "a.npz", y_train=np.array([object()] * 12)))

    def test_no_archive(self, tmp_path: Path) -> None:
        (tmp_path / "a.npz").write_text("text")
        with pytest.raises(
            FileFormatError,
            match=(
                r"no zip archive, or one that is cut off; found 4 B\); write it again with "
                r"np\.savez"
            ),
        ):
            read(tmp_path / "a.npz")


class TestLimits:
    """Sizes in the headers are checked before an array is made."""

    @pytest.fixture(autouse=True)
    def no_array(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object, **__: object) -> None:
            raise AssertionError("an array was made")

        monkeypatch.setattr("numpy.lib.format.read_array", refuse)

    @pytest.mark.parametrize("key", ["x_train", "y_train", "x_test", "y_test"])
    def test_counts(self, tmp_path: Path, key: str) -> None:
        many = np.zeros((100_000, *arrays()[key].shape[1:]), np.uint8)
        with pytest.raises(
            DatasetError,
            match=(
                r"(100,000 images, but (12|6) labels|(12|6) images, but 100,000 labels); expected "
                r"as many"
            ),
        ):
            read(write(tmp_path / "a.npz", **{key: many}))

    def test_bytes(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("nas_engine.datasets.npz.MAX_BYTES", 1000)
        with pytest.raises(
            FileFormatError,
            match=r"its arrays have 3,600 B; at most 1,000 B are read; give fewer images",
        ):
            read(write(tmp_path / "a.npz"))

    def test_header_of_another_size(self, tmp_path: Path) -> None:
        write(tmp_path / "a.npz")
        data = (tmp_path / "a.npz").read_bytes()
        for wrong in (b"(99, 8, 8, 3)", b"(-1, 8, 8, 3)"):
            (tmp_path / "a.npz").write_bytes(data.replace(b"(12, 8, 8, 3)", wrong.ljust(13)[:13]))
            with pytest.raises(FileFormatError, match=r"is no \.npz of plain arrays"):
                read(tmp_path / "a.npz")


@pytest.mark.parametrize("error", [MemoryError(), OSError(5, "Input/output error")])
def test_a_fault_of_the_machine_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    write(tmp_path / "a.npz")
    monkeypatch.setattr("numpy.lib.format.read_array", refuse)
    with pytest.raises(
        (DatasetError, UnreadableError), match=r"does not fit into memory|Input/output error"
    ):
        read(tmp_path / "a.npz")


def test_whichever_read_of_the_system_fails_it_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(io.BytesIO):
        left = 0

        def read(self, *args: Any) -> bytes:
            Failing.left -= 1
            if Failing.left == 0:
                raise OSError(5, "Input/output error")
            return super().read(*args)

    data = write(tmp_path / "a.npz").read_bytes()
    monkeypatch.setattr("nas_engine.datasets.npz.open_regular", lambda *_: Failing(data))
    for number in itertools.count(1):
        Failing.left = number
        with contextlib.suppress(UnreadableError):
            read(tmp_path / "a.npz")
            break
    assert number > 8


class TestFloatsBeyondTheRange:
    def at(self, low: float, high: float) -> dict[str, Any]:
        images = np.linspace(0, 1, 12 * 8 * 8 * 3).reshape(12, 8, 8, 3) * min(
            high, 255 if high > 1.01 else 1
        )
        images[0, 0, 0, 0], images[0, 0, 0, 1] = low, high
        return {"x_train": images, "x_test": images[:6]}

    @pytest.mark.parametrize(("low", "high"), [(0, 1.0004), (-0.0004, 1), (-0.01, 1.01), (0, 1.01)])
    def test_a_hair_is_cut_off(self, tmp_path: Path, low: float, high: float) -> None:
        data = read(write(tmp_path / "a.npz", **self.at(low, high)))
        expected = np.rint(self.at(low, high)["x_train"].clip(0, 1) * np.float32(255))
        np.testing.assert_array_equal(data.train.images, expected)
        assert data.notes == (f"pixels from {low:.6g} to {high:.6g} are cut to 0 to 1",)

    def test_of_bytes(self, tmp_path: Path) -> None:
        data = read(write(tmp_path / "a.npz", **self.at(0, 256.5)))
        assert data.train.images.max() == 255
        assert data.notes == ("pixels from 0 to 256.5 are cut to 0 to 255",)

    @pytest.mark.parametrize(
        ("low", "high"), [(-0.02, 1), (-0.5, 1.5), (-2.1, 2.6), (0, 258), (0, np.inf), (np.nan, 1)]
    )
    def test_more_is_not(self, tmp_path: Path, low: float, high: float) -> None:
        with pytest.raises(DatasetError, match="expected 0 to 255, or 0 to 1 as floats"):
            read(write(tmp_path / "a.npz", **self.at(low, high)))


@pytest.mark.parametrize("kind", ["U", "S"])
def test_labels_that_are_texts(tmp_path: Path, kind: str) -> None:
    texts = np.array(["cat", "dog", "emu"] * 4).astype(kind)
    says = (
        r"y_train is .*; texts become numbers with classes, y = np\.unique\(y, "
        r"return_inverse=True\); save classes too"
    )
    with pytest.raises(DatasetError, match=says):
        read(write(tmp_path / "a.npz", y_train=texts, y_test=texts[:6]))
    classes, numbers = np.unique(texts, return_inverse=True)
    assert read(
        write(tmp_path / "a.npz", y_train=numbers, y_test=numbers[:6], classes=classes)
    ).classes == ("cat", "dog", "emu")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write(tmp_path_factory.mktemp("npz") / "a.npz").read_bytes()


@given(share=st.floats(0, 1, exclude_max=True))
def test_cut_anywhere(
    tmp_path_factory: pytest.TempPathFactory, archive: bytes, share: float
) -> None:
    path = tmp_path_factory.getbasetemp() / "cut.npz"
    path.write_bytes(archive[: int(share * len(archive))])
    with pytest.raises(FileFormatError, match=r"is no \.npz"):
        read(path)


@given(place=st.integers(0, 10**6), value=st.integers(0, 255))
def test_one_byte_changed(
    tmp_path_factory: pytest.TempPathFactory, archive: bytes, place: int, value: int
) -> None:
    data = bytearray(archive)
    data[place % len(data)] = value
    path = tmp_path_factory.getbasetemp() / "changed.npz"
    path.write_bytes(data)
    with contextlib.suppress(DatasetError, FileFormatError):  # and nothing else
        read(path)
