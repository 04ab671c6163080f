"""Random networks and mutations stay inside the space, for any space."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nas_engine.block_kinds import KIND_NAMES
from nas_engine.encoding import GeneView, decode, space_frame
from nas_engine.evolution.operators import mutate, sample
from search_spaces import ChannelRange, SearchSpace
from tests.legal import legal
from tests.populations import OTHER_KINDS, SHIPPED, SPACES, population

MOBILENET = SHIPPED["mobilenet-32"]
FALLING = replace(MOBILENET, non_decreasing=False)


def with_stages(space: SearchSpace, *ranges: tuple[int, int, int]) -> SearchSpace:
    """The space with other channel ranges (minimum, maximum, step) of its stages."""
    stages = [
        replace(stage, channels=ChannelRange(minimum=a, maximum=b, step=c))
        for stage, (a, b, c) in zip(space.stages, ranges, strict=True)
    ]
    return replace(space, stages=tuple(stages))


ODD_SPACES = {
    "one width": replace(MOBILENET, weight_bits=(4,), activation_bits=(8,)),
    "one choice of everything": replace(
        with_stages(MOBILENET, *[(16, 16, 8)] * 5),
        stages=tuple(
            replace(
                s,
                channels=ChannelRange(minimum=16, maximum=16),
                kernels=(3,),
                expansions=(2.0,),
                max_depth=1,
            )
            for s in MOBILENET.stages
        ),
    ),
    "even depth": replace(MOBILENET, max_stage_share=0.2),
    "channels may fall": replace(MOBILENET, non_decreasing=False),
    "narrow ratios": replace(
        MOBILENET, stages=tuple(replace(s, expansions=(0.1, 0.2, 1.0)) for s in MOBILENET.stages)
    ),
    "maxima that fall": with_stages(
        FALLING, (8, 64, 8), (8, 96, 8), (8, 32, 8), (8, 64, 8), (8, 48, 8)
    ),
    "steps that differ": with_stages(
        FALLING, (8, 64, 8), (12, 96, 12), (8, 96, 8), (12, 120, 12), (16, 128, 16)
    ),
    "least depths that differ": replace(
        MOBILENET,
        stages=tuple(
            replace(stage, min_depth=low)
            for stage, low in zip(MOBILENET.stages, (4, 1, 1, 1, 1), strict=True)
        ),
    ),
    "min_depth above the guard": replace(
        MOBILENET,
        max_stage_share=0.3,
        stages=tuple(
            replace(stage, min_depth=low)
            for stage, low in zip(MOBILENET.stages, (3, 1, 1, 1, 1), strict=True)
        ),
    ),
}


@pytest.mark.parametrize("name", ODD_SPACES)
@pytest.mark.parametrize("tied", [False, True])
def test_odd_spaces_are_sampled_and_mutated_legally(name: str, tied: bool) -> None:
    space = replace(ODD_SPACES[name], tie_block_bits=tied)
    frame, genes = population(space, 200, seed=1)
    assert legal(space, frame, genes).all()
    rng = np.random.default_rng(1)
    for _ in range(10):
        genes = mutate(space, frame, genes, rng, mutate_bits=True)
        assert legal(space, frame, genes).all()


@pytest.mark.parametrize("name", SPACES)
class TestShippedSpaces:
    @pytest.mark.parametrize("mutate_bits", [False, True])
    def test_many_generations_stay_legal(self, name: str, mutate_bits: bool) -> None:
        space = SPACES[name]
        frame, genes = population(space, 100, seed=2)
        rng = np.random.default_rng(2)
        for generation in range(60):
            before = genes.copy()
            children = mutate(space, frame, genes, rng, mutate_bits=mutate_bits)
            assert (genes == before).all(), "parents are not changed"
            assert children.dtype == genes.dtype
            if generation % 5 == 0:
                assert legal(space, frame, children).all()
            genes = children
        assert legal(space, frame, genes).all()
        for column in genes.T[:10]:
            decode(frame, column)

    def test_every_structure_gene_moves_and_reaches_both_ends(self, name: str) -> None:
        space = SPACES[name]
        frame, genes = population(space, 400, seed=3)
        rng = np.random.default_rng(3)
        seen = [genes]
        for _ in range(60):
            seen.append(mutate(space, frame, seen[-1], rng, mutate_bits=False))
        view = GeneView(frame, np.concatenate(seen, axis=1))
        for s, stage in enumerate(space.stages):
            assert set(view.kernel[s].tolist()) == set(stage.kernels)
            assert (view.channels[s].min(), view.channels[s].max()) == (
                stage.channels.minimum,
                stage.channels.maximum,
            )
            assert view.depth[s].min() == stage.min_depth
        assert view.stem.min() == space.stem_channels.minimum
        assert view.stem.max() == space.stem_channels.maximum
        assert view.depth.sum(axis=0).max() == frame.max_residuals
        assert view.depth.sum(axis=0).min() == sum(stage.min_depth for stage in space.stages)

    def test_bits_reach_every_option_where_they_mutate_and_rest_where_they_do_not(
        self, name: str
    ) -> None:
        space = SPACES[name]
        frame, genes = population(space, 1, seed=4)
        genes = np.repeat(genes, 100, axis=1)
        rng = np.random.default_rng(4)
        moving = still = genes
        for _ in range(250):
            moving, still = (
                mutate(space, frame, g, rng, mutate_bits=bits)
                for g, bits in ((moving, True), (still, False))
            )
        for part, options in (("w_bits", space.weight_bits), ("a_bits", space.activation_bits)):
            inner = getattr(GeneView(frame, moving), part)[1:-1]
            assert set(inner[inner > 0].tolist()) == set(options)
            inner = getattr(GeneView(frame, still), part)[1:-1]
            assert set(inner[inner > 0].tolist()) == {options[0]}

    def test_children_differ_in_a_few_genes(self, name: str) -> None:
        space = SPACES[name]
        frame, genes = population(space, 500, seed=5)
        children = mutate(space, frame, genes, np.random.default_rng(5), mutate_bits=False)
        rows = slice(frame.n_structure)
        changed = (children[rows] != genes[rows]).any(axis=0)
        assert 0.4 < changed.mean() <= 1

    def test_same_random_state_same_networks(self, name: str) -> None:
        space = SPACES[name]
        frame = space_frame(space, space.resolution, space.class_count)
        first, again, other = (
            sample(space, frame, 50, np.random.default_rng(seed)) for seed in (6, 6, 7)
        )
        assert (first == again).all()
        assert (first[:, 1:] != other[:, 1:]).any(axis=0).mean() > 0.9
        mutants = [
            mutate(space, frame, first, np.random.default_rng(8), mutate_bits=True)
            for _ in range(2)
        ]
        assert (mutants[0] == mutants[1]).all()

    def test_bits_of_residuals_that_stay_travel_with_them(self, name: str) -> None:
        """Where depths change, a residual that keeps its place in its stage keeps its bits."""
        space = SPACES[name]
        frame, genes = population(space, 300, seed=9)
        children = mutate(space, frame, genes, np.random.default_rng(9), mutate_bits=False)
        grown = np.flatnonzero(
            (GeneView(frame, children).depth != GeneView(frame, genes).depth).any(axis=0)
        )
        assert grown.size > 20
        for i in grown:
            parent, child = decode(frame, genes[:, i]), decode(frame, children[:, i])
            for old, new in zip(parent.blocks, child.blocks, strict=True):
                kept = min(old.depth, new.depth)
                assert new.bits[:kept] == old.bits[:kept]
                assert set(new.bits[kept:]) <= {old.bits[-1]}


@pytest.mark.parametrize("name", OTHER_KINDS)
@pytest.mark.parametrize("mutate_bits", [False, True])
class TestOtherKinds:
    """Spaces with other kinds of units, mixtures of them, and strides as genes."""

    def test_many_generations_stay_legal_and_reach_every_kind_and_stride(
        self, name: str, mutate_bits: bool
    ) -> None:
        space = OTHER_KINDS[name]
        frame, genes = population(space, 60, seed=11)
        genes = genes[:, :1].repeat(60, axis=1)
        rng = np.random.default_rng(11)
        seen = []
        for _ in range(60):
            genes = mutate(space, frame, genes, rng, mutate_bits=mutate_bits)
            assert legal(space, frame, genes).all()
            seen.append(genes)
        view = GeneView(frame, np.concatenate(seen, axis=1))
        for s, stage in enumerate(space.stages):
            assert {KIND_NAMES[code] for code in view.kind[s].tolist()} == set(stage.kinds)
            assert set(view.stride[s].tolist()) == set(stage.strides)
            own = np.unique(view.bottleneck[s] / view.channels[s])
            assert own.size >= 3 * stage.has_bottleneck
            assert own.max() > 0 or not stage.has_bottleneck

    def test_only_what_a_child_changes_differs(self, name: str, mutate_bits: bool) -> None:
        """Two parts at most; a change of kind brings a bottleneck of its own, or takes it away."""
        space = OTHER_KINDS[name]
        frame, genes = population(space, 300, seed=12)
        children = mutate(space, frame, genes, np.random.default_rng(12), mutate_bits=mutate_bits)
        old, new = GeneView(frame, genes), GeneView(frame, children)
        kinds, strides = (
            (new.kind != old.kind).sum(axis=0),
            (new.stride != old.stride).sum(axis=0),
        )
        assert (kinds + strides).max() <= 2
        assert (kinds.max() > 0) == frame.free_kinds
        assert (strides.max() > 0) == frame.free_strides


def test_new_genes_shift_no_random_draw() -> None:
    """The structure of a space with one kind and one stride per stage does not depend on the kind:
    no draw is spent on what has no choice.
    """
    plain = OTHER_KINDS["free-strides"]
    fixed, residual = (
        replace(
            plain,
            stages=tuple(
                replace(stage, strides=(2,), kinds=kinds, expansions=ratios)
                for stage in plain.stages
            ),
        )
        for kinds, ratios in ((("inverted-residual",), (2.0,)), (("residual",), ()))
    )
    (frame, genes), (other, residuals) = (
        population(space, 50, seed=3) for space in (fixed, residual)
    )
    for _ in range(5):
        ours, theirs = GeneView(frame, genes), GeneView(other, residuals)
        for part in ("stem", "head", "kernel", "channels", "depth"):
            assert (getattr(ours, part) == getattr(theirs, part)).all()
        genes, residuals = (
            mutate(space, of, parents, np.random.default_rng(4), mutate_bits=True)
            for space, of, parents in ((fixed, frame, genes), (residual, other, residuals))
        )
