"""The loop: the same result in any order and on any number of processes, through save and load, and
never worse.
"""

from __future__ import annotations

import itertools
import multiprocessing.synchronize
import pickle
import re
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas_engine.encoding import decode
from nas_engine.evolution.evaluation import Candidates, evaluate, exceeded
from nas_engine.evolution.problem import SearchProblem
from nas_engine.evolution.processes import mapper
from nas_engine.evolution.search import (
    SearchSettings,
    SearchState,
    breed,
    done,
    finish,
    init,
    step,
    unique_networks,
)
from tests import reference
from tests.legal import legal
from tests.populations import MODELS, SHIPPED, SPACES, pairs_table, population, problem_for

SETTINGS = SearchSettings(seed=3, candidates=2000, population=48, chunk=64, chunks=3)


def problem(
    name: str = "mobilenet-32", sram: float = 40_000, flash: float = 60_000, **options: Any
) -> SearchProblem:
    space = SPACES[name]
    frame, _ = population(space, 1, resolution=min(96, space.max_resolution), classes=10)
    return problem_for(space, frame, sram, flash, **options)


def backwards(function: Callable[..., Candidates], jobs: Iterable[Any]) -> list[Candidates]:
    """Evaluate the batches last to first."""
    return [function(*job) for job in list(jobs)[::-1]][::-1]


def run_for(
    steps: int, p: SearchProblem, settings: SearchSettings = SETTINGS, run: Any = itertools.starmap
) -> SearchState:
    state = init(p, settings, run)
    for _ in range(steps):
        state = step(state, p, settings, run)
    return state


def assert_same(one: SearchState, other: SearchState) -> None:
    assert (one.generation, one.evaluated, one.best_score, one.feasible) == (
        other.generation,
        other.evaluated,
        other.best_score,
        other.feasible,
    )
    for part in ("population", "front"):
        for field in Candidates.__slots__:
            assert np.array_equal(
                getattr(getattr(one, part), field), getattr(getattr(other, part), field)
            ), (part, field)


class TestReproducible:
    @pytest.mark.parametrize("qbr", [True, False])
    def test_batches_in_any_order(self, qbr: bool) -> None:
        p = problem(qbr=qbr)
        assert_same(run_for(5, p), run_for(5, p, run=backwards))

    def test_two_processes_are_one(self) -> None:
        p = problem()
        with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
            assert_same(
                run_for(4, p),
                run_for(
                    4, p, run=lambda function, jobs: pool.map(function, *zip(*jobs, strict=True))
                ),
            )

    @pytest.mark.parametrize("qbr", [True, False])
    def test_ten_steps_are_five_saved_loaded_and_five(self, qbr: bool) -> None:
        p = problem(qbr=qbr)
        half = run_for(5, p)
        p_again, half_again = pickle.loads(pickle.dumps((p, half)))
        for _ in range(5):
            half_again = step(half_again, p_again, SETTINGS, itertools.starmap)
        assert_same(run_for(10, p), half_again)

    def test_seed_matters(self) -> None:
        p = problem()
        other = run_for(3, p, replace(SETTINGS, seed=4))
        assert not np.array_equal(run_for(3, p).population.genes, other.population.genes)

    def test_a_step_does_not_touch_the_state_it_came_from(self) -> None:
        p = problem()
        state = run_for(2, p)
        before = pickle.dumps(state)
        step(state, p, SETTINGS, itertools.starmap)
        assert pickle.dumps(state) == before

    def test_batches_of_a_generation_differ(self) -> None:
        p = problem()
        genes = run_for(0, p).population.genes
        batches = [
            breed(p, SETTINGS, generation, chunk, genes).genes
            for generation in (1, 2)
            for chunk in (0, 1)
        ]
        assert len({batch.tobytes() for batch in batches}) == 4


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("qbr", [True, False])
class TestSurvivors:
    def test_fit_by_the_scalar_reference_and_never_worse(
        self, name: str, model: str, qbr: bool
    ) -> None:
        p = problem(
            name,
            60_000,
            250_000,
            model=model,
            qbr=qbr,
            limits={"macs": 40e6, "bitops": 1.2e9, "cycles": 58e6, "effectiveness": 0.8},
        )
        state = init(p, SETTINGS, itertools.starmap)
        best, feasible = -np.inf, 0.0
        for _ in range(8):
            state = step(state, p, SETTINGS, itertools.starmap)
            score = -np.inf if state.best_score is None else state.best_score
            assert score >= best
            assert state.feasible >= feasible
            best, feasible = score, state.feasible
        assert state.evaluated == 9 * 3 * 64
        assert legal(p.space, p.frame, state.population.genes).all()
        assert (
            np.lexsort((-state.population.score, state.population.violation))
            == np.arange(state.population.n)
        ).all()
        assert feasible > 0
        for found in (state.population, state.front):
            for i in range(found.n):
                net = decode(p.frame, found.genes[:, i])
                bitops = (
                    reference.bitops(net)
                    if model == "arena"
                    else 64 * reference.paper_bitops_over_64(net)
                )
                spent = {
                    "--sram": (max(reference.sram(model, net)), 60_000),
                    "--flash": (sum(reference.FLASH[model](net)), 250_000),
                    "--max-macs": (reference.macs(net), 40e6),
                    "--max-bitops": (bitops, 1.2e9),
                    "--max-cycles": (1.5 * reference.macs(net), 58e6),
                    "--max-effectiveness": (reference.effectiveness(net), 0.8),
                }
                over = {
                    option: pytest.approx(each)
                    for option, each in spent.items()
                    if each[0] > each[1]
                }
                assert exceeded(p, found.take([i])) == over
                assert (not over) == (found.violation[i] == 0)
                assert found.score[i] == pytest.approx(
                    reference.qe_score(net, p.space.stage_weights), rel=1e-12
                )
                assert found.macs[i] == reference.macs(net)
        result = finish(state, p)
        assert result is not None
        assert reference.qe_score(result.best, p.space.stage_weights) == pytest.approx(
            best, rel=1e-12
        )
        assert result.front[0] == result.best
        assert len(set(result.front)) == len(result.front) == state.front.n


