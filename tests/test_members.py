"""Networks of a front that are trained, where the search keeps classes apart."""

from __future__ import annotations

import numpy as np
import pytest

from nas_engine.evolution.classes import picks
from nas_engine.evolution.config import resolve_config
from nas_engine.pipeline.members import figures_of, members, pattern
from nas_engine.pipeline.search import run_search
from nas_engine.runs.run_directory import RunDirectory
from nas_engine.training.start import same_structure


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A short search of a space where strides are genes."""
    path = tmp_path_factory.mktemp("search") / "run"
    options = {"space": "flexible-32", "sram": 36 * 1024, "flash": 80 * 1024, "max_macs": 14e6}
    run_search(resolve_config({**options, "input": "rows", "candidates": 1000}), path)
    return RunDirectory(path)


def test_the_picks_of_all_classes_come_first(searched: RunDirectory) -> None:
    rows = searched.front.read()
    front = [searched.read_member(number) for number in range(1, len(rows) + 1)]
    figures = [figures_of(network) for network in front]
    assert [each.macs for each in figures] == [row["macs"] for row in rows]
    first = [
        front[index]
        for index in picks(
            np.array([row["qe_score"] for row in rows]),
            np.array([each.noise for each in figures]),
            np.array([each.macs for each in figures]),
            np.array([each.group for each in figures]),
        )
    ]
    found = members(searched, 60, classed=True)
    assert 12 < len({each.group for each in figures}) <= len(first)
    by_pattern = {pattern(network): network for network in reversed(first)}
    unlike = [network for network in first if by_pattern[pattern(network)] is network]
    assert [figures_of(network) for network in found[:12]] == [
        figures_of(network) for network in unlike[:12]
    ]
    assert same_structure(found[0], searched.read_best())
    assert {network.room for network in found} == {32 * 1024}
    assert len(found) == len({pattern(network) for network in found}) == 60
