"""Records: dataclasses of plain values, read strictly from files and written back.

The annotations of the fields say what a file may hold, so that no format has a reader of its own:
``int``, ``float``, ``bool``, ``str``, a ``Literal``, a ``StrEnum``, another record, ``X | None``,
``tuple``, ``Mapping[str, X]``, a class whose ``parse`` takes its text, or ``Any``;
``Annotated[X, Range(low, high)]`` where the usual range is too wide.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, TypeVar, cast, get_args, get_origin, get_type_hints

from nas_engine.errors import FileFormatError, InputError, shortened
from nas_engine.ranges import ANY, Range
from nas_engine.sealed import Seal, read_sealed_json, seal_json
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
    fields; and in ``KEYS`` the keys of fields that a file calls otherwise.

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
    derived: tuple[str, ...] = getattr(kind, "DERIVED", ())
    members = _members(cast(Hashable, kind))
    part.only(*also, *(key for _, key, _ in members), *derived)
    values = {
        field.name: reader(part, key, defaults)
        for field, key, reader in members
        if key in part or not (defaults and _has_default(field))
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
    members = _members(cast(Hashable, type(record)))
    part = Fields({key: getattr(record, field.name) for field, key, _ in members}, "")
    try:
        for field, key, reader in members:
            found, value = reader(part, key, True), getattr(record, field.name)
            if is_dataclass(found) and found is not value:
                problem = f"is {shortened(repr(value))}; expected a {type(found).__name__}"
                raise part.error(key, problem)
    except FileFormatError as error:
        raise InputError(error.problem) from None


def plain(value: Any) -> Any:
    """Return a record as mappings, lists and plain values; ``None`` for what is not finite."""
    if hasattr(value, "parse"):
        return str(value)
    if is_dataclass(value):
        names = [*(field.name for field in fields(value)), *getattr(type(value), "DERIVED", ())]
        return {key_of(type(value), name): plain(getattr(value, name)) for name in names}
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, StrEnum) else value


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
) -> _Record:
    """Return the record of a JSON file that ``sealed`` wrote.

    Args:
        kind: A dataclass.
        path: The file.
        form: Name and version of its format.
        remedy: The command that mends it, for messages.
        defaults: As in ``read``.
        digest: True if a file without a digest is refused.

    Raises:
        UnreadableError: Missing, or the operating system refuses.
        FileFormatError: Damaged, changed by hand, of another version, or as in ``read``.
    """
    values, seal = read_sealed_json(path, remedy)
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
def _members(kind: Any) -> tuple[tuple[Field[Any], str, _Reader], ...]:
    """Return each field, its key in files and the function that reads it."""
    hints = get_type_hints(kind, include_extras=True)
    return tuple(
        (field, key_of(kind, field.name), _reader(hints[field.name]))
        for field in fields(kind)
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
    if origin is tuple:
        return _tuple_reader(args)
    if hasattr(hint, "parse"):
        return _parsed_reader(hint)
    if origin is Mapping:
        return _mapping_reader(_reader(args[1]))
    return _record_reader(hint)


def _parsed_reader(kind: Any) -> _Reader:
    def read_text(part: Fields, key: str, defaults: bool) -> Any:
        value = part.take(key)
        with part.located():
            return value if isinstance(value, kind) else kind.parse(value)

    return read_text


def _tuple_reader(args: tuple[Any, ...]) -> _Reader:
    def read_items(part: Fields, key: str, defaults: bool) -> tuple[Any, ...]:
        items = part.take_items(key, None if args[-1] is ... else len(args))
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
