"""SearchConfig: config of a search, from options or ``config.yaml``, and its problem."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Annotated, Any, ClassVar

from device_profiles import DeviceProfile, device_names, load_device, shipped_name
from nas_engine import __version__
from nas_engine.architecture import Architecture
from nas_engine.costs.own import check_cost
from nas_engine.costs.sram import peak_sram
from nas_engine.encoding import GeneView, encode
from nas_engine.errors import FileFormatError, InputError
from nas_engine.evolution.feasibility import least_sram, require_feasible, smallest_networks
from nas_engine.evolution.least_noise import least_path_noise
from nas_engine.evolution.limits import LIMITS, UNLIMITED, Limit, spent
from nas_engine.evolution.one_network import open_space
from nas_engine.evolution.problem import SearchProblem, make_problem
from nas_engine.layers import unroll
from nas_engine.names import BEFORE_ROWS, DEFAULT_SCHEDULE, ImageInput, Memory, Schedule
from nas_engine.ranges import CANDIDATES, CHANNELS, CLASSES, RESOLUTION, SEED, SIGMA, STAGE_WEIGHT
from nas_engine.records import Count, Share, key_of, plain, read
from nas_engine.scoring.objective import QE_SCORE, check_objective, objective_values
from nas_engine.scoring.qe_score import ScoreSettings
from nas_engine.strict_yaml import Fields
from nas_engine.units import MEMORY_REGION_BYTES, format_size, parse_latency
from search_spaces import SearchSpace, space_names

DEFAULT_SPACE = "mobilenet"
"""Search space of searches that are given none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchConfig:
    """Config of a search; ``config.yaml`` of a run directory, every value resolved."""

    KEYS: ClassVar[Mapping[str, str]] = {"class_count": "classes"}

    device: str = "cortex-m7"
    """Device profile, by name or path."""
    sram_bytes: Count
    """SRAM of the device, reserved part included."""
    flash_bytes: Count
    """Flash of the device, reserved part included."""
    space: str
    """Search space, by name or path; or the path of an architecture, a space of one network."""
    resolution: Annotated[int, RESOLUTION]
    """Height and width of the input image in pixels."""
    class_count: Annotated[int, CLASSES]
    """Outputs of the classifier, 0 for none."""
    channels: Annotated[int, CHANNELS] | None = None
    """Channels of the image, 1 for grey; ``None`` for the space's."""
    memory_model: str = Memory.ARENA
    """Model that counts SRAM, Flash and BitOps, ``arena`` or ``paper``."""
    schedule: Schedule = "layers"
    """How blocks run, which SRAM depends on."""
    input: ImageInput = "whole"
    """How the image comes."""
    sigma_a: Annotated[float, SIGMA] = 5.0
    """QE-Score's standard deviation of activations."""
    sigma_w: Annotated[float, SIGMA] = 4.0
    """QE-Score's standard deviation of weights."""
    stage_weights: tuple[Annotated[float, STAGE_WEIGHT], ...]
    """QE-Score's weight of each stage."""
    limits: Mapping[str, float] = field(default_factory=dict)
    """Those of ``LIMITS`` that are set, by name; ``max_NAME`` in files and options."""
    max_stage_share: Share
    """Largest share of the inverted residuals in one stage, the guard against piling depth into
    one."""
    qbr: bool = True
    """True if Quantization Bits Refinement sets the bits; else mutation does, or the file of a
    network."""
    score: str = QE_SCORE
    """Figure that is searched for: the QE-Score, a form of path noise, or a function of a file."""
    cost: str | None = None
    """Function of the user's own that counts what ``max_cost`` limits."""
    path_noise_axis: bool | None = None
    """True if networks compete within classes that have fronts of path noise; ``None`` for where
    strides are genes."""
    seed: Annotated[int, SEED] = 0
    """Seed of the search."""
    candidates: Annotated[int, CANDIDATES] = 500_000
    """Networks to evaluate."""

    def as_options(self) -> dict[str, Any]:
        """Return the values by option, as ``resolve_config`` takes them; ``None`` for no limit."""
        return {key.removesuffix("_bytes"): value for key, value in self._values().items()}

    def as_mapping(self) -> dict[str, Any]:
        """Return plain values for ``config.yaml``."""
        return {**plain(self._values()), "version": __version__}

    def _values(self) -> dict[str, Any]:
        limits = {
            row.key: self.limits.get(row.name, "none" if row.timed else None) for row in LIMITS
        }
        values: dict[str, Any] = {}
        for each in fields(self):
            key = key_of(SearchConfig, each.name)
            values |= limits if key == "limits" else {key: getattr(self, each.name)}
        return values

    @staticmethod
    def from_mapping(mapping: Mapping[str, Any], path: object) -> SearchConfig:
        """Return the config of a run directory.

        Raises:
            FileFormatError: A key is missing, unknown or of the wrong kind.
        """
        keys = [key_of(SearchConfig, each.name) for each in fields(SearchConfig)]
        keys = [*(key for key in keys if key != "limits"), *(row.key for row in LIMITS)]
        part = Fields(mapping, path).only("version", *keys)
        part.take_str("version")
        limits = {
            row.name: _limit(row, part) for row in LIMITS if part.has(row.key) or row.of_space
        }
        limits = {name: limit for name, limit in limits.items() if limit < UNLIMITED}
        # keys that files of 0.1.0 lack
        since = {**BEFORE_ROWS, "score": QE_SCORE}
        others = Fields({**since, **mapping, "limits": limits}, path)
        return read(SearchConfig, others, "version", *(row.key for row in LIMITS))


