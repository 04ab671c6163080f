"""Projections against scalar definitions, safeguards, noise of cross terms, and what `solve` makes
of the objectives.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas_engine.allocation.iqp import solve
from nas_engine.allocation.problem import WEIGHTS, AllocationProblem, Floats, Variable
from nas_engine.allocation.quadratic import (
    PROJECTIONS,
    monotone_losses,
    objective_of,
    pair_noise,
    psd_clip,
    psd_clip_correlation,
)
from nas_engine.allocation.records import Sensitivity
from nas_engine.errors import InputError

seeds = st.integers(0, 10**6)


def problem_of(counts: tuple[int, ...]) -> AllocationProblem:
    widths = {1: (8,), 2: (4, 8), 3: (2, 4, 8)}
    return AllocationProblem(
        Variable(name=f"v{i}", kind=WEIGHTS, layers=(f"v{i}",), bits=widths[count], elements=1)
        for i, count in enumerate(counts)
    )


def symmetric(seed: int, n: int) -> Floats:
    noise = np.random.default_rng(seed).normal(size=(n, n))
    return noise + noise.T


def measured(seed: int, problem: AllocationProblem, noise: float) -> Floats:
    """A matrix as measurements give it: nothing at the widest choices, nothing within variables,
    noisy cross terms.
    """
    rng = np.random.default_rng(seed)
    n, owner = problem.n, problem.owner
    size = 2.0 ** -problem.choice_bits.astype(float)
    size[problem.first + problem.widest] = 0.0
    factor = rng.normal(size=(n, 2 * n)) * size[:, None]
    matrix = factor @ factor.T
    scale = np.sqrt(np.outer(np.diagonal(matrix), np.diagonal(matrix)))
    extra = rng.normal(size=(n, n))
    matrix += noise * (extra + extra.T) / np.sqrt(2) * scale * (owner[:, None] != owner[None, :])
    return np.where((owner[:, None] == owner[None, :]) & ~np.eye(n, dtype=bool), 0.0, matrix)


def sensitivity(matrix: Floats) -> Sensitivity:
    n = len(matrix)
    return Sensitivity(
        method="measured",
        matrix=matrix,
        losses=0.5 * np.diagonal(matrix),
        standard_errors=np.zeros(n),
        images=1,
        base_loss=0.0,
    )


@settings(max_examples=30, deadline=None)
@given(seeds, st.integers(1, 8))
def test_clip_is_the_sum_over_positive_eigenvalues(seed: int, n: int) -> None:
    matrix = symmetric(seed, n)
    values, vectors = np.linalg.eigh(matrix)
    expected = np.zeros((n, n))
    for k in range(n):
        if values[k] > 0:
            for i in range(n):
                for j in range(n):
                    expected[i, j] += values[k] * vectors[i, k] * vectors[j, k]
    np.testing.assert_allclose(psd_clip(matrix), expected, atol=1e-9)
    assert (np.diagonal(psd_clip(matrix)) >= np.diagonal(matrix) - 1e-9).all()
    convex = matrix @ matrix.T
    np.testing.assert_allclose(psd_clip(convex), convex, atol=1e-9 * max(1, np.abs(convex).max()))


@settings(max_examples=30, deadline=None)
@given(seeds, st.integers(2, 8))
def test_clip_of_correlations_keeps_the_diagonal(seed: int, n: int) -> None:
    matrix = symmetric(seed, n)
    found = psd_clip_correlation(matrix)
    np.testing.assert_allclose(np.diagonal(found), np.maximum(np.diagonal(matrix), 0))
    assert np.linalg.eigvalsh(found)[0] >= -1e-9 * max(1.0, float(np.abs(found).max()))
    convex = matrix @ matrix.T + np.eye(n)
    np.testing.assert_allclose(
        psd_clip_correlation(convex), convex, atol=1e-9 * np.abs(convex).max()
    )
    scale = np.exp(np.random.default_rng(seed).normal(size=n))
    np.testing.assert_allclose(
        psd_clip_correlation(matrix * np.outer(scale, scale)),
        found * np.outer(scale, scale),
        atol=1e-7 * np.outer(scale, scale).max(),
    )


@settings(max_examples=50, deadline=None)
@given(seeds, st.lists(st.integers(1, 3), min_size=1, max_size=6).map(tuple))
def test_monotone_losses_are_the_largest_of_wider_choices(
    seed: int, counts: tuple[int, ...]
) -> None:
    problem = problem_of(counts)
    losses = np.random.default_rng(seed).normal(size=problem.n)
    expected = [
        max(
            [0.0, *(losses[k] for k in range(i, problem.n) if problem.owner[k] == problem.owner[i])]
        )
        for i in range(problem.n)
    ]
    np.testing.assert_array_equal(monotone_losses(problem, losses), expected)


@pytest.mark.parametrize("noise", [0.03, 0.3])
def test_pair_noise_is_the_noise_put_in(noise: float) -> None:
    rng = np.random.default_rng(1)
    problem = problem_of((3,) * 20)
    true = measured(2, problem, 0.0)
    scale = np.sqrt(np.outer(np.diagonal(true), np.diagonal(true)))
    apart = problem.owner[:, None] != problem.owner[None, :]

    def half() -> Floats:
        extra = rng.normal(size=true.shape)
        return true + noise * np.sqrt(2) * (extra + extra.T) / np.sqrt(2) * scale * apart

    halves = np.array([half(), half()])
    assert pair_noise(halves, true) == pytest.approx(noise, rel=0.1)
    halves[0, 0, 5] += 1e6
    halves[0, 5, 0] += 1e6
    assert pair_noise(halves, true) == pytest.approx(noise, rel=0.1)
    assert pair_noise(np.array([true, true]), true) == 0.0
    assert pair_noise(halves, -true) == float("inf")
    with pytest.raises(InputError, match="two matrices like the whole"):
        pair_noise(halves[0], true)


@settings(max_examples=30, deadline=None)
@given(seeds, st.sampled_from(PROJECTIONS), st.floats(0.0, 0.5))
def test_objectives_are_safeguarded_and_keep_zero_rows(
    seed: int, projection: str, noise: float
) -> None:
    problem = problem_of((3, 2, 3, 1, 3))
    linear, quadratic = objective_of(
        sensitivity(measured(seed, problem, noise)), problem, projection
    )
    widest = problem.first + problem.widest
    losses = linear.copy()
    if quadratic is not None:
        assert not quadratic[widest].any()
        np.testing.assert_array_equal(quadratic, quadratic.T)
        losses += 0.5 * np.diagonal(quadratic)
        if projection != "none":
            assert np.linalg.eigvalsh(quadratic)[0] >= -1e-12
    assert (losses >= 0).all()
    np.testing.assert_array_equal(losses, monotone_losses(problem, losses))
    assert not losses[widest].any()


@settings(max_examples=8, deadline=None)
@given(seeds, st.sampled_from([name for name in PROJECTIONS if name != "none"]))
def test_without_a_budget_everything_is_widest(seed: int, projection: str) -> None:
    problem = problem_of((3, 2, 3, 1, 3))
    matrix = measured(seed, problem, 0.4)
    matrix[0, 0] = -0.1
    matrix[:, 4] = matrix[4] = 0.0
    linear, quadratic = objective_of(sensitivity(matrix), problem, projection)
    found = solve(problem, linear, quadratic)
    np.testing.assert_array_equal(found.levels, problem.widest)
    assert found.objective == 0.0
    assert -1e-9 <= found.bound <= 0.0


def test_wrong_arguments_are_named() -> None:
    problem = problem_of((3, 3))
    with pytest.raises(
        InputError, match="projection is 'psd'; expected one of: clip, correlation, none, diagonal"
    ):
        objective_of(sensitivity(np.zeros((6, 6))), problem, "psd")
    with pytest.raises(InputError, match="measure for these variables"):
        objective_of(sensitivity(np.zeros((4, 4))), problem)
