"""Objectives of a search: functions of a file, and the limit on path noise."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nas_engine.encoding import GeneView, decode
from nas_engine.errors import FileFormatError, InputError
from nas_engine.evolution.config import build_problem, check_config, resolve_config
from nas_engine.evolution.evaluation import evaluate
from nas_engine.evolution.least_noise import least_path_noise
from nas_engine.evolution.operators import sample
from nas_engine.evolution.search import SearchSettings, done, finish, init, step
from nas_engine.layers import unroll
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


def test_a_limit_on_path_noise_is_a_multiple_of_the_least() -> None:
    free, _ = build_problem(resolve_config(OPTIONS))
    least = least_path_noise(free)
    assert least == least_path_noise(replace(free, limits={"path_noise": 1.0}))
    config = resolve_config({**OPTIONS, "max_path_noise": 1.4})
    limited, _ = build_problem(config)
    assert limited.limits == {**free.limits, "path_noise": pytest.approx(1.4 * least)}
    assert build_problem(config)[0].limits == limited.limits

    genes = sample(free.space, free.frame, 400, np.random.default_rng(2))
    found = evaluate(limited, genes)
    view = GeneView(free.frame, found.genes)
    table = unroll(free.frame, found.genes)
    noise = path_noise(table, view.w_bits, view.a_bits, PATH_NOISE_FORMS[PATH_NOISE])
    assert noise.min() >= 0.9 * least
    over = np.maximum(noise / limited.limits["path_noise"] - 1.0, 0.0)
    others = evaluate(free, genes.copy()).violation
    assert found.violation == pytest.approx(over + others)
    network = decode(free.frame, found.genes[:, 0])
    assert report_member(network, limited).limited["path_noise"] == pytest.approx(noise[0])
