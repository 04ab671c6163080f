"""A whole run told in lines of text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nas_engine.api.options import Watch
from nas_engine.pipeline.run_watch import RunWatch

if TYPE_CHECKING:
    from nas_engine.runs.ledger import Standing
    from nas_engine.runs.run_record import StageRecord
    from nas_engine.verification.result import Comparison


class TextWatch(RunWatch):
    """Tells in a line each what begins, what is about to be done, what was found, and what is done.

    Args:
        watch: Called with the lines.
    """

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def begins(self, stage: str, standing: Standing) -> None:
        """Tell the stage, and whether it is done already."""
        self._watch(f"{stage}: {standing.state}")

    def ends(self, stage: StageRecord) -> None:
        """Tell what a stage came to."""
        self._watch(f"{stage.name}: {stage.state} after {stage.seconds:.1f} s")

    def announce(self, text: str) -> None:
        """Tell what is about to be done."""
        self._watch(text)

    def note(self, text: str) -> None:
        """Tell what a user should know."""
        self._watch(f"note: {text}")

    def training(self, what: str, task: Any, state: Any) -> None:
        """Tell the end of an epoch."""
        if state.step == task.steps:
            self._watch(f"{what}, {state.stage} epoch {state.epoch + 1}/{task.epochs(state.stage)}")

    def verified(self, comparison: Comparison, done: int, total: int) -> None:
        """Tell a verdict."""
        self._watch(f"{done}/{total} {comparison.backend}: {comparison.verdict}")
