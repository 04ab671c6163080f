"""The spaces where halving is searched: what they hold, and how their scores compare."""

from __future__ import annotations

import numpy as np
import pytest

from device_profiles import load_device
from nas_engine.architecture import Architecture, Bits, Block, Classifier, Convolution
from nas_engine.encoding import GeneView, decode, encode, space_frame
from nas_engine.evolution.evaluation import evaluate
from nas_engine.evolution.operators import mutate, sample
from nas_engine.evolution.problem import make_problem
from nas_engine.layers import unroll
from nas_engine.network.from_architecture import graph_of
from nas_engine.report.search_record import report_member
from nas_engine.scoring.qe_score import ScoreSettings, default_stage_weights, qe_score
from search_spaces import load_space
from tests.legal import legal

W8A8 = Bits(8, 8)
UNITS = ((48, 16, 1, 1), (72, 24, 2, 2), (120, 40, 2, 1), (144, 40, 1, 1), (144, 48, 1, 2))
BY_HAND = Architecture(
    resolution=32,
    stem=Convolution(kernel=3, stride=1, channels=16, bits=W8A8),
    blocks=tuple(
        Block(kernel=3, stride=s, bottleneck=mid, channels=out, bits=((W8A8,) * 3,) * depth)
        for mid, out, s, depth in UNITS
    ),
    head=Convolution(kernel=1, stride=1, channels=96, bits=W8A8),
    classifier=Classifier(class_count=10, bits=W8A8),
)
"""Network that nobody searched, with a block at full resolution and maps that end at 8x8."""


def test_the_network_by_hand_is_in_the_space() -> None:
    space = load_space("flexible-32")
    frame = space_frame(space, 32, 10)
    genes = encode(frame, [BY_HAND])
    assert legal(space, frame, genes).all()
    assert decode(frame, genes[:, 0]) == BY_HAND


def strides_of(view: GeneView) -> np.ndarray:
    """Return the strides of stem and stages, ``(1 + stages, n)``."""
    return np.vstack([view.stem_stride, view.stride])


@pytest.mark.parametrize("name", ["flexible-32", "flexible"])
def test_every_stride_is_drawn_and_moves(name: str) -> None:
    space, rng = load_space(name), np.random.default_rng(0)
    frame = space_frame(space, space.resolution, 10)
    genes = sample(space, frame, 300, rng)
    changed = np.zeros(len(space.stages) + 1, bool)
    for _ in range(20):
        before = GeneView(frame, genes)
        genes = mutate(space, frame, genes, rng, mutate_bits=False)
        view = GeneView(frame, genes)
        assert legal(space, frame, genes).all()
        moved = strides_of(view) != strides_of(before)
        changed |= moved.any(axis=1)
    assert changed.all()
    assert all(set(row) == {1, 2} for row in strides_of(view).tolist())


@pytest.mark.parametrize("name", ["flexible-32", "flexible"])
def test_sizes_are_those_of_the_graph(name: str) -> None:
    space = load_space(name)
    frame = space_frame(space, 33, 10)
    genes = sample(space, frame, 40, np.random.default_rng(3))
    sizes, table = frame.sizes(GeneView(frame, genes)), unroll(frame, genes)
    for column, side in enumerate(sizes[1].tolist()):
        graph = graph_of(decode(frame, genes[:, column]))
        shapes = {node.name: node for node in graph.layers}
        tensors = {tensor.name: tensor for tensor in graph.tensors}
        assert tensors[shapes["stem"].output].height == side
        assert tensors[shapes["head"].input].height == sizes[-1, column]
        assert sum(table.weights[:, column]) > 0


def test_scores_are_those_of_networks_alone_and_their_weights_add_up() -> None:
    space = load_space("flexible-32")
    problem = make_problem(space, load_device("cortex-m7"), class_count=10, schedule="auto")
    genes = sample(space, problem.frame, 20, np.random.default_rng(5))
    found = evaluate(problem, genes)
    for column, score in enumerate(found.score):
        network = decode(problem.frame, found.genes[:, column])
        assert score == pytest.approx(report_member(network, problem).qe_score, rel=1e-12)
        halvings = sum(block.stride == 2 for block in network.blocks)
        weights = default_stage_weights(network)
        assert weights == problem.score.last(1 + halvings).stage_weights
        assert halvings < 2 or sum(weights) == 8
    table, view = unroll(problem.frame, found.genes), GeneView(problem.frame, found.genes)
    settings = ScoreSettings(stage_weights=space.stage_weights)
    assert (qe_score(table, view.w_bits, view.a_bits, settings) == found.score).all()
