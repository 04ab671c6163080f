"""``nas-search bits FILE``: bits of a given network for its budgets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from nas_engine.cli.command import Explained, options_of
from nas_engine.cli.console import emit, json_option, show, show_table
from nas_engine.cli.options import OwnPath, command_options
from nas_engine.escaping import command_line

_file = options_of("File")


@click.command(
    cls=Explained,
    short_help="Set the bits of a network of your own to a budget.",
    examples=(
        "nas-search bits network.yaml --sram 64k --flash 96k",
        "nas-search bits network.yaml --sram 64k --flash 96k --uniform 5 --out network-w5.yaml",
    ),
)
@click.argument("file", type=OwnPath())
@command_options("bits")
@click.option(
    "--uniform",
    metavar="BITS",
    help="The same for all layers but stem and classifier: 5 (weights; inputs 8) or w5a6.  "
    "[default: refined to the budgets]",
)
@_file("--out", type=click.Path(), help="Architecture with its bits.  [default: NAME-bits.yaml]")
@_file("--force", is_flag=True, help="Replace another file of that name.")
@json_option
def bits(file: str, uniform: str | None, out: str | None, force: bool, **options: Any) -> None:
    """Set the bits of a network of your own to a budget, and show what it costs.

    FILE is an architecture, as best.yaml of a run directory is. Its structure stays, and the bits
    of stem and classifier; the others are refined as in a search (QBR), or uniform. The result
    is another architecture file: nas-search train takes it.
    """
    from nas_engine.pipeline.bits import parse_uniform, set_bits, write_network
    from nas_engine.report.tables import network_table

    report, device = set_bits(file, options, parse_uniform(uniform) if uniform else None)
    target = Path(f"{Path(file).stem}-bits.yaml") if out is None else Path(out)
    write_network(target, report.architecture, force=force)
    emit({"file": str(target), **report.as_json()})
    show_table(network_table(report, float(device.arena_bytes), float(device.storage_bytes)))
    show("")
    show(f"written to {target}; train it with: {command_line('nas-search', 'train', target)}")
