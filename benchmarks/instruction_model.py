"""Instructions of every loop of the C kernels, fitted, and how far the model of whole networks is
off.

python -m benchmarks.instruction_model [--table FILE] [--cores NAME,NAME] [--compilers NAME,NAME]
[--fitted 63] [--others 50] [--close 20] [--runs DIR,DIR]

Sampled networks of every space run once on an emulated core; how often each loop of a kernel runs
is known (``nas_engine.costs.layer_work``), and what it takes is fitted by non-negative least
squares of relative errors, for each core and compiler. Errors are those of other networks: further
sampled ones, some with the smallest arena (chains of units, little room), those of
``benchmarks.whole_networks`` and the trained ones of ``benchmarks.results``. ``--fitted 0`` judges
the table that is shipped and writes none. The table lies beside
``nas_engine.costs.instruction_model``. Weights are random, one image is run. Sums of every other
fitted network, and of all others, have the scales that training leaves them, which is what a search
counts; networks of ``benchmarks.whole_networks`` are also predicted with scales that are all
random. ``--runs`` adds the trained networks of runs to them. Networks are data for
a runtime that is compiled once for each core and compiler (as in ``benchmarks.blocks``).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml
from scipy.optimize import nnls

from benchmarks.blocks.__main__ import OnCore
from benchmarks.blocks.cases import words_of
from benchmarks.harness import Row, main
from benchmarks.integer_reference import untrained
from benchmarks.results import FOLDER as WINNERS
from benchmarks.results import MODEL, NETWORK, read_results
from benchmarks.whole_networks import ANCHORS, read_network, with_bits
from nas_engine.architecture import Architecture, read_architecture
from nas_engine.costs import instruction_model
from nas_engine.costs.instruction_model import (
    FAMILIES,
    FORMAT,
    GROUPS,
    TABLE,
    InstructionModel,
    shipped_table,
)
from nas_engine.costs.instructions import instructions
from nas_engine.costs.layer_work import Layers
from nas_engine.costs.plan import plan_memory, plan_schedule
from nas_engine.encoding import GeneView, architecture_frame, decode, encode, space_frame
from nas_engine.errors import InputError
from nas_engine.evolution.operators import sample
from nas_engine.exporters.c_steps import c_steps
from nas_engine.exporters.instructions import work_of
from nas_engine.exporters.row_stages import row_stages
from nas_engine.files import write_atomically
from nas_engine.integer.model import IntegerModel
from nas_engine.integer.store import GoldenVectors, load
from nas_engine.layers import macs_per_layer, unroll
from nas_engine.names import ImageInput, Schedule
from nas_engine.network.from_architecture import graph_of
from nas_engine.runs.run_directory import RunDirectory
from nas_engine.verification.qemu_machine import TICKS_PER_INSTRUCTION
from nas_engine.verification.toolchain import COMPILERS, find_toolchain
from search_spaces import load_space, space_names

PLACE = Path(instruction_model.__file__).parent / TABLE

CORES = ("cortex-m7", "cortex-m4", "cortex-m33")

WIDTHS = ("a8", "own", "8,8")
"""Widths of sampled networks in turn, ``with_bits``."""

WAYS: tuple[tuple[Schedule, ImageInput], ...] = (
    ("layers", "whole"),
    ("auto", "rows"),
    ("layers", "whole"),
    ("rows", "whole"),
)
"""Schedules and images of sampled networks, in turn."""

FITTED, LEFT_OUT = 63, 50
"""Sampled networks that are fitted, and that are not."""

MOST_MACS = 30e6
"""Most multiply-accumulates of a sampled network."""

MOST_WEIGHTS, MOST_LAYERS = 1.5e6, 64
"""Most weights and steps of a network, which the driver holds."""

MOST_PIXELS = 100
"""Largest sampled image, or, where a space begins there, a little more."""

MOST_ERROR, MEAN_ERROR = 0.05, 0.02
"""Goals."""

TIGHT = 20
"""Networks with the smallest arena."""

TIGHT_SPACES = ("residual-32", "mobilenet-32", "hybrid-32", "flexible-32")
"""Their spaces, in turn."""

LEAST_SHARE = 0.01
"""A layer's errors weigh as those of one with this share of its network, where it has less."""