def _limit(row: Limit, part: Fields) -> float:
    if row.timed:
        with part.located():
            return parse_latency(part.take(row.key), row.key)
    low, high = row.range.whole
    value: float = (
        part.take_int(row.key, low=low, high=high)
        if row.of_space
        else part.take_number(row.key, low=row.range.low, high=row.range.high)
    )
    return value


def resolve_config(options: Mapping[str, Any]) -> SearchConfig:
    """Return a config from what a user gave, everything else from the device and the space.

    Args:
        options: Options of the section ``search`` (``nas_engine.options``); ``None`` counts as not
            given.

    Raises:
        InputError: An unknown device or space, a size the device cannot have.
    """
    given = {key: value for key, value in options.items() if value is not None}
    if "score" in given:
        given["score"] = check_objective(given["score"])
    if "cost" in given:
        given["cost"] = check_cost(given["cost"])
    space_name, device_name = given.pop("space", DEFAULT_SPACE), given.pop("device", "cortex-m7")
    space, network = open_space(space_name)
    device = load_device(device_name).with_memory(given.pop("sram", None), given.pop("flash", None))
    for memory, size in (("SRAM", device.sram_bytes), ("Flash", device.flash_bytes)):
        if size > MEMORY_REGION_BYTES:
            raise InputError(
                f"--{memory.lower()}: {memory} of {format_size(size)} is beyond the "
                f"{format_size(MEMORY_REGION_BYTES)} that a Cortex-M can "
                "address as such; expected for example 256k or 1m"
            )
    defaults = {
        "device": _name_or_path(shipped_name(device_name), device_names()),
        "space": _name_or_path(space_name, space_names()),
        "sram_bytes": device.sram_bytes,
        "flash_bytes": device.flash_bytes,
        "resolution": space.resolution,
        "class_count": given.pop("classes", space.class_count),
        "stage_weights": space.stage_weights,
        "max_stage_share": space.max_stage_share,
    }
    if network is not None:
        defaults |= {"qbr": False}
        given["candidates"] = 1
    limits = {row.name: getattr(space, row.key) for row in LIMITS if row.of_space}
    limits |= {row.name: given.pop(row.key) for row in LIMITS if row.key in given}
    if "latency" in limits:
        limits["latency"] = parse_latency(limits["latency"], "--max-latency")
    elif (
        device.default_latency
        and device.milliseconds_per_cycle
        and _has_default_latency(space, network, given, limits)
    ):
        limits["latency"] = device.default_latency.value
    limits = {
        row.name: limits[row.name] for row in LIMITS if limits.get(row.name, UNLIMITED) < UNLIMITED
    }
    if given.get("memory_model") != "paper":
        own = network.schedule if network is not None else "layers"
        defaults["schedule"] = DEFAULT_SCHEDULE if own == "layers" else own
        defaults["input"] = network.image if network is not None else "whole"
    config = SearchConfig(**{**defaults, **given}, limits=limits)
    if network is not None and config.channels not in (None, space.input_channels):
        raise FileFormatError(
            space_name,
            f"it takes images of {space.input_channels} channels, asked for are {config.channels}; "
            "leave --channels out",
        )
    if network is not None and config.class_count != space.class_count:
        raise FileFormatError(
            space_name,
            f"its classifier has {space.class_count} classes, asked for are "
            f"{config.class_count} (those of the data, or --classes); change 'classes' in the file",
        )
    if config.schedule == "layers" or "input" in given or config.input == "rows":
        return config
    try:
        problem, _ = build_problem(config)
    except InputError:
        return config  # check_config says why, before a search
    return replace(config, input=at_fitting_input(problem).frame.image)


