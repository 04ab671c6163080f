"""The whole run as a new user starts it: time, memory, proof, size of the report; and the same run
killed at random moments.

python -m benchmarks.whole_run

Both are processes of their own. The second one is ended with SIGKILL at random moments, once in
every stage and further ones evenly over the time that the first one took, started again after each,
and left alone at last; then all files of lasting use must be equal, and none may be there that the
first run does not have, such as a temporary one. ``--chains 5 --kills 10`` does so in five folders:
50 kills.
"""

from __future__ import annotations

import contextlib
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.harness import Row, main
from nas_engine.api.look import load_run
from nas_engine.digests import digests
from nas_engine.runs.pipeline_directory import PipelineDirectory
from nas_engine.runs.run_record import STAGES, RunRecord, read_record

MINUTES, GIB, MIB = 10.0, 2.0, 3.0
"""Most time, memory and size of the report."""


def command(folder: Path, config: Path | None, threads: int) -> list[str]:
    words = [
        sys.executable,
        "-c",
        "from nas_engine.cli.main import main; main()",
        "run",
        "--out",
        str(folder),
    ]
    return [
        *words,
        *([str(config)] if config else []),
        *(["--threads", str(threads)] if threads else []),
    ]


def lasting(directory: PipelineDirectory) -> dict[str, str]:
    """Return the digests of all files of a run that hold no time: networks, weights, integers,
    exports.
    """
    at = directory
    weights = [at.network.training.float_network, at.final.start, at.final.training.network]
    networks = [run.path / "best.yaml" for run in (at.search, at.network, at.final)]
    return digests(
        at.path, [*networks, *weights, at.final.integer, at.final.export, at.final.layer_errors]
    )


def moments(record: RunRecord, kills: int, seed: int) -> list[tuple[str, float]]:
    """Return when to kill, as stages and seconds from their beginning: once in every stage, further
    ones evenly over the time of all.

    In the order of the run; fewer kills than stages are in stages drawn.
    """
    chance = random.Random(seed)
    took = {stage.name: stage.seconds for stage in record.stages}
    names = list(took)
    more = chance.choices(names, list(took.values()), k=max(kills - len(names), 0))
    chosen = chance.sample(names, kills) if kills < len(names) else [*names, *more]
    drawn = [(name, chance.uniform(0.0, took[name])) for name in chosen]
    return sorted(drawn, key=lambda moment: (STAGES.index(moment[0]), moment[1]))


def killed(words: list[str], folder: Path, when: list[tuple[str, float]]) -> list[str]:
    """Start a command again and again, end it with SIGKILL at each of these moments, and return in
    which stage that was.
    """
    return [_kill_once(words, folder, *moment) for moment in when]


def _kill_once(words: list[str], folder: Path, stage: str, seconds: float) -> str:
    """Start a command and kill it that many seconds after a stage has begun, or as soon as a later
    one is at work.
    """
    began, due = time.time(), float("inf")
    process = subprocess.Popen(
        words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        while process.poll() is None:
            at = _at_work(folder, began)
            if at is not None and STAGES.index(at) >= STAGES.index(stage) and due == float("inf"):
                due = time.monotonic() + (seconds if at == stage else 0.0)
            if time.monotonic() >= due:
                return at or "start"
            time.sleep(0.02)
        return "done before"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def beyond(first: Path, second: Path) -> list[str]:
    """Return the names of what lies below the second folder and not below the first, hidden and
    temporary files among them.
    """
    names = [
        {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
        for folder in (first, second)
    ]
    return sorted(names[1] - names[0])


def _at_work(folder: Path, began: float) -> str | None:
    """Return the stage that a process begun then is at, ``None`` while it has not come to one."""
    path = PipelineDirectory(folder).record
    stages = read_record(path).stages if path.exists() and path.stat().st_mtime > began else ()
    return next((stage.name for stage in stages if not stage.done), None)


def _chain(
    straight: Path, disturbed: Path, words: list[str], when: list[tuple[str, float]]
) -> list[Row]:
    """Kill a run at all these moments, let it end, and compare it with the straight one."""
    stages = killed(words, disturbed, when)
    subprocess.run(words, stdout=subprocess.DEVNULL, check=False)
    first, second = lasting(PipelineDirectory(straight)), lasting(PipelineDirectory(disturbed))
    differing = sorted(name for name in first | second if first.get(name) != second.get(name))
    more = beyond(straight, disturbed)
    return [
        Row(
            what=f"files equal after {len(when)} kills (in: {', '.join(stages)})",
            measured=f"{len(first) - len(differing)} of {len(first)}{_named(differing)}",
            at_least="all",
            reached=not differing,
        ),
        Row(
            what=f"files left over after {len(when)} kills",
            measured=f"{len(more)}{_named(more)}",
            at_least="at most 0",
            reached=not more,
        ),
    ]


def _named(names: list[str]) -> str:
    return f": {', '.join(names[:3])}" if names else ""


def run(
    folder: str = "runs/benchmark-whole",
    kills: int = 10,
    config: str = "",
    threads: int = 0,
    seed: int = 0,
    chains: int = 1,
) -> list[Row]:
    root, file = Path(folder), Path(config) if config else None
    if root.exists():
        shutil.rmtree(root)
    root.mkdir(parents=True)
    straight, disturbed = root / "straight", root / "disturbed"
    began = time.monotonic()
    ended = subprocess.run(
        command(straight, file, threads), stdout=subprocess.DEVNULL, check=False
    ).returncode
    minutes = (time.monotonic() - began) / 60
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    record = load_run(straight)
    verified = record.stage("verify")
    figures = (verified.figures or {}) if verified else {}
    size = PipelineDirectory(straight).report.stat().st_size / 2**20
    verdicts = list(figures.get("backends", {}).values())
    rows = [
        Row(
            what="whole run, minutes",
            measured=f"{minutes:.1f}",
            at_least=f"at most {MINUTES:g}",
            reached=minutes <= MINUTES,
        ),
        Row(
            what="most memory of a process, GiB",
            measured=f"{memory:.2f}",
            at_least=f"at most {GIB:g}",
            reached=memory <= GIB,
        ),
        Row(
            what="verification",
            measured=(
                f"exit code {ended}; {verdicts.count('equal')} back-ends equal, "
                f"{figures.get('skipped')} not run"
            ),
            at_least="passed",
            reached=ended == 0 and bool(figures.get("passed")),
        ),
        Row(
            what="report.html, MiB",
            measured=f"{size:.2f}",
            at_least=f"at most {MIB:g}",
            reached=size <= MIB,
        ),
    ]
    for chain in range(chains if kills else 0):
        own = disturbed if chains == 1 else root / f"disturbed-{chain + 1}"
        rows += _chain(
            straight, own, command(own, file, threads), moments(record, kills, seed + chain)
        )
    return rows


if __name__ == "__main__":
    main(
        "whole_run",
        run,
        folder="runs/benchmark-whole",
        kills=10,
        config="",
        threads=0,
        seed=0,
        chains=1,
    )