@dataclass(frozen=True)
class Case:
    """One network."""

    name: str
    architecture: Architecture
    alike: bool = True
    """True for scales of sums as training leaves them; all are random otherwise."""
    trained: Path | None = None
    """Folder of its integers, if its weights are not random."""

    @cached_property
    def model(self) -> IntegerModel:
        """The network with its integers."""
        if self.trained is not None:
            return load(self.trained).model
        return untrained(self.architecture, alike=self.alike)

    @cached_property
    def plan(self) -> Any:
        """Its memory."""
        one = self.architecture
        return plan_schedule(self.model, one.schedule, one.image, one.room)

    @cached_property
    def steps(self) -> dict[str, tuple[str, Layers]]:
        """Family, shapes and widths of its steps by name."""
        stages = row_stages(self.model, self.plan)
        return {
            step.step.name: work_of(step, stages) for step in c_steps(self.model, self.plan, stages)
        }

    def predicted(self, model: InstructionModel) -> float:
        """Return the instructions of the steps, all together."""
        return sum(float(model.count(*step)) for step in self.steps.values())

    def searched(self, model: InstructionModel) -> float:
        """Return the instructions that a search counts."""
        frame = architecture_frame(self.architecture)
        genes = encode(frame, [self.architecture])
        view, table = GeneView(frame, genes), unroll(frame, genes)
        return float(instructions(model, table, view.w_bits, view.a_bits)[0])


def sampled(count: int, seed: int, *, alike: Sequence[bool] = (True,)) -> Iterator[Case]:
    """Yield random networks of every space under the schedules in turn.

    Args:
        count: How many.
        seed: Of the random numbers.
        alike: True in turn for scales of sums as training leaves them.
    """
    rng, names, index = np.random.default_rng(seed), space_names(), 0
    while index < count:
        name = names[index % len(names)]
        space, turn = load_space(name), index // len(names)
        most = min(space.max_resolution, max(MOST_PIXELS, space.min_resolution + 24))
        pixels = int(rng.integers(max(16, space.min_resolution), most))
        schedule, image = WAYS[turn % len(WAYS)]
        frame = space_frame(space, pixels, int(rng.integers(2, 100)))
        frame = replace(frame, schedule=schedule, image=image)
        genes = sample(space, frame, 2, rng)[:, 1:]  # the first is the smallest
        network = with_bits(decode(frame, genes[:, 0]), WIDTHS[turn % len(WIDTHS)])
        try:
            least = plan_memory(network).arena_bytes
        except InputError:  # rows of the stem's output that cannot be packed
            continue
        table = unroll(frame, genes)
        if schedule == "auto" and rng.integers(2):
            network = replace(network, room=int(least * rng.uniform(1, 2)))
        small = macs_per_layer(table).sum() <= MOST_MACS and table.weights.sum() <= MOST_WEIGHTS
        if small and len(graph_of(network).nodes) <= MOST_LAYERS:
            what = f"{name} {pixels} px, number {index} of seed {seed}"
            yield Case(what, network, alike=alike[(index % len(names) + turn) % len(alike)])
            index += 1


def tight(count: int, seed: int) -> Iterator[Case]:
    """Yield random networks with the smallest arena or little more, mostly in chains of units.

    Args:
        count: How many.
        seed: Of the random numbers.
    """
    rng = np.random.default_rng(seed)
    for index in range(count):
        space = load_space(TIGHT_SPACES[index % len(TIGHT_SPACES)])
        frame = space_frame(space, max(32, space.min_resolution), 10)
        frame = replace(frame, schedule="auto")
        network = with_bits(decode(frame, sample(space, frame, 2, rng)[:, 1]), WIDTHS[index % 2])
        least = plan_memory(network).arena_bytes
        network = replace(network, room=int(least * rng.choice([1.0, 1.05, 1.2])))
        yield Case(f"{space.name}, tight, number {index}", network)


def known(runs: Sequence[Path] = (), *, alike: bool = True) -> Iterator[Case]:
    """Yield the networks of ``benchmarks.whole_networks`` at their own widths, and those of runs.

    Args:
        runs: Run directories.
        alike: True for scales of sums as training leaves them.
    """
    names = yaml.safe_load(ANCHORS.read_text(encoding="utf-8"))["networks"]
    for name in names:
        yield Case(name, read_network(name), alike=alike)
    for run in runs:
        place = RunDirectory(run)
        name = f"{run.parent.name}/{run.name} (trained)"
        yield Case(name, place.read_best(), trained=place.integer)


