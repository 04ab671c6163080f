"""YAML read strictly: duplicate keys, unknown keys, missing keys and wrong types are errors that name file, key and remedy."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from nas_engine.errors import FileFormatError, InputError, UnknownNameError, shortened

MAX_FILE_BYTES = 4 * 2**20
"""Largest YAML file read; a profile, space or architecture is a few kilobytes."""


MAX_VALUES = 20_000
"""Most values in a YAML file, aliases written out; keeps a hostile file from taking minutes and gigabytes."""


class _UniqueKeyLoader(yaml.SafeLoader):
    """Safe loader that refuses too many values, and a mapping with the same key twice (plain YAML silently keeps the last)."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._count = 0
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Count the node, an alias as what it stands for."""
        is_alias, before = self.check_event(yaml.AliasEvent), self._count
        node = super().compose_node(parent, index)
        if is_alias:
            self._count += self._sizes.get(id(node), 1)
        else:
            self._count += 1
            self._sizes[id(node)] = self._count - before
        if node is not None and self._count > MAX_VALUES:
            raise yaml.composer.ComposerError(None, None, f"more than {MAX_VALUES:,} values", node.start_mark)
        return node


def _unique_mapping(loader: _UniqueKeyLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Hashable] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, Hashable):
            raise yaml.constructor.ConstructorError(None, None, "a key must be a plain word", node.start_mark)
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"key '{shortened(str(key))}' stands twice", key_node.start_mark)
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_UniqueKeyLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _unique_mapping)


def read_text(path: str | os.PathLike[str]) -> str:
    """Return the text of a small UTF-8 file.

    Raises:
        FileFormatError: Missing, unreadable, a directory, not text, or larger than ``MAX_FILE_BYTES``.
    """
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise FileFormatError(path, f"larger than {MAX_FILE_BYTES:,} B; expected a YAML file of a few kilobytes")
        return data.decode().replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise FileFormatError(path, "is not a text file; expected YAML in UTF-8") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise FileFormatError(path, f"cannot be read ({reason}); give the path of an existing YAML file") from error


def parse_mapping(text: str, path: object) -> dict[str, Any]:
    """Return the mapping a YAML text holds.

    Raises:
        FileFormatError: Not YAML (with line and column), a key twice, or not a mapping at the top.
    """
    try:
        data = yaml.load(text, Loader=_UniqueKeyLoader)  # noqa: S506  # a SafeLoader subclass
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise FileFormatError(path, f"is not valid YAML: {where}{error.problem or error.context}") from error
    except (yaml.YAMLError, RecursionError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
        # the last three: PyYAML's own constructors on a value that its explicit tag does not fit, such as !!bool maybe
        raise FileFormatError(path, f"is not valid YAML: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(data, dict):
        raise FileFormatError(path, f"holds {_kind(data)}; expected 'key: value' lines at the top (is the file cut off?)")
    return data


def read_mapping(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the mapping a YAML file holds; errors as in ``read_text`` and ``parse_mapping``."""
    return parse_mapping(read_text(path), path)


def _kind(value: object) -> str:
    if value is None:
        return "nothing"
    names = {bool: "a truth value", int: "a whole number", float: "a number", str: "a text", list: "a list", dict: "a mapping"}
    return names.get(type(value), f"a {type(value).__name__}")


