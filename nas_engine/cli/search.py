"""The search itself, as a command: options in, run directory, table and pictures out."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nas_engine.cli.console import announce, emit, show, show_stopped, show_table
from nas_engine.cli.options import RUNS
from nas_engine.cli.progress import Screen
from nas_engine.errors import InputError, RunDirectoryError
from nas_engine.escaping import command_line
from nas_engine.evolution.limits import LIMITS
from nas_engine.parts import COST, SCORE, check_named, named_again
from nas_engine.pipeline import (
    SearchConfig,
    SearchRecord,
    best_without_latency,
    draw_plots,
    load_configs,
    open_group,
    plots_are_current,
    resolve_config,
    run_search,
    write_winners,
)
from nas_engine.report.latency import core_remark, published_remark
from nas_engine.report.tables import (
    BINDS,
    binding_remark,
    depth_remark,
    limit_shares,
    network_table,
    winners_table,
)
from nas_engine.units import format_latency, format_milliseconds

MAX_DEFAULT_WORKERS = 4
"""More processes than batches per generation would only wait."""


def search(
    *,
    out: str | None,
    resume: bool,
    force: bool,
    workers: int | None,
    time_limit: float | None,
    plots: bool,
    verbose: bool,
    resolution: tuple[int, ...] | None,
    **options: Any,
) -> bool:
    """Search once per resolution and return whether Ctrl-C ended it; takes the options."""
    if resume and force:
        raise InputError("--resume continues a run, --force replaces it; give one of the two")
    configs, path = _resolve(options, resolution, out, resume)
    folders, continues = [path], resume
    if len(configs) > 1:
        folders, continues, force = (
            open_group(configs, path, resume=resume, force=force),
            True,
            False,
        )
    deadline = None if time_limit is None else time.monotonic() + time_limit
    records: list[SearchRecord] = []
    for config, folder in zip(configs, folders, strict=True):
        share = (
            None
            if deadline is None
            else max(deadline - time.monotonic(), 0.0) / (len(configs) - len(records))
        )
        with Screen() as screen:
            record = run_search(
                config,
                folder,
                resume=continues,
                force=force,
                workers=workers or cores(),
                time_limit=share,
                watch=screen,
            )
        records.append(record)
        _draw(record, plots=plots)
        if verbose or len(configs) == 1:
            show_table(_table(record))
        if len(configs) == 1:
            _show(record, plots=plots, workers=workers or cores())
        if record.interrupted:
            break
    if len(configs) > 1:
        write_winners(path, records)
        show_table("\n" + winners_table([_winner(record) for record in records]))
        for record in records:
            _show(record, plots=plots, workers=workers or cores())
    complete = len(records) == len(configs) and all(record.complete for record in records)
    winners = [summary(record) | {"evaluated": record.evaluated} for record in records]
    emit(
        {
            "run": str(path),
            "complete": complete,
            "interrupted": records[-1].interrupted,
            "winners": winners,
        }
    )
    if not complete:
        spent, wanted = (
            sum(record.evaluated for record in records),
            sum(config.candidates for config in configs),
        )
        named = named_again((SCORE, configs[0].score), (COST, configs[0].cost))
        command = command_line("nas-search", "--resume", "--out", path, *named)
        show_stopped(f"stopped after {spent:,} of {wanted:,} candidates; continue with: {command}")
    return records[-1].interrupted


def _resolve(
    options: dict[str, Any], resolution: tuple[int, ...] | None, out: str | None, resume: bool
) -> tuple[list[SearchConfig], Path]:
    """Return one config per resolution and the run directory; a continued run has defaults."""

    def resolve(options: dict[str, Any], sizes: Sequence[int | None]) -> list[SearchConfig]:
        found = [resolve_config({**options, "resolution": size}) for size in sizes]
        if any(config.input == "rows" for config in found):  # one for all
            found = [replace(config, input="rows") for config in found]
        return found

    if out is None:
        configs = resolve(options, resolution or (None,))
        path = Path(RUNS) / run_name(configs)
    else:
        path = Path(out)
    stored = load_configs(path) if resume else []
    if stored:
        given = {key: value for key, value in options.items() if value is not None}
        check_named(SCORE, stored[0].score, given.get("score"))
        check_named(COST, stored[0].cost, given.get("cost"))
        return resolve(
            {**stored[0].as_options(), **given},
            resolution or [config.resolution for config in stored],
        ), path
    if resume and resolution is None and all(value is None for value in options.values()):
        raise RunDirectoryError(
            path,
            "holds no run to continue; give the directory of a run, or the options of a new search",
        )
    return resolve(options, resolution or (None,)), path


def cores() -> int:
    """Return how many processes a search takes unless it is told."""
    found = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    return min(MAX_DEFAULT_WORKERS, found)


def run_name(configs: list[SearchConfig]) -> str:
    """Return the name of a run that is given none: device, sizes, space, resolutions and limits.

    Limits are those that differ from what the device and the space set.
    """
    config = configs[0]
    parts = [
        Path(config.device).stem,
        _short(config.sram_bytes),
        _short(config.flash_bytes),
        Path(config.space).stem,
    ]
    return "-".join([*parts, *(str(c.resolution) for c in configs), *_own_limits(config)])


def _own_limits(config: SearchConfig) -> Iterator[str]:
    """Yield the limits of a config that were asked for, such as ``macs-2m``."""
    free = {"score": None, "cost": None, **{row.key: None for row in LIMITS}}
    set_anyway = resolve_config({**config.as_options(), **free}).limits
    for row in LIMITS:
        limit = config.limits.get(row.name)
        if limit != set_anyway.get(row.name):
            name = row.name.replace("_", "-")
            if limit is None:
                yield f"{name}-none"
            elif row.counted:
                yield f"{name}-{_short(int(limit), 1000)}"
            else:
                yield f"{name}-{limit:g}{'ms' * row.timed}"


def _short(size: int, unit: int = 1024) -> str:
    for factor, letter in ((unit**2, "m"), (unit, "k")):
        if size % factor == 0:
            return f"{size // factor}{letter}"
    return str(size)


def _table(record: SearchRecord) -> str:
    device = record.device
    return network_table(
        record.best, sram_budget=device.arena_bytes, flash_budget=device.storage_bytes
    )


def _draw(record: SearchRecord, *, plots: bool) -> None:
    """Draw the pictures, but not after Ctrl-C, when there is no time."""
    if plots and not record.interrupted and not plots_are_current(record):
        announce(f"drawing the pictures of {record.directory.path} ...")
        draw_plots(record)


def _default_remark(record: SearchRecord, workers: int) -> str | None:
    """Return one line on a default limit on time, and what a search would find without it."""
    device, limit = record.device, record.config.limits.get("latency")
    if device.default_latency is None or limit != device.default_latency.value:
        return None
    text = f"limited to {format_milliseconds(limit)} by the default of {device.name}"
    lift = "--max-latency none lifts it"
    taken = limit_shares(record.best, device, record.config.limits)["latency"]
    if taken < BINDS or not record.complete:
        return f"{text}; {lift}"
    other = best_without_latency(record.config, workers=workers)
    if other is None or other.latency is None:
        return f"{text}; {lift}"
    return (
        f"{text}; {lift}, and a short search found QE-Score {other.qe_score:,.2f} at "
        f"{format_latency(other.latency)}, with "
        f"{100 * other.peak_sram_bytes / device.arena_bytes:.1f} % of SRAM and "
        f"{100 * other.total_flash_bytes / device.storage_bytes:.1f} % of Flash"
    )


def _show(record: SearchRecord, *, plots: bool, workers: int) -> None:
    """Print what was found, in few lines."""
    best, device, config = record.best, record.device, record.config
    seconds = (
        f"; {format_latency(best.latency)} at {device.clock_hz / 1e6:.0f} MHz (predicted)"
        if best.latency
        else ""
    )
    show("")
    order = "" if config.schedule == "layers" else f", schedule {config.schedule}"
    order += "" if config.input == "whole" else ", image by rows"
    show(f"best of {record.evaluated:,} candidates at {config.resolution} px{order}{seconds}")
    show(
        f"in addition to the budgets above, {device.name} reserves "
        f"{device.reserved_sram_bytes:,} B of SRAM and {device.reserved_flash_bytes:,} B of Flash "
        "for firmware"
    )
    show(binding_remark(best, device, config.limits))
    for remark in (
        _default_remark(record, workers),
        core_remark(device),
        published_remark(best, device),
        depth_remark(best),
    ):
        if remark:
            show(remark)
    drawn = plots and not record.interrupted
    show(
        f"written to {record.directory.path} (best.yaml, memory_plan.json, "
        f"pareto.csv{', plots/' if drawn else ''})"
    )


def _winner(record: SearchRecord) -> dict[str, Any]:
    best = record.best
    return {
        "resolution": record.config.resolution,
        "qe_score": best.qe_score,
        "peak_sram_bytes": best.peak_sram_bytes,
        "flash_bytes": best.total_flash_bytes,
        "macs": best.total_macs,
        "bitops": best.bitops,
        "latency_ms": best.latency,
    }


def summary(record: SearchRecord) -> dict[str, Any]:
    """Return what ``--json`` says of the network of a run directory."""
    device, config = record.device, record.config
    return {
        "resolution": config.resolution,
        **record.best.as_json(),
        "cost": record.best.limited.get("cost"),
        "limits": {row.key: config.limits[row.name] for row in LIMITS if row.name in config.limits},
        "schedule": config.schedule,
        "input": config.input,
        "sram_budget": device.arena_bytes,
        "flash_budget": device.storage_bytes,
        "directory": str(record.directory.path),
        "architecture": str(record.directory.path / "best.yaml"),
    }
