"""``nas-search take``: ten of a front that differ, and one of it as a run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas_engine.report.front import FIGURES, differing
from nas_engine.runs.run_directory import RunDirectory
from tests.cli.command import SMALL, Run

ROWS = st.lists(
    st.fixed_dictionaries({name: st.integers(0, 3).map(float) for name in FIGURES}),
    min_size=1,
    max_size=12,
)


@settings(max_examples=100, deadline=None)
@given(ROWS, st.integers(1, 6))
def test_each_next_one_is_the_farthest_from_those_taken(
    rows: list[dict[str, float]], count: int
) -> None:
    found = differing(rows, count)
    assert len(set(found)) == len(found) <= count
    ranges = [max(r[n] for r in rows) - min(r[n] for r in rows) or 1.0 for n in FIGURES]

    def apart(one: dict[str, float], other: dict[str, float]) -> float:
        parts = zip(FIGURES, ranges, strict=True)
        return float(np.sqrt(sum(((one[name] - other[name]) / size) ** 2 for name, size in parts)))

    best = max(range(len(rows)), key=lambda place: rows[place]["qe_score"])
    taken = [best]
    while len(taken) < count:
        nearest = [min(apart(row, rows[place]) for place in taken) for row in rows]
        if max(nearest) == 0:
            break
        taken.append(next(i for i, far in enumerate(nearest) if np.isclose(far, max(nearest))))
    shortest = (
        min(apart(rows[i], rows[j]) for i in taken for j in taken if i != j) if taken[1:] else 0.0
    )
    assert len(found) == len(taken)
    assert best + 1 in found
    if len(found) > 1:
        least = min(apart(rows[i - 1], rows[j - 1]) for i in found for j in found if i != j)
        assert least == pytest.approx(shortest)
    scores = [rows[number - 1]["qe_score"] for number in found]
    assert scores == sorted(scores, reverse=True)


def test_one_of_a_front_becomes_a_run(run: Run) -> None:
    assert run(*SMALL, "--out", "found").code == 0
    shown = run("take", "found")
    assert shown.code == 0
    assert "that differ of" in shown.out
    told = json.loads(run("take", "found", "--json").out)
    assert 1 < len(told["differing"]) <= 10
    number = told["differing"][-1]["pick"]
    made = run("take", "found", "--pick", str(number), "--json")
    assert json.loads(made.out) == {"run": f"found-{number}", **told["differing"][-1]}
    taken, origin = RunDirectory(Path(f"found-{number}")), RunDirectory(Path("found"))
    assert taken.read_best() == origin.read_member(number)
    assert taken.read_config() == origin.read_config()
    assert run("report", f"found-{number}").code == 0
    again = ("take", "found", "--pick", str(number))
    assert "holds a run already; give another --out, or --force" in run(*again).refusal()
    assert run(*again, "--force").code == 0
    assert (
        f"the front has {told['networks']:,} networks"
        in run("take", "found", "--pick", "100000").refusal()
    )
    assert "holds no front" in run("take", "nowhere").refusal()
