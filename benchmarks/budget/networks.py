"""Networks of the benchmark, fixed in ``networks.json`` before any of them was trained.

python -m benchmarks.budget.networks

All are of ``flexible-32``, keep one budget (``Budget``) and have the bits that refinement gives
them. One half is random, the other evolved: networks that no other of their cell beats in both
QE-Score and path noise, at several multiples of the least path noise. A cell is a kind of units
(inverted residuals, residuals, both) and a pattern of halvings (stem and stages). The order
alternates halves, then kinds, then patterns, so that the first networks of any number are a fair
sample.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from device_profiles import load_device
from nas_engine.architecture import Architecture, dump_architecture, parse_architecture
from nas_engine.block_kinds import BLOCK_KINDS
from nas_engine.costs.compute import macs
from nas_engine.encoding import GeneView, decode
from nas_engine.evolution.evaluation import Candidates, evaluate
from nas_engine.evolution.front import non_dominated
from nas_engine.evolution.operators import mutate, sample
from nas_engine.evolution.problem import SearchProblem, make_problem
from nas_engine.layers import Floats, unroll
from nas_engine.scoring.path_noise import PATH_NOISE_FORMS, path_noise
from search_spaces import SearchSpace, StageSpace, load_space

FILE = Path(__file__).with_name("networks.json")
"""The networks."""

COUNT = 144
"""Networks in the file."""

HALVES = ("random", "evolved")
KINDS = {
    "inverted": ("inverted-residual",),
    "residual": ("residual",),
    "mixed": ("residual", "inverted-residual"),
}
"""Kinds of units that the stages of a cell may have."""

PATTERNS = {
    "s2 12121": (2, (1, 2, 1, 2, 1)),
    "s1 21212": (1, (2, 1, 2, 1, 2)),
    "s2 11211": (2, (1, 1, 2, 1, 1)),
    "s1 21211": (1, (2, 1, 2, 1, 1)),
}
"""Strides of stem and stages: maps of 16, 8, 4; 32 to 4; 16, 8; 32 to 8."""

MULTIPLES = (1.4, 1.0, 2.0, 1.15, 1.6, 1.25, 2.6)
"""Path noise of the evolved networks of a cell, as multiples of the least found."""

FORM = PATH_NOISE_FORMS["path-noise-without-stem"]
"""Form of path noise that they are evolved by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Budget that every network keeps."""

    flash_bytes: int = 48 * 1024
    """Bytes of weights and parameters at most."""
    least_flash: float = 0.6
    """Least share of them."""
    sram_bytes: int = 32 * 1024
    """Bytes of the arena at most."""
    macs: tuple[float, float] = (1e6, 3e6)
    """Fewest and most multiply-accumulates."""
    resolution: int = 32
    """Height and width of the image."""
    generations: int = 30
    """Generations of an evolution."""
    children: int = 1024
    """Networks of a generation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One network of the benchmark."""

    name: str
    """Name of its records."""
    half: str
    """``random`` or ``evolved``."""
    kind: str
    """A key of ``KINDS``."""
    pattern: str
    """A key of ``PATTERNS``."""
    architecture: Architecture
    """The network."""

    @property
    def title(self) -> str:
        """Its cell in words."""
        return f"{self.half}, {self.kind}, {self.pattern}"


def problem_of(kind: str, pattern: str, budget: Budget) -> SearchProblem:
    """Return the problem of one cell."""
    space = load_space("flexible-32")
    stem, strides = PATTERNS[pattern]

    def stage(one: StageSpace, stride: int) -> StageSpace:
        free = any(BLOCK_KINDS[name].has_bottleneck for name in KINDS[kind])
        ratios = one.expansions if free else ()
        return replace(one, kinds=KINDS[kind], strides=(stride,), expansions=ratios)

    cell: SearchSpace = replace(
        space,
        stem_strides=(stem,),
        stages=tuple(map(stage, space.stages, strides)),
        stage_weights=space.stage_weights[-1 - strides.count(2) :],
    )
    problem = make_problem(
        cell,
        load_device("cortex-m7"),
        resolution=budget.resolution,
        class_count=10,
        limits={"macs": budget.macs[1]},
        schedule="auto",
    )
    return replace(problem, arena_bytes=budget.sram_bytes, flash_bytes=budget.flash_bytes)


def noise_of(problem: SearchProblem, found: Candidates) -> Floats:
    """Return the path noise of candidates, ``(n,)``."""
    view = GeneView(problem.frame, found.genes)
    return path_noise(unroll(problem.frame, found.genes), view.w_bits, view.a_bits, FORM)


def _kept(problem: SearchProblem, kind: str, budget: Budget, found: Candidates) -> Candidates:
    """Return the candidates that are within the budget and fill it, and have all their kinds."""
    inside = (found.violation == 0) & (found.macs >= budget.macs[0])
    inside &= found.flash >= budget.least_flash * budget.flash_bytes
    if len(KINDS[kind]) > 1:
        codes = np.sort(GeneView(problem.frame, found.genes).kind, axis=0)
        inside &= codes[0] != codes[-1]
    return found.take(np.flatnonzero(inside))


def random_network(kind: str, pattern: str, number: int, budget: Budget) -> Architecture:
    """Return a random network of a cell that fills the budget."""
    problem, rng = problem_of(kind, pattern, budget), np.random.default_rng([1, number])
    while True:
        genes = sample(problem.space, problem.frame, budget.children, rng)[:, 1:]
        low, high = budget.macs
        size = macs(unroll(problem.frame, genes))
        genes = genes[:, (size >= low) & (size <= high)]
        if not genes.size:
            continue
        found = _kept(problem, kind, budget, evaluate(problem, genes))
        if found.n:
            return decode(problem.frame, found.genes[:, 0])


def evolved_networks(kind: str, pattern: str, budget: Budget) -> list[Architecture]:
    """Return the networks of a cell with the best score at each of ``MULTIPLES``."""
    problem, rng = problem_of(kind, pattern, budget), np.random.default_rng(0)
    parents = sample(problem.space, problem.frame, budget.children, rng)
    front: Candidates | None = None
    for generation in range(budget.generations):
        if generation:
            chosen = parents[:, rng.integers(parents.shape[1], size=budget.children)]
            children = mutate(problem.space, problem.frame, chosen, rng, mutate_bits=False)
        else:
            children = parents
        found = evaluate(problem, children)
        kept = _kept(problem, kind, budget, found)
        if front is not None:
            kept = Candidates.concatenate([front, kept])
        if not kept.n:
            parents = found.genes[:, np.argsort(found.violation)[: budget.children // 8]]
            continue
        front = kept.take(non_dominated(np.stack([-kept.score, noise_of(problem, kept)], axis=1)))
        parents = front.genes
    assert front is not None
    noise, best = noise_of(problem, front), list[int]()
    for multiple in MULTIPLES:
        score = front.score.copy()
        score[best] = -np.inf  # each once: where the front ends, the next best follows
        within = noise <= multiple * noise.min() + 1e-12
        within[best] = False
        best.append(int(np.where(within, score, -np.inf if within.any() else score).argmax()))
    return [decode(problem.frame, front.genes[:, index]) for index in best]


def drawn(count: int, budget: Budget) -> list[Entry]:
    """Return the first networks of the benchmark."""
    found, evolved = list[Entry](), dict[tuple[str, str], list[Architecture]]()
    for index in range(count):
        half = HALVES[index % 2]
        kind = tuple(KINDS)[index // 2 % len(KINDS)]
        pattern = tuple(PATTERNS)[index // 2 // len(KINDS) % len(PATTERNS)]
        turn = index // (2 * len(KINDS) * len(PATTERNS))
        if half == HALVES[0]:
            network = random_network(kind, pattern, index, budget)
        else:
            if (kind, pattern) not in evolved:
                evolved[kind, pattern] = evolved_networks(kind, pattern, budget)
            network = evolved[kind, pattern][turn]
        name = f"budget-{index:03d}"
        print(f"{name} ({half}, {kind}, {pattern})", flush=True)
        found.append(Entry(name=name, half=half, kind=kind, pattern=pattern, architecture=network))
    return found


def write(entries: list[Entry], path: Path = FILE) -> None:
    """Write networks as JSON."""
    plain = [
        {
            "name": entry.name,
            "half": entry.half,
            "kind": entry.kind,
            "pattern": entry.pattern,
            "architecture": dump_architecture(entry.architecture),
        }
        for entry in entries
    ]
    path.write_text(json.dumps(plain, indent=1) + "\n", encoding="utf-8")


def read(path: Path = FILE) -> list[Entry]:
    """Return the networks of the file, in their order."""
    return [
        Entry(**{**plain, "architecture": parse_architecture(plain["architecture"])})
        for plain in json.loads(path.read_text(encoding="utf-8"))
    ]


if __name__ == "__main__":
    write(drawn(COUNT, Budget()))
