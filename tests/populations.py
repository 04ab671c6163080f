"""Populations and problems that several tests need: every shipped space and its opposite in how
bits are tied.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from nas_engine.architecture import Architecture
from nas_engine.block_kinds import BLOCK_KINDS, INVERTED_RESIDUAL
from nas_engine.encoding import Frame, Genes, decode, space_frame
from nas_engine.evolution.operators import sample
from nas_engine.evolution.problem import SearchProblem
from nas_engine.layers import KINDS
from nas_engine.scoring.qe_score import ScoreSettings
from search_spaces import ChannelRange, SearchSpace, StageSpace, load_space, space_names


def _opposite(space: SearchSpace) -> SearchSpace:
    word = "untied" if space.tie_block_bits else "tied"
    return replace(space, name=f"{space.name}-{word}", tie_block_bits=not space.tie_block_bits)


def _is_plain(space: SearchSpace) -> bool:
    return all(stage.kinds == (INVERTED_RESIDUAL,) for stage in space.stages)


EVERY_SHIPPED = {name: load_space(name) for name in space_names()}

SHIPPED = {name: space for name, space in EVERY_SHIPPED.items() if _is_plain(space)}
"""Spaces of inverted residuals alone."""
SPACES = {
    space.name: space for shipped in SHIPPED.values() for space in (shipped, _opposite(shipped))
}


def _stage(kinds: tuple[str, ...], strides: tuple[int, ...], low: int, high: int) -> StageSpace:
    return StageSpace(
        kinds=kinds,
        strides=strides,
        kernels=(3, 5),
        channels=ChannelRange(minimum=low, maximum=high),
        expansions=(1.0, 2.0, 3.5) if "inverted-residual" in kinds else (),
        min_depth=1,
        max_depth=3,
    )


def _of_kinds(name: str, *stages: StageSpace, **changes: Any) -> SearchSpace:
    halvings = sum(2 in stage.strides for stage in stages)
    weights = (*((0.5,) * halvings), 6.0)
    return replace(
        SHIPPED["mobilenet-32"],
        **{"name": name, "stages": stages, "stage_weights": weights, "max_stage_share": 1.0}
        | changes,
    )


EVERY_KIND = tuple(BLOCK_KINDS)

OTHER_KINDS = {
    space.name: space
    for space in (
        *(space for name, space in EVERY_SHIPPED.items() if name not in SHIPPED),
        _of_kinds(
            "residual",
            *(_stage(("residual",), (stride,), 8, 32) for stride in (1, 2, 2)),
            head_channels=None,
        ),
        _of_kinds(
            "depthwise-separable",
            *(_stage(("depthwise-separable",), (stride,), 8, 40) for stride in (1, 2, 2)),
        ),
        _of_kinds(
            "one-kind-per-stage",
            *(_stage((kind,), (2,), 8, 32) for kind in EVERY_KIND),
            tie_block_bits=True,
            head_channels=None,
        ),
        _of_kinds("every-kind", *(_stage(EVERY_KIND, (1, 2), 8, 32) for _ in range(3))),
        _of_kinds(
            "every-kind-pooled",
            *(_stage(EVERY_KIND[::-1], (1, 2), 8, 16) for _ in range(4)),
            pooled_shortcut=True,
            tie_block_bits=True,
            weight_bits=(2, 4, 8),
        ),
        _of_kinds(
            "free-strides",
            *(_stage(EVERY_KIND[:1], (1, 2), 8, 32) for _ in range(3)),
            head_channels=None,
        ),
    )
}
"""Spaces with other kinds of units, mixtures of them, strides as genes, and without a head."""

EVERY_SPACE = SPACES | OTHER_KINDS

MODELS = ("arena", "paper")

EVERY_PAIR = np.zeros((9, 9), bool)
EVERY_PAIR[2:, 2:] = True


def pairs_table(*pairs: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """A device that allows just these (weight bits, activation bits)."""
    table = np.zeros((9, 9), bool)
    for w, a in pairs:
        table[w, a] = True
    return table


def resolutions(space: SearchSpace) -> tuple[int, ...]:
    """The default and two odd ones."""
    return (space.resolution, *((33, 57) if space.max_resolution < 225 else (97, 225)))


def population(
    space: SearchSpace,
    n: int,
    seed: int = 0,
    resolution: int | None = None,
    classes: int | None = None,
) -> tuple[Frame, Genes]:
    count = space.class_count if classes is None else classes
    if space.head_channels is None:
        count = max(count, 1)
    frame = space_frame(space, resolution or space.resolution, count)
    return frame, sample(space, frame, n, np.random.default_rng(seed))


def networks(frame: Frame, genes: Genes) -> list[Architecture]:
    return [decode(frame, column) for column in genes.T]


def problem_for(
    space: SearchSpace,
    frame: Frame,
    sram: float,
    flash: float,
    *,
    model: str = "arena",
    allowed: npt.NDArray[np.bool_] = EVERY_PAIR,
    limits: Mapping[str, float] | None = None,
    qbr: bool = True,
    score: ScoreSettings | None = None,
) -> SearchProblem:
    return SearchProblem(
        space=space,
        frame=frame,
        arena_bytes=sram,
        flash_bytes=flash,
        limits=limits or {},
        memory_model=model,
        score=score or ScoreSettings(stage_weights=space.stage_weights),
        allowed=allowed,
        cycles_per_mac={kind: np.where(allowed, 1.5, np.nan) for kind in KINDS},
        milliseconds_per_cycle=(1e-6, 2e-6),
        qbr=qbr,
    )
