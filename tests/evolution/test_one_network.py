"""A space of one network: it holds the network of a file and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from device_profiles import load_device
from nas_engine.architecture import Architecture, Bits, dump_architecture
from nas_engine.encoding import decode, encode
from nas_engine.errors import FileFormatError, InputError
from nas_engine.evolution.evaluation import evaluate, evaluate_given
from nas_engine.evolution.feasibility import require_feasible
from nas_engine.evolution.one_network import is_network, open_space, space_of
from nas_engine.evolution.operators import sample
from nas_engine.evolution.problem import SearchProblem, make_problem
from nas_engine.pipeline.bits import with_uniform
from nas_engine.report.search_record import report_member
from search_spaces import load_space
from tests.populations import population
from tests.training.tasks import digits_architecture

SEVERAL = [
    digits_architecture(),
    *(
        decode(*drawn)
        for name in ("mobilenet-32", "hybrid-32", "residual-32", "qe-score-2022")
        for frame, genes in [population(load_space(name), 4)]
        for drawn in ((frame, column) for column in genes.T[2:])
    ),
]


def problem_of(network: Architecture, **changes: Any) -> SearchProblem:
    space = space_of(network, "mine.yaml")
    given: dict[str, Any] = {"qbr": False, "network": network} | changes
    return make_problem(space, load_device("cortex-m7"), **given)


@pytest.mark.parametrize("network", SEVERAL, ids=str)
def test_it_holds_the_network_and_no_other_structure(network: Architecture) -> None:
    problem = problem_of(network)
    own = encode(problem.frame, [network])
    assert decode(problem.frame, own[:, 0]) == network
    drawn = sample(problem.space, problem.frame, 5, np.random.default_rng(1))
    rows = slice(0, problem.frame.n_structure)
    assert (drawn[rows] == own[rows]).all()


@pytest.mark.parametrize("network", SEVERAL[:3], ids=str)
def test_it_keeps_the_bits_or_refines_them(network: Architecture) -> None:
    problem = problem_of(network)
    found, report = evaluate_given(problem), report_member(network, problem)
    assert decode(problem.frame, found.genes[:, 0]) == network
    assert found.score[0] == pytest.approx(report.qe_score, rel=1e-12)
    assert found.sram[0] == report.peak_sram_bytes
    assert found.flash[0] == report.total_flash_bytes

    refined = replace(problem, qbr=True, flash_bytes=report.total_flash_bytes - 1)
    expected = evaluate(refined, encode(problem.frame, [network]))
    assert (evaluate_given(refined).genes == expected.genes).all()
    assert expected.flash[0] < report.total_flash_bytes


def test_bits_that_the_device_forbids_are_named() -> None:
    network = with_uniform(digits_architecture(), Bits(5, 8))
    problem = problem_of(network)
    allowed = problem.allowed.copy()
    allowed[5] = False
    with pytest.raises(InputError, match=r"mine.yaml: layer s1.b1.expand has w5a8, which the dev"):
        evaluate_given(replace(problem, allowed=allowed))


def test_what_does_not_fit_is_named() -> None:
    problem = replace(problem_of(digits_architecture()), flash_bytes=100, arena_bytes=90)
    with pytest.raises(FileFormatError, match=r"needs .* where --sram leaves 90 and .* --flash"):
        require_feasible(problem)
    one = problem_of(digits_architecture(), limits={"macs": 5.0})
    with pytest.raises(FileFormatError, match=r"where --max-macs leaves 5"):
        require_feasible(one)


def test_a_file_is_told_from_a_space(tmp_path: Path) -> None:
    network, space, other = (tmp_path / name for name in ("net.yaml", "space.yaml", "other.yaml"))
    network.write_text(dump_architecture(digits_architecture()))
    space.write_text(Path("search_spaces/data/mobilenet-32.yaml").read_text())
    other.write_bytes(b"\xff\xfe")
    assert [is_network(path) for path in (network, space, other, tmp_path)] == [True, *[False] * 3]
    assert open_space(str(network))[1] == digits_architecture()
    assert open_space(str(space)) == (load_space("mobilenet-32"), None)
    uneven = replace(
        digits_architecture(), stem=replace(digits_architecture().stem, bits=Bits(4, 8))
    )
    network.write_text(dump_architecture(uneven))
    with pytest.raises(FileFormatError, match="stem and classifier have w4a8 and w8a8; expected"):
        open_space(str(network))
