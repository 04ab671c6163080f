"""Instructions of layers on a core: the work of their kernels, priced for a core and a compiler.

How often each loop of a kernel runs follows from shapes and widths (``costs.layer_work``); what it
takes is measured, for a core and a compiler, in ``instructions.yaml``. That file also says how far
the model was off at most: a limit holds with that margin.

``python -m benchmarks.instruction_model`` measures the table and prints the errors.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np

from device_profiles import DeviceProfile
from nas_engine.costs.dense_work import convolution, pointwise
from nas_engine.costs.depthwise_work import depthwise
from nas_engine.costs.layer_work import Layers, Prices, average_pool, distinct
from nas_engine.layers import Floats
from nas_engine.measured import read_rows

FORMAT = "nas-search/instructions/1"
"""Version of the table's form."""

TABLE = "instructions.yaml"
"""Name of the table, beside this file."""

FAMILIES: dict[str, Callable[[Layers, Prices], Any]] = {
    "pointwise": pointwise,
    "convolution": convolution,
    "depthwise": depthwise,
    "average_pool": average_pool,
}
"""Instructions by family of kernels."""

GROUPS = {
    "pointwise": "dense",
    "convolution": "dense",
    "depthwise": "depthwise",
    "average_pool": "average_pool",
}
"""Families of kernels whose loops are the same functions of the runtime."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstructionModel:
    """One row of the table: a core and a compiler."""

    core: str
    """One of ``CORES`` of the tool chain."""
    compiler: str
    """Program with major and minor version, ``Toolchain.key``."""
    mean_error: float
    """Mean relative error of the totals of networks that were counted and not fitted."""
    worst_error: float
    """Largest such error."""
    loops: Mapping[str, Mapping[str, float]]
    """Instructions of each loop, by group of ``GROUPS`` and its name there."""

    def count(self, family: str, layers: Layers) -> Floats:
        """Return the instructions of layers.

        Args:
            family: One of ``FAMILIES``.
            layers: Their shapes and widths.

        Returns:
            Instructions, in the shape that the fields of ``layers`` broadcast to.
        """
        once, places = distinct(layers)
        found = np.asarray(FAMILIES[family](once, Known(self.loops[GROUPS[family]])))
        return found if places is None else found[places]


class Known(dict[str, float]):
    """Prices of loops; one that no measured network ran costs nothing."""

    def __missing__(self, name: str) -> float:
        return 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CycleModel:
    """Cycles of a device as its instructions times an assumed number of cycles for each."""

    instructions: InstructionModel
    """Instructions of its core."""
    each: float
    """Cycles of an instruction."""

    @property
    def margin(self) -> float:
        """Largest relative error of the instructions; a limit holds with as much to spare."""
        return self.instructions.worst_error


def cycle_model(device: DeviceProfile) -> CycleModel | None:
    """Return the cycles of a device, ``None`` where its table of cycles per MAC has to do.

    That is where nobody measured the core, and where the table was measured on the board.
    """
    model = instruction_model(device.core) if device.cycles_are_estimates else None
    pace = device.cycles_per_instruction
    return CycleModel(instructions=model, each=pace.assumed if pace else 1.0) if model else None


def prediction_margin(device: DeviceProfile) -> float:
    """Return the largest relative error of a device's cycles; 0 where they are none to be judged.

    A limit on cycles or time is kept with as much to spare.
    """
    model = cycle_model(device)
    return model.margin if model else 0.0


def read_table(text: str) -> tuple[InstructionModel, ...]:
    """Return the rows of a table.

    Args:
        text: Content of ``instructions.yaml``.

    Raises:
        InputError: It is no such table.
    """
    return read_rows(
        text, InstructionModel, FORMAT, "instructions", "python -m benchmarks.instruction_model"
    )


@functools.cache
def shipped_table() -> tuple[InstructionModel, ...]:
    """Return the rows of the table that is shipped."""
    return read_table((files("nas_engine.costs") / TABLE).read_text(encoding="utf-8"))


def instruction_model(core: str, compiler: str | None = None) -> InstructionModel | None:
    """Return the model of a core, ``None`` where it was not measured.

    Args:
        core: Its name, such as ``cortex-m7``.
        compiler: ``Toolchain.key``; if not given, the measured one whose code takes most, so that
            a limit holds for all of them.
    """
    rows = [row for row in shipped_table() if row.core == core]
    if compiler is not None:
        return next((row for row in rows if row.compiler == compiler), None)
    return rows[0] if rows else None
