"""Progress of a whole run: a line per stage, and below it whatever its own command shows."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from nas_engine.cli import console
from nas_engine.pipeline.run_watch import RunWatch
from nas_engine.runs.ledger import State
from nas_engine.units import format_duration

if TYPE_CHECKING:
    from nas_engine.evolution.config import SearchConfig
    from nas_engine.evolution.search import SearchState
    from nas_engine.runs.ledger import Standing
    from nas_engine.runs.run_record import StageRecord
    from nas_engine.verification.result import Comparison

PURPOSE = {
    "search": "search networks and bits for the budgets",
    "shortlist": "train the best of the front shortly, keep the one that does best",
    "train": "train it in float",
    "refine": "choose its bits again, by what the data say",
    "quantise": "train it with its own bits, lower it to integers",
    "export": "write C, TFLite and ONNX",
    "verify": "compare every back-end with the integer reference",
    "report": "draw the report",
}
"""What each stage is for."""


class RunProgress(RunWatch):
    """Shows on standard error which stage is at work, and how far it is.

    Args:
        stopped: Set on Ctrl-C.
    """

    def __init__(self, stopped: threading.Event) -> None:
        self._stopped = stopped
        self._open: Any = None
        self.kept: set[str] = set()
        """Stages that were not done, because they are done already."""

    def __enter__(self) -> Self:
        return self

    def stop(self) -> bool:
        """Return whether Ctrl-C was pressed."""
        return self._stopped.is_set()

    def begins(self, stage: str, standing: Standing) -> None:
        """Name a stage, and say why it is done again if it is."""
        self._close()
        purpose = PURPOSE[stage]
        if standing.state is State.DONE:
            self.kept.add(stage)
        said = {
            State.DONE: "done already",
            State.GOES_ON: f"goes on: {purpose}",
            State.BEGINS: purpose,
            State.AGAIN: f"again ({standing.reason}): {purpose}",
        }
        console.tell(f"{stage}: {said[standing.state]}")

    def ends(self, stage: StageRecord) -> None:
        """Say how long a stage took."""
        self._close()
        if stage.done:
            console.tell(f"{stage.name}: {format_duration(stage.seconds)}")

    def announce(self, text: str) -> None:
        """Show what takes a while, on a terminal."""
        self._close()
        console.announce(text)

    def note(self, text: str) -> None:
        """Show a note, wherever."""
        self._close()
        console.tell(f"note: {text}")

    def searching(self, config: SearchConfig, state: SearchState) -> None:
        """Show the search."""
        from nas_engine.cli.progress import SearchProgress

        self._shown(SearchProgress, config).watch(state)

    def training(self, what: str, task: Any, state: Any) -> None:
        """Show a training."""
        from nas_engine.cli.training_progress import TrainingProgress

        self._shown(TrainingProgress).observe(what, task, state)

    def measuring(self, what: str, done: int, total: int) -> None:
        """Show a refinement."""
        from nas_engine.cli.refine_progress import RefineProgress

        self._shown(RefineProgress).progress(what, done, total)

    def verifying(self, text: str, done: int, total: int) -> None:
        """Show which back-end runs."""
        from nas_engine.cli.verification_progress import VerificationProgress

        self._shown(VerificationProgress).announce(text, done, total)

    def verified(self, comparison: Comparison, done: int, total: int) -> None:
        """Show how a back-end compared."""
        from nas_engine.cli.verification_progress import VerificationProgress

        self._shown(VerificationProgress).observe(comparison, done, total)

    def _shown(self, kind: type[Any], *given: Any) -> Any:
        """Return what shows a kind of work, opened if it is not open."""
        if not isinstance(self._open, kind):
            self._close()
            self._open = kind(*given).__enter__()
        return self._open

    def _close(self) -> None:
        if self._open is not None:
            self._open.__exit__(None, None, None)
            self._open = None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()
