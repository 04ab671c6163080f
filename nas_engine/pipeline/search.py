"""Search from config to run directory: begin or resume, step, save, write the result."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from device_profiles import DeviceProfile
from nas_engine.costs.own import cost_digest
from nas_engine.costs.plan import plan_memory
from nas_engine.errors import NasEngineError
from nas_engine.events import SILENT, Kind, Note, Progress, Sink, Started
from nas_engine.evolution.checkpoint import load_state, save_state
from nas_engine.evolution.config import (
    SearchConfig,
    build_problem,
    check_config,
    require_same,
)
from nas_engine.evolution.evaluation import exceeded
from nas_engine.evolution.problem import SearchProblem
from nas_engine.evolution.processes import mapper
from nas_engine.evolution.search import SearchSettings, SearchState, done, finish, init, step
from nas_engine.files import write_atomically
from nas_engine.interrupts import stop_on_interrupt
from nas_engine.report.network import NetworkReport
from nas_engine.report.search_record import SearchRecord, load_configs, report_member
from nas_engine.report.tables import budget_text
from nas_engine.runs.run_directory import RunDirectory
from nas_engine.scoring.objective import QE_SCORE, objective_digest

CHECKPOINT_SECONDS = 2.0
"""Seconds between checkpoints: the most that a kill loses."""


SHARE_WITHOUT = 8
"""Candidates of a search over those of the short one beside it without a limit on time (chosen
here)."""


def open_group(
    configs: Sequence[SearchConfig], path: Path, *, resume: bool = False, force: bool = False
) -> list[Path]:
    """Make the directory of a search at several resolutions and return the run directory of each.

    ``run_search`` resumes each.

    Args:
        configs: One per resolution, otherwise equal.
        path: The directory.
        resume: Continue the runs that are there, or start them.
        force: Replace what is there.

    Raises:
        InputError: Bad values, a budget nothing fits, a directory that cannot be used.
        StorageError: The disk is full.
    """
    directory = RunDirectory(path)
    if resume and directory.started():
        require_same(load_configs(path), configs)
    for config in configs:
        check_config(config)
    directory.open(resume=resume, force=force)
    common = {**configs[0].as_mapping(), "resolutions": [config.resolution for config in configs]}
    del common["resolution"]
    with directory.locked():
        if resume and directory.started():
            directory.write_config(common)
        else:
            directory.begin(common)
    return [directory.member(config.resolution).path for config in configs]


def run_search(
    config: SearchConfig,
    path: Path,
    *,
    resume: bool = False,
    force: bool = False,
    workers: int = 1,
    time_limit: float | None = None,
    watch: Sink = SILENT,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> SearchRecord:
    """Run (or continue) a search into a run directory and return its record.

    Args:
        config: What to search for.
        path: The run directory.
        resume: Continue the run that is there, or start one.
        force: Replace the run that is there.
        workers: Processes; the result is the same for any number.
        time_limit: Seconds after which the search stops with the best so far.
        watch: Sink of progress after each generation; it may also stop the search there, as
            Ctrl-C does.
        checkpoint_seconds: Time between checkpoints.

    Raises:
        InputError: Bad values, a budget nothing fits, a directory that cannot be used.
        StorageError: The disk is full; the last checkpoint stays.
        NasEngineError: A worker process died; the last checkpoint stays.
    """
    directory = RunDirectory(path)
    if resume and directory.started():
        require_same(load_configs(path), [config])
    check_config(config)
    problem, device = build_problem(config)
    settings = SearchSettings(seed=config.seed, candidates=config.candidates)
    fingerprint = _fingerprint(problem, settings)
    directory.open(resume=resume, force=force)
    with directory.locked():
        state, elapsed = None, 0.0
        if resume and directory.started() and directory.checkpoint.exists():
            state = load_state(directory.checkpoint, fingerprint)
        if state is None:
            directory.begin(config.as_mapping())
        else:
            history = directory.history.keep(state.generation)
            elapsed = history[-1]["elapsed_s"] if history else 0.0
            directory.write_config(config.as_mapping())

        began = now = saved = time.monotonic()
        deadline = began + (time_limit if time_limit is not None else float("inf"))
        pending: list[dict[str, Any]] = []
        watch(Started(text=f"{config.resolution} px: the first networks ..."))
        processes = 1 if problem.network is not None else min(workers, settings.chunks)
        alone = mapper(processes, lambda text: watch(Note(text=text)))
        with stop_on_interrupt() as stopped, alone as run:
            interrupted = False
            while state is None or not (done(state, settings) or interrupted or now >= deadline):
                state = (
                    step(state, problem, settings, run) if state else init(problem, settings, run)
                )
                now = time.monotonic()
                pending.append(_history_row(state, elapsed + now - began))
                watch(_progress(state, config, device))
                interrupted = stopped.is_set() or watch.stop()
                if now - saved >= checkpoint_seconds:
                    _save(directory, state, fingerprint, pending)
                    saved, pending = now, []
        if pending:
            _save(directory, state, fingerprint, pending)
        result = finish(state, problem)
        if result is None:
            raise NasEngineError(_nothing_fits(state, problem))
        best = report_member(result.best, problem, own_cost=problem.own_cost)
        directory.write_best(result.best, plan_memory(result.best).as_json())
        directory.front.write(report_member(member, problem).front_row() for member in result.front)
    return SearchRecord(
        config=config,
        directory=directory,
        device=device,
        best=best,
        evaluated=state.evaluated,
        interrupted=interrupted or stopped.is_set(),
    )


def best_without_latency(config: SearchConfig, *, workers: int = 1) -> NetworkReport | None:
    """Return the best network of a short search that is not limited in time, counted alike.

    It evaluates ``SHARE_WITHOUT`` of the candidates, by the same seed, and writes nothing.

    Args:
        config: A search with a limit on latency.
        workers: Processes; the result is the same for any number.

    Returns:
        ``None`` where none that fits was found.
    """
    limits = {name: limit for name, limit in config.limits.items() if name != "latency"}
    problem, _ = build_problem(replace(config, limits=limits))
    candidates = max(1, config.candidates // SHARE_WITHOUT)
    settings = SearchSettings(seed=config.seed, candidates=candidates)
    with mapper(min(workers, settings.chunks), lambda text: None) as run:
        state = init(problem, settings, run)
        while not done(state, settings):
            state = step(state, problem, settings, run)
    result = finish(state, problem)
    return None if result is None else report_member(result.best, problem)


def _progress(state: SearchState, config: SearchConfig, device: DeviceProfile) -> Progress:
    detail = "nothing fits yet"
    if state.best_score is not None:
        sram, flash = (float(costs[0]) for costs in (state.population.sram, state.population.flash))
        detail = (
            f"score {state.best_score:.2f}, SRAM {budget_text(sram, device.arena_bytes)}, "
            f"Flash {budget_text(flash, device.storage_bytes)}"
        )
    return Progress(
        kind=Kind.SEARCH,
        what=f"{config.resolution} px",
        done=state.evaluated,
        total=config.candidates,
        detail=detail,
    )


def _nothing_fits(state: SearchState, problem: SearchProblem) -> str:
    """Return the message of a search without a result: the closest network, and what to type."""
    over = exceeded(problem, state.population)
    misses = [
        f"{_enough(cost)} where {option} leaves {limit:,.12g}"
        for option, (cost, limit) in over.items()
    ]
    return (
        f"no network that fits was found in {state.evaluated:,} candidates; the closest needs "
        f"{' and '.join(misses)}: "
        "loosen that, or add --resume and more --candidates"
    )


def _enough(cost: float) -> str:
    """Return the smallest round limit above a cost: whole, or in thousandths if it is small."""
    return f"{math.ceil(cost):,}" if cost >= 100 else f"{math.ceil(1000 * cost) / 1000:g}"


def _history_row(state: SearchState, elapsed: float) -> dict[str, Any]:
    return {
        "generation": state.generation,
        "evaluated": state.evaluated,
        "best_score": state.best_score,
        "feasible": state.feasible,
        "elapsed_s": round(elapsed, 3),
    }


def _save(
    directory: RunDirectory,
    state: SearchState,
    fingerprint: str,
    pending: Iterable[Mapping[str, Any]],
) -> None:
    """Append the history, then replace the checkpoint: a resumed search cuts off later lines."""
    directory.history.append(pending)
    save_state(directory.checkpoint, state, fingerprint)


def _fingerprint(problem: SearchProblem, settings: SearchSettings) -> str:
    """Return the digest of all that determines a search, apart from the number of candidates."""
    names = (
        "space",
        "frame",
        "arena_bytes",
        "flash_bytes",
        "limits",
        "memory_model",
        "score",
        "qbr",
    )
    given: list[object] = [] if problem.network is None else [problem.network]
    if "latency" in problem.limits:
        given.append(problem.milliseconds_per_cycle)
    if problem.cycle_model is not None and {"cycles", "latency"} & problem.limits.keys():
        given.append(problem.cycle_model)
    if problem.objective != QE_SCORE:
        given += [problem.objective, objective_digest(problem.objective)]
    if problem.path_noise_axis is not None:
        given.append(problem.path_noise_axis)
    if problem.least_noise:
        given.append(problem.least_noise)
    if problem.own_cost is not None:
        given += [problem.own_cost, cost_digest(problem.own_cost)]
    course = repr(
        [*(getattr(problem, name) for name in names), replace(settings, candidates=0), *given]
    )
    tables = [
        problem.allowed.tobytes(),
        *(problem.cycles_per_mac[kind].tobytes() for kind in sorted(problem.cycles_per_mac)),
    ]
    return hashlib.sha256(b"".join([course.encode(), *tables])).hexdigest()


def write_winners(path: Path, records: Iterable[SearchRecord]) -> None:
    """Write ``resolutions.csv``: the winners of several resolutions side by side."""
    lines = [
        "resolution,qe_score,peak_sram_bytes,flash_bytes,macs,bitops,latency_ms_least,latency_ms_most"
    ]
    for record in records:
        best = record.best
        costs = (best.peak_sram_bytes, best.total_flash_bytes, best.total_macs, best.bitops)
        figures = ",".join(f"{cost:.0f}" for cost in costs)
        times = ",".join(f"{time:.4g}" for time in best.latency) if best.latency else ","
        lines.append(f"{record.config.resolution},{best.qe_score!r},{figures},{times}")
    write_atomically(path / "resolutions.csv", "\n".join(lines) + "\n")
