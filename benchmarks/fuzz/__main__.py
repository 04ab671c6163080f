"""Wrong inputs through the whole command line: options, YAML, spoilt run directories, data,
settings, the environment.

python -m benchmarks.fuzz --seed 0 --count 900

Each case runs in a forked child of one warm process, in a folder of its own. Counted are
tracebacks, exit codes other than those of the documentation, hangs (20 s without work, or after a
Ctrl-C), memory without a bound, and messages that are not one line of up to 700 printable
characters. ``--only INDEX`` runs one case of a seed again and shows its whole output.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections import Counter
from pathlib import Path

from benchmarks.fuzz.cases import KINDS, Failure, kind_of, run_case
from benchmarks.fuzz.world import make_world
from benchmarks.in_process import warm

COUNTED = (
    "traceback",
    "exit code",
    "hang",
    "memory",
    "more than one line",
    "no message",
    "long line",
    "control character",
)


def main() -> int:
    """Run the cases of a seed, print a table by kind and every failure; the exit code says whether
    there was one.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=900)
    parser.add_argument("--first", type=int, default=0, help="index to begin with")
    parser.add_argument(
        "--kind", action="append", choices=list(KINDS), help="only these; default: all"
    )
    parser.add_argument("--only", type=int, default=None, help="one case, with all it said")
    parser.add_argument("--folder", default="", help="where to work; default: a temporary folder")
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    warm("nas_engine")
    began = time.monotonic()
    failures: list[Failure] = []
    counts: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
    with tempfile.TemporaryDirectory(dir=given.folder or None) as folder:
        world = make_world(Path(folder))
        indices = (
            range(given.first, given.first + given.count) if given.only is None else [given.only]
        )
        for index in indices:
            if given.kind and kind_of(given.seed, index) not in given.kind:
                continue
            case, outcome, faults = run_case(world, given.seed, index)
            count = counts[case.kind]
            count["cases"] += 1
            count[f"exit {outcome.code}"] += 1
            count["Ctrl-C"] += outcome.interrupted
            for fault in faults:
                count[next((word for word in COUNTED if fault.startswith(word)), "other")] += 1
            if faults:
                failures.append(
                    Failure(seed=given.seed, index=index, case=case, outcome=outcome, faults=faults)
                )
                print(failures[-1], flush=True)
            if given.only is not None:
                print(f"{case}\n{outcome.out}\n{outcome.err}\n{faults}")
    print(table(counts))
    print(
        f"{sum(count['cases'] for count in counts.values())} cases, {len(failures)} failures, "
        f"{time.monotonic() - began:.0f} s"
    )
    return int(bool(failures))


def table(counts: dict[str, Counter[str]]) -> str:
    """Return what was counted, a row for each kind."""
    columns = ("cases", "exit 0", "exit 1", "exit 2", "exit 130", "Ctrl-C", *COUNTED, "other")
    lines = [f"| kind | {' | '.join(columns)} |", f"|---|{'---|' * len(columns)}"]
    for kind, count in [*counts.items(), ("all", sum(counts.values(), Counter()))]:
        lines.append(f"| {kind} | {' | '.join(str(count[name]) for name in columns)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
