"""Prediction of the Flash and SRAM of the runtime, in addition to weights and arena.

It needs no compiler, only a measured table.

``code_size.yaml`` holds, for each core and compiler: the bytes of start-up, harness and model
functions (``base``), and for every kernel the sections that a linker keeps for it. What kernels
share counts once. ``python -m benchmarks.code_size`` measures the table.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files

from nas_engine.measured import read_rows

FORMAT = "nas-search/code-size/1"
"""Version of the table's form."""

TABLE = "code_size.yaml"
"""Name of the table, beside this file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CodePrediction:
    """Bytes that a firmware takes besides weights, constants, layer table and arena."""

    code: int
    """Flash: runtime, start-up, vector table, harness, initial values of data."""
    static_ram: int
    """SRAM: data."""
    stack: int
    """SRAM: deepest use of the stack."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeSizes:
    """One row of the table: a core and a compiler."""

    core: str
    """One of ``CORES`` of the tool chain."""
    compiler: str
    """Program with major and minor version, ``Toolchain.key``."""
    base: int
    """Flash of the parts of every image."""
    static_ram: int
    """SRAM of data."""
    stacks: Mapping[str, int]
    """Deepest stack of networks with a kernel, by kernel."""
    kernels: Mapping[str, Mapping[str, int]]
    """Bytes by section that a kernel needs, by kernel."""

    def predict(self, kernels: Iterable[str]) -> CodePrediction | None:
        """Return the prediction for a network of some kernels.

        It is ``None`` if one of them is not in the table.
        """
        names = sorted(set(kernels))
        if not names or not set(names) <= self.kernels.keys() & self.stacks.keys():
            return None
        sections = {section: size for name in names for section, size in self.kernels[name].items()}
        code, stack = self.base + sum(sections.values()), max(self.stacks[name] for name in names)
        return CodePrediction(code=code, static_ram=self.static_ram, stack=stack)


def read_table(text: str) -> tuple[CodeSizes, ...]:
    """Return the rows of a table.

    Args:
        text: Content of ``code_size.yaml``.

    Raises:
        InputError: It is no such table.
    """
    return read_rows(text, CodeSizes, FORMAT, "code sizes", "python -m benchmarks.code_size")


@functools.cache
def shipped_table() -> tuple[CodeSizes, ...]:
    """Return the rows of the table that is shipped."""
    return read_table((files("nas_engine.verification") / TABLE).read_text(encoding="utf-8"))


def predict(core: str, compiler: str, kernels: Iterable[str]) -> CodePrediction | None:
    """Return what a network's firmware will take beside weights and arena.

    Args:
        core: One of ``CORES`` of the tool chain.
        compiler: Program with major and minor version, ``Toolchain.key``, such as
            ``"arm-none-eabi-gcc 12.2"``.
        kernels: C functions that the network uses, ``nas_average_pool`` included.

    Returns:
        The prediction, ``None`` if the table has no such core and compiler, or not one of the
        kernels.
    """
    row = next(
        (row for row in shipped_table() if (row.core, row.compiler) == (core, compiler)), None
    )
    return row.predict(kernels) if row else None
