"""Small problems of every kind, and all their allocations at once."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from nas_engine.allocation.problem import (
    TOLERANCE,
    WEIGHTS,
    AllocationProblem,
    Constraint,
    Floats,
    Levels,
    Variable,
)

KINDS = ("linear", "convex", "indefinite")


@dataclass(frozen=True)
class Instance:
    """A problem with an objective."""

    problem: AllocationProblem
    linear: Floats
    quadratic: Floats | None


def small(
    seed: int,
    counts: tuple[int, ...],
    *,
    kind: str,
    knapsacks: int = 1,
    peaks: int = 0,
    forbidden: int = 0,
    products: int = 0,
) -> Instance:
    """Return an instance with ``counts`` choices per variable and constraints of each kind; every
    one of them leaves something.
    """
    rng = np.random.default_rng(seed)
    widths = {1: (8,), 2: (4, 8), 3: (2, 4, 8), 4: (2, 3, 4, 8)}
    variables = [
        Variable(
            name=f"v{i}",
            kind=WEIGHTS,
            layers=(f"v{i}",),
            bits=widths[count],
            elements=int(rng.integers(1, 100)),
        )
        for i, count in enumerate(counts)
    ]
    bare = AllocationProblem(variables)
    n, owner, bits = bare.n, bare.owner, bare.choice_bits.astype(float)
    constraints = []
    for k in range(knapsacks):
        linear = (
            np.array([v.elements for v in variables], float)[owner]
            * bits
            * rng.uniform(0.5, 1.5, len(variables))[owner]
        )
        constraints.append(
            Constraint(
                name=f"size {k}",
                resource=f"size {k}",
                unit="B",
                limit=_between(bare, linear, rng),
                linear=linear,
            )
        )
    for k in range(peaks):
        live = rng.random(len(variables)) < 0.5
        linear = np.where(live[owner], rng.integers(1, 50, len(variables))[owner] * bits, 0.0)
        fixed = float(rng.integers(0, 20))
        limit = _between(bare, linear, rng) + fixed
        constraints.append(
            Constraint(
                name=f"peak {k}", resource="peak", unit="B", limit=limit, fixed=fixed, linear=linear
            )
        )
    if forbidden:
        pairs = np.zeros((n, n))
        for _ in range(forbidden):
            one, two = rng.integers(0, n, 2)
            if owner[one] != owner[two]:
                pairs[one, two] = pairs[two, one] = 1.0
        constraints.append(
            Constraint(
                name="pairs",
                resource="pairs",
                unit="",
                limit=0.0,
                linear=np.zeros(n),
                quadratic=pairs,
            )
        )
    for k in range(products):
        cost = np.outer(bits, bits) * np.where(owner[:, None] == owner[None, :], 0.0, 1.0)
        cost *= (np.abs(owner[:, None] - owner[None, :]) == 1) * rng.uniform(0.5, 1.5)
        narrow, wide = bare.positions(bare.narrowest), bare.positions(bare.widest)
        low, high = cost[np.ix_(narrow, narrow)].sum() / 2, cost[np.ix_(wide, wide)].sum() / 2
        limit = float(low + rng.uniform(0.1, 0.7) * (high - low) + bits.sum())
        constraints.append(
            Constraint(
                name=f"bitops {k}",
                resource="bitops",
                unit="",
                limit=limit,
                linear=bits,
                quadratic=cost,
            )
        )
    problem = AllocationProblem(variables, constraints)
    size = np.exp(rng.normal(0, 0.5, len(variables)))[owner] * 2.0 ** -(bits - 2)
    if kind == "linear":
        return Instance(problem, size**2 * rng.uniform(0.5, 1.5, n) - rng.random() * size, None)
    factor = rng.normal(size=(n, n + 2)) * size[:, None]
    quadratic = factor @ factor.T
    if kind == "indefinite":
        noise = rng.normal(size=(n, n))
        quadratic = quadratic + 3 * (noise + noise.T) * np.sqrt(
            np.outer(np.diagonal(quadratic), np.diagonal(quadratic))
        )
    return Instance(problem, rng.normal(size=n) * size * 0.3, quadratic)


def _between(problem: AllocationProblem, linear: Floats, rng: np.random.Generator) -> float:
    low, high = (
        linear[problem.positions(problem.narrowest)].sum(),
        linear[problem.positions(problem.widest)].sum(),
    )
    return float(low + rng.uniform(0.05, 0.8) * (high - low))


def everything(instance: Instance) -> tuple[Levels, Floats, np.ndarray]:
    """Return all allocations, their objectives, and which are feasible, by plain products."""
    problem = instance.problem
    levels = np.array(list(itertools.product(*(range(count) for count in problem.counts))), np.intp)
    x = np.zeros((len(levels), problem.n))
    np.put_along_axis(x, problem.first + levels, 1.0, axis=1)
    values = x @ instance.linear
    if instance.quadratic is not None:
        values += 0.5 * np.einsum("ij,ij->i", x @ instance.quadratic, x)
    feasible = np.ones(len(levels), bool)
    for constraint in problem.constraints:
        cost = constraint.fixed + x @ constraint.linear
        if constraint.quadratic is not None:
            cost += 0.5 * np.einsum("ij,ij->i", x @ constraint.quadratic, x)
        feasible &= cost <= constraint.limit + TOLERANCE
    return levels, values, feasible


@st.composite
def instances(draw: st.DrawFn, kinds: tuple[str, ...] = KINDS) -> Instance:
    """Draw an instance of up to 8 variables with up to 3 widths (6,561 allocations)."""
    counts = tuple(draw(st.lists(st.integers(1, 3), min_size=1, max_size=8)))
    return small(
        draw(st.integers(0, 10**6)),
        counts,
        kind=draw(st.sampled_from(kinds)),
        knapsacks=draw(st.integers(0, 2)),
        peaks=draw(st.sampled_from([0, 0, 5])),
        forbidden=draw(st.sampled_from([0, 0, 6])),
        products=draw(st.sampled_from([0, 0, 1])),
    )
