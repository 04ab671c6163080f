"""Operators: random networks of a space, and mutations that stay inside it.

Every array is ``(..., n)``, one network per column.

A child differs from its parent in two random parts (the authors mutate two blocks as well): stem or
head channels, or one stage's kernel, expansion, channels or depth, or the move of one unit from a
stage to another; one stage's kind or stride where the space has a choice. What breaks the space is
repaired (channels push their neighbours) or undone. Bits are mutated only where Quantization Bits
Refinement does not set them.
"""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt

from nas_engine.block_kinds import KIND_NAMES, PLACES
from nas_engine.encoding import (
    Frame,
    Genes,
    GeneView,
    active_layers,
    bottleneck_choices,
    has_bottleneck,
    shared_inputs,
    stage_depth_cap,
)
from search_spaces import ChannelRange, SearchSpace, StageSpace

Shorts = npt.NDArray[np.int16]
"""Array of int16."""

CHANNEL_FACTORS = np.array([2.0, 1.5, 1.25, 0.8, 0.6, 0.5])
"""The authors' factors for channels (their public code)."""

DEPTH_STEPS = np.array([-2, -1, 1, 2], np.int16)
"""The authors' steps for depth (their public code)."""

PARTS_MUTATED = 2
"""Parts changed per child; the authors change two blocks."""

BIT_MUTATION_LAYERS = 3
"""Layers (units where bits are tied) whose bits a child without refinement may change (chosen
here)."""

STEM_STRIDES = 0.3
"""Share of the changes of a stem that change its stride, where it is a gene (chosen here)."""

KERNEL, EXPANSION, CHANNELS, DEPTH, MOVE = range(5)
"""Genes of a stage that a child may change; then its kind and its stride where they are genes."""


def sample(space: SearchSpace, frame: Frame, n: int, rng: np.random.Generator) -> Genes:
    """Return ``n`` random networks of a space, ``(genes, n)``.

    The first is the smallest with the first kinds and the largest strides, at its narrowest widths.
    Depths are drawn uniformly in total first, so that shallow and deep networks are equally likely,
    then spread over the stages.
    """
    genes = np.zeros((frame.n_genes, n), np.int16)
    view = GeneView(frame, genes)
    view.stem[:], view.head[:] = (
        0 if part is None else _random_channels(part, n, rng)
        for part in (space.stem_channels, space.head_channels)
    )
    view.depth[:] = _random_depths(space, frame, n, rng)
    for s, stage in enumerate(space.stages):
        view.kernel[s] = rng.choice(stage.kernels, n)
        view.channels[s] = _random_channels(stage.channels, n, rng)
    ratios = np.stack(
        [rng.integers(max(len(stage.expansions), 1), size=n) for stage in space.stages]
    )
    for s, stage in enumerate(space.stages):
        if frame.free_kinds:
            view.kind[s] = rng.choice(kind_codes(stage), n)
        if frame.free_strides:
            view.stride[s] = rng.choice(stage.strides, n)
    if frame.free_stem_stride:
        view.stem_stride[:] = rng.choice(space.stem_strides, n)
        view.stem_stride[0] = max(space.stem_strides)

    view.stem[0], view.head[0] = (
        0 if part is None else part.minimum for part in (space.stem_channels, space.head_channels)
    )
    for s, stage in enumerate(space.stages):
        view.kernel[s, 0], view.channels[s, 0], view.depth[s, 0] = (
            min(stage.kernels),
            stage.channels.minimum,
            stage.min_depth,
        )
        ratios[s, 0] = int(np.argmin(stage.expansions)) if stage.expansions else 0
        if frame.free_kinds:
            view.kind[s, 0] = kind_codes(stage)[0]
        if frame.free_strides:
            view.stride[s, 0] = max(stage.strides)
    if space.non_decreasing:
        _push_neighbours(space, view.channels, np.zeros(n, np.intp))
    _set_bottlenecks(space, view, ratios)
    for bits, choices in ((view.w_bits, space.weight_bits), (view.a_bits, space.activation_bits)):
        bits[:] = rng.choice(choices, bits.shape)
        bits[:, 0] = choices[0]
        if space.tie_block_bits:
            bits[PLACES:-2:PLACES] = bits[1:-2:PLACES]
    _settle_bits(space, frame, view)
    return genes


