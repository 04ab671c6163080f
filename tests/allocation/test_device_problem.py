"""The constraints of a device are its costs: for any widths, memory model and space, and for every
limit of a search.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from device_profiles import load_device
from nas_engine.allocation.device_problem import FLASH, SRAM, device_problem, levels_of, with_levels
from nas_engine.allocation.problem import (
    ACTIVATIONS,
    WEIGHTS,
    AllocationProblem,
    InfeasibleAllocationError,
    Levels,
)
from nas_engine.architecture import Architecture, read_architecture
from nas_engine.costs.compute import bitops, cycles
from nas_engine.costs.flash import flash
from nas_engine.costs.plan import plan_memory
from nas_engine.costs.sram import peak_sram
from nas_engine.encoding import GeneView, architecture_frame, decode, encode
from nas_engine.errors import InputError
from nas_engine.evolution.limits import LIMITS
from nas_engine.evolution.operators import sample
from nas_engine.evolution.problem import SearchProblem, make_problem
from nas_engine.evolution.qbr import refine
from nas_engine.layers import unroll
from nas_engine.names import IMAGE_INPUTS, ImageInput
from nas_engine.scoring.qe_score import ScoreSettings
from search_spaces import SearchSpace, load_space
from tests.populations import EVERY_SPACE, MODELS, SPACES, pairs_table, population
from tests.populations import problem_for as problem_in_frame

N = 12
BASELINES = Path(__file__).parents[2] / "benchmarks" / "baselines"
SPACE = next(iter(SPACES.values()))


def problem_for(
    space: SearchSpace, model: str = "arena", sram: float = 2.0**18, **options: Any
) -> SearchProblem:
    frame, _ = population(space, 1)
    return problem_in_frame(space, frame, sram, 2.0**20, model=model, **options)


def networks(problem: SearchProblem, count: int, seed: int = 0) -> list[Architecture]:
    genes = sample(problem.space, problem.frame, count, np.random.default_rng(seed))
    return [decode(problem.frame, genes[:, i]) for i in range(count)]


def random_levels(problem: AllocationProblem, rng: np.random.Generator) -> Levels:
    return np.asarray(rng.integers(0, problem.counts), np.intp)


def costs(search: SearchProblem, architecture: Architecture) -> dict[str, float]:
    """Return what the cost functions say, by the names of the constraints' resources."""
    frame = architecture_frame(architecture)
    genes = encode(frame, [architecture])
    view, table = GeneView(frame, genes), unroll(frame, genes)
    return {
        SRAM: peak_sram(search.model, table, view.a_bits)[0],
        FLASH: flash(search.model, table, view.w_bits)[0],
        "BitOps": bitops(search.model, table, view.w_bits, view.a_bits)[0],
        "cycles": cycles(table, view.w_bits, view.a_bits, search.cycles_per_mac)[0],
    }


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", EVERY_SPACE)
def test_every_constraint_is_the_cost_to_the_byte(name: str, model: str) -> None:
    limits = {"bitops": 1e12, "cycles": 1e12}
    search = problem_for(EVERY_SPACE[name], model, limits=limits)
    rng = np.random.default_rng(5)
    for architecture in networks(search, N):
        problem = device_problem(search, architecture)
        levels = random_levels(problem, rng)
        changed = with_levels(problem, architecture, levels)
        peak: dict[str, float] = {}
        for constraint, cost in zip(problem.constraints, problem.costs(levels), strict=True):
            peak[constraint.resource] = max(peak.get(constraint.resource, 0.0), cost)
        assert peak == pytest.approx(costs(search, changed), rel=1e-12)
        assert (levels_of(problem, changed) == levels).all()


