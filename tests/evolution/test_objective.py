"""Objectives of a search: functions of a file, and the limit on path noise."""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from nas_engine.encoding import Genes, GeneView, decode
from nas_engine.errors import FileFormatError, InputError
from nas_engine.evolution.classes import octave, picks
from nas_engine.evolution.config import (
    SearchConfig,
    build_problem,
    check_config,
    resolve_config,
)
from nas_engine.evolution.evaluation import evaluate
from nas_engine.evolution.front import non_dominated
from nas_engine.evolution.least_noise import least_path_noise
from nas_engine.evolution.operators import sample
from nas_engine.evolution.problem import SearchProblem
from nas_engine.evolution.search import SearchSettings, done, finish, init, step
from nas_engine.layers import Floats, unroll
from nas_engine.report.search_record import report_member
from nas_engine.scoring.objective import (
    PATH_NOISE,
    check_objective,
    objective_digest,
    objective_values,
)
from nas_engine.scoring.path_noise import PATH_NOISE_FORMS, path_noise

OPTIONS = {"space": "mobilenet-32", "resolution": 16, "sram": 36 * 1024, "flash": 64 * 1024}
FEW = SearchSettings(candidates=3 * 256, population=64, chunk=256, chunks=1)

FILE = """
def score(table, w_bits, a_bits):
    return table.weights.sum(axis=0) + 0.001 * w_bits.sum(axis=0)

def wrong(table, w_bits, a_bits):
    values = table.weights.sum(axis=0)
    values[-1] = float("inf")
    return values

def fails(table, w_bits, a_bits):
    return {}["none"]

def exits(table, w_bits, a_bits):
    raise SystemExit(4)

def short(table, w_bits, a_bits):
    return 0.5
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(FILE)
    return "mine.py"


def test_a_function_of_a_file_is_what_is_searched_for(file: str) -> None:
    config = resolve_config({**OPTIONS, "score": f"{file}:score"})
    assert config.score == f"{Path(file).resolve()}:score"
    assert resolve_config(config.as_options()) == config
    check_config(config)
    problem, _ = build_problem(config)
    state = init(problem, FEW, itertools.starmap)
    while not done(state, FEW):
        state = step(state, problem, FEW, itertools.starmap)
    view = GeneView(problem.frame, state.population.genes)
    expected = unroll(problem.frame, state.population.genes).weights.sum(axis=0)
    assert state.population.score == pytest.approx(expected + 0.001 * view.w_bits.sum(axis=0))
    result = finish(state, problem)
    assert result is not None
    plain, _ = build_problem(resolve_config(OPTIONS))
    alone = report_member(result.best, plain)
    assert report_member(result.best, problem).qe_score == alone.qe_score  # exact, and untouched


@pytest.mark.parametrize(
    ("function", "says"),
    [
        ("wrong", "wrong() returns inf for 1 networks; expected one finite number per network"),
        ("fails", "fails() fails with KeyError: 'none'; expected"),
        ("exits", "exits() fails with SystemExit: 4; expected"),
        ("short", "short() returns shape () for 5 networks"),
    ],
)
def test_a_function_that_fails_is_one_line(file: str, function: str, says: str) -> None:
    objective = check_objective(f"{file}:{function}")
    problem, _ = build_problem(resolve_config(OPTIONS))
    genes = sample(problem.space, problem.frame, 5, np.random.default_rng(0))
    view, table = GeneView(problem.frame, genes), unroll(problem.frame, genes)
    with pytest.raises(FileFormatError) as caught:
        objective_values(objective, table, view.w_bits, view.a_bits)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(FileFormatError, match=function):  # before a search has begun
        check_config(resolve_config({**OPTIONS, "score": f"{file}:{function}"}))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("scores", "--score is 'scores'; expected qe-score, path-noise"),
        ("mine.py", "expected qe-score"),
        ("mine.py:no name", "has no function 'no name'"),
        ("mine.py:none", "has no function 'none'"),
        ("none.py:score", "none.py: cannot be read"),
        ("broken.py:score", "broken.py: cannot be run: SyntaxError"),
    ],
)
def test_what_is_no_score(file: str, given: str, says: str) -> None:
    Path("broken.py").write_text("def score(:\n")
    with pytest.raises(InputError) as caught:
        resolve_config({**OPTIONS, "score": given})
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_text_of_the_file_is_another_search(file: str) -> None:
    before = objective_digest(check_objective(f"{file}:score"))
    Path(file).write_text(
        FILE + "\n\ndef score(table, *widths):\n    return 0.0 * table.depth[0]\n"
    )
    changed = check_objective(f"{file}:score")
    assert objective_digest(changed) != before
    problem, _ = build_problem(resolve_config(OPTIONS))
    genes = sample(problem.space, problem.frame, 5, np.random.default_rng(0))
    view, table = GeneView(problem.frame, genes), unroll(problem.frame, genes)
    assert not objective_values(changed, table, view.w_bits, view.a_bits).any()  # not the old text


def noise_of(problem: SearchProblem, genes: Genes) -> Floats:
    view, table = GeneView(problem.frame, genes), unroll(problem.frame, genes)
    return path_noise(table, view.w_bits, view.a_bits, PATH_NOISE_FORMS[PATH_NOISE])


def test_a_limit_on_path_noise_is_a_multiple_of_the_least() -> None:
    free, _ = build_problem(resolve_config(OPTIONS))
    least = least_path_noise(free, FEW)[0]
    assert least_path_noise(replace(free, limits={"path_noise": 1.0}), FEW) == {0: least}
    limited = replace(free, limits={**free.limits, "path_noise": 1.4}, least_noise={0: 1.2 * least})
    genes = sample(free.space, free.frame, 400, np.random.default_rng(2))
    found = evaluate(limited, genes)
    noise = noise_of(free, found.genes)
    assert noise.min() >= 0.9 * least
    over = np.maximum(noise / (1.4 * 1.2 * least) - 1.0, 0.0)
    others = evaluate(free, genes.copy()).violation
    assert found.violation == pytest.approx(over + others)
    network = decode(free.frame, found.genes[:, 0])
    shown = report_member(network, limited).limited["path_noise"]
    assert shown == pytest.approx(noise[0] / (1.2 * least))
    assert report_member(network, free).limited["path_noise"] == pytest.approx(noise[0])


def test_where_networks_have_classes_it_is_one_of_each() -> None:
    """A class that the short evolution did not find is held to the least of all."""
    options = {**OPTIONS, "space": "flexible-32"}
    free, _ = build_problem(resolve_config(options))
    least = least_path_noise(free, FEW)
    assert least[0] == min(least.values())
    assert len(least) > 3
    first = next(group for group in least if group)
    del least[first]
    limited = replace(free, limits={**free.limits, "path_noise": 1.3}, least_noise=least)
    genes = sample(free.space, free.frame, 600, np.random.default_rng(4))
    found = evaluate(limited, genes)
    own = np.array([least.get(group, least[0]) for group in found.group.tolist()])
    assert (found.group == first).any()
    assert len(np.unique(own)) > 3
    over = np.maximum(found.noise / own / 1.3 - 1.0, 0.0)
    assert found.violation == pytest.approx(over + evaluate(free, genes.copy()).violation)


def test_build_problem_looks_for_the_least(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "nas_engine.evolution.config.least_path_noise", partial(least_path_noise, settings=FEW)
    )
    config = resolve_config({**OPTIONS, "max_path_noise": 1.4, "resolution": 17})
    limited, _ = build_problem(config)
    free, _ = build_problem(resolve_config({**OPTIONS, "resolution": 17}))
    assert limited.limits == {**free.limits, "path_noise": 1.4}
    assert limited.least_noise == least_path_noise(free, FEW)
    assert build_problem(config)[0].least_noise is limited.least_noise
    assert free.least_noise == {}


def test_path_noise_is_an_axis_where_it_is_asked_for() -> None:
    """In a space of one pattern of halvings there is one class, with a front of noise and MACs."""
    config = resolve_config({**OPTIONS, "path_noise_axis": True})
    assert SearchConfig.from_mapping(config.as_mapping(), "config.yaml") == config
    problem, _ = build_problem(config)
    state = init(problem, FEW, itertools.starmap)
    while not done(state, FEW):
        state = step(state, problem, FEW, itertools.starmap)
    front = state.front
    assert len(np.unique(front.group)) == 1
    assert front.noise == pytest.approx(noise_of(problem, front.genes))
    points = np.stack([-front.score, front.noise, -octave(front.macs)], axis=1)
    assert non_dominated(points).size == front.n > 5
    result = finish(state, problem)
    assert result is not None
    at = picks(front.score, front.noise, front.macs, front.group)[0]
    assert replace(result.best, room=None) == decode(problem.frame, front.genes[:, at])


def test_without_the_axis_all_networks_compete() -> None:
    options = {**OPTIONS, "space": "flexible-32"}
    assert build_problem(resolve_config(options))[0].classed
    problem, _ = build_problem(resolve_config({**options, "path_noise_axis": False}))
    genes = sample(problem.space, problem.frame, 50, np.random.default_rng(1))
    found = evaluate(problem, genes)
    assert not found.group.any()
    assert not found.noise.any()
