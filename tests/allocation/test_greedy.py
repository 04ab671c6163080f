"""Greedy by hand, against every allocation of small problems, and where a step is blocked."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nas_engine.allocation.greedy import lowered, raised
from nas_engine.allocation.moves import feasible_moves, steps_of_moves
from nas_engine.allocation.problem import (
    ACTIVATIONS,
    WEIGHTS,
    AllocationProblem,
    Constraint,
    Variable,
)
from nas_engine.allocation.quadratic import monotone_losses
from nas_engine.allocation.records import HEURISTIC, Evidence, Sensitivity
from nas_engine.allocation.table import allocate
from nas_engine.testing.problems import PROBLEMS, every_allocation, evidence_for, knapsack


def with_losses(problem: AllocationProblem, losses: list[float]) -> Evidence:
    singles = Sensitivity(
        method="gauss-newton",
        matrix=np.diag(2 * np.array(losses)),
        losses=np.array(losses),
        standard_errors=np.zeros(problem.n),
        images=1,
        base_loss=0.0,
    )
    return Evidence(singles=singles)


def pair(limit: float, elements: tuple[int, int] = (100, 50)) -> AllocationProblem:
    variables = [
        Variable(name=name, kind=WEIGHTS, layers=(name,), bits=(2, 4, 8), elements=count)
        for name, count in zip("ab", elements, strict=True)
    ]
    bare = AllocationProblem(variables)
    linear = np.array(elements, float)[bare.owner] * bare.choice_bits
    return AllocationProblem(
        variables,
        [Constraint(name="bits", resource="bits", unit="bits", limit=limit, linear=linear)],
    )


def test_the_smallest_loss_per_bit_saved_goes_first() -> None:
    """From 1200 bits: ``a`` 8 to 4 saves 400 for 0.4, 0.001 a bit; ``b`` 8 to 4 saves 200 for 0.1,
    0.0005 a bit.
    """
    losses = [9.0, 0.4, 0.0, 9.0, 0.1, 0.0]
    assert allocate("greedy", pair(1000), with_losses(pair(1000), losses)).bits == (8, 4)
    # Now ``a`` is the cheaper one, per bit and not in all: 0.0004 a bit against 0.0005; one step is
    # enough.
    losses[1] = 0.16
    found = allocate("greedy", pair(800), with_losses(pair(800), losses))
    assert found.bits == (4, 8)
    assert found.details == {"steps down": 1, "steps up": 0}


def test_relief_counts_only_up_to_the_limit() -> None:
    """100 bits are too many: ``a`` would save 400 for 0.16, ``b`` saves 200 for 0.1, and each
    relieves no more than 100.
    """
    losses = [9.0, 0.16, 0.0, 9.0, 0.1, 0.0]
    assert allocate("greedy", pair(1100), with_losses(pair(1100), losses)).bits == (8, 4)
    losses[4] = 0.2
    assert allocate("greedy", pair(1100), with_losses(pair(1100), losses)).bits == (4, 8)


def test_what_fits_is_raised_again() -> None:
    """First ``b`` goes down, for next to nothing; then ``a`` has to, which leaves room for ``b`` at
    8 bits.
    """
    losses = [9.0, 1.0, 0.0, 0.01, 0.005, 0.0]
    problem = pair(800)
    evidence = with_losses(problem, losses)
    assert evidence.singles is not None
    down, steps = lowered(problem, evidence.singles.losses)
    assert problem.bits(down) == (4, 2)
    assert steps == 3
    found = allocate("greedy", problem, evidence)
    assert found.bits == (4, 8)
    assert found.objective == pytest.approx(1.0)
    assert found.bound == float("-inf")
    assert found.status == HEURISTIC
    assert found.details == {"steps down": 3, "steps up": 2}


def test_a_narrow_width_that_was_lucky_is_not_preferred() -> None:
    """Noise says that 2 bits of ``a`` are better than 8; the whole limit is still used."""
    losses = [-1.0, 0.2, 0.0, 5.0, 0.1, 0.0]
    found = allocate("greedy", pair(1199), with_losses(pair(1199), losses))
    assert found.bits == (8, 4)


@pytest.mark.parametrize("kind", PROBLEMS)
def test_near_the_best_of_all_and_never_below_it(kind: str) -> None:
    """The sum of losses, against every allocation that fits; the factor says how far greedy is off
    on average.
    """
    ratios = []
    for seed in range(12):
        problem = PROBLEMS[kind](seed, 0.5)
        evidence = evidence_for(problem, seed)
        assert evidence.singles is not None
        losses = monotone_losses(problem, evidence.singles.losses)
        found = allocate("greedy", problem, evidence)
        best = min(
            losses[problem.positions(x)].sum()
            for x in every_allocation(problem)
            if problem.is_feasible(x)
        )
        assert found.objective >= best - 1e-12
        ratios.append((found.objective + 1e-3) / (best + 1e-3))
    assert np.median(ratios) < 1.2


@pytest.mark.parametrize("kind", PROBLEMS)
def test_nothing_can_be_raised_alone(kind: str) -> None:
    for seed in range(8):
        problem = PROBLEMS[kind](seed, 0.3)
        found = allocate("greedy", problem, evidence_for(problem, seed))
        assert not (
            feasible_moves(problem, found.levels) & (steps_of_moves(problem, found.levels) > 0)
        ).any()


def test_a_blocked_way_down_starts_from_what_fits() -> None:
    """Weights and activations must have equal widths: no single step is allowed, from anywhere."""
    variables = [
        Variable(name="w", kind=WEIGHTS, layers=("l",), bits=(4, 8), elements=10),
        Variable(name="a", kind=ACTIVATIONS, layers=("l",), bits=(4, 8), elements=10),
    ]
    bare = AllocationProblem(variables)
    quadratic = np.zeros((4, 4))
    quadratic[0, 3] = quadratic[3, 0] = quadratic[1, 2] = quadratic[2, 1] = 5.0
    rule = Constraint(
        name="equal", resource="equal", unit="", limit=0.0, linear=np.zeros(4), quadratic=quadratic
    )
    size = Constraint(
        name="size",
        resource="size",
        unit="B",
        limit=15.0,
        linear=10.0 * bare.choice_bits * np.array([1, 1, 0, 0]) / 8,
    )
    blocked = AllocationProblem(variables, [replace(size, limit=9.0), rule])
    found = allocate("greedy", blocked, with_losses(blocked, [1.0, 0.0, 1.0, 0.0]))
    assert found.bits == (4, 4)


def test_two_limits_count_in_parts_of_their_ranges() -> None:
    """Kilobytes of weights and bytes of activations: neither drowns the other."""

    def of(scale: float) -> AllocationProblem:
        bare = knapsack(5)
        second = np.where(bare.owner % 2 == 0, bare.choice_bits, 0.0)
        least, most = (
            second[bare.positions(levels)].sum() for levels in (bare.narrowest, bare.widest)
        )
        limit = 0.6 * least + 0.4 * most
        other = Constraint(
            name="x", resource="x", unit="", limit=scale * limit, linear=scale * second
        )
        return AllocationProblem(bare.variables, [bare.constraints[0], other])

    answers = {
        allocate("greedy", of(scale), evidence_for(of(1.0))).bits for scale in (1e-3, 1.0, 1e6)
    }
    assert len(answers) == 1


def test_raised_from_the_narrowest_uses_the_room() -> None:
    problem = pair(1199)
    levels, steps = raised(problem, np.array([1.0, 0.1, 0.0, 1.0, 0.1, 0.0]), problem.narrowest)
    assert problem.bits(levels) in ((8, 4), (4, 8))
    assert steps >= 2
