"""Networks found for small SRAM, and sampled ones under every schedule: bytes and values.

python -m benchmarks.row_budgets [--candidates 500000] [--networks 50] [--only NAME,NAME]
[--work FOLDER]

A budget: a search by rows, its network exported and linked for exactly the memory of the device,
one image run on the emulated Cortex-M7; weights are random. What the search promised, the memory
plan and the linked arena must be the same bytes.

Sampled networks of every space take the schedules and images in turn and are data for a runtime
that is compiled once per core and compiler (as in ``benchmarks.blocks``): on this machine under
sanitizers, then on emulated cores; unicorn, which is slow, runs every ninth.

Each part that is done lies in the folder ``--work``; the same command goes on with the others.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np

from benchmarks.blocks.__main__ import OnCore, OnHost
from benchmarks.blocks.__main__ import run as run_cases
from benchmarks.blocks.cases import Case, words_of
from benchmarks.harness import Row, main
from benchmarks.integer_reference import pictures
from benchmarks.kernels import write_export
from nas_engine.architecture import Architecture
from nas_engine.costs.plan import plan_memory, plan_schedule
from nas_engine.costs.rows import units_of
from nas_engine.encoding import decode, space_frame
from nas_engine.errors import InputError
from nas_engine.evolution.operators import sample
from nas_engine.files import write_atomically
from nas_engine.integer.store import GoldenVectors
from nas_engine.names import ImageInput, Schedule
from nas_engine.pipeline import resolve_config, run_search
from nas_engine.testing.networks import untrained
from nas_engine.units import parse_size
from nas_engine.verification.cortex_m import CortexM
from search_spaces import load_space, space_names

BUDGETS: tuple[tuple[str, str, int, str, bool], ...] = (
    ("64k", "512k", 96, "mobilenet", True),
    ("256k", "1m", 96, "mobilenet", True),
    ("256k", "1m", 160, "mobilenet", True),
    ("320k", "1m", 224, "mobilenet", True),
    ("64k", "128k", 32, "mobilenet-32", True),
    ("48k", "1m", 160, "mobilenet", False),
    ("32k", "512k", 96, "mobilenet", False),
)
"""SRAM, Flash, pixels, space, and whether layers serve it, with 2 to 8 bits in activations."""

WAYS: tuple[tuple[Schedule, ImageInput], ...] = (
    ("auto", "whole"),
    ("auto", "rows"),
    ("rows", "whole"),
    ("rows", "rows"),
    ("layers", "whole"),
)
"""Schedules and images of sampled networks."""

MOST_WORDS, MOST_ARENA, MOST_LAYERS = 1 << 18, (1 << 19) - 16, 64
"""Largest sampled network in words with its image, bytes of arena and layers: what the driver of
``benchmarks.blocks`` holds."""

SLOW = 9
"""Of the sampled networks, unicorn runs every so many."""

CORES, COMPILERS = ("cortex-m7", "cortex-m4"), ("gcc", "zig")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One row of the table, which is measured by itself."""

    name: str
    """Name on the command line and of its file."""
    measure: Callable[[], Row]
    """Measurement."""


def budget(
    sram: str, flash: str, resolution: int, space: str, served: bool, candidates: int, folder: Path
) -> Row:
    """Search for one budget, link and run what is found.

    Args:
        sram: SRAM of the device.
        flash: Its Flash.
        resolution: Pixels.
        space: Search space.
        served: Whether layers serve the budget.
        candidates: Networks to evaluate.
        folder: Of the run and the firmware.
    """
    sizes = {"sram": parse_size(sram), "flash": parse_size(flash)}
    options = {**sizes, "space": space, "resolution": resolution, "schedule": "auto"}
    options |= {"max_latency": "none", "input": "rows", "candidates": candidates}
    config = resolve_config(options)
    record = run_search(config, folder / "run", force=True)
    best = record.best
    network = best.architecture
    model = untrained(network)
    plan = plan_schedule(model, network.schedule, network.image, network.room)
    image = pictures(1, network.resolution, network.input_channels)
    golden = write_export(model, image, folder / "export", plan)
    backend = CortexM(sram_bytes=sizes["sram"], flash_bytes=sizes["flash"], images_limit=1)
    result = backend.run(folder / "export", model, image, folder / "work")
    assert result.footprint is not None  # an emulated firmware has one
    differing = sum(golden.checksums[name] != crc for name, crc in result.checksums.items())
    differing += int((golden.logits != result.logits).sum())
    arenas = {int(best.peak_sram_bytes), plan.arena_bytes, result.footprint.arena}
    widths = sorted({bits.a for bits in network.layer_bits()})
    units = sum(len(segment.stages) for segment in plan.segments)
    return Row(
        what=f"{sram}/{flash}, {resolution} px: network found by rows",
        measured=(
            f"QE-Score {best.qe_score:,.1f}, {best.total_macs / 1e6:,.1f} M MACs, activations "
            f"{'-'.join(map(str, sorted({widths[0], widths[-1]})))} bits, {units} of "
            f"{len(units_of(model))} units by rows, "
            f"{sum(result.instructions.values()) / 1e6:,.1f} M instructions; arena promised, "
            f"planned, linked: {', '.join(f'{arena:,}' for arena in sorted(arenas))} B of "
            f"{record.device.arena_bytes:,}; {differing} differing"
        ),
        at_least=f"{'8 bits, ' if served else ''}the same bytes, 0 differing",
        reached=differing == 0
        and len(arenas) == 1
        and max(arenas) <= record.device.arena_bytes
        and (widths == [8] or not served),
    )


