"""The allocators that solve a program: exact against every allocation, safe against noise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nas_engine.allocation import clado
from nas_engine.allocation.clado import MOST_PAIR_NOISE, Clado, Diagonal, GaussNewton, Hawq
from nas_engine.allocation.iqp import Solution
from nas_engine.allocation.problem import AllocationProblem, Floats, Levels
from nas_engine.allocation.records import FEASIBLE, OPTIMAL, Evidence
from nas_engine.allocation.table import allocate
from nas_engine.testing import exhaustive
from nas_engine.testing.problems import PROBLEMS, evidence_for, knapsack, peak

PROGRAMS = ("diagonal", "hawq", "clado", "gauss-newton")


@pytest.fixture
def try_them_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clado, "solve", exhaustive.solve)


@pytest.mark.parametrize("method", PROGRAMS)
def test_the_solver_itself_proves_small_problems(method: str) -> None:
    """The one test here that runs the real solver."""
    problem = peak(1)
    evidence = evidence_for(problem, 1, noise=0.005)
    found = allocate(method, problem, evidence)
    assert found.status == OPTIMAL
    assert found.gap < 1e-6
    assert found.details["nodes"] >= 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clado, "solve", exhaustive.solve)
        best = allocate(method, problem, evidence)
    assert found.objective == pytest.approx(best.objective, rel=1e-6)


@pytest.mark.usefixtures("try_them_all")
@pytest.mark.parametrize("kind", PROBLEMS)
def test_sums_of_single_losses_are_the_smallest(kind: str) -> None:
    for seed in range(5):
        problem = PROBLEMS[kind](seed)
        evidence = evidence_for(problem, seed)
        assert evidence.singles is not None
        assert evidence.hessian is not None
        for method, losses in (("diagonal", evidence.singles.losses), ("hawq", evidence.hessian)):
            found = allocate(method, problem, evidence)
            fits = exhaustive.feasible_ones(problem)
            assert found.objective == pytest.approx(exhaustive.worth(problem, fits, losses).min())
            greedy = allocate("greedy", problem, evidence)
            if method == "diagonal":
                assert found.objective <= greedy.objective + 1e-12


@pytest.mark.usefixtures("try_them_all")
def test_a_narrow_width_that_was_lucky_is_no_reason_to_take_it() -> None:
    """CLADO's own control prefers 2 bits where noise makes the loss fall; here it never counts for
    less than a wider one.
    """
    problem = knapsack(3, 0.5)
    evidence = evidence_for(problem, 3)
    assert evidence.singles is not None
    lucky = evidence.singles.losses.copy()
    lucky[problem.positions(problem.narrowest)] = -5.0
    found = allocate(
        "diagonal", problem, replace(evidence, singles=replace(evidence.singles, losses=lucky))
    )
    raw = exhaustive.solve(problem, lucky)
    assert sum(problem.bits(raw.levels)) < sum(found.bits)


@pytest.mark.usefixtures("try_them_all")
@pytest.mark.parametrize("kind", PROBLEMS)
def test_gauss_newton_minimises_its_matrix(kind: str) -> None:
    for seed in range(5):
        problem = PROBLEMS[kind](seed)
        evidence = evidence_for(problem, seed)
        assert evidence.singles is not None
        found = allocate("gauss-newton", problem, evidence)
        matrix, fits = evidence.singles.matrix, exhaustive.feasible_ones(problem)
        values = exhaustive.worth(problem, fits, np.zeros(problem.n), matrix)
        mine = exhaustive.worth(problem, found.levels[None], np.zeros(problem.n), matrix)[0]
        assert mine == pytest.approx(values.min(), abs=1e-12)
        assert found.objective == pytest.approx(mine, abs=1e-9)
        assert found.objective >= 0.0
        assert found.details["pair noise"] == pytest.approx(0.0, abs=1e-9)
        assert not found.notes


@pytest.mark.usefixtures("try_them_all")
def test_cross_terms_change_the_choice() -> None:
    """Over some problems; where they never did, pairs would be measured for nothing."""
    differ = 0
    for seed in range(12):
        problem = knapsack(seed)
        evidence = evidence_for(problem, seed)
        differ += (
            allocate("clado", problem, evidence).bits
            != allocate("diagonal", problem, evidence).bits
        )
    assert differ >= 2


def true_loss(problem: AllocationProblem, evidence: Evidence, levels: Levels) -> float:
    assert evidence.singles is not None
    return float(
        exhaustive.worth(problem, levels[None], np.zeros(problem.n), evidence.singles.matrix)[0]
    )


@pytest.mark.usefixtures("try_them_all")
def test_with_sure_pairs_clado_is_nearer_to_the_best_than_without() -> None:
    """The matrix without noise is the truth here. The figure is the mean over problems of true loss
    over the least true loss.
    """
    ratios: dict[str, list[float]] = {"clado": [], "diagonal": []}
    for seed in range(30):
        problem = knapsack(seed)
        evidence = evidence_for(problem, seed, noise=0.01)
        least = true_loss(problem, evidence, allocate("gauss-newton", problem, evidence).levels)
        for method in ratios:
            ratios[method].append(
                (true_loss(problem, evidence, allocate(method, problem, evidence).levels) + 1e-3)
                / (least + 1e-3)
            )
    assert min(min(values) for values in ratios.values()) >= 1.0 - 1e-9
    assert np.mean(ratios["clado"]) < np.mean(ratios["diagonal"])


@pytest.mark.usefixtures("try_them_all")
@pytest.mark.parametrize("method", ["clado", "gauss-newton"])
def test_pairs_that_are_noise_are_left_out_and_it_says_so(method: str) -> None:
    problem = knapsack(4)
    evidence = evidence_for(problem, 4, noise=1.0)
    if method == "gauss-newton":
        evidence = replace(evidence, singles=evidence.pairs)
    found = allocate(method, problem, evidence)
    assert found.details["pair noise"] > MOST_PAIR_NOISE
    assert len(found.notes) == 1
    assert "single losses alone" in found.notes[0]
    assert found.bits == allocate("diagonal", problem, evidence).bits
    assert found.objective == allocate("diagonal", problem, evidence).objective


@pytest.mark.usefixtures("try_them_all")
@pytest.mark.parametrize("noise", [0.02, 0.1, 0.3])
def test_the_noise_that_is_reported_is_the_noise_there_is(noise: float) -> None:
    """Mean over problems: a small one has few pairs."""
    figures = []
    for seed in range(8):
        problem = peak(seed)
        figures.append(
            Clado()
            .allocate(problem, evidence_for(problem, seed, noise=noise))
            .details["pair noise"]
        )
    assert np.mean(figures) == pytest.approx(noise, rel=0.35)


@pytest.mark.usefixtures("try_them_all")
def test_settings_of_noise_and_projection() -> None:
    problem = knapsack(4)
    evidence = evidence_for(problem, 4, noise=0.1)
    assert Clado(most_noise=0.0).allocate(problem, evidence).notes
    assert not Clado(most_noise=1.0).allocate(problem, evidence).notes
    for projection in ("clip", "correlation"):
        assert (
            Clado(projection=projection).allocate(problem, evidence).details["projection"]
            == projection
        )


@pytest.mark.usefixtures("try_them_all")
def test_without_halves_the_noise_is_not_known_and_the_pairs_count() -> None:
    problem = knapsack(4)
    evidence = evidence_for(problem, 4)
    assert evidence.pairs is not None
    found = allocate(
        "clado", problem, replace(evidence, pairs=replace(evidence.pairs, halves=None))
    )
    assert np.isnan(found.details["pair noise"])
    assert found.notes == ("the noise of the cross terms is not known: no halves were measured",)


@pytest.mark.parametrize(
    ("objective", "bound", "status"),
    [
        (1.0, 1.0, OPTIMAL),
        (1.0, 0.9, FEASIBLE),
        (1.0, float("-inf"), FEASIBLE),
        (0.0, 0.0, OPTIMAL),
    ],
)
@pytest.mark.parametrize("allocator", [Diagonal(), Hawq(), GaussNewton()])
def test_the_status_says_what_was_proven(
    objective: float,
    bound: float,
    status: str,
    allocator: Diagonal | Hawq | GaussNewton,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    problem = knapsack(1)

    def solve(
        problem: AllocationProblem, linear: Floats, quadratic: Floats | None, **options: Any
    ) -> Solution:
        assert (options["seed"], options["time_limit_s"]) == (7, 3.0)
        assert problem.is_feasible(options["start"])
        return Solution(
            levels=problem.narrowest,
            objective=objective,
            bound=bound,
            nodes=5,
            seconds=0.1,
            found_at_s=0.05,
        )

    monkeypatch.setattr(clado, "solve", solve)
    found = allocator.allocate(problem, evidence_for(problem), seed=7, time_limit_s=3.0)
    assert (found.status, found.objective, found.bound) == (
        status,
        objective,
        max(bound, 0.0),
    )  # no loss is below 0
    assert found.details["nodes"] == 5
