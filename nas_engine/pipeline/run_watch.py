"""Whom a whole run tells what it does. No torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nas_engine.evolution.config import SearchConfig
    from nas_engine.evolution.search import SearchState
    from nas_engine.runs.ledger import Standing
    from nas_engine.runs.run_record import StageRecord
    from nas_engine.verification.result import Comparison


class RunWatch:
    """Told of everything, does nothing; whoever shows progress overrides what it shows."""

    def stop(self) -> bool:
        """Return whether to stop where the state can be saved."""
        return False

    def begins(self, stage: str, standing: Standing) -> None:
        """A stage is about to be done, gone on with, or left as it is."""

    def ends(self, stage: StageRecord) -> None:
        """A stage is done, or stopped."""

    def announce(self, text: str) -> None:
        """Something that takes a while is about to be done."""

    def note(self, text: str) -> None:
        """Something that a user should know even if nobody watches."""

    def searching(self, config: SearchConfig, state: SearchState) -> None:
        """A generation is done."""

    def training(self, what: str, task: Any, state: Any) -> None:
        """A step is done; see ``nas_engine.pipeline.training.Observer``."""

    def measuring(self, what: str, done: int, total: int) -> None:
        """Part of a refinement is done."""

    def verifying(self, text: str, done: int, total: int) -> None:
        """A back-end is about to run."""

    def verified(self, comparison: Comparison, done: int, total: int) -> None:
        """A back-end has run."""
