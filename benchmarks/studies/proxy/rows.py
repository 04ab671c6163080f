"""Rows of the proxy study: rank correlation of each figure with the accuracy of trained networks.

Intervals are 95 % bootstraps over the networks.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np

from benchmarks.harness import Row
from benchmarks.statistics import (
    Floats,
    best_of_top,
    kendall_estimate,
    leave_one_out,
    reranked,
    spearman,
    spearman_estimate,
)
from benchmarks.studies.proxy.candidates import (
    PUBLISHED,
    RHO_LIMITS,
    candidates,
    sigma_grid,
    stage_scores,
    trivial,
)
from benchmarks.studies.proxy.sampling import MODEL, Setting, costs
from benchmarks.studies.proxy.training import HELD_OUT, Plan, read_records
from nas_engine.architecture import parse_architecture
from nas_engine.costs.effectiveness import effectiveness
from nas_engine.encoding import GeneView, encode
from nas_engine.layers import unroll
from nas_engine.pipeline.shortlist import best_of
from nas_engine.scoring.qe_score import ScoreSettings, qe_score

FEWEST = 4
"""Networks below which no correlation is given."""
TOP = 5
"""Size of the shortlist whose best network is told."""
SHORTLIST = 3
"""Networks of a shortlist by default, as in ``nas-search run``."""
GRID_SHOWN = 3
"""Best pairs of the calibration grid that are told."""


def rows_of(plan: Plan, part: str, setting: Setting) -> list[Row]:
    """Return the rows of all networks of a part that have been trained; none if there are none."""
    records = read_records(plan, part)
    if not records:
        return []
    accuracy = np.array([record["accuracy"] for record in records])
    found = [_recipe_row(part, plan, records)]
    if part == "baselines":
        again = (
            (plan.doubled(), "baselines with twice the epochs"),
            (plan.reseeded(), "baselines with another seed"),
        )
        repeated = [
            row
            for variant, name in again
            for row in _baseline_rows(name, read_records(variant, part), setting)
        ]
        return found + _baseline_rows(part, records, setting) + repeated
    if len(records) < FEWEST:
        return found
    values = predictions(records, setting)
    early = -np.array([record["history"][0]["loss"] for record in records])
    for name, each in sorted(values.items(), key=lambda item: -_order(item[1], accuracy)):
        measured = (
            f"Kendall {kendall_estimate(each, accuracy)}, Spearman "
            f"{spearman_estimate(each, accuracy)}"
        )
        best, picked = (
            (*(best_of_top(each, accuracy, k) for k in (1, TOP)),),
            reranked(each, early, accuracy, TOP),
        )
        shortlist = (
            f"its first: {best[0]:.2f} %, of its first {TOP} the best: {best[1]:.2f} %, by the "
            f"loss of one epoch: {picked:.2f} %"
        )
        found.append(_row(f"{part}, {len(records)} networks: {name}", f"{measured}; {shortlist}"))
    found += _inside_rows(part, records, values[PUBLISHED], setting)
    if len(records) >= SHORTLIST:
        found.append(_shortlist_row(part, records, values[PUBLISHED]))
    if part == "calibration":
        found += _grid_rows(records, setting)
    for variant, what in ((plan.doubled(), "twice the epochs"), (plan.reseeded(), "another seed")):
        found += _repeated_rows(part, records, read_records(variant, part), what)
    return found


def _row(what: str, measured: str) -> Row:
    return Row(what=what, measured=measured, at_least="for comparison", reached=True)


def _order(values: Floats, accuracy: Floats) -> float:
    found = spearman(values, accuracy)
    return found if np.isfinite(found) else -2.0


def _inside_rows(
    part: str, records: list[dict[str, Any]], score: Floats, setting: Setting
) -> list[Row]:
    """Return how the score ranks the networks that keep a limit on effectiveness, where there are
    enough of them.
    """
    accuracy, rho = (
        np.array([record["accuracy"] for record in records]),
        effectiveness(_arrays(records, setting)[0]),
    )
    kept = {limit: rho <= limit for limit in RHO_LIMITS}
    return [
        _row(
            f"{part}, the {inside.sum()} networks with rho at most {limit:g} among themselves "
            f"(mean {accuracy[inside].mean():.2f} %): "
            f"{PUBLISHED}",
            f"Kendall {kendall_estimate(score[inside], accuracy[inside])}, Spearman "
            f"{spearman_estimate(score[inside], accuracy[inside])}",
        )
        for limit, inside in kept.items()
        if inside.sum() >= FEWEST
    ]


def _shortlist_row(part: str, records: list[dict[str, Any]], score: Floats) -> Row:
    """Return what each way to choose makes of every set of ``SHORTLIST`` networks: the chosen one's
    accuracy on test images, on average.
    """
    accuracy = np.array([record["accuracy"] for record in records])
    held, loss = (
        np.array([record["history"][-1][name] for record in records])
        for name in ("accuracy", "loss")
    )
    sets = [list(chosen) for chosen in combinations(range(len(records)), SHORTLIST)]
    ways: dict[str, Callable[[list[int]], int]] = {
        "the QE-Score": lambda chosen: int(score[chosen].argmax()),
        f"accuracy on {HELD_OUT:,} held-out images": lambda chosen: int(held[chosen].argmax()),
        "training loss where that is within noise": lambda chosen: best_of(
            list(held[chosen]), list(loss[chosen]), HELD_OUT
        ),
    }
    best = np.array([accuracy[chosen].max() for chosen in sets])
    found = {
        name: np.array([accuracy[chosen[way(chosen)]] for chosen in sets])
        for name, way in ways.items()
    }
    told = [
        f"by {name} {got.mean():.2f} % (the best of them in {100 * (got == best).mean():.0f} %)"
        for name, got in found.items()
    ]
    return _row(
        f"{part}: the {len(sets):,} sets of {SHORTLIST} networks, one chosen from each, its "
        "accuracy on test images",
        f"{'; '.join(told)}; the best of each {best.mean():.2f} %, any {accuracy.mean():.2f} %",
    )


def _arrays(records: list[dict[str, Any]], setting: Setting) -> tuple[Any, Any, Any]:
    architectures = [parse_architecture(record["architecture"]) for record in records]
    genes = encode(setting.frame, architectures)
    view = GeneView(setting.frame, genes)
    return unroll(setting.frame, genes), view.w_bits, view.a_bits


def predictions(records: list[dict[str, Any]], setting: Setting) -> dict[str, Floats]:
    """Return everything that may predict accuracy, ``(n,)`` each: scores and figures, fitted stage
    weights, and short trainings.
    """
    table, w_bits, a_bits = _arrays(records, setting)
    accuracy = np.array([record["accuracy"] for record in records])
    values = trivial(table, w_bits, a_bits, MODEL) | candidates(
        table, w_bits, a_bits, setting.shape.stage_weights
    )
    entropies = stage_scores(table, w_bits, a_bits).T
    more = np.column_stack(
        [entropies, np.log(values["BitOps"]), np.log(values["MACs"]), effectiveness(table)]
    )
    values["QE-Score, stage weights fitted to the other networks"] = leave_one_out(
        entropies, accuracy
    )
    values["QE-Score's stages, BitOps, MACs and rho fitted to the other networks"] = leave_one_out(
        more, accuracy
    )
    return values | _short_trainings(records)


def _short_trainings(records: list[dict[str, Any]]) -> dict[str, Floats]:
    """Return what the first epochs say: accuracy on held-out training images after one, and the
    mean loss of its steps (less is better).
    """
    total = len(records[0]["history"])
    found = {}
    for epochs in dict.fromkeys(epochs for epochs in (1, 2, total // 2) if 0 < epochs < total):
        rows = [record["history"][epochs - 1] for record in records]
        found[f"accuracy on held-out images after {epochs} of {total} epochs"] = np.array(
            [row["accuracy"] for row in rows]
        )
        found[f"small training loss in epoch {epochs} of {total}"] = -np.array(
            [row["loss"] for row in rows]
        )
    return found


def _recipe_row(part: str, plan: Plan, records: list[dict[str, Any]]) -> Row:
    accuracy = np.array([record["accuracy"] for record in records])
    made = plan.recipe_of(plan.epochs)
    seconds = np.mean([record["processor_seconds"] for record in records])
    return _row(
        f"{part}: {len(records)} networks, each {made.float_epochs} float and "
        f"{made.quantised_epochs} quantised epochs of "
        f"{plan.images:,} images of {records[0]['data']}: accuracy on "
        f"{records[0]['test_images']:,} test images",
        f"{accuracy.min():.2f} to {accuracy.max():.2f} %, mean {accuracy.mean():.2f} %; "
        f"{seconds:.0f} s of processor time per network",
    )


def _grid_rows(records: list[dict[str, Any]], setting: Setting) -> list[Row]:
    """Return the calibration of both sigmas: the published pair against the best ones."""
    table, w_bits, a_bits = _arrays(records, setting)
    accuracy = np.array([record["accuracy"] for record in records])
    grid = sigma_grid(table, w_bits, a_bits, setting.shape.stage_weights)
    best = sorted(grid, key=lambda pair: -_order(grid[pair], accuracy))[:GRID_SHOWN]
    shown = [
        ("published", (5.0, 4.0)),
        *((f"number {i} of {len(grid)} by these networks", pair) for i, pair in enumerate(best, 1)),
    ]
    return [
        _row(
            f"calibration, {len(records)} networks, sigma_A {a:g}, sigma_W {w:g} ({name})",
            f"Kendall {kendall_estimate(grid[a, w], accuracy)}, Spearman "
            f"{spearman_estimate(grid[a, w], accuracy)}",
        )
        for name, (a, w) in shown
    ]


def _repeated_rows(
    part: str, once: list[dict[str, Any]], twice: list[dict[str, Any]], what: str
) -> list[Row]:
    """Return how the ranking of the networks that were trained twice stays."""
    first = {record["network"]: record["accuracy"] for record in once}
    pairs = np.array(
        [
            (first[record["network"]], record["accuracy"])
            for record in twice
            if record["network"] in first
        ]
    )
    if len(pairs) < FEWEST:
        return []
    before, now = pairs.T
    measured = (
        f"Kendall {kendall_estimate(before, now)}, Spearman {spearman_estimate(before, now)}; "
        f"{np.mean(now - before):+.2f} points"
    )
    return [
        _row(
            f"{part}: {len(pairs)} networks trained again with {what}, ranking against the first",
            measured,
        )
    ]


def _baseline_rows(name: str, records: list[dict[str, Any]], setting: Setting) -> list[Row]:
    """Return each network with its figures, the most accurate first; none if there are none."""
    if not records:
        return []
    architectures = [parse_architecture(record["architecture"]) for record in records]
    sram, size, macs = costs(setting, architectures)
    table, w_bits, a_bits = _arrays(records, setting)
    score = qe_score(
        table, w_bits, a_bits, ScoreSettings(stage_weights=setting.shape.stage_weights)
    )
    accuracy = np.array([record["accuracy"] for record in records])
    order = np.argsort(-accuracy, kind="stable")
    return [
        _row(
            f"{name}, at most {setting.flash_bytes:,} B Flash, {setting.sram_bytes:,} B SRAM, "
            f"{setting.macs[1]:,.0f} MACs: "
            f"{records[i]['title']}",
            f"{accuracy[i]:.2f} %, {size[i]:,.0f} B Flash, {sram[i]:,.0f} B SRAM, "
            f"{macs[i] / 1e6:.2f} M MACs, QE-Score {score[i]:.1f}",
        )
        for i in order
    ]
