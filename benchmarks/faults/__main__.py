"""Faults swept: the n-th open, read, write, flush to disk, rename or array of a command fails, for
n = 1, 2, ... until none is met.

python -m benchmarks.faults --stage export --kind write

From a prepared run, in forked children, as SQLite tests its own files. Faults are injected into
Python's own calls, for paths of the run, its data and its config alone. After each the command must
end with one line and exit code 1 or 2 that neither calls a file damaged nor puts one aside; then
the same command, undisturbed, must leave the very files of a run without faults, and no temporary
one. A fault that is met and survived (exit code 0) must come to the same files as well, or the
report must name what could not be read. ``--lasting 1`` lets every call from the n-th on fail, as a
full disk does.
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
import time
from collections import Counter
from pathlib import Path

from benchmarks.faults.fault import ERRORS
from benchmarks.faults.sweep import COMMANDS, STAGES, Met, Sweep
from benchmarks.in_process import warm

_WIDTHS = {"met": 5, "told": 5, "survived": 8, "wrong": 5}


def main() -> int:
    """Sweep, print a table of counts and every failure; the exit code is 1 if there was one."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    parser.add_argument(
        "--stage", action="append", choices=[*STAGES, *COMMANDS], help="default: all"
    )
    parser.add_argument("--kind", action="append", choices=list(ERRORS), help="default: all")
    parser.add_argument("--every", type=int, default=1, help="only each so many-th n")
    parser.add_argument(
        "--seed", type=int, default=0, help="where to begin among the first --every"
    )
    parser.add_argument(
        "--lasting", type=int, default=0, help="1: every call from the n-th on fails"
    )
    parser.add_argument(
        "--repeats", type=int, default=3, help="how often the same chain of lines counts; 0: always"
    )
    parser.add_argument("--folder", default="", help="where to work; default: a temporary folder")
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    names, kinds = tuple(given.stage or (*STAGES, *COMMANDS)), tuple(given.kind or ERRORS)
    warm("nas_engine")
    failures: list[Met] = []
    with tempfile.TemporaryDirectory(dir=given.folder or None) as folder:
        sweep = Sweep(Path(folder))
        sweep.prepare(names)
        print(
            f"{'stage or command':18} {'kind':7} {'met':>5} {'told':>5} {'survived':>8} "
            f"{'wrong':>5} seconds"
        )
        for name in names:
            for kind in kinds:
                first = 1 + random.Random(f"{given.seed}{name}{kind}").randrange(given.every)
                began, found = time.monotonic(), Counter[str]()
                told = {
                    "every": given.every,
                    "first": first,
                    "lasting": bool(given.lasting),
                    "repeats": given.repeats,
                }
                for met in sweep.sweep(name, kind, **told):
                    found["met"] += 1
                    found["told" if "error: " in met.hit.err else "survived"] += 1
                    if met.wrong:
                        found["wrong"] += 1
                        failures.append(met)
                        print(f"  {met}", flush=True)
                counts = " ".join(f"{found[word]:{width}}" for word, width in _WIDTHS.items())
                print(f"{name:18} {kind:7} {counts} {time.monotonic() - began:7.0f}", flush=True)
    print(f"{len(failures)} wrong")
    return int(bool(failures))


if __name__ == "__main__":
    raise SystemExit(main())
