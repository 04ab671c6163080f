"""Strict YAML: duplicate, unknown and missing keys and wrong types are errors with a remedy.

Values without quotes mean what the core schema of YAML 1.2 says
(https://yaml.org/spec/1.2.2/#103-core-schema): ``yes``, ``on``, ``1:30:00`` and ``2024-01-01`` are
texts, not truth values, numbers and dates as in YAML 1.1. Two deviations: ``133_000_000`` is a
number, and whole numbers with zeros in front are refused, because YAML 1.1 reads ``010`` as 8.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import Any, ClassVar, TypeVar

import yaml

from nas_engine.errors import FileFormatError, InputError, UnknownNameError, shortened
from nas_engine.reading import read_regular_text
from nas_engine.sealed import Seal, broken_seal, check_seal, warn

_Parsed = TypeVar("_Parsed")

MAX_FILE_BYTES = 4 * 2**20
"""Largest YAML file read; a profile, space or architecture is a few kilobytes."""


MAX_VALUES = 20_000
"""Most values in a YAML file, aliases written out; keeps a hostile file from taking minutes and
gigabytes."""


_TAG = "tag:yaml.org,2002:"
_INT = re.compile(r"[-+]?[0-9]+(?:_[0-9]+)*|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
_SCHEMA: Mapping[str, tuple[re.Pattern[str], str]] = {  # in the order in which they are tried
    "null": (re.compile("~|null|Null|NULL|"), "~nN"),
    "bool": (re.compile("true|True|TRUE|false|False|FALSE"), "tTfF"),
    "int": (_INT, "-+0123456789"),
    "float": (_FLOAT, "-+.0123456789"),
}


class _AmbiguousError(yaml.constructor.ConstructorError):
    """A value that is valid YAML, but not the same one to every reader."""


class _Loader(yaml.SafeLoader):
    """Safe loader that refuses too many values, and duplicate keys (plain YAML keeps the last)."""

    # typeshed's type
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012
    yaml_constructors: ClassVar[dict[str | None, Callable[[Any, Any], Any]]] = {
        None: yaml.SafeLoader.construct_undefined,
        f"{_TAG}str": yaml.SafeLoader.construct_yaml_str,
        f"{_TAG}seq": yaml.SafeLoader.construct_yaml_seq,
    }

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._count = 0
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Count the node, an alias as the node it refers to."""
        is_alias, before = self.check_event(yaml.AliasEvent), self._count
        node = super().compose_node(parent, index)
        if is_alias:
            self._count += self._sizes.get(id(node), 1)
        else:
            self._count += 1
            self._sizes[id(node)] = self._count - before
        if node is not None and self._count > MAX_VALUES:
            raise yaml.composer.ComposerError(
                None, None, f"more than {MAX_VALUES:,} values", node.start_mark
            )
        return node


def _unique_mapping(loader: _Loader, node: yaml.Node) -> dict[Any, Any]:
    seen: set[Hashable] = set()
    if not isinstance(node, yaml.MappingNode):
        raise yaml.constructor.ConstructorError(
            None, None, "the value does not fit its tag !!map", node.start_mark
        )
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, Hashable):
            raise yaml.constructor.ConstructorError(
                None, None, "a key must be a plain word", node.start_mark
            )
        if key in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"key '{shortened(str(key))}' stands twice", key_node.start_mark
            )
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


def _scalar(kind: str, convert: Callable[[str], Any]) -> Callable[[_Loader, yaml.Node], Any]:
    """Return what makes a value of a node that is tagged as one of a kind, or looks like one."""

    def construct(loader: _Loader, node: yaml.Node) -> Any:
        if not isinstance(node, yaml.ScalarNode) or _SCHEMA[kind][0].fullmatch(node.value) is None:
            raise yaml.constructor.ConstructorError(
                None, None, f"the value does not fit its tag !!{kind}", node.start_mark
            )
        if kind == "int" and re.match("[-+]?0[0-9_]", node.value):
            plain, text = str(_whole(node.value)), shortened(node.value)
            problem = (
                f"{text} begins with a zero, which makes it octal in YAML 1.1; write "
                f"{shortened(plain)}, or '{text}' for a text"
            )
            raise _AmbiguousError(None, None, problem, node.start_mark)
        return convert(node.value)

    return construct


def _whole(text: str) -> int:
    base = {"0o": 8, "0x": 16}.get(text[:2], 10)
    return int(text.replace("_", ""), base)


