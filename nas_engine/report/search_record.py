"""SearchRecord: state of a search on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from device_profiles import DeviceProfile
from nas_engine.architecture import Architecture
from nas_engine.evolution.config import SearchConfig, build_problem
from nas_engine.evolution.problem import SearchProblem
from nas_engine.report.network import NetworkReport, report_network
from nas_engine.report.shown import Shown
from nas_engine.runs.run_directory import RunDirectory
from nas_engine.strict_yaml import Fields
from nas_engine.training.finished import finished_training
from nas_engine.training.result import TrainingResult


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRecord(Shown):
    """State of a search on disk."""

    config: SearchConfig
    """Config of the search."""
    directory: RunDirectory
    """Where it is."""
    device: DeviceProfile
    """The device it is for."""
    best: NetworkReport
    """The winner."""
    evaluated: int
    """Networks evaluated."""
    interrupted: bool = False
    """True if Ctrl-C ended the search."""
    training: TrainingResult | None = None
    """Training result of the winner, if trained to the end."""

    @property
    def complete(self) -> bool:
        """True if all candidates were evaluated (False after a time limit or Ctrl-C)."""
        return self.evaluated >= self.config.candidates


def load_runs(path: Path) -> list[SearchRecord]:
    """Return the records of a run directory: one, or one per resolution.

    Raises:
        RunDirectoryError: Not a run directory, of another version, or without a winner yet.
        FileFormatError: A damaged file.
    """
    configs = load_configs(path)
    if not configs:
        RunDirectory(path).read_config()  # says what is wrong
    folders = (
        [path]
        if len(configs) == 1
        else [RunDirectory(path).member(config.resolution).path for config in configs]
    )
    return [_load_run(folder) for folder in folders]


def _load_run(path: Path) -> SearchRecord:
    directory = RunDirectory(path)
    config = SearchConfig.from_mapping(directory.read_config(), path / "config.yaml")
    problem, device = build_problem(config)
    history = directory.history.read()
    evaluated = history[-1]["evaluated"] if history else 0
    best = report_member(directory.read_best(), problem)
    training = finished_training(directory) if directory.training.result.exists() else None
    return SearchRecord(
        config=config,
        directory=directory,
        device=device,
        best=best,
        evaluated=evaluated,
        training=training,
    )


def load_configs(path: Path) -> list[SearchConfig]:
    """Return the configs of a run directory: several for several resolutions, else one or none.

    Raises:
        RunDirectoryError: A run of another version.
        FileFormatError: A damaged ``config.yaml``.
    """
    directory, file = RunDirectory(path), path / "config.yaml"
    if not directory.started():
        return []
    mapping = directory.read_config()
    if "resolutions" not in mapping:
        return [SearchConfig.from_mapping(mapping, file)]
    part = Fields(mapping, file)
    items = part.take_items("resolutions", of="whole numbers")
    if not len(items):
        raise part.error("resolutions", "is []; expected at least one size")
    sizes = [items.take_int(at) for at in items]
    del mapping["resolutions"]
    return [SearchConfig.from_mapping({**mapping, "resolution": size}, file) for size in sizes]


def report_member(
    network: Architecture, problem: SearchProblem, *, own_cost: str | None = None
) -> NetworkReport:
    """Return the report of a network, counted and scored as a problem does.

    Args:
        network: The network.
        problem: The problem; its own cost, a program, is not run.
        own_cost: That cost where the command or call named it.
    """
    return report_network(
        network,
        memory_model=problem.memory_model,
        score=problem.score.last(1 + sum(block.stride == 2 for block in network.blocks)),
        cycles_per_mac=problem.cycles_per_mac,
        cycle_model=problem.cycle_model,
        milliseconds_per_cycle=problem.milliseconds_per_cycle,
        own_cost=own_cost,
        least_noise=problem.least_noise,
    )
