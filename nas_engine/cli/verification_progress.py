"""Progress of a verification: a bar over the back-ends on a terminal, a line per back-end elsewhere."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from nas_engine.cli import console
from nas_engine.cli.bar import open_bar
from nas_engine.cli.console import Progress

if TYPE_CHECKING:
    from nas_engine.verification.result import Comparison

_BAR = "{percentage:3.0f} % |{bar}| {n_fmt}/{total_fmt} {desc}"


class VerificationProgress:
    """Shows on standard error what runs and how many back-ends are done."""

    def __init__(self) -> None:
        self._bar: Any = None

    def __enter__(self) -> Self:
        return self

    def announce(self, text: str, done: int, total: int) -> None:
        """Show what is about to be done, behind ``done`` of ``total`` back-ends."""
        if console.progress() is not Progress.BAR:
            return
        if self._bar is None:
            self._bar = open_bar(_BAR, total)
        self._bar.set_description_str(text, refresh=False)
        self._bar.update(done - self._bar.n)
        self._bar.refresh()

    def observe(self, comparison: Comparison, done: int, total: int) -> None:
        """Show how a back-end compared; ``done`` counts it."""
        if console.progress() is Progress.BAR:
            self.announce(f"{comparison.backend}: {comparison.verdict}", done, total)
        else:
            console.tell(f"{done}/{total} {comparison.backend}: {comparison.verdict}")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()