def winners() -> Iterator[Case]:
    """Yield the trained networks of ``benchmarks.results``."""
    for name in read_results():
        network = read_architecture(WINNERS / name / NETWORK)
        yield Case(f"{name} (trained)", network, trained=WINNERS / name / MODEL)


def words(case: Case) -> bytes:
    """Return a network with one image of noise, as the driver of ``benchmarks.blocks`` reads it."""
    model, rng = case.model, np.random.default_rng(0)
    image = rng.integers(0, 256, (1, *model.tensor(model.image).shape), np.uint8)
    unknown = GoldenVectors(
        images=image,
        logits=np.zeros((1, len(model.classes)), np.int8),
        checksums=dict.fromkeys((tensor.name for tensor in model.tensors), 0),
    )
    return words_of(model, case.plan.segments, unknown)


def counted(cases: Sequence[Case], core: str, compiler: str) -> list[dict[str, int]]:
    """Return the instructions of each step of networks by name, one image each."""
    with tempfile.TemporaryDirectory(prefix="nas-search-") as name:
        driver = OnCore(Path(name), core, compiler, "qemu", "count.c")
        written = np.frombuffer(
            b"".join(driver.output(words(case)) for case in cases), np.uint32
        ).tolist()
    found, at = [], 0
    for case in cases:
        names = [node.name for node in case.model.nodes]
        assert written[at] == len(names), case.name
        ticks = written[at + 1 : at + 1 + len(names)]
        found.append(
            {
                name: round(count / TICKS_PER_INSTRUCTION)
                for name, count in zip(names, ticks, strict=True)
            }
        )
        at += 1 + len(names)
    return found


def fit(cases: Sequence[Case], counts: Sequence[dict[str, int]]) -> dict[str, dict[str, float]]:
    """Return the instructions of each loop by group, from those of each step of networks."""
    steps = [
        (*step, counts[at][name], LEAST_SHARE * sum(counts[at].values()))
        for at, case in enumerate(cases)
        for name, step in case.steps.items()
    ]
    found = {}
    for group in dict.fromkeys(GROUPS.values()):
        own = [step for step in steps if GROUPS[step[0]] == group]
        names, matrix = work_of_loops([step[:2] for step in own])
        wanted = np.array([count for *_, count, _ in own], float)
        weights = 1 / np.maximum(wanted, [least for *_, least in own])
        prices, _ = nnls(matrix * weights[:, None], wanted * weights, maxiter=100 * len(names))
        found[group] = {
            name: round(float(price), 4) for name, price in zip(names, prices, strict=True)
        }
    return found


class _Asked(dict[str, int]):
    """Names of the loops that a family asks the price of."""

    def __missing__(self, name: str) -> int:
        self[name] = 0
        return 0


