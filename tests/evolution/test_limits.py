"""Limits: each row counts what a report counts, and a new row is known everywhere."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nas_engine.encoding import GeneView, decode, space_frame
from nas_engine.evolution.evaluation import evaluate, exceeded
from nas_engine.evolution.limits import LIMITS, spent
from nas_engine.evolution.operators import sample
from nas_engine.layers import Floats, LayerTable, unroll
from nas_engine.report.search_record import report_member
from search_spaces import load_space
from tests.generations import ENVIRONMENT
from tests.populations import problem_for

SPACE = load_space("mobilenet-32")
PROBLEM = replace(
    problem_for(SPACE, space_frame(SPACE, 32, 10), 64 * 1024, 256 * 1024),
    own_cost=f"{__name__}:widths",
)


def widths(table: LayerTable, w_bits: Floats, a_bits: Floats) -> Floats:
    """Cost of a user's own."""
    return np.asarray((w_bits + a_bits).sum(axis=0))


NEW_ROW = """
import json, sys
from nas_engine.evolution import limits

limits.LIMITS = (
    *limits.LIMITS,
    limits.Limit(
        name="turns", title="turns", help="Limit on turns", example="3", counted=False,
        cost=lambda counting, table, view: 7.0 + 0.0 * table.c_in.sum(axis=0),
    ),
)
from nas_engine import InputError, search
from nas_engine.cli.main import cli
from nas_engine.evolution.config import SearchConfig, check_config, resolve_config
from nas_engine.options import rows_in
from nas_engine.report.page.budgets import budgets
from nas_engine.report.page.headline import verdict_sentence
from nas_engine.report.page.provenance import search_command
from nas_engine.runs.run_options import check_options
from tests.report.page_facts import SEARCHED
from dataclasses import replace

found = {}
for command in (cli, cli.commands["run"]):
    found[command.name] = "--max-turns" in {o for p in command.params for o in p.opts}
config = resolve_config(check_options({"search": {"max_turns": 9.5}})["search"])
found["config"] = SearchConfig.from_mapping(config.as_mapping(), "x").limits["turns"]
found["command"] = "--max-turns 9.5" in search_command(config.as_options(), "runs/x")
check_config(config)
for name, call in (
    ("feasible", lambda: check_config(replace(config, limits={"turns": 3.0}))),
    ("python", lambda: search(out=sys.argv[1], max_turns="three")),
):
    try:
        call()
    except InputError as error:
        found[name] = str(error)
facts = replace(
    SEARCHED,
    network=replace(SEARCHED.network, limited={**SEARCHED.network.limited, "turns": 7.0}),
    asked=replace(SEARCHED.asked, limits={"turns": 3.0}),
)
found["headline"] = verdict_sentence(facts)[0]
found["bars"] = [bar.text for bar in budgets(facts).blocks[0].items if bar.name == "turns"]
print(json.dumps(found))
"""


def test_every_row_counts_what_evaluation_and_report_do() -> None:
    genes = sample(PROBLEM.space, PROBLEM.frame, 40, np.random.default_rng(3))
    candidates = evaluate(PROBLEM, genes)
    view, table = GeneView(PROBLEM.frame, genes), unroll(PROBLEM.frame, genes)
    costs = {row.name: row.cost(PROBLEM.counting, table, view) for row in LIMITS}
    assert np.array_equal(costs["macs"], candidates.macs)
    for i in range(0, 40, 13):
        network = decode(PROBLEM.frame, genes[:, i])
        assert "cost" not in report_member(network, PROBLEM).limited  # no program runs unnamed
        report = report_member(network, PROBLEM, own_cost=PROBLEM.own_cost)
        assert report.limited == pytest.approx({name: cost[i] for name, cost in costs.items()})
        assert report.total_macs == report.limited["macs"]


@pytest.mark.parametrize("row", LIMITS, ids=lambda row: row.name)
def test_each_limit_alone_is_a_violation_and_is_named(row: object) -> None:
    (limit,) = (each for each in LIMITS if each is row)
    free = replace(PROBLEM, arena_bytes=1e12, flash_bytes=1e12, qbr=False)
    genes = sample(free.space, free.frame, 5, np.random.default_rng(4))
    assert not evaluate(free, genes.copy()).violation.any()
    view, table = GeneView(free.frame, genes), unroll(free.frame, genes)
    tight = replace(free, limits={limit.name: spent(free.counting, table, view)[limit.name] / 2})
    candidates = evaluate(tight, genes.copy())
    assert candidates.violation[0] == pytest.approx(1.0)
    assert list(exceeded(tight, candidates)) == [limit.option]


def test_a_new_row_is_known_to_options_config_evaluation_messages_and_report(
    tmp_path: Path,
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", NEW_ROW, str(tmp_path / "run")],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["cli"] is found["run"] is found["command"] is True
    assert found["config"] == 9.5
    assert "turns" in found["feasible"]
    assert "give --max-turns 7 or more" in found["feasible"]
    assert "max_turns: is 'three'; expected a number" in found["python"]
    assert "7 turns is over the limit of 3" in found["headline"]
    assert found["bars"] == ["7 of 3 (233.3 %)"]
