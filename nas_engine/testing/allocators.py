"""Contract of allocators; inherit ``AllocatorContract`` and name the allocator in ``part``."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from typing import Any, ClassVar

import numpy as np
import pytest

from nas_engine.allocation import clado
from nas_engine.allocation.allocator import Allocator, MissingEvidenceError
from nas_engine.allocation.problem import (
    ACTIVATIONS,
    WEIGHTS,
    AllocationProblem,
    Constraint,
    InfeasibleAllocationError,
    Levels,
    Variable,
)
from nas_engine.allocation.records import FEASIBLE, HEURISTIC, OPTIMAL, BitAllocation, Evidence
from nas_engine.allocation.table import ALLOCATORS, NO_LIMIT_BINDS, allocate
from nas_engine.errors import InputError
from nas_engine.parts import ALLOCATOR
from nas_engine.testing import exhaustive
from nas_engine.testing.adopted import adopted
from nas_engine.testing.problems import PROBLEMS, evidence_for, knapsack, stored

SEEDS = range(5)
TIME_LIMIT_S = 2.0


def some_feasible(problem: AllocationProblem) -> Levels:
    """Return the first feasible allocation by levels: it stands for widths that a network has."""
    found: Levels = exhaustive.feasible_ones(problem)[0]
    return found


def known(problem: AllocationProblem, seed: int = 0) -> Evidence:
    """Return evidence of everything, with given widths that fit."""
    return replace(evidence_for(problem, seed), given=some_feasible(problem))


def same(one: BitAllocation, other: BitAllocation) -> bool:
    """Return whether two allocations are equal but for their times."""
    figures = [(a.bits, a.status, a.notes, a.levels.tolist()) for a in (one, other)]
    return figures[0] == figures[1] and np.array_equal(
        one.objective, other.objective, equal_nan=True
    )


class AllocatorContract:
    """Inherit this and name the allocator, ``FILE.py:NAME``, ``module:NAME`` or a registered name.

    One that is at hand comes from an ``allocator`` fixture of its own.
    """

    part: ClassVar[str] = ""

    @pytest.fixture
    def allocator(self, request: pytest.FixtureRequest) -> Allocator:
        """Return the allocator under test, which stands in the table."""
        return adopted(request, ALLOCATOR, self.part, ALLOCATORS)

    @pytest.fixture(autouse=True)
    def try_them_all(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Solve every program by trying all allocations; the solver has tests of its own."""
        monkeypatch.setattr(clado, "solve", exhaustive.solve)

    def test_stands_in_the_table_under_its_name(self, allocator: Allocator) -> None:
        assert ALLOCATORS[allocator.name] is allocator
        assert allocator.summary
        assert "\n" not in allocator.summary
        assert set(allocator.needs) <= {"given", "singles", "pairs", "hessian", "entropies"}

    @pytest.mark.parametrize("kind", PROBLEMS)
    @pytest.mark.parametrize("slack", [0.15, 0.6])
    def test_widths_fit_and_are_allowed(
        self, allocator: Allocator, kind: str, slack: float
    ) -> None:
        for seed in SEEDS:
            problem = PROBLEMS[kind](seed, slack)
            found = allocate(
                allocator.name, problem, known(problem, seed), seed=seed, time_limit_s=TIME_LIMIT_S
            )
            assert problem.is_feasible(found.levels)
            assert found.method == allocator.name
            assert found.bits == problem.bits(found.levels)
            assert all(
                width in variable.bits
                for width, variable in zip(found.bits, problem.variables, strict=True)
            )
            assert found.status in (OPTIMAL, FEASIBLE, HEURISTIC)
            assert found.seconds >= 0.0

    @pytest.mark.parametrize("kind", PROBLEMS)
    def test_an_objective_is_never_below_its_bound(self, allocator: Allocator, kind: str) -> None:
        for seed in SEEDS:
            problem = PROBLEMS[kind](seed)
            found = allocate(
                allocator.name, problem, known(problem, seed), time_limit_s=TIME_LIMIT_S
            )
            if np.isnan(found.objective):
                assert np.isnan(found.bound)
                assert found.status in (HEURISTIC, OPTIMAL)
            else:
                assert found.objective >= found.bound - 1e-9
                assert (found.status == OPTIMAL) == (found.gap < 1e-6)

    @pytest.mark.parametrize("kind", PROBLEMS)
    @pytest.mark.parametrize("noise", [0.02, 0.5])
    def test_the_objective_is_its_model_at_its_choice(
        self, allocator: Allocator, kind: str, noise: float
    ) -> None:
        for seed in SEEDS:
            problem = PROBLEMS[kind](seed)
            evidence = replace(evidence_for(problem, seed, noise), given=some_feasible(problem))
            found, model = (
                allocate(allocator.name, problem, evidence),
                allocator.model(problem, evidence),
            )
            if model is None:
                assert np.isnan(found.objective)
            elif found.notes != (NO_LIMIT_BINDS,):
                assert found.objective == pytest.approx(
                    exhaustive.worth(problem, found.levels[None], *model)[0], abs=1e-12
                )

    @pytest.mark.parametrize("kind", PROBLEMS)
    def test_without_a_limit_everything_is_at_its_widest(
        self, allocator: Allocator, kind: str
    ) -> None:
        for seed in SEEDS:
            limited = PROBLEMS[kind](seed)
            loose = [replace(c, limit=float("inf")) for c in limited.constraints]
            for problem in (
                AllocationProblem(limited.variables),
                AllocationProblem(limited.variables, loose),
                PROBLEMS[kind](seed, 1.0),
            ):
                evidence = known(problem, seed)
                found = allocate(allocator.name, problem, evidence, time_limit_s=TIME_LIMIT_S)
                if "given" in allocator.needs:
                    assert evidence.given is not None
                    assert found.levels.tolist() == list(evidence.given)
                    continue
                assert found.levels.tolist() == problem.widest.tolist()
                assert found.notes == (NO_LIMIT_BINDS,)
                assert found.status == OPTIMAL

    @pytest.mark.parametrize("kind", PROBLEMS)
    def test_the_same_seed_gives_the_same(self, allocator: Allocator, kind: str) -> None:
        problem = PROBLEMS[kind](3)
        for seed in (0, 1):
            one, other = (
                allocate(
                    allocator.name, problem, known(problem), seed=seed, time_limit_s=TIME_LIMIT_S
                )
                for _ in range(2)
            )
            assert same(one, other)

    def test_a_limit_that_nothing_meets_says_the_smallest_possible(
        self, allocator: Allocator
    ) -> None:
        problem = knapsack(1)
        constraint = problem.constraints[0]
        smallest = problem.costs(problem.narrowest)[0]
        tight = AllocationProblem(problem.variables, [replace(constraint, limit=smallest - 1.0)])
        with pytest.raises(
            InfeasibleAllocationError, match=f"smallest possible Flash is {smallest:,.6g} B"
        ) as caught:
            allocate(allocator.name, tight, known(problem))
        assert caught.value.smallest == smallest
        assert len(str(caught.value).splitlines()) == 1

    def test_a_product_that_nothing_meets_says_the_smallest_possible(
        self, allocator: Allocator
    ) -> None:
        bare = PROBLEMS["forbidding"](1)
        quadratic = np.outer(bare.choice_bits, bare.choice_bits) * (
            bare.owner[:, None] != bare.owner[None, :]
        )
        free = Constraint(
            name="BitOps",
            resource="BitOps",
            unit="",
            limit=1.0,
            linear=np.zeros(bare.n),
            quadratic=quadratic,
        )
        problem = AllocationProblem(bare.variables, [free])
        with pytest.raises(InfeasibleAllocationError) as caught:
            allocate(allocator.name, problem, known(AllocationProblem(bare.variables)))
        assert caught.value.smallest == problem.costs(problem.narrowest)[0]

    def test_missing_evidence_is_one_line(self, allocator: Allocator) -> None:
        problem = knapsack(2)
        for field in allocator.needs:
            missing: dict[str, Any] = {field: () if field == "entropies" else None}
            gone = replace(known(problem), **missing)
            with pytest.raises(
                MissingEvidenceError, match=f"method '{allocator.name}' needs .*; measure it first"
            ) as caught:
                allocate(allocator.name, problem, gone)
            assert caught.value.evidence == field
            assert len(str(caught.value).splitlines()) == 1

    def test_what_it_does_not_need_may_be_missing(self, allocator: Allocator) -> None:
        problem = knapsack(2)
        full = known(problem)
        bare = Evidence(**{field: getattr(full, field) for field in allocator.needs})
        assert same(
            allocate(allocator.name, problem, bare), allocate(allocator.name, problem, full)
        )

    def test_evidence_of_another_problem_is_refused(self, allocator: Allocator) -> None:
        problem = knapsack(2)
        other = AllocationProblem(
            [
                *problem.variables,
                Variable(name="x", kind=WEIGHTS, layers=("x",), bits=(2, 8), elements=5),
            ]
        )
        if allocator.needs:
            with pytest.raises(InputError, match="measured for another problem"):
                allocate(allocator.name, problem, known(other))

    def test_no_numbers_are_refused_where_they_stand(self, allocator: Allocator) -> None:
        problem = knapsack(2)
        full = known(problem)
        assert full.singles is not None
        assert full.pairs is not None
        assert full.hessian is not None
        choice, variable = problem.n - 1, problem.variables[-1]
        vector, matrix = full.hessian.copy(), full.singles.matrix.copy()
        vector[choice], matrix[choice, 0] = np.nan, np.inf
        broken: dict[str, list[Any]] = {
            "singles": [replace(full.singles, losses=vector), replace(full.singles, matrix=matrix)],
            "pairs": [replace(full.pairs, losses=vector), replace(full.pairs, matrix=matrix)],
            "hessian": [vector],
            "entropies": [
                tuple(replace(e, values=np.full_like(e.values, no)) for e in full.entropies)
                for no in (np.nan, np.inf)
            ],
        }
        for field in allocator.needs:
            for value in broken.get(field, []):
                where = (
                    problem.variables[0].name
                    if field == "entropies"
                    else f"{variable.name} at {variable.bits[-1]} bits"
                )
                with pytest.raises(
                    InputError, match=f"{where}.* is (nan|inf); expected a number"
                ) as caught:
                    allocate(allocator.name, problem, replace(full, **{field: value}))
                assert len(str(caught.value).splitlines()) == 1

    @pytest.mark.parametrize("kind", PROBLEMS)
    def test_a_looser_limit_never_gives_a_larger_proven_objective(
        self, allocator: Allocator, kind: str
    ) -> None:
        for seed in SEEDS:
            before = float("inf")
            for slack in (0.2, 0.4, 0.6, 0.8):
                problem = PROBLEMS[kind](seed, slack)
                evidence = replace(
                    evidence_for(problem, seed), given=some_feasible(PROBLEMS[kind](seed, 0.2))
                )
                found = allocate(allocator.name, problem, evidence, time_limit_s=TIME_LIMIT_S)
                if found.status != OPTIMAL or np.isnan(found.objective):
                    continue
                assert found.objective <= before + 1e-9
                before = found.objective

    @pytest.mark.parametrize("kind", ["knapsack", "peak"])
    def test_the_only_allocation_that_fits_is_found(self, allocator: Allocator, kind: str) -> None:
        for seed in SEEDS:
            problem = PROBLEMS[kind](seed, 0.0)
            tight = [
                replace(c, limit=cost)
                for c, cost in zip(
                    problem.constraints, problem.costs(problem.narrowest), strict=True
                )
            ]
            only = AllocationProblem(problem.variables, tight)
            found = allocate(allocator.name, only, known(only, seed), time_limit_s=TIME_LIMIT_S)
            assert found.levels.tolist() == only.narrowest.tolist()

    def test_the_only_allocation_that_fits_is_found_off_the_narrowest(
        self, allocator: Allocator
    ) -> None:
        """A device computes 4-bit weights beside 8-bit inputs alone, or the other way round."""
        bare = AllocationProblem(
            [
                Variable(name="w", kind=WEIGHTS, layers=("l",), bits=(4, 8), elements=100),
                Variable(name="a", kind=ACTIVATIONS, layers=("l",), bits=(4, 8), elements=100),
            ]
        )
        quadratic = np.zeros((4, 4))
        quadratic[0, 2] = quadratic[2, 0] = quadratic[1, 3] = quadratic[3, 1] = 1.0
        rule = Constraint(
            name="forbidden",
            resource="forbidden",
            unit="",
            limit=0.0,
            linear=np.zeros(4),
            quadratic=quadratic,
        )
        problem = AllocationProblem(bare.variables, [stored(bare, ACTIVATIONS, 0.5), rule])
        found = allocate(allocator.name, problem, known(problem), time_limit_s=TIME_LIMIT_S)
        assert found.bits == (8, 4)

    @pytest.mark.parametrize("kind", PROBLEMS)
    def test_a_constraint_without_limit_changes_nothing(
        self, allocator: Allocator, kind: str
    ) -> None:
        for seed in SEEDS:
            problem = PROBLEMS[kind](seed)
            free = [
                replace(c, name=f"free {c.name}", resource="free", limit=float("inf"))
                for c in problem.constraints
            ]
            more = AllocationProblem(problem.variables, [*free, *problem.constraints])
            evidence = known(problem, seed)
            one, other = (
                allocate(allocator.name, p, evidence, time_limit_s=TIME_LIMIT_S)
                for p in (problem, more)
            )
            assert one.bits == other.bits

    def test_a_record_cannot_be_changed(self, allocator: Allocator) -> None:
        problem = knapsack(4)
        found = allocate(allocator.name, problem, known(problem))
        with pytest.raises(FrozenInstanceError):
            found.status = "else"  # type: ignore[misc]
        with pytest.raises(ValueError, match="read-only"):
            found.levels[0] = 0
