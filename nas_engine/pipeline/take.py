"""A network of a front as a run of its own, which can be trained and exported. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from nas_engine.errors import InputError, RunDirectoryError
from nas_engine.escaping import command_line
from nas_engine.evolution.config import SearchConfig, build_problem
from nas_engine.pipeline.new_run import write_new_run
from nas_engine.runs.pipeline_directory import PipelineDirectory
from nas_engine.runs.run_directory import RunDirectory


def searched(path: Path) -> RunDirectory:
    """Return the search of a run: of a whole run its first stage.

    Raises:
        RunDirectoryError: No run, or one whose search has no front yet.
    """
    whole = PipelineDirectory(path)
    run = whole.search if whole.started() else RunDirectory(path)
    if not run.started() or not (run.path / "pareto.csv").exists():
        raise RunDirectoryError(
            path,
            "holds no front; give the directory that nas-search or nas-search run wrote, of one "
            "resolution",
        )
    return run


def front_of(path: Path) -> list[Mapping[str, float]]:
    """Return the front of a run; errors as ``searched``, and ``FileFormatError`` for damage."""
    return list(searched(path).front.read())


def take(path: Path, pick: int, out: Path | None = None, *, force: bool = False) -> RunDirectory:
    """Write a run directory with a network of a front as its winner.

    Args:
        path: The run.
        pick: Number of the network, from 1, as in ``pareto/``.
        out: The new directory; ``PATH-PICK`` beside the run if ``None``.
        force: Replace a run that is there.

    Raises:
        InputError: There is no such network.
        RunDirectoryError: No front, or a run in the new directory already.
        FileFormatError: A damaged file.
        StorageError: The disk is full.
    """
    origin = searched(path)
    count = len(origin.front.read())
    if not 1 <= pick <= count:
        raise InputError(
            f"--pick {pick}: the front has {count:,} networks; see some that differ with "
            f"{command_line('nas-search', 'take', path)}"
        )
    target = RunDirectory(path.with_name(f"{path.resolve().name}-{pick}") if out is None else out)
    if target.started() and not force:
        raise RunDirectoryError(
            target.path, "holds a run already; give another --out, or --force to replace it"
        )
    config = SearchConfig.from_mapping(origin.read_config(), origin.path / "config.yaml")
    problem, _ = build_problem(config)
    write_new_run(target, origin, problem, origin.read_member(pick))
    return target
