"""``nas-search score FILE``: QE-Score and costs of any architecture file."""

from __future__ import annotations

from typing import Any

import click

from nas_engine.cli.command import Explained
from nas_engine.cli.completion import complete_devices
from nas_engine.cli.console import emit, json_option, show, show_table
from nas_engine.cli.options import OwnPath, command_options


@click.command(
    cls=Explained,
    short_help="Score one network: QE-Score, memory, MACs, BitOps.",
    examples=(
        "nas-search score runs/NAME/best.yaml",
        "nas-search score runs/NAME/best.yaml --device stm32f746",
        "nas-search score mixed7d0G.txt --memory-model paper --json",
    ),
)
@click.argument("file", type=OwnPath())
@click.option(
    "--device",
    metavar="NAME|FILE",
    help="Estimate cycles on this device and compare with its budgets.",
    shell_complete=complete_devices,
)
@json_option
@command_options("score")
def score(
    file: str,
    resolution: int | None,
    device: str | None,
    memory_model: str | None,
    **settings: Any,
) -> None:
    """Score one network: QE-Score, SRAM per layer, Flash, MACs, BitOps.

    FILE is an architecture (best.yaml of a run directory) or a structure as the authors of QE-Score
    publish it.
    """
    from device_profiles import load_device
    from nas_engine import api
    from nas_engine.report.latency import core_remark, published_remark
    from nas_engine.report.tables import network_table

    report = api.score(
        file, resolution=resolution, device=device, memory_model=memory_model or "arena", **settings
    )
    emit(report.as_json())
    profile = load_device(device) if device else None
    budgets = (
        (float(profile.arena_bytes), float(profile.storage_bytes)) if profile else (None, None)
    )
    show_table(network_table(report, *budgets))
    if profile:
        for remark in filter(None, (core_remark(profile), published_remark(report, profile))):
            show(remark)
