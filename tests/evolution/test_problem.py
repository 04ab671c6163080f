"""Search problem: values it refuses, and values it takes from space and device."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from device_profiles import device_names, load_device
from nas_engine.costs.instruction_model import cycle_model
from nas_engine.costs.instructions import instructions
from nas_engine.costs.memory import MEMORY_MODELS
from nas_engine.encoding import GeneView
from nas_engine.errors import InputError, UnknownNameError
from nas_engine.evolution.limits import LIMITS
from nas_engine.evolution.problem import make_problem
from nas_engine.layers import KINDS, unroll
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


def test_a_limit_on_cycles_leaves_room_for_the_error_of_the_model() -> None:
    limits = {"cycles": 1e7, "macs": 1e6}
    m4, m0 = (
        make_problem(SHIPPED["mobilenet"], load_device(name), limits=limits)
        for name in ("nrf52840", "rp2040")
    )
    assert m4.cycle_model is not None
    assert m4.limit("macs") == m0.limit("macs") == 1e6
    assert m4.cycle_limit * (1 + m4.cycle_model.margin) == pytest.approx(1e7)
    assert (m4.margin("cycles"), m4.margin("macs")) == (m4.cycle_model.margin, 0)
    assert 0 < m4.cycle_model.margin < 0.05
    assert m4.most_instructions == pytest.approx(1e7 / m4.cycle_model.each)
    assert m0.cycle_model is None  # nobody counted on such a core
    assert (m0.cycle_limit, m0.most_instructions) == (1e7, np.inf)


def test_cycles_are_instructions_where_the_core_was_measured() -> None:
    problem = make_problem(SHIPPED["mobilenet"], load_device("stm32f446"))
    frame, genes = population(problem.space, 8)
    view, table = GeneView(frame, genes), unroll(frame, genes)
    row = next(row for row in LIMITS if row.name == "cycles")
    model = problem.cycle_model
    assert model is not None
    counted = instructions(model.instructions, table, view.w_bits, view.a_bits)
    assert row.cost(problem.counting, table, view).tolist() == (model.each * counted).tolist()
    measured = replace(load_device("stm32f446"), cycles_are_estimates=False)
    assert cycle_model(measured) is None


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
