"""Search problem: values it refuses, and values it takes from space and device."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from device_profiles import device_names, load_device
from nas_engine.costs.memory import MEMORY_MODELS
from nas_engine.errors import InputError, UnknownNameError
from nas_engine.evolution.problem import make_problem
from nas_engine.layers import KINDS
from nas_engine.scoring.qe_score import ScoreSettings
from tests.populations import SHIPPED, pairs_table, population, problem_for


@pytest.mark.parametrize("device", device_names())
@pytest.mark.parametrize("space", SHIPPED)
def test_every_device_with_every_space(device: str, space: str) -> None:
    profile, shape = load_device(device), SHIPPED[space]
    problem = make_problem(shape, profile)
    assert (problem.arena_bytes, problem.flash_bytes) == (
        profile.arena_bytes,
        profile.storage_bytes,
    )
    assert (problem.frame.resolution, problem.frame.class_count) == (
        shape.resolution,
        shape.class_count,
    )
    assert problem.score == ScoreSettings(stage_weights=shape.stage_weights)
    assert (problem.allowed == profile.allowed_table()).all()
    assert set(problem.cycles_per_mac) == set(KINDS)
    assert problem.model is MEMORY_MODELS["arena"]
    assert problem.qbr
    assert problem.limits == {}


def test_what_is_given_goes_before_the_defaults() -> None:
    settings = ScoreSettings(sigma_a=3.0)
    problem = make_problem(
        SHIPPED["mobilenet"],
        load_device("cortex-m7"),
        resolution=97,
        class_count=0,
        limits={"macs": 5.0},
        memory_model="paper",
        score=settings,
        qbr=False,
    )
    assert (problem.frame.resolution, problem.frame.class_count, problem.limit("macs")) == (
        97,
        0,
        5.0,
    )
    assert (problem.score, problem.model.name, problem.qbr) == (settings, "paper", False)


def test_refusals() -> None:
    space = SHIPPED["mobilenet"]
    frame, _ = population(space, 1)
    with pytest.raises(UnknownNameError, match="did you mean 'arena'"):
        problem_for(space, frame, 1, 1, model="arenas")
    with pytest.raises(InputError, match="has 5 stages, give 5"):
        problem_for(space, frame, 1, 1, score=ScoreSettings(stage_weights=(1.0,)))
    with pytest.raises(InputError, match="the device allows none of space 'mobilenet's widths"):
        problem_for(replace(space, weight_bits=(2, 3)), frame, 1, 1, allowed=pairs_table((8, 8)))
    with pytest.raises(InputError, match="the device forbids w8a8"):
        problem_for(space, frame, 1, 1, allowed=pairs_table((4, 4)))
    with pytest.raises(InputError, match="the device allows none"):
        problem_for(space, frame, 1, 1, allowed=np.zeros((9, 9), bool))
    with pytest.raises(InputError, match="resolution 10 is outside"):
        make_problem(space, load_device("cortex-m7"), resolution=10)
    with pytest.raises(InputError, match="resolution 0 is outside"):
        make_problem(space, load_device("cortex-m7"), resolution=0)
