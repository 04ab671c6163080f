"""What every study shares: its rows, the machine they were measured on, and where they are written."""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results"
README = HERE / "README.md"
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measured figure beside what it must reach."""

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
    """Write one study's rows as JSON and renew the table of README.md from all results."""
    RESULTS.mkdir(exist_ok=True)
    plain = [{**asdict(row), "reached": bool(row.reached)} for row in rows]
    record = {
        "command": command,
        "machine": machine(),
        "date": time.strftime("%Y-%m-%d"),
        "rows": plain,
    }
    (RESULTS / f"{study}.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    before, _, rest = README.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    README.write_text(f"{before}{BEGIN}\n\n{table()}\n{END}{after}", encoding="utf-8")


def table() -> str:
    """Return the Markdown tables of all results."""
    parts = []
    for path in sorted(RESULTS.glob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        lines = [
            f"### {path.stem}",
            "",
            f"`{record['command']}`, {record['date']}, {record['machine']}",
            "",
        ]
        lines += ["| what | measured | at least | reached |", "|---|---|---|---|"]
        lines += [
            f"| {r['what']} | {r['measured']} | {r['at_least']} | "
            f"{'yes' if r['reached'] else '**no**'} |"
            for r in record["rows"]
        ]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def main(study: str, run: Callable[..., list[Row]], **sizes: Any) -> None:
    """Run one study from the command line: each keyword is an option with its default; print the
    rows and write them.

    ``--results NAME`` writes them under another name, beside those of other networks or data.
    """
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{study}")
    for name, default in sizes.items():
        parser.add_argument(
            f"--{name}", type=type(default), default=default, help=f"default {default}"
        )
    parser.add_argument(
        "--results", default=study, help="name of the results, default that of the study"
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
    named = "" if results == study else f" --results {results}"
    write(results, f"python -m benchmarks.{study}{given}{named}", rows)


def _short(value: object) -> str:
    """Return an option without the folders of its paths: they are of no use elsewhere."""
    return ",".join(Path(part).name for part in str(value).split(","))
