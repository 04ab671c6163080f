"""Facts of a report, read from a run that may be unfinished; missing ones are ``None`` or empty."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from device_profiles import DeviceProfile
from nas_engine.costs.plan import MemoryPlan
from nas_engine.errors import InputError
from nas_engine.records import Count, Percent, Text
from nas_engine.report.allocations import AllocationReport, AllocationSetting
from nas_engine.report.layer_errors import LayerErrors
from nas_engine.report.network import NetworkReport
from nas_engine.runs.run_record import RunRecord
from nas_engine.training.result import TrainingResult
from nas_engine.verification.result import VerificationReport

TEACHER = "teacher"
"""Name of the training of a teacher."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Request of the search."""

    device: DeviceProfile
    """The device, with the memory that was given."""
    space: str
    """Search space."""
    resolution: int
    """Side of the input image, pixels."""
    class_count: int
    """Outputs."""
    limits: Mapping[str, float]
    """Those of ``LIMITS`` that were set, by name."""
    candidates: int
    """Networks to evaluate."""
    seed: int
    """Seed of the search."""
    options: Mapping[str, Any]
    """All values by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """One training, finished or not."""

    name: str
    """Name of the training, such as ``float stage``."""
    folder: str
    """Where it is, below the run."""
    epochs: tuple[Mapping[str, Any], ...]
    """One mapping per epoch, as in ``metrics.jsonl``."""
    result: TrainingResult | None
    """Result, once done."""
    recipe: Mapping[str, Any]
    """Values of its recipe; empty where unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One network of a shortlist."""

    rank: int
    """Place by QE-Score, from 1."""
    qe_score: float
    """QE-Score."""
    peak_sram_bytes: float
    """Peak SRAM."""
    flash_bytes: float
    """Flash."""
    macs: float
    """Multiply-accumulates."""
    layers: int
    """Layers."""
    accuracy: Percent | None
    """After a short training, on held-out training images, percent; ``None`` if that failed."""
    loss: float | None
    """Mean training loss of the last epoch; ``None`` likewise."""
    chosen: bool
    """True if the run continued with it."""
    failure: Text | None = None
    """Why it was left out; ``None`` if it was not."""

    def __post_init__(self) -> None:
        if self.accuracy is None and not self.failure:
            raise InputError("accuracy is None; expected a percentage, or a failure")


@dataclass(frozen=True, slots=True, kw_only=True)
class RungMember:
    """One network of a rung before the last."""

    rank: int
    """Place by QE-Score, from 1."""
    qe_score: float
    """QE-Score."""
    path_noise: float
    """Path noise."""
    loss: float | None
    """Mean training loss of the last epoch; ``None`` if the training failed."""
    accuracy: Percent | None
    """In float on held-out training images, percent; ``None`` likewise."""
    failure: Text | None
    """Why it was left out; ``None`` if it was not."""
    goes_on: bool
    """True if it is on the next rung."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """Networks that were trained in float alike, and narrowed down."""

    epochs: int
    """Epochs of each."""
    members: tuple[RungMember, ...]
    """The networks, by rank."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortlist:
    """Networks of the front after a short training."""

    images: Count
    """Held-out training images that the accuracy is of."""
    epochs: int
    """Epochs of each."""
    members: tuple[Candidate, ...]
    """The networks, by rank."""
    decided_by: Text = ""
    """``accuracy``: one was ahead by more than chance; ``loss``: the smallest training loss of
    several alike; ``failures``: all others failed; empty: not recorded."""
    rungs: tuple[Rung, ...] = ()
    """Rungs before this one."""
    threads: int | None = None
    """Threads of each training; ``None`` where they are not recorded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocations:
    """Methods side by side."""

    members: tuple[AllocationReport, ...]
    """The methods."""
    setting: AllocationSetting
    """Their conditions, with all warnings."""
    trained: Mapping[str, float]
    """Accuracy of their integer models on test images after training by method, percent."""
    chosen: str | None
    """The method whose bits the network of this report has, ``None`` where that is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stale:
    """A record that does not match the files next to it; its content is left out."""

    record: str
    """Its path."""
    problem: str
    """Mismatch found."""
    command: str
    """The command that makes it anew."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RunFacts:
    """State of a run on disk."""

    name: str
    """Name of the run: its folder."""
    path: str
    """The folder as it was given: what commands name."""
    whole: bool
    """True for a run of ``nas-search run``."""
    version: str
    """Version that makes the report."""
    asked: Asked
    """Request of the search."""
    network: NetworkReport | None = None
    """The network that the report is about."""
    network_is: str = ""
    """Description of the network: best of the search, winner, or refined."""
    folder: str = ""
    """Run directory of the network, as commands name it."""
    plan: MemoryPlan | None = None
    """Its arena."""
    history: tuple[Mapping[str, Any], ...] = ()
    """One mapping per generation of the search."""
    front: tuple[Mapping[str, float], ...] = ()
    """One mapping per member."""
    trainings: tuple[Training, ...] = ()
    """Trainings in the order they ran."""
    exports: Mapping[str, str] | None = None
    """Path and SHA-256 of every exported file."""
    verification: VerificationReport | None = None
    """Result of the verification."""
    shortlist: Shortlist | None = None
    """Networks that got a short training."""
    allocations: Allocations | None = None
    """Methods that chose bits."""
    layer_errors: LayerErrors | None = None
    """Quantisation error by layer."""
    record: RunRecord | None = None
    """Stages of a whole run."""
    digests: Mapping[str, str] | None = None
    """Path and SHA-256 of the files that matter."""
    problems: tuple[str, ...] = ()
    """Files that could not be read."""
    stale: tuple[Stale, ...] = ()
    """Records that do not match the files next to them."""
    unchecked: tuple[Stale, ...] = ()
    """Records that carry no digests, so that nothing says whether they are."""

    @property
    def checked(self) -> bool:
        """True if every record was readable and its digests fit the files."""
        return not (self.problems or self.stale or self.unchecked)

    @property
    def result(self) -> TrainingResult | None:
        """The last finished training."""
        return next(
            (training.result for training in reversed(self.trainings) if training.result), None
        )
