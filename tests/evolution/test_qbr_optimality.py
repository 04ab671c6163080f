"""Quantization Bits Refinement against exact optima for fixed structures, found by the slow
references.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from nas_engine.architecture import Architecture, Bits, Block, Convolution
from nas_engine.costs.compute import bitops
from nas_engine.costs.flash import flash
from nas_engine.costs.sram import peak_sram
from nas_engine.encoding import Frame, Genes, GeneView, architecture_frame, decode, encode
from nas_engine.evolution.evaluation import evaluate
from nas_engine.evolution.problem import SearchProblem
from nas_engine.layers import unroll
from nas_engine.scoring.qe_score import ScoreSettings
from search_spaces import SearchSpace
from tests import reference, reference_bits
from tests.legal import legal
from tests.populations import (
    EVERY_PAIR,
    MODELS,
    OTHER_KINDS,
    SHIPPED,
    SPACES,
    pairs_table,
    population,
    problem_for,
)

WORST, MEDIAN = 0.02, 0.005


def tiny(residuals: int, seed: int) -> Architecture:
    """A network of a few inverted residuals whose sizes follow from the seed."""
    rng = np.random.default_rng(seed)
    depths = [1] * residuals if seed % 2 else [residuals]
    w8 = Bits(8, 8)
    return Architecture(
        resolution=int(rng.choice([17, 24, 32])),
        stem=Convolution(kernel=3, stride=2, channels=8, bits=w8),
        blocks=tuple(
            Block(
                kernel=int(rng.choice([3, 5])),
                stride=int(rng.choice([1, 2])) if i else 2,
                bottleneck=int(rng.choice([16, 24, 40])),
                channels=int(rng.choice([8, 16, 24])),
                bits=((w8,) * 3,) * depth,
            )
            for i, depth in enumerate(depths)
        ),
        head=Convolution(kernel=1, stride=1, channels=int(rng.choice([32, 64])), bits=w8),
        classifier=None,
    )


def space_like(net: Architecture, options: tuple[int, ...], tied: bool) -> SearchSpace:
    """A space only for its bits."""
    return replace(
        SHIPPED["mobilenet-32"], weight_bits=options, activation_bits=options, tie_block_bits=tied
    )


def refined(
    net: Architecture,
    model: str,
    budgets: tuple[float, float],
    options: tuple[int, ...],
    *,
    tied: bool = False,
    allowed: npt.NDArray[np.bool_] = EVERY_PAIR,
    bitops: float = math.inf,
) -> tuple[float, bool, Architecture]:
    """Score after refinement by the scalar reference, if all budgets are met, and the network."""
    frame = architecture_frame(net)
    score = ScoreSettings(stage_weights=reference.alphas_for(net))
    problem = problem_for(
        space_like(net, options, tied),
        frame,
        *budgets,
        model=model,
        allowed=allowed,
        limits={"bitops": bitops},
        score=score,
    )
    found = evaluate(problem, encode(frame, [net]))
    after = decode(frame, found.genes[:, 0])
    fits = (
        max(reference.sram(model, after)) <= budgets[0]
        and sum(reference.FLASH[model](after)) <= budgets[1]
    )
    spent = (
        reference.bitops(after) if model == "arena" else 64 * reference.paper_bitops_over_64(after)
    )
    assert (found.violation[0] == 0) == (fits and spent <= bitops)
    return reference.qe_score(after, reference.alphas_for(net)), fits, after


def budgets_between(
    net: Architecture, model: str, options: tuple[int, ...], shares: tuple[float, float]
) -> tuple[float, float]:
    """Budgets between what the narrowest and what the widest bits need."""
    free = 1 + 3 * sum(block.depth for block in net.blocks)
    low, high = (
        reference_bits.with_bits(net, [Bits(b, b)] * free) for b in (options[0], options[-1])
    )
    sizes = [
        (max(reference.sram(model, other)), sum(reference.FLASH[model](other)))
        for other in (low, high)
    ]
    sram, flash = (int(a + share * (b - a)) for a, b, share in zip(*sizes, shares, strict=True))
    return float(sram), float(flash)


SHARES = tuple(itertools.product((0.0, 0.35, 0.7), (0.1, 0.5, 0.9)))

MIXTURE_SHARES = tuple(itertools.product((0.02, 0.2, 0.5), (0.3, 0.6, 0.8)))


def gap(best: float, score: float) -> float:
    assert score <= best + 1e-9 * abs(best) + 1e-9, (
        "better than the optimum: the reference is wrong"
    )
    return (best - score) / abs(best)


def optimum(
    net: Architecture,
    model: str,
    budgets: tuple[float, float],
    options: tuple[int, ...],
    *,
    tied: bool,
    bound: bool = False,
) -> float:
    """Highest QE-Score for a structure where every pair of widths is allowed, or a bound of it."""
    alphas = reference.alphas_for(net)
    free = 1 + 3 * sum(block.depth for block in net.blocks)
    best_a = reference_bits.best_activations(net, model, budgets[0], options, alphas, tied=tied)
    weigh = reference_bits.best_weights_bound if bound else reference_bits.best_weights
    best_w = weigh(net, model, budgets[1], options, alphas, tied=tied)
    assert best_a is not None
    assert best_w is not None
    widest = sum(reference.worth(net, alphas)[1:]) * math.log(
        reference.quantised_std(4, 8) * reference.quantised_std(5, 8)
    )
    return (
        reference.qe_score(reference_bits.with_bits(net, [Bits(8, 8)] * free), alphas)
        - widest
        + best_a
        + best_w
    )


@pytest.mark.parametrize("model", MODELS)
class TestReferencesAgree:
    """The clever references against brute force."""

    @pytest.mark.parametrize("seed", range(4))
    def test_chain_and_knapsack_are_brute_force(self, model: str, seed: int) -> None:
        net, options = tiny(1, seed), (2, 4, 8)
        for shares in SHARES:
            budgets = budgets_between(net, model, options, shares)
            a_values, w_values = [], []
            gains = reference.worth(net, reference.alphas_for(net))[1:]
            for chosen in itertools.product(options, repeat=4):
                other = reference_bits.with_bits(net, [Bits(b, b) for b in chosen])
                w_part, a_part = (
                    sum(
                        gain * math.log(reference.quantised_std(sigma, b))
                        for gain, b in zip(gains, chosen, strict=True)
                    )
                    for sigma in (4.0, 5.0)
                )
                if max(reference.sram(model, other)) <= budgets[0]:
                    a_values.append(a_part)
                if sum(reference.FLASH[model](other)) <= budgets[1]:
                    w_values.append(w_part)
            alphas = reference.alphas_for(net)
            best_a = reference_bits.best_activations(net, model, budgets[0], options, alphas)
            best_w = reference_bits.best_weights(net, model, budgets[1], options, alphas)
            bound = reference_bits.best_weights_bound(net, model, budgets[1], options, alphas)
            assert best_a == pytest.approx(max(a_values), rel=1e-12)
            assert best_w == pytest.approx(max(w_values), rel=1e-12)
            assert bound is not None
            assert best_w is not None
            assert bound >= best_w - 1e-9

    @pytest.mark.parametrize("seed", range(4))
    def test_tied_chain_and_knapsack_are_brute_force(self, model: str, seed: int) -> None:
        net, options = tiny(2, seed), (2, 4, 8)
        for shares in SHARES[::2]:
            budgets = budgets_between(net, model, options, shares)
            brute = reference_bits.best_tied(
                net, model, budgets, itertools.product(options, options)
            )
            assert optimum(net, model, budgets, options, tied=True) == pytest.approx(
                brute, rel=1e-12
            )


@pytest.mark.parametrize("model", MODELS)
class TestSmallNetworks:
    """Up to three inverted residuals, against the exact optimum."""

    @pytest.mark.parametrize("residuals", [1, 2, 3])
    def test_gap_of_tied_networks_is_below_one_step(self, model: str, residuals: int) -> None:
        """So few units leave the knapsack coarse: what the algorithm promises is the optimum less
        the worth of a single step.
        """
        for seed, options in itertools.product(range(5), ((2, 4, 8), (3, 5, 6), (2, 3, 4))):
            net = tiny(residuals, seed)
            logs = [math.log(reference.quantised_std(4, bits)) for bits in options]
            step = (
                3 * sum(reference.alphas_for(net)) * max(b - a for a, b in itertools.pairwise(logs))
            )
            for shares in SHARES:
                budgets = budgets_between(net, model, options, shares)
                score, fits, _ = refined(net, model, budgets, options, tied=True)
                best = optimum(net, model, budgets, options, tied=True)
                assert fits
                assert best is not None
                assert best - step <= score <= best + 1e-9

    @pytest.mark.parametrize("residuals", [1, 2, 3])
    def test_gap(self, model: str, residuals: int) -> None:
        gaps, tied = [], False
        for seed, options in itertools.product(range(5), ((2, 4, 8), (3, 5, 6), (2, 3, 4))):
            net = tiny(residuals, seed)
            for shares in SHARES:
                budgets = budgets_between(net, model, options, shares)
                score, fits, _ = refined(net, model, budgets, options, tied=tied)
                assert fits
                gaps.append(gap(optimum(net, model, budgets, options, tied=tied), score))
        assert max(gaps) <= WORST
        assert float(np.median(gaps)) <= MEDIAN

    @pytest.mark.parametrize(
        "pairs",
        [
            ((4, 8), (8, 8)),
            ((8, 4), (8, 8)),
            tuple(itertools.product((4, 8), (2, 8))),
            tuple(itertools.product((2, 4, 8), (8,))),
        ],
    )
    @pytest.mark.parametrize("tied", [False, True])
    def test_budget_that_can_be_met_beside_device_rules_is_met(
        self, model: str, pairs: tuple[tuple[int, int], ...], tied: bool
    ) -> None:
        """Mixtures count too: a network fits if any allowed bits make it fit."""
        options, allowed, missed = (2, 4, 8), pairs_table(*pairs), []
        for seed, shares in itertools.product(range(4 if tied else 2), MIXTURE_SHARES):
            net = tiny(2 if tied else 1, seed)
            budgets = budgets_between(net, model, options, shares)
            best = (reference_bits.best_tied if tied else reference_bits.best_of_all)(
                net, model, budgets, pairs
            )
            score, fits, after = refined(net, model, budgets, options, tied=tied, allowed=allowed)
            assert all(allowed[bits.w, bits.a] for bits in after.layer_bits())
            if best is not None and not fits:
                missed.append((seed, shares))
            if fits:
                assert best is not None
                assert score <= best + 1e-9
        assert missed == []

    def test_bitops_limit_that_can_be_met_is_met(self, model: str) -> None:
        gaps, options = [], (2, 4, 8)
        for seed, share in itertools.product(range(2), (0.0, 0.1, 0.4)):
            net = tiny(1, seed)
            budgets = budgets_between(net, model, options, (0.5, 0.6))
            least, most = (
                reference.bitops(reference_bits.with_bits(net, [Bits(b, b)] * 4)) for b in (2, 8)
            )
            limit = least + share * (most - least)
            best = reference_bits.best_of_all(
                net, model, budgets, itertools.product(options, options), limit
            )
            score, fits, after = refined(
                net,
                model,
                budgets,
                options,
                bitops=limit
                + (
                    64 * reference.paper_bitops_over_64(net) - reference.bitops(net)
                    if model == "paper"
                    else 0
                ),
            )
            assert best is not None
            assert fits
            assert reference.bitops(after) <= limit
            gaps.append(gap(best, score))
        assert float(np.median(gaps)) <= 0.05


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", ["mobilenet", "mobilenet-tied", "qe-score-2022", "mobilenet-32"])
def test_sampled_networks(name: str, model: str) -> None:
    """Twenty networks, budgets from tight to loose: exact activations, and the linear bound of the
    weights' knapsack.
    """
    space, gaps = SPACES[name], []
    options = space.weight_bits
    frame, genes = population(
        space, 21, seed=20, resolution=min(96, space.max_resolution), classes=10
    )
    for i in range(1, 21):
        net = decode(frame, genes[:, i])
        budgets = budgets_between(
            net,
            model,
            options,
            ((0.05, 0.1), (0.1, 0.4), (0.3, 0.2), (0.5, 0.6), (0.15, 0.25))[i % 5],
        )
        bound = optimum(net, model, budgets, options, tied=space.tie_block_bits, bound=True)
        found = evaluate(problem_for(space, frame, *budgets, model=model), genes[:, [i]].copy())
        assert found.violation[0] == 0
        gaps.append(
            gap(bound, reference.qe_score(decode(frame, found.genes[:, 0]), space.stage_weights))
        )
    assert max(gaps) <= WORST
    assert float(np.median(gaps)) <= MEDIAN


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("name", OTHER_KINDS)
def test_sampled_networks_of_other_kinds(name: str, tied: bool, model: str) -> None:
    """The algorithm is within the worth of a single step of the optimum."""
    options = (2, 4, 8)
    logs = [math.log(reference.quantised_std(4, bits)) for bits in options]
    widest_step = max(b - a for a, b in itertools.pairwise(logs))
    space = replace(
        OTHER_KINDS[name], weight_bits=options, activation_bits=options, tie_block_bits=tied
    )
    frame, genes = population(space, 9, seed=22, classes=10)
    for i in range(1, 9):
        net = decode(frame, genes[:, i])
        alphas = space.stage_weights[-1 - sum(block.stride == 2 for block in net.blocks) :]
        budgets = budgets_between(net, model, options, ((0.1, 0.4), (0.3, 0.2), (0.5, 0.6))[i % 3])
        best_a = reference_bits.best_activations(net, model, budgets[0], options, alphas, tied=tied)
        best_w = reference_bits.best_weights(net, model, budgets[1], options, alphas, tied=tied)
        assert best_a is not None
        assert best_w is not None
        widest = [Bits(8, 8)] * (len(net.layer_bits()) - 2)
        at_widest = reference.qe_score(reference_bits.with_bits(net, widest), alphas)
        top = math.log(reference.quantised_std(4, 8) * reference.quantised_std(5, 8))
        best = at_widest - sum(reference.worth(net, alphas)[1:]) * top + best_a + best_w
        found = evaluate(problem_for(space, frame, *budgets, model=model), genes[:, [i]].copy())
        assert found.violation[0] == 0
        score = reference.qe_score(decode(frame, found.genes[:, 0]), alphas)
        step = (3 if tied else 1) * sum(alphas) * widest_step
        assert best - step <= score <= best + 1e-9


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(
    "name",
    # the networks of the two larger spaces are too large for these budgets
    [name for name in OTHER_KINDS if not name.startswith("flexible")],
)
def test_a_bitops_limit_is_met_with_other_kinds(name: str, tied: bool) -> None:
    """A tensor that two layers read has one width, and no single width can be raised."""
    space = replace(OTHER_KINDS[name], tie_block_bits=tied)
    frame, genes = population(space, 40, seed=23, classes=10)
    free = evaluate(problem_for(space, frame, 40_000.0, 60_000.0), genes.copy())
    nets = [decode(frame, column) for column in free.genes.T]
    limit = float(np.median([reference.bitops(net) for net in nets]))
    limited = problem_for(space, frame, 40_000.0, 60_000.0, limits={"bitops": limit})
    found = evaluate(limited, genes.copy())
    assert legal(space, frame, found.genes).all()
    lowered = 0
    for i in range(genes.shape[1]):
        net = decode(frame, found.genes[:, i])
        least = [Bits(space.weight_bits[0], space.activation_bits[0])] * (len(net.layer_bits()) - 2)
        possible = reference.bitops(reference_bits.with_bits(net, least)) <= limit
        assert (reference.bitops(net) <= limit) == possible
        lowered += net != nets[i]
        if free.violation[i] == 0 and possible:
            assert found.violation[i] == 0
    assert lowered > 5
    fits, tried = found.violation == 0, 0
    for genes_raised in every_raise(space, frame, found.genes):
        raised = (genes_raised != found.genes).any(axis=0)
        assert not (fits & raised & within(limited, genes_raised)).any()
        tried += int((fits & raised).sum())
    assert tried > 100


def every_raise(space: SearchSpace, frame: Frame, genes: Genes) -> Iterator[Genes]:
    """Genes with one width, or the width of one tensor, at the space's next, where there is one."""
    table, last = unroll(frame, genes), frame.n_layers - 2
    shared = np.zeros(table.active.shape, bool) if table.projected is None else table.projected
    everyone = np.ones(genes.shape[1], bool)
    for unit, row in enumerate(range(1, last, 3)):
        groups = (
            [([row, row + 1, row + 2], everyone, everyone)]
            if space.tie_block_bits
            else [
                ([row], everyone, ~shared[unit]),
                ([row + 1], everyone, ~shared[unit]),
                ([row + 2], everyone, everyone),
                ([row, row + 1], ~everyone, shared[unit]),
            ]
        )
        for rows, weights, activations in groups:
            yield raised_once(frame, genes, "w_bits", space.weight_bits, rows, weights)
            yield raised_once(frame, genes, "a_bits", space.activation_bits, rows, activations)
    yield raised_once(frame, genes, "w_bits", space.weight_bits, [last], everyone)
    yield raised_once(frame, genes, "a_bits", space.activation_bits, [last], everyone)


def raised_once(
    frame: Frame,
    genes: Genes,
    which: str,
    options: tuple[int, ...],
    rows: list[int],
    mask: npt.NDArray[np.bool_],
) -> Genes:
    following = np.array(
        [next((o for o in options if 0 < now < o), now) for now in range(9)], np.int16
    )
    changed = genes.copy()
    bits = getattr(GeneView(frame, changed), which)
    bits[rows] = np.where(mask, following[bits[rows]], bits[rows])
    return changed


def within(problem: SearchProblem, genes: Genes) -> npt.NDArray[np.bool_]:
    view, table = GeneView(problem.frame, genes), unroll(problem.frame, genes)
    return np.asarray(
        (peak_sram(problem.model, table, view.a_bits) <= problem.arena_bytes)
        & (flash(problem.model, table, view.w_bits) <= problem.flash_bytes)
        & (bitops(problem.model, table, view.w_bits, view.a_bits) <= problem.limit("bitops"))
    )
