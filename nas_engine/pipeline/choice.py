"""Choice of bits by one method: its allocator, then swaps on the loss, or a study of its window.

Needs torch.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from nas_engine.allocation.allocator import allocation_of
from nas_engine.allocation.problem import AllocationProblem, Levels
from nas_engine.allocation.records import BitAllocation, Evidence
from nas_engine.allocation.swaps import real_loss_swaps
from nas_engine.allocation.table import ALLOCATORS, allocate
from nas_engine.allocation.tightening import Choose
from nas_engine.datasets import Split
from nas_engine.errors import FileFormatError, InputError, NasEngineError
from nas_engine.events import Kind, Note, Progress, Sink
from nas_engine.files import StorageError
from nas_engine.names import Method
from nas_engine.training.entropy_study import ACCURACY, BITS, TunedWindow, tune_entropy_window
from nas_engine.training.perturbation import Perturbations
from nas_engine.training.sensitivities import MeasurementStoppedError
from nas_engine.training.study_file import MissingOptunaError

TRIED = 20
"""Most evaluations in a round of swaps (chosen here)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Chooser:
    """Choice of bits: problem, evidence, images and settings."""

    problem: AllocationProblem
    """Widths and limits."""
    evidence: Evidence
    """Measurements."""
    perturbations: Perturbations
    """Network at any widths."""
    measured: Split
    """Images that swaps are tried on."""
    judged: Split
    """Images that give the accuracy of the trials."""
    swaps: int
    """Rounds of swaps."""
    trials: int
    """Trials of the entropy window; 0 leaves it untuned."""
    floor: float | None
    """Accuracy that the entropy window must keep with as few bits as it can, 0 to 1; ``None`` for
    the best accuracy in the budgets."""
    study: Path
    """File of the trials."""
    own_study: bool
    """True if that file is this run's own, so that one of another problem may be replaced."""
    solver_time_s: float
    """Seconds for proofs, per method."""
    seed: int
    """Seed of methods that draw."""
    watch: Sink
    """Sink of progress and notes, and the answer whether to stop."""

    def of(self, method: str) -> Choose:
        """Return the choice by a method; trials of later problems lie in files of their own."""

        def choose(problem: AllocationProblem, turn: int) -> BitAllocation:
            study = self.study.with_stem(f"{self.study.stem}-{turn + 1}") if turn else self.study
            return replace(self, problem=problem, study=study).choose(method)

        return choose

    def choose(self, method: str) -> BitAllocation:
        """Return the bits that a method chooses; they keep every limit of the problem.

        Raises:
            MeasurementStoppedError: ``watch.stop`` said so before there was anything to choose.
            InputError: Evidence or a study that cannot be used for this problem.
            StorageError: The disk is full.
        """
        found = allocate(
            method, self.problem, self.evidence, seed=self.seed, time_limit_s=self.solver_time_s
        )
        if method == Method.ENTROPY_WINDOW and self.trials:
            return self._tuned(found)
        model = ALLOCATORS[method].model(self.problem, self.evidence)
        if model is None or not self.swaps or (found.levels == self.problem.widest).all():
            return found
        total = self.swaps * TRIED
        return real_loss_swaps(
            self.problem,
            found,
            *model,
            lambda levels: self.perturbations.evaluate(
                levels, self.measured.images, self.measured.labels
            )[0],
            rounds=self.swaps,
            tried=TRIED,
            stop=self.watch.stop,
            watch=lambda evaluations, loss: self.watch(
                Progress(
                    kind=Kind.MEASURING,
                    what=f"{method}: swaps",
                    at=f"loss {loss:.4f}",
                    done=min(evaluations, total),
                    total=total,
                )
            ),
        )

    def accuracy(self, levels: Levels) -> float:
        """Return the accuracy of an allocation on the judging images, 0 to 1."""
        return (
            self.perturbations.evaluate(levels, self.judged.images, self.judged.labels)[1] / 100.0
        )

    def _tuned(self, untuned: BitAllocation) -> BitAllocation:
        """Return the best of the trials; the widths without any tuning are one of them."""
        if self.floor is None and (untuned.levels == self.problem.widest).all():
            return untuned
        try:
            tuned = self._study()
        except NasEngineError as error:
            if self.watch.stop():
                raise MeasurementStoppedError(0, self.trials, self.study) from error
            if isinstance(error, InputError | StorageError):
                raise
            return allocation_of(
                self.problem,
                Method.ENTROPY_WINDOW,
                untuned.levels,
                notes=(f"not tuned: {error}",),
                details=untuned.details,
            )
        counts = {
            "trials": tuned.trials,
            "evaluations": tuned.evaluations,
            "feasible trials": tuned.feasible,
            "floor": tuned.floor,
        }
        details = {**asdict(tuned.settings), "aim": tuned.aim, **counts}
        return allocation_of(
            self.problem,
            Method.ENTROPY_WINDOW,
            tuned.levels,
            notes=(tuned.summary,),
            details=details,
        )

    def _study(self) -> TunedWindow:
        images, labels = self.judged.images, self.judged.labels
        subject = json.dumps(self.perturbations.fingerprint(images, labels))

        def attempt() -> TunedWindow:
            return tune_entropy_window(
                self.problem,
                self.evidence,
                self.accuracy,
                floor=self.floor,
                aim=ACCURACY if self.floor is None else BITS,
                trials=self.trials,
                storage=self.study,
                subject=subject,
                seed=self.seed,
                stop=self.watch.stop,
                watch=lambda now: self.watch(
                    Progress(
                        kind=Kind.MEASURING,
                        what=f"{Method.ENTROPY_WINDOW}: trials",
                        done=now.done,
                        total=now.total,
                    )
                ),
            )

        try:
            return attempt()
        except FileFormatError as error:
            if not self.own_study or not self.study.exists():
                raise
            problem = error.problem.split(";")[0]
            self.watch(Note(text=f"{self.study}: {problem}; begun anew"))
            self.study.unlink()
            return attempt()


def require_optuna() -> None:
    """Check that Optuna is there, without importing it.

    Raises:
        InputError: It is not.
    """
    if find_spec("optuna") is None:
        raise InputError(f"{MissingOptunaError()}, or give --trials 0 to leave it untuned")
