"""PipelineDirectory: the folders and files of a whole ``nas-search run``.

``run.yaml`` what was asked for, resolved; ``run.json`` the ``RunRecord``; ``search/`` the run
directory of the search; ``shortlist/1`` ... one run directory per network of the front that got a
short training, and ``shortlist/rung1/1`` ... of rungs before the last; ``network/`` the run
directory of the winner, with its float training and the refinement of its bits; ``final/`` that of
the refined network: quantised training, integers, export, verification; ``report.html`` and
``report/``, its pictures.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from nas_engine.runs.run_directory import RunDirectory


@dataclass(frozen=True, slots=True)
class PipelineDirectory:
    """Paths of a whole run."""

    path: Path
    """The folder."""

    @property
    def config(self) -> Path:
        """Options of the run, every value resolved."""
        return self.path / "run.yaml"

    @property
    def record(self) -> Path:
        """Record of every stage."""
        return self.path / "run.json"

    @property
    def search(self) -> RunDirectory:
        """The search."""
        return RunDirectory(self.path / "search")

    @property
    def shortlist(self) -> Path:
        """The folder of the networks that got a short training."""
        return self.path / "shortlist"

    def candidate(self, rank: int, rung: int | None = None) -> RunDirectory:
        """Return the run directory of one of them.

        Args:
            rank: Its place by score, from 1.
            rung: Rung of its training, from 1; ``None`` for the last one.
        """
        folder = self.shortlist if rung is None else self.shortlist / f"rung{rung}"
        return RunDirectory(folder / str(rank))

    @property
    def network(self) -> RunDirectory:
        """The winner, its float training and the refinement of its bits."""
        return RunDirectory(self.path / "network")

    @property
    def final(self) -> RunDirectory:
        """The refined network: quantised training, integers, export, verification."""
        return RunDirectory(self.path / "final")

    @property
    def report(self) -> Path:
        """The page."""
        return self.path / "report.html"

    @property
    def pictures(self) -> Path:
        """The figures of the page as PNG and SVG."""
        return self.path / "report"

    def started(self) -> bool:
        """Return whether a whole run has begun here."""
        return os.path.exists(self.config)  # unlike Path.exists, False for a name that cannot be
