"""Records read by their annotations.

A written one comes back, and each kind of wrong value is one clear line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas_engine.errors import FileFormatError, InputError
from nas_engine.ranges import Range
from nas_engine.records import (
    Count,
    Percent,
    Text,
    check,
    plain,
    read,
    read_sealed,
    sealed,
)
from nas_engine.strict_yaml import Fields, dump_mapping, parse_mapping
from tests.resealed import rewrite


class Colour(StrEnum):
    RED = "red"
    BLUE = "dark blue"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    width: Annotated[int, Range(2, 8)]
    double: bool = False

    DERIVED: ClassVar[tuple[str, ...]] = ("twice", "half")

    def __post_init__(self) -> None:
        check(self)

    @property
    def twice(self) -> int:
        return 2 * self.width

    @property
    def half(self) -> float:
        return self.width / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer:
    name: str
    share: Percent | None
    size: float
    inner: Inner
    colour: Colour = Colour.RED
    mode: Literal["a", "b"] = "a"
    note: Text = ""
    images: Count = 1
    many: tuple[Inner, ...] = ()
    pair: tuple[int, float] = (0, 0.0)
    counts: Mapping[str, tuple[int, ...]] | None = None
    free: Any = None


NAMES = st.text("abc def", min_size=1, max_size=5).filter(str.strip)
INNERS = st.builds(Inner, width=st.integers(2, 8), double=st.booleans())
OUTERS = st.builds(
    Outer,
    name=NAMES,
    share=st.none() | st.floats(0, 100),
    size=st.floats(0, 1e18),
    inner=INNERS,
    colour=st.sampled_from(Colour),
    mode=st.sampled_from(["a", "b"]),
    note=st.just("") | NAMES,
    images=st.integers(1, 2**53),
    many=st.lists(INNERS, max_size=3).map(tuple),
    pair=st.tuples(st.integers(0, 9), st.floats(0, 9)),
    counts=st.none()
    | st.dictionaries(NAMES, st.lists(st.integers(0, 9), max_size=3).map(tuple), max_size=2),
    free=st.none() | st.integers() | st.lists(st.booleans(), max_size=2),
)
PLAIN: dict[str, Any] = {
    "name": "n",
    "share": None,
    "size": 1,
    "inner": {"width": 2, "double": False, "twice": 4, "half": 1.0},
    "colour": "red",
    "mode": "a",
    "note": "",
    "images": 1,
    "many": [],
    "pair": [0, 0],
    "counts": None,
    "free": None,
}


@given(OUTERS)
def test_what_is_written_comes_back(record: Outer) -> None:
    assert read(Outer, Fields(plain(record), "x")) == record
    text = dump_mapping(plain(record))
    assert read(Outer, Fields(parse_mapping(text, "x"), "x")) == record


def test_files(tmp_path: Path) -> None:
    record, path = Inner(width=3), tmp_path / "a.json"
    path.write_text(sealed("f/1", record, {"b": "digest"}))
    assert read_sealed(Inner, path, "f/1", "make it again") == record
    for change, says in (
        ({"format": "f/2"}, "format: is 'f/2'; expected 'f/1'; make it again"),
        ({"width": 9}, "width: is 9; expected a whole number from 2 to 8; make it again"),
        ({"wdth": 9}, "unknown key: 'wdth'; did you mean 'width'?"),
    ):
        rewrite(path, {"format": "f/1", **plain(record), **change})
        with pytest.raises(FileFormatError) as caught:
            read_sealed(Inner, path, "f/1", "make it again")
        assert says in str(caught.value)


@pytest.mark.parametrize("name", [f.name for f in fields(Outer)])
def test_a_missing_key(name: str) -> None:
    values = {key: value for key, value in PLAIN.items() if key != name}
    if name in ("share", "counts"):
        assert read(Outer, Fields(values, "x")) == read(Outer, Fields(PLAIN, "x"))
    else:
        with pytest.raises(FileFormatError, match=f"x: {name}: is missing; add it"):
            read(Outer, Fields(values, "x"))
    if name in ("name", "size", "inner"):
        with pytest.raises(FileFormatError, match=f"x: {name}: is missing; add it"):
            read(Outer, Fields(values, "x"), defaults=True)
    else:
        assert read(Outer, Fields(values, "x"), defaults=True) == read(Outer, Fields(PLAIN, "x"))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"name": ""}, "name: is ''; expected a text"),
        ({"name": 3}, "name: is 3; expected a text"),
        ({"note": None}, "note: is None; expected a text"),
        ({"share": 101}, "share: is 101; expected a number from 0 to 100"),
        ({"share": float("nan")}, "share: is nan"),
        ({"size": "1"}, "size: is '1'; expected a number from 0 to 1e+18 without quotes"),
        ({"size": True}, "size: is True; expected a number"),
        ({"images": 0}, "images: is 0; expected a whole number from 1 to 9,007,199,254,740,992"),
        ({"images": 1.0}, "images: is 1.0; expected a whole number"),
        ({"colour": "dark"}, "unknown value for colour: 'dark'; did you mean 'dark blue'?"),
        ({"mode": "c"}, "unknown value for mode: 'c'; expected one of: a, b"),
        ({"inner": None}, "inner holds nothing; expected a mapping"),
        ({"inner": {**PLAIN["inner"], "width": 9}}, "inner.width: is 9; expected a whole number"),
        ({"inner": {**PLAIN["inner"], "twice": 5}}, "inner.twice: is 5, the other values give 4"),
        ({"inner": {**PLAIN["inner"], "half": 1.1}}, "inner.half: is 1.1, the other values give"),
        ({"inner": {"width": 2, "double": False}}, "inner.twice: is missing"),
        ({"inner": {**PLAIN["inner"], "wdth": 2}}, "unknown key in inner: 'wdth'; did you mean"),
        ({"many": [3]}, "many[0] holds a whole number; expected a mapping"),
        ({"many": {}}, "many: is {}; expected a list"),
        ({"pair": [1]}, "pair: is [1]; expected a list of 2"),
        ({"pair": [1, "x"]}, "pair[1]: is 'x'; expected a number"),
        ({"counts": {"a": [1, -1]}}, "counts.a[1]: is -1; expected a whole number"),
        ({"nmae": 1}, "unknown key: 'nmae'; did you mean 'name'?"),
    ],
)
def test_a_wrong_value(change: dict[str, Any], says: str) -> None:
    with pytest.raises(FileFormatError) as caught:
        read(Outer, Fields(PLAIN | change, "x"))
    assert str(caught.value).startswith(f"x: {says}")


def test_check() -> None:
    with pytest.raises(InputError, match=r"^width: is 9; expected a whole number from 2 to 8$"):
        Inner(width=9)
    with pytest.raises(InputError, match=r"^double: is 1; expected true or false$"):
        Inner(width=2, double=1)  # type: ignore[arg-type]


def test_plain_writes_nothing_that_json_has_no_word_for() -> None:
    assert plain({"a": float("inf"), "b": (Colour.RED, float("nan"))}) == {
        "a": None,
        "b": ["red", None],
    }
    assert type(plain(Colour.RED)) is str
    value: Any = {1: (np.float32(0.5), np.arange(2)), "b": True, "c": None, "d": Path("x")}
    assert plain(value) == {"1": [0.5, [0, 1]], "b": True, "c": None, "d": "x"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Renamed:
    class_count: Count

    KEYS: ClassVar[Mapping[str, str]] = {"class_count": "classes"}

    def __post_init__(self) -> None:
        check(self)


def test_a_key_that_is_not_the_name_of_its_field() -> None:
    assert plain(Renamed(class_count=3)) == {"classes": 3}
    assert read(Renamed, Fields({"classes": 3}, "x")) == Renamed(class_count=3)
    for wrong in ({"classes": 0}, {"class_count": 3}, {}):
        with pytest.raises(FileFormatError, match="classes"):
            read(Renamed, Fields(wrong, "x"))
    with pytest.raises(InputError, match=r"^classes: is 0"):
        Renamed(class_count=0)


def _doubled(value: Any, name: str) -> int:
    if type(value) is not int:
        raise InputError(f"{name}: {value!r} cannot be doubled")
    return 2 * value


@dataclass(frozen=True, slots=True, kw_only=True)
class Grouped:
    least: Annotated[int, Range(1, 9)]
    most: Count = 9
    shape: int | tuple[int, int] = 1
    twice: Annotated[int, _doubled] = 0

    KEYS: ClassVar[Mapping[str, str]] = {"least": "depth.min", "most": "depth.max"}

    def __post_init__(self) -> None:
        check(self)


@given(
    st.builds(
        Grouped,
        least=st.integers(1, 9),
        most=st.integers(1, 9),
        shape=st.integers(0, 9) | st.tuples(st.integers(0, 9), st.integers(0, 9)),
    )
)
def test_keys_in_a_mapping_and_one_or_several(record: Grouped) -> None:
    assert plain(record)["depth"] == {"min": record.least, "max": record.most}
    assert read(Grouped, Fields(plain(record), "x")) == record


def test_values_that_a_function_makes() -> None:
    values: dict[str, Any] = {"depth": {"min": 1}, "twice": 4}
    assert read(Grouped, Fields(values, "x"), defaults=True) == Grouped(least=1, twice=8)
    with pytest.raises(InputError, match="'no' cannot be doubled"):
        Grouped(least=1, twice="no")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({}, "depth: is missing; add it"),
        ({"depth": 3}, "depth holds a whole number; expected a mapping"),
        ({"depth": {}}, "depth.min: is missing; add it"),
        ({"depth": {"min": 0}}, "depth.min: is 0; expected a whole number from 1 to 9"),
        ({"depth": {"mni": 1}}, "unknown key in depth: 'mni'; did you mean 'min'?"),
        ({"depth": {"min": 1}, "shape": [1]}, "shape: is [1]; expected a list of 2 whole numbers"),
        ({"depth": {"min": 1}, "shape": [1, ""]}, "shape[1]: is ''; expected a whole number"),
        ({"depth": {"min": 1}, "shape": "1"}, "shape: is '1'; expected a whole number"),
        ({"depth": {"min": 1}, "twice": "no"}, "twice: 'no' cannot be doubled"),
    ],
)
def test_wrong_values_in_groups(values: dict[str, Any], says: str) -> None:
    with pytest.raises(FileFormatError) as caught:
        read(Grouped, Fields(values, "x"), defaults=True)
    assert str(caught.value).startswith(f"x: {says}")
