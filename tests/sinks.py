"""Sinks that keep what they are told."""

from __future__ import annotations

from collections.abc import Callable

from nas_engine.events import Event, Kind, Note, Progress, Started


class Kept:
    """Sink that keeps every event.

    Args:
        act: Called with each event too.
        stop: Asked whether to stop, with this sink.
    """

    def __init__(
        self,
        act: Callable[[Event], object] = lambda event: None,
        *,
        stop: Callable[[Kept], bool] = lambda sink: False,
    ) -> None:
        self.events: list[Event] = []
        self._act, self._stop = act, stop

    def __call__(self, event: Event, /) -> None:
        self.events.append(event)
        self._act(event)

    def stop(self) -> bool:
        return self._stop(self)

    @property
    def notes(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, Note)]

    @property
    def started(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, Started)]

    def progress(self, kind: Kind) -> list[Progress]:
        """Return the progress of one kind of work."""
        return [
            event for event in self.events if isinstance(event, Progress) and event.kind == kind
        ]


def after_steps(steps: int) -> Kept:
    """Return a sink that stops a training after some steps."""
    return Kept(stop=lambda sink: len(sink.progress(Kind.TRAINING)) >= steps)
