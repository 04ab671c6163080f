"""Cycles per instruction of the exported runtime on cores that nobody ran it on, as ranges.

The pipeline of a Cortex-M7 is LLVM's model of it, over the innermost loops of the kernels; what
other cores and slower memory add is how the cycles of other engines differ between boards, the same
network with the same engine. ``device_profiles/data`` holds the ranges, rounded outwards.
"""

from __future__ import annotations

import math
import re
import shutil
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

import nas_engine.exporters
from benchmarks.latency.fit import Published
from benchmarks.latency.networks import KINDS

RUNTIME = Path(nas_engine.exporters.__file__).with_name("runtime")
FLAGS = ("-O2", "-mcpu=cortex-m7", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv5-sp-d16", "-S")
MODEL = ("-mtriple=thumbv7em-none-eabihf", "-mcpu=cortex-m7", "-iterations=200")

PIPELINE = 0.8
"""Least cycles per instruction of a Cortex-M7: its model over the loops that multiply, rounded."""

COMPILED = 1.1
"""Most with caches that hold: CMSIS-NN on an STM32H743 takes 46.6 M cycles for mcunet-vww1
(``rows.csv``), and 42 to 44 M instructions by counts of its kernels."""

M7_BOARDS = ("NUCLEO-H7A3ZI", "NUCLEO-H7A3ZI-Q", "DISCO-F746NG")
"""Boards of a Cortex-M7 that other cores are held against."""

CORES = {
    "M4": (("NUCLEO-L4R5ZI",), ("CY8CPROTO-062-4343W",)),
    "M33": (("NUCLEO-U575ZI", "NUCLEO-U575ZI-Q", "B-U585I-IOT02A"), ()),
}
"""Boards of other cores with fast memory, and with slow one."""

SLOW_M7 = (("STM32H747I-DISCO", "X-CUBE-AI 10.0"), ("NUCLEO-H7A3ZI-Q", "X-CUBE-AI v9.0.0"))
"""Two boards of a Cortex-M7: MobileNetV1-0.25 takes 1.8 times the cycles on the first, ResNet-8 as
many. The engine's versions differ, so that the ratio is memory and version together."""

Cycles = dict[tuple[str, str], dict[str, float]]


def ratios(rows: Sequence[Published], over: Sequence[str], under: Sequence[str]) -> list[float]:
    """Return cycles on some boards over those on others: the same engine and network each.

    The autoencoder is left out: its time is dense layers that are read once.
    """
    cycles: Cycles = defaultdict(dict)
    for row in rows:
        if row.macs is not None and sum(row.macs) > row.macs[KINDS.index("dense")]:
            cycles[_version(row.engine), row.network][row.board] = row.cycles
    return [
        boards[first] / boards[second]
        for boards in cycles.values()
        for first, second in product(over, under)
        if first in boards and second in boards
    ]


def ranges(rows: Sequence[Published]) -> dict[str, tuple[float, float]]:
    """Return least and most cycles per instruction of each core, rounded outwards to a tenth."""
    slow_m7 = _slow_m7(rows)
    slow_m4 = max(ratios(rows, *reversed([*map(list, CORES["M4"])])))
    found = {"M7": (PIPELINE, COMPILED * slow_m7)}
    for core, (boards, _) in CORES.items():
        times = ratios(rows, boards, M7_BOARDS)
        found[core] = PIPELINE * min(times), COMPILED * max(times) * slow_m4
    return {
        core: (math.floor(10 * least) / 10, math.ceil(10 * most) / 10)
        for core, (least, most) in found.items()
    }


def _slow_m7(rows: Sequence[Published]) -> float:
    slow, fast = (
        {
            " ".join(row.network.split()[:2]): row.cycles  # whatever the classes
            for row in rows
            if (row.board, row.engine) == pair
        }
        for pair in SLOW_M7
    )
    return max(slow[name] / fast[name] for name in slow.keys() & fast.keys())


def _version(engine: str) -> str:
    """Return an engine with two numbers of its version, however it is spelled."""
    return re.sub(r" v?(\d+\.\d+)[\d.]*", r" \1", engine)


def loops(assembly: str) -> Iterator[list[str]]:
    """Yield the instructions of each innermost loop without a branch or call inside."""
    lines = assembly.splitlines()
    labels = {line[:-1]: at for at, line in enumerate(lines) if re.fullmatch(r"\.L\w+:", line)}
    for end, line in enumerate(lines):
        branch = re.match(r"\s+(?:b(?!l|x)\w*|cbn?z)\s.*?(\.L\w+)\s*$", line)
        if branch is None or labels.get(branch[1], end) >= end:
            continue
        body = lines[labels[branch[1]] + 1 : end + 1]
        if not any(re.match(r"\.L\w+:|\s+blx?\s", each) for each in body):
            kept = [re.sub("@.*", "", each) for each in body if not re.match(r"\s*[@.]", each)]
            yield [each.replace(branch[1], ".Lx") for each in kept]


def modelled() -> dict[str, list[float]]:
    """Return cycles per instruction of the loops of each file of the runtime by LLVM's model.

    Loops with an instruction that the model lacks are left out; nothing without the tools.
    """
    if not (shutil.which("arm-none-eabi-gcc") and shutil.which("llvm-mca")):
        return {}
    found: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        for source in sorted(RUNTIME.glob("*.c")):
            out = Path(folder) / "out.s"
            subprocess.run(["arm-none-eabi-gcc", *FLAGS, source, "-o", out], check=True)
            for body in loops(out.read_text(encoding="utf-8")):
                text = "\n".join([".syntax unified", ".thumb", ".Lx:", *body, ""])
                done = subprocess.run(
                    ["llvm-mca", *MODEL], input=text, capture_output=True, text=True, check=False
                )
                total = re.search(r"Instructions:\s+(\d+)\nTotal Cycles:\s+(\d+)", done.stdout)
                if total:
                    found[source.stem].append(int(total[2]) / int(total[1]))
    return dict(found)
