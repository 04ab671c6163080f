"""Time on a board: cycles per instruction, a default limit, other engines' published cycles.

No time here was measured with this runtime: ``docs/explanation/milliseconds.md`` says how the
ranges are made. ``python -m benchmarks.latency`` derives them from the published rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from nas_engine.errors import InputError
from nas_engine.ranges import Range
from nas_engine.units import parse_latency

PER_INSTRUCTION = Range(0.1, 100)
"""Cycles per instruction accepted; anything outside is a typing error."""

PER_MAC = Range(0, 1e4)
"""Published cycles per multiply-accumulate accepted."""

ERROR = Range(0, 10)
"""Relative errors accepted."""


def _milliseconds(value: Any, name: str) -> float:
    """Return a default latency in milliseconds, which must be finite."""
    found = parse_latency(value, name)
    if found == float("inf"):
        raise InputError(
            f"{name}: is {value!r}; expected a time such as 200ms; leave it out for no default"
        )
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class CyclesPerInstruction:
    """Range of cycles per instruction of the exported runtime on a board.

    Raises:
        InputError: The least is above the most.
    """

    least: Annotated[float, PER_INSTRUCTION]
    """Least, from the pipeline of the core."""
    most: Annotated[float, PER_INSTRUCTION]
    """Most, with memory as slow as any published board's."""
    assumed: Annotated[float, PER_INSTRUCTION] = 1.0
    """Cycles per instruction that the table ``cycles_per_mac`` assumes; 1 where it holds
    instructions."""
    source: str
    """Where they come from."""

    def __post_init__(self) -> None:
        """Check the order."""
        if self.least > self.most:
            raise InputError(
                f"least is {self.least:g}; expected at most the {self.most:g} of 'most'"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class DefaultLatency:
    """Latency limit of searches that are given none."""

    value: Annotated[float, _milliseconds]
    """Milliseconds."""
    source: str
    """Who chose it, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedCycles:
    """Cycles per multiply-accumulate of 8-bit networks by another engine, from its latencies.

    They are no claim about this runtime: they say what a board gave to those who measured it.
    """

    board: str
    """Board as its source spells it."""
    engine: str
    """Inference engine and version."""
    networks: Annotated[int, Range(1)]
    """Networks of the fit."""
    first: Annotated[float, PER_MAC]
    """Cycles per multiply-accumulate of the first convolution."""
    pointwise: Annotated[float, PER_MAC]
    """Those of 1 x 1 convolutions."""
    depthwise: Annotated[float, PER_MAC]
    """Those of depthwise convolutions."""
    dense: Annotated[float, PER_MAC]
    """Those of fully connected layers."""
    convolution: Annotated[float, PER_MAC] | None = None
    """Those of k x k convolutions behind the first; ``None`` where no network has any."""
    mean_error: Annotated[float, ERROR]
    """Mean relative error of the networks of the fit."""
    left_out_error: Annotated[float, ERROR]
    """Mean relative error of each network, predicted by a fit without it."""
    source: str
    """Where the latencies were published."""

    def cycles(self, macs: Mapping[str, float]) -> float | None:
        """Return the cycles of a network, ``None`` where it has a kind that was not fitted.

        Args:
            macs: Multiply-accumulates by kind: the names of the coefficients.
        """
        total = 0.0
        for kind, count in macs.items():
            each = getattr(self, kind)
            if count and each is None:
                return None
            total += count * (each or 0.0)
        return total
