"""Text files with the digest of their own content: no change of one bit, and no cut, is taken for
the content that was written.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas_engine.errors import FileFormatError
from nas_engine.sealed import (
    Seal,
    check_seal,
    parse_line,
    parse_sealed_json,
    read_sealed_json,
    seal_json,
    seal_line,
    seal_yaml,
)

VALUES = st.dictionaries(
    st.text(max_size=5).filter(lambda key: key != "sha256"),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3),
        max_leaves=5,
    ),
    max_size=4,
)


@given(VALUES)
def test_json_comes_back_without_its_digest(values: dict[str, Any]) -> None:
    text = seal_json(values)
    assert parse_sealed_json(text, "file", "mend it") == (values, Seal.FITS)
    assert next(iter(json.loads(text))) == "sha256"
    assert check_seal(text.replace("\n", "\r\n")) is Seal.FITS


def test_a_name_that_is_no_utf_8_survives() -> None:
    text = seal_json({"name": "donn\udce9es é"})
    assert text.encode()  # as a file would hold it
    assert "é" in text
    assert parse_sealed_json(text, "file", "mend it") == ({"name": "donn\udce9es é"}, Seal.FITS)


@given(VALUES, st.data())
def test_no_bit_of_json_changes_unseen(values: dict[str, Any], data: st.DataObject) -> None:
    written = bytearray(seal_json(values).encode())
    place = data.draw(st.integers(0, 8 * len(written) - 1))
    written[place // 8] ^= 1 << place % 8
    with pytest.raises((FileFormatError, UnicodeDecodeError)):
        parse_sealed_json(written.decode(), "file", "mend it")


@given(st.text(st.characters(codec="utf-8", exclude_characters="\r"), min_size=1), st.data())
def test_no_cut_of_yaml_goes_unseen(body: str, data: st.DataObject) -> None:
    text = seal_yaml(body)
    assert check_seal(text) is Seal.FITS
    head = len(text) - len(body)
    assert check_seal(text[: data.draw(st.integers(head, len(text) - 1))]) is Seal.BROKEN


ROWS = st.dictionaries(
    st.text(max_size=5).filter(lambda key: key != "crc32"),
    st.integers() | st.text(max_size=5),
    min_size=1,
    max_size=4,
)


@given(ROWS, st.data())
def test_no_bit_of_a_line_changes_unseen(values: dict[str, Any], data: st.DataObject) -> None:
    written = bytearray(seal_line(values).encode())
    assert parse_line(written.decode()[:-1]) == values
    place = data.draw(st.integers(0, 8 * len(written) - 9))
    written[place // 8] ^= 1 << place % 8
    with pytest.raises(ValueError, match=r"."):
        parse_line(written.decode()[:-1])


def test_a_line_without_a_check_is_taken_and_one_with_a_key_of_that_name_cannot_be_sealed() -> None:
    assert parse_line('{"a": 1}') == {"a": 1}
    assert parse_line("[1]") == [1]
    for values in ({"crc32": 1}, {}):
        with pytest.raises(ValueError, match="of their own, or nothing"):
            seal_line(values)


@pytest.mark.parametrize(
    "text",
    ["# sha256: 12\na: 1\n", "#sha256: x", '{"sha256": "0", "a": 1}', '{\n "sha256"', "# sha256"],
)
def test_a_head_that_is_spoilt_is_no_missing_one(text: str) -> None:
    assert check_seal(text) is Seal.BROKEN


def test_a_changed_file_is_refused_with_what_mends_it(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text(seal_json({"accuracy": 15.33}))
    assert read_sealed_json(path, "type: nas-search train RUN") == ({"accuracy": 15.33}, Seal.FITS)
    path.write_text(path.read_text().replace("15.33", "95.33"))
    with pytest.raises(
        FileFormatError,
        match=(
            r"record.json: does not fit the digest that it carries .*; type: nas-search train RUN"
        ),
    ):
        read_sealed_json(path, "type: nas-search train RUN")
    path.write_text('{"accuracy": 15.33}')
    assert read_sealed_json(path, "") == ({"accuracy": 15.33}, Seal.MISSING)
    for text in ("[1]", "{", "3"):
        path.write_text(text)
        with pytest.raises(FileFormatError):
            read_sealed_json(path, "")
    with pytest.raises(ValueError, match="key 'sha256' of their own"):
        seal_json({"sha256": ""})
