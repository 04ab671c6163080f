"""Arena and instructions of whole networks on an emulated Cortex-M7, by kind of layer.

python -m benchmarks.whole_networks [--networks NAME,NAME] [--bits own|a8|8,8|4,8] [--core NAME]

Networks are searched ones (``networks/*.yaml``; ``networks/anchors.yaml`` has the command of each)
and MobileNetV2-0.35 (Sandler et al. 2018, table 2, 1000 classes). Weights are random, one image is
run, and every tensor is compared with the integer reference. Instructions are not cycles: caches,
wait states and dual issue are not modelled.

``networks/anchors.yaml`` also has the figures of CMSIS-NN and TinyEngine on the same networks at 8
bits, and those of this runtime before its kernels of December 2026, each with version and date.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from benchmarks.harness import HERE, Row, main
from benchmarks.integer_reference import pictures
from benchmarks.kernels import write_export
from nas_engine.architecture import (
    Architecture,
    Bits,
    Block,
    Classifier,
    Convolution,
    read_architecture,
)
from nas_engine.costs.plan import plan_schedule
from nas_engine.exporters.sizes import step_macs
from nas_engine.integer.model import IntegerModel
from nas_engine.names import ImageInput, Schedule
from nas_engine.network.graph import Node
from nas_engine.testing.networks import untrained
from nas_engine.verification.cortex_m import CortexM

NETWORKS = HERE / "networks"
ANCHORS = NETWORKS / "anchors.yaml"
MOBILENET_V2 = "mobilenet-v2-0.35-"
"""Start of the names of MobileNetV2s; the image's height and width follow."""

BOARD_BYTES = 4 << 20
"""SRAM and Flash of the emulated board: larger than any network here needs."""

STACK_BYTES = 8192
"""Of the SRAM, what is kept for the stack."""

RATIO = 0.70
"""Most instructions, in those before, of networks for which the goal is stated."""

MOST_BY_ROWS = 0.04
"""Most instructions that rows may add to those by layers."""

CMSIS_RATIO = 0.40
"""Most instructions, in those of CMSIS-NN, of whole networks at 8 bits."""