@pytest.mark.parametrize("name", ["mobilenet-32", "hybrid-32", "flexible-32"])
def test_cycles_by_instructions_are_those_of_a_search(name: str) -> None:
    """At a network's own widths, and wherever one or two that meet in a layer are others."""
    limits = {"cycles": 1e9}
    search = make_problem(EVERY_SPACE[name], load_device("cortex-m7"), limits=limits)
    assert search.cycle_model is not None
    row = next(row for row in LIMITS if row.name == "cycles")
    rng = np.random.default_rng(3)
    for architecture in networks(search, 3)[1:]:
        problem = device_problem(search, architecture)
        (at,) = [i for i, one in enumerate(problem.constraints) if one.name == "cycles"]
        limit = problem.constraints[at].limit
        assert limit * (1 + search.cycle_model.margin) == pytest.approx(1e9)
        own, first = levels_of(problem, architecture), problem.first
        quadratic = problem.constraints[at].quadratic
        assert quadratic is not None
        sums = np.add.reduceat(np.add.reduceat(quadratic, first), first, axis=1)
        meeting = np.argwhere(np.triu(sums))
        tried = [own]
        for pair in rng.permutation(meeting)[:20]:
            levels = own.copy()
            levels[pair] = rng.integers(0, problem.counts[pair])
            tried.append(levels)
        for levels in tried:
            changed = with_levels(problem, architecture, levels)
            frame = architecture_frame(changed)
            genes = encode(frame, [changed])
            (counted,) = row.cost(search.counting, unroll(frame, genes), GeneView(frame, genes))
            assert problem.costs(levels)[at] == pytest.approx(counted, rel=1e-9)


def test_a_limit_that_widths_have_a_part_in_is_a_constraint() -> None:
    space = EVERY_SPACE["mobilenet-32"]
    search = problem_for(space, limits={"path_noise": 9.0, "macs": 1e9, "layers": 99.0})
    rng, row = np.random.default_rng(4), next(row for row in LIMITS if row.name == "path_noise")
    for architecture in networks(search, 3)[1:]:
        problem = device_problem(search, architecture)
        names = [constraint.name for constraint in problem.constraints]
        assert "MACs" not in names
        levels = random_levels(problem, rng)
        changed = with_levels(problem, architecture, levels)
        frame = architecture_frame(changed)
        genes = encode(frame, [changed])
        (counted,) = row.cost(search.counting, unroll(frame, genes), GeneView(frame, genes))
        assert problem.costs(levels)[names.index(row.title)] == pytest.approx(counted, rel=1e-9)


def test_a_limit_on_latency_is_one_on_cycles() -> None:
    """The tighter of the two is the constraint; either alone is one too."""
    space = EVERY_SPACE["mobilenet-32"]
    for limits, cycles_limit in (
        ({"latency": 3.0}, 1.5e6),
        ({"latency": 3.0, "cycles": 1e6}, 1e6),
        ({"latency": 3.0, "cycles": 2e6}, 1.5e6),
    ):
        search = problem_for(space, "arena", limits=limits)
        (architecture,) = networks(search, 1)
        constraints = device_problem(search, architecture).constraints
        (cycles_at,) = [one for one in constraints if one.name == "cycles"]
        assert cycles_at.limit == pytest.approx(cycles_limit)


@pytest.mark.parametrize("image", IMAGE_INPUTS)
@pytest.mark.parametrize("name", EVERY_SPACE)
def test_what_fits_the_constraints_fits_by_rows(name: str, image: ImageInput) -> None:
    """They are exact at the widest activations, which choose schedules, and bounds elsewhere."""
    search = problem_for(EVERY_SPACE[name], "arena")
    search = replace(search, frame=replace(search.frame, schedule="auto", image=image))
    rng, wider = np.random.default_rng(6), 0
    for architecture in networks(search, 4):
        problem = device_problem(search, architecture)
        own = problem.usage(levels_of(problem, architecture))
        assert not any(cost for name, (cost, _) in own.items() if name.startswith("sum wider"))
        widest = np.asarray(problem.counts - 1, np.intp)
        problem = device_problem(search, with_levels(problem, architecture, widest))
        for levels in (widest, *(random_levels(problem, rng) for _ in range(3))):
            changed = with_levels(problem, architecture, levels)
            spent = problem.usage(levels)
            sums = [cost for name, (cost, _) in spent.items() if name.startswith("sum wider")]
            peak = costs(search, changed)[SRAM]
            if levels is widest:
                assert (spent[SRAM][0], sum(sums)) == (peak, 0)
            elif not any(sums):
                assert spent[SRAM][0] >= peak
            wider += any(sums)
    assert wider > 0 or not any("sum" in c.name for c in problem.constraints)


