"""Fit of the instructions of loops: counts that follow from prices give these counts back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.instruction_model import (
    WAYS,
    errors,
    fit,
    sampled,
    tight,
    winners,
    write_table,
)
from benchmarks.results import read_results
from nas_engine.costs.instruction_model import read_table
from nas_engine.integer.store import load
from tests.costs.test_instructions import any_prices


def test_prices_are_found_from_counts() -> None:
    prices, cases = any_prices(4), list(sampled(4, 3))
    assert {(one.architecture.schedule, one.architecture.image) for one in cases} == {WAYS[0]}
    counts = [
        {name: round(float(prices.count(*step))) for name, step in case.steps.items()}
        for case in cases
    ]
    found = replace(prices, loops=fit(cases, counts))
    assert np.abs(errors(found, cases, counts)[0]).max() < 1e-3
    assert read_table(write_table([found])) == (found,)
    other = replace(found, loops={group: {} for group in found.loops})
    assert errors(other, cases, counts)[0].tolist() == pytest.approx([-1] * len(cases))


def test_held_out_networks_are_tight_or_trained() -> None:
    """Little room makes units run by rows, and the winners bring their own integers."""
    for case in tight(4, 3):
        assert case.architecture.room is not None
        assert case.plan.arena_bytes <= case.architecture.room
        assert case.plan.segments
    trained = list(winners())
    assert {case.name.removesuffix(" (trained)") for case in trained} == set(read_results())
    first = trained[0]
    assert first.trained is not None
    assert first.model.provenance == load(first.trained).model.provenance