def _has_default_latency(
    space: SearchSpace,
    network: Architecture | None,
    given: Mapping[str, Any],
    limits: Mapping[str, float],
) -> bool:
    """Return whether the default latency of a device limits a search.

    Not one of a single network, not one that has a limit on cycles, and not what is counted or
    sampled as in the paper, whose figures are without a limit.
    """
    as_published = given.get("memory_model") == "paper" or space.name == "qe-score-2022"
    return network is None and "cycles" not in limits and not as_published


def at_fitting_input(problem: SearchProblem) -> SearchProblem:
    """Return a problem whose image comes by rows where no network fits with a whole one."""
    if problem.frame.schedule == "layers" or least_sram(problem) <= problem.arena_bytes:
        return problem
    by_rows = replace(problem, frame=replace(problem.frame, image="rows"))
    return by_rows if least_sram(by_rows) < math.inf else problem


def _name_or_path(given: str, shipped: tuple[str, ...]) -> str:
    """Return a shipped name in its own spelling, or the absolute path of a user's file.

    Absolute, so that a run can be continued from anywhere.
    """
    name = given.strip().lower().replace("_", "-")
    return name if name in shipped else os.path.abspath(given)


def build_problem(config: SearchConfig) -> tuple[SearchProblem, DeviceProfile]:
    """Return the problem a config describes and the device it is for.

    Raises:
        InputError: Values that do not go together.
    """
    device = load_device(config.device).with_memory(config.sram_bytes, config.flash_bytes)
    tighter: dict[str, Any] = {
        row.key: config.limits[row.name]
        for row in LIMITS
        if row.of_space and row.name in config.limits
    }
    found, network = open_space(config.space)
    if config.channels is not None:
        tighter["input_channels"] = config.channels
    space: SearchSpace = replace(found, max_stage_share=config.max_stage_share, **tighter)
    score = ScoreSettings(
        sigma_a=config.sigma_a, sigma_w=config.sigma_w, stage_weights=config.stage_weights
    )
    problem = make_problem(
        space,
        device,
        resolution=config.resolution,
        class_count=config.class_count,
        limits=config.limits,
        memory_model=config.memory_model,
        schedule=config.schedule,
        image=config.input,
        score=score,
        qbr=config.qbr,
        objective=config.score,
        own_cost=config.cost,
        path_noise_axis=config.path_noise_axis,
        network=network,
    )
    problem = _at_widest(problem)
    if "path_noise" in problem.limits:
        problem = replace(problem, least_noise=_least_noise(problem))
    return problem, device


_LEAST: dict[str, dict[int, float]] = {}
"""Least path noise of problems, which a run asks for many times."""


