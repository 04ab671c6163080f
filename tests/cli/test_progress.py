"""The screen: one stream of events on a terminal, in a log file, and with ``--quiet``."""

from __future__ import annotations

import io
import re
import sys
import types
from collections.abc import Callable, Iterable
from pathlib import Path

import click
import pytest

import nas_engine as ne
from nas_engine.cli.console import quiet_option
from nas_engine.cli.main import cli
from nas_engine.cli.progress import Screen
from nas_engine.errors import InputError
from nas_engine.events import Epoch, Event, Finished, Kind, Note, Progress, Started
from nas_engine.training.tracking import TRACKERS, Tracker, tensorboard
from tests.cli.terminal import shown_on_a_terminal
from tests.generations import GENERATION, SMALL_SETTINGS

needs_terminal = pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminal")


def training(step: int, name: str = "network") -> Progress:
    return Progress(
        kind=Kind.TRAINING,
        what=name,
        at=f"float epoch {(step + 3) // 4}/2",
        done=step,
        total=8,
        detail=f"loss {step}.000, train accuracy 5.0 %",
        whole=step % 4 == 0,
    )


def verifying(done: int, text: str, *, whole: bool) -> Progress:
    return Progress(kind=Kind.VERIFYING, at=text, done=done, total=2, whole=whole)


STREAM: tuple[Event, ...] = (
    Finished(stage="search", text="done already"),
    Started(stage="train", text="goes on: train it in float"),
    Started(text="reading digits ..."),
    *(training(step) for step in range(1, 9)),
    Note(text="few\nimages"),
    Finished(stage="train", text="3 s"),
    Started(stage="refine", text="choose its bits again, by what the data say"),
    *(
        Progress(kind=Kind.MEASURING, what="measuring singles", done=part, total=2)
        for part in (1, 2)
    ),
    *(
        Progress(kind=Kind.MEASURING, what="qbr: swaps", at=f"loss 0.{part}", done=part, total=2)
        for part in (1, 2)
    ),
    Finished(stage="refine", text="1 s"),
    Started(stage="verify", text="compare every back-end with the integer reference"),
    verifying(0, "host C on 4 images ...", whole=False),
    verifying(1, "host C: equal", whole=True),
    verifying(1, "ONNX on 4 images ...", whole=False),
    verifying(2, "ONNX: equal", whole=True),
    Finished(stage="verify", text="2 s"),
)
"""Parts of a whole run."""

SAID = [
    "search: done already",
    "train: goes on: train it in float",
    "note: few\\nimages",
    "train: 3 s",
    "refine: choose its bits again, by what the data say",
    "refine: 1 s",
    "verify: compare every back-end with the integer reference",
    "verify: 2 s",
]
"""Lines that a terminal and a log file both have."""


def shown(events: Iterable[Event]) -> Screen:
    """Show events, and return the screen that did."""
    with Screen() as screen:
        for event in events:
            screen(event)
    return screen


class TestPlainLines:
    def test_of_a_run(self, capsys: pytest.CaptureFixture[str]) -> None:
        screen = shown(STREAM)
        lines = capsys.readouterr().err.splitlines()
        assert [line for line in lines if line in SAID] == SAID
        assert re.fullmatch(
            r"network, float epoch 1/2: loss 4.000, train accuracy 5.0 %, \d+ s left", lines[2]
        )
        assert lines[3] == "network, float epoch 2/2: loss 8.000, train accuracy 5.0 %"
        assert [line for line in lines[4:] if line not in SAID] == [
            "measuring singles: 1/2",
            "measuring singles: 2/2",
            "qbr: swaps, loss 0.1: 1/2",
            "qbr: swaps, loss 0.2: 2/2",
            "1/2 host C: equal",
            "2/2 ONNX: equal",
        ]
        assert screen.kept == {"search"}

    def test_quietly_nothing(self, capsys: pytest.CaptureFixture[str]) -> None:
        command = quiet_option(click.Command("command", callback=lambda: shown(STREAM)))
        assert isinstance(command, click.Command)
        with click.Context(cli) as context:
            context.meta["nas-search.quiet"] = True
            context.invoke(command)
        assert capsys.readouterr().err == ""


