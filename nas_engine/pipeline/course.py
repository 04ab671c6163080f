"""Course of one training: figures of its epochs, kept and told as they come. Needs torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nas_engine.errors import NasEngineError
from nas_engine.events import Epoch, Kind, Note, Progress, Sink
from nas_engine.files import write_atomically
from nas_engine.runs.epochs import read_epochs
from nas_engine.sealed import seal_line
from nas_engine.training.loop import TrainingTask
from nas_engine.training.pace import measured_pace
from nas_engine.training.state import STAGES, TrainingState
from nas_engine.units import format_duration

WORTH_TELLING_S = 60.0
"""Least expected duration that is told before a training, in seconds (chosen here)."""

WORTH_LOWERING_S = 86_400.0
"""Expected duration from which a remark says what to lower, in seconds (chosen here)."""

SHORTER = (
    "to shorten it give fewer --epochs, fewer images (--limit), or search a smaller network: a "
    "lower --max-latency, --max-macs or --resolution"
)
"""Remark on a training of days."""

WORTH_MEASURING = 100
"""Least number of steps of a training whose duration is measured (chosen here)."""

FEWEST_STEPS = 100
"""Optimiser steps below which a float training from random weights is remarked on (chosen here: 56
learned nothing of twelve spoken words, 135 tell the digits apart)."""


def few_steps(task: TrainingTask) -> str:
    """Return the remark on a training too short to learn from random weights; empty if it is not.

    Args:
        task: The training.
    """
    epochs = task.recipe.float_epochs
    steps = epochs * task.steps
    if not epochs or steps >= FEWEST_STEPS or task.start is not None or task.backbone is not None:
        return ""
    return (
        f"{steps:,} optimiser steps in float ({epochs} x {task.steps:,}) are few to learn from "
        "random weights; give more --epochs, a smaller --batch-size or more images"
    )


class Course:
    """Epochs of a training so far, in its file and on the progress line.

    The last step of an epoch is told when its figures are there, the accuracy on the images that
    are held out among them (see ``TrainingTask.held_out``).

    Args:
        name: Name of the network in the progress.
        task: The training.
        path: Its ``metrics.jsonl``; a kill may leave more lines than its state has epochs.
        state: Its state at the start.
        watch: Sink of the progress.
    """

    def __init__(
        self, name: str, task: TrainingTask, path: Path, state: TrainingState, watch: Sink
    ) -> None:
        self._name, self._task, self._path, self._watch = name, task, path, watch
        reached = (STAGES.index(state.stage), state.epoch)
        self._rows = [
            row
            for row in (read_epochs(path) if path.exists() else [])
            if (STAGES.index(row["stage"]), row["epoch"]) <= reached
        ]

    def expect(self, state: TrainingState) -> None:
        """Tell how long the rest takes, by the time of a few steps, where it takes a while."""
        if self._task.recipe.epochs * self._task.steps < WORTH_MEASURING:
            return
        try:
            pace = measured_pace(self._task)
        except (NasEngineError, RuntimeError, MemoryError):  # the training itself tells it
            return
        if (seconds := pace.left(self._task, state)) < WORTH_TELLING_S:
            return
        steps = "; ".join(
            f"{stage}: {self._task.epochs(stage)} epochs of {self._task.steps:,} steps of "
            f"{1e3 * pace.step_s[stage]:.0f} ms"
            for stage in STAGES
            if self._task.epochs(stage)
        )
        text = f"{self._name}: about {format_duration(seconds)} left ({steps})"
        if seconds >= WORTH_LOWERING_S:
            text += f"; {SHORTER}"
        self._watch(Note(text=text))

    def step(self, state: TrainingState) -> None:
        """Tell a step."""
        if state.step < self._task.steps:
            images = max(state.running.get("images", 0.0), 1.0)
            figures = {
                "loss": state.running.get("loss", 0.0) / images,
                "train_accuracy": 100.0 * state.running.get("correct", 0.0) / images,
            }
            self._tell(state.stage, state.epoch, state.step, figures)

    def record(self, row: Mapping[str, Any]) -> None:
        """Keep and tell the figures of an epoch."""
        self._rows.append(dict(row))
        write_atomically(self._path, "".join(map(seal_line, self._rows)))
        names = ("loss", "train_accuracy", "accuracy", "learning_rate")
        before = 0 if row["stage"] == STAGES[0] else self._task.recipe.float_epochs
        self._watch(
            Epoch(
                folder=str(self._path.parent),
                number=before + row["epoch"],
                stage=row["stage"],
                figures={name: float(row[name]) for name in names},
            )
        )
        self._tell(row["stage"], row["epoch"] - 1, self._task.steps, row)

    def _tell(self, stage: str, epoch: int, step: int, figures: Mapping[str, float]) -> None:
        task = self._task
        before = epoch + (0 if stage == STAGES[0] else task.recipe.float_epochs)
        detail = f"loss {figures['loss']:.3f}, train {figures['train_accuracy']:.1f} %"
        if self._rows:
            detail += f", held-out {self._rows[-1]['accuracy']:.1f} %"
        self._watch(
            Progress(
                kind=Kind.TRAINING,
                what=self._name,
                at=f"{stage} epoch {epoch + 1}/{task.epochs(stage)}",
                done=before * task.steps + step,
                total=task.recipe.epochs * task.steps,
                detail=detail,
                whole=step == task.steps,
            )
        )
