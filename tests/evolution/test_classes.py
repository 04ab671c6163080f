"""Classes of what the score cannot see: their definition, who survives, the front of each."""

from __future__ import annotations

import hashlib
import io
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_profiles import load_device
from nas_engine.encoding import GeneView, decode, space_frame
from nas_engine.evolution.checkpoint import load_state, save_state
from nas_engine.evolution.classes import (
    LEVEL,
    LEVELS,
    OCTAVES,
    classes,
    niches,
    picks,
    ranks_within,
    standing,
)
from nas_engine.evolution.evaluation import Candidates
from nas_engine.evolution.front import MAX_CLASSED, objectives, thin, update_front
from nas_engine.evolution.operators import sample
from nas_engine.evolution.problem import make_problem
from nas_engine.evolution.search import SearchSettings, SearchState, done, finish, init, step
from nas_engine.pipeline.members import figures_of
from nas_engine.scoring.objective import PATH_NOISE
from search_spaces import load_space


def sizes(resolution: int, strides: list[int]) -> list[int]:
    """Return the pixels behind stem and stages."""
    found = [resolution]
    for stride in strides:
        found.append(-(-found[-1] // stride))
    return found[1:]


@pytest.mark.parametrize("name", ["flexible-32", "flexible", "mobilenet-32"])
def test_a_class_is_three_maps_and_the_kinds(name: str) -> None:
    space = load_space(name)
    frame = space_frame(space, space.resolution, 10)
    genes = sample(space, frame, 400, np.random.default_rng(1))
    found = classes(frame, GeneView(frame, genes))
    told: dict[int, object] = {}
    for column, group in enumerate(found.tolist()):
        network = decode(frame, genes[:, column])
        maps = sizes(
            network.resolution, [network.stem.stride, *(block.stride for block in network.blocks)]
        )
        kinds = frozenset(block.kind for block in network.blocks)
        expected = "small" if maps[-1] < 4 else (maps[1], maps[3], maps[-1], kinds)
        assert told.setdefault(group, expected) == expected
        assert figures_of(network).group == group
    assert len(set(told.values())) == len(told)
    assert (len(told) == 1) == (name == "mobilenet-32")


NOISES = st.floats(0.05, 50)
NETWORKS = st.lists(
    st.tuples(st.integers(1, 4), NOISES, st.floats(1e3, 1e9), st.sampled_from([0.0, 0.0, 0.2])),
    max_size=40,
)


@given(NETWORKS)
def test_niches_are_levels_of_octaves_of_classes(
    rows: list[tuple[int, float, float, float]],
) -> None:
    group, noise, macs, violation = (np.array([row[i] for row in rows], float) for i in range(4))
    found = niches(group.astype(np.int64), noise, macs, violation)

    def place(index: int) -> tuple[int, int, int] | str | None:
        kind, own_noise, own_macs, over = rows[index]
        if over:
            return "over"
        of_class = [row for row in rows if row[0] == kind and not row[3]]
        octave = max(math.floor(math.log2(row[2])) for row in of_class) - math.floor(
            math.log2(own_macs)
        )
        if octave >= OCTAVES:
            return None
        own = math.floor(math.log2(own_macs))
        least = min(
            math.floor(np.log(row[1]) / np.log(LEVEL))
            for row in of_class
            if math.floor(math.log2(row[2])) == own
        )
        level = math.floor(np.log(own_noise) / np.log(LEVEL)) - least
        return None if level >= LEVELS else (kind, octave, level)

    names: dict[int, object] = {-1: None}
    for index, number in enumerate(found.tolist()):
        expected = place(index)
        assert names.setdefault(number, expected) == expected
    assert len(set(names.values())) == len(names)


@given(st.lists(st.integers(-1, 5), max_size=40))
def test_ranks_within(niche: list[int]) -> None:
    found = ranks_within(np.array(niche, np.int64)).tolist()
    assert found == [niche[:index].count(one) for index, one in enumerate(niche)]


def test_standing_adds_two_ranks() -> None:
    noise = np.array([4.0, 1.0, 2.0, 3.0])
    macs = np.array([5e6, 9e6, 1e6, 7e6])  # the first and the last are of one octave
    assert standing(noise, macs).tolist() == [0 + 1.5, 3 + 3, 2 + 0, 1 + 1.5]


PICKED = st.lists(
    st.tuples(st.floats(1, 900), st.floats(0.1, 5), st.floats(1e6, 9e6), st.integers(1, 3)),
    min_size=1,
    max_size=30,
)


@given(PICKED)
def test_picks_are_the_best_within_a_multiple_of_the_least_noise(
    rows: list[tuple[float, float, float, int]],
) -> None:
    score, noise, macs, group = (np.array(column) for column in zip(*rows, strict=True))
    found = picks(score, noise, macs, group)
    octaves = [math.floor(math.log2(row[2])) for row in rows]
    expected = dict[int, list[float]]()
    for each in set(group.tolist()):
        most = max(o for o, row in zip(octaves, rows, strict=True) if row[3] == each)
        top = [row for o, row in zip(octaves, rows, strict=True) if (row[3], o) == (each, most)]
        least = min(row[1] for row in top)
        expected[each] = [
            max(row[0] for row in top if row[1] <= multiple * least) for multiple in (1.4, 2.0)
        ]
    order = list(dict.fromkeys(int(group[index]) for index in found))
    assert group[found][: len(order)].tolist() == order, "one of each class first"
    seconds = group[found][len(order) :].tolist()
    assert seconds == [each for each in order if len(set(expected[each])) > 1 or each in seconds]
    for each in order:
        scores = [score[index] for index in found if group[index] == each]
        assert sorted(set(scores)) == sorted(set(expected[each]))
    first = [next(index for index in found if group[index] == each) for each in order]
    assert (np.diff(standing(noise[first], macs[first])) <= 0).all()
    assert set(order) == set(expected)


@pytest.fixture(scope="module")
def searched() -> tuple[SearchState, SearchState]:
    """The first and the last generation of a short search at 48 KiB."""
    problem = make_problem(
        load_space("flexible-32"),
        load_device("cortex-m7").with_memory(36 * 1024, 80 * 1024),
        class_count=10,
        limits={"macs": 14e6},
        schedule="auto",
        image="rows",
    )
    settings = SearchSettings(candidates=8192, population=128, chunk=1024, chunks=2)
    state = first = init(problem, settings, itertools.starmap)
    while not done(state, settings):
        state = step(state, problem, settings, itertools.starmap)
    result = finish(state, problem)
    assert result is not None
    front = thin(state.front, MAX_CLASSED)
    best = picks(front.score, front.noise, front.macs, front.group)[0]
    assert figures_of(result.best) == figures_of(result.front[best])
    for index, network in enumerate(result.front):
        figures = figures_of(network)
        assert figures.group == front.group[index]
        assert figures.noise == pytest.approx(front.noise[index], rel=1e-12)
    return first, state


def test_no_class_is_lost_and_no_niche_its_best_score(
    searched: tuple[SearchState, SearchState],
) -> None:
    first, last = (each.population for each in searched)
    assert fitting(first) <= fitting(last)
    assert len(fitting(last)) > 20
    union = Candidates.concatenate([first, last])
    niche = niches(union.group, union.noise, union.macs, union.violation)
    for each in set(niche[union.violation == 0].tolist()) - {-1}:
        here = niche == each
        assert union.score[here].max() == union.score[here & (np.arange(union.n) >= first.n)].max()


def fitting(found: Candidates) -> set[int]:
    """Return the classes of the networks that fit."""
    return set(found.group[found.violation == 0].tolist())


def test_each_class_has_a_front_of_its_own(searched: tuple[SearchState, SearchState]) -> None:
    front = searched[1].front
    assert fitting(front) == fitting(searched[1].population)
    points = objectives(front)
    for one, other in itertools.permutations(range(front.n), 2):
        beaten = (points[other] <= points[one]).all() and (points[other] < points[one]).any()
        assert not (beaten and front.group[one] == front.group[other])
    thinned = thin(front, len(fitting(front)) + 20)
    for group in fitting(front):
        best = front.score[front.group == group].max()
        assert thinned.score[thinned.group == group].max() == best
    assert update_front(front, front.take(slice(0, 5))).n == front.n


def test_more_macs_are_no_fault_where_there_are_classes() -> None:
    def two(group: int) -> Candidates:
        same = {name: np.ones(2) for name in ("score", "sram", "flash", "noise")}
        return Candidates(
            genes=np.zeros((1, 2), np.int16),
            violation=np.zeros(2),
            macs=np.array([1e6, 9e6]),
            group=np.full(2, group),
            **same,
        )

    for group, left in ((0, 1e6), (3, 9e6)):
        assert update_front(two(group).take(slice(0, 0)), two(group)).macs.tolist() == [left]


def test_a_search_by_another_figure_has_no_classes() -> None:
    space, device = load_space("flexible-32"), load_device("cortex-m7")
    assert make_problem(space, device).classed
    assert not make_problem(space, device, objective=PATH_NOISE).classed
    assert not make_problem(load_space("mobilenet-32"), device).classed


def test_a_checkpoint_of_0_1_0_is_read(
    searched: tuple[SearchState, SearchState], tmp_path: Path
) -> None:
    path = tmp_path / "checkpoint.npz"
    save_state(path, searched[1], "a")
    with np.load(io.BytesIO(path.read_bytes()[:-32])) as arrays:
        old = {
            name: arrays[name] for name in arrays.files if not name.endswith(("_noise", "_group"))
        }
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **old)
    path.write_bytes(buffer.getvalue() + hashlib.sha256(buffer.getvalue()).digest())
    found = load_state(path, "a")
    assert (found.population.score == searched[1].population.score).all()
    assert not found.front.noise.any()
    assert not found.front.group.any()
