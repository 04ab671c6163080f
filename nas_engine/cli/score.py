"""``nas-search score FILE``: QE-Score and costs of any architecture file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from nas_engine.cli.options import RESOLUTIONS, score_options

if TYPE_CHECKING:
    from nas_engine.architecture import Architecture


@click.command()
@click.argument("file", type=click.Path())
@click.option("--resolution", type=RESOLUTIONS, help="Input pixels.  [default: the file's; 224 for the authors' structures]")
@click.option("--device", metavar="NAME|FILE", help="Estimate cycles on this device and compare with its budgets.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@score_options
def score(file: str, resolution: tuple[int, ...] | None, device: str | None, as_json: bool, **options: Any) -> None:
    """Score one network: QE-Score, SRAM per layer, Flash, MACs, BitOps.

    FILE is an architecture (best.yaml of a run directory) or a structure as the authors of QE-Score publish it.

        nas-search score runs/NAME/best.yaml
    """
    from device_profiles import load_device
    from nas_engine.architecture import read_architecture
    from nas_engine.layers import KINDS
    from nas_engine.report.network import report_network
    from nas_engine.report.tables import network_table
    from nas_engine.scoring.qe_score import ScoreSettings

    if resolution and len(resolution) > 1:
        raise click.UsageError("--resolution: score counts one resolution at a time; give one size, such as 160")
    profile = load_device(device) if device else None
    network = read_architecture(file)
    if resolution:
        network = network.at_resolution(resolution[0])
    settings = {name: options[name] for name in ("sigma_a", "sigma_w", "stage_weights") if options[name] is not None}
    if "stage_weights" not in settings:
        settings["stage_weights"] = default_stage_weights(network)
    report = report_network(
        network,
        memory_model=options["memory_model"] or "arena",
        score=ScoreSettings(**settings),
        cycles_per_mac={kind: profile.cycles_table(kind) for kind in KINDS} if profile else None,
    )
    if as_json:
        click.echo(json.dumps(report.as_json()))
    else:
        budgets = (float(profile.arena_bytes), float(profile.storage_bytes)) if profile else (None, None)
        click.echo(network_table(report, *budgets))


def default_stage_weights(network: Architecture) -> tuple[float, ...]:
    """Return the paper's weights for five stages; for fewer the last ones of (0, 1, 1, 6), for more zeros in front (ours)."""
    stages = 1 + sum(block.stride == 2 for block in network.blocks)
    if stages == 5:
        return (0.0, 0.0, 1.0, 1.0, 6.0)
    tail = (0.0, 1.0, 1.0, 6.0)[-stages:]
    return (0.0,) * (stages - len(tail)) + tail
