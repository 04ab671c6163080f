"""Interface of exporters: their input and their result.

An exporter is one file and one row of ``nas_engine.exporters.table``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from nas_engine.costs.plan import MemoryPlan
from nas_engine.errors import NasEngineError, one_line
from nas_engine.exporters.settings import PLAIN, ExportSettings
from nas_engine.integer.model import IntegerModel
from nas_engine.integer.store import GoldenVectors
from nas_engine.network.graph import KINDS


class ExportError(NasEngineError):
    """A network that a format cannot carry.

    Attributes:
        target: Format or device.
        problem: What came, what was expected, what to do instead.
    """

    exit_code = 1

    def __init__(self, target: str, problem: str) -> None:
        self.target = target
        self.problem = problem
        super().__init__(target, problem)

    def __str__(self) -> str:
        return one_line(f"{self.target}: {self.problem}")


RUNS = ("conv", "depthwise", "average_pool")
"""Kinds of nodes that every format runs, with square windows."""


def check_supported(model: IntegerModel) -> None:
    """Refuse a network that the formats do not run.

    Raises:
        ExportError: A node of another kind or with a window that is not square, or a network that
            is no classifier; names the node and what is supported.
    """
    for node in model.nodes:
        if node.kind not in RUNS:
            names = ", ".join(KINDS[kind].summary for kind in RUNS)
            raise ExportError(
                "export", f"{node.name!r} is {KINDS[node.kind].summary}; supported are: {names}"
            )
        if node.kernel_height != node.kernel_width:
            raise ExportError(
                "export",
                f"{node.name!r} has a window of {node.kernel_height}x{node.kernel_width}; "
                "supported are square ones",
            )
    if not model.classes:
        raise ExportError(
            "export", f"the outputs are {', '.join(model.outputs)}; supported is a classifier's one"
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ExportSubject:
    """One network, ready to be written in any format."""

    model: IntegerModel
    """The network."""
    golden: GoldenVectors
    """A few images, their logits, and the checksums of every tensor of the first."""
    plan: MemoryPlan
    """Where its tensors lie in the arena, ``nas_engine.costs.plan``."""
    manifest: Mapping[str, Any]
    """Per-layer bits and constants, ``nas_engine.exporters.manifest``: every format carries it."""
    settings: ExportSettings = PLAIN
    """How to write it; ``export_files`` sets them."""

    def __post_init__(self) -> None:
        check_supported(self.model)


class Exporter(Protocol):
    """One format."""

    @property
    def name(self) -> str:
        """Name on the command line."""

    def missing(self) -> str | None:
        """Return a line naming the missing package and how to install it, or ``None``.

        ``None`` means that the exporter can run.
        """

    def files(self, subject: ExportSubject) -> Mapping[str, bytes]:
        """Return the files by their path in the export directory (``/`` between folders).

        The same subject gives the same bytes.

        Raises:
            ExportError: The format cannot carry this network.
        """
