"""Progress of a refinement: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any, Self

from nas_engine.cli import console
from nas_engine.cli.bar import open_bar
from nas_engine.cli.console import Progress

EVERY_S = 10.0
"""Seconds between plain lines of one measurement."""

_BAR = "{desc} {percentage:3.0f} % |{bar}| {n_fmt}/{total_fmt} {remaining} left"


class RefineProgress:
    """Shows on standard error what is measured, how much of it is done, and the time left."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._what, self._shown = "", 0.0

    def __enter__(self) -> Self:
        return self

    def announce(self, text: str) -> None:
        """Show what is about to be done, on a terminal."""
        self._close()
        console.announce(text)

    def note(self, text: str) -> None:
        """Show what a user should know, on a terminal and elsewhere."""
        self._close()
        console.tell(f"note: {text}")

    def progress(self, what: str, done: int, total: int) -> None:
        """Show how much of something is done."""
        kind = what.split(",")[0]  # behind a comma stands what changes on the way
        if console.progress() is Progress.BAR:
            self._draw(kind, what, done, total)
        elif done >= total or kind != self._what or time.monotonic() - self._shown > EVERY_S:
            self._shown = time.monotonic()
            console.tell(f"{what}: {done:,}/{total:,}")
        self._what = kind

    def _draw(self, kind: str, what: str, done: int, total: int) -> None:
        if kind != self._what:
            self._close()
        if self._bar is None:
            self._bar = open_bar(_BAR, total, done=done, text=what)
        self._bar.set_description_str(what, refresh=False)
        self._bar.update(done - self._bar.n)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()
