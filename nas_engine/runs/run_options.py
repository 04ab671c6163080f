"""Options of a whole run as a file or a caller gives them: keys and their values. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nas_engine.escaping import command_line
from nas_engine.evolution.limits import UNLIMITED
from nas_engine.names import BEFORE_ROWS
from nas_engine.options import SECTIONS, read_rows, rows_in
from nas_engine.ranges import SEED
from nas_engine.runs.pipeline_directory import PipelineDirectory
from nas_engine.parts import ALLOCATOR, COST, SCORE, check_named
from nas_engine.strict_yaml import Fields, parse_mapping, read_checked

FORMAT = "nas-search/run-config/1"
"""First key of ``run.yaml``; a user's own file may leave it out."""

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
    """Return the requested options of a whole run, from ``run.yaml``.

    Errors as in ``read_options``.
    """
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
    top = Fields(options, origin).only("format", "version", "seed", *SECTIONS)
    if (found := top.take("format", FORMAT)) != FORMAT:
        raise top.error("format", f"is {found!r}; expected '{FORMAT}', or leave it out")
    low, high = SEED.whole
    checked: dict[str, Any] = {}
    if top.has("seed"):
        checked["seed"] = top.take_int("seed", low=low, high=high)
    for section in filter(top.has, SECTIONS):
        checked[section] = read_rows(rows_in(section), top.take_fields(section))
    if top.has("version"):  # written by a run, which says all that it resolved
        since = {**BEFORE_ROWS, "max_latency": UNLIMITED}
        checked["search"] = {**since, **checked.get("search", {})}
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


def over_file(stored: Options, given: Options) -> dict[str, Any]:
    """Return the options of a file with those of a command or call over them.

    Raises:
        InputError: The file names a program as score, cost or method, and the command does not.
    """
    for kind, section, key in (
        (SCORE, "search", "score"),
        (COST, "search", "cost"),
        (ALLOCATOR, "refine", "method"),
    ):
        check_named(kind, *(layer.get(section, {}).get(key) for layer in (stored, given)))
    return merged(stored, given)


_FOLLOWS = {
    ("search", "device"): (("search", "sram"), ("search", "flash")),
    ("search", "space"): tuple(
        ("search", key)
        for key in ("resolution", "stage_weights", "max_layers", "max_stage_share", "qbr")
    ),
    ("search", "memory_model"): (("search", "schedule"), ("search", "input")),
    ("search", "schedule"): (("search", "input"),),
    ("data", "source"): (
        ("search", "classes"),
        ("search", "channels"),
        ("train", "recipe"),
    ),
    **{("shortlist", key): (("shortlist", "rungs"),) for key in ("count", "epochs", "minutes")},
}
"""Values that were resolved from another one."""


def continued(stored: Options, given: Options) -> dict[str, Any]:
    """Return the options of a run with others over them.

    Values derived from one that is given anew are resolved anew.

    Raises:
        InputError: As ``over_file``.
    """
    kept = {
        name: dict(value) if isinstance(value, Mapping) else value for name, value in stored.items()
    }
    for (section, key), places in _FOLLOWS.items():
        value = given.get(section, {}).get(key)
        if value is not None and value != kept.get(section, {}).get(key):
            for other, name in places:
                kept.get(other, {}).pop(name, None)
    return over_file(kept, given)