class TestLoop:
    def test_best_is_on_the_front_and_survivors_are_unique(self) -> None:
        p = problem()
        state = run_for(6, p)
        assert state.front.score[0] == state.best_score
        assert np.unique(state.population.genes, axis=1).shape[1] == state.population.n == 48

    def test_done_and_finish(self) -> None:
        p = problem()
        state = run_for(0, p)
        assert state.evaluated == 192
        assert not done(state, SETTINGS)
        assert done(state, replace(SETTINGS, candidates=192))
        nothing = run_for(1, replace(p, arena_bytes=1.0))
        assert nothing.best_score is None
        assert nothing.front.n == 0
        assert finish(nothing, p) is None

    def test_the_smallest_network_is_in_the_first_generation(self) -> None:
        """If any network fits, the search finds one at once."""
        loose = run_for(0, problem())
        smallest = evaluate(
            problem(sram=1, flash=1),
            population(SPACES["mobilenet-32"], 1, resolution=64, classes=10)[1],
        )
        tight = problem(sram=float(smallest.sram[0]), flash=float(smallest.flash[0]))
        assert loose.feasible > 0
        assert run_for(0, tight).best_score is not None

    def test_forbidden_pairs_never_occur_without_refinement(self) -> None:
        allowed = pairs_table(
            *((w, a) for w in (4, 5, 6, 7, 8) for a in (4, 5, 6, 7, 8) if w + a != 9)
        )
        p = problem(sram=1e9, flash=1e9, allowed=allowed, qbr=False)
        first, state = run_for(0, p), run_for(20, p)
        assert first.best_score is not None
        assert state.best_score is not None
        assert state.best_score > first.best_score
        for column in np.concatenate([first.population.genes, state.population.genes], axis=1).T:
            assert all(allowed[b.w, b.a] for b in decode(p.frame, column).layer_bits())


class TestUnique:
    @given(
        st.lists(
            st.tuples(st.integers(-2, 2), st.integers(0, 1), st.integers(0, 300)),
            min_size=1,
            max_size=30,
        ),
        st.booleans(),
    )
    def test_first_of_each(self, columns: list[tuple[int, ...]], structure_only: bool) -> None:
        genes = np.array(columns, np.int16).T
        keys = [column[:2] if structure_only else column for column in columns]
        wanted = [i for i, key in enumerate(keys) if key not in keys[:i]]
        assert unique_networks(genes, structure_only=structure_only, rows=2).tolist() == wanted


class TestCandidates:
    def test_take_and_concatenate(self) -> None:
        p = problem()
        state = run_for(0, p)
        whole = state.population
        parts = [whole.take(slice(0, 10)), whole.take(np.arange(10, whole.n))]
        again = Candidates.concatenate(parts)
        for field in Candidates.__slots__:
            assert np.array_equal(getattr(again, field), getattr(whole, field))
        assert whole.take([2, 0]).score.tolist() == [whole.score[2], whole.score[0]]


class TestProcesses:
    @pytest.mark.parametrize(
        "error",
        [
            OSError(30, "Read-only file system"),
            ImportError("no semaphores"),
            NotImplementedError("none"),
        ],
    )
    def test_one_works_where_the_system_has_no_semaphores_for_more(
        self, error: Exception, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object, **__: object) -> None:
            raise error

        monkeypatch.setattr(multiprocessing.synchronize._multiprocessing, "SemLock", refuse)
        notes: list[str] = []
        with mapper(2, notes.append) as run:
            assert list(run(max, [(1, 2), (4, 3)])) == [2, 4]
        assert len(notes) == 1
        assert re.match(
            r"2 processes cannot share semaphores \(.+; on Linux they lie in /dev/shm\); one works",
            notes[0],
        )
