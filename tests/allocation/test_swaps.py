"""Swaps on the real loss: never worse, only what fits, the real loss decides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from nas_engine.allocation.allocator import allocation_of
from nas_engine.allocation.moves import moved
from nas_engine.allocation.problem import AllocationProblem, Levels
from nas_engine.allocation.records import FEASIBLE, OPTIMAL, Evidence
from nas_engine.allocation.swaps import real_loss_swaps
from nas_engine.allocation.table import allocate
from nas_engine.errors import InputError
from nas_engine.testing import exhaustive
from nas_engine.testing.problems import PROBLEMS, every_allocation, evidence_for, knapsack, peak


def model_of(problem: AllocationProblem, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    evidence = evidence_for(problem, seed)
    assert evidence.singles is not None
    matrix = evidence.singles.matrix
    return np.zeros(problem.n), matrix


def value(
    problem: AllocationProblem, levels: Levels, linear: np.ndarray, quadratic: np.ndarray
) -> float:
    at = problem.positions(levels)
    return float(linear[at].sum() + 0.5 * quadratic[np.ix_(at, at)].sum())


def real_loss(problem: AllocationProblem, seed: int = 0) -> Callable[[Levels], float]:
    """The model and a part of its own for every allocation."""
    linear, quadratic = model_of(problem, seed)

    def loss(levels: Levels) -> float:
        surprise = np.random.default_rng([seed, *levels.tolist()]).uniform(0.8, 1.2)
        return value(problem, levels, linear, quadratic) * float(surprise)

    return loss


@pytest.mark.parametrize("kind", PROBLEMS)
@pytest.mark.parametrize("seed", range(4))
def test_never_worse_and_always_feasible(kind: str, seed: int) -> None:
    problem = PROBLEMS[kind](seed)
    loss = real_loss(problem, seed)
    linear, quadratic = model_of(problem, seed)
    start = allocate("uniform", problem, Evidence())
    seen: list[Levels] = []

    def watched(levels: Levels) -> float:
        assert problem.is_feasible(levels)
        seen.append(levels.copy())
        return loss(levels)

    found = real_loss_swaps(problem, start, linear, quadratic, watched, tried=10)
    assert problem.is_feasible(found.levels)
    assert found.bits == problem.bits(found.levels)
    assert (
        loss(found.levels)
        == found.details["loss after swaps"]
        <= found.details["loss before swaps"]
        == loss(start.levels)
    )
    assert (
        found.details["loss evaluations"]
        == len(seen)
        == len({tuple(levels.tolist()) for levels in seen})
    )
    assert found.details["swaps accepted"] > 0 or (found.levels == start.levels).all()
    again = real_loss_swaps(problem, start, linear, quadratic, loss, tried=10)
    assert again.bits == found.bits
    assert again.details == found.details


@pytest.mark.parametrize("kind", ["peak", "forbidding"])
@pytest.mark.parametrize("seed", range(6))
def test_ends_where_no_neighbour_is_better(kind: str, seed: int) -> None:
    """With enough evaluations; neighbours are found here by trying all allocations."""
    problem = PROBLEMS[kind](seed)
    loss = real_loss(problem, seed)
    found = real_loss_swaps(
        problem,
        allocate("uniform", problem, Evidence()),
        *model_of(problem, seed),
        loss,
        tried=10_000,
        rounds=1000,
    )
    least = found.details["loss after swaps"]
    for levels in every_allocation(problem):
        steps = (levels - found.levels)[levels != found.levels]
        neighbour = len(steps) == 1 or (len(steps) == 2 and steps.min() == -1 and steps.max() > 0)
        if neighbour and problem.is_feasible(levels):
            assert loss(levels) >= least


def test_a_pair_may_pass_through_what_is_forbidden() -> None:
    """Weights down to 2 bits are forbidden beside 2-bit activations, unless those go up at the same
    time.
    """
    problem = PROBLEMS["forbidding"](0, 0.9)
    fits = exhaustive.feasible_ones(problem)
    blocked = 0
    for levels in fits[::5]:
        seen: list[Levels] = []

        def loss(levels: Levels, seen: list[Levels] = seen) -> float:
            seen.append(levels.copy())
            return 1.0

        real_loss_swaps(
            problem, allocation_of(problem, "x", levels), *model_of(problem), loss, tried=10_000
        )
        tried = {tuple(other.tolist()) for other in seen}
        for other in fits:
            steps = (other - levels)[levels != other]
            if len(steps) == 2 and steps.min() == -1 and steps.max() > 0:
                assert tuple(other.tolist()) in tried
                down = int(np.flatnonzero(other < levels)[0])
                blocked += not problem.is_feasible(
                    moved(problem, levels, int(problem.first[down] + other[down]))
                )
    assert blocked > 0


def test_tries_the_largest_predicted_gain_first() -> None:
    problem = peak(2)
    linear, quadratic = model_of(problem)
    predicted: list[float] = []

    def loss(levels: Levels) -> float:
        predicted.append(value(problem, levels, linear, quadratic))
        return 1.0

    start = allocate("random", problem, Evidence(), seed=1)
    real_loss_swaps(problem, start, linear, quadratic, loss, tried=15)
    assert len(predicted) > 5
    assert predicted[1:] == sorted(predicted[1:])


def test_the_real_loss_decides_against_the_model() -> None:
    problem = knapsack(3)
    linear, quadratic = model_of(problem)
    start = allocate("random", problem, Evidence(), seed=1)
    found = real_loss_swaps(
        problem,
        start,
        linear,
        quadratic,
        lambda levels: -value(problem, levels, linear, quadratic),
        tried=10_000,
    )
    assert value(problem, found.levels, linear, quadratic) > value(
        problem, start.levels, linear, quadratic
    )


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_losses_that_are_no_numbers_are_skipped_and_noted(broken: float) -> None:
    problem = knapsack(3)
    start = allocate("random", problem, Evidence(), seed=1)
    loss = real_loss(problem)
    calls = 0

    def sometimes(levels: Levels) -> float:
        nonlocal calls
        calls += 1
        return broken if calls % 2 == 0 else loss(levels)

    found = real_loss_swaps(problem, start, *model_of(problem), sometimes)
    assert np.isfinite(found.details["loss after swaps"])
    assert loss(found.levels) == found.details["loss after swaps"]
    assert found.notes == (f"{calls // 2} losses were not finite and were skipped",)

    nothing = real_loss_swaps(problem, start, *model_of(problem), lambda levels: broken)
    assert nothing.bits == start.bits
    assert nothing.details["swaps accepted"] == 0


def test_stops_when_asked_and_reports_each_evaluation() -> None:
    problem = knapsack(3)
    start = allocate("random", problem, Evidence(), seed=1)
    shown: list[tuple[int, float]] = []
    found = real_loss_swaps(
        problem,
        start,
        *model_of(problem),
        real_loss(problem),
        stop=lambda: len(shown) >= 4,
        watch=lambda count, least: shown.append((count, least)),
    )
    assert [count for count, _ in shown] == [1, 2, 3, 4]
    assert [least for _, least in shown] == sorted((least for _, least in shown), reverse=True)
    assert found.details["loss evaluations"] == 4
    assert found.details["loss after swaps"] == shown[-1][1]


def test_no_rounds_and_no_tries_change_nothing() -> None:
    problem = knapsack(3)
    start = allocate("random", problem, Evidence(), seed=1)
    for options in ({"rounds": 0}, {"tried": 0}):
        found = real_loss_swaps(problem, start, *model_of(problem), real_loss(problem), **options)
        assert found.bits == start.bits
        assert found.details["loss evaluations"] == 1


def test_a_proof_ends_with_a_swap_and_the_bound_stays() -> None:
    problem = knapsack(3)
    linear, quadratic = model_of(problem)
    random = allocate("random", problem, Evidence(), seed=1)
    objective = value(problem, random.levels, linear, quadratic)
    start = replace(
        random, objective=objective, bound=objective, status=OPTIMAL, details={"nodes": 3}
    )
    unlike = replace(random, method="x", notes=("a",))
    found = real_loss_swaps(problem, start, linear, quadratic, real_loss(problem), tried=50)
    assert found.details["swaps accepted"] > 0
    assert found.status == FEASIBLE
    assert found.bound == start.bound
    assert found.objective == pytest.approx(value(problem, found.levels, linear, quadratic))
    assert found.details["nodes"] == 3
    other = real_loss_swaps(problem, unlike, linear, None, real_loss(problem), tried=50)
    assert np.isnan(other.objective)
    assert other.method == "x"
    assert other.notes == ("a",)


def test_a_start_that_does_not_fit_is_refused() -> None:
    problem = knapsack(3)
    loose = AllocationProblem(problem.variables)
    start = allocate("uniform", loose, Evidence())
    with pytest.raises(InputError, match="swaps of 'uniform' start at widths that do not fit"):
        real_loss_swaps(problem, start, *model_of(problem), real_loss(problem))
