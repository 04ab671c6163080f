"""How well the QE-Score ranks networks by their accuracy, beside trivial figures and changes that might help it.

python -m benchmarks.proxy --data cifar-10-batches-py --folder runs/benchmark-proxy --part free|budget|calibration|baselines

Networks are chosen without a look at the score (``proxy_networks``) and trained alike (``proxy_training``): by default 6 epochs of
20,000 CIFAR-10 images, four in float and two quantised. The command trains what is missing of its part, the first COUNT
networks, then prints and records all that is in the folder under the same epochs and images. It goes on where it was stopped.

--part none         trains nothing: records what is there; benchmarks/proxy_records is the folder behind the published table
--shard i/n         the i-th of n shares, for machines without a common folder; on one machine the same command can simply run twice
--record 0          trains and leaves it at that
--double K          the first K networks again with twice the epochs: does the ranking stay?
--again K           the first K networks again with another seed: how much of the ranking is chance?
--device cuda       on a GPU

Slow: about three minutes of one core per network. Intervals are 95 % bootstraps over the networks.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import Row, main
from benchmarks.proxy_candidates import PUBLISHED, candidates, sigma_grid, stage_scores, trivial
from benchmarks.proxy_networks import PARTS, networks
from benchmarks.proxy_sampling import MODEL, Setting, costs
from benchmarks.proxy_training import HELD_OUT, Plan, read_records, recipe, study_data, train_missing
from benchmarks.statistics import Floats, best_of_top, kendall_estimate, leave_one_out, reranked, spearman, spearman_estimate
from nas_engine.architecture import parse_architecture
from nas_engine.costs.effectiveness import effectiveness
from nas_engine.encoding import GeneView, encode
from nas_engine.errors import InputError
from nas_engine.layers import unroll
from nas_engine.pipeline.shortlist import best_of
from nas_engine.scoring.qe_score import ScoreSettings, qe_score
from nas_engine.training.compute import prepare_compute

NONE = "none"
FEWEST = 4
"""Networks below which no correlation is given."""
TOP = 5
"""Size of the shortlist whose best network is told."""
SHORTLIST = 3
"""Networks of a shortlist by default, as in ``nas-search run``."""
GRID_SHOWN = 3
"""Best pairs of the calibration grid that are told."""


def share(text: str) -> tuple[int, int]:
    """Return ``i`` (from 1) and ``n`` of a share such as ``2/3``.

    Raises:
        InputError: Anything else.
    """
    first, _, last = text.partition("/")
    if not (first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last)):
        raise InputError(f"--shard is {text!r}; expected I/N such as 1/2: the first of two shares")
    return int(first), int(last)


def run(
    data: str = "cifar-10-batches-py",
    folder: str = "runs/benchmark-proxy",
    part: str = NONE,
    count: int = 40,
    epochs: int = 6,
    images: int = 20_000,
    shard: str = "1/1",
    double: int = 0,
    again: int = 0,
    device: str = "cpu",
    threads: int = 1,
    record: int = 1,
    setting: Setting | None = None,
) -> list[Row]:
    chosen_setting = setting or Setting()
    number, shares = share(shard)
    plan = Plan(folder=Path(folder), epochs=epochs, images=images, device=prepare_compute(device, threads))
    if part != NONE:
        dataset = functools.cache(lambda: study_data(data, chosen_setting.resolution, images))
        chosen = networks(part, count, chosen_setting)
        for variant, limit in ((plan, count), (_doubled(plan), double), (_reseeded(plan), again)):
            train_missing(chosen[:limit][number - 1 :: shares], variant, dataset, say=functools.partial(print, flush=True))
    if not record:
        raise SystemExit(0)
    found = [row for name in PARTS for row in rows_of(plan, name, chosen_setting)]
    if not found:
        raise InputError(f"{folder} holds no results of {images} images and {epochs} epochs; expected some; give a --part to train")
    return found


def _doubled(plan: Plan) -> Plan:
    return replace(plan, epochs=2 * plan.epochs)


def _reseeded(plan: Plan) -> Plan:
    return replace(plan, seed=plan.seed + 1)


def rows_of(plan: Plan, part: str, setting: Setting) -> list[Row]:
    """Return the rows of all networks of a part that have been trained; none if there are none."""
    records = read_records(plan, part)
    if not records:
        return []
    accuracy = np.array([record["accuracy"] for record in records])
    found = [_recipe_row(part, plan, records)]
    if part == "baselines":
        again = ((_doubled(plan), "baselines with twice the epochs"), (_reseeded(plan), "baselines with another seed"))
        repeated = [row for variant, name in again for row in _baseline_rows(name, read_records(variant, part), setting)]
        return found + _baseline_rows(part, records, setting) + repeated
    if len(records) < FEWEST:
        return found
    values = predictions(records, setting)
    early = -np.array([record["history"][0]["loss"] for record in records])
    for name, each in sorted(values.items(), key=lambda item: -_order(item[1], accuracy)):
        measured = f"Kendall {kendall_estimate(each, accuracy)}, Spearman {spearman_estimate(each, accuracy)}"
        best, picked = (*(best_of_top(each, accuracy, k) for k in (1, TOP)),), reranked(each, early, accuracy, TOP)
        shortlist = f"its first: {best[0]:.2f} %, of its first {TOP} the best: {best[1]:.2f} %, by the loss of one epoch: {picked:.2f} %"
        found.append(_row(f"{part}, {len(records)} networks: {name}", f"{measured}; {shortlist}"))
    if len(records) >= SHORTLIST:
        found.append(_shortlist_row(part, records, values[PUBLISHED]))
    if part == "calibration":
        found += _grid_rows(records, setting)
    for variant, what in ((_doubled(plan), "twice the epochs"), (_reseeded(plan), "another seed")):
        found += _repeated_rows(part, records, read_records(variant, part), what)
    return found


def _row(what: str, measured: str) -> Row:
    return Row(what=what, measured=measured, at_least="for comparison", reached=True)


def _order(values: Floats, accuracy: Floats) -> float:
    found = spearman(values, accuracy)
    return found if np.isfinite(found) else -2.0


def _shortlist_row(part: str, records: list[dict[str, Any]], score: Floats) -> Row:
    """Return what each way to choose makes of every set of ``SHORTLIST`` networks: the chosen one's accuracy on test images, on average."""
    accuracy = np.array([record["accuracy"] for record in records])
    held, loss = (np.array([record["history"][-1][name] for record in records]) for name in ("accuracy", "loss"))
    sets = [list(chosen) for chosen in combinations(range(len(records)), SHORTLIST)]
    ways: dict[str, Callable[[list[int]], int]] = {
        "the QE-Score": lambda chosen: int(score[chosen].argmax()),
        f"accuracy on {HELD_OUT:,} held-out images": lambda chosen: int(held[chosen].argmax()),
        "training loss where that is within noise": lambda chosen: best_of(list(held[chosen]), list(loss[chosen]), HELD_OUT),
    }
    best = np.array([accuracy[chosen].max() for chosen in sets])
    found = {name: np.array([accuracy[chosen[way(chosen)]] for chosen in sets]) for name, way in ways.items()}
    told = [f"by {name} {got.mean():.2f} % (the best of them in {100 * (got == best).mean():.0f} %)" for name, got in found.items()]
    return _row(
        f"{part}: the {len(sets):,} sets of {SHORTLIST} networks, one chosen from each, its accuracy on test images",
        f"{'; '.join(told)}; the best of each {best.mean():.2f} %, any {accuracy.mean():.2f} %",
    )


