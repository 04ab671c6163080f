"""Contract of search spaces; inherit ``SpaceContract`` and provide the ``space`` fixture."""

from __future__ import annotations

import dataclasses
import pickle

import numpy as np
import pytest

from nas_engine.encoding import GeneView, decode, space_frame
from nas_engine.evolution.operators import mutate, sample
from nas_engine.scoring.qe_score import ScoreSettings
from search_spaces import SearchSpace
from tests import reference
from tests.legal import legal


class SpaceContract:
    """Inherit this and override ``space``."""

    @pytest.fixture
    def space(self) -> SearchSpace:
        raise NotImplementedError("a contract class needs a `space` fixture of its own")

    def test_says_what_it_is_and_where_it_comes_from(self, space: SearchSpace) -> None:
        assert len(space.title.split()) >= 3
        assert len(space.source.split()) >= 3
        assert "\n" not in space.title

    def test_stage_weights_make_a_score(self, space: SearchSpace) -> None:
        ScoreSettings(stage_weights=space.stage_weights)

    def test_samples_are_legal_at_every_resolution(self, space: SearchSpace) -> None:
        for resolution in {space.min_resolution, space.resolution, space.max_resolution}:
            frame = space_frame(space, resolution, space.class_count)
            genes = sample(space, frame, 200, np.random.default_rng(resolution))
            assert legal(space, frame, genes).all()
            assert legal(
                space,
                frame,
                mutate(space, frame, genes, np.random.default_rng(0), mutate_bits=True),
            ).all()

    def test_first_sample_is_the_smallest_network(self, space: SearchSpace) -> None:
        frame = space_frame(space, space.resolution, space.class_count)
        genes = sample(space, frame, 60, np.random.default_rng(1))
        nets = [decode(frame, column) for column in genes.T]
        for model in ("arena", "paper"):
            assert min(range(60), key=lambda i: (max(reference.sram(model, nets[i])), i)) == 0
            assert min(range(60), key=lambda i: (sum(reference.FLASH[model](nets[i])), i)) == 0
        assert reference.macs(nets[0]) == min(map(reference.macs, nets))
        assert decode(frame, sample(space, frame, 1, np.random.default_rng(2))[:, 0]) == nets[0]

    def test_samples_spread_over_the_space(self, space: SearchSpace) -> None:
        frame = space_frame(space, space.resolution, space.class_count)
        view = GeneView(frame, sample(space, frame, 1000, np.random.default_rng(3)))
        assert (
            len(np.unique(view.depth.sum(axis=0)))
            == frame.max_residuals - sum(stage.min_depth for stage in space.stages) + 1
        )
        for s, stage in enumerate(space.stages):
            assert set(view.kernel[s].tolist()) == set(stage.kernels)
            assert view.channels[s].min() == stage.channels.minimum
            assert view.channels[s].max() > stage.channels.maximum / 2

    def test_is_frozen_hashable_and_survives_pickle(self, space: SearchSpace) -> None:
        with pytest.raises(dataclasses.FrozenInstanceError):
            space.name = "other"  # type: ignore[misc]
        again = pickle.loads(pickle.dumps(space))
        assert again == space
        assert hash(again) == hash(space)
