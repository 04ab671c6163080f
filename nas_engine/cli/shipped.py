"""``nas-search devices`` and ``nas-search spaces``: shipped profiles and search spaces."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from nas_engine.cli.command import Explained
from nas_engine.cli.completion import complete_devices, complete_spaces
from nas_engine.cli.console import as_json, emit, json_option
from nas_engine.escaping import terminal_line

if TYPE_CHECKING:
    from device_profiles import DeviceProfile
    from search_spaces import ChannelRange


@click.command(
    cls=Explained,
    short_help="List the device profiles, or show one.",
    examples=(
        "nas-search devices",
        "nas-search devices stm32f746",
        "nas-search devices boards/mine.yaml --json",
    ),
)
@click.argument("name", required=False, shell_complete=complete_devices)
@json_option
def devices(name: str | None) -> None:
    """List the device profiles, or show one (NAME or your own file) with its sources."""
    from device_profiles import device_names, load_device
    from nas_engine.units import format_size

    if as_json():
        emit(
            {"devices": [_device(load_device(each)) for each in device_names()]}
            if name is None
            else _device(load_device(name))
        )
        return
    if name is None:
        for shipped in device_names():
            device = load_device(shipped)
            memory = (
                f"SRAM {format_size(device.sram_bytes):<24} Flash {format_size(device.flash_bytes)}"
            )
            click.echo(
                f"{shipped:<14} {device.core:<12} {device.clock_hz / 1e6:>5.0f} MHz  {memory}"
            )
        click.echo(
            "\nnas-search devices NAME shows one with its sources; --device also takes a board "
            "(pico, nucleo-f446re)\nor the path of your own YAML file."
        )
        return
    device = load_device(name)
    click.echo(terminal_line(f"{device.name}: {device.title}"))
    if device.boards:
        click.echo(terminal_line(f"  boards: {', '.join(device.boards)}"))
    dsp = "yes" if device.dsp else "no"
    click.echo(
        f"  core {device.core}, {device.clock_hz / 1e6:.0f} MHz, DSP instructions: {dsp}, FPU: "
        f"{device.fpu}"
    )
    for memory, total, reserved, left, use in (
        ("SRAM ", device.sram_bytes, device.reserved_sram_bytes, device.arena_bytes, "the arena"),
        ("Flash", device.flash_bytes, device.reserved_flash_bytes, device.storage_bytes, "weights"),
    ):
        click.echo(
            f"  {memory} {format_size(total)}, {format_size(reserved)} reserved, "
            f"{format_size(left)} for {use}"
        )
    for line in _timing(device):
        click.echo(terminal_line(f"  {line}"))
    click.echo(
        "  widths (rows: weights 2 to 8, columns: activations 2 to 8; N native, S storage-only, F "
        "forbidden):"
    )
    for w, row in enumerate(device.bit_pairs, 2):
        click.echo(f"    w{w}  {' '.join(pair.name[0].upper() for pair in row)}")
    click.echo("  sources:")
    for key, source in device.sources.items():
        click.echo(terminal_line(f"    {key}: {' '.join(source.split())}"))


def _timing(device: DeviceProfile) -> Iterator[str]:
    """Yield what a profile says of time, line by line."""
    from nas_engine.units import format_milliseconds

    pace, default = device.cycles_per_instruction, device.default_latency
    if pace is None:
        yield "time: no cycles_per_instruction, so that cycles are no time"
    else:
        yield (
            f"time: {pace.least:g} to {pace.most:g} cycles per instruction, no board measured; "
            f"{' '.join(pace.source.split())}"
        )
    if default is not None:
        yield (
            f"default of --max-latency: {format_milliseconds(default.value)} "
            f"({' '.join(default.source.split())})"
        )
    for one in device.published_cycles:
        more = "" if one.convolution is None else f", k x k {one.convolution:g}"
        yield (
            f"published, {one.engine} on {one.board}: cycles per MAC first {one.first:g}, "
            f"pointwise {one.pointwise:g}, depthwise {one.depthwise:g}, dense {one.dense:g}{more}; "
            f"{one.networks} networks, mean error {one.mean_error:.1%}, left out "
            f"{one.left_out_error:.1%}"
        )


def _device(device: DeviceProfile) -> dict[str, Any]:
    """Return a profile as plain values, with what it leaves for a network."""
    from dataclasses import fields

    from nas_engine.records import plain

    values = {field.name: plain(getattr(device, field.name)) for field in fields(device)}
    return {
        **values,
        "arena_bytes": device.arena_bytes,
        "storage_bytes": device.storage_bytes,
    }


@click.command(
    cls=Explained,
    short_help="List the search spaces, or show one.",
    examples=(
        "nas-search spaces",
        "nas-search spaces mobilenet-32",
        "nas-search spaces mine.yaml --json",
    ),
)
@click.argument("name", required=False, shell_complete=complete_spaces)
@json_option
def spaces(name: str | None) -> None:
    """List the search spaces, or show one (NAME or a path to your own)."""
    from dataclasses import asdict

    from search_spaces import load_space, space_names

    if as_json():
        emit(
            {"spaces": [asdict(load_space(each)) for each in space_names()]}
            if name is None
            else asdict(load_space(name))
        )
        return
    if name is None:
        for shipped in space_names():
            space = load_space(shipped)
            click.echo(f"{shipped:<14} {space.title}")
        click.echo(
            "\nnas-search spaces NAME shows one; --space also takes the path of your own YAML file."
        )
        return
    space = load_space(name)
    click.echo(terminal_line(f"{space.name}: {space.title}"))
    resolutions = f"{space.min_resolution} to {space.max_resolution} px, default {space.resolution}"
    click.echo(
        f"  input {space.input_channels} channels, {resolutions}; {space.class_count} classes"
    )
    click.echo(
        f"  stem {space.stem_kernel}x{space.stem_kernel} stride "
        f"{' or '.join(map(str, space.stem_strides))}, "
        f"{_range(space.stem_channels)}"
    )
    for number, stage in enumerate(space.stages, 1):
        ratios = ", ".join(f"{ratio:g}" for ratio in stage.expansions)
        expansions = f"expansions [{ratios}], " if ratios else ""
        click.echo(
            f"  stage {number}: {' or '.join(stage.kinds)}, "
            f"stride {' or '.join(map(str, stage.strides))}, "
            f"{_range(stage.channels)}, kernels {list(stage.kernels)}, "
            f"{expansions}{stage.min_depth} to {stage.max_depth} deep"
        )
    click.echo(f"  head {_range(space.head_channels)}; at most {space.max_layers} convolutions")
    tied = "tied within a block" if space.tie_block_bits else "free per convolution"
    click.echo(
        f"  weight bits {list(space.weight_bits)}, activation bits {list(space.activation_bits)}, "
        f"{tied}; "
        f"stem and classifier {space.end_bits}"
    )
    click.echo(
        f"  QE-Score stage weights {','.join(f'{weight:g}' for weight in space.stage_weights)}"
    )
    click.echo(terminal_line(f"  source: {' '.join(space.source.split())}"))


def _range(channels: ChannelRange | None) -> str:
    return "none" if channels is None else f"{channels.minimum} to {channels.maximum} channels"
