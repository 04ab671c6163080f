"""Kinds of cases, their shares, and the run of one."""

from __future__ import annotations

import json
import os
import random
import shlex
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.fuzz import commands, data, files
from benchmarks.fuzz.maker import Case, Maker
from benchmarks.fuzz.world import World
from benchmarks.in_process import Outcome, in_child

CODES = frozenset({0, 1, 2, 3, 130})
"""Exit codes of the documentation."""

KINDS: dict[str, tuple[Callable[[Maker], Case], int]] = {
    "options": (commands.options, 32),
    "yaml": (files.yaml, 26),
    "names": (commands.names, 4),
    "spoilt": (files.spoilt, 20),
    "data": (data.data, 9),
    "settings": (commands.settings, 7),
    "environment": (commands.environment, 2),
}
"""Every kind with its share of the cases in percent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A case that broke the rules."""

    seed: int
    index: int
    case: Case
    outcome: Outcome
    faults: tuple[str, ...]

    def __str__(self) -> str:
        said = [line for line in self.outcome.err.strip().splitlines() if line.strip()] or [""]
        words = ascii(shlex.join(["nas-search", *self.case.words]))
        return (
            f"{', '.join(self.faults)}: --seed {self.seed} --only {self.index} ({self.case.kind}: "
            f"{self.case.what})\n"
            f"    exit {self.outcome.code}, {self.outcome.seconds:.1f} s, "
            f"{self.outcome.memory / 2**20:.0f} MiB: "
            f"{said[-1][:300]!a}\n    {words[:400]}"
        )


def kind_of(seed: int, index: int) -> str:
    """Return the kind of a case."""
    chance = random.Random(f"kind {seed} {index}")
    return chance.choices(list(KINDS), [share for _, share in KINDS.values()])[0]


def run_case(
    world: World, seed: int, index: int, work_s: float = 10.0, hang_s: float = 20.0
) -> tuple[Case, Outcome, tuple[str, ...]]:
    """Make and run one case; return it, what became of it and what is wrong with that."""
    with tempfile.TemporaryDirectory(dir=world.folder) as name:
        maker = Maker(world, Path(name), random.Random(f"case {seed} {index}"))
        case = KINDS[kind_of(seed, index)][0](maker)

        def before() -> None:
            os.environ.update(case.environment)
            if "TMPDIR" in case.environment:
                tempfile.tempdir = None

        outcome = in_child(case.words, Path(name), before=before, work_s=work_s, hang_s=hang_s)
        owned = (Path(name) / "owned").exists()
    faults = outcome.faults(CODES) + (["code ran"] if owned else [])
    if "--json" in case.words and outcome.code == 0 and outcome.out.strip():
        try:
            json.loads(outcome.out)
        except ValueError:
            if not {"--help", "-h", "--version"} & set(case.words):
                faults.append("no JSON")
    return case, outcome, tuple(faults)
