"""The evolutionary search: ``init / step / finish`` over explicit state.

Each generation, ``chunks`` batches of children are bred from the population and evaluated; then
parents and children compete, feasible first, then by score, each within its class where a space has
classes (``nas_engine.evolution.classes``). A batch is a pure function of (problem,
seed, generation, batch number, population), so that the result is the same for any number of
workers and the state needs no random state of its own: ten steps equal five steps, save, load, five
steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from nas_engine.architecture import Architecture
from nas_engine.encoding import Genes, decode
from nas_engine.evolution.classes import niches, picks, ranks_within
from nas_engine.evolution.evaluation import Candidates, evaluate, evaluate_given
from nas_engine.evolution.front import most, thin, update_front
from nas_engine.evolution.operators import mutate, sample
from nas_engine.evolution.problem import SearchProblem


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSettings:
    """Settings of the search, all of which its result depends on, unlike the number of workers."""

    seed: int = 0
    """Seed of every random number."""
    candidates: int = 500_000
    """Networks to evaluate at least (the paper: 500,000); the last generation is finished."""
    population: int = 512
    """Survivors of a generation (the authors: 256 to 512)."""
    chunk: int = 2048
    """Children bred and evaluated as one batch: enough to drown the overhead of array calls, little
    enough for the cache."""
    chunks: int = 4
    """Batches per generation."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SearchState:
    """State of a search; with the problem and the settings it determines the rest."""

    generation: int
    """Generations finished, the random first one included."""
    evaluated: int
    """Networks evaluated."""
    population: Candidates
    """Survivors, best first."""
    front: Candidates
    """Pareto front of all survivors so far."""

    @property
    def best_score(self) -> float | None:
        """Highest score of a network that fits, ``None`` before there is one."""
        return float(self.population.score[0]) if self.population.violation[0] == 0 else None

    @property
    def feasible(self) -> float:
        """Share of the population that fits."""
        return float((self.population.violation == 0).mean())


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """Result of a search."""

    best: Architecture
    """The feasible network with the highest score, or, where there are classes, the first of
    their ``picks`` on the front; it may take all the SRAM there is."""
    front: tuple[Architecture, ...]
    """Networks of the Pareto front, best score first, each in its smallest arena."""


Job = tuple[SearchProblem, SearchSettings, int, int, Genes]
"""Arguments of ``breed``."""

Mapper = Callable[[Callable[..., Candidates], Iterable[Job]], Iterable[Candidates]]
"""``itertools.starmap``, or the starmap of a process pool."""


def breed(
    problem: SearchProblem, settings: SearchSettings, generation: int, chunk: int, parents: Genes
) -> Candidates:
    """Return one evaluated batch: random networks in generation 0, else children of random parents.

    Args:
        problem: The problem.
        settings: Seed and batch size.
        generation: Number of the generation, part of the random seed.
        chunk: Number of the batch, part of the random seed.
        parents: Genes of the population, ``(genes, n)``.
    """
    rng = np.random.default_rng([settings.seed, generation, chunk])
    if generation == 0:
        return evaluate(problem, sample(problem.space, problem.frame, settings.chunk, rng))
    chosen = parents[:, rng.integers(parents.shape[1], size=settings.chunk)]
    return evaluate(
        problem, mutate(problem.space, problem.frame, chosen, rng, mutate_bits=not problem.qbr)
    )


def init(problem: SearchProblem, settings: SearchSettings, run: Mapper) -> SearchState:
    """Return the state after the random first generation, or that of the one network there is."""
    if problem.network is not None:
        only = evaluate_given(problem)
        front = only.take(only.violation == 0)
        return SearchState(generation=1, evaluated=1, population=only, front=front)
    empty = evaluate(
        problem, sample(problem.space, problem.frame, 1, np.random.default_rng(0))
    ).take(slice(0, 0))
    state = SearchState(generation=0, evaluated=0, population=empty, front=empty)
    return step(state, problem, settings, run)


def step(
    state: SearchState, problem: SearchProblem, settings: SearchSettings, run: Mapper
) -> SearchState:
    """Return the state one generation later; ``run`` maps ``breed`` over the batches, in order."""
    jobs = [
        (problem, settings, state.generation, chunk, state.population.genes)
        for chunk in range(settings.chunks)
    ]
    children = Candidates.concatenate(list(run(breed, jobs)))
    union = Candidates.concatenate([state.population, children])
    fresh = unique_networks(union.genes, structure_only=problem.qbr, rows=problem.frame.n_structure)
    survivors = _survivors(union, fresh, settings.population)
    population = union.take(survivors)
    front = update_front(
        state.front, union.take(np.sort(survivors[survivors >= state.population.n]))
    )
    return SearchState(
        generation=state.generation + 1,
        evaluated=state.evaluated + children.n,
        population=population,
        front=front,
    )


def _survivors(union: Candidates, fresh: npt.NDArray[np.intp], count: int) -> npt.NDArray[np.intp]:
    """Return who survives, best first: an equal number of each niche, at least one.

    Args:
        union: Parents and children.
        fresh: Indices of those that differ.
        count: Survivors, where there are not more niches.
    """
    best = fresh[np.lexsort((-union.score[fresh], union.violation[fresh]))]
    if not union.group.any():
        return best[:count]
    chosen = union.take(best)
    niche = niches(chosen.group, chosen.noise, chosen.macs, chosen.violation)
    best, niche = best[niche >= 0], niche[niche >= 0]
    share = max(count // np.unique(niche).size, 1)
    return best[ranks_within(niche) < share]


def done(state: SearchState, settings: SearchSettings) -> bool:
    """Return whether the candidates are spent."""
    return state.evaluated >= settings.candidates


def finish(state: SearchState, problem: SearchProblem) -> SearchResult | None:
    """Return the result, or ``None`` if no network that fits has been found yet."""
    if state.best_score is None:
        return None
    front = thin(state.front, most(state.front))
    members = tuple(decode(problem.frame, column) for column in front.genes.T)
    best = decode(problem.frame, state.population.genes[:, 0])
    if problem.classed:
        best = members[picks(front.score, front.noise, front.macs, front.group)[0]]
    return SearchResult(best=replace(best, room=problem.room), front=members)


def unique_networks(genes: Genes, *, structure_only: bool, rows: int) -> npt.NDArray[np.intp]:
    """Return the index of the first of each set of equal columns, ascending.

    Args:
        genes: ``(genes, n)``.
        structure_only: Whether bits follow from the structure and need not be compared.
        rows: Number of structure rows.
    """
    compared = np.ascontiguousarray((genes[:rows] if structure_only else genes).T)
    _, first = np.unique(
        compared.view(f"V{compared.shape[1] * compared.itemsize}").ravel(), return_index=True
    )
    return np.sort(first)
