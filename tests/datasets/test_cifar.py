"""CIFAR archives: both sets, every format of pickle, and pickles that are something else."""

from __future__ import annotations

import contextlib
import os
import pickle
import tarfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas_engine.datasets import DatasetError
from nas_engine.datasets.pickles import load_pickle
from nas_engine.errors import FileFormatError
from tests.datasets.files import (
    cifar_rows,
    dump,
    pixels,
    python2_pickle,
    read,
    write_archive,
    write_cifar10,
    write_cifar100,
)

FOLDER = "cifar-10-batches-py"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_cifar10(tmp_path / FOLDER)
    return tmp_path / FOLDER


class TestReading:
    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    @pytest.mark.parametrize("as_text", [False, True])
    def test_round_trip(self, tmp_path: Path, protocol: int, as_text: bool) -> None:
        train, test = write_cifar10(tmp_path / FOLDER, protocol=protocol, as_text=as_text)
        data = read(tmp_path / FOLDER, resolution=32)
        np.testing.assert_array_equal(data.train.images, train)
        np.testing.assert_array_equal(data.test.images, test)
        assert data.train.labels.tolist() == [0, 1] * 10
        assert data.test.labels.tolist() == [1, 0, 1, 0]
        assert (data.name, data.classes) == ("CIFAR-10", ("cat", "dog"))

    def test_as_python_2_wrote_it(self, folder: Path) -> None:
        images = pixels(4, 32, 32, 3, seed=9)
        (folder / "test_batch").write_bytes(python2_pickle(cifar_rows(images), [1, 0, 0, 1]))
        data = read(folder, resolution=32)
        np.testing.assert_array_equal(data.test.images, images)
        assert data.test.labels.tolist() == [1, 0, 0, 1]

    @pytest.mark.parametrize("core", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
    def test_module_names_of_both_numpy_lines(self, core: bytes) -> None:
        data = python2_pickle(pixels(2, 3072), [0, 1]).replace(b"numpy.core.multiarray", core)
        np.testing.assert_array_equal(load_pickle(data, "x", whole=1)["data"], pixels(2, 3072))

    def test_array_in_column_order(self) -> None:
        array = np.asfortranarray(pixels(5, 7))
        np.testing.assert_array_equal(
            load_pickle(pickle.dumps({"data": array}, 2), "x", whole=1)["data"], array
        )

    def test_one_level_up_and_renamed(self, folder: Path) -> None:
        assert read(folder.parent).source == str(folder)
        renamed = folder.rename(folder.with_name("mine"))
        assert read(renamed).name == "CIFAR-10"

    def test_cifar100_has_its_fine_classes(self, tmp_path: Path) -> None:
        train = write_cifar100(tmp_path / "cifar-100-python")
        data = read(tmp_path, resolution=32)
        np.testing.assert_array_equal(data.train.images, train)
        assert (data.name, data.classes) == ("CIFAR-100", ("apple", "bear"))

    def test_archive(self, tmp_path: Path, folder: Path) -> None:
        archive = tmp_path / "cifar-10-python.tar.gz"
        write_archive(archive, folder)
        np.testing.assert_array_equal(read(archive).train.images, read(folder).train.images)
        write_cifar100(tmp_path / "cifar-100-python")
        write_archive(tmp_path / "cifar-100-python.tar.gz", tmp_path / "cifar-100-python")
        assert read(tmp_path / "cifar-100-python.tar.gz").name == "CIFAR-100"


class TestErrors:
    def test_missing_file(self, folder: Path) -> None:
        (folder / "data_batch_3").unlink()
        with pytest.raises(
            DatasetError, match=r"lacks 'data_batch_3' of CIFAR-10; unpack or download it again"
        ):
            read(folder)

    def test_cut_off(self, folder: Path) -> None:
        path = folder / "data_batch_2"
        path.write_bytes(path.read_bytes()[:1000])
        with pytest.raises(
            FileFormatError,
            match=r"data_batch_2: is cut off after 1,000 B; expected at least 30,720,000 B",
        ):
            read(folder)

    def test_cut_off_archive(self, tmp_path: Path, folder: Path) -> None:
        archive = tmp_path / "cifar-10-python.tar.gz"
        write_archive(archive, folder)
        archive.write_bytes(archive.read_bytes()[:3000])
        with pytest.raises(
            FileFormatError,
            match=r"is cut off or no \.tar\.gz: expected 170,498,071 B.*found 3,000 B",
        ):
            read(archive)

    def test_archive_without_a_file(self, tmp_path: Path, folder: Path) -> None:
        (folder / "test_batch").unlink()
        write_archive(tmp_path / "cifar-10-python.tgz", folder)
        with pytest.raises(DatasetError, match="lacks 'test_batch'"):
            read(tmp_path / "cifar-10-python.tgz")

    def test_archive_that_unpacks_to_more_than_it_should(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("nas_engine.datasets.cifar.MAX_FILE_BYTES", 2**20)
        (tmp_path / FOLDER).mkdir()
        for name, size in (("other", 2**24), ("data_batch_1", 2**24)):
            (tmp_path / FOLDER / name).write_bytes(bytes(size))
            write_archive(tmp_path / "cifar-10-python.tgz", tmp_path / FOLDER)
            tracemalloc.start()
            with pytest.raises(FileFormatError, match=r"is cut off or no \.tar\.gz"):
                read(tmp_path / "cifar-10-python.tgz")
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert peak < 2**22
            (tmp_path / FOLDER / name).unlink()

    @pytest.mark.parametrize(
        "kind",
        [
            tarfile.SYMTYPE,
            tarfile.LNKTYPE,
            tarfile.FIFOTYPE,
            tarfile.CHRTYPE,
            tarfile.GNUTYPE_SPARSE,
        ],
    )
    def test_members_that_are_no_files(self, tmp_path: Path, folder: Path, kind: bytes) -> None:
        (folder / "test_batch").unlink()
        member = tarfile.TarInfo(f"{FOLDER}/test_batch")
        member.type, member.linkname = kind, f"{FOLDER}/data_batch_1"
        with tarfile.open(tmp_path / "cifar-10-python.tgz", "w:gz") as archive:
            archive.add(folder, arcname=FOLDER)
            archive.addfile(member)
        with pytest.raises(DatasetError, match="lacks 'test_batch'"):
            read(tmp_path / "cifar-10-python.tgz")

    def test_named_pipe(self, folder: Path) -> None:
        (folder / "test_batch").unlink()
        os.mkfifo(folder / "test_batch")
        with pytest.raises(DatasetError, match="lacks 'test_batch'"):
            read(folder)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            pytest.param(
                {"data": pixels(2, 3072), "labels": [0]}, "2 images, but 1 labels", id="number"
            ),
            pytest.param(
                {"data": pixels(2, 3071), "labels": [0, 1]}, r"no uint8 array \[N, 3072\]", id="row"
            ),
            pytest.param(
                {"data": [1], "labels": [0]}, r"no uint8 array \[N, 3072\]", id="no-array"
            ),
            pytest.param({"labels": [0]}, r"no uint8 array \[N, 3072\]", id="no-data"),
            pytest.param(
                {"data": pixels(2, 3072)}, "no list of class numbers under 'labels'", id="no-labels"
            ),
            pytest.param(
                {"data": pixels(2, 3072), "labels": ["a", "b"]},
                "no list of class numbers",
                id="texts",
            ),
            pytest.param(
                {"data": pixels(2, 3072).astype(np.float32), "labels": [0, 1]},
                "expected uint8",
                id="floats",
            ),
            pytest.param([1, 2], "holds a list, not a dictionary", id="list"),
        ],
    )
    def test_content(self, folder: Path, content: object, message: str) -> None:
        dump(folder / "test_batch", content)
        with pytest.raises((DatasetError, FileFormatError), match=rf"test_batch: .*{message}"):
            read(folder)

    def test_labels_beyond_the_names(self, folder: Path) -> None:
        dump(folder / "test_batch", {"data": pixels(2, 3072), "labels": [0, 7]})
        with pytest.raises(
            DatasetError,
            match=(
                "the labels of test run from 0 to 7, but there are 2 classes; expected labels from "
                "0 to 1"
            ),
        ):
            read(folder)

    def test_names(self, folder: Path) -> None:
        dump(folder / "batches.meta", {"label_names": 3})
        with pytest.raises(FileFormatError, match="no list of names under 'label_names'"):
            read(folder)

    def test_web_page_instead_of_the_file(self, folder: Path) -> None:
        (folder / "test_batch").write_text("<html>Not found</html>")
        with pytest.raises(
            FileFormatError, match=r"is not a file of the CIFAR archives .*; download it again"
        ):
            read(folder)


