"""Bits that a method chooses keep the limit on time as a search counts it, wherever it started."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from device_profiles import load_device
from nas_engine.allocation.allocator import allocation_of
from nas_engine.allocation.device_problem import (
    FLASH,
    SRAM,
    device_problem,
    levels_of,
    with_levels,
)
from nas_engine.allocation.greedy import lowered, raised
from nas_engine.allocation.problem import AllocationProblem
from nas_engine.allocation.records import BitAllocation
from nas_engine.allocation.tightening import ROUNDS, choose_within, counted_limits, tightened
from nas_engine.architecture import Architecture
from nas_engine.encoding import decode
from nas_engine.errors import InputError
from nas_engine.evolution.operators import sample
from nas_engine.evolution.problem import SearchProblem, make_problem
from tests.populations import EVERY_SPACE


def search_and_start(name: str, seed: int, share: float) -> tuple[SearchProblem, Architecture]:
    """Return a search with a limit on cycles that some bits exceed, and a network far from them."""
    rng = np.random.default_rng(seed)
    space, device = EVERY_SPACE[name], load_device("cortex-m7")
    search = make_problem(space, device, limits={"cycles": 1e12})
    network = decode(search.frame, sample(space, search.frame, 2, rng)[:, -1])
    problem = device_problem(search, network)
    drawn = [np.asarray(rng.integers(0, problem.counts), np.intp) for _ in range(20)]
    used = [problem.usage(levels) for levels in drawn]
    sram, flash = (float(np.median([one[name][0] for one in used])) for name in (SRAM, FLASH))
    search = replace(search, arena_bytes=sram, flash_bytes=flash)
    some = [with_levels(problem, network, levels) for levels in drawn]
    far = max(some, key=lambda one: counted_limits(search, one)["cycles"][0])
    chosen = with_levels(problem, far, greedy(device_problem(search, far), seed).levels)
    limit = share * counted_limits(search, chosen)["cycles"][0]
    return replace(search, limits={"cycles": limit * (1 + search.margin("cycles"))}), far


def greedy(problem: AllocationProblem, seed: int) -> BitAllocation:
    """Return the choice of the greedy method by random losses."""
    losses = np.random.default_rng(seed).uniform(0, 1, problem.n)
    for first, count in zip(problem.first, problem.counts, strict=True):
        losses[first : first + count][::-1].sort()
    levels, _ = raised(problem, losses, lowered(problem, losses)[0])
    return allocation_of(problem, "greedy", levels)


@pytest.mark.parametrize(
    ("name", "seed"), [("mobilenet-32", 3), ("hybrid-32", 1), ("flexible-32", 1)]
)
def test_what_exceeds_the_limit_as_counted_is_chosen_anew(name: str, seed: int) -> None:
    search, far = search_and_start(name, seed, 0.99)
    asked = list[float]()

    def choose(problem: AllocationProblem, turn: int) -> BitAllocation:
        found = greedy(problem, seed)
        cost, limit = counted_limits(search, with_levels(problem, far, found.levels))["cycles"]
        assert turn == len(asked)
        asked.append(cost / limit)
        return found

    problem = device_problem(search, far)
    found = choose_within(search, far, choose)
    assert asked[0] > 1 >= asked[-1]
    network = with_levels(problem, far, found.levels)
    cost, _ = counted_limits(search, network)["cycles"]
    assert (1 + search.margin("cycles")) * cost <= search.limits["cycles"]
    for resource in (SRAM, FLASH):
        used, budget = problem.usage(found.levels)[resource]
        assert used <= budget


def test_where_no_choice_keeps_a_limit_the_bits_of_the_search_stay() -> None:
    search, far = search_and_start("mobilenet-32", 3, 0.99)
    problem = device_problem(search, far)
    kept = choose_within(search, far, lambda asked, turn: greedy(asked, 3))
    network = with_levels(problem, far, kept.levels)
    slow = allocation_of(problem, "mine", levels_of(problem, far))
    rounds = list[int]()

    def stubborn(asked: AllocationProblem, turn: int) -> BitAllocation:
        rounds.append(turn)
        assert not asked.is_feasible(slow.levels) or turn == 0
        return slow

    found = choose_within(search, network, stubborn)
    assert rounds == list(range(ROUNDS))
    assert (found.levels == kept.levels).all()
    assert "the bits of the search stay" in found.notes[0]
    with pytest.raises(InputError, match="nor do the bits of the search"):
        choose_within(search, far, lambda asked, turn: slow)


def test_limits_fall_by_resource() -> None:
    search, far = search_and_start("mobilenet-32", 3, 0.99)
    problem = device_problem(search, far)
    lower = tightened(problem, {"cycles": 0.5})
    for before, after in zip(problem.constraints, lower.constraints, strict=True):
        assert after.limit == before.limit * (0.5 if before.resource == "cycles" else 1)
