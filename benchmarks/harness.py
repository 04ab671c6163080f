"""Rows of a study, the machine they were measured on, and the page of all results.

``python -m benchmarks.harness`` writes RESULTS.md from ``results/*.json``. With ``--check`` it
writes nothing and exits with 1 if the page is not up to date.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results"
PAGE = HERE / "RESULTS.md"

INTRODUCTION = """# Results

Every figure measured, by study. Written by `python -m benchmarks.harness` from `results/*.json`; do
not edit. [README.md](README.md) says what each command measures. "For comparison" and "reported"
rows have no target. A missed target is **no**.

## Anchors

- **The authors' code**, on a machine of the same kind: 32 to 42 candidates per second (it builds a
  torch module per candidate), a score of 1211.81 after 10,000 candidates. Their published
  Mixed7d0G scores 1224.54. Simulated annealing in scalar Python reaches 1230.8.
- **Published CIFAR ResNets** through these loaders (`python -m benchmarks.teachers`): 91.73 %
  (ResNet-20), 92.62 % (ResNet-32).
- **Networks trained here to be judged** (`python -m benchmarks.subjects`): a small vision
  transformer (64.65 %), a ResNet-56 grown from ResNet-32 (92.29 %; its inserted blocks do little:
  their last batch norms weigh 0.05, the others 0.57), ResNet-20, -32 and -56 for CIFAR-100 (58.23,
  61.03 and 56.18 % after 8, 8 and 4 epochs).
"""
"""Head of the page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measured figure and its target."""

    what: str
    measured: str
    at_least: str
    reached: bool


def machine() -> str:
    """Name processor, cores, Python and NumPy."""
    import numpy as np

    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next(
            (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")),
            model,
        )
    return (
        f"{model}, {os.cpu_count()} cores, {platform.system()}, Python "
        f"{platform.python_version()}, NumPy {np.__version__}"
    )


def best_seconds(function: Callable[[], Any], repeats: int = 7, least: float = 0.05) -> float:
    """Return the shortest time of one call: the best of several rounds, each long enough for the
    clock.
    """
    function()
    best = float("inf")
    for _ in range(repeats):
        calls, began = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - began) < least:
            function()
            calls += 1
        best = min(best, elapsed / calls)
    return best


def write(study: str, command: str, rows: list[Row]) -> None:
    """Write one study's rows as JSON and renew the page of all results."""
    RESULTS.mkdir(exist_ok=True)
    plain = [{**asdict(row), "reached": bool(row.reached)} for row in rows]
    record = {
        "command": command,
        "machine": machine(),
        "date": time.strftime("%Y-%m-%d"),
        "rows": plain,
    }
    (RESULTS / f"{study}.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(page(), encoding="utf-8")


def page() -> str:
    """Return the Markdown page of all results: introduction, one line per study, one table each."""
    index = ["## Studies", "", "| study | date | rows | targets missed |", "|---|---|---|---|"]
    parts = []
    for path in sorted(RESULTS.glob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        rows = record["rows"]
        missed = sum(not row["reached"] for row in rows)
        index.append(
            f"| [{path.stem}](#{path.stem}) | {record['date']} | {len(rows)} | {missed or 'none'} |"
        )
        lines = [
            f"## {path.stem}",
            "",
            f"`{record['command']}`, {record['date']}, {record['machine']}",
            "",
            "| what | measured | at least | reached |",
            "|---|---|---|---|",
        ]
        lines += [
            f"| {r['what']} | {r['measured']} | {r['at_least']} | "
            f"{'yes' if r['reached'] else '**no**'} |"
            for r in rows
        ]
        parts.append("\n".join(lines) + "\n")
    return "\n".join([INTRODUCTION, "\n".join(index) + "\n", *parts])


def main(study: str, run: Callable[..., list[Row]], **sizes: Any) -> None:
    """Run one study from the command line: each keyword is an option with its default; print the
    rows and write them.

    ``--results NAME`` writes them under another name, next to those of other networks or data.

    Args:
        study: Module within ``benchmarks``; its last part names the results.
        run: Returns the rows.
        sizes: Options with their defaults.
    """
    own = study.rpartition(".")[2]
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{study}")
    for name, default in sizes.items():
        parser.add_argument(
            f"--{name}", type=type(default), default=default, help=f"default {default}"
        )
    parser.add_argument(
        "--results", default=own, help="name of the results, default that of the study"
    )
    arguments = vars(parser.parse_args())
    results = arguments.pop("results")
    rows = run(**arguments)
    for row in rows:
        print(
            f"{'ok  ' if row.reached else 'MISS'} {row.what}: {row.measured} (at least: "
            f"{row.at_least})"
        )
    given = "".join(
        f" --{name} {_short(value)}" for name, value in arguments.items() if value != sizes[name]
    )
    named = "" if results == own else f" --results {results}"
    write(results, f"python -m benchmarks.{study}{given}{named}", rows)


def _short(value: object) -> str:
    """Return an option without the folders of its paths: they are of no use elsewhere."""
    return ",".join(Path(part).name for part in str(value).split(","))


def renew(arguments: Sequence[str]) -> int:
    """Write the page, or with ``--check`` compare it; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.harness")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if out of date")
    if not parser.parse_args(arguments).check:
        PAGE.write_text(page(), encoding="utf-8")
        return 0
    if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == page():
        return 0
    print(f"{PAGE.name} is not up to date; run python -m benchmarks.harness", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(renew(sys.argv[1:]))
