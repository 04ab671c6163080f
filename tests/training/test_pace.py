"""The pace of a training: what it counts, and that measuring it leaves no trace."""

from __future__ import annotations

import pytest
import torch

from nas_engine.training.loop import first_state, train
from nas_engine.training.pace import Pace, measured_pace
from tests.training.tasks import IMAGES, same, small_recipe, small_task, tensors


def test_durations_of_what_is_left() -> None:
    task = small_task(small_recipe(epochs=5, float_share=0.6))
    pace = Pace(step_s={"float": 2.0, "quantised": 5.0}, image_s=0.5)
    assert task.steps == 3
    assert pace.epoch_s(task, "float") == 3 * 2.0 + IMAGES * 0.5
    state = first_state(task)
    whole = 3 * (6 + 20) + 2 * (15 + 20)
    assert pace.left(task, state) == whole
    state.epoch, state.step = 1, 1
    assert pace.left(task, state) == pytest.approx(whole - 26 * 4 / 3)
    state.stage, state.epoch, state.step = "quantised", 2, 0
    assert pace.left(task, state) == 0


@pytest.mark.parametrize(("share", "stages"), [(0.5, 2), (1.0, 1), (0.0, 1)])
def test_each_stage_that_there_is(share: float, stages: int) -> None:
    pace = measured_pace(small_task(small_recipe(float_share=share)))
    assert len(pace.step_s) == stages
    assert all(seconds > 0 for seconds in (*pace.step_s.values(), pace.image_s))


def test_the_training_is_not_touched() -> None:
    task, endings = small_task(small_recipe(epochs=2, ema_decay=0.9)), []
    for measures in (False, True):
        state = first_state(task)
        random = torch.random.get_rng_state()
        if measures:
            measured_pace(task)
        assert torch.equal(torch.random.get_rng_state(), random)
        endings.append(tensors(train(task, state)))
    assert same(*endings)
