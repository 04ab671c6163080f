"""QE-Score against the scalar reference and the published networks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nas_engine.architecture import Architecture, parse_architecture, read_architecture
from nas_engine.encoding import GeneView, architecture_frame, encode, layer_rows
from nas_engine.errors import InputError
from nas_engine.layers import unroll
from nas_engine.scoring.qe_score import (
    PAPER_STAGE_WEIGHTS,
    ScoreSettings,
    bits_score,
    layer_coefficients,
    qe_score,
    stage_terms,
    structure_score,
)
from tests import reference
from tests.architectures import GOLDEN
from tests.populations import OTHER_KINDS, SPACES, networks, population, resolutions


def score(net: Architecture, settings: ScoreSettings) -> tuple[float, list[float]]:
    """Score and stage terms of one network."""
    frame = architecture_frame(net)
    genes = encode(frame, [net])
    view, table = GeneView(frame, genes), unroll(frame, genes)
    terms = stage_terms(table, view.w_bits, view.a_bits, settings)[:, 0].tolist()
    return float(qe_score(table, view.w_bits, view.a_bits, settings)[0]), terms


@pytest.mark.parametrize(
    ("name", "published"), [("mixed7d0G", 1224.5367750152895), ("mixed19d2G", 1290.3356071584665)]
)
def test_published(name: str, published: float) -> None:
    net = read_architecture(GOLDEN / f"{name}.txt")
    assert ScoreSettings().stage_weights == PAPER_STAGE_WEIGHTS == reference.ALPHAS
    total, terms = score(net, ScoreSettings())
    assert total == pytest.approx(published, rel=1e-12)
    assert reference.qe_score(net) == pytest.approx(published, rel=1e-12)
    assert terms == pytest.approx(reference.stage_terms(net), rel=1e-12)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize(("sigma_a", "sigma_w"), [(5.0, 4.0), (1.0, 1.0), (0.1, 1000.0)])
def test_is_the_scalar_reference(space: str, sigma_a: float, sigma_w: float) -> None:
    stages = len(SPACES[space].stage_weights)
    for alphas in (
        SPACES[space].stage_weights,
        tuple(range(1, stages + 1)),
        (2.5,) + (0.0,) * (stages - 1),
        (0.0,) * (stages - 1) + (1.0,),
    ):
        settings = ScoreSettings(
            sigma_a=sigma_a, sigma_w=sigma_w, stage_weights=tuple(map(float, alphas))
        )
        for classes in (0, 10):
            frame, genes = population(SPACES[space], 10, seed=classes, classes=classes)
            view, table = GeneView(frame, genes), unroll(frame, genes)
            found, terms = (
                qe_score(table, view.w_bits, view.a_bits, settings),
                stage_terms(table, view.w_bits, view.a_bits, settings),
            )
            for i, net in enumerate(networks(frame, genes)):
                wanted = reference.stage_terms(net, alphas, sigma_a, sigma_w)
                assert terms[:, i] == pytest.approx(wanted, rel=1e-10, abs=1e-9)
                assert found[i] == pytest.approx(sum(wanted), rel=1e-10, abs=1e-9)


@pytest.mark.parametrize("space", OTHER_KINDS)
def test_other_kinds_are_the_scalar_reference(space: str) -> None:
    """A network with fewer stages than its space allows takes the last weights."""
    weights = OTHER_KINDS[space].stage_weights
    settings = ScoreSettings(stage_weights=weights)
    frame, genes = population(OTHER_KINDS[space], 30, seed=9)
    view, table = GeneView(frame, genes), unroll(frame, genes)
    found = qe_score(table, view.w_bits, view.a_bits, settings)
    coefficients, seen = layer_coefficients(table, settings), set()
    for i, net in enumerate(networks(frame, genes)):
        stages = 1 + sum(block.stride == 2 for block in net.blocks)
        alphas = weights[-stages:]
        seen.add(stages)
        assert found[i] == pytest.approx(reference.qe_score(net, alphas), rel=1e-10)
        assert score(net, settings.last(stages))[0] == pytest.approx(found[i], rel=1e-12)
        rows = layer_rows(frame, net)
        assert coefficients[rows, i].tolist() == [
            *reference.worth(net, alphas),
            *([0.0] if net.classifier else []),
        ]
        assert not np.delete(coefficients[:, i], rows).any()
    assert (len(seen) > 1) == frame.free_strides


@pytest.mark.parametrize("space", SPACES)
def test_terms_sum_to_the_score_and_a_batch_is_its_networks(space: str) -> None:
    frame, genes = population(SPACES[space], 15, seed=7)
    settings = ScoreSettings(stage_weights=SPACES[space].stage_weights)
    view, table = GeneView(frame, genes), unroll(frame, genes)
    total = qe_score(table, view.w_bits, view.a_bits, settings)
    assert stage_terms(table, view.w_bits, view.a_bits, settings).sum(axis=0) == pytest.approx(
        total, rel=1e-12
    )
    for i in range(genes.shape[1]):
        bits, one = GeneView(frame, genes[:, [i]]), unroll(frame, genes[:, [i]])
        assert qe_score(one, bits.w_bits, bits.a_bits, settings)[0] == pytest.approx(
            total[i], rel=1e-13
        )


def test_structure_and_bits_make_the_score() -> None:
    frame, genes = population(SPACES["mobilenet"], 15)
    settings, view, table = ScoreSettings(), GeneView(frame, genes), unroll(frame, genes)
    coefficients = layer_coefficients(table, settings)
    parts = structure_score(table, settings) + bits_score(
        coefficients, view.w_bits, view.a_bits, settings
    )
    assert (parts == qe_score(table, view.w_bits, view.a_bits, settings)).all()
    for i, net in enumerate(networks(frame, genes)):
        assert coefficients[table.weights[:, i] > 0, i].tolist() == [*reference.worth(net), 0.0]
        assert not coefficients[table.weights[:, i] == 0, i].any()


def test_resolution_classes_and_pooling_do_not_enter() -> None:
    net = read_architecture(GOLDEN / "mixed7d0G.txt")
    assert {
        score(other, ScoreSettings())[0]
        for other in (
            net,
            *map(net.at_resolution, resolutions(SPACES["mobilenet"])),
            replace(net, pooled_shortcut=False),
        )
    } == {score(net, ScoreSettings())[0]}


def test_stages_of_strides_other_than_the_paper() -> None:
    net = read_architecture(GOLDEN / "mixed7d0G.txt")
    for strides in ((1, 2, 1, 1, 1), (2, 1, 1, 1, 1), (1, 1, 2, 2, 2), (1, 1, 1, 1, 1)):
        other = replace(
            net,
            blocks=tuple(
                replace(block, stride=stride)
                for block, stride in zip(net.blocks, strides, strict=True)
            ),
        )
        alphas = tuple(float(i) for i in range(1, 2 + sum(stride == 2 for stride in strides)))
        total, terms = score(other, ScoreSettings(stage_weights=alphas))
        assert total == pytest.approx(reference.qe_score(other, alphas), rel=1e-12)
        assert terms == pytest.approx(reference.stage_terms(other, alphas), rel=1e-12)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"sigma_a": 0.0}, "sigma_a: is 0.0"),
        ({"sigma_w": -1.0}, "sigma_w: is -1.0"),
        ({"sigma_w": float("nan")}, "sigma_w: is nan"),
        ({"sigma_a": float("inf")}, "sigma_a: is inf"),
        ({"stage_weights": (0.0, 0.0)}, "stage weights are"),
        ({"stage_weights": ()}, "stage weights are"),
        ({"stage_weights": (1.0, -1.0)}, r"stage_weights\[1\]: is -1.0"),
        ({"stage_weights": (1.0, float("nan"))}, r"stage_weights\[1\]: is nan"),
    ],
)
def test_settings_that_make_no_score(changes: dict[str, object], says: str) -> None:
    with pytest.raises(InputError, match=says):
        ScoreSettings(**changes)  # type: ignore[arg-type]


def test_wrong_number_of_stage_weights_names_the_right_one() -> None:
    net = parse_architecture((GOLDEN / "mixed7d0G.txt").read_text(encoding="utf-8"))
    with pytest.raises(
        InputError, match=r"stage weights 1,6 are 2 values; this network has 5 stages, give 5"
    ):
        score(net, ScoreSettings(stage_weights=(1.0, 6.0)))


def test_scores_of_the_same_network_do_not_depend_on_its_neighbours_in_the_batch() -> None:
    frame, genes = population(SPACES["mobilenet"], 30)
    view, table = GeneView(frame, genes), unroll(frame, genes)
    total = qe_score(table, view.w_bits, view.a_bits, ScoreSettings())
    order = np.random.default_rng(0).permutation(30)
    shuffled = GeneView(frame, genes[:, order])
    again = qe_score(
        unroll(frame, genes[:, order]), shuffled.w_bits, shuffled.a_bits, ScoreSettings()
    )
    assert again == pytest.approx(total[order], rel=1e-13)