class Runs:
    """Pickles as a call."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self.call


class TestHostilePickles:
    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    def test_nothing_is_run(self, folder: Path, protocol: int) -> None:
        target = folder / "made"
        dump(
            folder / "data_batch_1", {"data": Runs(os.mkdir, str(target)), "labels": [0]}, protocol
        )
        with pytest.raises(
            FileFormatError,
            match=r"asks Python for '\w+\.mkdir', which no CIFAR file does; nothing was run",
        ):
            read(folder)
        assert not target.exists()

    @pytest.mark.parametrize(
        "name",
        [
            b"builtins\neval",
            b"__builtin__\neval",
            b"os\nsystem",
            b"numpy\nload",
            b"numpy.core.multiarray\nscalar",
            b"_codecs\ndecode",
        ],
    )
    def test_names_that_are_refused(self, name: bytes) -> None:
        with pytest.raises(FileFormatError, match="nothing was run"):
            load_pickle(b"c" + name + b"\n(S'1'\ntR.", "x", whole=1)

    @pytest.mark.parametrize(
        "data",
        [
            b"\x80\x04cbuiltins\nbytearray\n\x8a\x05\0\0\0\0\x02\x85R.",  # bytearray(2**33)
            b"\x80\x04cbuiltins\nbytes\n\x8a\x05\0\0\0\0\x02\x85R.",
            b"\x80\x02Nr\0\0\0\x20.",  # None at place 2**29
            b"Np536870912\n.",
        ],
    )
    def test_memory_is_not_taken(self, data: bytes) -> None:
        tracemalloc.start()
        with pytest.raises(FileFormatError, match="is not a file of the CIFAR archives"):
            load_pickle(data, "x", whole=1)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2**22

    def test_dotted_name(self) -> None:
        data = pickle.PROTO + b"\x04" + b"\x8c\x05numpy" + b"\x8c\x0fndarray.dumps\0\0" + b"\x93."
        with pytest.raises(FileFormatError, match="nothing was run"):
            load_pickle(data, "x", whole=1)

    def test_array_that_lies(self) -> None:
        honest = python2_pickle(pixels(2, 3072), [0, 1])
        with pytest.raises(FileFormatError, match="not what its header says"):
            load_pickle(
                honest.replace(
                    b"J" + (2).to_bytes(4, "little"), b"J" + (9).to_bytes(4, "little"), 1
                ),
                "x",
                whole=1,
            )

    def test_only_latin1(self) -> None:
        with pytest.raises(FileFormatError, match="encoding"):
            load_pickle(b"c_codecs\nencode\n(Vabc\nVrot13\ntR.", "x", whole=1)

    @given(length=st.integers(0, len(python2_pickle(pixels(1, 40), [0])) - 1))
    def test_cut_anywhere(self, length: int) -> None:
        with pytest.raises(FileFormatError, match=f"is cut off after {length} B"):
            load_pickle(python2_pickle(pixels(1, 40), [0])[:length], "x", whole=1)

    @given(data=st.binary(max_size=60))
    def test_any_bytes(self, data: bytes) -> None:
        with contextlib.suppress(FileFormatError):  # and nothing else
            load_pickle(data, "x", whole=1)

    @given(place=st.integers(0, 200), value=st.integers(0, 255))
    def test_one_byte_changed(self, place: int, value: int) -> None:
        data = bytearray(python2_pickle(pixels(1, 40), [0]))
        data[place % len(data)] = value
        with contextlib.suppress(FileFormatError):
            load_pickle(bytes(data), "x", whole=1)
