"""SearchProblem: everything a search needs to know, fixed for its whole life."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from device_profiles import DeviceProfile
from nas_engine.architecture import Architecture
from nas_engine.costs.instruction_model import CycleModel, cycle_model
from nas_engine.costs.memory import MEMORY_MODELS, MemoryModel
from nas_engine.encoding import Frame, space_frame
from nas_engine.errors import InputError, UnknownNameError
from nas_engine.evolution.limits import LIMITS, UNLIMITED, Counting
from nas_engine.layers import KINDS, Bools, Floats
from nas_engine.names import ImageInput, Memory, Schedule
from nas_engine.scoring.objective import QE_SCORE
from nas_engine.scoring.qe_score import ScoreSettings, stage_coefficients
from search_spaces import SearchSpace


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SearchProblem:
    """A space, a frame, the budgets, and how candidates are counted and scored.

    Raises:
        InputError: Stage weights that do not fit the space, or a device that allows none of the
            space's widths.
    """

    space: SearchSpace
    """Space of the networks that may be visited."""
    frame: Frame
    """Common properties of the networks, with the resolution."""
    arena_bytes: float
    """Most bytes of the arena (the device's SRAM less what is reserved)."""
    flash_bytes: float
    """Most bytes of weights and constants (the device's Flash less what is reserved)."""
    limits: Mapping[str, float]
    """Those of ``LIMITS`` that are set, by name."""
    memory_model: str
    """``"arena"`` or ``"paper"``."""
    score: ScoreSettings
    """Sigmas and stage weights of the QE-Score."""
    allowed: Bools
    """Mask of widths that the device can store and compute, ``(9, 9)``, indexed ``[weight bits,
    activation bits]``."""
    cycles_per_mac: dict[str, Floats]
    """Cycles per MAC of each layer kind, each indexed like ``allowed``."""
    cycle_model: CycleModel | None = None
    """Cycles by the instructions of the core, where it was measured."""
    milliseconds_per_cycle: tuple[float, float] | None = None
    """Least and most milliseconds per cycle; ``None`` where cycles are no time."""
    qbr: bool = True
    """True if bits are set by Quantization Bits Refinement; else by mutation alone, or, of one
    network, by its file."""
    objective: str = QE_SCORE
    """Figure that is searched for, larger is better: ``nas_engine.scoring.objective``."""
    own_cost: str | None = None
    """Function of the user's own that is counted beside: ``nas_engine.costs.own``."""
    path_noise_axis: bool | None = None
    """True if networks have classes, and fronts of path noise; ``None`` for where strides are genes
    and the QE-Score is searched for."""
    least_noise: Mapping[int, float] = field(default_factory=dict)
    """Least path noise found of all networks, at 0, and of each class, where it is limited."""
    network: Architecture | None = None
    """The network of a space of one; ``None`` where networks are searched."""

    def __post_init__(self) -> None:
        stage_coefficients(self.frame, self.score)
        if self.memory_model not in MEMORY_MODELS:
            raise UnknownNameError("memory model", self.memory_model, MEMORY_MODELS)
        if self.memory_model == "paper":
            for option, value, only in (
                ("--schedule", self.frame.schedule, "layers"),
                ("--input", self.frame.image, "whole"),
            ):
                if value == "rows":
                    raise InputError(
                        f"{option} is {value}; memory model 'paper' counts '{only}' alone: leave "
                        f"{option} out, or give --memory-model arena"
                    )
        pairs = self.allowed[np.ix_(self.space.weight_bits, self.space.activation_bits)]
        if not pairs.any():
            raise InputError(
                f"the device allows none of space '{self.space.name}'s widths (weights "
                f"{list(self.space.weight_bits)}, "
                f"activations {list(self.space.activation_bits)}); choose another --space or "
                "--device"
            )
        lone = np.outer(pairs.any(axis=1), pairs.any(axis=0)) & ~pairs
        if self.qbr and lone.any():
            w, a = np.argwhere(lone)[0]
            raise InputError(
                f"the device forbids w{self.space.weight_bits[w]}a{self.space.activation_bits[a]} "
                "but allows either width in other pairs; "
                "refinement needs every allowed weight width beside every allowed activation "
                "width: "
                "narrow the space's bits, or add --no-qbr"
            )
        end = self.space.end_bits
        if not self.allowed[end, end]:
            raise InputError(
                f"the device forbids w{end}a{end}, which space '{self.space.name}' gives stem and "
                "classifier; choose another --space"
            )

    @property
    def weight_options(self) -> tuple[int, ...]:
        """Weight widths of the space that the device allows with some activation width."""
        return tuple(
            w
            for w in self.space.weight_bits
            if self.allowed[w, list(self.space.activation_bits)].any()
        )

    @property
    def activation_options(self) -> tuple[int, ...]:
        """Activation widths of the space that the device allows with some weight width."""
        return tuple(
            a
            for a in self.space.activation_bits
            if self.allowed[list(self.space.weight_bits), a].any()
        )

    def limit(self, name: str) -> float:
        """Return one of ``LIMITS``, infinity where it is not set."""
        return self.limits.get(name, UNLIMITED)

    def margin(self, name: str) -> float:
        """Return by what share one of ``LIMITS`` may be more than it was predicted."""
        is_estimate = any(row.estimate for row in LIMITS if row.name == name)
        return self.cycle_model.margin if self.cycle_model and is_estimate else 0.0

    @property
    def cycle_limit(self) -> float:
        """Most predicted cycles by the limits on cycles and latency, infinity without them."""
        pace = self.milliseconds_per_cycle
        latency = self.limit("latency") / pace[1] if pace else UNLIMITED
        return min(self.limit("cycles"), latency) / (1 + self.margin("cycles"))

    @property
    def most_predicted(self) -> dict[str, float]:
        """Most of each quantity of ``LIMITS`` as it is predicted, by name.

        A time is its cycles; a cost of the user's own is not among them.
        """
        rows = {row.name for row in LIMITS if not (row.timed or row.own)}
        found = {name: limit for name, limit in self.limits.items() if name in rows}
        if self.cycle_limit < UNLIMITED:
            found["cycles"] = self.cycle_limit
        return found

    @property
    def most_instructions(self) -> float:
        """Most instructions that the limits leave, infinity without any or without a model."""
        if self.cycle_model is None:
            return UNLIMITED
        return self.cycle_limit * (1 + self.cycle_model.margin) / self.cycle_model.each

    @property
    def room(self) -> int | None:
        """Bytes of SRAM that a winner may take where units by rows are as few as fit."""
        return int(self.arena_bytes) if self.frame.schedule == "auto" else None

    @property
    def classed(self) -> bool:
        """True if networks are kept apart by what the QE-Score cannot see.

        Unless asked otherwise, where strides are genes; a search by another figure has that
        figure's best, whatever it sees.
        """
        if self.path_noise_axis is not None:
            return self.path_noise_axis
        return self.frame.free_strides and self.objective == QE_SCORE

    @property
    def counting(self) -> Counting:
        """How candidates are counted."""
        return Counting(
            memory_model=self.memory_model,
            cycles_per_mac=self.cycles_per_mac,
            cycle_model=self.cycle_model,
            room=self.room,
            milliseconds_per_cycle=self.milliseconds_per_cycle,
            own_cost=self.own_cost,
            least_noise=self.least_noise,
        )

    @property
    def model(self) -> MemoryModel:
        """The memory model itself."""
        return MEMORY_MODELS[self.memory_model]


def make_problem(
    space: SearchSpace,
    device: DeviceProfile,
    *,
    resolution: int | None = None,
    class_count: int | None = None,
    limits: Mapping[str, float] | None = None,
    memory_model: str = Memory.ARENA,
    schedule: Schedule = "layers",
    image: ImageInput = "whole",
    score: ScoreSettings | None = None,
    qbr: bool = True,
    objective: str = QE_SCORE,
    own_cost: str | None = None,
    path_noise_axis: bool | None = None,
    network: Architecture | None = None,
) -> SearchProblem:
    """Return the problem of fitting a network of a space to a device; ``None`` is its default.

    Raises:
        InputError: A value that does not fit the space or the device.
    """
    if "latency" in (limits or {}) and device.milliseconds_per_cycle is None:
        raise InputError(
            f"--max-latency: profile '{device.name}' ({device.core}) has no "
            "cycles_per_instruction, without which cycles are no time; add it to the profile "
            "(docs/devices.md), or give --max-cycles"
        )
    frame = space_frame(
        space,
        space.resolution if resolution is None else resolution,
        space.class_count if class_count is None else class_count,
    )
    return SearchProblem(
        space=space,
        frame=replace(frame, schedule=schedule, image=image),
        arena_bytes=device.arena_bytes,
        flash_bytes=device.storage_bytes,
        limits=limits or {},
        memory_model=memory_model,
        score=score or ScoreSettings(stage_weights=space.stage_weights),
        allowed=device.allowed_table(),
        cycles_per_mac={kind: device.cycles_table(kind) for kind in KINDS},
        cycle_model=cycle_model(device),
        milliseconds_per_cycle=device.milliseconds_per_cycle,
        qbr=qbr,
        objective=objective,
        own_cost=own_cost,
        path_noise_axis=path_noise_axis,
        network=network,
    )
