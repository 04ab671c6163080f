"""Completion in a shell: devices, spaces, methods, recipes, run directories.

A shell asks at every press of a key, so nothing is imported here: names come from the files that
ship.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import click
from click.shell_completion import CompletionItem

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]
"""Function for ``shell_complete`` of an option."""


def shipped(package: str, folder: str) -> tuple[str, ...]:
    """Return the names of YAML files in a folder of a package, without importing it."""
    spec = find_spec(package)
    places = (spec.submodule_search_locations if spec else None) or ()
    return tuple(
        sorted(file.stem for place in places for file in (Path(place) / folder).glob("*.yaml"))
    )


def complete_devices(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete the names of device profiles, or a file."""
    return _matching(shipped("device_profiles", "data"), incomplete)


def complete_spaces(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete the names of search spaces, or a file."""
    return _matching(shipped("search_spaces", "data"), incomplete)


def complete_recipes(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete the names of training recipes, or a file."""
    return _matching(shipped("nas_engine", os.path.join("training", "recipes")), incomplete)


def complete_words(*words: str, files: bool = False) -> Complete:
    """Return the completion of one of some words, or of a file if allowed."""
    return lambda ctx, param, incomplete: _matching(words, incomplete, files=files)


def complete_list(*words: str) -> Complete:
    """Return the completion of the last of several words with commas between."""

    def complete(
        ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        before, comma, last = incomplete.rpartition(",")
        taken = before.split(",")
        return [
            CompletionItem(f"{before}{comma}{word}")
            for word in words
            if word.startswith(last) and word not in taken
        ]

    return complete


def complete_runs(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete the directory of a run at most two folders deeper, or else any directory."""
    found = {
        os.path.dirname(file)
        for depth in ("*", os.path.join("*", "*"))
        for name in ("config.yaml", "run.yaml")
        for file in glob.iglob(os.path.join(f"{glob.escape(incomplete)}{depth}", name))
    }
    return [CompletionItem(path) for path in sorted(found)] or [
        CompletionItem(incomplete, type="dir")
    ]


def _matching(names: Sequence[str], incomplete: str, *, files: bool = True) -> list[CompletionItem]:
    found = [CompletionItem(name) for name in names if name.startswith(incomplete)]
    return found or ([CompletionItem(incomplete, type="file")] if files else [])