def smallest_of_each(space: SearchSpace, frame: Frame) -> Genes:
    """Return the smallest network for each choice of kinds and strides, ``(genes, choices)``.

    Fewest channels, smallest kernels and expansions, least depth; the narrowest widths.
    """
    kinds = (kind_codes(stage) for stage in space.stages)
    strides = (stage.strides for stage in space.stages)
    choices = np.array([*itertools.product(*kinds, *strides, space.stem_strides)], np.int16).T
    genes = sample(space, frame, 1, np.random.default_rng(0)).repeat(choices.shape[1], axis=1)
    view = GeneView(frame, genes)
    if frame.free_kinds:
        view.kind[:] = choices[: frame.n_stages]
    if frame.free_strides:
        view.stride[:] = choices[frame.n_stages : -1]
    if frame.free_stem_stride:
        view.stem_stride[:] = choices[-1]
    least = [int(np.argmin(stage.expansions or (0,))) for stage in space.stages]
    _set_bottlenecks(space, view, np.repeat(np.array(least)[:, None], choices.shape[1], axis=1))
    view.w_bits[1:-1], view.a_bits[1:-1] = space.weight_bits[0], space.activation_bits[0]
    _settle_bits(space, frame, view)
    return genes


def mutate(
    space: SearchSpace, frame: Frame, parents: Genes, rng: np.random.Generator, *, mutate_bits: bool
) -> Genes:
    """Return one child per parent, ``(genes, n)``; all are networks of the space.

    Args:
        space: The space.
        frame: What the networks have in common.
        parents: ``(genes, n)``, not changed.
        rng: Source of randomness.
        mutate_bits: Whether bits are changed as well (False where refinement sets them).
    """
    genes, n, stages = parents.copy(), int(parents.shape[1]), frame.n_stages
    view, old = GeneView(frame, genes), GeneView(frame, parents)
    ratios = _ratios(space, view)
    parts = stages + 2 + mutate_bits
    genes_of_stage = MOVE + 1 + frame.free_kinds + frame.free_strides
    for _ in range(PARTS_MUTATED):
        part = rng.integers(parts, size=n)
        what, draw = rng.integers(genes_of_stage, size=n), rng.random(n)
        factor = rng.choice(CHANNEL_FACTORS, n)
        step, other = rng.choice(DEPTH_STEPS, n), rng.integers(stages, size=n)
        for s, stage in enumerate(space.stages):
            here = part == s
            _put(view.kernel[s], here & (what == KERNEL), _pick(stage.kernels, draw))
            expansion = (draw * len(stage.expansions)).astype(ratios.dtype)
            _put(ratios[s], here & (what == EXPANSION), expansion)
            _put(
                view.channels[s],
                here & (what == CHANNELS),
                _scaled(stage.channels, view.channels[s], factor),
            )
            if frame.free_kinds:
                _mutate_kind(stage, view.kind[s], ratios[s], here & (what == MOVE + 1), draw)
            if frame.free_strides:
                changed = here & (what == genes_of_stage - 1)
                _put(view.stride[s], changed, _pick(stage.strides, draw))
        if space.non_decreasing:
            _push_neighbours(space, view.channels, np.minimum(part, stages - 1))
        _mutate_depths(
            space, frame, view.depth, np.where(part < stages, part, -1), what, step, other
        )
        stem = part == stages
        if frame.free_stem_stride:
            strided = stem & (draw < STEM_STRIDES)
            _put(view.stem_stride, strided, 3 - view.stem_stride)
            stem &= ~strided
        _put(view.stem, stem, _scaled(space.stem_channels, view.stem, factor))
        if space.head_channels is not None:
            _put(view.head, part == stages + 1, _scaled(space.head_channels, view.head, factor))
        if mutate_bits:
            _mutate_bits(space, frame, view, part == stages + 2, rng)
    _set_bottlenecks(space, view, ratios)
    source = _same_residual(old.depth, view.depth, frame.max_residuals)
    for bits in (view.w_bits, view.a_bits):
        for place in range(PLACES):
            rows = slice(1 + place, -2, PLACES)
            bits[rows] = np.take_along_axis(bits[rows], source, axis=0)
    _settle_bits(space, frame, view)
    return genes