def test_activations_stay_where_they_fit_in_chains_of_blocks_alone() -> None:
    architecture = read_architecture(BASELINES / "searched-48k.yaml")
    space, frame = load_space("flexible-32"), architecture_frame(architecture)
    score = ScoreSettings(stage_weights=space.stage_weights).last(frame.n_score_stages)
    tight, ample = (
        device_problem(problem_in_frame(space, frame, sram, 2.0**17, score=score), architecture)
        for sram in (32_768.0, 65_536.0)
    )
    for problem, free in ((tight, False), (ample, True)):
        own = levels_of(problem, architecture)
        assert problem.is_feasible(own)
        widths = [v.bits for v in problem.variables if v.kind == ACTIVATIONS]
        assert any(len(bits) > 1 for bits in widths) is free
    rng, own = np.random.default_rng(2), levels_of(tight, architecture)
    for levels in (own, *(random_levels(tight, rng) for _ in range(3))):
        arena = plan_memory(with_levels(tight, architecture, levels)).arena_bytes
        assert arena == tight.usage(levels)[SRAM][0] <= 32_768


def test_memory_plan_is_the_peak() -> None:
    search = problem_for(SPACE, "arena")
    rng = np.random.default_rng(1)
    for architecture in networks(search, N, seed=3):
        problem = device_problem(search, architecture)
        levels = random_levels(problem, rng)
        assert (
            max(problem.costs(levels)[1:])
            == plan_memory(with_levels(problem, architecture, levels)).arena_bytes
        )


@pytest.mark.parametrize("name", EVERY_SPACE)
def test_elements_count_all_that_is_stored(name: str) -> None:
    search = problem_for(EVERY_SPACE[name], "arena")
    for architecture in networks(search, 3):
        problem = device_problem(search, architecture)
        frame = architecture_frame(architecture)
        table = unroll(frame, encode(frame, [architecture]))
        for kind in (WEIGHTS, ACTIVATIONS):
            layers = [layer for v in problem.variables if v.kind == kind for layer in v.layers]
            assert sorted(layers) == sorted(
                name for name in architecture.layer_names() if name not in ("stem", "classifier")
            )
        count = sum(v.elements for v in problem.variables if v.kind == WEIGHTS)
        ends = table.weights[0, 0] + (table.weights[-1, 0] if architecture.classifier else 0.0)
        assert count == table.weights[:, 0].sum() - ends


def test_pairs_that_the_device_forbids_cost_more_than_the_limit() -> None:
    allowed = pairs_table((4, 8), (8, 8), (8, 4))
    search = problem_for(SPACE, "arena", allowed=allowed, qbr=False)
    architecture = networks(problem_for(SPACE, "arena"), 1)[0]
    problem = device_problem(search, architecture)
    ok = problem.levels([8] * len(problem.variables))
    assert problem.usage(ok)["pairs of widths that the device forbids"][0] == 0.0
    four = problem.levels([4] * len(problem.variables))
    assert (
        problem.usage(four)["pairs of widths that the device forbids"][0]
        >= len(architecture.layer_names()) - 2
    )


@pytest.mark.parametrize("name", EVERY_SPACE)
def test_bits_of_the_refinement_fit(name: str) -> None:
    search = problem_for(EVERY_SPACE[name], "arena")
    genes = sample(search.space, search.frame, N, np.random.default_rng(2))
    table = unroll(search.frame, genes)
    view = GeneView(search.frame, genes)
    view.w_bits[:], view.a_bits[:] = refine(search, table)
    for column in range(N):
        architecture = decode(search.frame, genes[:, column])
        problem = device_problem(search, architecture)
        fits = peak_sram(search.model, table, view.a_bits)[column] <= search.arena_bytes
        fits &= flash(search.model, table, view.w_bits)[column] <= search.flash_bytes
        assert problem.is_feasible(levels_of(problem, architecture)) == fits


def test_what_cannot_fit_says_the_smallest_possible() -> None:
    search = problem_for(SPACE, "arena", sram=1000.0)
    architecture = networks(search, 1)[0]
    problem = device_problem(search, architecture)
    smallest = max(problem.costs(problem.narrowest)[1:])
    with pytest.raises(
        InfeasibleAllocationError, match=f"{smallest:,.0f} B, the limit is 1,000 B"
    ) as caught:
        problem.require_feasible()
    assert caught.value.constraint.resource == SRAM


def test_a_width_that_is_not_free_is_refused() -> None:
    search = problem_for(SPACE, "arena", allowed=pairs_table((4, 8), (8, 8)))
    architecture = networks(problem_for(SPACE, "arena"), 1, seed=4)[0]
    problem = device_problem(search, architecture)
    with pytest.raises(InputError, match="bits are not allowed here; expected one of"):
        levels_of(problem, architecture)