def _least_noise(problem: SearchProblem) -> dict[int, float]:
    own = {row.name for row in LIMITS if row.own}  # a program runs only where it is named
    limits = {
        name: limit for name, limit in problem.limits.items() if name not in {"path_noise", *own}
    }
    asked = replace(
        problem,
        limits=limits,
        objective=QE_SCORE,
        own_cost=None,
        path_noise_axis=problem.classed,
    )
    if (key := repr(asked)) not in _LEAST:
        _LEAST[key] = least_path_noise(asked)
    return _LEAST[key]


def _at_widest(problem: SearchProblem) -> SearchProblem:
    """Return a problem by rows with the widest activations alone, where a network fits with them.

    By rows SRAM need not decide widths, and narrow activations take more instructions. Those of a
    search with a BitOps limit stay free (chosen here), and those of a given network, unless it is
    in chains of units alone that it fits: their bytes are known at one width.
    """
    widest = problem.activation_options[-1:]
    if problem.frame.schedule == "layers" or "bitops" in problem.limits:
        return problem
    if not problem.qbr and not _fits_in_chains_alone(problem):
        return problem
    wide = replace(problem, space=replace(problem.space, activation_bits=widest))
    return wide if least_sram(wide) <= wide.arena_bytes else problem


def _fits_in_chains_alone(problem: SearchProblem) -> bool:
    """Return whether a network is given whose activations are the widest, and too many for units.

    Too many where each unit runs by itself.
    """
    if problem.network is None:
        return False
    free = problem.network.layer_bits()[1 : -1 if problem.network.classifier else None]
    if {bits.a for bits in free} != {problem.activation_options[-1]}:
        return False
    frame = problem.frame
    genes = encode(
        frame,
        [replace(problem.network, schedule=frame.schedule, image=frame.image, room=frame.room)],
    )
    alone = peak_sram(problem.model, unroll(frame, genes), GeneView(frame, genes).a_bits)
    return float(alone[0]) > problem.arena_bytes


def check_config(config: SearchConfig) -> None:
    """Check that a search can start.

    Raises:
        InputError: Values that do not go together, or a budget that no network of the space fits.
    """
    for row in LIMITS:
        low, high = row.range.low, row.range.high
        value = config.limits.get(row.name, high)
        if not low <= value <= high:
            raise InputError(
                f"{row.key} is {value:g}; expected a number from {low:g} to {high:g}, such as "
                f"{row.example}"
            )
    problem, device = build_problem(config)
    if "cost" in config.limits and config.cost is None:
        raise InputError(
            "--max-cost limits the figure of --cost, and there is none; add --cost FILE.py:FUNCTION"
        )
    if problem.objective != QE_SCORE or problem.own_cost is not None:
        # a function that fails does so before anything is begun
        genes = smallest_networks(problem)
        view, table = GeneView(problem.frame, genes), unroll(problem.frame, genes)
        if problem.objective != QE_SCORE:
            objective_values(problem.objective, table, view.w_bits, view.a_bits)
        spent(problem.counting, table, view)
    require_feasible(
        problem,
        reserved_sram=device.reserved_sram_bytes,
        reserved_flash=device.reserved_flash_bytes,
    )


def require_same(stored: Sequence[SearchConfig], asked: Sequence[SearchConfig]) -> None:
    """Refuse to continue a run with other options; the number of candidates may differ."""
    options = [[config.as_options() for config in configs] for configs in (stored, asked)]
    for name in options[0][0]:
        if name == "candidates":
            continue
        before, now = (tuple(dict.fromkeys(each[name] for each in these)) for these in options)
        if before != now:
            option = name.replace("_", "-")
            was, wanted = (",".join(map(_shown, values)) for values in (before, now))
            raise InputError(
                f"--resume: this run has {option} {was}, you asked for {wanted}; leave --{option} "
                "out, or start anew with --force"
            )


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(f"{part:g}" for part in value)
    if value is None:
        return "unlimited"
    return ("off", "on")[value] if isinstance(value, bool) else str(value)
