"""SearchSpace: the networks that a search may visit, and its file. A leaf: knows no engine.

``KEYS`` and the annotations say what a YAML file of a space holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, ClassVar

from nas_engine.block_kinds import BLOCK_KINDS, INVERTED_RESIDUAL, PLACES
from nas_engine.errors import InputError, UnknownNameError
from nas_engine.ranges import CLASSES, LAYERS, STAGE_WEIGHT, Range
from nas_engine.records import check

BIT_RANGE = (2, 8)
"""Narrowest and widest bit width of the product, weights and activations."""

_Bits = Annotated[int, Range(*BIT_RANGE)]
_Channels = Annotated[int, Range(0, 8192)]
_Depth = Annotated[int, Range(0, 100)]
_Size = Annotated[int, Range(8, 1024)]


def _listed(value: Any, name: str) -> tuple[Any, ...]:
    """Return several values, or one that stands alone in the file."""
    return tuple(value) if isinstance(value, list | tuple) else (value,)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelRange:
    """Channel counts ``minimum, minimum + step, ... maximum``.

    Raises:
        InputError: Not ``0 < minimum <= maximum`` with both multiples of the step.
    """

    KEYS: ClassVar[Mapping[str, str]] = {"minimum": "min", "maximum": "max"}

    minimum: _Channels
    """Fewest channels, at least one step."""
    maximum: _Channels
    """Most channels."""
    step: Annotated[int, Range(1, 64)] = 8
    """Every count is a multiple of this; 8 makes a packed pixel a whole number of bytes at every
    width."""

    def __post_init__(self) -> None:
        check(self)
        if (
            not 0 < self.minimum <= self.maximum
            or self.minimum % self.step
            or self.maximum % self.step
        ):
            raise InputError(
                f"channels from {self.minimum} to {self.maximum} in steps of {self.step}; "
                "expected 0 < min <= max, both multiples of the step"
            )


def _check_strides(what: str, strides: tuple[int, ...]) -> None:
    if repr(strides) not in ("(1,)", "(2,)", "(1, 2)"):
        given = strides[0] if len(strides) == 1 else list(strides)
        raise InputError(f"{what} {given!r}; expected 1, 2 or [1, 2]")


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSpace:
    """Row of the network's table: ``depth`` units of one kind, kernel, bottleneck and width.

    Raises:
        InputError: An empty or impossible choice.
    """

    KEYS: ClassVar[Mapping[str, str]] = {
        "strides": "stride",
        "min_depth": "depth.min",
        "max_depth": "depth.max",
    }

    kinds: tuple[str, ...] = (INVERTED_RESIDUAL,)
    """Kinds that its units may have (all of them the same), names of ``nas_engine.block_kinds``."""
    strides: Annotated[tuple[int, ...], _listed]
    """Strides that its first unit may have, of 1 and 2."""
    kernels: tuple[Annotated[int, Range(1, 7)], ...]
    """Kernel sizes, odd."""
    channels: ChannelRange
    """Output channels."""
    expansions: tuple[Annotated[float, Range(0, 16)], ...] = ()
    """Bottleneck channels as a ratio of the *output* channels (the authors' convention), rounded to
    the channel step; none if no kind has a bottleneck of its own."""
    min_depth: _Depth
    """Fewest units."""
    max_depth: _Depth
    """Most units."""

    def __post_init__(self) -> None:
        check(self)
        object.__setattr__(self, "expansions", tuple(map(float, self.expansions)))
        for kind in self.kinds:
            if kind not in BLOCK_KINDS:
                raise UnknownNameError("block kind", kind, BLOCK_KINDS)
        if not self.kinds or len(set(self.kinds)) != len(self.kinds):
            raise InputError(
                f"kinds are {list(self.kinds)}; expected some of {', '.join(BLOCK_KINDS)}, "
                "each once"
            )
        _check_strides("stride is", self.strides)
        if not self.kernels or any(k not in (1, 3, 5, 7) for k in self.kernels):
            raise InputError(f"kernels are {list(self.kernels)}; expected some of 1, 3, 5, 7")
        if self.has_bottleneck != bool(self.expansions) or 0 in self.expansions:
            raise InputError(
                f"expansions are {list(self.expansions)}; expected "
                + (
                    f"ratios above 0, at most 16, for {INVERTED_RESIDUAL} units"
                    if self.has_bottleneck
                    else f"none for {' and '.join(self.kinds)} units, leave them out"
                )
            )
        if not 1 <= self.min_depth <= self.max_depth:
            raise InputError(
                f"depth from {self.min_depth} to {self.max_depth}; expected 1 <= min <= max"
            )

    @property
    def has_bottleneck(self) -> bool:
        """True if any of its kinds has a bottleneck as a gene."""
        return any(BLOCK_KINDS[kind].has_bottleneck for kind in self.kinds)


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSpace:
    """Space of networks: stem, stages of units of one kind, 1x1 head or none, classifier, bits.

    Raises:
        InputError: Values that cannot describe a network.
    """

    KEYS: ClassVar[Mapping[str, str]] = {
        "resolution": "resolution.default",
        "min_resolution": "resolution.min",
        "max_resolution": "resolution.max",
        "class_count": "classes",
        "stem_kernel": "stem.kernel",
        "stem_strides": "stem.stride",
        "stem_channels": "stem.channels",
        "head_channels": "head.channels",
        "end_bits": "bits.stem_and_classifier",
        "weight_bits": "bits.weights",
        "activation_bits": "bits.activations",
        "tie_block_bits": "bits.tie_blocks",
        "non_decreasing": "non_decreasing_channels",
    }

    name: str
    """Name on the command line."""
    title: str
    """One line that says what the space is for."""
    source: str
    """Source of its numbers; "ours" or "chosen here" marks those of this project."""
    input_channels: Annotated[int, Range(1, 64)] = 3
    """Channels of the input image."""
    resolution: _Size
    """Default input height and width in pixels; QE-Score does not see it, so it is given, never
    searched."""
    min_resolution: _Size
    """Smallest resolution that makes sense here."""
    max_resolution: _Size
    """Largest resolution that makes sense here."""
    class_count: Annotated[int, CLASSES]
    """Default number of classes; 0 for no classifier (the authors' space)."""
    stage_weights: tuple[Annotated[float, STAGE_WEIGHT], ...]
    """QE-Score weight of each stage; stages end just before each stride-2 stage, the stem starts
    stage 0. A network with fewer stride-2 stages than the space allows takes the last ones."""
    stem_kernel: Annotated[int, Range(1, 7)]
    """Kernel size of the stem convolution."""
    stem_strides: Annotated[tuple[int, ...], _listed]
    """Strides that the stem may have, of 1 and 2."""
    stem_channels: ChannelRange
    """Output channels of the stem."""
    stages: tuple[StageSpace, ...]
    """Stages from input to output."""
    head_channels: ChannelRange | None
    """Output channels of the last 1x1 convolution; ``None`` for networks without one."""
    end_bits: _Bits
    """Weight and input width of the stem and the classifier, and width of what enters the
    classifier (the papers: 8)."""
    weight_bits: tuple[_Bits, ...]
    """Weight widths that a convolution may take, ascending."""
    activation_bits: tuple[_Bits, ...]
    """Input widths that a convolution may take, ascending."""
    tie_block_bits: bool = False
    """True if the convolutions of a unit share both widths (the authors' code); otherwise they are
    free (chosen here)."""
    pooled_shortcut: bool = False
    """True if stride-2 residuals with equal channels have a shortcut through a 2x2 average pool
    (the authors' code)."""
    non_decreasing: bool = True
    """True if output channels may not fall from stage to stage."""
    max_layers: Annotated[int, LAYERS]
    """Most convolutions (the classifier is not counted), each unit counted as three; the authors'
    limit is 47."""
    max_stage_share: float = 1.0
    """Largest share of all units in one stage: the guard against piling depth where the score pays
    most; 1 switches it off."""

    def __post_init__(self) -> None:
        check(self)
        object.__setattr__(self, "stage_weights", tuple(map(float, self.stage_weights)))
        for what, bits in (
            ("weight bits", self.weight_bits),
            ("activation bits", self.activation_bits),
        ):
            if not bits or list(bits) != sorted(set(bits)):
                raise InputError(f"{what} are {list(bits)}; expected ascending widths from 2 to 8")
        _check_strides("stem.stride: is", self.stem_strides)
        if not self.stages:
            raise InputError("stages is empty; expected at least one stage")
        n_stages = 1 + sum(2 in stage.strides for stage in self.stages)
        ranges = [(s.channels.minimum, s.channels.maximum) for s in self.stages]
        steps = {s.channels.step for s in self.stages}
        if self.non_decreasing and (
            len(steps) > 1 or any(b[0] < a[0] or b[1] < a[1] for a, b in pairwise(ranges))
        ):
            raise InputError(
                "non_decreasing_channels needs one step and a min and max that do not fall from "
                "stage to stage"
            )
        if len(self.stage_weights) != n_stages:
            raise InputError(
                f"stage_weights has {len(self.stage_weights)} values; the strides make {n_stages} "
                f"stages, give {n_stages}"
            )
        if not any(self.stage_weights):
            raise InputError("stage_weights are all 0; expected at least one above 0")
        if not self.min_resolution <= self.resolution <= self.max_resolution:
            raise InputError(
                f"resolution {self.resolution} is outside {self.min_resolution} to "
                f"{self.max_resolution}"
            )
        if self.head_channels is None and not self.class_count:
            raise InputError("head is none and classes is 0; expected one of the two")
        if self.head_channels is None and self.end_bits not in self.activation_bits:
            raise InputError(
                f"head is none, so the last stage gives the classifier its {self.end_bits} bits; "
                f"expected {self.end_bits} among activations {list(self.activation_bits)}"
            )
        shallowest = self.ends + PLACES * sum(stage.min_depth for stage in self.stages)
        if self.max_layers < shallowest:
            raise InputError(
                f"max_layers {self.max_layers} is below the {shallowest} layers of the shallowest "
                "network"
            )
        if not 1 / len(self.stages) <= self.max_stage_share <= 1:
            raise InputError(
                f"max_stage_share is {self.max_stage_share}; expected {1 / len(self.stages):.2f} "
                "(even) to 1 (no guard)"
            )

    @property
    def ends(self) -> int:
        """Convolutions beside its units: stem and head."""
        return 1 + (self.head_channels is not None)

    @property
    def max_residuals(self) -> int:
        """Most units within the layer limit and the stages: ``(max_layers - ends) / 3``."""
        fitting = (self.max_layers - self.ends) // PLACES
        return min(fitting, sum(stage.max_depth for stage in self.stages))