def sampled(count: int, seed: int = 0) -> Iterator[Case]:
    """Yield networks of every space, each under one schedule.

    Under ``auto`` some have room for a few units by layers. Networks that the driver cannot hold,
    and images by rows that a network cannot take, are drawn again.

    Args:
        count: Networks.
        seed: Of all random numbers.
    """
    rng, names = np.random.default_rng(seed), space_names()
    index = 0
    while index < count:
        schedule, image = WAYS[index % len(WAYS)]
        space = load_space(names[index // len(WAYS) % len(names)])
        pixels = int(rng.integers(space.min_resolution, space.min_resolution + 25))
        frame = replace(space_frame(space, pixels, 10), schedule=schedule, image=image)
        network = decode(frame, sample(space, frame, 2, rng)[:, 1])  # the first is the smallest
        made = _case(rng, index, network, space.name)
        if made is not None:
            yield made
            index += 1


def _case(rng: np.random.Generator, index: int, network: Architecture, space: str) -> Case | None:
    """Return a network with random weights as data, ``None`` if it cannot be."""
    try:
        least = plan_memory(network).arena_bytes
    except InputError:  # rows of the stem's output that cannot be packed
        return None
    if network.schedule == "auto" and rng.integers(2):
        network = replace(network, room=int(least * rng.uniform(1, 3)))
    model = untrained(network, int(rng.integers(2**31)))
    plan = plan_schedule(model, network.schedule, network.image, network.room)
    if len(model.nodes) > MOST_LAYERS or plan.arena_bytes > MOST_ARENA:
        return None
    shape = model.tensor(model.image).shape
    golden = GoldenVectors.of(model, rng.integers(0, 256, (1, *shape), np.uint8))
    words = words_of(model, plan.segments, golden)
    units = units_of(model)
    stages = [stage for one in plan.segments for stage in one.stages]
    what = f"{space}, {network.resolution} px, {network.schedule}, image {network.image}"
    case = Case(
        index=index,
        words=words,
        blocks=tuple(units[stage.unit].name for stage in stages),
        in_pairs=sum(stage.in_pairs for stage in stages),
        what=what,
    )
    return case if len(words) <= 4 * MOST_WORDS else None


def compare(what: str, runner: Callable[[Path], OnHost | OnCore], cases: list[Case]) -> Row:
    """Run sampled networks and return what differs.

    Args:
        what: Machine, core and compiler.
        runner: Makes the program in a folder.
        cases: The networks.
    """
    with tempfile.TemporaryDirectory(prefix="nas-search-") as name:
        counts, failed = run_cases(runner(Path(name)), cases)
    layers = f"{counts['networks']} networks, {counts['units by rows']} units by rows"
    return Row(
        what=f"sampled networks: {what}",
        measured=f"{layers}, {counts['differing']} with a differing value",
        at_least="0 differing",
        reached=not failed,
    )


def on_core(core: str, compiler: str, machine: str, work: Path) -> OnCore:
    """Return the driver on an emulated core, compiled in a folder."""
    return OnCore(work, core, compiler, machine)


def parts(candidates: int, networks: int, folder: Path) -> Iterator[Part]:
    """Yield all parts, in order.

    Args:
        candidates: Networks of each search.
        networks: Sampled networks.
        folder: Of searches and firmware.
    """

    def search(name: str, given: tuple[str, str, int, str, bool]) -> Part:
        def measure() -> Row:
            with tempfile.TemporaryDirectory(prefix="nas-search-") as own:
                return budget(*given, candidates, Path(own))

        return Part(name=name, measure=measure)

    for given in BUDGETS:
        yield search("-".join(map(str, given[:3])), given)
    cases: list[Case] = []

    def against(name: str, runner: Callable[[Path], OnHost | OnCore], step: int = 1) -> Part:
        def measure() -> Row:
            if not cases:
                cases.extend(sampled(networks))
            return compare(name.replace("-", " "), runner, cases[::step])

        return Part(name=name, measure=measure)

    yield against("host", OnHost)
    for machine, core, compiler in product(("qemu", "unicorn"), CORES, COMPILERS):
        yield against(
            f"{core}-{compiler}-{machine}",
            partial(on_core, core, compiler, machine),
            SLOW if machine == "unicorn" else 1,
        )


def run(candidates: int = 500_000, networks: int = 50, only: str = "", work: str = "") -> list[Row]:
    folder = Path(work or "runs/row_budgets")
    folder.mkdir(parents=True, exist_ok=True)
    every = list(parts(candidates, networks, folder))
    names = only.split(",") if only else [part.name for part in every]
    rows = []
    for part in every:
        done = folder / f"{part.name}.json"
        if part.name in names and not done.exists():
            began = time.monotonic()
            row = asdict(part.measure())
            print(f"{part.name}: {row['measured']} ({time.monotonic() - began:.0f} s)", flush=True)
            write_atomically(done, json.dumps(row))
        if done.exists():
            rows.append(Row(**json.loads(done.read_text(encoding="utf-8"))))
    return rows


if __name__ == "__main__":
    main("row_budgets", run, candidates=500_000, networks=50, only="", work="")