def mobilenet_v2(size: int, width: float = 0.35, classes: int = 1000) -> Architecture:
    """Return MobileNetV2 at 8 bits (Sandler et al. 2018, table 2); its first block expands by 1."""

    def channels(count: float) -> int:
        whole = max(8, int(count + 4) // 8 * 8)
        return whole + 8 if whole < 0.9 * count else whole

    eight = Bits(8, 8)
    last = channels(32 * width)
    stem = Convolution(kernel=3, stride=2, channels=last, bits=eight)
    blocks = []
    for expansion, count, depth, stride in (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ):
        for unit in range(depth):
            blocks.append(
                Block(
                    kernel=3,
                    stride=stride if unit == 0 else 1,
                    bottleneck=last * expansion,
                    channels=channels(count * width),
                    bits=((eight,) * 3,),
                )
            )
            last = channels(count * width)
    return Architecture(
        resolution=size,
        stem=stem,
        blocks=tuple(blocks),
        head=Convolution(kernel=1, stride=1, channels=1280, bits=eight),
        classifier=Classifier(class_count=classes, bits=eight),
    )


def with_bits(network: Architecture, bits: str) -> Architecture:
    """Return a network with other widths.

    Args:
        network: The network.
        bits: ``"own"`` as it is, ``"a8"`` its weights with 8-bit activations, or the widths of all
            weights and activations such as ``"4,8"``; the image keeps 8.
    """
    if bits == "own":
        return network
    widths = None if bits == "a8" else [int(width) for width in bits.split(",")]

    def changed(old: Bits) -> Bits:
        return Bits(old.w, 8) if widths is None else Bits(*widths)

    blocks = tuple(
        replace(block, bits=tuple(tuple(map(changed, unit)) for unit in block.bits))
        for block in network.blocks
    )
    head, last = network.head, network.classifier
    return replace(
        network,
        stem=replace(network.stem, bits=Bits(changed(network.stem.bits).w, 8)),
        blocks=blocks,
        head=head and replace(head, bits=changed(head.bits)),
        classifier=last and replace(last, bits=changed(last.bits)),
    )


def read_network(name: str) -> Architecture:
    """Return a network by its name in ``networks/anchors.yaml``."""
    if name.startswith(MOBILENET_V2):
        return mobilenet_v2(int(name.removeprefix(MOBILENET_V2)))
    return read_architecture(NETWORKS / f"{name}.yaml")


def kind_of(model: IntegerModel, node: Node) -> str:
    """Return the kind of layer that the table tells apart."""
    if node.kind == "average_pool":
        return "pool"
    if node.kind == "depthwise":
        return f"depth-wise {node.kernel_height}x{node.kernel_width} stride {node.stride}"
    if node.output in model.outputs:
        return "dense"
    size = f"{node.kernel_height}x{node.kernel_width}"
    return f"{size} with sum" if node.shortcut is not None else size


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One network, run."""

    arena_bytes: int
    """Bytes of the arena."""
    instructions: int
    """Of one image."""
    by_kind: Mapping[str, tuple[int, int]]
    """Instructions and multiply-accumulates (of a pool: inputs) by kind of layer."""
    code_bytes: int
    """Bytes of code, without weights."""
    differing: int
    """Tensors and logits that differ from the reference."""
    version: str
    """Emulator and compiler."""


def measure(
    network: Architecture,
    backend: CortexM,
    schedule: Schedule = "layers",
    image_input: ImageInput = "whole",
    room: int | None = None,
) -> Measured:
    """Export a network with random weights and run one image on the emulated core.

    Args:
        network: The network.
        backend: Compiler, core and emulator.
        schedule: How its units may run.
        image_input: How its image comes.
        room: Bytes that its arena may take; without them the arena is the smallest.
    """
    model = untrained(network)
    plan = plan_schedule(model, schedule, image_input, room)
    image = pictures(1, network.resolution, network.input_channels)
    with tempfile.TemporaryDirectory(prefix="nas-search-") as name:
        folder = Path(name)
        golden = write_export(model, image, folder, plan)
        result = backend.run(folder, model, image, folder / "work")
    footprint = result.footprint
    assert footprint is not None  # an emulated firmware has one
    counted: dict[str, Counter[str]] = {"instructions": Counter(), "macs": Counter()}
    for node in model.nodes:
        kind = kind_of(model, node)
        counted["instructions"][kind] += result.instructions[node.name]
        counted["macs"][kind] += (
            model.tensor(node.input).elements if kind == "pool" else step_macs(model, node)
        )
    return Measured(
        arena_bytes=footprint.arena,
        instructions=sum(result.instructions.values()),
        by_kind={
            kind: (count, counted["macs"][kind]) for kind, count in counted["instructions"].items()
        },
        code_bytes=footprint.code,
        differing=sum(golden.checksums[name] != crc for name, crc in result.checksums.items())
        + int((golden.logits != result.logits).sum()),
        version=result.version,
    )


def _millions(count: float) -> str:
    return f"{count / 1e6:.2f} M"


def _kinds(found: Measured) -> str:
    return ", ".join(
        f"{kind} {count / max(macs, 1):.2f} ({count / found.instructions:.0%})"
        for kind, (count, macs) in found.by_kind.items()
    )


def rows_of(name: str, bits: str, found: Measured, anchors: Mapping[str, Any]) -> list[Row]:
    """Return what one network came to, next to the figures recorded for it.

    Args:
        name: Name of the network.
        bits: As for ``with_bits``.
        found: What was measured.
        anchors: Content of ``networks/anchors.yaml``.
    """
    what = f"{name}, {bits}"
    record = anchors["networks"][name]
    rows = [
        Row(
            what=f"{what}: arena, instructions, code",
            measured=(
                f"{found.arena_bytes:,} B, {_millions(found.instructions)}, "
                f"{found.code_bytes:,} B, {found.differing} differing"
            ),
            at_least="0 differing",
            reached=found.differing == 0,
        ),
        Row(
            what=f"{what}: instructions per MAC (of a pool: per input) and share",
            measured=_kinds(found),
            at_least="reported",
            reached=True,
        ),
    ]
    if before := record.get("before", {}).get(bits):
        ratio, goal = found.instructions / before, bits == "own" and record.get("goal", False)
        rows.append(
            Row(
                what=f"{what}: instructions against those before ({_millions(before)})",
                measured=f"{ratio:.3f}",
                at_least=f"at most {RATIO:.2f}" if goal else "reported",
                reached=not goal or ratio <= RATIO,
            )
        )
    for engine in anchors["engines"]:
        if bits == "8,8" and (other := record.get(engine)):
            ratio, goal = found.instructions / other["instructions"], engine == "CMSIS-NN"
            held = (
                f"{part} {count:,} B" for part, count in other.items() if part != "instructions"
            )
            rows.append(
                Row(
                    what=(
                        f"{what}: instructions against {engine} "
                        f"({_millions(other['instructions'])})"
                    ),
                    measured=f"{ratio:.3f}; its {', '.join(held)}",
                    at_least=f"at most {CMSIS_RATIO:.2f}" if goal else "reported",
                    reached=not goal or ratio <= CMSIS_RATIO,
                )
            )
    return rows


def rows_against_layers(what: str, layers: Measured, rows: Measured) -> Row:
    """Return what rows save and cost: the arena, and instructions in those by layers."""
    return Row(
        what=f"{what} against layers",
        measured=(
            f"arena {layers.arena_bytes:,} to {rows.arena_bytes:,} B, instructions "
            f"{rows.instructions / layers.instructions - 1:+.1%} ({_millions(rows.instructions)}), "
            f"code {rows.code_bytes:,} B, {rows.differing} differing"
        ),
        at_least=f"at most {MOST_BY_ROWS:+.0%}, 0 differing",
        reached=rows.differing == 0
        and rows.instructions <= (1 + MOST_BY_ROWS) * layers.instructions,
    )


def run(
    networks: str = "", bits: str = "", core: str = "cortex-m7", compiler: str = ""
) -> list[Row]:
    anchors = yaml.safe_load(ANCHORS.read_text(encoding="utf-8"))
    names = networks.split(",") if networks else list(anchors["networks"])
    backend = CortexM(
        core=core,
        compiler=compiler or None,
        sram_bytes=BOARD_BYTES,
        flash_bytes=BOARD_BYTES,
        stack_bytes=STACK_BYTES,
        images_limit=1,
    )
    rows, versions = [], set()
    for name in names:
        for width in [bits] if bits else anchors["networks"][name]["bits"]:
            found = measure(with_bits(read_network(name), width), backend)
            versions.add(found.version)
            rows += rows_of(name, width, found, anchors)
            network, room = with_bits(read_network(name), width), anchors["networks"][name]["room"]
            for within, how in (
                (room, f"as many units by rows as {room:,} B ask for, image by rows"),
                (None, "units by rows for the smallest arena, image by rows"),
            ):
                by_rows = measure(network, backend, "auto", "rows", within)
                rows.append(rows_against_layers(f"{name}, {width}: {how}", found, by_rows))
    engines = "; ".join(f"{engine}: {about}" for engine, about in anchors["engines"].items())
    rows.append(Row(what="for comparison", measured=engines, at_least="-", reached=True))
    rows.append(
        Row(
            what="measured with",
            measured="; ".join(sorted(versions)),
            at_least="one emulator, one compiler",
            reached=len(versions) == 1,
        )
    )
    return rows


if __name__ == "__main__":
    main("whole_networks", run, networks="", bits="", core="cortex-m7", compiler="")
