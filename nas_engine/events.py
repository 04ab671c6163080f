"""Events: one stream of progress of all long work, its sink, and its form as lines of text.

A search, a training, a refinement, a verification and a whole run all take one sink: a callable
that also answers whether to stop.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, TypeAlias


class Kind(StrEnum):
    """Kind of work that progress is made with."""

    SEARCH = "search"
    """Networks are evaluated."""
    TRAINING = "training"
    """Optimiser steps are taken."""
    MEASURING = "measuring"
    """A refinement measures or tries widths."""
    VERIFYING = "verifying"
    """Back-ends are run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """Start of work that takes a while."""

    text: str
    """Work, such as ``reading digits ...``; of a stage, its purpose and why it is done."""
    stage: str = ""
    """Stage of a whole run; empty for work within one."""

    def __str__(self) -> str:
        return f"{self.stage}: {self.text}" if self.stage else self.text


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Part of some work that is done."""

    kind: Kind
    """Kind of work."""
    what: str = ""
    """Name of the work; another name is other work."""
    at: str = ""
    """Position that changes on the way, such as ``float epoch 2/8``."""
    done: int
    """Units done: networks, steps, parts or back-ends."""
    total: int
    """Units in all; a search may end a little above it."""
    detail: str = ""
    """Figures so far."""
    whole: bool = False
    """True if it completes an epoch or a back-end."""

    @property
    def name(self) -> str:
        """Name and position."""
        return ", ".join(part for part in (self.what, self.at) if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Remark that a user should read even if nobody watches."""

    text: str
    """Remark in one line."""

    def __str__(self) -> str:
        return f"note: {self.text}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """End of work, with its result."""

    text: str
    """Result in one line; of a stage, its duration."""
    table: tuple[str, ...] = ()
    """Further lines."""
    stage: str = ""
    """Stage of a whole run; empty for work within one. A stage that was done before finishes
    without having started."""

    def __str__(self) -> str:
        return f"{self.stage}: {self.text}" if self.stage else self.text


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """Figures of one epoch of a training, as ``metrics.jsonl`` keeps them."""

    folder: str
    """Folder of the training."""
    number: int
    """Number of the epoch over both stages, from 1."""
    stage: str
    """``float`` or ``quantised``."""
    figures: Mapping[str, float]
    """``loss``, ``train_accuracy``, ``accuracy``, ``learning_rate``."""


Event: TypeAlias = Started | Progress | Note | Finished | Epoch
"""One event of the stream."""


class Sink(Protocol):
    """Receiver of events."""

    def __call__(self, event: Event, /) -> None:
        """Take an event."""

    def stop(self) -> bool:
        """Return whether to stop where the state can be saved; asked often."""


class Silent:
    """Sink that drops every event and never stops."""

    def __call__(self, event: Event, /) -> None:
        """Drop an event."""

    def stop(self) -> bool:
        """Return False."""
        return False


SILENT = Silent()
"""The sink where none is given."""

TENTHS = 10
"""Lines of one search (chosen here)."""

EVERY_S = 10.0
"""Seconds between lines of one measurement (chosen here)."""

_LINES: Mapping[Kind, str] = {
    Kind.SEARCH: "{name}: {done:,}/{total:,} networks{rate}{left}; {detail}",
    Kind.TRAINING: "{name}: {detail}{left}",
    Kind.MEASURING: "{name}: {done:,}/{total:,}",
    Kind.VERIFYING: "{done}/{total} {name}",
}


class Lines:
    """Sink that turns the stream into lines of text, few enough for a log file.

    Progress is a line per tenth of a search, per epoch, per back-end, and per ``EVERY_S`` seconds
    of a measurement. Within a stage of a whole run, results of single steps are left out.

    Args:
        write: Called with a line.
        starts: Whether the start of work within a stage or command is a line too.
        stop: Asked whether to stop.
    """

    def __init__(
        self,
        write: Callable[[str], object],
        *,
        starts: bool = True,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._write, self._starts, self.stop = write, starts, stop
        self._in_stage = False
        self._work, self._began, self._first = ("", ""), 0.0, 0
        self._told, self._next = 0.0, 0.0

    def __call__(self, event: Event, /) -> None:
        """Write the lines of an event, if it has any."""
        match event:
            case Progress():
                self._progress(event)
            case Started():
                self._work = ("", "")  # a new clock: the next stage may train the same network
                self._in_stage |= bool(event.stage)
                if event.stage or self._starts:
                    self._write(str(event))
            case Finished():
                if event.stage or not self._in_stage:
                    for line in (str(event), *event.table):
                        self._write(line)
            case Note():
                self._write(str(event))

    def _progress(self, event: Progress) -> None:
        now, work = time.monotonic(), (event.kind, event.what)
        fresh = work != self._work
        if fresh:
            self._work, self._began, self._first, self._next = work, now, event.done, event.done
        if not self._is_due(event, fresh, now):
            return
        self._told, self._next = now, event.done + event.total / TENTHS
        rate = (event.done - self._first) / max(now - self._began, 1e-9)
        remaining = max(event.total - event.done, 0)
        left = f", {remaining / rate:.0f} s left" if rate else ""
        self._write(
            _LINES[event.kind].format(
                name=event.name,
                done=event.done,
                total=event.total,
                detail=event.detail,
                rate=f", {rate:,.0f}/s" if rate else "",
                left="" if event.kind is Kind.TRAINING and not remaining else left,
            )
        )

    def _is_due(self, event: Progress, fresh: bool, now: float) -> bool:
        if event.kind is Kind.SEARCH:
            return event.done >= self._next
        if event.kind is Kind.MEASURING:
            return fresh or event.done >= event.total or now - self._told > EVERY_S
        return event.whole
