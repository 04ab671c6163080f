"""Small allocation problems with all that can be measured, which can be solved exhaustively."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np

from nas_engine.allocation.problem import (
    ACTIVATIONS,
    WEIGHTS,
    AllocationProblem,
    Constraint,
    Floats,
    Levels,
    Variable,
)
from nas_engine.allocation.records import Evidence, LayerEntropies, Sensitivity

WIDTHS = ((2, 4, 8), (2, 3, 4, 6, 8), (4, 8), (3, 5), (8,), (2, 8))


def variables(rng: np.random.Generator, kind: str, count: int) -> list[Variable]:
    """Return random variables of one kind."""
    found = []
    for i in range(count):
        bits = WIDTHS[rng.integers(len(WIDTHS))]
        found.append(
            Variable(
                name=f"l{i} {kind}",
                kind=kind,
                layers=(f"l{i}",),
                bits=bits,
                elements=int(rng.integers(20, 4000)),
            )
        )
    return found


def stored(
    bare: AllocationProblem, kind: str, slack: float, name: str = "Flash", least: int = 0
) -> Constraint:
    """Return a limit on the bytes of all tensors of a kind.

    It is at ``slack`` of the way from level ``least`` to the widest.
    """
    mine = np.array([variable.kind == kind for variable in bare.variables])[bare.owner]
    elements = np.array([variable.elements for variable in bare.variables])[bare.owner]
    linear = np.ceil(elements * bare.choice_bits / 8) * mine
    low, high = (
        linear[bare.positions(np.minimum(least, bare.widest))].sum(),
        linear[bare.positions(bare.widest)].sum(),
    )
    return Constraint(
        name=name, resource=name, unit="B", limit=float(low + slack * (high - low)), linear=linear
    )


def knapsack(seed: int, slack: float = 0.4) -> AllocationProblem:
    """One limit on the bytes of all weights."""
    rng = np.random.default_rng(seed)
    bare = AllocationProblem(variables(rng, WEIGHTS, int(rng.integers(3, 7))))
    return AllocationProblem(bare.variables, [stored(bare, WEIGHTS, slack)])


def peak(seed: int, slack: float = 0.4) -> AllocationProblem:
    """A limit on the weights, and one on every two activations that live together."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(2, 4))
    bare = AllocationProblem(
        [*variables(rng, WEIGHTS, count), *variables(rng, ACTIVATIONS, count + 1)]
    )
    sizes = (
        np.array([variable.elements for variable in bare.variables])[bare.owner]
        * bare.choice_bits
        / 8.0
    )
    terms = []
    for first in range(count, 2 * count):
        together = np.isin(bare.owner, (first, first + 1))
        terms.append(sizes * together)
    most, least = (
        max(float(t[bare.positions(levels)].sum()) for t in terms)
        for levels in (bare.widest, bare.narrowest)
    )
    limit = least + slack * (most - least)
    peaks = [
        Constraint(name=f"peak SRAM at {i}", resource="peak SRAM", unit="B", limit=limit, linear=t)
        for i, t in enumerate(terms)
    ]
    return AllocationProblem(bare.variables, [stored(bare, WEIGHTS, slack), *peaks])


def forbidding(seed: int, slack: float = 0.5) -> AllocationProblem:
    """Return a problem whose narrowest choice fails.

    The device computes no narrow weights beside narrow activations; the weights are limited.
    """
    rng = np.random.default_rng(seed)
    count = int(rng.integers(2, 4))
    bits = (2, 4, 8)
    bare = AllocationProblem(
        Variable(
            name=f"l{i} {kind}",
            kind=kind,
            layers=(f"l{i}",),
            bits=bits,
            elements=int(rng.integers(20, 4000)),
        )
        for kind in (WEIGHTS, ACTIVATIONS)
        for i in range(count)
    )
    quadratic = np.zeros((bare.n, bare.n))
    for i in range(count):
        for w, a in product(range(3), repeat=2):
            if bits[w] + bits[a] < 6:
                p, q = bare.first[i] + w, bare.first[count + i] + a
                quadratic[p, q] = quadratic[q, p] = 1.0
    rule = Constraint(
        name="forbidden pairs",
        resource="forbidden pairs",
        unit="",
        limit=0.0,
        linear=np.zeros(bare.n),
        quadratic=quadratic,
    )
    return AllocationProblem(
        bare.variables,
        [
            stored(bare, WEIGHTS, slack),
            stored(bare, ACTIVATIONS, slack, "activations", least=1),
            rule,
        ],
    )


PROBLEMS = {"knapsack": knapsack, "peak": peak, "forbidding": forbidding}


def every_allocation(problem: AllocationProblem) -> Iterator[Levels]:
    """Yield every choice of levels, whether it fits or not."""
    for levels in product(*(range(count) for count in problem.counts)):
        yield np.array(levels, np.intp)


def evidence_for(
    problem: AllocationProblem, seed: int = 0, noise: float = 0.02, images: int = 24
) -> Evidence:
    """Return all kinds of evidence, with losses that fall by 4 with every bit.

    Those of neighbours are correlated. Every choice moves the outputs by a random vector; losses
    and pair terms are inner products of those vectors, so the matrix is positive semi-definite but
    for what is left out within a variable. ``noise`` is that of the measured pairs, in parts of
    ``sqrt(G_ii G_jj)``.
    """
    rng = np.random.default_rng(seed)
    count, n = len(problem.variables), problem.n
    common = rng.normal(size=(count, images))
    directions = np.array([common[max(0, i - 1)] * 0.4 + common[i] for i in range(count)])
    strength = rng.lognormal(0.0, 1.0, count)[problem.owner]
    reach = (
        2.0**-problem.choice_bits
        - 2.0 ** -problem.choice_bits[problem.positions(problem.widest)][problem.owner]
    )
    moves = directions[problem.owner] * (np.sqrt(strength) * reach)[:, None]
    gram = moves @ moves.T / images
    same = problem.owner[:, None] == problem.owner[None, :]
    clean = np.where(same & ~np.eye(n, dtype=bool), 0.0, gram)
    losses = np.diag(gram) / 2
    errors = 0.05 * losses + 1e-6
    scale = np.sqrt(np.outer(np.diag(gram), np.diag(gram))) * ~same

    def measured(level: float) -> Floats:
        draw = np.triu(rng.normal(size=(n, n)), 1)
        return np.asarray(clean + level * scale * (draw + draw.T))

    def record(method: str, matrix: Floats, halves: Floats | None) -> Sensitivity:
        return Sensitivity(
            method=method,
            matrix=matrix,
            losses=losses,
            standard_errors=errors,
            halves=halves,
            images=images,
            base_loss=0.3,
        )

    halves = np.array([measured(noise * np.sqrt(2.0)) for _ in range(2)])
    spread = rng.normal(size=count)
    batches = rng.normal(scale=0.1, size=(6, count))
    return Evidence(
        given=problem.narrowest,
        singles=record("gauss-newton", clean, np.array([clean, clean])),
        pairs=record("measured", halves.mean(axis=0), halves),
        hessian=strength * (reach + 2.0**-9) ** 2,
        entropies=(
            LayerEntropies(estimator="histogram", values=5.0 + spread + batches),
            LayerEntropies(estimator="gaussian", values=spread + batches),
        ),
    )