def _real(text: str) -> float:
    return float(
        text[:-4] + "inf"
        if text.lower().endswith(".inf")
        else "nan"
        if text.lower() == ".nan"
        else text
    )


_CONVERT: Mapping[str, Callable[[str], Any]] = {
    "null": lambda text: None,
    "bool": lambda text: text.lower() == "true",
    "int": _whole,
    "float": _real,
}


class _Dumper(yaml.SafeDumper):
    """Safe dumper that quotes texts which YAML 1.1 or the loader above would read otherwise."""


for _name, (_pattern, _first) in _SCHEMA.items():
    for _class in (_Loader, _Dumper):
        _first_letters = [*_first, *([""] if _name == "null" else [])]
        _class.add_implicit_resolver(
            f"{_TAG}{_name}", re.compile(f"(?:{_pattern.pattern})\\Z"), _first_letters
        )
    _Loader.add_constructor(f"{_TAG}{_name}", _scalar(_name, _CONVERT[_name]))
_Loader.add_constructor(f"{_TAG}map", _unique_mapping)


def read_checked(
    path: str | os.PathLike[str], mends: str | None, parse: Callable[[str], _Parsed]
) -> _Parsed:
    """Return what ``parse`` makes of the text of a small UTF-8 file.

    Args:
        path: The file.
        mends: The command that writes it anew, for a file of a run directory: content that does not
            fit its digest is refused then. ``None`` for a file that a user gave by its path: what
            can be parsed is taken, with a ``ChangedFileWarning`` if it does not fit its digest, or
            if it has none and does not end with a line break, as the beginning of a file does.
        parse: Makes something of the text, or raises.

    Raises:
        UnreadableError: Missing, or the operating system refuses.
        FileFormatError: No regular file, not text, larger than ``MAX_FILE_BYTES``, or content that
            does not fit its digest.
    """
    text = read_regular_text(
        path, MAX_FILE_BYTES, mends or "give the path of an existing YAML file"
    ).replace("\r\n", "\n")
    seal = check_seal(text)
    if seal is Seal.BROKEN and mends is not None:
        raise broken_seal(path, mends)
    parsed = parse(text)
    if mends is None:
        if seal is Seal.BROKEN:
            warn(path, "was changed after nas-search wrote it; taken as it is now")
        elif seal is Seal.MISSING and not text.endswith(("\n", "]", "}", ")")):
            warn(path, "does not end with a line break (is it cut off?); taken as it is")
    return parsed