def kind_codes(stage: StageSpace) -> tuple[int, ...]:
    """Return the genes of the kinds that a stage may have."""
    return tuple(map(KIND_NAMES.index, stage.kinds))


def _mutate_kind(
    stage: StageSpace,
    kinds: Shorts,
    ratios: npt.NDArray[np.int8],
    where: npt.NDArray[np.bool_],
    draw: npt.NDArray[np.float64],
) -> None:
    """Draw the kind of a stage anew, and with it an expansion ratio, in place.

    The ratio comes from what of the draw the kind leaves.
    """
    _put(kinds, where, _pick(kind_codes(stage), draw))
    if stage.expansions:
        left = draw * len(stage.kinds) % 1.0
        _put(ratios, where, (left * len(stage.expansions)).astype(ratios.dtype))


def _put(
    target: npt.NDArray[np.generic], where: npt.NDArray[np.bool_], values: npt.NDArray[np.generic]
) -> None:
    np.copyto(target, values, where=where, casting="same_kind")


def _pick(choices: tuple[int, ...], draw: npt.NDArray[np.float64]) -> Shorts:
    return np.asarray(choices, np.int16)[(draw * len(choices)).astype(np.intp)]


def _random_channels(channels: ChannelRange, n: int, rng: np.random.Generator) -> Shorts:
    """Return channels uniform in their logarithm: doubling is as likely as halving."""
    low, high = np.log(channels.minimum), np.log(channels.maximum)
    drawn = np.exp(rng.uniform(low, high, n)) if high > low else np.full(n, float(channels.minimum))
    return _rounded(channels, drawn)


def _rounded(channels: ChannelRange, values: npt.NDArray[np.float64]) -> Shorts:
    rounded = np.floor(values / channels.step + 0.5) * channels.step
    return np.asarray(np.clip(rounded, channels.minimum, channels.maximum), np.int16)


def _scaled(channels: ChannelRange, values: Shorts, factor: npt.NDArray[np.float64]) -> Shorts:
    """Return channels times a factor, at least one step away."""
    new = _rounded(channels, values * factor)
    nudged = _rounded(channels, values + np.sign(factor - 1.0) * channels.step)
    return np.asarray(np.where(new == values, nudged, new))


def _push_neighbours(space: SearchSpace, channels: Shorts, changed: npt.NDArray[np.intp]) -> None:
    """Make channels non-decreasing, in place, leaving those of the changed stage."""
    stages = np.arange(channels.shape[0])[:, None]
    pivot = np.take_along_axis(channels, changed[None], axis=0)
    np.minimum(channels, pivot, out=channels, where=stages < changed)
    np.maximum(channels, pivot, out=channels, where=stages > changed)
    for s, stage in enumerate(space.stages):
        np.clip(channels[s], stage.channels.minimum, stage.channels.maximum, out=channels[s])
    np.maximum.accumulate(channels, axis=0, out=channels)


def _ratios(space: SearchSpace, view: GeneView) -> npt.NDArray[np.int8]:
    """Return the index of the ratio with the nearest bottleneck per stage, ``(stages, n)``.

    It is 0 where a stage has no bottleneck of its own.
    """
    return np.stack(
        [
            np.abs(bottleneck_choices(space, s, view.channels[s]) - view.bottleneck[s]).argmin(
                axis=0
            )
            for s in range(len(space.stages))
        ]
    ).astype(np.int8)


def _set_bottlenecks(space: SearchSpace, view: GeneView, ratios: npt.NDArray[np.integer]) -> None:
    for s in range(len(space.stages)):
        choices = bottleneck_choices(space, s, view.channels[s])
        view.bottleneck[s] = np.take_along_axis(choices, ratios[s][None].astype(np.intp), axis=0)[0]
    view.bottleneck *= has_bottleneck(view)


def _depth_ok(space: SearchSpace, frame: Frame, depth: Shorts) -> npt.NDArray[np.bool_]:
    total = depth.sum(axis=0, dtype=np.int16)
    low = np.array([[stage.min_depth] for stage in space.stages])
    high = np.minimum(
        np.array([[stage.max_depth] for stage in space.stages]), stage_depth_cap(space, total)
    )
    ok = (total <= frame.max_residuals) & ((depth >= low) & (depth <= high)).all(axis=0)
    return np.asarray(ok)


