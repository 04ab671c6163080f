"""Records: dataclasses of plain values, read strictly from files and written back.

The annotations of the fields say what a file may hold, so that no format has a reader of its own:
``int``, ``float``, ``bool``, ``str``, a ``Literal``, a ``StrEnum``, another record, ``X | None``,
``tuple``, ``X | tuple[X, ...]`` for one value or a list, ``Mapping[str, X]``, a class whose
``parse`` takes its text, or ``Any``; ``Annotated[X, Range(low, high)]`` where the usual range is
too wide, ``Annotated[X, parse]`` where ``parse(value, name)`` makes the value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from nas_engine.errors import FileFormatError, InputError, shortened
from nas_engine.ranges import ANY, Range
from nas_engine.reading import SMALL_FILE, read_regular_text
from nas_engine.sealed import Seal, parse_sealed_json, seal_json
from nas_engine.strict_yaml import Fields

_Record = TypeVar("_Record")
_Reader = Callable[[Fields, str, bool], Any]

TOLERANCE = 1e-6
"""Largest difference of a stored figure from the one that follows from the others."""


Count = Annotated[int, Range(1)]
"""A whole number from 1."""
Share = Annotated[float, Range(0, 1)]
"""A number from 0 to 1."""
Percent = Annotated[float, Range(0, 100)]
"""A number from 0 to 100."""
Text = Annotated[str, Range(0)]
"""A text that may be empty."""


def read(kind: type[_Record], part: Fields, *also: str, defaults: bool = False) -> _Record:
    """Return the record that a mapping holds.

    A class may name properties in ``DERIVED``: they are stored too, and must follow from the
    fields; in ``KEYS`` the keys of fields that a file calls otherwise, ``depth.min`` for the key
    ``min`` of the mapping ``depth``; and have a ``form``, which returns the subclass that a mapping
    holds.

    Args:
        kind: A dataclass.
        part: The mapping.
        also: Further keys that may be there; they are left to the caller.
        defaults: True if keys of fields with a default may be missing; otherwise only those of
            fields that may be ``None``.

    Raises:
        FileFormatError: An unknown key (with the nearest), a missing key, a wrong type, a value out
            of its range, or one that the record itself refuses.
    """
    form: Callable[[Fields], type[_Record]] | None = getattr(kind, "form", None)
    kind = form(part) if form else kind
    derived: tuple[str, ...] = getattr(kind, "DERIVED", ())
    members = _members(cast(Hashable, kind))
    part.only(*also, *(group or key for _, group, key, _ in members), *derived)
    parts = {
        group: part.take_fields(group).only(*(key for _, of, key, _ in members if of == group))
        for group in dict.fromkeys(group for _, group, _, _ in members if group)
    } | {"": part}
    values = {
        field.name: reader(parts[group], key, defaults)
        for field, group, key, reader in members
        if key in parts[group] or not (defaults and _has_default(field))
    }
    with part.located():
        record = kind(**values)
    for name in derived:
        stored, expected = part.take(name), plain(getattr(record, name))
        if type(stored) in (int, float) and type(expected) is float:
            same = abs(stored - expected) <= TOLERANCE
        else:
            same = type(stored) is type(expected) and stored == expected
        if not same:
            problem = f"is {shortened(repr(stored))}, the other values give {expected!r}"
            raise part.error(name, problem)
    return record


def check(record: object) -> None:
    """Check every field of a record against its annotation; for ``__post_init__``.

    Raises:
        InputError: A wrong type, or a number out of its range.
    """
    try:
        for field, group, key, reader in _members(cast(Hashable, type(record))):
            value = getattr(record, field.name)
            part = Fields({key: value}, "", group)
            found = reader(part, key, True)
            if is_dataclass(found) and found is not value:
                problem = f"is {shortened(repr(value))}; expected a {type(found).__name__}"
                raise part.error(key, problem)
    except FileFormatError as error:
        raise InputError(error.problem) from None


def plain(value: Any) -> Any:
    """Return a record as JSON has it: mappings, lists and plain values.

    Numbers are Python's, also those of NumPy; what is not finite becomes ``None``, what is no value
    at all its text.
    """
    if hasattr(value, "tolist"):
        value = value.tolist()
    if hasattr(value, "parse"):
        return str(value)
    if is_dataclass(value):
        names = [*(field.name for field in fields(value)), *getattr(type(value), "DERIVED", ())]
        found: dict[str, Any] = {}
        for name in names:
            group, _, key = key_of(type(value), name).rpartition(".")
            (found.setdefault(group, {}) if group else found)[key] = plain(getattr(value, name))
        return found
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, int | float) else str(value)


def key_of(kind: type[Any], name: str) -> str:
    """Return the key in files of a field of a record."""
    keys: Mapping[str, str] = getattr(kind, "KEYS", {})
    return keys.get(name, name)


def read_sealed(
    kind: type[_Record],
    path: Path,
    form: str,
    remedy: str,
    *,
    defaults: bool = False,
    digest: bool = False,
    missing: str = "",
) -> _Record:
    """Return the record of a JSON file that ``sealed`` wrote.

    Args:
        kind: A dataclass.
        path: The file.
        form: Name and version of its format.
        remedy: The command that mends it, for messages.
        defaults: As in ``read``.
        digest: True if a file without a digest is refused.
        missing: What to do where it cannot be read, if not the remedy.

    Raises:
        UnreadableError: Missing, or the operating system refuses.
        FileFormatError: Damaged, changed by hand, of another version, or as in ``read``.
    """
    text = read_regular_text(path, SMALL_FILE, missing or remedy)
    values, seal = parse_sealed_json(text, path, remedy)
    part = Fields(values, path)
    if (found := part.take("format", None)) != form:
        problem = f"is {shortened(repr(found))}; expected '{form}'"
        raise part.error("format", f"{problem}; {remedy}")
    try:
        record = read(kind, part, "format", "made_of", defaults=defaults)
    except FileFormatError as error:
        raise FileFormatError(path, f"{error.problem}; {remedy}") from error
    if digest and seal is Seal.MISSING:
        raise FileFormatError(
            path, f"carries no digest of its content, so that nas-search did not write it; {remedy}"
        )
    return record


def sealed(form: str, values: Any, made_of: Mapping[str, str] | None = None) -> str:
    """Return the text of a JSON file that carries its own digest.

    Args:
        form: Name and version of its format.
        values: A record or a mapping.
        made_of: Digests of the files that it belongs to, by name.
    """
    named = {} if made_of is None else {"made_of": dict(made_of)}
    return seal_json({"format": form, **plain(values), **named})


@cache
def _members(kind: Any) -> tuple[tuple[Field[Any], str, str, _Reader], ...]:
    """Return each field, the mapping and the key of it in files, and the function that reads it."""
    hints = get_type_hints(kind, include_extras=True)
    places = ((field, key_of(kind, field.name).rpartition(".")) for field in fields(kind))
    return tuple(
        (field, group, key, _reader(hints[field.name]))
        for field, (group, _, key) in places
        if field.init
    )


def _has_default(field: Field[Any]) -> bool:
    return field.default is not MISSING or field.default_factory is not MISSING


@cache
def _reader(hint: Any) -> _Reader:
    """Return the function that reads one value of a type."""
    span: Range | None = None
    if get_origin(hint) is Annotated:
        hint, span = get_args(hint)[:2]
        if callable(span):
            return _made_reader(span)
    origin, args = get_origin(hint), get_args(hint)
    if hint is Any:
        return lambda part, key, _: part.take(key)
    if hint is bool:
        return lambda part, key, _: part.take_bool(key)
    if hint is int:
        low, high = (span or ANY).whole
        return lambda part, key, _: part.take_int(key, low=low, high=high)
    if hint is float:
        wide = span or ANY
        return lambda part, key, _: part.take_number(key, low=wide.low, high=wide.high)
    if hint is str:
        return lambda part, key, _: part.take_str(key, empty=span is not None)
    if origin is Literal:
        return lambda part, key, _: part.take_str(key, choices=args)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        choices = [str(member) for member in hint]
        return lambda part, key, _: hint(part.take_str(key, choices=choices))
    if NoneType in args:
        (inner,) = (_reader(arg) for arg in args if arg is not NoneType)
        return lambda part, key, more: inner(part, key, more) if part.has(key) else None
    if origin in (Union, UnionType):
        alone, several = map(_reader, args)
        return lambda part, key, more: (
            several if isinstance(part.take(key), list | tuple) else alone
        )(part, key, more)
    if origin is tuple:
        return _tuple_reader(args)
    if hasattr(hint, "parse"):
        return _parsed_reader(hint)
    if origin is Mapping:
        return _mapping_reader(_reader(args[1]))
    return _record_reader(hint)


def _made_reader(parse: Callable[[Any, str], Any]) -> _Reader:
    def read_value(part: Fields, key: str, defaults: bool) -> Any:
        try:
            return parse(part.take(key), part.name(key))
        except FileFormatError:
            raise
        except InputError as error:
            raise FileFormatError(part.path, str(error)) from error

    return read_value


def _parsed_reader(kind: Any) -> _Reader:
    def read_text(part: Fields, key: str, defaults: bool) -> Any:
        value = part.take(key)
        with part.located():
            return value if isinstance(value, kind) else kind.parse(value)

    return read_text


_PLURALS: Mapping[Any, str] = {int: "whole numbers", float: "numbers", str: "texts"}


def _tuple_reader(args: tuple[Any, ...]) -> _Reader:
    kinds = {get_args(arg)[0] if get_origin(arg) is Annotated else arg for arg in args} - {...}
    of = _PLURALS.get(kinds.pop(), "") if len(kinds) == 1 else ""

    def read_items(part: Fields, key: str, defaults: bool) -> tuple[Any, ...]:
        items = part.take_items(key, None if args[-1] is ... else len(args), of)
        types = (args[0] if args[-1] is ... else args[i] for i in range(len(items)))
        return tuple(
            _reader(hint)(items, name, defaults) for hint, name in zip(types, items, strict=True)
        )

    return read_items


def _mapping_reader(inner: _Reader) -> _Reader:
    def read_mapping(part: Fields, key: str, defaults: bool) -> dict[str, Any]:
        values = part.take_fields(key)
        return {name: inner(values, name, defaults) for name in values}

    return read_mapping


def _record_reader(kind: Any) -> _Reader:
    def read_record(part: Fields, key: str, defaults: bool) -> Any:
        value = part.take(key)
        return (
            value
            if isinstance(value, kind)
            else read(kind, part.take_fields(key), defaults=defaults)
        )

    return read_record
