"""Pace of a training on this machine: seconds of its steps, measured on a few that are thrown away.

The training itself is not touched: the steps are those of another network of random weights.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from nas_engine.models.graph_network import GraphNetwork
from nas_engine.quantization.prepare import insert_quantisers
from nas_engine.training.loop import (
    EVALUATION_BATCH,
    TrainingTask,
    assembled,
    batches,
    predict,
    take_step,
)
from nas_engine.training.state import STAGES, TrainingState, name_of, placed
from nas_engine.training.teacher_forms import fastest_form

STEPS = 3
"""Steps that are measured; one before them warms up."""

LONG_STEP_S = 1.0
"""Duration of a step above which one is enough, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Durations on this machine, as long as nothing else runs."""

    step_s: Mapping[str, float]
    """Seconds of a step, by stage."""
    image_s: float
    """Seconds of one image at evaluation."""

    def epoch_s(self, task: TrainingTask, stage: str) -> float:
        """Return the seconds of an epoch with its evaluation."""
        return task.steps * self.step_s[stage] + len(task.held_out) * self.image_s

    def left(self, task: TrainingTask, state: TrainingState) -> float:
        """Return the seconds that are left of a training."""
        seconds = 0.0
        for stage in STAGES[STAGES.index(state.stage) :]:
            epochs = float(task.epochs(stage))
            if stage == state.stage:
                epochs -= state.epoch + state.step / task.steps
            seconds += epochs * self.epoch_s(task, stage) if epochs else 0.0
        return seconds


def measured_pace(task: TrainingTask) -> Pace:
    """Return the pace of a training, by steps of each stage that its recipe has.

    Raises:
        DivergedError: A loss is not finite, whose reason the training itself tells.
    """
    with torch.random.fork_rng(devices=[]):
        step_s = {stage: _step_s(task, stage) for stage in STAGES if task.epochs(stage)}
        images = task.held_out.images[:EVALUATION_BATCH]
        network = placed(GraphNetwork(task.architecture), task.device)
        predict(network, images[:2])
        began = time.perf_counter()
        predict(network, images)
        return Pace(step_s=step_s, image_s=(time.perf_counter() - began) / len(images))


def _step_s(task: TrainingTask, stage: str) -> float:
    """Return the shortest of a few steps' durations."""
    network = GraphNetwork(task.architecture)
    if stage == STAGES[1]:
        insert_quantisers(network)
    state = assembled(
        task,
        placed(network, task.device),
        stage,
        kernels=task.kernels,
        history=name_of(task.kernels),
        teacher_form=fastest_form(task.teacher, task.device),
    )
    best = float("inf")
    for number, batch in zip(range(1 + STEPS), batches(task, state), strict=False):
        began = time.perf_counter()
        take_step(task, state, *batch)
        elapsed = time.perf_counter() - began
        if number or task.steps == 1:
            best = min(best, elapsed)
        if number and elapsed > LONG_STEP_S:
            break
    return best
