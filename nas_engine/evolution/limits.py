"""LIMITS: what a search may limit besides its memory budgets, one row each.

A new limit is a formula in ``nas_engine.costs`` and a row here: options, config keys, evaluation,
messages and reports loop over the table. ``--help`` reads it too, so nothing heavy is imported
before a formula is called.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nas_engine.ranges import LAYERS, POSITIVE, Range

if TYPE_CHECKING:
    from nas_engine.costs.instruction_model import CycleModel
    from nas_engine.encoding import GeneView
    from nas_engine.layers import Floats, LayerTable

UNLIMITED = math.inf
"""A limit that is not set."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Counting:
    """How networks are counted."""

    memory_model: str
    """``"arena"`` or ``"paper"``."""
    cycles_per_mac: dict[str, Floats]
    """Cycle tables of a device, empty without one; see ``nas_engine.costs.compute.cycles``."""
    cycle_model: CycleModel | None = None
    """Cycles of a device by its instructions; else those of the tables."""
    room: float | None = None
    """Bytes that the arena may take, if units run by rows where they would not fit else; the
    frame's if not given."""
    milliseconds_per_cycle: tuple[float, float] | None = None
    """Least and most milliseconds of each of these cycles; ``None`` where cycles are no time."""
    own_cost: str | None = None
    """Function of the user's own; ``None`` where none is named, and no program may run."""
    least_noise: Mapping[int, float] = field(default_factory=dict)
    """Least path noise found of all networks, at 0, and of each class; empty where it is no limit,
    and path noise is counted as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One quantity that a search may limit from above."""

    name: str
    """Name of the quantity, lower-case."""
    title: str
    """Name in tables and messages; also the unit of its numbers."""
    help: str
    """Help of the option, without a full stop."""
    example: str
    """A value to type."""
    cost: Callable[[Counting, LayerTable, GeneView], Floats]
    """The quantity of each of ``n`` networks, ``(n,)``."""
    monotone: bool = True
    """True if no network of a space has less than its smallest one, at widths that cost least."""
    range: Range = POSITIVE
    """Limits accepted."""
    form: str = ",.0f"
    """Format of its numbers."""
    estimate: bool = False
    """True if it is an estimate, which needs the cycle tables of a device."""
    counted: bool = True
    """True if it counts operations: the option takes ``k``, ``m`` and ``g``."""
    of_space: bool = False
    """True if every space sets it, under its key, and has no network beyond it."""
    timed: bool = False
    """True if it is a time in milliseconds, which needs ``milliseconds_per_cycle``: the option
    takes ``ms`` and ``s``, and ``none`` against the default of the device."""
    of_cycles: Callable[[Counting, Floats], Floats] | None = None
    """Quantity that follows from the cycles of networks, ``(n,)``; None where it does not."""
    own: bool = False
    """True if a program of the user's counts it, which runs only where a command names it."""

    @property
    def key(self) -> str:
        """Key in files and Python, such as ``max_macs``."""
        return f"max_{self.name}"

    @property
    def option(self) -> str:
        """Option of the command line, such as ``--max-macs``."""
        return f"--max-{self.name.replace('_', '-')}"

    @property
    def label(self) -> str:
        """Name beside a bar and in messages: the title, but of a time what it is."""
        return self.name if self.timed else self.title

    def amount(self, value: float) -> str:
        """Return a number, with its unit where the label is none, such as ``198 ms``."""
        return f"{value:{self.form}}{' ms' * self.timed}"

    def known(self, counting: Counting) -> bool:
        """Return whether the quantity can be counted."""
        if self.own:
            return counting.own_cost is not None
        if self.timed:
            return bool(counting.cycles_per_mac) and counting.milliseconds_per_cycle is not None
        return bool(counting.cycles_per_mac) or not self.estimate

    def shown(self, value: float) -> str:
        """Return a number with its unit, such as ``1,234 MACs``."""
        return f"{value:{self.form}} {self.title}{' (estimate)' if self.estimate else ''}"


def _macs(counting: Counting, table: LayerTable, view: GeneView) -> Floats:
    from nas_engine.costs.compute import macs

    return macs(table)


def _bitops(counting: Counting, table: LayerTable, view: GeneView) -> Floats:
    from nas_engine.costs.compute import bitops
    from nas_engine.costs.memory import MEMORY_MODELS

    return bitops(MEMORY_MODELS[counting.memory_model], table, view.w_bits, view.a_bits)


def _cycles(counting: Counting, table: LayerTable, view: GeneView) -> Floats:
    from nas_engine.costs.compute import cycles
    from nas_engine.costs.instructions import instructions

    if (found := counting.cycle_model) is not None:
        widths = view.w_bits, view.a_bits
        return found.each * instructions(found.instructions, table, *widths, counting.room)
    return cycles(table, view.w_bits, view.a_bits, counting.cycles_per_mac)


