"""Renews the tables of instructions per MAC in the device profiles of cores with DSP instructions,
every pair of widths measured.

python -m benchmarks.cycles

One layer of each kind represents all: pointwise 64 -> 128 at 14 x 14, depth-wise 3 x 3 with 128
channels at 14 x 14, the first convolution 3 -> 16 at stride 2 of a 160 x 160 image, dense 512 ->
10; inputs (but for the image) and outputs have the same width. Counted on an emulated Cortex-M7;
profiles of other cores multiply by an assumed number of cycles per instruction. Each run is
compared with the integer reference.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

import device_profiles
from benchmarks.harness import Row, main
from benchmarks.kernels import Layer, measure
from device_profiles.profile import BITS, LAYER_KINDS
from nas_engine.verification.cortex_m import CortexM

PROFILES = Path(device_profiles.__file__).parent / "data"

CYCLES_PER_INSTRUCTION = {"cortex-m7": 1.0, "cortex-m4": 1.3, "cortex-m33": 1.3}
"""Assumed, by core: multi-cycle loads and Flash wait states on the smaller ones; on M7 neither
credit for dual issue nor wait states."""

SHAPES: dict[str, tuple[int, tuple[int, int], int, int]] = {
    "conv": (160, (3, 16), 3, 2),
    "pointwise": (14, (64, 128), 1, 1),
    "depthwise": (14, (128, 128), 3, 1),
    "dense": (1, (512, 10), 1, 1),
}
"""Input size, channels, kernel and stride of each kind."""


def table(kind: str, backend: CortexM) -> tuple[np.ndarray, int]:
    """Return instructions per MAC of every pair, ``[7, 7]`` by weight and activation bits, and how
    many values differed.
    """
    size, channels, kernel, stride = SHAPES[kind]
    counts, differing = np.empty((len(BITS), len(BITS))), 0
    for row, w in enumerate(BITS):
        for column, a in enumerate(BITS):
            named = "pointwise" if kind == "dense" else kind
            layer = Layer(
                kind=named, size=size, channels=channels, bits=(w, a), kernel=kernel, stride=stride
            )
            found = measure(layer, backend)
            counts[row, column] = round(
                found.per_mac, 2
            )  # before it is multiplied: equal figures stay equal
            differing += found.differing
    return counts, differing


def with_tables(text: str, tables: dict[str, np.ndarray], factor: float) -> str:
    """Return the text of a profile with other tables."""
    for kind, counts in tables.items():
        rows = [
            f"    - [{', '.join(f'{value * factor:.2f}' for value in counts[row])}]  # w{w}\n"
            for row, w in enumerate(BITS)
        ]
        text, found = re.subn(
            rf"(  {kind}:\n)(?:    - \[.*\n){{7}}",
            lambda match, rows=rows: match[1] + "".join(rows),
            text,
        )
        assert found == 1, kind
    return text


def run(folder: str = str(PROFILES)) -> list[Row]:
    backend = CortexM(core="cortex-m7")
    rows, tables = [], {}
    for kind in LAYER_KINDS:
        tables[kind], differing = table(kind, backend)
        spread = (
            f"{tables[kind].min():.2f} to {tables[kind].max():.2f} instructions/MAC, w8a8 "
            f"{tables[kind][-1, -1]:.2f}"
        )
        measured = f"{spread}; {differing} differing"
        rows.append(
            Row(
                what=f"{kind}, 49 pairs of widths",
                measured=measured,
                at_least="0 differing",
                reached=not differing,
            )
        )
    for path in sorted(Path(folder).glob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        core = re.search(r"^core: (\S+)", text, re.M)
        if core and core[1] in CYCLES_PER_INSTRUCTION:
            path.write_text(
                with_tables(text, tables, CYCLES_PER_INSTRUCTION[core[1]]), encoding="utf-8"
            )
    return rows


if __name__ == "__main__":
    main("cycles", run, folder=str(PROFILES))
