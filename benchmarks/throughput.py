"""How fast candidates are scored, refined and bred, on one core, and the default search with two
workers.

python -m benchmarks.throughput
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.harness import Row, best_seconds, main
from device_profiles import load_device
from nas_engine.costs.flash import flash
from nas_engine.costs.sram import peak_sram
from nas_engine.encoding import GeneView
from nas_engine.evolution.operators import sample
from nas_engine.evolution.problem import SearchProblem, make_problem
from nas_engine.evolution.search import SearchSettings, init, step
from nas_engine.heap import keep_freed_blocks
from nas_engine.layers import unroll
from nas_engine.scoring.qe_score import qe_score
from search_spaces import load_space

BATCH = 2048
KIB, MIB = 2**10, 2**20


def run(candidates: int = 500_000, generations: int = 20) -> list[Row]:
    keep_freed_blocks()
    device = load_device("cortex-m7").with_memory(256 * KIB, MIB)
    problem = make_problem(load_space("mobilenet"), device)
    genes = sample(problem.space, problem.frame, BATCH, np.random.default_rng(0))
    view = GeneView(problem.frame, genes)

    def count() -> None:
        table = unroll(problem.frame, genes)
        qe_score(table, view.w_bits, view.a_bits, problem.score)
        peak_sram(problem.model, table, view.a_bits)
        flash(problem.model, table, view.w_bits)

    counted = BATCH / best_seconds(count, repeats=20)

    loop = loop_rates([problem], generations)[0]
    ratios = []
    for sram in (256 * KIB, 64 * KIB):
        small = load_device("cortex-m7").with_memory(sram, MIB)
        by_layers, by_rows = (
            make_problem(problem.space, small, schedule=schedule, image=image)
            for schedule, image in (("layers", "whole"), ("auto", "rows"))
        )
        found = loop_rates([by_layers, by_rows], generations)
        ratios.append(found[1] / found[0])

    seconds, megabytes = default_search(candidates)
    help_seconds = best_seconds(
        lambda: subprocess.run(
            [sys.executable, "-m", "nas_engine.cli.main", "--help"], check=True, capture_output=True
        )
    )
    return [
        Row(
            what="genes to score + SRAM + Flash, one core",
            measured=f"{counted:,.0f} candidates/s",
            at_least="1,000,000 candidates/s",
            reached=counted >= 1e6,
        ),
        Row(
            what="whole loop (mutation, QBR, costs, selection), one core, median generation",
            measured=f"{loop:,.0f} candidates/s",
            at_least="20,000 candidates/s (aim: 50,000)",
            reached=loop >= 2e4,
        ),
        Row(
            what="the loop with --schedule auto --input rows to layers, 256k and 64k of SRAM",
            measured=" and ".join(f"{ratio:.2f}" for ratio in ratios),
            at_least="0.5",
            reached=min(ratios) >= 0.5,
        ),
        Row(
            what=(
                f"command of {candidates:,} candidates, two workers, start to last file (no "
                "pictures)"
            ),
            measured=f"{seconds:.1f} s wall",
            at_least="20 s",
            reached=seconds <= 20,
        ),
        Row(
            what="its memory: peak resident sets of all three processes, summed",
            measured=f"{megabytes:.0f} MB",
            at_least="< 500 MB",
            reached=megabytes < 500,
        ),
        Row(
            what="nas-search --help",
            measured=f"{help_seconds:.2f} s",
            at_least="0.3 s",
            reached=help_seconds <= 0.3,
        ),
    ]


def loop_rates(problems: Sequence[SearchProblem], generations: int) -> list[float]:
    """Return the median candidates per second of each search, their generations in turns."""
    settings = SearchSettings()
    states = [init(problem, settings, itertools.starmap) for problem in problems]
    rates: list[list[float]] = [[] for _ in problems]
    for _ in range(generations):
        for i, problem in enumerate(problems):
            began, before = time.perf_counter(), states[i].evaluated
            states[i] = step(states[i], problem, settings, itertools.starmap)
            rates[i].append((states[i].evaluated - before) / (time.perf_counter() - began))
    return [float(np.median(each)) for each in rates]


def default_search(candidates: int) -> tuple[float, float]:
    """Return wall seconds and the sum of the peak resident sets, in 10^6 bytes, of one search with
    two workers.
    """
    with tempfile.TemporaryDirectory() as folder:
        options = [
            "--device",
            "cortex-m7",
            "--sram",
            "256k",
            "--flash",
            "1m",
            "--workers",
            "2",
            "--no-plots",
        ]
        began = time.perf_counter()
        command = [
            sys.executable,
            "-m",
            "nas_engine.cli.main",
            *options,
            "--candidates",
            str(candidates),
            "--out",
            f"{folder}/run",
        ]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        peaks: dict[int, int] = {}
        while process.poll() is None:
            for pid in [process.pid, *children(process.pid)]:
                peaks[pid] = max(peaks.get(pid, 0), peak_resident(pid))
            time.sleep(0.05)
        if process.returncode:
            raise RuntimeError(f"the search ended with exit code {process.returncode}")
        return time.perf_counter() - began, sum(peaks.values()) / 1e6


def children(pid: int) -> list[int]:
    try:
        return [
            int(child)
            for child in Path(f"/proc/{pid}/task/{pid}/children")
            .read_text(encoding="ascii")
            .split()
        ]
    except OSError:
        return []


def peak_resident(pid: int) -> int:
    """Return VmHWM in bytes, 0 where the process has gone or the system has no /proc."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main("throughput", run, candidates=500_000, generations=20)
