"""Random networks for the proxy study, chosen without a look at any score: free ones, and ones of
equal Flash under one SRAM limit.

free: random networks of the space, bits included, between two numbers of MACs (so that training
them on a CPU is affordable). budget: random structures, brought to one Flash size and under one
SRAM limit by single random steps of bits. Weights start at 8 bits, and a random layer loses (or
gains) one bit until Flash is within a few percent of the target. Activations start at 8 bits, and
of the layers that a bit less would bring nearer to the SRAM limit a random one loses it. Refinement
is not used: it looks at the score.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nas_engine.architecture import Architecture
from nas_engine.costs import compute
from nas_engine.costs.flash import flash
from nas_engine.costs.memory import MEMORY_MODELS
from nas_engine.costs.sram import peak_sram, sram_per_layer
from nas_engine.encoding import Frame, Genes, GeneView, decode, encode, space_frame
from nas_engine.evolution.operators import sample
from nas_engine.layers import Floats, unroll
from search_spaces import SearchSpace, load_space

_read = functools.cache(load_space)

MODEL = "arena"

BATCH = 256
"""Networks drawn at a time."""

STEPS = 500
"""Single steps of bits after which a structure is given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Setting that the networks of a study share."""

    space: str = "mobilenet-32"
    resolution: int = 32
    class_count: int = 10
    macs: tuple[float, float] = (5e5, 3e6)
    """Fewest and most multiply-accumulates."""
    flash_bytes: int = 48 * 1024
    """Flash of the part budget, and the limit of the part baselines."""
    flash_within: float = 0.03
    """Largest relative distance from it."""
    sram_bytes: int = 32 * 1024
    """Limit on peak SRAM in both parts."""
    candidates: int = 100_000
    """Networks that a search of the part baselines evaluates."""

    @property
    def shape(self) -> SearchSpace:
        """The space itself."""
        return _read(self.space)

    @property
    def frame(self) -> Frame:
        """Frame that the networks share."""
        return space_frame(self.shape, self.resolution, self.class_count)


def costs(setting: Setting, architectures: Sequence[Architecture]) -> tuple[Floats, Floats, Floats]:
    """Return peak SRAM and Flash in bytes, and MACs, each ``(n,)``."""
    genes = encode(setting.frame, architectures)
    table, view = unroll(setting.frame, genes), GeneView(setting.frame, genes)
    return (
        peak_sram(MEMORY_MODELS[MODEL], table, view.a_bits),
        flash(MEMORY_MODELS[MODEL], table, view.w_bits),
        compute.macs(table),
    )


def _within_macs(setting: Setting, genes: Genes) -> Genes:
    low, high = setting.macs
    macs = compute.macs(unroll(setting.frame, genes))
    return genes[:, (macs >= low) & (macs <= high)]


def _draw(setting: Setting, rng: np.random.Generator) -> Genes:
    """Return random networks; the first of ``sample`` is always the smallest one and no random
    network, so it is left out.
    """
    return _within_macs(setting, sample(setting.shape, setting.frame, BATCH + 1, rng)[:, 1:])


def free_network(setting: Setting, index: int) -> Architecture:
    """Return a random network of the space with its random bits."""
    rng = np.random.default_rng([0, index])
    while not (genes := _draw(setting, rng)).size:
        pass
    return decode(setting.frame, genes[:, 0])


def budget_network(setting: Setting, index: int) -> Architecture:
    """Return a random network of one Flash size and under one SRAM limit."""
    rng = np.random.default_rng([1, index])
    while True:
        for column in _draw(setting, rng).T:
            genes = column.copy()[:, None]
            if to_flash(setting, genes, rng) and to_sram(setting, genes, rng):
                return decode(setting.frame, genes[:, 0])


def _start_at_8(bits: Genes) -> Genes:
    """Set every width to 8, in place, and return the rows that may change: neither stem nor
    classifier.
    """
    bits[:] = np.where(bits > 0, 8, 0)
    return np.asarray(np.flatnonzero(bits[1:-1, 0]) + 1)


def to_flash(setting: Setting, genes: Genes, rng: np.random.Generator) -> bool:
    """Set the weight bits of one network, ``(genes, 1)``, in place, so that Flash is near the
    target; return whether it is.
    """
    space, table = setting.shape, unroll(setting.frame, genes)
    bits = GeneView(setting.frame, genes).w_bits
    rows, low, high = _start_at_8(bits), min(space.weight_bits), max(space.weight_bits)
    for _ in range(STEPS):
        excess = float(flash(MEMORY_MODELS[MODEL], table, bits)[0]) / setting.flash_bytes - 1.0
        if abs(excess) <= setting.flash_within:
            return True
        change = -int(np.sign(excess))
        movable = rows[(bits[rows, 0] + change >= low) & (bits[rows, 0] + change <= high)]
        if not movable.size:
            return False
        bits[rng.choice(movable), 0] += change
    return False


def to_sram(setting: Setting, genes: Genes, rng: np.random.Generator) -> bool:
    """Set the activation bits of one network, ``(genes, 1)``, in place, so that it fits into SRAM;
    return whether it does.
    """
    low, model = min(setting.shape.activation_bits), MEMORY_MODELS[MODEL]
    bits = GeneView(setting.frame, genes).a_bits
    rows = _start_at_8(bits)
    table = unroll(setting.frame, np.repeat(genes, len(rows) + 1, axis=1))
    while True:
        tried = np.repeat(
            bits, len(rows) + 1, axis=1
        )  # the last column as it is, every other with one bit less in one layer
        tried[rows, np.arange(len(rows))] -= 1
        excess = np.maximum(sram_per_layer(model, table, tried) - setting.sram_bytes, 0.0).sum(
            axis=0
        )
        if not excess[-1]:
            return True
        helpful = rows[(excess[:-1] < excess[-1]) & (bits[rows, 0] > low)]
        if not helpful.size:
            return False
        bits[rng.choice(helpful), 0] -= 1
