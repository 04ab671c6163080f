"""Search spaces from YAML: those that ship, by name, or your own, by path."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from nas_engine.errors import FileFormatError, UnknownNameError
from nas_engine.records import read
from nas_engine.strict_yaml import Fields, parse_mapping, read_checked
from search_spaces.space import SearchSpace

_DATA = Path(__file__).parent / "data"
_NONE = "none"


def space_names() -> tuple[str, ...]:
    """Return the names of the spaces that ship, sorted."""
    return tuple(sorted(path.stem for path in _DATA.glob("*.yaml")))


def load_space(name_or_path: str) -> SearchSpace:
    """Return a space that ships (``mobilenet``) or one of your own (``my/space.yaml``).

    Raises:
        UnknownNameError: No such name; a path is recognised by its ``/`` or its ending ``.yaml``.
        FileFormatError: The file cannot be read as a space (names the key and what was expected).
    """
    if "/" in name_or_path or "\\" in name_or_path or name_or_path.endswith((".yaml", ".yml")):
        return _read(Path(name_or_path))
    name = name_or_path.lower().replace("_", "-")
    if name not in space_names():
        raise UnknownNameError(
            "space (a path to your own .yaml works too)", name_or_path, space_names()
        )
    return _read(_DATA / f"{name}.yaml")


def _read(path: Path) -> SearchSpace:
    return read_checked(path, None, lambda text: _parsed(text, path))


@lru_cache(maxsize=64)
def _parsed(text: str, path: Path) -> SearchSpace:
    values = dict(parse_mapping(text, path))
    head = values.get("head")
    if head == _NONE:
        values["head"] = {"channels": None}
    elif isinstance(head, Mapping) and head.get("channels") is None:
        raise FileFormatError(path, "head.channels: is missing; add it")
    return read(SearchSpace, Fields(values, path), defaults=True)