class _Units(dict[str, npt.NDArray[np.float64]]):
    """Prices that are unit vectors: with them instructions are how often each loop runs."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(zip(names, np.eye(len(names)), strict=True))


def work_of_loops(
    steps: Sequence[tuple[str, Layers]],
) -> tuple[list[str], npt.NDArray[np.float64]]:
    """Return the names of the loops of steps, and how often each runs, ``(steps, loops)``."""
    asked = _Asked()
    for family, layer in steps:
        FAMILIES[family](layer, asked)
    names = sorted(asked)
    units = _Units(names)
    return names, np.array([FAMILIES[family](layer, units) for family, layer in steps])


def errors(
    model: InstructionModel, cases: Sequence[Case], counts: Sequence[dict[str, int]]
) -> npt.NDArray[np.float64]:
    """Return relative errors of the totals, ``(2, networks)``: of the steps, and of a search.

    A search takes scales for those that training leaves; of other networks it has no error (NaN).
    """
    totals = np.array([sum(count.values()) for count in counts])
    found = np.array(
        [[case.predicted(model), case.searched(model) if case.alike else np.nan] for case in cases]
    ).T
    return np.asarray(found / totals - 1)


def write_table(models: Sequence[InstructionModel]) -> str:
    """Return the text of ``instructions.yaml``; of each core the compiler with most comes first."""
    head = (
        "# Instructions of each loop of the kernels by core and compiler, of each core first the "
        "compiler whose code\n# takes most. Measured by `python -m benchmarks.instruction_model`; "
        "do not edit.\n"
    )
    rows = [asdict(model) for model in models]
    return head + yaml.safe_dump({"format": FORMAT, "rows": rows}, sort_keys=False, width=100)


def run(
    table: Path = PLACE,
    cores: str = ",".join(CORES),
    compilers: str = ",".join(COMPILERS),
    fitted: int = FITTED,
    others: int = LEFT_OUT,
    close: int = TIGHT,
    runs: str = "",
) -> list[Row]:
    ways = list(product(cores.split(","), compilers.split(",")))
    learned = list(sampled(fitted, 1, alike=(True, False)))
    paths = [Path(run) for run in filter(None, runs.split(","))]
    named = [*known(paths), *winners()]
    checked = [*sampled(others, 2), *tight(close, 3), *named, *known(alike=False)]
    models, rows = [], []
    for core, compiler in ways:
        mine = counted([*learned, *checked], core, compiler)
        key = find_toolchain(compiler).key
        if not fitted:
            model = next(row for row in shipped_table() if (row.core, row.compiler) == (core, key))
            rows += rows_of(model, errors(model, checked, mine), checked, others, close)
            continue
        model = InstructionModel(
            core=core,
            compiler=key,
            mean_error=0.0,
            worst_error=0.0,
            loops=fit(learned, mine[:fitted]),
        )
        found = errors(model, checked, mine[fitted:])
        worst = float(np.ceil(np.nanmax(np.abs(found)) * 1000) / 1000)
        mean = float(np.ceil(np.nanmean(np.abs(found), axis=1).max() * 1000) / 1000)
        model = replace(model, mean_error=mean, worst_error=worst)
        models.append((sum(sum(one.values()) for one in mine), model))
        rows += rows_of(model, found, checked, others, close)
    if not fitted:
        return rows
    ordered = sorted(models, key=lambda one: (cores.split(",").index(one[1].core), -one[0]))
    write_atomically(table, write_table([model for _, model in ordered]))
    return rows


def rows_of(
    model: InstructionModel,
    found: npt.NDArray[np.float64],
    cases: Sequence[Case],
    sampled: int,
    close: int,
) -> list[Row]:
    """Return the errors of one core and compiler.

    Args:
        model: Core, compiler and prices.
        found: Errors, as ``errors`` returns them.
        cases: Their networks: sampled ones, those with the smallest arena, known ones, and those
            whose scales are all random.
        sampled: Number of sampled ones.
        close: Number of those with the smallest arena.
    """
    where = f"{model.core}, {model.compiler}"
    rows = []
    trained = sum(case.alike for case in cases)
    parts = {
        "sampled": slice(0, sampled),
        "smallest arena": slice(sampled, sampled + close),
        "known": slice(sampled + close, trained),
        "known, all scales random": slice(trained, None),
    }
    for what, part in parts.items():
        for who, own in zip(("steps", "search"), found[:, part], strict=True):
            if not own.size or np.isnan(own).any():
                continue
            off = np.abs(own)
            worst = cases[part][int(off.argmax())].name
            rows.append(
                Row(
                    what=f"{where}: {own.size} networks, {what}, predicted by {who}",
                    measured=(
                        f"{own.min():+.1%} to {own.max():+.1%} of the instructions counted, mean "
                        f"{off.mean():.1%}; most in {worst}"
                    ),
                    at_least=f"within {MOST_ERROR:.0%}, mean at most {MEAN_ERROR:.0%}",
                    reached=off.max() <= MOST_ERROR and off.mean() <= MEAN_ERROR,
                )
            )
    listed = ", ".join(
        f"{case.name} {off:+.1%}"
        for case, off in zip(
            cases[sampled + close : trained], found[0, sampled + close : trained], strict=True
        )
    )
    rows.append(
        Row(what=f"{where}: each known network", measured=listed, at_least="reported", reached=True)
    )
    return rows


if __name__ == "__main__":
    main(
        "instruction_model",
        run,
        table=PLACE,
        cores=",".join(CORES),
        compilers=",".join(COMPILERS),
        fitted=FITTED,
        others=LEFT_OUT,
        close=TIGHT,
        runs="",
    )
