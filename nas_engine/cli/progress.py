"""Screen: the sink of every command, with bars on a terminal or in a notebook, else lines."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from nas_engine.cli import console
from nas_engine.events import Epoch, Event, Finished, Kind, Lines, Progress, Started
from nas_engine.interrupts import stop_on_interrupt

if TYPE_CHECKING:
    from nas_engine.training.tracking import Tracker

WIDTH = 100
"""Columns of a bar, fewer in a narrow terminal."""

NOTEBOOK_WIDTH = 160
"""Columns of a bar in a notebook, where the figures of a search are behind it."""

_BARS: Mapping[Kind, str] = {
    Kind.SEARCH: (
        "{desc} {percentage:3.0f} % |{bar}| {n_fmt}/{total_fmt} networks, {rate_noinv_fmt}, "
        "{remaining} left"
    ),
    Kind.TRAINING: "{desc} {percentage:3.0f} % |{bar}| {remaining} left",
    Kind.MEASURING: "{desc} {percentage:3.0f} % |{bar}| {n_fmt}/{total_fmt} {remaining} left",
    Kind.VERIFYING: "{percentage:3.0f} % |{bar}| {n_fmt}/{total_fmt} {desc}",
}
"""Look of each bar, in the terms of ``tqdm``."""


class Screen:
    """Progress on standard error, and the answer to Ctrl-C and to a time limit.

    In Python ``with ne.Screen() as screen`` and ``watch=screen`` show what the command line shows.

    Args:
        time_limit: Seconds after which to stop; ``None`` for no limit.
        log: Tracker that trainings are logged to, such as ``tensorboard``; ``None`` for none.

    Raises:
        InputError: The package of the tracker is not installed.
    """

    def __init__(self, time_limit: float | None = None, log: str | None = None) -> None:
        self._tracker = None if log is None else _tracker(log)
        self._deadline = time.monotonic() + (float("inf") if time_limit is None else time_limit)
        self._lines = Lines(console.tell, starts=console.progress() is console.Progress.BAR)
        self._work: tuple[str, str] | None = None
        self._bars: list[Any] = []
        self._stack = contextlib.ExitStack()
        self._stage = ""
        self.stopped = threading.Event()
        """Set on Ctrl-C, once ``catch_interrupt`` was called."""
        self.kept: set[str] = set()
        """Stages that were done before."""

    def catch_interrupt(self) -> None:
        """Let the first Ctrl-C stop the work where its state can be saved, from now on."""
        self.stopped = self._stack.enter_context(stop_on_interrupt())

    def stop(self) -> bool:
        """Return whether Ctrl-C was pressed or the time is over."""
        return self.stopped.is_set() or time.monotonic() >= self._deadline

    def __call__(self, event: Event, /) -> None:
        """Show an event, or log it."""
        if isinstance(event, Epoch):
            if self._tracker is not None:
                self._tracker(event)
            return
        if isinstance(event, Progress) and console.progress() is console.Progress.BAR:
            self._draw(event)
            return
        self._close()
        self._lines(event)
        if isinstance(event, Started) and event.stage:
            self._stage = event.stage
        elif isinstance(event, Finished) and event.stage and event.stage != self._stage:
            self.kept.add(event.stage)

    def _draw(self, event: Progress) -> None:
        work, done = (event.kind, event.what), min(event.done, event.total)
        if work != self._work:
            self._close()
        if not self._bars:
            self._work = work
            below = event.kind is Kind.SEARCH and sys.stderr.isatty()
            look = _BARS[event.kind] + ("" if below else "{postfix}")
            self._bars = [_open(look, event, event.name)]
            if below:
                self._bars.append(_open("{desc}", event, event.detail, position=1))
        bar, *texts = self._bars
        bar.set_description_str(event.name, refresh=False)
        if not texts:
            bar.set_postfix_str(event.detail, refresh=False)
        for text in texts:
            text.set_description_str(event.detail, refresh=False)
        if event.whole or done == bar.n:
            bar.n = done
            bar.refresh()
        elif not bar.update(done - bar.n):  # drawn, not more often than the bar allows
            return
        for text in texts:
            text.refresh()

    def _close(self) -> None:
        for bar in reversed(self._bars):
            bar.refresh()
        for bar in self._bars:
            bar.close()
        self._bars, self._work = [], None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()
        if self._tracker is not None:
            self._tracker.close()
        self._stack.close()


def _tracker(name: str) -> Tracker:
    from nas_engine.training.tracking import TRACKERS

    return TRACKERS[name]()


def _has_widgets() -> bool:
    """Return whether bars can be elements of a notebook."""
    return console.in_notebook() and find_spec("ipywidgets") is not None


def _bar() -> Any:
    """Return the class of bars: of text, or in a notebook those of ``tqdm.auto``."""
    return import_module("tqdm.auto" if _has_widgets() else "tqdm").tqdm


def _open(look: str, event: Progress, text: str, position: int = 0) -> Any:
    """Return a bar on standard error."""
    width: int | None = NOTEBOOK_WIDTH
    if _has_widgets():
        width = None
    elif sys.stderr.isatty():  # 0 columns where a terminal does not know
        width = min(WIDTH, os.get_terminal_size(sys.stderr.fileno()).columns or WIDTH)
    return _bar()(
        total=event.total,
        initial=min(event.done, event.total),
        desc=text,
        bar_format=look,
        position=position,
        ncols=width,
        nrows=20,
        mininterval=0.2,
        unit="",
        unit_scale=event.kind is Kind.SEARCH,
    )