class Fields:
    """One mapping of a file, read key by key; ``finish`` refuses keys that nobody asked for.

    Every ``take_*`` raises ``FileFormatError`` that names the file, the key with its parents (``stages[2].depth``), what stands there and
    what was expected. A default of ``...`` means that the key must be there.
    """

    def __init__(self, data: object, path: object, where: str = "") -> None:
        self.path = path
        self.where = where
        if not isinstance(data, Mapping):
            raise FileFormatError(path, f"{where or 'the file'} holds {_kind(data)}; expected a mapping of keys to values")
        self._data = data
        self._asked: list[str] = []

    def name(self, key: str) -> str:
        """Return the key with its parents, for messages."""
        return f"{self.where}.{key}" if self.where else key

    def error(self, key: str, problem: str) -> FileFormatError:
        """Return (not raise) an error about one key."""
        return FileFormatError(self.path, f"{self.name(key)}: {problem}")

    def has(self, key: str) -> bool:
        """Return whether the key stands there with a value; counts as asking for it."""
        self._asked.append(key)
        return self._data.get(key) is not None

    def take(self, key: str, default: Any = ...) -> Any:
        """Return the raw value of a key."""
        self._asked.append(key)
        if key in self._data:
            return self._data[key]
        if default is ...:
            raise self.error(key, "is missing; add it")
        return default

    def _typed(self, key: str, default: Any, accepts: Callable[[Any], bool], expected: str) -> Any:
        value = self.take(key, default)
        if key in self._data and not accepts(value):
            raise self.error(key, f"is {shortened(repr(value))}; expected {expected}")
        return value

    def take_int(self, key: str, default: Any = ..., *, low: int = 0, high: int = 2**53) -> Any:
        """Return a whole number in ``[low, high]`` (or the default)."""
        return self._typed(key, default, lambda v: type(v) is int and low <= v <= high, f"a whole number from {low:,} to {high:,}")

    def take_number(self, key: str, default: Any = ..., *, low: float = 0.0, high: float = 1e18) -> Any:
        """Return a number in ``[low, high]`` (or the default)."""
        return self._typed(key, default, lambda v: type(v) in (int, float) and low <= v <= high, f"a number from {low:g} to {high:g}")

    def take_numbers(self, key: str, *, low: float = 0.0, high: float = 1e18) -> tuple[float, ...]:
        """Return a non-empty list of numbers in ``[low, high]``."""
        expected = f"a list of numbers from {low:g} to {high:g}"

        def accepts(values: Any) -> bool:
            return isinstance(values, list) and bool(values) and all(type(v) in (int, float) and low <= v <= high for v in values)

        return tuple(float(value) for value in self._typed(key, ..., accepts, expected))

    def take_str(self, key: str, default: Any = ..., *, choices: Iterable[str] = ()) -> Any:
        """Return a non-empty text, one of ``choices`` if given (or the default)."""
        value = self._typed(key, default, lambda v: isinstance(v, str) and bool(v.strip()), "a text")
        options = tuple(choices)
        if key in self._data and options and value not in options:
            raise FileFormatError(self.path, str(UnknownNameError(f"value for {self.name(key)}", value, options)))
        return value

    def take_bool(self, key: str, default: Any = ...) -> Any:
        """Return true or false (or the default)."""
        return self._typed(key, default, lambda v: isinstance(v, bool), "true or false")

    def take_list(self, key: str, default: Any = ..., *, length: int | None = None, of: type = object) -> Any:
        """Return a non-empty list, of ``length`` items of type ``of`` if given (or the default)."""
        expected = f"a list{f' of {length}' if length else ''}{'' if of is object else f' of {of.__name__}'}"

        def accepts(value: Any) -> bool:
            if not isinstance(value, list) or not value or (length is not None and len(value) != length):
                return False
            return all(isinstance(item, of) and (of is object or not isinstance(item, bool)) for item in value)

        return self._typed(key, default, accepts, expected)

    def take_fields(self, key: str) -> Fields:
        """Return the mapping under a key as ``Fields`` of its own."""
        return Fields(self.take(key), self.path, self.name(key))

    def take_each(self, key: str) -> list[Fields]:
        """Return a list of mappings as a list of ``Fields``."""
        return [Fields(item, self.path, f"{self.name(key)}[{i}]") for i, item in enumerate(self.take_list(key))]

    def only(self, *keys: str) -> Fields:
        """Refuse other keys before any is read, so that a misspelt key is reported as such and not as missing; return self.

        Raises:
            FileFormatError: An unknown key, with the nearest known one.
        """
        self._asked.extend(keys)
        self.finish()
        return self

    @contextlib.contextmanager
    def located(self) -> Iterator[None]:
        """Put file and place in front of an ``InputError`` that a record raises about values read from here."""
        try:
            yield
        except FileFormatError:
            raise
        except InputError as error:
            raise FileFormatError(self.path, f"{self.where}: {error}" if self.where else str(error)) from error

    def finish(self) -> None:
        """Refuse keys that were never asked for.

        Raises:
            FileFormatError: An unknown key, with the nearest known one.
        """
        known = list(dict.fromkeys(self._asked))
        for key in self._data:
            if key not in known:
                kind = f"key in {self.where}" if self.where else "key"
                raise FileFormatError(self.path, str(UnknownNameError(kind, key, known)))