@needs_terminal
class TestTerminal:
    def test_of_a_run(self, monkeypatch: pytest.MonkeyPatch) -> None:
        lines = re.split(r"[\r\n]+", shown_on_a_terminal(monkeypatch, lambda: shown(STREAM)))
        assert [line for line in lines if line in SAID] == SAID
        assert lines.index("reading digits ...") == 2
        bars = [line for line in lines if "|" in line]
        assert max(map(len, bars)) <= 100
        ends = [
            r"network, float epoch 2/2 100 % \|.*\| 00:00 left, loss 8\.000, train accuracy 5\.0 %",
            r"measuring singles 100 % \|.*\| 2/2 .* left",
            r"qbr: swaps, loss 0\.2 100 % \|.*\| 2/2 .* left",
            r"100 % \|.*\| 2/2 ONNX: equal *",
        ]
        for end in ends:
            assert any(re.fullmatch(end, bar) for bar in bars), end
        for now in ("0 % |", "host C on 4 images ...", "host C: equal", "ONNX on 4 images ..."):
            assert any(now in bar for bar in bars), "shown before it is over"
        bar, note = (
            next(i for i, x in enumerate(lines) if x.startswith(s)) for s in ("net", "not")
        )
        assert bar < note, "a bar is closed before a line is told"

    def test_of_a_search(self, monkeypatch: pytest.MonkeyPatch) -> None:
        stream = [
            Progress(
                kind=Kind.SEARCH,
                what="32 px",
                done=done,
                total=2000,
                detail=f"score {done}.00, SRAM 9.9 %",
            )
            for done in (1000, 2048)
        ]
        lines = re.split(r"[\r\n]+", shown_on_a_terminal(monkeypatch, lambda: shown(stream)))
        *above, bar, text, end = (re.sub(r"\x1b\[A", "", line).strip() for line in lines)
        assert all(line == "" or line.startswith(("32 px ", "score ")) for line in above)
        assert re.fullmatch(r"32 px 100 % \|.*\| 2\.00k/2\.00k networks, .*/s, 00:00 left", bar)
        assert (text.strip(), end) == ("score 2048.00, SRAM 9.9 %", "")

    def test_another_name_is_another_bar(self, monkeypatch: pytest.MonkeyPatch) -> None:
        stream = [*(training(step, "teacher") for step in range(1, 9)), training(1)]
        text = shown_on_a_terminal(monkeypatch, lambda: shown(stream))
        first, second = text.rstrip().split("\n")
        assert "teacher, float epoch 2/2 100 %" in first
        assert "network, float epoch 1/2  12 %" in second


class TestNotebook:
    """Bars without a terminal: one line each, with the figures of a search behind its bar."""

    def shown(self, monkeypatch: pytest.MonkeyPatch, action: Callable[[], object]) -> list[str]:
        """Return the lines that an action shows on a kernel's standard error, which has no file."""
        stream = io.StringIO()
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
            patch.setattr("sys.stderr", stream)
            action()
        assert "\x1b" not in stream.getvalue(), "no cursor is moved"
        return [line.strip() for line in re.split(r"[\r\n]+", stream.getvalue().strip())]

    def test_of_a_run(self, monkeypatch: pytest.MonkeyPatch) -> None:
        lines = self.shown(monkeypatch, lambda: shown(STREAM))
        assert [line for line in lines if line in SAID] == SAID
        bars = [line for line in lines if "|" in line]
        last = r"network, float epoch 2/2 100 % .* 00:00 left, loss 8\.000, train accuracy 5\.0 %"
        assert any(re.fullmatch(last, bar) for bar in bars)
        assert bars[-1].endswith("2/2 ONNX: equal")

    def test_of_a_search_in_python(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr("nas_engine.pipeline.search.SearchSettings", SMALL_SETTINGS)

        def search() -> None:
            ne.search(
                sram="64k",
                flash="256k",
                space="mobilenet-32",
                candidates=3 * GENERATION,
                out=tmp_path / "run",
                watch=ne.Screen(),
            )

        first, *_, last = self.shown(monkeypatch, search)
        assert first == "32 px: the first networks ..."
        assert re.fullmatch(
            r"32 px 100 % \|.*\| .* networks, .* left, score \d+\.\d\d, SRAM .* B, Flash .* B", last
        )


class TestStop:
    def test_a_time_limit(self) -> None:
        assert Screen(0.0).stop()
        assert not Screen(3600.0).stop()
        assert not Screen().stop()


class Recorded:
    """Writer that keeps what it is told."""

    def __init__(self, told: list[object], folder: str) -> None:
        self.told, self.folder = told, folder

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None:
        self.told.append((self.folder, tag, scalar_value, global_step))

    def flush(self) -> None:
        self.told.append("flushed")

    def close(self) -> None:
        self.told.append("closed")


def test_every_epoch_of_every_training_is_logged(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told: list[object] = []
    monkeypatch.setitem(
        TRACKERS, "tensorboard", lambda: Tracker(lambda folder: Recorded(told, folder))
    )
    with Screen(log="tensorboard") as screen:
        for folder, number in (("a", 1), ("a", 2), ("b", 1)):
            screen(Epoch(folder=folder, number=number, stage="float", figures={"loss": 0.5}))
    steps = [
        (str(Path(folder, "tensorboard")), "loss", 0.5, n)
        for folder, n in (("a", 1), ("a", 2), ("b", 1))
    ]
    assert told == [
        steps[0],
        "flushed",
        steps[1],
        "flushed",
        steps[2],
        "flushed",
        "closed",
        "closed",
    ]
    assert capsys.readouterr().err == ""


def test_a_tracker_that_is_not_installed_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas_engine.training.tracking.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'nas-search\[tensorboard\]'"):
        tensorboard()
