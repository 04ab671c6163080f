"""Every schedule against a scalar loop over its rows.

The cost, the limits of refinement, and a second schedule of the same block.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas_engine.block_kinds import KIND_NAMES
from nas_engine.costs.memory import MEMORY_MODELS, MemoryModel
from nas_engine.costs.schedule import (
    JOINED,
    SCHEDULES,
    Row,
    Rows,
    bit_costs,
    joined_costs,
    stem_rows,
    terms_of,
    ways_of,
)
from nas_engine.costs.sram import peak_sram, sram_per_layer
from nas_engine.costs.tensors import FIXED_WIDTHS, LAYER_WIDTHS, TENSORS, Amount, BitCosts
from nas_engine.encoding import GeneView
from nas_engine.evolution.problem import SearchProblem
from nas_engine.evolution.qbr_activations import (
    gain_coefficients,
    refine_activations,
    width_gain,
)
from nas_engine.layers import Floats, LayerTable, unroll
from nas_engine.names import IMAGE_INPUTS, ImageInput, Schedule
from nas_engine.names import SCHEDULES as SCHEDULE_NAMES
from nas_engine.scoring.qe_score import ScoreSettings, layer_coefficients
from nas_engine.scoring.quantised_gaussian import log_std_table
from tests.costs.test_rows import peak
from tests.populations import (
    EVERY_SPACE,
    MODELS,
    OTHER_KINDS,
    SPACES,
    networks,
    population,
    problem_for,
    resolutions,
)

ROOT = Path(__file__).resolve().parents[2]
BLOCK = "inverted-residual"
IN_ONE_GO = (
    Row(step=0, terms=("input", "expanded", "filtered")),
    Row(step=1, terms=("input", "ring", "filtered", "held")),
    Row(step=2, terms=("input", "ring", "output")),
    Row(step=2, terms=("input", "held", "output")),
)
"""A second schedule for tests: rows that need the widths of input and output at once."""
TWO_LAYERS = (
    Row(step=0, terms=("input", "expanded")),
    Row(step=1, terms=("expanded", "held")),
    Row(step=1, terms=("expanded", "output")),
)
"""Rows of another block kind for tests: two convolutions, a sum over the shortcut."""


def scalar_bytes(
    model: MemoryModel, table: LayerTable, a_bits: np.ndarray, column: int
) -> list[float]:
    """Return the bytes of every layer of one network: a loop over rows, one number at a time."""
    last = int(table.last_row[column])
    costs, bits = bit_costs(model, table), a_bits[:, column].tolist()
    kinds = [kind_of(table, r, column) for r in range(last)]
    blocks = [bits[1 + 3 * r : 4 + 3 * r] for r in range(last)]
    for kind, own in zip(kinds, blocks, strict=True):
        if kind != BLOCK:  # the second layer takes the input; the first may be missing
            own[0] = own[1]
    has_head = table.frame.has_head
    after = [*(own[0] for own in blocks[1:]), bits[-2 if has_head else -1]]
    head_out = bits[-1] if table.frame.class_count else 8
    parts = [("stem", -1, [], blocks[0][0])]
    parts += [(kinds[r], r, own, d) for r, (own, d) in enumerate(zip(blocks, after, strict=True))]
    parts += [("head" if has_head else "pool", -1, [bits[-2]], head_out)]
    parts += [("classifier", -1, [bits[-1]], 0)]
    live: list[float] = []
    for kind, r, own, following in parts[: None if table.frame.class_count else -1]:
        width_of = dict(zip(LAYER_WIDTHS, own, strict=False)) | {"next": following} | FIXED_WIDTHS
        schedules = tuple(ways_of(model, kind, table.frame.schedule).values())
        part = {t: of_network(costs[t], column, r, table.n) for t in terms_of(schedules)}
        ways = []
        for rows in schedules:
            steps = dict.fromkeys((row.step for row in rows), 0.0)
            for row in rows:
                size = row_granules(row, model, part, width_of) * model.granule
                steps[row.step] = max(steps[row.step], size)
            ways.append(steps)
        best = min(ways, key=lambda way: max(way.values()))
        if kind == "residual" and not table.weights[1 + 3 * r, column]:
            del best[0]
        live += [best[step] for step in sorted(best)]
    pool = live.pop(-2 if table.frame.class_count else -1)
    if table.frame.class_count:  # it is shown at the classifier
        live[-1] = max(live[-1], pool)
    return live


def of_network(amount: Amount, column: int, row: int, n: int) -> Amount:
    """Return the amount of one network, of its unit ``row`` if that is not negative."""

    def one(part: np.ndarray | None) -> np.ndarray | None:
        if part is None:
            return None
        return part[row, column] if row >= 0 else np.broadcast_to(part, n)[column]

    return Amount(*map(one, amount))  # type: ignore[arg-type]


def kind_of(table: LayerTable, row: int, column: int) -> str:
    return KIND_NAMES[table.kinds[0] if table.kind is None else table.kind[row, column]]


def one_population(
    space: str, classes: int, n: int = 24, *, two_ways: bool = False
) -> tuple[LayerTable, np.ndarray, np.ndarray]:
    frame, genes = population(EVERY_SPACE[space], n, seed=classes + 5, classes=classes)
    table = unroll(replace(frame, schedule="auto") if two_ways else frame, genes)
    return table, GeneView(frame, genes).a_bits, table.weights > 0


@pytest.mark.parametrize("ways", [1, 2])
@pytest.mark.parametrize("classes", [0, 10])
@pytest.mark.parametrize("space", EVERY_SPACE)
@pytest.mark.parametrize("model", MODELS)
def test_the_cost_is_the_largest_row(
    model: str, space: str, classes: int, ways: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if ways == 2:
        add_schedule(model, monkeypatch)
    table, a_bits, exists = one_population(space, classes, two_ways=ways == 2)
    per_layer = sram_per_layer(MEMORY_MODELS[model], table, a_bits)
    peak = peak_sram(MEMORY_MODELS[model], table, a_bits)
    for i in range(table.n):
        live = scalar_bytes(MEMORY_MODELS[model], table, a_bits, i)
        assert per_layer[exists[:, i], i].tolist() == live
        assert peak[i] == max(live)
    assert not per_layer[~exists].any()


def add_schedule(model: str, monkeypatch: pytest.MonkeyPatch, first: Rows | None = None) -> None:
    """Give inverted residuals alone a second schedule, in the memory model's table."""
    kinds = {kind: {"layers": ways["layers"]} for kind, ways in SCHEDULES[model].items()}
    for kind, ways in kinds.items():
        monkeypatch.setitem(SCHEDULES[model], kind, ways)
    both = {"layers": first or kinds[BLOCK]["layers"], "rows": IN_ONE_GO}
    monkeypatch.setitem(SCHEDULES[model], BLOCK, both)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("model", MODELS)
