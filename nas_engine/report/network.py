"""NetworkReport: one network, counted and scored layer by layer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nas_engine.architecture import Architecture, Bits
from nas_engine.costs.flash import flash_per_layer
from nas_engine.costs.instruction_model import CycleModel
from nas_engine.costs.memory import MEMORY_MODELS
from nas_engine.costs.plan import live_per_layer
from nas_engine.costs.sram import sram_per_layer
from nas_engine.encoding import GeneView, architecture_frame, encode, layer_rows
from nas_engine.errors import InputError, UnknownNameError
from nas_engine.evolution.limits import Counting, cycles_per_layer, spent
from nas_engine.layers import Floats, macs_per_layer, unroll
from nas_engine.names import Memory
from nas_engine.report.shown import Shown
from nas_engine.runs.search_front import FrontRow
from nas_engine.scoring.qe_score import ScoreSettings, qe_score, stage_terms


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkReport(Shown):
    """Score and costs of one network; per-layer tuples run from stem to head and classifier."""

    architecture: Architecture
    """The network itself."""
    memory_model: str
    """``"arena"`` or ``"paper"``: what SRAM, Flash and BitOps count."""
    layer_names: tuple[str, ...]
    """``stem``, ``s1.b1.expand`` ... ``head``, ``classifier``."""
    bits: tuple[Bits, ...]
    """Weight and input width of each layer."""
    qe_score: float
    """QE-Score."""
    stage_terms: tuple[float, ...]
    """Its terms, one per stage."""
    sram_bytes: tuple[float, ...]
    """Bytes live at each layer."""
    flash_bytes: tuple[float, ...]
    """Flash bytes of each layer."""
    macs: tuple[float, ...]
    """Multiply-accumulates of each layer."""
    limited: Mapping[str, float]
    """Quantity of each row of ``LIMITS`` by name; estimates only with a device."""
    milliseconds_per_cycle: tuple[float, float] | None = None
    """Least and most milliseconds per cycle; ``None`` where cycles are no time."""
    layer_cycles: tuple[float, ...] = ()
    """Cycles of each layer; empty without a device."""

    @property
    def bitops(self) -> float:
        """BitOps of the network."""
        return self.limited["bitops"]

    @property
    def cycles(self) -> float | None:
        """Estimated cycles on a device, ``None`` without one."""
        return self.limited.get("cycles")

    @property
    def latency(self) -> tuple[float, float] | None:
        """Least and most milliseconds of one inference, predicted; ``None`` if not known."""
        if self.cycles is None or self.milliseconds_per_cycle is None:
            return None
        low, high = self.milliseconds_per_cycle
        return self.cycles * low, self.cycles * high

    @property
    def layer_latency(self) -> tuple[tuple[float, float], ...]:
        """Least and most milliseconds of each layer; empty if not known."""
        if self.milliseconds_per_cycle is None:
            return ()
        low, high = self.milliseconds_per_cycle
        return tuple((cycles * low, cycles * high) for cycles in self.layer_cycles)

    @property
    def effectiveness(self) -> float:
        """Depth over width, DeepMAD's rho (``nas_engine.costs.effectiveness``)."""
        return self.limited["effectiveness"]

    @property
    def peak_sram_bytes(self) -> float:
        """The most bytes live at any layer."""
        return max(self.sram_bytes)

    @property
    def peak_layer(self) -> str:
        """The layer at which they are."""
        return self.layer_names[self.sram_bytes.index(self.peak_sram_bytes)]

    @property
    def total_flash_bytes(self) -> float:
        """Flash bytes of all layers."""
        return sum(self.flash_bytes)

    @property
    def total_macs(self) -> float:
        """Multiply-accumulates of all layers."""
        return sum(self.macs)

    def front_row(self) -> FrontRow:
        """Return the network and its figures as a row of ``pareto.csv``."""
        return FrontRow(
            architecture=self.architecture,
            qe_score=self.qe_score,
            peak_sram_bytes=self.peak_sram_bytes,
            flash_bytes=self.total_flash_bytes,
            macs=self.total_macs,
            bitops=self.bitops,
            cycles=self.cycles,
        )

    def as_json(self) -> dict[str, Any]:
        """Return what ``--json`` prints of a network; bytes and counts are integers, rounded up."""
        return {
            "qe_score": self.qe_score,
            "stage_terms": list(self.stage_terms),
            "peak_sram_bytes": math.ceil(self.peak_sram_bytes),
            "sram_bytes_per_layer": [math.ceil(size) for size in self.sram_bytes],
            "flash_bytes": math.ceil(self.total_flash_bytes),
            "macs": math.ceil(self.total_macs),
            "bitops": math.ceil(self.bitops),
            "cycles": None if self.cycles is None else math.ceil(self.cycles),
            "latency_ms": None if self.latency is None else list(self.latency),
            "effectiveness": self.effectiveness,
            "layers": len(self.layer_names),
        }


