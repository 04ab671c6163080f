"""Every allocator through the contract; the baselines by hand; the checks of the table."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest

from nas_engine.allocation import clado
from nas_engine.allocation.allocator import Allocator, allocation_of
from nas_engine.allocation.device_problem import FLASH, SRAM, device_problem, levels_of, with_levels
from nas_engine.allocation.moves import (
    changes,
    costs_of_moves,
    feasible_moves,
    interactions,
    moved,
    steps_of_moves,
)
from nas_engine.allocation.problem import (
    ACTIVATIONS,
    WEIGHTS,
    AllocationProblem,
    Constraint,
    Variable,
)
from nas_engine.allocation.records import BitAllocation, Evidence
from nas_engine.allocation.table import ALLOCATORS, allocate
from nas_engine.encoding import GeneView, decode
from nas_engine.errors import InputError, UnknownNameError
from nas_engine.evolution.qbr import refine
from nas_engine.layers import unroll
from nas_engine.testing import exhaustive
from nas_engine.testing.allocators import AllocatorContract
from nas_engine.testing.problems import PROBLEMS, evidence_for, knapsack, peak
from tests.populations import SPACES, population, problem_for


class TestAllocators(AllocatorContract):
    """Every row of the table."""

    @pytest.fixture(params=ALLOCATORS)
    def allocator(self, request: pytest.FixtureRequest) -> Allocator:
        return ALLOCATORS[request.param]


def two_kinds(limit: float) -> AllocationProblem:
    variables = [
        Variable(name="a", kind=WEIGHTS, layers=("a",), bits=(2, 4, 8), elements=10),
        Variable(name="b", kind=WEIGHTS, layers=("b",), bits=(3, 8), elements=10),
        Variable(name="c", kind=ACTIVATIONS, layers=("a",), bits=(2, 4, 8), elements=20),
    ]
    bare = AllocationProblem(variables)
    elements = np.array([10.0, 10.0, 20.0])[bare.owner]
    total = Constraint(
        name="bits", resource="bits", unit="bits", limit=limit, linear=elements * bare.choice_bits
    )
    return AllocationProblem(variables, [total])


@pytest.mark.parametrize(
    ("limit", "bits"),
    [
        (319, (8, 8, 4)),  # (8, 8) costs 320; of (8, 4) and (4, 8) the one with wider weights, 240
        (240, (8, 8, 4)),
        (239, (4, 3, 8)),  # (4, 8): b may not have 4 bits, and takes 3: 230
        (229, (2, 3, 8)),  # (3, 8): a takes 2 bits: 210
        (149, (2, 3, 4)),  # (4, 4) costs 150; (3, 4) costs 130
        (109, (2, 3, 2)),  # (4, 2) costs 110
    ],
)
def test_uniform_by_hand(limit: float, bits: tuple[int, ...]) -> None:
    found = allocate("uniform", two_kinds(limit), Evidence())
    assert found.bits == bits


@pytest.mark.parametrize("kind", PROBLEMS)
def test_random_is_maximal_and_differs_between_seeds(kind: str) -> None:
    differ = 0
    for which in range(6):
        problem = PROBLEMS[kind](which, 0.5)
        seen = set()
        for seed in range(10):
            found = allocate("random", problem, Evidence(), seed=seed)
            up = feasible_moves(problem, found.levels) & (steps_of_moves(problem, found.levels) > 0)
            assert not up.any()
            seen.add(found.bits)
        differ += len(seen) > 1
    assert differ >= 3


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("share", [0.3, 0.7])
def test_methods_that_solve_no_program_on_a_network_of_the_search(name: str, share: float) -> None:
    """Budgets between what the narrowest and the widest need; the given widths come from the
    refinement.
    """
    frame, genes = population(SPACES[name], 1, seed=3)
    architecture = decode(frame, genes[:, 0])
    free = device_problem(problem_for(SPACES[name], frame, 2.0**40, 2.0**40), architecture)
    need = [
        [
            max(
                cost
                for c, cost in zip(free.constraints, free.costs(levels), strict=True)
                if c.resource == which
            )
            for which in (SRAM, FLASH)
        ]
        for levels in (free.narrowest, free.widest)
    ]
    sram, flash = (low + share * (high - low) for low, high in zip(*need, strict=True))
    search = problem_for(SPACES[name], frame, sram, flash)
    view = GeneView(frame, genes)
    view.w_bits[:], view.a_bits[:] = refine(search, unroll(frame, genes))
    refined = decode(frame, genes[:, 0])
    problem = device_problem(search, refined)
    evidence = replace(evidence_for(problem), given=levels_of(problem, refined))
    for method in ("uniform", "random", "qbr", "greedy", "entropy-window"):
        found = allocate(method, problem, evidence)
        assert problem.is_feasible(found.levels)
        assert not found.notes
        if method == "qbr":
            assert with_levels(problem, architecture, found.levels) == refined
            assert not (found.levels == problem.widest).all()


def test_qbr_says_by_how_much_its_widths_do_not_fit() -> None:
    problem = two_kinds(200)
    with pytest.raises(
        InputError,
        match=(
            "do not fit: bits is 230 bits, the limit is 200 bits, the narrowest widths need 90 bits"
        ),
    ):
        allocate("qbr", problem, Evidence(given=problem.levels((4, 3, 8))))
    with pytest.raises(InputError, match=r"given: level 7 of b; expected 0 to 1"):
        allocate("qbr", problem, Evidence(given=np.array([0, 7, 0])))


def test_an_unknown_name_lists_the_names() -> None:
    with pytest.raises(UnknownNameError, match="unknown method: 'gready'; did you mean 'greedy'"):
        allocate("gready", knapsack(0), Evidence())


def test_an_answer_that_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True)
    class Wrong:
        name: ClassVar[str] = "wrong"
        summary: ClassVar[str] = "always the widest"
        needs: ClassVar[tuple[str, ...]] = ()

        def model(self, problem: AllocationProblem, evidence: Evidence) -> None:
            return None

        def allocate(
            self,
            problem: AllocationProblem,
            evidence: Evidence,
            *,
            seed: int = 0,
            time_limit_s: float = 20.0,
        ) -> BitAllocation:
            return allocation_of(problem, self.name, problem.widest)

    monkeypatch.setitem(ALLOCATORS, "wrong", Wrong())
    with pytest.raises(
        InputError, match="allocator wrong fails with AssertionError: its widths do not fit"
    ):
        allocate("wrong", knapsack(0), Evidence())


def test_constraints_that_cannot_hold_together_are_named() -> None:
    """Each can be met alone; together they cannot."""
    bare = two_kinds(1e9)
    linear = np.zeros(bare.n)
    linear[:3] = (9.0, 1.0, 0.0)
    slow = Constraint(name="cycles", resource="cycles", unit="", limit=0.0, linear=linear)
    problem = AllocationProblem(bare.variables, [replace(bare.constraints[0], limit=100.0), slow])
    with pytest.raises(
        InputError,
        match="found no choice of bits that meets bits, cycles together; raise the limit",
    ):
        allocate("uniform", problem, Evidence())


def test_narrow_widths_that_cost_more_are_no_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that unpacks narrow weights: 2 bits take longer than 8, and the narrowest allocation
    does not fit.
    """
    bare = two_kinds(319.0)
    linear = np.zeros(bare.n)
    linear[:3] = (9.0, 1.0, 1.0)
    problem = AllocationProblem(
        bare.variables,
        [
            *bare.constraints,
            Constraint(name="cycles", resource="cycles", unit="", limit=5.0, linear=linear),
        ],
    )
    monkeypatch.setattr(clado, "solve", exhaustive.solve)
    for name in ALLOCATORS:
        found = allocate(
            name,
            problem,
            replace(evidence_for(problem), given=problem.levels((4, 3, 2))),
            time_limit_s=2.0,
        )
        assert found.bits[0] >= 4