def test_two_schedules_cost_the_smaller_of_both_in_each_block(
    model: str, space: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, a_bits, _ = one_population(space, 10, n=200)
    both, _, _ = one_population(space, 10, n=200, two_ways=True)
    memory = MEMORY_MODELS[model]

    def blocks(table: LayerTable = table) -> np.ndarray:
        live = sram_per_layer(memory, table, a_bits)[1:-2]
        return np.asarray(live.reshape(-1, 3, table.n).max(axis=1))

    first = blocks()
    with monkeypatch.context() as patch:
        patch.setitem(SCHEDULES[model], BLOCK, {"layers": IN_ONE_GO})
        second = blocks()
    add_schedule(model, monkeypatch)
    assert (blocks(both) == np.minimum(first, second)).all()
    assert (second != first).any()


def row_granules(
    row: Row, model: MemoryModel, costs: BitCosts, width_of: Mapping[str, float]
) -> float:
    """Return the granules of one row, from the elements of its tensors and their widths."""
    total = 0.0
    for term in row.terms:
        (elements, pieces, added), width = costs[term], TENSORS[term].width
        wider = width_of["next"] - width_of[width] if added else 0.0
        if wider > 0 or (wider < 0 and TENSORS[term].equal):
            return math.inf
        share = 1.0 if width == "none" else width_of[width] / (8 * model.granule)
        exact = float(elements) * share
        whole = math.ceil(exact) if model.name == "arena" and exact < math.inf else exact
        total += whole * (1.0 if pieces is None else float(pieces))
    return total


def inner_widths(
    rows: Rows,
    fits: Callable[[Row, dict[str, int]], bool],
    ends: dict[str, int],
    options: Sequence[int],
    tied: bool,
) -> dict[str, int] | None:
    """Return the widest inner widths, first layer first, what comes later at its narrowest."""
    used = {TENSORS[term].width for row in rows for term in row.terms}
    inner = [width for width in ("b", "c") if width in used]
    found = {**ends, **dict.fromkeys(inner, options[0])}
    if tied:
        found |= dict.fromkeys(inner, ends["a"])
        return found if all(fits(row, found) for row in rows) else None
    for width in inner:
        mine = [row for row in rows if any(TENSORS[term].width == width for term in row.terms)]
        good = [o for o in options if all(fits(row, {**found, width: o}) for row in mine)]
        if not good:
            return None
        found[width] = good[-1]
    return found if all(fits(row, found) for row in rows) else None


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("schedules", ["first", "second", "both", "two layers"])
@pytest.mark.parametrize("model", MODELS)
def test_refinement_takes_the_best_widths_under_any_schedule(
    model: str, schedules: str, tied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Count what fits, b before c, for every pair of stream widths, one number at a time."""
    frame_schedule: Schedule = "auto" if schedules == "both" else "layers"
    if schedules == "both":
        add_schedule(model, monkeypatch)
    elif schedules != "first":
        rows = IN_ONE_GO if schedules == "second" else TWO_LAYERS
        monkeypatch.setitem(SCHEDULES[model], BLOCK, {"layers": rows})
    options = (2, 4, 5, 8)
    space = replace(SPACES["mobilenet-32"], activation_bits=options, tie_block_bits=tied)
    frame, genes = population(space, 16, seed=7)
    frame = replace(frame, schedule=frame_schedule)
    table = unroll(frame, genes)
    score = ScoreSettings(stage_weights=space.stage_weights)
    worth = gain_coefficients(layer_coefficients(table, score))
    gain = width_gain(log_std_table(score.sigma_a), np.arange(9))
    reached = 0
    for sram in (9_000.0, 14_000.0, 24_000.0):
        problem = problem_for(space, frame, sram, 1e6, model=model, score=score)
        reached += mixed_and_best(problem, table, worth, gain, two_layers=schedules == "two layers")
    assert reached > 5, "budgets that ask for no choice"


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("name", OTHER_KINDS)
@pytest.mark.parametrize("model", MODELS)
def test_refinement_takes_the_best_widths_of_every_kind(model: str, name: str, tied: bool) -> None:
    """Count the widths that fit, for every pair of input and output of a unit, one at a time."""
    options = (2, 4, 8)
    space = replace(OTHER_KINDS[name], activation_bits=options, tie_block_bits=tied)
    frame, genes = population(space, 10, seed=8)
    table = unroll(frame, genes)
    score = ScoreSettings(stage_weights=space.stage_weights)
    worth = gain_coefficients(layer_coefficients(table, score))
    gain = width_gain(log_std_table(score.sigma_a), np.arange(9))
    reached = 0
    widest = np.where(table.weights > 0, 8, 0).astype(np.int16)
    for sram in 0.7 * np.quantile(peak_sram(MEMORY_MODELS[model], table, widest), (0.2, 0.5, 0.8)):
        problem = problem_for(space, frame, float(sram), 1e6, model=model, score=score)
        reached += mixed_and_best(problem, table, worth, gain)
    assert reached > 5, "budgets that ask for no choice"


def mixed_and_best(
    problem: SearchProblem,
    table: LayerTable,
    worth: Floats,
    gain: Floats,
    *,
    two_layers: bool = False,
) -> int:
    """Refine all networks, hold each against the best of a reference; return those of mixed widths.

    ``worth`` is the worth of a layer's width, ``gain`` that of each width; with ``two_layers`` the
    third layer of units has none.
    """
    memory, sram, mixed = problem.model, problem.arena_bytes, 0
    options, tied = problem.space.activation_bits, problem.space.tie_block_bits
    bits = refine_activations(problem, table, bit_costs(memory, table), worth)
    for i in range(table.n):
        best = best_gain(table, memory, sram, worth[:, i], gain, options, tied, i)
        fits = peak_sram(memory, table, bits)[i] <= sram
        if best == -math.inf and table.frame.schedule == "rows" and not table.frame.has_head:
            continue  # the narrowest may fit by layers, where the last sum outgrows its shortcut
        assert fits == (best > -math.inf)
        if fits:
            counted = table.weights[:, i] > 0
            counted[[0, -1]] = False
            if two_layers:
                counted[3:-2:3] = False
            total = (worth[:, i] * gain[bits[:, i]])[counted].sum()
            assert total == pytest.approx(best, rel=1e-12)
            mixed += len(np.unique(bits[1:-1, i][bits[1:-1, i] > 0])) > 1
        assert ((bits[:, i] > 0) == (table.weights[:, i] > 0)).all()
    return mixed


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("name", ["mobilenet-32", *OTHER_KINDS])
@pytest.mark.parametrize(
    ("schedule", "image"), [("auto", "whole"), ("auto", "rows"), ("rows", "rows")]
)
def test_refinement_takes_the_best_widths_by_rows(
    schedule: Schedule, image: ImageInput, name: str, tied: bool
) -> None:
    options = (2, 4, 8)
    space = replace(EVERY_SPACE[name], activation_bits=options, tie_block_bits=tied)
    frame, genes = population(space, 8, seed=9)
    frame = replace(frame, schedule=schedule, image=image)
    table, memory = unroll(frame, genes), MEMORY_MODELS["arena"]
    score = ScoreSettings(stage_weights=space.stage_weights)
    worth = gain_coefficients(layer_coefficients(table, score))
    gain = width_gain(log_std_table(score.sigma_a), np.arange(9))
    widest = np.where(table.weights > 0, 8, 0).astype(np.int16)
    most = peak_sram(memory, table, widest)
    reached = 0
    for sram in 0.75 * np.quantile(most, (0.2, 0.5, 0.8)):
        problem = problem_for(space, frame, float(sram), 1e6, score=score)
        reached += mixed_and_best(problem, table, worth, gain)
    assert reached > 1, "budgets that ask for no choice"


def best_gain(
    table: LayerTable,
    model: MemoryModel,
    sram: float,
    worth: Floats,
    gain: Floats,
    options: Sequence[int],
    tied: bool,
    column: int,
) -> float:
    """Return the largest sum of gains of one network within a budget, minus infinity if none."""
    room, end, schedule = sram // model.granule, 8, table.frame.schedule
    every = bit_costs(model, table)
    whole = {
        name: of_network(cost, column, -1, table.n)
        for name, cost in every.items()
        if cost.elements.ndim < 2
    }

    def fits(rows: Rows, part: BitCosts, widths: Mapping[str, int]) -> bool:
        known = {**FIXED_WIDTHS, **widths}
        return all(row_granules(row, model, part, known) <= room for row in rows)

    stem = stem_rows(model, table)
    value = {o: 0.0 if fits(stem, whole, {"next": o}) else -math.inf for o in options}
    for r in range(int(table.last_row[column])):
        kind = kind_of(table, r, column)
        ways = [
            (rows, {t: of_network(every[t], column, r, table.n) for t in terms_of((rows,))}, value)
            for rows in ways_of(model, kind, schedule).values()
        ]
        if schedule == "rows" and not any(math.isinf(c.elements) for c in ways[1][1].values()):
            del ways[0]
        if r == 0 and schedule != "layers" and model.name == "arena" and kind in JOINED:
            rows = JOINED[kind][table.frame.image]
            costs = {
                name: of_network(cost, column, 0 if cost.elements.ndim > 1 else -1, table.n)
                for name, cost in joined_costs(table).items()
            }
            if "rows" in SCHEDULES[model.name]["stem"]:
                ways.append((rows, costs, dict.fromkeys(options, 0.0)))
        reach = dict.fromkeys(options, -math.inf)
        for a, d, (rows, part, before) in itertools.product(options, options, ways):
            found = inner_widths(
                rows,
                lambda row, widths, part=part: (
                    row_granules(row, model, part, {**FIXED_WIDTHS, **widths}) <= room
                ),
                {"a": a, "next": d},
                options,
                tied,
            )
            if found is not None:
                own = [found[width] for width in LAYER_WIDTHS if width in found]
                if kind != BLOCK:
                    own.insert(1, a)
                present = table.weights[1 + 3 * r : 1 + 3 * r + len(own), column] > 0
                gains = [worth[1 + 3 * r + at] * gain[width] for at, width in enumerate(own)]
                total = sum(one for one, there in zip(gains, present, strict=True) if there)
                reach[d] = max(reach[d], before[a] + float(total))
        value = reach
    has_head = table.frame.has_head
    behind = "head" if has_head else "pool"
    heads, dense = (ways_of(model, kind, schedule) for kind in (behind, "classifier"))
    last = [
        value[o] + worth[-2] * gain[o] * has_head
        for o in (options if has_head else [end])
        if any(fits(rows, whole, {"a": o, "next": end}) for rows in heads.values())
        and fits(dense["layers"], whole, {"a": end})
    ]
    return float(max(last, default=-math.inf))


@settings(max_examples=40)
@given(
    name=st.sampled_from(tuple(EVERY_SPACE)),
    seed=st.integers(0, 10**6),
    schedule=st.sampled_from(SCHEDULE_NAMES),
    image=st.sampled_from(IMAGE_INPUTS),
    odd=st.booleans(),
)
def test_the_price_of_a_population_is_that_of_its_cut_without_chains(
    name: str, seed: int, schedule: Schedule, image: ImageInput, odd: bool
) -> None:
    """To the byte, in every unit; chains only need less."""
    space = EVERY_SPACE[name]
    resolution = resolutions(space)[1 if odd else 0]
    frame, genes = population(space, 3, seed=seed, resolution=resolution)
    frame = replace(frame, schedule=schedule, image=image)
    peaks = peak_sram(MEMORY_MODELS["arena"], unroll(frame, genes), GeneView(frame, genes).a_bits)
    for network, price in zip(networks(frame, genes), peaks, strict=True):
        assert peak(network, schedule=schedule, image=image, chains=False) == price
        assert peak(network, schedule=schedule, image=image) <= price


def test_every_term_is_declared_and_every_tensor_is_used() -> None:
    every = [
        rows for kinds in SCHEDULES.values() for ways in kinds.values() for rows in ways.values()
    ]
    every += [rows for images in JOINED.values() for rows in images.values()]
    assert set(terms_of(tuple(every))) == set(TENSORS)
    assert SCHEDULES.keys() == MEMORY_MODELS.keys()


def test_a_schedule_stands_in_two_files() -> None:
    """Tensors and rows; no other file names them, but where a layer names its output."""
    inside = [
        term
        for kind in KIND_NAMES
        for model in SCHEDULES.values()
        for term in terms_of(tuple(model[kind].values()))
        if term not in ("input", "output")
    ]
    for path in (ROOT / "nas_engine").rglob("*.py"):
        if path.name not in ("schedule.py", "tensors.py"):
            text = re.sub(r'\btensor="\w+"', "", path.read_text(encoding="utf-8"))
            assert not [term for term in inside if f'"{term}"' in text], path
