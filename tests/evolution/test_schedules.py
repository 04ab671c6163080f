"""Searches by rows: what is taken where nothing is said, what is refused, what is found."""

from __future__ import annotations

from dataclasses import replace
from itertools import starmap
from typing import Any

import numpy as np
import pytest

from nas_engine.architecture import dump_architecture, parse_architecture
from nas_engine.costs.plan import plan_memory
from nas_engine.encoding import decode
from nas_engine.errors import InputError
from nas_engine.evolution.config import SearchConfig, build_problem, check_config, resolve_config
from nas_engine.evolution.evaluation import evaluate
from nas_engine.evolution.operators import sample
from nas_engine.evolution.search import SearchSettings, finish, init
from nas_engine.names import DEFAULT_SCHEDULE
from nas_engine.units import parse_size


def config_of(**options: Any) -> SearchConfig:
    sizes = {key: parse_size(options[key]) for key in ("sram", "flash") if key in options}
    return resolve_config({**options, **sizes})


def resolved(sram: str, flash: str, **options: Any) -> tuple[str, str]:
    config = config_of(sram=sram, flash=flash, **options)
    return config.schedule, config.input


def test_what_nobody_says_is_resolved() -> None:
    assert resolved("256k", "1m")[0] == DEFAULT_SCHEDULE
    assert resolved("256k", "1m", memory_model="paper") == ("layers", "whole")
    assert resolved("256k", "1m", schedule="auto") == ("auto", "whole")
    assert resolved("48k", "1m", schedule="auto") == ("auto", "rows")
    assert resolved("48k", "1m", schedule="auto", input="whole") == ("auto", "whole")
    assert resolved("48k", "1m", schedule="layers") == ("layers", "whole")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"schedule": "rows"}, "--schedule is rows; memory model 'paper' counts 'layers' alone"),
        ({"input": "rows"}, "--input is rows; memory model 'paper' counts 'whole' alone"),
    ],
)
def test_the_papers_memory_model_knows_layers_alone(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_problem(resolve_config({"memory_model": "paper", **options}))


@pytest.mark.parametrize(
    ("options", "widths"),
    [
        ({"schedule": "auto"}, (8,)),
        ({"schedule": "layers"}, (2, 3, 4, 5, 6, 7, 8)),
        ({"schedule": "auto", "max_bitops": 1e9}, (2, 3, 4, 5, 6, 7, 8)),
        ({"schedule": "auto", "qbr": False}, (2, 3, 4, 5, 6, 7, 8)),
        ({"schedule": "auto", "sram": "12k", "input": "rows"}, (2, 3, 4, 5, 6, 7, 8)),
    ],
)
def test_activations_are_the_widest_where_a_network_fits_so(
    options: dict[str, Any], widths: tuple[int, ...]
) -> None:
    config = config_of(**{"sram": "256k", "flash": "1m", "resolution": 96, **options})
    assert build_problem(config)[0].activation_options == widths


@pytest.mark.parametrize(("sram", "flash", "resolution"), [("48k", "1m", 160), ("32k", "512k", 96)])
def test_budgets_that_layers_cannot_serve_are_served(
    sram: str, flash: str, resolution: int
) -> None:
    """The memory plan of what is found fits, with 8 bits in every activation."""
    options: dict[str, Any] = {"sram": sram, "flash": flash, "resolution": resolution}
    with pytest.raises(InputError, match=r"peak SRAM .*; add --schedule auto, or give --sram "):
        check_config(config_of(**options, schedule="layers"))
    with pytest.raises(InputError, match=r"peak SRAM .*; add --input rows, or give --sram "):
        check_config(config_of(**options, schedule="auto", input="whole"))
    config = config_of(**options, schedule="auto")
    check_config(config)
    problem, _ = build_problem(config)
    found = evaluate(problem, sample(problem.space, problem.frame, 64, np.random.default_rng(1)))
    fitting = np.flatnonzero(found.violation == 0)
    assert fitting.size
    for column in fitting[:4]:
        network = decode(problem.frame, found.genes[:, column])
        assert {bits.a for bits in network.layer_bits()} == {8}
        assert plan_memory(network).arena_bytes <= found.sram[column] <= problem.arena_bytes


def test_the_winner_takes_the_budget_and_the_front_as_little_as_it_can() -> None:
    """Of the winner's units as few run by rows as fit: with all of the budget, none or some."""
    settings = SearchSettings(population=16, chunk=64, chunks=1)
    by_rows = []
    for sram in ("64k", "8m"):
        problem, _ = build_problem(
            config_of(sram=sram, flash="512k", resolution=96, schedule="auto")
        )
        found = finish(init(problem, settings, starmap), problem)
        assert found is not None
        room = found.best.room
        assert room == problem.arena_bytes >= plan_memory(found.best).arena_bytes
        assert parse_architecture(dump_architecture(found.best)) == found.best
        assert replace(found.best, room=None) in found.front
        for network in found.front:
            least, fast = plan_memory(network), plan_memory(replace(network, room=room))
            assert least.arena_bytes <= fast.arena_bytes <= problem.arena_bytes
            assert len(least.steps) <= len(fast.steps)
        by_rows.append(sum(len(one.stages) for one in plan_memory(found.best).segments))
    assert by_rows[0] > 0 == by_rows[1]