@pytest.mark.parametrize("seed", range(5))
def test_changes_are_differences(seed: int) -> None:
    """Of costs and of a quadratic form, for single moves and for two at once."""
    rng = np.random.default_rng(seed)
    problem = PROBLEMS["forbidding"](seed)
    matrix = rng.normal(size=(problem.n, problem.n))
    matrix, linear = matrix + matrix.T, rng.normal(size=problem.n)
    levels = np.asarray(rng.integers(0, problem.counts), np.intp)
    same = (problem.owner[:, None] == problem.owner[None, :]) & ~np.eye(problem.n, dtype=bool)

    def value(levels: np.ndarray) -> float:
        at = problem.positions(levels)
        return float(linear[at].sum() + 0.5 * np.where(same, 0.0, matrix)[np.ix_(at, at)].sum())

    delta, costs = changes(problem, levels, linear, matrix), costs_of_moves(problem, levels)
    both = interactions(problem, levels, matrix, np.arange(problem.n), np.arange(problem.n))
    for p in range(problem.n):
        assert value(moved(problem, levels, p)) - value(levels) == pytest.approx(delta[p])
        assert costs[:, p] == pytest.approx(problem.costs(moved(problem, levels, p)))
        for q in range(problem.n):
            if problem.owner[p] != problem.owner[q]:
                change = value(moved(problem, levels, p, q)) - value(levels)
                assert change == pytest.approx(delta[p] + delta[q] + both[p, q])


def test_the_objective_of_greedy_is_the_sum_of_single_losses() -> None:
    problem = peak(3)
    evidence = evidence_for(problem)
    assert evidence.singles is not None
    found = allocate("greedy", problem, evidence)
    assert found.objective == pytest.approx(
        float(evidence.singles.losses[problem.positions(found.levels)].sum())
    )
