"""Measures the table from which code size and stack are predicted, and compares a prediction with a
linked, painted image.

python -m benchmarks.code_size

Writes nas_engine/verification/code_size.yaml for the compilers that are installed; rows of others
are kept.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

import nas_engine.verification.code_size as code_size
from benchmarks.harness import Row, main
from benchmarks.kernels import read_objects, write_export
from benchmarks.sections import needed_sections
from nas_engine.costs.plan import MemoryPlan, plan_graph, plan_schedule
from nas_engine.exporters.c_steps import c_steps
from nas_engine.exporters.row_stages import (
    ROW_FUNCTIONS,
    ROW_PARTS,
    ROWS_RECORD_BYTES,
    row_stages,
)
from nas_engine.integer.lowering import lower
from nas_engine.integer.model import IntegerModel
from nas_engine.network.kernels import KERNELS
from nas_engine.testing.networks import Untrained
from nas_engine.verification.backend import Footprint
from nas_engine.verification.code_size import CodePrediction, CodeSizes, read_table
from nas_engine.verification.cortex_m import CortexM
from nas_engine.verification.elf import Elf
from nas_engine.verification.toolchain import COMPILERS, CORES, find_toolchain, missing_compiler

TABLE = Path(code_size.__file__).parent / code_size.TABLE

RUNTIME_LIMIT = 16 << 10
"""Most bytes of kernels and model functions of one network."""


def _as_yaml(row: CodeSizes) -> dict[str, Any]:
    values = asdict(row)
    stacks, kernels = sorted(row.stacks.items()), sorted(row.kernels.items())
    return {
        **values,
        "stacks": dict(stacks),
        "kernels": {name: dict(sorted(sections.items())) for name, sections in kernels},
    }


def write_table(rows: Iterable[CodeSizes]) -> str:
    """Return the text of ``code_size.yaml``; the same rows give the same text."""
    ordered = sorted(rows, key=lambda row: (row.core, row.compiler))
    document = {"format": code_size.FORMAT, "rows": [_as_yaml(row) for row in ordered]}
    head = (
        "# Bytes of the runtime by core, compiler and kernel. Measured by `python -m "
        "benchmarks.code_size`; do not edit.\n"
    )
    return head + yaml.safe_dump(document, sort_keys=False, width=1000)


def inverted_residuals(
    stem: tuple[int, int],
    widths: Sequence[int],
    windows: Sequence[int] = (3,),
    residual: bool = False,
    seed: int = 0,
    *,
    head: bool = False,
) -> IntegerModel:
    """Return a small network: a stem (kernel, weight bits), inverted residuals of pointwise weights
    of some widths, perhaps a residual block, perhaps a head, a pool, a classifier.

    ``windows`` are the kernel sizes of the residuals' depth-wise layers, taken in turn.

    Activations of 8, 5, 4 and 3 bits and shortcuts are among it, so that every path is taken.
    """
    kernel, bits = stem
    built = Untrained((8, 8, 16), np.random.default_rng(seed))
    stream = built.layer("stem", 16, kernel, 1, bits, 8, signed=True)
    for number, w in enumerate(widths):
        for half, (a, b, out) in enumerate(((8, 8, 8), (5, 3, 4))):
            name = f"b{number}{half}"
            built.layer(f"{name}.expand", 32, 1, 1, w, a, source=stream)
            filtered = built.layer(
                f"{name}.depthwise",
                32,
                windows[number % len(windows)],
                1,
                8 - half,
                b,
                kind="depthwise",
            )
            stream = built.layer(
                f"{name}.project", 16, 1, 1, w, out, source=filtered, shortcut=stream, signed=True
            )
    if residual:
        built.layer("r.conv1", 16, 3, 2, 3, 8, source=stream)
        middle = built.tensors[-1]
        shortcut = built.layer("r.shortcut", 16, 1, 2, 3, 8, source=stream, signed=True)
        built.layer("r.conv2", 16, 3, 1, 3, 8, source=middle, shortcut=shortcut, own=0.7)
    if head:
        built.layer("head", 32, 1, 1, widths[-1], 8)
    built.pool("pool", built.tensors[-1].height, 1)
    built.layer("classifier", 4, 1, 1, widths[-1], 8, signed=True)
    return lower(built.network(), {"weights": f"random, seed {seed}"})


Shape = tuple[tuple[int, int], tuple[int, ...], tuple[int, ...], bool]
"""Stem, widths, windows and residual block of a network."""

CASES: dict[str, Shape] = {
    "nas_pointwise_w8": ((1, 8), (8,), (3,), False),
    "nas_pointwise_w4": ((1, 4), (4,), (3,), False),
    "nas_pointwise_stream": ((1, 3), (3,), (3,), False),
    "nas_pointwise_rows": ((1, 3), (3,), (3,), True),
    "nas_convolution_stream": ((3, 8), (8,), (3,), False),
    "nas_depthwise_5x5": ((1, 8), (8,), (5,), False),
    "nas_depthwise": ((1, 8), (8,), (7,), False),
}
"""Networks that are measured, by the kernel that only they have."""

EVERYTHING: Shape = ((3, 4), (8, 4, 2, 5), (3, 5, 7), True)
"""A network of every kernel, on which predictions are tried."""


BY_ROWS: Shape = ((3, 8), (8, 5, 4), (3, 5, 7), False)
"""A network that runs by rows as far as it can, and takes every part of the runtime for that."""


def kernels_of(model: IntegerModel, plan: MemoryPlan) -> set[str]:
    """Return the C functions that a network runs, and parts that run units by rows."""
    stages = row_stages(model, plan)
    kernels = {step.kernel.name for step in c_steps(model, plan, stages)}
    return kernels | {part for stage in stages for part in stage.parts}


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """One network, linked and run."""

    kernels: set[str]
    """Its kernels, and parts that run units by rows."""
    used: Footprint
    """Memory of the image."""
    stages: int
    """Bytes of the records of units by rows, which are counted apart from code."""
    runtime: int
    """Bytes of kernels and model functions."""
    objects: dict[str, Elf]
    """Its objects by name."""

    @property
    def code(self) -> int:
        """Flash but weights, constants and records."""
        return self.used.code - self.stages

    def needed(self, kernels: Iterable[str]) -> dict[tuple[str, str], int]:
        """Return the sections that some kernels or parts need."""
        roots = [root for name in kernels for root in ROW_FUNCTIONS.get(name, (name,))]
        return needed_sections(self.objects, roots)


def build(shape: Shape, backend: CortexM, *, by_rows: bool = False) -> Built:
    """Link a network, run one image, and compare it with the reference."""
    model = inverted_residuals(*shape, head=by_rows)
    plan = plan_schedule(model, "rows", "rows") if by_rows else plan_graph(model)
    kernels, stages = kernels_of(model, plan), row_stages(model, plan)
    image = np.random.default_rng(1).integers(0, 256, (1, 8, 8, 16), np.uint8)
    with tempfile.TemporaryDirectory(prefix="nas-search-") as name:
        folder = Path(name)
        golden = write_export(model, image, folder, plan)
        result = backend.run(folder, model, image, folder / "work")
        assert result.footprint is not None
        if (result.logits != golden.logits).any():
            raise RuntimeError(
                f"{sorted(kernels)} differ from the reference; nothing is measured with wrong "
                "kernels"
            )
        runtime = Elf((folder / "work" / "firmware.elf").read_bytes()).size(".runtime")
        return Built(
            kernels=kernels,
            used=result.footprint,
            stages=ROWS_RECORD_BYTES * len(stages),
            runtime=runtime,
            objects=read_objects(folder / "work"),
        )


def measure(core: str, compiler: str, cases: dict[str, Shape] | None = None) -> CodeSizes:
    """Return the row of the table for a core and a compiler."""
    backend, sections, stacks, bases, static = CortexM(core=core, compiler=compiler), {}, {}, [], 0
    for case, shape in (CASES if cases is None else cases).items():
        found = build(shape, backend)
        if case not in found.kernels:
            raise RuntimeError(f"the network for {case} runs {sorted(found.kernels)}; change CASES")
        for kernel in found.kernels:
            sections[kernel] = _named(found.needed([kernel]))
            stacks[kernel] = min(stacks.get(kernel, found.used.stack), found.used.stack)
        stacks[case] = max(stacks[case], found.used.stack)
        bases.append(found.code - sum(found.needed(found.kernels).values()))
        static = max(static, found.used.static_ram)
    found = build(BY_ROWS, backend, by_rows=True)
    if lacking := set(ROW_PARTS) - found.kernels:
        raise RuntimeError(f"the network by rows has no {sorted(lacking)}; change BY_ROWS")
    more = found.code - sum(found.needed(found.kernels).values()) - max(bases)
    for part in ROW_PARTS:  # what model and harness take more counts once, with each of them
        sections[part] = _named(found.needed([part])) | {"by rows": more}
        stacks[part] = found.used.stack
    return CodeSizes(
        core=core,
        compiler=find_toolchain(compiler).key,
        base=max(bases),
        static_ram=static,
        stacks=stacks,
        kernels=sections,
    )


def _named(needed: Mapping[tuple[str, str], int]) -> dict[str, int]:
    return {f"{name}{section}": size for (name, section), size in needed.items()}


def run(
    table: Path = TABLE, cores: str = ",".join(CORES), compilers: str = ",".join(COMPILERS)
) -> list[Row]:
    rows = {
        (row.core, row.compiler): row
        for row in (read_table(table.read_text(encoding="utf-8")) if table.exists() else ())
    }
    lines = []
    for core in cores.split(","):
        for compiler in compilers.split(","):
            if missing_compiler(compiler):
                continue
            sizes = measure(core, compiler)
            rows[sizes.core, sizes.compiler] = sizes
            lines += compare(sizes, CortexM(core=core, compiler=compiler))
    table.write_text(write_table(rows.values()), encoding="utf-8")
    return lines


def compare(sizes: CodeSizes, backend: CortexM) -> list[Row]:
    """Return predicted and measured sizes of a network of every kernel, and of one by rows."""
    layers, rows = build(EVERYTHING, backend), build(BY_ROWS, backend, by_rows=True)
    assert layers.kernels == set(KERNELS), sorted(layers.kernels)
    return [
        *_compared(
            sizes,
            layers,
            f"a network of every kernel, {sizes.core}, {sizes.compiler}",
            RUNTIME_LIMIT,
        ),
        *_compared(sizes, rows, f"a network by rows, {sizes.core}, {sizes.compiler}", None),
    ]


def _compared(sizes: CodeSizes, found: Built, where: str, limit: int | None) -> list[Row]:
    predicted: CodePrediction | None = sizes.predict(found.kernels)
    assert predicted is not None
    flash, ram = (
        found.used.packed + found.stages + predicted.code,
        found.used.arena + predicted.static_ram + predicted.stack,
    )
    off, apart = flash / found.used.flash - 1, ram - found.used.ram
    return [
        Row(
            what=f"Flash of {where}",
            measured=(
                f"{found.used.flash:,} B, predicted {flash:,} B ({off:+.2%}; code alone "
                f"{predicted.code / found.code - 1:+.2%})"
            ),
            at_least="within 1 %",
            reached=abs(off) <= 0.01,
        ),
        Row(
            what=f"SRAM of {where}",
            measured=f"{found.used.ram:,} B, predicted {ram:,} B ({apart:+} B)",
            at_least="within 256 B",
            reached=abs(apart) <= 256,
        ),
        Row(
            what=f"kernels and model functions of {where}",
            measured=f"{found.runtime:,} B",
            at_least=f"at most {limit:,} B" if limit else "reported",
            reached=limit is None or found.runtime <= limit,
        ),
    ]


if __name__ == "__main__":
    main("code_size", run, table=TABLE, cores=",".join(CORES), compilers=",".join(COMPILERS))