def _arrays(records: list[dict[str, Any]], setting: Setting) -> tuple[Any, Any, Any]:
    architectures = [parse_architecture(record["architecture"]) for record in records]
    genes = encode(setting.frame, architectures)
    view = GeneView(setting.frame, genes)
    return unroll(setting.frame, genes), view.w_bits, view.a_bits


def predictions(records: list[dict[str, Any]], setting: Setting) -> dict[str, Floats]:
    """Return all that may predict accuracy, ``(n,)`` each: scores and figures, fitted stage weights, and short trainings."""
    table, w_bits, a_bits = _arrays(records, setting)
    accuracy = np.array([record["accuracy"] for record in records])
    values = trivial(table, w_bits, a_bits, MODEL) | candidates(table, w_bits, a_bits, setting.shape.stage_weights)
    entropies = stage_scores(table, w_bits, a_bits).T
    more = np.column_stack([entropies, np.log(values["BitOps"]), np.log(values["MACs"]), effectiveness(table)])
    values["QE-Score, stage weights fitted to the other networks"] = leave_one_out(entropies, accuracy)
    values["QE-Score's stages, BitOps, MACs and rho fitted to the other networks"] = leave_one_out(more, accuracy)
    return values | _short_trainings(records)


def _short_trainings(records: list[dict[str, Any]]) -> dict[str, Floats]:
    """Return what the first epochs say: accuracy on held-out training images after one, and the mean loss of its steps (less is better)."""
    total = len(records[0]["history"])
    found = {}
    for epochs in dict.fromkeys(epochs for epochs in (1, 2, total // 2) if 0 < epochs < total):
        rows = [record["history"][epochs - 1] for record in records]
        found[f"accuracy on held-out images after {epochs} of {total} epochs"] = np.array([row["accuracy"] for row in rows])
        found[f"small training loss in epoch {epochs} of {total}"] = -np.array([row["loss"] for row in rows])
    return found


def _recipe_row(part: str, plan: Plan, records: list[dict[str, Any]]) -> Row:
    accuracy = np.array([record["accuracy"] for record in records])
    made = recipe(plan.epochs)
    seconds = np.mean([record["processor_seconds"] for record in records])
    return _row(
        f"{part}: {len(records)} networks, each {made.float_epochs} float and {made.quantised_epochs} quantised epochs of "
        f"{plan.images:,} images of {records[0]['data']}: accuracy on {records[0]['test_images']:,} test images",
        f"{accuracy.min():.2f} to {accuracy.max():.2f} %, mean {accuracy.mean():.2f} %; {seconds:.0f} s of processor time per network",
    )


def _grid_rows(records: list[dict[str, Any]], setting: Setting) -> list[Row]:
    """Return the calibration of both sigmas: the published pair beside the best ones."""
    table, w_bits, a_bits = _arrays(records, setting)
    accuracy = np.array([record["accuracy"] for record in records])
    grid = sigma_grid(table, w_bits, a_bits, setting.shape.stage_weights)
    best = sorted(grid, key=lambda pair: -_order(grid[pair], accuracy))[:GRID_SHOWN]
    shown = [("published", (5.0, 4.0)), *((f"number {i} of {len(grid)} by these networks", pair) for i, pair in enumerate(best, 1))]
    return [
        _row(
            f"calibration, {len(records)} networks, sigma_A {a:g}, sigma_W {w:g} ({name})",
            f"Kendall {kendall_estimate(grid[a, w], accuracy)}, Spearman {spearman_estimate(grid[a, w], accuracy)}",
        )
        for name, (a, w) in shown
    ]


def _repeated_rows(part: str, once: list[dict[str, Any]], twice: list[dict[str, Any]], what: str) -> list[Row]:
    """Return how the ranking of the networks that were trained twice stays."""
    first = {record["network"]: record["accuracy"] for record in once}
    pairs = np.array([(first[record["network"]], record["accuracy"]) for record in twice if record["network"] in first])
    if len(pairs) < FEWEST:
        return []
    before, now = pairs.T
    measured = f"Kendall {kendall_estimate(before, now)}, Spearman {spearman_estimate(before, now)}; {np.mean(now - before):+.2f} points"
    return [_row(f"{part}: {len(pairs)} networks trained again with {what}, ranking against the first", measured)]


def _baseline_rows(name: str, records: list[dict[str, Any]], setting: Setting) -> list[Row]:
    """Return each network with its figures, the most accurate first; none if there are none."""
    if not records:
        return []
    architectures = [parse_architecture(record["architecture"]) for record in records]
    sram, size, macs = costs(setting, architectures)
    table, w_bits, a_bits = _arrays(records, setting)
    score = qe_score(table, w_bits, a_bits, ScoreSettings(stage_weights=setting.shape.stage_weights))
    accuracy = np.array([record["accuracy"] for record in records])
    order = np.argsort(-accuracy, kind="stable")
    return [
        _row(
            f"{name}, at most {setting.flash_bytes:,} B Flash, {setting.sram_bytes:,} B SRAM, {setting.macs[1]:,.0f} MACs: "
            f"{records[i]['title']}",
            f"{accuracy[i]:.2f} %, {size[i]:,.0f} B Flash, {sram[i]:,.0f} B SRAM, {macs[i] / 1e6:.2f} M MACs, QE-Score {score[i]:.1f}",
        )
        for i in order
    ]


if __name__ == "__main__":
    main(
        "proxy",
        run,
        data="cifar-10-batches-py",
        folder="runs/benchmark-proxy",
        part=NONE,
        count=40,
        epochs=6,
        images=20_000,
        shard="1/1",
        double=0,
        again=0,
        device="cpu",
        threads=1,
        record=1,
    )