LAYERS_WHOLE = ("layers", "whole")
"""Schedule and input whose arena is the price of a population in every layer."""


def report_network(
    architecture: Architecture,
    *,
    memory_model: str = Memory.ARENA,
    score: ScoreSettings | None = None,
    cycles_per_mac: dict[str, Floats] | None = None,
    cycle_model: CycleModel | None = None,
    milliseconds_per_cycle: tuple[float, float] | None = None,
    own_cost: str | None = None,
    least_noise: Mapping[int, float] | None = None,
) -> NetworkReport:
    """Return the report of one network.

    Args:
        architecture: The network; its resolution is the one counted.
        memory_model: ``"arena"`` or ``"paper"``.
        score: Sigmas and stage weights; the paper's by default.
        cycles_per_mac: Cycle tables of a device, see ``nas_engine.costs.compute.cycles``.
        cycle_model: Cycles of a device by its instructions, in place of the tables.
        milliseconds_per_cycle: Least and most time of a cycle, that of the device.
        own_cost: Function of the user's own that counts a cost, a program.
        least_noise: Least path noise of all networks and of classes, where it is limited.

    Raises:
        InputError: An unknown memory model or one that does not count the network's schedule, or
            stage weights that do not fit the network.
    """
    if memory_model not in MEMORY_MODELS:
        raise UnknownNameError("memory model", memory_model, MEMORY_MODELS)
    model = MEMORY_MODELS[memory_model]
    frame, settings = architecture_frame(architecture), score or ScoreSettings()
    genes = encode(frame, [architecture])
    table, view = unroll(frame, genes), GeneView(frame, genes)
    names, rows = architecture.layer_names(), layer_rows(frame, architecture)

    def column(values: Floats) -> tuple[float, ...]:
        return tuple(float(value) for value in values[rows, 0])

    if memory_model == "paper" and "rows" in (architecture.schedule, architecture.image):
        raise InputError(
            "the network or its image comes by rows, which memory model 'paper' does not count; "
            "give --memory-model arena"
        )
    if memory_model == "arena" and (architecture.schedule, architecture.image) != LAYERS_WHOLE:
        sram = tuple(map(float, live_per_layer(architecture)))
    else:
        sram = column(sram_per_layer(model, table, view.a_bits))
    counting = Counting(
        memory_model=memory_model,
        cycles_per_mac=cycles_per_mac or {},
        cycle_model=cycle_model,
        milliseconds_per_cycle=milliseconds_per_cycle,
        own_cost=own_cost,
        least_noise=least_noise or {},
    )
    layer_cycles = cycles_per_layer(counting, table, view) if counting.cycles_per_mac else None
    return NetworkReport(
        architecture=architecture,
        memory_model=memory_model,
        layer_names=names,
        bits=architecture.layer_bits(),
        qe_score=float(qe_score(table, view.w_bits, view.a_bits, settings)[0]),
        stage_terms=tuple(
            float(term) for term in stage_terms(table, view.w_bits, view.a_bits, settings)[:, 0]
        ),
        sram_bytes=sram,
        flash_bytes=column(flash_per_layer(model, table, view.w_bits)),
        macs=column(macs_per_layer(table)),
        limited=spent(
            counting, table, view, None if layer_cycles is None else layer_cycles.sum(axis=0)
        ),
        milliseconds_per_cycle=milliseconds_per_cycle,
        layer_cycles=() if layer_cycles is None else column(layer_cycles),
    )
