"""Trainings of a few steps on real digits."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from nas_engine.architecture import Architecture
from nas_engine.datasets import Dataset, open_dataset
from nas_engine.training.augmentation import Augmentation
from nas_engine.training.loop import TrainingTask
from nas_engine.training.recipe import TrainingRecipe
from nas_engine.training.state import TrainingState
from tests.training.networks import small_architecture

IMAGES = 40
"""Of each split: three steps of ``small_recipe``, the last one shorter."""


def digits_architecture(resolution: int = 8) -> Architecture:
    """Ten classes, one grey channel."""
    return replace(small_architecture(10, 1), resolution=resolution)


@functools.cache
def digits(limit: int | None = IMAGES, resolution: int = 8) -> Dataset:
    return open_dataset("digits", resolution=resolution, channels=1, limit=limit)


def small_recipe(**changes: Any) -> TrainingRecipe:
    """Two epochs in float, two quantised."""
    values: dict[str, Any] = {
        "name": "small",
        "epochs": 4,
        "float_share": 0.5,
        "freeze_norm_share": 0.2,
        "batch_size": 16,
        "learning_rate": 0.05,
        "quantised_learning_rate": 0.02,
    }
    return TrainingRecipe(
        **(values | {"augmentation": Augmentation(kind="crop", padding=1, flip=False)} | changes)
    )


def small_task(recipe: TrainingRecipe | None = None, **changes: Any) -> TrainingTask:
    values: dict[str, Any] = {
        "architecture": digits_architecture(),
        "recipe": recipe or small_recipe(),
        "dataset": digits(),
    }
    return TrainingTask(
        **(values | {"fingerprint": "train: these; seed 0; teacher none"} | changes)
    )


def tensors(state: TrainingState) -> dict[str, Any]:
    """Everything of a state but the time."""
    optimiser = state.optimiser.state_dict()
    return {
        "network": state.network.state_dict(),
        "average": state.average.state_dict(),
        "hint": state.hint.state_dict() if state.hint else {},
        "optimiser": optimiser["state"],
        "groups": optimiser["param_groups"],
        "place": (state.stage, state.epoch, state.step, state.updates, state.running),
    }


def same(first: Any, second: Any) -> bool:
    """Return whether nested values are equal, tensors bit for bit."""
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, Mapping):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return bool(first == second)