def _random_depths(space: SearchSpace, frame: Frame, n: int, rng: np.random.Generator) -> Shorts:
    low = np.array([[stage.min_depth] for stage in space.stages], np.int16)
    depth = np.repeat(low, n, axis=1)
    target = rng.integers(low.sum(), frame.max_residuals + 1, n)
    for _ in range(4 * frame.max_residuals):
        grown = depth.copy()
        grown[rng.integers(len(space.stages), size=n), np.arange(n)] += 1
        take = (depth.sum(axis=0) < target) & _depth_ok(space, frame, grown)
        np.copyto(depth, grown, where=take)
    return depth


def _mutate_depths(
    space: SearchSpace,
    frame: Frame,
    depth: Shorts,
    stage: npt.NDArray[np.integer],
    what: npt.NDArray[np.integer],
    step: Shorts,
    other: npt.NDArray[np.integer],
) -> None:
    """Change the depth of a stage (``DEPTH``) or move a unit to ``other`` (``MOVE``), in place."""
    columns = np.flatnonzero((stage >= 0) & (what >= DEPTH) & (what <= MOVE))
    new = depth[:, columns]
    position = np.arange(columns.size)
    moved = what[columns] == MOVE
    np.add.at(new, (stage[columns], position), np.where(moved, np.int16(-1), step[columns]))
    np.add.at(new, (other[columns], position), moved.astype(np.int16))
    ok = _depth_ok(space, frame, new)
    depth[:, columns[ok]] = new[:, ok]


def _mutate_bits(
    space: SearchSpace,
    frame: Frame,
    view: GeneView,
    where: npt.NDArray[np.bool_],
    rng: np.random.Generator,
) -> None:
    """Move the bits of a few random layers one option up or down, in place."""
    columns = np.flatnonzero(where)
    for bits, choices in ((view.w_bits, space.weight_bits), (view.a_bits, space.activation_bits)):
        options = np.asarray(choices, np.int16)
        for _ in range(BIT_MUTATION_LAYERS):
            row = rng.integers(1, frame.n_layers - 1, columns.size)
            if space.tie_block_bits:
                row = np.where(row == frame.n_layers - 2, row, row - (row - 1) % PLACES + 2)
            index = np.searchsorted(options, bits[row, columns]) + rng.choice([-1, 1], columns.size)
            bits[row, columns] = options[np.clip(index, 0, len(options) - 1)]


def _same_residual(old_depth: Shorts, depth: Shorts, max_residuals: int) -> npt.NDArray[np.intp]:
    """Return the parent's unit at the same place of the stage, or its last, ``(residuals, n)``."""
    row = np.arange(max_residuals)[:, None]
    ends, old_ends = np.cumsum(depth, axis=0), np.cumsum(old_depth, axis=0)
    stage = np.minimum((row >= ends[:, None]).sum(axis=0), len(depth) - 1)
    start = np.take_along_axis(ends - depth, stage, axis=0)
    old_start, old_size = (
        np.take_along_axis(part, stage, axis=0) for part in (old_ends - old_depth, old_depth)
    )
    return np.asarray(
        np.minimum(old_start + np.minimum(row - start, old_size - 1), max_residuals - 1), np.intp
    )


def _settle_bits(space: SearchSpace, frame: Frame, view: GeneView) -> None:
    """Tie what the space ties, set the ends, clear what a network does not have; in place."""
    active = active_layers(frame, view)
    for bits in (view.w_bits, view.a_bits):
        first, second, third = (bits[1 + place : -2 : PLACES] for place in range(PLACES))
        if space.tie_block_bits:
            first[:] = third
            second[:] = third
        elif not frame.plain:  # a layer that the parent had not takes the widths of the next
            np.copyto(first, second, where=first == 0)
        bits[[0, -1]] = space.end_bits
    if (shared := shared_inputs(frame, view)) is not None:
        np.copyto(view.a_bits[1:-2:PLACES], view.a_bits[2:-2:PLACES], where=shared)
    view.w_bits *= active
    view.a_bits *= active
