"""YAML read strictly: what is refused, and how the message reads."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from nas_engine.errors import FileFormatError, PathError
from nas_engine.escaping import terminal_line
from nas_engine.strict_yaml import (
    MAX_FILE_BYTES,
    Fields,
    dump_mapping,
    parse_mapping,
    parse_value,
    read_checked,
    read_mapping,
)


def refusal(act: Callable[[], object]) -> str:
    with pytest.raises(FileFormatError) as caught:
        act()
    message = str(caught.value)
    assert len(message.splitlines()) == 1, message
    assert message.startswith("x.yaml: ")
    return message


ODD = ("yes", "on", "2024-01-01", "<<", "=", "1e3", "~")
TEXTS = st.text(max_size=8) | st.text("0123456789_:-+.eEx", max_size=8) | st.sampled_from(ODD)
PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS


def fields(**data: Any) -> Fields:
    return Fields(data, "x.yaml")


class TestFiles:
    def test_mapping(self, tmp_path: Path) -> None:
        path = tmp_path / "a.yaml"
        path.write_text("a: 1\nb: [2, é]\n", encoding="utf-8")
        assert read_mapping(path, None) == read_mapping(str(path), None) == {"a": 1, "b": [2, "é"]}

    def test_missing_directory_binary_empty_huge_and_impossible(self, tmp_path: Path) -> None:
        binary, empty, huge = (tmp_path / name for name in ("binary", "empty", "huge"))
        binary.write_bytes(b"\xff\xfe\x00a")
        empty.touch()
        with huge.open("wb") as file:
            file.truncate(MAX_FILE_BYTES + 1)
        for path, says in (
            (tmp_path / "none.yaml", "cannot be read (No such file or directory)"),
            (tmp_path, "is a folder; expected a regular file"),
            (binary, "is not a text file"),
            (empty, "holds nothing; expected 'key: value' lines"),
            (huge, "is larger than 4,194,304 B"),
            (tmp_path / ("n" * 5000), "cannot be read (File name too long)"),
            (Path("a\0b"), "cannot be read ("),
        ):
            with pytest.raises(PathError) as caught:
                read_mapping(path, None)
            assert f": {says}" in str(caught.value)
            assert str(caught.value).startswith(
                terminal_line(str(path))[:60]
            )  # a name of thousands of characters is shortened
            assert len(str(caught.value).splitlines()) == 1
            assert caught.value.exit_code == 2

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
    def test_a_named_pipe_and_a_device_are_refused_without_waiting(self, tmp_path: Path) -> None:
        pipe = tmp_path / "pipe.yaml"
        os.mkfifo(pipe)
        for path, kind in ((pipe, "a named pipe"), (Path("/dev/zero"), "a device")):
            with pytest.raises(
                FileFormatError, match=f"{path}: is {kind}; expected a regular file"
            ):
                read_mapping(path, None)

    def test_file_of_the_largest_size_is_read(self, tmp_path: Path) -> None:
        path = tmp_path / "large"
        path.write_bytes(b"a" * (MAX_FILE_BYTES - 1) + b"\n")
        assert read_checked(path, None, len) == MAX_FILE_BYTES


class TestParseMapping:
    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("", "holds nothing"),
            ("# only a comment", "holds nothing"),
            ("abc", "holds a text"),
            ("12", "holds a whole number"),
            ("1.5", "holds a number"),
            ("true", "holds a truth value"),
            ("- a\n- b", "holds a list"),
            ("2020-01-01", "holds a text"),
            (
                "a: 010",
                (
                    "line 1, column 4: 010 begins with a zero, which makes it octal in YAML 1.1; "
                    "write 10, or '010' for a text"
                ),
            ),
            (
                "a: [-0_7]",
                (
                    "line 1, column 5: -0_7 begins with a zero, which makes it octal in YAML 1.1; "
                    "write -7, or '-0_7' for a text"
                ),
            ),
            ("a: 1\nb: 2\na: 3", "line 3, column 1: key 'a' stands twice"),
            ("a: {b: 1, b: 2}", "key 'b' stands twice"),
            ("a: 1\n a: 2", "is not valid YAML: line 2"),
            ("a: [1, 2", "is not valid YAML: line 1"),
            ("a: 'x", "is not valid YAML: line 1"),
            ("? [1]\n: 2", "a key must be a plain word"),
            ("? {a: 1}\n: 2", "a key must be a plain word"),
            ("a: *b", "undefined alias"),
            ("a: 1\n---\nb: 2", "is not valid YAML: line 2"),
            ("a: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
            ("a: \x01", "is not valid YAML"),
            ("a: " + "9" * 5000, "is not valid YAML"),
            ("a: " + "[" * 3000, "is not valid YAML"),
            ('"a\\nb": 1\n"a\\nb": 2', "stands twice"),
        ],
    )
    def test_refuses(self, text: str, says: str) -> None:
        assert says in refusal(lambda: parse_mapping(text, "x.yaml"))

    @pytest.mark.parametrize(
        "value",
        [
            "!!int ''",
            "!!bool maybe",
            "!!timestamp x",
            "!!float x",
            "!!binary é",
            "!!set x",
            "!!omap x",
            "!!map x",
            "!!int 0x_",
        ],
    )
    def test_a_value_that_its_own_tag_does_not_fit_is_not_valid_yaml(self, value: str) -> None:
        assert "is not valid YAML" in refusal(lambda: parse_mapping(f"a: {value}", "x.yaml"))

    @pytest.mark.parametrize(
        ("text", "value"),
        [
            *(
                (word, word)
                for word in (
                    "yes",
                    "no",
                    "on",
                    "off",
                    "y",
                    "N",
                    "1:30:00",
                    "1:30.5",
                    "2024-01-01",
                    "2024-13-45",
                )
            ),
            *(
                (word, word)
                for word in (
                    "0x_",
                    "0b11",
                    "1__0",
                    "_1",
                    "1_",
                    "1_0.5",
                    "<<",
                    "=",
                    "0o8",
                    "nULL",
                    "tRUE",
                    ".Inf1",
                    "1e",
                    "é",
                )
            ),
            *((word, None) for word in ("", "~", "null", "Null", "NULL")),
            *((word, True) for word in ("true", "True", "TRUE")),
            *((word, False) for word in ("false", "False", "FALSE")),
            *(
                ("0", 0),
                ("-0", 0),
                ("+12", 12),
                ("-3", -3),
                ("0x1F", 31),
                ("0o17", 15),
                ("133_000_000", 133_000_000),
            ),
            *(
                ("1e3", 1000.0),
                ("5e-4", 0.0005),
                (".5", 0.5),
                ("1.", 1.0),
                ("-1.5E+2", -150.0),
                ("01.5", 1.5),
            ),
            *((".inf", math.inf), ("-.INF", -math.inf), ("1e999", math.inf)),
            *(("!!str 5", "5"), ("'010'", "010"), ("!!float 5", 5.0), ("!!null ''", None)),
        ],
    )
    def test_a_value_means_what_yaml_1_2_says(self, text: str, value: object) -> None:
        found = parse_value(text, "x.yaml")
        assert (type(found), found) == (type(value), value)

    @given(
        st.recursive(
            PLAIN,
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
            max_leaves=6,
        )
    )
    def test_what_is_dumped_comes_back_also_to_readers_of_yaml_1_1(self, value: object) -> None:
        text = dump_mapping({"a": value})
        assert parse_mapping(text, "x.yaml") == yaml.safe_load(text) == {"a": value}

    @given(st.one_of(st.text(max_size=40), st.text("ab:-?![]{}&*#|>'\"\n 1.", max_size=30)))
    def test_any_text_is_a_mapping_or_a_one_line_error(self, text: str) -> None:
        try:
            found: object = parse_mapping(text, "x.yaml")
        except FileFormatError as error:
            found = str(error)
        assert isinstance(found, dict) or len(str(found).splitlines()) == 1


class TestFields:
    def test_values(self) -> None:
        data = fields(i=3, n=1.5, s="text", b=True, l=[1, 2], m={"x": 1}, e=[{"y": 2}], none=None)
        assert (
            data.take_int("i"),
            data.take_number("n"),
            data.take_number("i"),
            data.take_str("s"),
            data.take_bool("b"),
        ) == (
            3,
            1.5,
            3,
            "text",
            True,
        )
        items = data.take_items("l", 2, "whole numbers")
        assert [items.take_int(at) for at in items] == [1, 2]
        assert data.take_fields("m").take_int("x") == 1
        assert [data.take_items("e").take_fields("[0]").take_int("y")] == [2]
        assert data.has("i")
        assert not data.has("none")
        assert not data.has("absent")
        data.finish()

    def test_defaults(self) -> None:
        data = fields()
        assert (
            data.take_int("i", 7),
            data.take_str("s", None),
            data.take_bool("b", False),
        ) == (
            7,
            None,
            False,
        )

    @pytest.mark.parametrize("kind", ["int", "number", "str", "bool", "items", "fields"])
    def test_missing(self, kind: str) -> None:
        assert (
            refusal(lambda: getattr(fields(), f"take_{kind}")("a"))
            == "x.yaml: a: is missing; add it"
        )

    @pytest.mark.parametrize(
        ("kind", "value"),
        [
            *(("int", value) for value in (True, 1.0, "1", None, -1, [1], 2**53 + 1)),
            *(
                ("number", value)
                for value in (True, "1", None, -0.5, float("nan"), float("inf"), 1e19)
            ),
            *(("str", value) for value in ("", "  ", 1, None, True, ["a"])),
            *(("bool", value) for value in (0, 1, "true", None)),
            *(("items", value) for value in ("ab", None, 1, {"a": 1})),
            *(("fields", value) for value in ([], "ab", None, 1)),
        ],
    )
    def test_wrong_type_or_value(self, kind: str, value: object) -> None:
        message = refusal(lambda: getattr(fields(a=value), f"take_{kind}")("a"))
        assert message.startswith("x.yaml: a")
        assert "expected" in message

    def test_ranges_lengths_and_items(self) -> None:
        assert refusal(lambda: fields(a=5).take_int("a", low=6, high=9)).endswith(
            "a: is 5; expected a whole number from 6 to 9"
        )
        assert refusal(lambda: fields(a=10).take_int("a", low=6, high=9)).endswith(
            "a: is 10; expected a whole number from 6 to 9"
        )
        assert fields(a=6).take_int("a", low=6, high=6) == 6
        assert refusal(lambda: fields(a=[1]).take_items("a", 2)).endswith("expected a list of 2")
        assert refusal(lambda: fields(a=1).take_items("a", 2, "texts")).endswith(
            "expected a list of 2 texts"
        )
        assert "did you mean 'red'" in refusal(
            lambda: fields(a="rde").take_str("a", choices=("red", "blue"))
        )

    def test_place_is_named_with_its_parents(self) -> None:
        data = fields(stages=[{"depth": {"min": 1}}, {"depth": {"min": "x"}}])
        assert refusal(
            lambda: (
                data.take_items("stages").take_fields("[1]").take_fields("depth").take_int("min")
            )
        ).startswith("x.yaml: stages[1].depth.min: is 'x'")

    def test_key_that_nobody_asked_for(self) -> None:
        data = fields(part={"depth": 1, "dept": 2})
        part = data.take_fields("part")
        part.take_int("depth")
        assert (
            refusal(part.finish)
            == "x.yaml: unknown key in part: 'dept'; did you mean 'depth'? expected one of: depth"
        )
        data.finish()

    @pytest.mark.parametrize("key", [1, None, True, "a\nb", 2.5, "\x85"])
    def test_odd_unknown_keys(self, key: object) -> None:
        data = Fields({key: 1}, "x.yaml")
        data.take_int("depth", 1)
        assert "unknown key" in refusal(data.finish)
