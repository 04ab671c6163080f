"""Options of a whole run as a file or a caller gives them: which keys there are, and what each may be. No torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nas_engine.allocation.table import ALLOCATORS
from nas_engine.errors import UnknownNameError
from nas_engine.escaping import command_line
from nas_engine.runs.pipeline_directory import PipelineDirectory
from nas_engine.strict_yaml import Fields, parse_mapping, read_checked
from nas_engine.units import parse_count, parse_size

FORMAT = "nas-search/run-config/1"
"""First key of ``run.yaml``; a user's own file may leave it out."""

ALL = "all"
"""Stands for every allocator that needs no measured pairs."""

Read = Callable[[Fields, str], Any]


def _size(part: Fields, key: str) -> int:
    return parse_size(part.take(key), key)


def _count(part: Fields, key: str) -> float:
    return parse_count(part.take(key), key)


def _candidates(part: Fields, key: str) -> int:
    count = _count(part, key)
    if not 1 <= count <= 1e12 or count != int(count):
        raise part.error(key, f"is {count:g}; expected a whole number from 1 to 1e12, such as 500k")
    return int(count)


def _int(low: int, high: int = 10**6) -> Read:
    return lambda part, key: part.take_int(key, low=low, high=high)


def _number(low: float, high: float) -> Read:
    return lambda part, key: part.take_number(key, low=low, high=high)


def _text(part: Fields, key: str) -> str:
    text: str = part.take_str(key)
    return text


def _names(part: Fields, key: str) -> list[str]:
    return list(part.take_list(key, of=str)) if part.take(key) else []


def _even(low: int, high: int) -> Read:
    def read(part: Fields, key: str) -> int:
        number: int = part.take_int(key, low=low, high=high)
        if number % 2:
            raise part.error(
                key, f"is {number:,}; expected an even number from {low}, such as {number + 1:,}"
            )
        return number

    return read


def _method(part: Fields, key: str) -> str:
    name = _text(part, key)
    if name not in (*ALLOCATORS, ALL):
        raise part.error(key, str(UnknownNameError("method", name, (*ALLOCATORS, ALL))))
    return name


_SEED = _int(0, 2**32 - 1)

READERS: Mapping[str, Mapping[str, Read]] = {
    "search": {
        "device": _text,
        "sram": _size,
        "flash": _size,
        "space": _text,
        "resolution": _int(1, 1024),
        "classes": _int(0, 65536),
        "memory_model": lambda part, key: part.take_str(key, choices=("arena", "paper")),
        "sigma_a": _number(1e-6, 1e6),
        "sigma_w": _number(1e-6, 1e6),
        "stage_weights": lambda part, key: list(part.take_numbers(key)),
        "max_macs": _count,
        "max_bitops": _count,
        "max_cycles": _count,
        "max_effectiveness": _number(1e-6, 1e6),
        "max_layers": _int(5, 302),
        "max_stage_share": _number(0, 1),
        "qbr": lambda part, key: part.take_bool(key),
        "seed": _SEED,
        "candidates": _candidates,
    },
    "data": {"source": _text, "limit": _int(2, 10**9)},
    "shortlist": {"count": _int(1, 100), "epochs": _int(2, 100_000)},
    "train": {
        "recipe": _text,
        "epochs": _int(2, 100_000),
        "float_share": _number(0, 1),
        "batch_size": _int(2, 65536),
        "learning_rate": _number(1e-9, 100),
        "teacher": _text,
        "min_accuracy": _number(0, 100),
    },
    "refine": {
        "method": _method,
        "images": _even(64, 10**9),
        "swaps": _int(0, 1000),
        "trials": _int(0, 100_000),
    },
    "verify": {"images": _int(1), "emulated_images": _int(1), "backends": _names},
}
"""How each key of each section is read; a key with nothing behind it counts as not given."""

Options = Mapping[str, Any]
"""Plain values by section and key, and ``seed``, as in the file."""


def read_options(path: Path, mends: str | None = None) -> dict[str, Any]:
    """Return the values of a config file: a user's own or a ``run.yaml``.

    Paths in it count from the folder that ``nas-search`` runs in.

    Args:
        path: The file.
        mends: The command that writes it anew where it is the ``run.yaml`` of its folder; ``None``
            where a user gave it by its path.

    Raises:
        UnreadableError: Missing, or the operating system refuses.
        FileFormatError: Not readable, an unknown section or key (with the nearest), a value of the
            wrong kind, or content that does not fit its digest.
    """
    return read_checked(path, mends, lambda text: check_options(parse_mapping(text, path), path))


def stored_options(directory: PipelineDirectory) -> dict[str, Any]:
    """Return the values that a whole run was asked for, from its ``run.yaml``; errors as in ``read_options``."""
    own = command_line("nas-search", "run", directory.config, "--out", directory.path)
    return read_options(
        directory.config, f"if it is what you want, give it as a file of your own: {own}"
    )


def check_options(options: Options, origin: object = "options") -> dict[str, Any]:
    """Return values as they are meant, sizes in bytes; what is ``None`` is left out.

    Args:
        options: By section and key.
        origin: Where they come from, for messages.

    Raises:
        FileFormatError: An unknown section or key (with the nearest), or a value of the wrong kind.
    """
    top = Fields(options, origin).only("format", "version", "seed", "search", *READERS)
    if (found := top.take("format", FORMAT)) != FORMAT:
        raise top.error("format", f"is {found!r}; expected '{FORMAT}', or leave it out")
    checked: dict[str, Any] = {"seed": _SEED(top, "seed")} if top.has("seed") else {}
    for section, readers in READERS.items():
        if not top.has(section):
            continue
        part = top.take_fields(section).only(*readers)
        with part.located():
            checked[section] = {
                key: read(part, key) for key, read in readers.items() if part.has(key)
            }
    return checked


def merged(*layers: Options) -> dict[str, Any]:
    """Return options of which later ones override earlier ones, key by key."""
    result: dict[str, Any] = {}
    for layer in layers:
        for name, value in layer.items():
            result[name] = (
                {**result.get(name, {}), **value} if isinstance(value, Mapping) else value
            )
    return result


_FOLLOWS = {
    ("search", "device"): (("search", "sram"), ("search", "flash")),
    ("search", "space"): tuple(
        ("search", key) for key in ("resolution", "stage_weights", "max_layers", "max_stage_share")
    ),
    ("data", "source"): (("search", "classes"), ("train", "recipe")),
}
"""Values that were resolved from another one."""


def continued(stored: Options, given: Options) -> dict[str, Any]:
    """Return the options of a run with others over them; what was resolved from a value that is given anew is resolved anew."""
    kept = {
        name: dict(value) if isinstance(value, Mapping) else value for name, value in stored.items()
    }
    for (section, key), places in _FOLLOWS.items():
        value = given.get(section, {}).get(key)
        if value is not None and value != kept.get(section, {}).get(key):
            for other, name in places:
                kept.get(other, {}).pop(name, None)
    return merged(kept, given)
