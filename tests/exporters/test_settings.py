"""ExportSettings: a closed, checked list that an export carries, and that decides its bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas_engine import __version__
from nas_engine.errors import FileFormatError, InputError, UnknownNameError
from nas_engine.exporters.bundle import DIGESTS, export_files, formats_of
from nas_engine.exporters.settings import (
    FILE,
    ExportSettings,
    read_settings,
    settings_file,
    versions_for,
)
from nas_engine.sealed import seal_json
from tests.exporters.c_exports import small_network, subject_of

SETTINGS = ExportSettings(formats=("c", "onnx"), prefix="wake", metadata=False)
VERSIONS = {"nas-search": "0.1.0", "onnx": "1.2.3"}
REMEDY = "type: nas-search export RUN"


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / FILE
    path.write_bytes(settings_file(SETTINGS, VERSIONS))
    assert read_settings(path, REMEDY) == (SETTINGS, VERSIONS)


def test_versions_are_those_of_the_packages_that_were_used() -> None:
    assert versions_for(ExportSettings(formats=("c",))) == {"nas-search": __version__}
    assert list(versions_for(ExportSettings(formats=("c", "tflite", "onnx")))) == [
        "nas-search",
        "flatbuffers",
        "onnx",
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schedule": "x"}, "unknown key: 'schedule'"),
        (
            {"format": "nas-search/export-settings/9"},
            "format: is 'nas-search/export-settings/9'; expected",
        ),
        ({"formats": "c"}, "formats: is 'c'; expected a list"),
        ({"formats": ["c", "c"]}, "each once"),
        ({"formats": ["../c"]}, "expected names of formats"),
        ({"formats": [1]}, "formats[0]: is 1; expected a text"),
        ({"prefix": "Model"}, "the prefix is 'Model'; expected up to 31 lower-case letters"),
        ({"prefix": "a\n"}, "the prefix is"),
        ({"prefix": 3}, "prefix: is 3; expected a text"),
        ({"metadata": "yes"}, "metadata: is 'yes'; expected true or false"),
        ({"versions": {"nas-search": "0.1.0"}}, "versions.onnx: is missing"),
        ({"versions": {**VERSIONS, "tensorflow": "1"}}, "unknown key in versions: 'tensorflow'"),
        ({"versions": {**VERSIONS, "onnx": "1\n2"}}, "expected a version"),
    ],
)
def test_what_is_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    values = json.loads(settings_file(SETTINGS, VERSIONS))
    del values["sha256"]
    path = tmp_path / FILE
    path.write_text(seal_json(values | change))
    with pytest.raises(FileFormatError) as caught:
        read_settings(path, REMEDY)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")
    assert str(caught.value).endswith(REMEDY)
    assert len(str(caught.value).splitlines()) == 1


@given(place=st.integers(0, len(settings_file(SETTINGS, VERSIONS)) - 1), flip=st.integers(1, 255))
def test_one_changed_byte_is_refused(
    place: int, flip: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = bytearray(settings_file(SETTINGS, VERSIONS))
    content[place] ^= flip
    path = tmp_path_factory.getbasetemp() / f"changed-{FILE}"
    path.write_bytes(bytes(content))
    with pytest.raises(FileFormatError):
        read_settings(path, REMEDY)


def test_unknown_formats_are_refused() -> None:
    assert formats_of(["onnx", "c"]) == ("c", "onnx")
    with pytest.raises(UnknownNameError, match="unknown format: 'tflit'; did you mean 'tflite'"):
        formats_of(["tflit"])
    with pytest.raises(UnknownNameError, match="expected one of: c, tflite, onnx"):
        export_files(subject_of(small_network()), ExportSettings(formats=("manifest",)))


@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "1a",
        "nas_x",
        "nas",
        "main",
        "int",
        "string",
        "a-b",
        "a__b",
        "a_",
        "a" * 32,
        "ä",
        "a b",
        "a\n",
    ],
)
def test_prefixes_that_c_does_not_take(prefix: str) -> None:
    with pytest.raises(InputError, match="the prefix is"):
        ExportSettings(formats=("c",), prefix=prefix)


def test_an_export_carries_its_settings_and_the_versions_given() -> None:
    subject = subject_of(small_network())
    files = export_files(subject, ExportSettings(formats=("c",)), {"nas-search": "0.0.9"})
    assert json.loads(files[FILE])["versions"] == {"nas-search": "0.0.9"}
    assert f"  {FILE}\n" in files[DIGESTS].decode()
    assert files == export_files(subject, ExportSettings(formats=("c",)), {"nas-search": "0.0.9"})
