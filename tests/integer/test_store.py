"""Models on disk: the round trip, the same bytes every time, and one line for everything that can
be wrong.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nas_engine.errors import FileFormatError, InputError
from nas_engine.files import StorageError
from nas_engine.integer.lowering import lower
from nas_engine.integer.model import IntegerConvolution, IntegerModel
from nas_engine.integer.reference import run, trace
from nas_engine.integer.store import load, save
from nas_engine.network.graph import NetworkError
from nas_engine.reading import UnreadableError
from nas_engine.testing.networks import RESIDUAL, branching_record, random_images, random_model
from tests.resealed import content as json_content
from tests.resealed import rewrite

SEED = 1
"""A network with a pooled shortcut, an addition and every kind of step."""


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved")
    model = random_model(SEED)
    save(path, model, random_images(model, 3))
    return path


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    for name in ("model.json", "model.npz"):
        (tmp_path / name).write_bytes((saved / name).read_bytes())
    return tmp_path


def as_tree(model: IntegerModel) -> dict[str, Any]:
    def plain(value: Any) -> Any:
        if is_dataclass(value):
            return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
        if isinstance(value, tuple):
            return [plain(item) for item in value]
        return (value.dtype.name, value.tolist()) if isinstance(value, np.ndarray) else value

    return {**plain(model), "provenance": dict(model.provenance)}


def test_the_network_has_every_kind_of_step() -> None:
    steps = random_model(SEED).nodes
    assert {step.kind for step in steps} == {"conv", "depthwise", "average_pool"}
    assert any(isinstance(step, IntegerConvolution) and step.addition for step in steps)


@pytest.mark.parametrize("seed", [*range(6), *RESIDUAL])
def test_round_trip(tmp_path: Path, seed: int) -> None:
    model = random_model(seed)
    images = random_images(model, 2)
    save(tmp_path / "new" / "folder", model, images)
    read = load(tmp_path / "new" / "folder")
    assert as_tree(read.model) == as_tree(model)
    np.testing.assert_array_equal(read.golden.images, images)
    np.testing.assert_array_equal(read.golden.logits, run(model, images))
    first = trace(model, images[:1], fast=False)
    assert dict(read.golden.checksums) == {
        name: zlib.crc32(values.tobytes()) for name, values in first.items()
    }
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == [
        "model.json",
        "model.npz",
    ]


def test_round_trip_of_every_kind_of_node(tmp_path: Path) -> None:
    records = [branching_record(seed) for seed in range(12)]
    classifiers = [record for record in records if record.classes]
    assert 3 < len(classifiers) < 12
    for record in classifiers:
        model = lower(record)
        save(tmp_path, model, random_images(model, 1))
        assert as_tree(load(tmp_path).model) == as_tree(model)
    several = lower(next(record for record in records if not record.classes))
    with pytest.raises(NetworkError, match=r"expected a classifier$"):
        save(tmp_path, several, random_images(several, 1))


def test_same_bytes_every_time(saved: Path, tmp_path: Path) -> None:
    model = random_model(SEED)
    save(tmp_path, model, random_images(model, 3))
    for name in ("model.json", "model.npz"):
        assert (tmp_path / name).read_bytes() == (saved / name).read_bytes()
    again = tmp_path / "again"
    read = load(tmp_path)
    save(again, read.model, read.golden.images)
    assert (again / "model.npz").read_bytes() == (saved / "model.npz").read_bytes()
    assert (again / "model.json").read_bytes() == (saved / "model.json").read_bytes()


def test_a_reader_needs_neither_pickles_nor_the_engine(saved: Path) -> None:
    description = json.loads((saved / "model.json").read_text(encoding="utf-8"))
    with np.load(saved / "model.npz", allow_pickle=False) as arrays:
        assert arrays["stem.weights"].dtype == np.int8
        assert arrays["golden images"].dtype == np.uint8
    assert all(
        float(np.float32(tensor["scale"])) == tensor["scale"] for tensor in description["tensors"]
    )


def test_no_golden_images(tmp_path: Path) -> None:
    model = random_model(SEED)
    with pytest.raises(
        InputError, match="there are no images for the golden vectors; give at least one"
    ):
        save(tmp_path, model, random_images(model, 0))


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    model = random_model(SEED)
    with pytest.raises(StorageError):
        save(tmp_path / "file", model, random_images(model, 1))


@pytest.mark.parametrize("name", ["model.json", "model.npz"])
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_cut_off_anywhere(saved: Path, copy: Path, name: str, data: st.DataObject) -> None:
    content = (saved / name).read_bytes()
    whole = len(content.rstrip())  # without the last line break the file still is whole
    (copy / name).write_bytes(content[: data.draw(st.integers(0, whole - 1))])
    with pytest.raises(FileFormatError, match=re.escape(name)) as caught:
        load(copy)
    assert "\n" not in str(caught.value)


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_changed_byte_is_refused_or_changes_no_number(
    saved: Path, copy: Path, data: st.DataObject
) -> None:
    content = bytearray((saved / "model.json").read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (copy / "model.json").write_bytes(bytes(content))
    try:
        read, message = load(copy), ""
    except FileFormatError as error:
        read, message = load(saved), str(error)
    assert "\n" not in message
    images = read.golden.images
    np.testing.assert_array_equal(run(read.model, images), run(random_model(SEED), images))


Change = Callable[[dict[str, Any], dict[str, Any]], Any]
REFUSED: dict[str, tuple[Change, str]] = {
    "version": (
        lambda j, a: j.update(format="nas-search/integer-model/2"),
        "format: is 'nas-search/integer-model/2'; expected",
    ),
    "unknown key": (lambda j, a: j.update(colour=1), "unknown key: 'colour'"),
    "missing key": (lambda j, a: j.pop("image"), "image: is missing; add it"),
    "list": (lambda j, a: j.update(tensors={}), "tensors: is {}; expected a list"),
    "scale": (
        lambda j, a: j["tensors"][1].update(scale=0.1),
        "the scale is 0.1; expected a finite float32 value above 0",
    ),
    "another scale": (
        lambda j, a: j["tensors"][1].update(scale=0.5),
        "of the requantizer does not follow from the scales",
    ),
    "not a number": (
        lambda j, a: j["tensors"][1].update(scale=float("nan")),
        "tensors[1].scale: is nan; expected a number",
    ),
    "bits": (
        lambda j, a: j["tensors"][1].update(bits=9),
        "bits is 9; expected a whole number from 2 to 8",
    ),
    "op": (lambda j, a: j["steps"][0].update(op="dense"), "unknown value for steps[0].op: 'dense'"),
    "padding": (
        lambda j, a: j["steps"][0].update(padding=[1, 1]),
        "steps[0].padding: is [1, 1]; expected a list of 4 whole numbers",
    ),
    "bounds": (lambda j, a: j["steps"][0]["bounds"].update(accumulator=1), "the bounds are"),
    "addition": (
        lambda j, a: next(s["addition"] for s in j["steps"] if s.get("addition")).update(
            first=[1, 0]
        ),
        "the addition does not follow from the scales",
    ),
    "order": (
        lambda j, a: j["steps"].reverse(),
        "before a step has made it; put the steps in order",
    ),
    "classes": (lambda j, a: j["classes"].append("one more"), "one channel per class"),
    "provenance": (
        lambda j, a: j.update(provenance={"seed": 1}),
        "provenance.seed: is 1; expected a text",
    ),
    "checksum": (
        lambda j, a: j["golden_crc32"].update(image=1),
        "the model does not compute its golden vectors",
    ),
    "width": (
        lambda j, a: a["stem.weights"].fill(-128),
        "the weights (int8) are not whole numbers from",
    ),
    "bias": (lambda j, a: a.update({"stem.bias": a["stem.bias"] + 1}), "the bounds are"),
    "missing array": (
        lambda j, a: a.pop("stem.bias"),
        "the array 'stem.bias' is missing; expected int32",
    ),
    "type": (
        lambda j, a: a.update({"stem.bias": a["stem.bias"] * 1.0}),
        "the array 'stem.bias' is of type float64; expected int32",
    ),
    "length": (
        lambda j, a: a.update({"stem.shift": a["stem.shift"][:0]}),
        "shift of the requantizer does not follow",
    ),
    "images": (
        lambda j, a: a.update({"golden images": a["golden images"][:, 1:]}),
        "golden images: the images are uint8",
    ),
    "no images": (
        lambda j, a: a.update({"golden images": a["golden images"][:0]}),
        "golden images: there are no images",
    ),
    "logits": (
        lambda j, a: a.update({"golden logits": a["golden logits"] ^ 1}),
        "the model does not compute its golden vectors",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_in_one_line(copy: Path, case: str) -> None:
    change, message = REFUSED[case]
    description = json_content(copy / "model.json")
    with np.load(copy / "model.npz") as file:
        arrays = {name: file[name] for name in file.files}
    change(description, arrays)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    (copy / "model.npz").write_bytes(buffer.getvalue())
    description["npz_sha256"] = hashlib.sha256(buffer.getvalue()).hexdigest()
    rewrite(copy / "model.json", description)
    with pytest.raises(FileFormatError, match=re.escape(message)) as caught:
        load(copy)
    assert str(copy) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["model.json", "model.npz"])
def test_missing_file(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(
        UnreadableError,
        match=(
            rf"{name}: cannot be read \(No such file or directory\); give the directory that an "
            r"export"
        ),
    ):
        load(copy)


def test_arrays_of_another_export(copy: Path) -> None:
    model = random_model(SEED + 1)
    save(copy / "other", model, random_images(model, 1))
    (copy / "model.npz").write_bytes((copy / "other" / "model.npz").read_bytes())
    with pytest.raises(
        FileFormatError,
        match=r"model.npz: is not the file that model.json names \(cut off, changed, or of another",
    ):
        load(copy)


@pytest.mark.parametrize("damage", [b"", b"no archive", b"PK\x03\x04", b"\x93NUMPY\x01\x00"])
def test_not_an_archive(copy: Path, damage: bytes) -> None:
    (copy / "model.npz").write_bytes(damage)
    description = json_content(copy / "model.json")
    description["npz_sha256"] = hashlib.sha256(damage).hexdigest()
    rewrite(copy / "model.json", description)
    with pytest.raises(
        FileFormatError, match=r"model.npz: is not an archive of arrays; export the model again"
    ):
        load(copy)


def test_objects_are_not_unpickled(copy: Path) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=True, **{"stem.weights": np.array([{}], object)})
    (copy / "model.npz").write_bytes(buffer.getvalue())
    description = json_content(copy / "model.json")
    description["npz_sha256"] = hashlib.sha256(buffer.getvalue()).hexdigest()
    rewrite(copy / "model.json", description)
    with pytest.raises(FileFormatError, match="is not an archive of arrays"):
        load(copy)


def test_archive_has_no_dates(saved: Path) -> None:
    with zipfile.ZipFile(saved / "model.npz") as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
