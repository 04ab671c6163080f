"""Progress of a training: a bar on a terminal, a line per epoch elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from nas_engine.cli import console
from nas_engine.cli.bar import open_bar
from nas_engine.cli.console import Progress

if TYPE_CHECKING:
    from nas_engine.training.loop import TrainingTask
    from nas_engine.training.state import TrainingState

_BAR = "{desc} {percentage:3.0f} % |{bar}| {remaining} left{postfix}"


class TrainingProgress:
    """Shows what is trained, epoch, loss, accuracy on the training images and time left, on standard error.

    Args:
        time_limit: Seconds after which ``is_late`` says so.
    """

    def __init__(self, time_limit: float | None = None) -> None:
        self._deadline = time.monotonic() + (float("inf") if time_limit is None else time_limit)
        self._bar: Any = None
        self._what = ""
        self._began, self._first = time.monotonic(), 0

    def __enter__(self) -> Self:
        return self

    def is_late(self) -> bool:
        """Return whether the time limit has passed."""
        return time.monotonic() >= self._deadline

    def announce(self, text: str) -> None:
        """Show what is about to be done, on a terminal."""
        self._close()
        console.announce(text)

    def observe(self, what: str, task: TrainingTask, state: TrainingState) -> None:
        """Show a state."""
        epochs = state.epoch + (0 if state.stage == "float" else task.recipe.float_epochs)
        done, total = epochs * task.steps + state.step, task.recipe.epochs * task.steps
        if what != self._what:
            self._close()
            self._what, self._began, self._first = what, time.monotonic(), done
        images = max(state.running.get("images", 0.0), 1.0)
        loss, accuracy = (
            state.running.get("loss", 0.0) / images,
            100.0 * state.running.get("correct", 0.0) / images,
        )
        text = f"loss {loss:.3f}, train accuracy {accuracy:.1f} %"
        epoch = f"{what}, {state.stage} epoch {state.epoch + 1}/{task.epochs(state.stage)}"
        if console.progress() is Progress.BAR:
            self._draw(epoch, text, done, total)
        elif state.step == task.steps:
            rate = (done - self._first) / max(time.monotonic() - self._began, 1e-9)
            left = f", {(total - done) / rate:.0f} s left" if rate and done < total else ""
            console.tell(f"{epoch}: {text}{left}")

    def _draw(self, epoch: str, text: str, done: int, total: int) -> None:
        if self._bar is None:
            self._bar = open_bar(_BAR, total, done=done, text=epoch)
        self._bar.set_description_str(epoch, refresh=False)
        self._bar.set_postfix_str(text, refresh=False)
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
