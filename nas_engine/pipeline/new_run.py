"""Run directory for a network of another run: a member of its front, or its winner with other bits.

No torch.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from nas_engine.architecture import Architecture
from nas_engine.costs.plan import plan_memory
from nas_engine.evolution.problem import SearchProblem
from nas_engine.files import write_atomically
from nas_engine.reading import LARGE_FILE, read_regular
from nas_engine.report.search_record import report_member
from nas_engine.runs.run_directory import RunDirectory


def write_new_run(
    run: RunDirectory,
    origin: RunDirectory,
    search: SearchProblem,
    network: Architecture,
    beside: Callable[[RunDirectory], None] = lambda run: None,
) -> None:
    """Begin a run directory with the config of another and a network as its winner.

    What an earlier one left is removed. ``best.yaml`` is written last: where it is, the rest is,
    however a process ended.

    Args:
        run: The directory.
        origin: Whose config it gets.
        search: What was searched for.
        network: The winner.
        beside: Writes what else belongs to it.

    Raises:
        StorageError: The disk is full.
    """
    run.open(resume=False, force=True)
    with run.locked():
        run.begin(origin.read_config())
        run.front.write([report_member(network, search).front_row()])
        beside(run)
        run.write_best(network, plan_memory(network).as_json())


def keep_or_write(
    run: RunDirectory,
    origin: RunDirectory,
    search: SearchProblem,
    network: Architecture,
    *,
    keep: bool = True,
) -> None:
    """Write a run directory of a network and the config of another, unless it is there already.

    Args:
        run: The directory.
        origin: Whose config it gets.
        search: What was searched for.
        network: The winner.
        keep: Whether anything may stay.

    Raises:
        StorageError: The disk is full.
    """
    if keep and run.started() and (run.path / "best.yaml").exists() and run.read_best() == network:
        run.write_config(origin.read_config())
    else:
        write_new_run(run, origin, search, network)


def copy_file(source: Path, target: Path) -> None:
    """Copy a file atomically.

    Raises:
        UnreadableError: The operating system does not let it be read.
        StorageError: The disk is full.
    """
    write_atomically(target, read_regular(source, LARGE_FILE))
