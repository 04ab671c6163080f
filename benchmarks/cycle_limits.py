"""Limits on cycles, and what the emulated core then counts: up to 30 searches, and other bits for
each winner, as a refinement takes them. A search that finds nothing does not count.

python -m benchmarks.cycle_limits [--candidates 3000] [--core cortex-m7]

Limits are a share of the cycles that a search without one comes to. Bits are changed one by one, at
random, within the limits that a refinement has (``nas_engine.allocation.tightening``). Weights are
random, sums have the scales that training leaves them, one image is run.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np

from benchmarks.harness import Row, main
from benchmarks.instruction_model import Case, counted
from nas_engine.allocation.allocator import allocation_of
from nas_engine.allocation.device_problem import device_problem, levels_of, with_levels
from nas_engine.allocation.moves import feasible_start
from nas_engine.allocation.problem import AllocationProblem
from nas_engine.allocation.records import BitAllocation
from nas_engine.allocation.tightening import choose_within
from nas_engine.architecture import Architecture
from nas_engine.errors import NasEngineError
from nas_engine.evolution.config import build_problem
from nas_engine.evolution.problem import SearchProblem
from nas_engine.pipeline import resolve_config, run_search
from nas_engine.units import parse_size
from nas_engine.verification.toolchain import COMPILERS

BUDGETS = (("64k", "512k"), ("256k", "1m"), ("24k", "256k"))
"""SRAM and Flash."""

SPACES = (("mobilenet-32", 32), ("mobilenet", 64), ("flexible-32", 32), ("residual-32", 32),
          ("hybrid-32", 40))  # fmt: skip
"""Spaces and pixels."""

SHARES = (0.5, 0.8)
"""Limits, as shares of the cycles without one."""

BOARDS = {"cortex-m7": "stm32h743", "cortex-m4": "stm32f446"}
"""Device of each core."""

CHANGES = 300
"""Changes of bits that are tried."""


def other_bits(search: SearchProblem, network: Architecture, seed: int) -> Architecture:
    """Return a network with bits changed at random, as a refinement by a random method would."""
    problem = device_problem(search, network)
    own = levels_of(problem, network)

    def choose(asked: AllocationProblem, turn: int) -> BitAllocation:
        rng = np.random.default_rng((seed, turn))
        levels = own.copy() if asked.is_feasible(own) else np.array(feasible_start(asked))
        for _ in range(CHANGES):
            at = int(rng.integers(len(levels)))
            before = int(levels[at])
            levels[at] = rng.integers(asked.counts[at])
            if not asked.is_feasible(levels):
                levels[at] = before
        return allocation_of(asked, "random", levels)

    return with_levels(problem, network, choose_within(search, network, choose).levels)


def run(candidates: int = 3_000, core: str = "cortex-m7") -> list[Row]:
    cases: list[tuple[str, Case, float]] = []
    with tempfile.TemporaryDirectory(prefix="nas-search-") as name:
        for at, ((sram, flash), (space, pixels)) in enumerate(product(BUDGETS, SPACES)):
            sizes = {"sram": parse_size(sram), "flash": parse_size(flash), "seed": at}
            options = {"device": BOARDS[core], "space": space, "resolution": pixels, **sizes}
            options |= {"candidates": candidates, "max_latency": "none"}
            free = run_search(resolve_config(options), Path(name) / f"{at}").best
            assert free.cycles is not None
            for share in SHARES:
                given = resolve_config({**options, "max_cycles": int(share * free.cycles)})
                try:
                    best = run_search(given, Path(name) / f"{at}-{share}").best.architecture
                except NasEngineError:  # nothing fits, or was found so soon
                    continue
                search, _ = build_problem(given)
                what = f"{space} {pixels} px, {sram}/{flash}, {share:.0%}"
                limit = search.most_instructions
                cases.append((f"search, {what}", Case(what, best), limit))
                other = other_bits(search, best, at)
                other = replace(other, room=best.room)
                cases.append((f"bits, {what}", Case(what, other), limit))
    rows = []
    for compiler in COMPILERS:
        found = counted([case for _, case, _ in cases], core, compiler)
        for kind in ("search", "bits"):
            used = {
                what: sum(steps.values()) / limit
                for (what, _, limit), steps in zip(cases, found, strict=True)
                if what.startswith(kind)
            }
            most = max(used, key=used.__getitem__)
            over = sum(share > 1 for share in used.values())
            title = (
                "searches"
                if kind == "search"
                else "networks with other bits, as a refinement takes them"
            )
            rows.append(
                Row(
                    what=f"{core}, {compiler}: {len(used)} {title}",
                    measured=(
                        f"{over} counted beyond their limit; {min(used.values()):.1%} to "
                        f"{used[most]:.1%} of it, most in {most}"
                    ),
                    at_least="0 beyond",
                    reached=over == 0,
                )
            )
    return rows


if __name__ == "__main__":
    main("cycle_limits", run, candidates=3_000, core="cortex-m7")