def cycles_per_layer(counting: Counting, table: LayerTable, view: GeneView) -> Floats:
    """Return the cycles of each layer, ``(layers, n)``; their sums are the limited quantity."""
    from nas_engine.costs.compute import cycles_per_layer
    from nas_engine.costs.instructions import instructions_per_layer

    widths = view.w_bits, view.a_bits
    if (found := counting.cycle_model) is not None:
        return found.each * instructions_per_layer(
            found.instructions, table, *widths, counting.room
        )
    return cycles_per_layer(table, *widths, counting.cycles_per_mac)


def _latency(counting: Counting, table: LayerTable, view: GeneView) -> Floats:
    return _most_time(counting, _cycles(counting, table, view))


def _most_time(counting: Counting, cycles: Floats) -> Floats:
    """Return the upper end of the time of some cycles, in milliseconds."""
    assert counting.milliseconds_per_cycle is not None
    return cycles * counting.milliseconds_per_cycle[1]


def _effectiveness(counting: Counting, table: LayerTable, view: GeneView) -> Floats:
    from nas_engine.costs.effectiveness import effectiveness

    return effectiveness(table)


def _path_noise(counting: Counting, table: LayerTable, view: GeneView) -> Floats:
    from nas_engine.evolution.classes import least_of
    from nas_engine.scoring.objective import PATH_NOISE
    from nas_engine.scoring.path_noise import PATH_NOISE_FORMS, path_noise

    noise = path_noise(table, view.w_bits, view.a_bits, PATH_NOISE_FORMS[PATH_NOISE])
    found = counting.least_noise
    return noise / least_of(table.frame, view, found) if found else noise


def _own(counting: Counting, table: LayerTable, view: GeneView) -> Floats:
    from nas_engine.costs.own import cost_values

    assert counting.own_cost is not None
    return cost_values(counting.own_cost, table, view.w_bits, view.a_bits)


def _layers(counting: Counting, table: LayerTable, view: GeneView) -> Floats:
    from nas_engine.block_kinds import PLACES

    layers: Floats = 1.0 + table.frame.has_head + PLACES * table.depth.sum(axis=0)
    return layers


LIMITS: tuple[Limit, ...] = (
    Limit(
        name="macs",
        title="MACs",
        help="Limit on MACs",
        example="50m",
        cost=_macs,
    ),
    Limit(
        name="bitops",
        title="BitOps",
        help="Limit on BitOps",
        example="2g",
        cost=_bitops,
    ),
    Limit(
        name="cycles",
        title="cycles",
        help="Limit on the predicted cycles",
        example="100m",
        cost=_cycles,
        of_cycles=lambda _, cycles: cycles,
        estimate=True,
    ),
    Limit(
        name="latency",
        title="ms",
        help="Limit on the upper end of the predicted time of one inference; none for no limit",
        example="200ms",
        cost=_latency,
        of_cycles=_most_time,
        range=Range(1e-3, 1e5),
        form=",.4g",
        estimate=True,
        counted=False,
        timed=True,
    ),
    Limit(
        name="effectiveness",
        title="depth/width",
        help="Limit on depth over width (DeepMAD's rho)",
        example="0.7",
        cost=_effectiveness,
        monotone=False,
        range=Range(1e-6, 1e6),
        form=",.2f",
        counted=False,
    ),
    Limit(
        name="path_noise",
        title="path noise",
        help="Limit on path noise, as a multiple of the least found for the budget and class",
        example="1.4",
        cost=_path_noise,
        monotone=False,
        range=Range(1, 1e6),
        form=",.2f",
        counted=False,
    ),
    Limit(
        name="cost",
        title="cost",
        help="Limit on the figure of --cost, in its unit",
        example="2.5",
        cost=_own,
        monotone=False,
        form=",.6g",
        counted=False,
        own=True,
    ),
    Limit(
        name="layers",
        title="convolutions, three per unit",
        help="Limit on convolutions, three per unit",
        example="20",
        cost=_layers,
        range=LAYERS,
        counted=False,
        of_space=True,
    ),
)
"""Limits in the order of options and tables."""


def spent(
    counting: Counting, table: LayerTable, view: GeneView, cycles: Floats | None = None
) -> dict[str, float]:
    """Return every quantity of the first network by name, estimates only with cycle tables.

    Args:
        counting: How costs are counted.
        table: The networks.
        view: Their genes.
        cycles: Their cycles where they are known already, ``(n,)``.
    """
    return {
        row.name: float(
            (
                row.cost(counting, table, view)
                if cycles is None or row.of_cycles is None
                else row.of_cycles(counting, cycles)
            )[0]
        )
        for row in LIMITS
        if row.known(counting)
    }
