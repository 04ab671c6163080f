"""Genes: round trips, and what ``legal`` accepts and refuses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nas_engine.architecture import (
    dump_architecture,
    parse_architecture,
    read_architecture,
)
from nas_engine.encoding import (
    Frame,
    Genes,
    GeneView,
    active_layers,
    architecture_frame,
    bottleneck_choices,
    decode,
    encode,
    layer_rows,
    space_frame,
    stage_depth_cap,
)
from nas_engine.errors import InputError
from nas_engine.evolution.operators import mutate
from search_spaces import SearchSpace
from tests.architectures import GOLDEN, PUBLISHED
from tests.legal import legal
from tests.populations import EVERY_SPACE, SHIPPED, SPACES, networks, population, resolutions


class TestRoundTrip:
    @pytest.mark.parametrize("name", EVERY_SPACE)
    @pytest.mark.parametrize("classes", [0, 10])
    def test_encode_undoes_decode(self, name: str, classes: int) -> None:
        for resolution in resolutions(EVERY_SPACE[name]):
            frame, genes = population(
                EVERY_SPACE[name], 40, seed=resolution, resolution=resolution, classes=classes
            )
            again = encode(frame, networks(frame, genes))
            assert again.dtype == genes.dtype
            assert (again == genes).all()

    @pytest.mark.parametrize("name", EVERY_SPACE)
    def test_tightest_frame_and_file_hold_the_same_network(self, name: str) -> None:
        for net in networks(*population(EVERY_SPACE[name], 20, seed=1)):
            frame = architecture_frame(net)
            assert decode(frame, encode(frame, [net])[:, 0]) == net
            assert parse_architecture(dump_architecture(net)) == net
            assert len(net.layer_names()) == len(net.layer_bits()) == len(layer_rows(frame, net))

    @pytest.mark.parametrize("name", PUBLISHED)
    def test_published_networks(self, name: str) -> None:
        net = read_architecture(GOLDEN / f"{name}.txt")
        frame = architecture_frame(net)
        assert decode(frame, encode(frame, [net])[:, 0]) == net
        view = GeneView(frame, encode(frame, [net]))
        assert frame.score_stages(view.stride)[:, 0].tolist() == [0, 1, 2, 3, 3, 4]
        assert frame.sizes(view)[:, 0].tolist() == [224, 112, 56, 28, 14, 14, 7]

    def test_odd_resolution_is_rounded_up(self) -> None:
        frame = space_frame(SHIPPED["mobilenet"], 97, 10)
        view = GeneView(frame, np.zeros((frame.n_genes, 1), np.int16))
        assert frame.sizes(view)[:, 0].tolist() == [97, 49, 25, 13, 7, 7, 4]

    def test_a_network_of_another_frame_is_refused(self) -> None:
        frame, genes = population(SHIPPED["mobilenet"], 2)
        net = decode(frame, genes[:, 1])
        for changed in (
            replace(frame, resolution=161),
            replace(frame, input_channels=1),
            replace(frame, class_count=0),
            replace(frame, pooled_shortcut=True),
            replace(frame, strides=frame.strides[::-1]),
            replace(frame, kinds=(("residual",), *frame.kinds[1:])),
            replace(frame, kinds=frame.kinds[1:]),
            replace(frame, stem_kernel=5),
            replace(frame, max_residuals=architecture_frame(net).max_residuals - 1),
        ):
            with pytest.raises(InputError, match="cannot be encoded in frame"):
                encode(changed, [net])

    def test_views_write_to_the_matrix_and_share_no_row(self) -> None:
        frame = space_frame(SHIPPED["mobilenet"], 96, 10)
        genes = np.zeros((frame.n_genes, 3), np.int16)
        view = GeneView(frame, genes)
        for name in set(GeneView.__slots__) - {"kind", "stride", "stem_stride"}:
            getattr(view, name)[...] += 1
        assert (genes == 1).all()
        for constant in (view.kind, view.stride):
            with pytest.raises(ValueError, match="read-only"):
                constant[...] = 1


class TestSpaceFrame:
    def test_what_lies_outside_is_refused(self) -> None:
        space = SHIPPED["mobilenet"]
        for resolution in (space.min_resolution - 1, space.max_resolution + 1):
            with pytest.raises(
                InputError, match=f"resolution {resolution} is outside space 'mobilenet'"
            ):
                space_frame(space, resolution, 10)
        for classes in (-1, 65537):
            with pytest.raises(InputError, match=f"classes is {classes}"):
                space_frame(space, 96, classes)
        for resolution in (space.min_resolution, space.max_resolution):
            assert space_frame(space, resolution, 0).resolution == resolution

    def test_active_rows_are_those_of_the_network(self) -> None:
        for classes in (0, 10):
            frame, genes = population(SHIPPED["mobilenet-32"], 30, classes=classes)
            active = active_layers(frame, GeneView(frame, genes))
            for column, net in zip(active.T, networks(frame, genes), strict=True):
                convolutions = 3 * sum(block.depth for block in net.blocks)
                expected = (
                    [True] * (1 + convolutions)
                    + [False] * (3 * frame.max_residuals - convolutions)
                    + [True, classes > 0]
                )
                assert column.tolist() == expected


def one_legal(space: SearchSpace, seed: int = 5) -> tuple[Frame, Genes]:
    """A network with room to break every rule: two residuals in stage 2, none at a bound."""
    frame, genes = population(space, 200, seed=seed)
    view = GeneView(frame, genes)
    total = view.depth.sum(axis=0)
    chosen = np.flatnonzero((view.depth[1] == 2) & (total < frame.max_residuals) & (total > 5))[0]
    return frame, genes[:, [chosen]]


class TestLegal:
    @pytest.mark.parametrize("name", EVERY_SPACE)
    def test_samples_and_mutants(self, name: str) -> None:
        space = EVERY_SPACE[name]
        for resolution in resolutions(space):
            frame, genes = population(space, 300, seed=resolution, resolution=resolution)
            rng = np.random.default_rng(resolution)
            for bits in (True, False):
                assert legal(space, frame, genes).all()
                genes = mutate(space, frame, genes, rng, mutate_bits=bits)
            assert legal(space, frame, genes).all()

    @pytest.mark.parametrize("name", SPACES)
    def test_each_rule_by_itself(self, name: str) -> None:
        space = SPACES[name]
        frame, genes = one_legal(space)
        assert legal(space, frame, genes).all()
        step = space.stem_channels.step

        def broken(part: str, row: int | None, value: int) -> bool:
            """Return True if a network with one gene changed is refused."""
            changed = genes.copy()
            getattr(GeneView(frame, changed), part)[... if row is None else row] = value
            return not legal(space, frame, changed).any()

        view = GeneView(frame, genes)
        for part, channels in (("stem", space.stem_channels), ("head", space.head_channels)):
            values = (channels.minimum - step, channels.maximum + step, channels.minimum + 1, 0)
            assert all(broken(part, None, value) for value in values)
        last = len(space.stages) - 1
        for s, stage in enumerate(space.stages):
            assert all(broken("kernel", s, kernel) for kernel in (0, 1, 2, 4, 7))
            assert broken("depth", s, stage.min_depth - 1)
            assert broken("depth", s, stage.max_depth + 1)
            assert broken("bottleneck", s, int(view.bottleneck[s, 0]) + 1)
            assert broken("bottleneck", s, 17 * int(view.channels[s, 0]))
            choices = set(bottleneck_choices(space, s, view.channels[s]).ravel().tolist())
            assert int(view.bottleneck[s, 0]) in choices
            assert not any(broken("bottleneck", s, choice) for choice in choices)
        assert broken("channels", last, int(view.channels[last, 0]) + 1)
        layers = frame.n_layers
        for part, options in (("w_bits", space.weight_bits), ("a_bits", space.activation_bits)):
            for row in (1, 2, 3, layers - 2):
                assert broken(part, row, 0)
                assert broken(part, row, 1)
                assert broken(part, row, 9)
                assert broken(part, row, options[-1] + 1)
            assert not any(broken(part, layers - 2, option) for option in options)
            assert broken(part, 0, space.end_bits - 1)
            assert broken(part, layers - 1, space.end_bits - 1)
            assert broken(part, layers - 3, options[0]), "bits where the network has no layer"
            own = int(getattr(view, part)[2, 0])
            other = next(option for option in options if option != own)
            assert broken(part, 2, other) == space.tie_block_bits

    @pytest.mark.parametrize("name", SPACES)
    def test_channels_that_fall(self, name: str) -> None:
        space = SPACES[name]
        frame, genes = one_legal(space)
        view = GeneView(frame, genes)
        view.channels[:] = [[max(32, space.stages[-1].channels.minimum)]] * len(space.stages)
        for s in range(len(space.stages)):
            view.bottleneck[s] = bottleneck_choices(space, s, view.channels[s])[0]
        assert legal(space, frame, genes).all()
        view.channels[-2] += 8
        view.bottleneck[-2] = bottleneck_choices(space, len(space.stages) - 2, view.channels[-2])[0]
        assert not legal(space, frame, genes).any()
        assert legal(replace(space, non_decreasing=False), frame, genes).all()

    def test_too_many_layers_in_all(self) -> None:
        space = SHIPPED["mobilenet"]
        frame, genes = population(space, 2000, seed=3)
        total = GeneView(frame, genes).depth.sum(axis=0)
        deepest = genes[:, total == frame.max_residuals]
        assert deepest.shape[1] > 10
        tighter = space_frame(replace(space, max_layers=space.max_layers - 3), 160, 1000)
        assert tighter.max_residuals == frame.max_residuals - 1
        again = np.zeros((tighter.n_genes, 1), np.int16)
        for part in ("stem", "head", "kernel", "bottleneck", "channels", "depth"):
            getattr(GeneView(tighter, again), part)[...] = getattr(
                GeneView(frame, deepest[:, :1]), part
            )
        assert not legal(space, tighter, again).any()

    def test_depth_guard(self) -> None:
        space = replace(SHIPPED["mobilenet"], max_stage_share=0.25)
        frame, genes = population(SHIPPED["mobilenet"], 500, seed=4)
        depth = GeneView(frame, genes).depth
        within = depth.max(axis=0) <= np.ceil(0.25 * depth.sum(axis=0))
        assert (legal(space, frame, genes) == within).all()
        assert 0 < within.sum() < within.size

    @pytest.mark.parametrize(
        ("share", "total", "most"),
        [
            (0.4, 5, 2),
            (0.4, 6, 3),
            (0.2, 5, 1),
            (0.2, 6, 2),
            (1.0, 15, 15),
            (0.1, 30, 3),
            (0.3, 10, 3),
        ],
    )
    def test_most_of_one_stage(self, share: float, total: int, most: int) -> None:
        space = replace(SHIPPED["mobilenet"])
        object.__setattr__(space, "max_stage_share", share)
        assert stage_depth_cap(space, np.array([total], np.int16)).tolist() == [most]

    def test_bottlenecks_by_hand(self) -> None:
        # ratios 1.5, 2, 2.5, 3, 3.5, 4 of 24 channels are 36, 48, 60, 72, 84, 96; halves round up
        assert bottleneck_choices(SHIPPED["mobilenet"], 1, np.array([24], np.int16))[
            :, 0
        ].tolist() == [40, 48, 64, 72, 88, 96]
