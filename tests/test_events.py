"""The stream of events as lines of text, and the sinks that Python users may give."""

from __future__ import annotations

from typing import Any

import pytest

from nas_engine.api.options import sink_of
from nas_engine.errors import InputError
from nas_engine.events import (
    EVERY_S,
    SILENT,
    Finished,
    Kind,
    Lines,
    Note,
    Progress,
    Started,
)
from tests.sinks import Kept


class Clock:
    """Stands for ``time.monotonic``: moved by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr("nas_engine.events.time.monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def progress(kind: Kind, done: int, total: int, what: str = "", **more: Any) -> Progress:
    return Progress(kind=kind, what=what, done=done, total=total, **more)


class TestLines:
    def test_a_search_tells_every_tenth(self, clock: Clock) -> None:
        lines: list[str] = []
        sink = Lines(lines.append)
        for generation in range(1, 101):
            clock.now = generation * 0.5
            sink(progress(Kind.SEARCH, 20 * generation, 2000, "32 px", detail="score 1.00"))
        assert lines[:3] == [
            "32 px: 20/2,000 networks; score 1.00",
            "32 px: 220/2,000 networks, 40/s, 44 s left; score 1.00",
            "32 px: 420/2,000 networks, 40/s, 40 s left; score 1.00",
        ]
        assert len(lines) == 10

    def test_the_last_generation_may_end_above_the_total(self, clock: Clock) -> None:
        lines: list[str] = []
        sink = Lines(lines.append)
        sink(progress(Kind.SEARCH, 10, 100, "32 px", detail="nothing fits yet"))
        clock.now = 1.0
        sink(progress(Kind.SEARCH, 110, 100, "32 px", detail="nothing fits yet"))
        assert lines[1] == "32 px: 110/100 networks, 100/s, 0 s left; nothing fits yet"

    def test_a_training_tells_every_epoch(self, clock: Clock) -> None:
        """Two stages of a run may train the same network: each has a clock of its own."""
        lines: list[str] = []
        sink = Lines(lines.append, starts=False)
        for name in ("teacher", "network", "network"):
            sink(Started(text="train it"))
            for step in range(1, 9):
                clock.now += 1.0
                sink(
                    progress(
                        Kind.TRAINING,
                        step,
                        8,
                        name,
                        at=f"float epoch {(step + 3) // 4}/2",
                        detail=f"loss {step}",
                        whole=step % 4 == 0,
                    )
                )
        assert lines == [
            "teacher, float epoch 1/2: loss 4, 4 s left",
            "teacher, float epoch 2/2: loss 8",
            "network, float epoch 1/2: loss 4, 4 s left",
            "network, float epoch 2/2: loss 8",
            "network, float epoch 1/2: loss 4, 4 s left",
            "network, float epoch 2/2: loss 8",
        ]

    def test_a_measurement_tells_now_and_then_and_its_end(self, clock: Clock) -> None:
        lines: list[str] = []
        sink = Lines(lines.append)
        for part in range(1, 8):
            sink(progress(Kind.MEASURING, part, 7, "qbr: swaps", at=f"loss {part}"))
            clock.now += EVERY_S / 3.5
        sink(progress(Kind.MEASURING, 1, 7, "measuring pairs"))
        assert lines == [
            "qbr: swaps, loss 1: 1/7",
            "qbr: swaps, loss 5: 5/7",
            "qbr: swaps, loss 7: 7/7",
            "measuring pairs: 1/7",
        ]

    def test_a_verification_tells_every_verdict(self) -> None:
        lines: list[str] = []
        sink = Lines(lines.append)
        sink(progress(Kind.VERIFYING, 0, 2, at="host C on 2 images ..."))
        sink(progress(Kind.VERIFYING, 1, 2, at="host C: equal", whole=True))
        assert lines == ["1/2 host C: equal"]

    def test_starts_ends_and_notes(self) -> None:
        stream = (
            Started(text="reading digits ..."),
            Finished(text="digits: 10 classes", table=("  train 40",)),
            Note(text="few images"),
            Started(stage="train", text="train it in float"),
            Started(text="reading digits ..."),
            Finished(text="digits: 10 classes"),
            Finished(stage="train", text="3 s"),
        )
        every: list[str] = []
        few: list[str] = []
        for event in stream:
            Lines(every.append)(event)
        within = Lines(few.append, starts=False)
        for event in stream:
            within(event)
        assert every[:4] == [
            "reading digits ...",
            "digits: 10 classes",
            "  train 40",
            "note: few images",
        ]
        assert few == [
            *every[1:4],
            "train: train it in float",
            "train: 3 s",
        ], "within a stage, results of steps are left out"


class TestSinkOf:
    def test_nothing_given(self) -> None:
        sink = sink_of(None)
        sink(Note(text="unheard"))
        assert not sink.stop()
        assert not SILENT.stop()

    def test_a_function_of_lines_and_a_stop(self) -> None:
        lines: list[str] = []
        sink = sink_of(lines.append, lambda: True)
        sink(Note(text="heard"))
        assert (lines, sink.stop()) == (["note: heard"], True)

    def test_a_sink_is_given_the_events(self) -> None:
        kept = Kept(stop=lambda sink: len(sink.events) > 0)
        sink = sink_of(kept)
        assert not sink.stop()
        sink(progress(Kind.TRAINING, 1, 8))
        assert (kept.events, sink.stop()) == ([progress(Kind.TRAINING, 1, 8)], True)

    def test_a_sink_has_its_own_stop(self) -> None:
        with pytest.raises(InputError, match=r"watch has a stop\(\) of its own; leave"):
            sink_of(Kept(), lambda: False)
