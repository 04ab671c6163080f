"""`solve` against every allocation of small problems, and its promises on larger ones."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nas_engine.allocation.branch_and_bound import prove
from nas_engine.allocation.iqp import solve
from nas_engine.allocation.local_search import Program, local_search
from nas_engine.allocation.problem import AllocationProblem, Constraint, InfeasibleAllocationError
from nas_engine.allocation.relaxation import lower_estimate
from nas_engine.errors import InputError
from tests.allocation.instances import Instance, everything, instances, small


@settings(max_examples=25, deadline=None)
@given(instances())
def test_solve_finds_and_proves_the_best_of_all_allocations(instance: Instance) -> None:
    levels, values, feasible = everything(instance)
    if not feasible.any():
        with pytest.raises(InfeasibleAllocationError):
            solve(instance.problem, instance.linear, instance.quadratic)
        return
    best = values[feasible].min()
    scale = max(abs(best), np.abs(values).max() * 1e-2, 1e-12)
    found = solve(instance.problem, instance.linear, instance.quadratic)
    assert instance.problem.is_feasible(found.levels)
    assert found.objective == pytest.approx(
        values[(levels == found.levels).all(axis=1)][0], abs=1e-9 * scale
    )
    assert found.objective == pytest.approx(best, abs=1e-6 * scale)
    assert found.bound <= best + 1e-9 * scale
    assert found.objective - found.bound <= 1e-6 * scale


@settings(max_examples=20, deadline=None)
@given(instances(), st.integers(0, 10**6))
def test_the_proof_needs_no_good_start(instance: Instance, seed: int) -> None:
    """Branch and bound alone, from a random feasible allocation, ends at the best one: nothing that
    matters is ever dropped.
    """
    levels, values, feasible = everything(instance)
    if not feasible.any():
        return
    start = np.random.default_rng(seed).choice(np.flatnonzero(feasible))
    program = Program(instance.problem, instance.linear, instance.quadratic)
    proof = prove(program, levels[start], float(values[start]), deadline=time.perf_counter() + 20)
    scale = max(np.abs(values).max() * 1e-2, abs(values[feasible].min()), 1e-12)
    assert proof.objective == pytest.approx(values[feasible].min(), abs=1e-6 * scale)
    assert proof.bound <= values[feasible].min() + 1e-9 * scale


@settings(max_examples=15, deadline=None)
@given(instances())
def test_bounds_hold_even_when_time_is_over_at_once(instance: Instance) -> None:
    _, values, feasible = everything(instance)
    if not feasible.any():
        return
    found = solve(instance.problem, instance.linear, instance.quadratic, time_limit_s=0.0)
    best = values[feasible].min()
    assert found.bound <= best + 1e-9 * np.abs(values).max()
    assert best <= found.objective + 1e-9 * np.abs(values).max()


def medium(seed: int, variables: int = 10) -> Instance:
    return small(seed, (4,) * variables, kind="convex", knapsacks=1)


def test_the_same_seed_gives_the_same_answer() -> None:
    instance = medium(3)
    one, two = (
        solve(instance.problem, instance.linear, instance.quadratic, seed=5) for _ in range(2)
    )
    np.testing.assert_array_equal(one.levels, two.levels)
    assert (one.objective, one.bound, one.nodes) == (two.objective, two.bound, two.nodes)
    searched = solve(instance.problem, instance.linear, instance.quadratic, seed=5, prove=False)
    assert searched.bound == float("-inf")
    assert searched.gap == float("inf")
    assert searched.nodes == 0
    assert searched.objective >= one.objective


def test_a_proof_cut_short_keeps_the_allocation_and_shows_the_gap() -> None:
    rng = np.random.default_rng(0)
    instance = medium(1, 20)
    n = instance.problem.n
    noise = rng.normal(size=(n, n))
    hard = 0.5 * (noise + noise.T)
    began = time.perf_counter()
    found = solve(instance.problem, instance.linear, hard, time_limit_s=0.5)
    assert time.perf_counter() - began < 20
    assert instance.problem.is_feasible(found.levels)
    assert np.isfinite(found.bound)
    assert found.bound < found.objective
    assert found.gap > 1e-6


def test_linear_objectives_of_sixty_variables_are_proven_quickly() -> None:
    rng = np.random.default_rng(4)
    for knapsacks in (1, 2):
        instance = small(knapsacks, (4,) * 60, kind="linear", knapsacks=knapsacks)
        losses = np.sort(rng.random((60, 4)), axis=1)[:, ::-1].ravel()
        found = solve(instance.problem, losses, time_limit_s=20)
        assert found.gap <= 1e-6


def test_equal_objectives_go_to_the_wider_widths() -> None:
    problem = small(2, (3, 3, 3), kind="convex", knapsacks=0).problem
    assert list(solve(problem, np.zeros(9)).levels) == [2, 2, 2]
    assert list(solve(problem, np.zeros(9), np.zeros((9, 9))).levels) == [2, 2, 2]
    narrow_or_wide = np.array([1.0, 2.0, 1.0] * 3)
    assert list(solve(problem, narrow_or_wide).levels) == [2, 2, 2]


def test_a_start_is_used_even_where_it_does_not_fit() -> None:
    instance = medium(7)
    program = Program(instance.problem, instance.linear, instance.quadratic)
    best = solve(instance.problem, instance.linear, instance.quadratic)
    again = local_search(program, start=best.levels, kicks=0)
    assert again.objective == pytest.approx(best.objective)
    assert instance.problem.is_feasible(
        local_search(program, start=instance.problem.widest, kicks=0).levels
    )


@pytest.mark.parametrize("forbidden", [0, 40])
def test_many_constraints_at_once(forbidden: int) -> None:
    instance = small(
        11, (4,) * 20, kind="convex", knapsacks=2, peaks=30, forbidden=forbidden, products=1
    )
    found = solve(instance.problem, instance.linear, instance.quadratic, time_limit_s=1.0)
    assert instance.problem.is_feasible(found.levels)
    assert found.bound <= found.objective
    worse = [
        solve(
            instance.problem, instance.linear, instance.quadratic, seed=seed, prove=False
        ).objective
        for seed in (1,)
    ]
    assert found.bound <= min(worse)


def test_the_narrowest_may_be_forbidden() -> None:
    bare = small(1, (3,) * 6, kind="convex", knapsacks=0)
    n, owner = bare.problem.n, bare.problem.owner
    pairs = np.zeros((n, n))
    narrow = bare.problem.first
    pairs[np.ix_(narrow, narrow)] = 1.0
    pairs *= owner[:, None] != owner[None, :]
    problem = AllocationProblem(
        bare.problem.variables,
        [
            Constraint(
                name="pairs",
                resource="pairs",
                unit="",
                limit=0.0,
                linear=np.zeros(n),
                quadratic=pairs,
            )
        ],
    )
    instance = Instance(problem, np.tile([-5.0, 1.0, 2.0], 6), None)
    _, values, feasible = everything(instance)
    assert not problem.is_feasible(problem.narrowest)
    assert solve(problem, instance.linear).objective == pytest.approx(values[feasible].min())


def test_nothing_fits() -> None:
    bare = small(1, (3, 3), kind="convex", knapsacks=1)
    tight = Constraint(
        name="Flash",
        resource="Flash",
        unit="B",
        limit=10.0,
        linear=bare.problem.constraints[0].linear + 100,
    )
    problem = AllocationProblem(bare.problem.variables, [tight], remedy="choose a larger device")
    with pytest.raises(
        InfeasibleAllocationError,
        match=r"smallest possible Flash is .* B, the limit is 10 B; choose a larger device",
    ):
        solve(problem, bare.linear, bare.quadratic)


def test_wrong_arrays_are_named() -> None:
    instance = medium(1)
    with pytest.raises(InputError, match=r"linear has shape \(3,\); expected \(40,\)"):
        solve(instance.problem, np.zeros(3))
    with pytest.raises(InputError, match=r"quadratic has shape"):
        solve(instance.problem, instance.linear, np.zeros((3, 3)))
    with pytest.raises(InputError, match="expected a level for each of 10 variables"):
        solve(instance.problem, instance.linear, start=np.full(10, 4))
    with pytest.raises(InputError, match="not finite"):
        solve(instance.problem, np.full(40, np.nan))


@settings(max_examples=50, deadline=None)
@given(instances(kinds=("linear",)), st.integers(0, 10**6))
@example(small(5, (3, 3, 3, 3), kind="linear", products=1), 1)
def test_linear_estimates_of_products_lie_below_and_touch(instance: Instance, seed: int) -> None:
    program = Program(instance.problem, instance.linear, None)
    levels, _, _ = everything(instance)
    near = levels[np.random.default_rng(seed).integers(len(levels))]
    for cross in program.cross:
        estimate = lower_estimate(program, cross, near)
        x = np.zeros((len(levels), instance.problem.n))
        np.put_along_axis(x, instance.problem.first + levels, 1.0, axis=1)
        exact = 0.5 * np.einsum("ij,ij->i", x @ cross, x)
        assert (x @ estimate <= exact + 1e-9).all()
        at = (levels == near).all(axis=1)
        np.testing.assert_allclose((x @ estimate)[at], exact[at])