def parse_value(text: str, origin: object) -> Any:
    """Return the value that a YAML text holds, of any kind.

    Args:
        text: The text.
        origin: A file or an option, for messages.

    Raises:
        FileFormatError: Not YAML (with line and column), a key twice, or a value that readers of
            YAML do not agree on.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506  # a SafeLoader subclass
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        wrong = "" if isinstance(error, _AmbiguousError) else "is not valid YAML: "
        raise FileFormatError(origin, f"{wrong}{where}{error.problem or error.context}") from error
    except (
        yaml.YAMLError,
        RecursionError,
        ValueError,
    ) as error:  # the last: a number of thousands of digits
        raise FileFormatError(
            origin, f"is not valid YAML: {shortened(' '.join(str(error).split()), 200)}"
        ) from error


def parse_mapping(text: str, path: object) -> dict[str, Any]:
    """Return the mapping a YAML text holds.

    Raises:
        FileFormatError: As in ``parse_value``, or not a mapping at the top.
    """
    data = parse_value(text, path)
    if not isinstance(data, dict):
        raise FileFormatError(
            path,
            f"holds {_kind(data)}; expected 'key: value' lines at the top (is the file cut off?)",
        )
    return data


def dump_mapping(values: Mapping[str, Any]) -> str:
    """Return the YAML text of plain values, read back equal here and by readers of YAML 1.1."""
    text: str = yaml.dump(dict(values), Dumper=_Dumper, sort_keys=False, width=120)
    return text


def read_mapping(path: str | os.PathLike[str], mends: str | None) -> dict[str, Any]:
    """Return the mapping of a YAML file; errors as in ``read_checked`` and ``parse_mapping``."""
    return read_checked(path, mends, lambda text: parse_mapping(text, path))


def _kind(value: object) -> str:
    if value is None:
        return "nothing"
    names = {
        bool: "a truth value",
        int: "a whole number",
        float: "a number",
        str: "a text",
        list: "a list",
        dict: "a mapping",
    }
    return names.get(type(value), f"a {type(value).__name__}")


class Fields:
    """One mapping of a file, read key by key; ``finish`` refuses keys that were not asked for.

    Every ``take_*`` raises ``FileFormatError`` that names the file, the key with its parents
    (``stages[2].depth``), the value there and what was expected. A default of ``...`` means that
    the key must be there.
    """

    def __init__(self, data: object, path: object, where: str = "") -> None:
        self.path = path
        self.where = where
        if not isinstance(data, Mapping):
            raise FileFormatError(
                path,
                f"{where or 'the file'} holds {_kind(data)}; expected a mapping of keys to values",
            )
        self._data = data
        self._asked: list[str] = []

    def name(self, key: str) -> str:
        """Return the key with its parents, for messages."""
        dot = "." if self.where and not key.startswith("[") else ""
        return f"{self.where}{dot}{key}"

    def __contains__(self, key: str) -> bool:
        """Return whether the key is there, with a value or without."""
        return key in self._data

    def __iter__(self) -> Iterator[str]:
        """Return an iterator over the keys."""
        return iter(self._data)

    def __len__(self) -> int:
        """Return the number of keys."""
        return len(self._data)

    def error(self, key: str, problem: str) -> FileFormatError:
        """Return (not raise) an error about one key."""
        return FileFormatError(self.path, f"{self.name(key)}: {problem}")

    def has(self, key: str) -> bool:
        """Return whether the key is there with a value; counts as asking for it."""
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
            hint = " without quotes" if isinstance(value, str) and "number" in expected else ""
            raise self.error(key, f"is {shortened(repr(value))}; expected {expected}{hint}")
        return value

    def take_int(self, key: str, default: Any = ..., *, low: int = 0, high: int = 2**53) -> Any:
        """Return a whole number in ``[low, high]`` (or the default)."""
        return self._typed(
            key,
            default,
            lambda v: type(v) is int and low <= v <= high,
            f"a whole number from {low:,} to {high:,}",
        )

    def take_number(
        self, key: str, default: Any = ..., *, low: float = 0.0, high: float = 1e18
    ) -> Any:
        """Return a number in ``[low, high]`` (or the default)."""
        return self._typed(
            key,
            default,
            lambda v: type(v) in (int, float) and low <= v <= high,
            f"a number from {low:g} to {high:g}",
        )

    def take_str(
        self, key: str, default: Any = ..., *, choices: Iterable[str] = (), empty: bool = False
    ) -> Any:
        """Return a text, non-empty unless ``empty``, of ``choices`` if given (or the default)."""
        value = self._typed(
            key, default, lambda v: isinstance(v, str) and (empty or bool(v.strip())), "a text"
        )
        options = tuple(choices)
        if key in self._data and options and value not in options:
            raise FileFormatError(
                self.path, str(UnknownNameError(f"value for {self.name(key)}", value, options))
            )
        return value

    def take_bool(self, key: str, default: Any = ...) -> Any:
        """Return true or false (or the default)."""
        return self._typed(key, default, lambda v: isinstance(v, bool), "true or false")

    def take_fields(self, key: str) -> Fields:
        """Return the mapping under a key as ``Fields`` of its own."""
        return Fields(self.take(key), self.path, self.name(key))

    def take_items(self, key: str, length: int | None = None, of: str = "") -> Fields:
        """Return a list, of ``length`` items if given, as ``Fields`` with keys ``[0]``, ``[1]``.

        ``of`` names the items in messages.
        """
        words = " ".join(part for part in (str(length or ""), of) if part)
        values = self._typed(
            key,
            ...,
            lambda v: isinstance(v, list | tuple) and length in (None, len(v)),
            f"a list of {words}" if words else "a list",
        )
        items = {f"[{i}]": value for i, value in enumerate(values)}
        return Fields(items, self.path, self.name(key))

    def only(self, *keys: str) -> Fields:
        """Refuse other keys before any is read, so that a misspelt key is not reported as missing.

        Raises:
            FileFormatError: An unknown key, with the nearest known one.
        """
        self._asked.extend(keys)
        self.finish()
        return self

    @contextlib.contextmanager
    def located(self) -> Iterator[None]:
        """Prefix file and place to an ``InputError`` of a record about values read from here."""
        try:
            yield
        except FileFormatError:
            raise
        except InputError as error:
            raise FileFormatError(
                self.path, f"{self.where}: {error}" if self.where else str(error)
            ) from error

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
