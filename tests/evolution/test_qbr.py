"""Quantization Bits Refinement: the six properties, over every shipped space, tied and untied, both
memory models, several devices.

1. never over a budget that can be met   2. maximal   3. deterministic   4. idempotent
5. monotone up to one bit step   6. a population is refined as its networks are one by one
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pytest

from nas_engine.costs.compute import bitops
from nas_engine.costs.flash import flash
from nas_engine.costs.sram import peak_sram
from nas_engine.encoding import Genes, GeneView, decode
from nas_engine.errors import InputError
from nas_engine.evolution.evaluation import evaluate
from nas_engine.evolution.problem import SearchProblem
from nas_engine.evolution.qbr import refine
from nas_engine.layers import LayerTable, unroll
from nas_engine.scoring.qe_score import ScoreSettings, layer_coefficients, qe_score
from nas_engine.scoring.quantised_gaussian import log_std_table
from search_spaces import SearchSpace
from tests import reference
from tests.populations import (
    EVERY_PAIR,
    MODELS,
    SHIPPED,
    SPACES,
    pairs_table,
    population,
    problem_for,
    resolutions,
)

Widths = npt.NDArray[np.int16]

PRODUCTS = {
    "w4-8 a8": pairs_table((4, 8), (8, 8)),
    "w8 a4-8": pairs_table((8, 4), (8, 8)),
    "w2-4-8 a2-4-8": pairs_table(*((w, a) for w in (2, 4, 8) for a in (2, 4, 8))),
    "w3-6-8 a4-5-8": pairs_table(*((w, a) for w in (3, 6, 8) for a in (4, 5, 8))),
}
"""Devices whose weight widths do not depend on the activation width."""

RAGGED = {
    "narrow beside wide": pairs_table((8, 2), (8, 4), (4, 4), (2, 8), (4, 8), (8, 8)),
    "wide activations need wide weights": pairs_table((2, 4), (4, 4), (8, 4), (4, 8), (8, 8)),
    "never narrower than the activations": pairs_table(
        *((w, a) for a in range(2, 9) for w in range(a, 9))
    ),
    "equal only": pairs_table(*((b, b) for b in range(2, 9))),
    "even sums": pairs_table(
        *((w, a) for a in range(2, 9) for w in range(2, 9) if (w + a) % 2 == 0)
    ),
}
"""Devices whose weight widths do depend on it: refinement refuses them, by mutation alone they
work."""


@dataclass(frozen=True, slots=True)
class Refined:
    """One refined population and what it costs."""

    problem: SearchProblem
    table: LayerTable
    w: Widths
    a: Widths
    genes: Genes

    def costs(self, w: Widths, a: Widths) -> npt.NDArray[np.float64]:
        """SRAM, Flash, BitOps: ``(3, n)``."""
        p = self.problem
        return np.stack(
            [
                peak_sram(p.model, self.table, a),
                flash(p.model, self.table, w),
                bitops(p.model, self.table, w, a),
            ]
        )

    @property
    def budgets(self) -> npt.NDArray[np.float64]:
        return np.array(
            [[self.problem.arena_bytes], [self.problem.flash_bytes], [self.problem.limit("bitops")]]
        )

    def fits(self, w: Widths, a: Widths) -> npt.NDArray[np.bool_]:
        """Within the budgets and the device's rules, ``(n,)``."""
        real = self.table.weights > 0
        within: npt.NDArray[np.bool_] = (self.costs(w, a) <= self.budgets).all(axis=0) & (
            self.problem.allowed[w, a] | ~real
        ).all(axis=0)
        return within


def refined(problem: SearchProblem, genes: Genes) -> Refined:
    table = unroll(problem.frame, genes)
    return Refined(problem, table, *refine(problem, table), genes)


def constant_bits(result: Refined, w: int, a: int) -> tuple[Widths, Widths]:
    """The same pair in every free layer."""
    real = (result.table.weights > 0).astype(np.int16)
    widths = real * np.int16(w), real * np.int16(a)
    for bits in widths:
        bits[[0, -1]] = real[[0, -1]] * result.problem.space.end_bits
    return widths


def can_be_met(result: Refined) -> npt.NDArray[np.bool_]:
    """Return True if one constant pair fits.

    That is enough for the budgets to be meetable, and for product rules needed as well.
    """
    space, fits = result.problem.space, np.zeros(result.table.n, bool)
    for w in space.weight_bits:
        for a in space.activation_bits:
            if result.problem.allowed[w, a]:
                fits |= result.fits(*constant_bits(result, w, a))
    return fits


def units(problem: SearchProblem) -> Iterator[slice | int]:
    """Rows that are raised together."""
    if problem.space.tie_block_bits:
        yield from (slice(row, row + 3) for row in range(1, problem.frame.n_layers - 2, 3))
    else:
        yield from range(1, problem.frame.n_layers - 2)
    yield problem.frame.n_layers - 2


def raised(
    result: Refined, rows: slice | int, which: str
) -> tuple[Widths, Widths, npt.NDArray[np.bool_]]:
    """Both widths with one unit's weights or activations at the next width that its layers may
    have, and which networks have one.
    """
    space, allowed = result.problem.space, result.problem.allowed
    w, a = result.w.copy(), result.a.copy()
    w_now, a_now = (np.atleast_2d(bits[rows])[0] for bits in (w, a))
    following = np.zeros((9, 9), np.int16)
    for w_bits in range(2, 9):
        for a_bits in range(2, 9):
            if which == "w":
                wider = [o for o in space.weight_bits if o > w_bits and allowed[o, a_bits]]
            else:
                wider = [o for o in space.activation_bits if o > a_bits and allowed[w_bits, o]]
            following[w_bits, a_bits] = min(wider, default=0)
    new = following[w_now, a_now]
    (w if which == "w" else a)[rows] = np.where(new > 0, new, w_now if which == "w" else a_now)
    return w, a, new > 0


def assert_never_over_and_maximal(result: Refined) -> int:
    """Properties 1 and 2; returns how many networks fit."""
    fits = result.fits(result.w, result.a)
    over = np.flatnonzero(can_be_met(result) & ~fits).tolist()
    assert over == [], f"over a budget that can be met: networks {over}"
    for rows in units(result.problem):
        for which, what in (("w", "weight"), ("a", "activation")):
            w, a, there = raised(result, rows, which)
            loose = np.flatnonzero(there & fits & result.fits(w, a)).tolist()
            assert loose == [], f"{what} bits of layers {rows} can be raised: networks {loose}"
    return int(fits.sum())


def assert_legal_bits(result: Refined) -> None:
    """Widths the space has, tied where it ties them, zero where there is no layer."""
    space, real = result.problem.space, result.table.weights > 0
    for bits, options in ((result.w, space.weight_bits), (result.a, space.activation_bits)):
        assert bits.dtype == np.int16
        assert (np.isin(bits[1:-1], options) | ~real[1:-1]).all()
        assert not bits[~real].any()
        assert (bits[[0, -1]] == np.where(real[[0, -1]], space.end_bits, 0)).all()
        if space.tie_block_bits:
            assert (bits[1:-2:3] == bits[2:-2:3]).all()
            assert (bits[1:-2:3] == bits[3:-2:3]).all()
    forbidden = np.argwhere(~result.problem.allowed[result.w, result.a] & real)[:3].tolist()
    assert forbidden == [], f"pairs that the device forbids, at (layer, network) {forbidden}"


def budget_points(result: Refined) -> list[tuple[float, float]]:
    """SRAM and Flash from nothing to plenty: between what the population needs at least and at
    most.
    """
    space = result.problem.space
    low = result.costs(*constant_bits(result, space.weight_bits[0], space.activation_bits[0]))
    high = result.costs(*constant_bits(result, space.weight_bits[-1], space.activation_bits[-1]))
    found = []
    for sram_share, flash_share in (
        (0.2, 0.5),
        (0.5, 0.2),
        (0.5, 0.8),
        (0.8, 0.5),
        (0.4, 1.0),
        (1.0, 0.4),
    ):
        sram = np.quantile(low[0], sram_share) + 0.3 * sram_share * np.median(high[0] - low[0])
        size = np.quantile(low[1], flash_share) + 0.3 * flash_share * np.median(high[1] - low[1])
        found.append((float(int(sram)), float(int(size))))
    return [(0.0, 0.0), *found, (float(high[0].max()), float(high[1].max()))]


def base(
    space: SearchSpace,
    model: str,
    n: int,
    seed: int,
    resolution: int | None = None,
    **options: object,
) -> Refined:
    """A population refined without budgets that bind."""
    frame, genes = population(space, n, seed, resolution)
    return refined(problem_for(space, frame, 2.0**40, 2.0**40, model=model, **options), genes)  # type: ignore[arg-type]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", SPACES)
class TestSixProperties:
    def test_never_over_and_maximal(self, name: str, model: str) -> None:
        space = SPACES[name]
        for resolution in resolutions(space):
            start = base(space, model, 40, seed=resolution, resolution=resolution)
            fitting = []
            for sram, size in budget_points(start):
                result = refined(
                    replace(start.problem, arena_bytes=sram, flash_bytes=size), start.genes
                )
                assert_legal_bits(result)
                fitting.append(assert_never_over_and_maximal(result))
            assert fitting[0] == 0
            assert fitting[-1] == 40
            assert sum(0 < fit < 40 for fit in fitting) >= 3, "budgets that decide something"

    def test_plenty_gives_every_layer_its_widest(self, name: str, model: str) -> None:
        result = base(SPACES[name], model, 20, seed=1)
        w, a = constant_bits(result, SPACES[name].weight_bits[-1], SPACES[name].activation_bits[-1])
        assert (result.w == w).all()
        assert (result.a == a).all()

    def test_a_network_that_cannot_fit_gets_its_smallest_widths(
        self, name: str, model: str
    ) -> None:
        start = base(SPACES[name], model, 20, seed=1)
        result = refined(replace(start.problem, arena_bytes=1.0, flash_bytes=1.0), start.genes)
        w, a = constant_bits(result, SPACES[name].weight_bits[0], SPACES[name].activation_bits[0])
        assert (result.w == w).all()
        assert (result.a == a).all()

    def test_budget_is_met_to_the_byte(self, name: str, model: str) -> None:
        """The bytes needed are enough; with a byte less the bits change, or none fit."""
        start = base(SPACES[name], model, 8, seed=3)
        for i in range(8):
            one = start.genes[:, [i]]
            problem = replace(
                start.problem,
                arena_bytes=0.6 * peak_sram(start.problem.model, start.table, start.a)[i] // 4 * 4,
            )
            cost = refined(problem, one)
            if not cost.fits(cost.w, cost.a).all():
                continue
            sram, size, _ = cost.costs(cost.w, cost.a)[:, 0]
            exact = replace(
                start.problem, arena_bytes=float(np.ceil(sram)), flash_bytes=float(size)
            )
            again = refined(exact, one)
            assert again.fits(again.w, again.a).all()
            assert (again.w == cost.w).all()
            assert (again.a == cost.a).all()
            less = refined(replace(exact, flash_bytes=size - 1), one)
            assert less.costs(less.w, less.a)[1, 0] <= size - 1 or not can_be_met(less).any()

    def test_deterministic_idempotent_and_free_of_what_came_before(
        self, name: str, model: str
    ) -> None:
        start = base(SPACES[name], model, 40, seed=4)
        sram, size = budget_points(start)[4]
        problem = replace(start.problem, arena_bytes=sram, flash_bytes=size)
        first = evaluate(problem, start.genes.copy())
        again = evaluate(problem, first.genes.copy())
        scrambled = start.genes.copy()
        view = GeneView(problem.frame, scrambled)
        real = view.w_bits > 0
        rng = np.random.default_rng(0)
        view.w_bits[:], view.a_bits[:] = (rng.integers(2, 9, real.shape) * real for _ in range(2))
        other = evaluate(problem, scrambled)
        for field in ("genes", "score", "violation", "sram", "flash", "macs"):
            assert (getattr(first, field) == getattr(again, field)).all(), field
            assert (getattr(first, field) == getattr(other, field)).all(), field

    def test_monotone_up_to_one_bit_step(self, name: str, model: str) -> None:
        space = SPACES[name]
        start = base(space, model, 40, seed=5)
        settings = start.problem.score
        coefficients = layer_coefficients(start.table, settings)
        step_w, step_a = (
            float(np.diff(log_std_table(sigma)[list(options)]).max())
            for sigma, options in (
                (settings.sigma_w, space.weight_bits),
                (settings.sigma_a, space.activation_bits),
            )
        )
        one_step = (
            max(step_w, step_a) * coefficients.max(axis=0) * (3 if space.tie_block_bits else 1)
        )
        (low_sram, low_flash), (high_sram, high_flash) = (
            budget_points(start)[1],
            budget_points(start)[-1],
        )
        ladders = (
            [(sram, high_flash) for sram in np.geomspace(low_sram, high_sram, 10)],
            [(high_sram, size) for size in np.geomspace(low_flash, high_flash, 25)],
            list(
                zip(
                    np.geomspace(low_sram, high_sram, 12),
                    np.geomspace(low_flash, high_flash, 12),
                    strict=True,
                )
            ),
        )
        for ladder in ladders:
            best = np.full(40, -np.inf)
            for sram, size in ladder:
                result = refined(
                    replace(start.problem, arena_bytes=float(sram), flash_bytes=float(size)),
                    start.genes,
                )
                fits = result.fits(result.w, result.a)
                score = qe_score(result.table, result.w, result.a, settings)
                assert (fits | (best == -np.inf)).all(), "what fitted once fits a larger budget"
                assert (score >= best - one_step)[fits].all()
                best = np.where(fits, np.maximum(best, score), best)

    def test_population_is_refined_as_its_networks_one_by_one(self, name: str, model: str) -> None:
        start = base(SPACES[name], model, 25, seed=6)
        for sram, size in budget_points(start)[1:5]:
            problem = replace(start.problem, arena_bytes=sram, flash_bytes=size)
            together = refined(problem, start.genes)
            for i in range(25):
                alone = refined(problem, start.genes[:, [i]])
                assert (alone.w[:, 0] == together.w[:, i]).all()
                assert (alone.a[:, 0] == together.a[:, i]).all()

    def test_costs_that_count_are_those_of_the_scalar_reference(
        self, name: str, model: str
    ) -> None:
        start = base(SPACES[name], model, 25, seed=7)
        sram, size = budget_points(start)[3]
        found = evaluate(
            replace(start.problem, arena_bytes=sram, flash_bytes=size), start.genes.copy()
        )
        for i in range(25):
            net = decode(start.problem.frame, found.genes[:, i])
            needs, stored = max(reference.sram(model, net)), sum(reference.FLASH[model](net))
            assert (found.sram[i], found.flash[i]) == (needs, stored)
            assert found.violation[i] == pytest.approx(
                max(needs / sram - 1, 0) + max(stored / size - 1, 0)
            )
            assert found.score[i] == pytest.approx(
                reference.qe_score(net, start.problem.score.stage_weights), rel=1e-12
            )


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("rule", PRODUCTS)
class TestDeviceRules:
    """Devices that do not allow every pair."""

    @staticmethod
    def start(rule: str, tied: bool, model: str, n: int) -> Refined:
        return base(
            SPACES["mobilenet-tied" if tied else "mobilenet"],
            model,
            n,
            seed=11,
            allowed=PRODUCTS[rule],
        )

    def test_never_over_maximal_and_only_allowed_pairs(
        self, rule: str, tied: bool, model: str
    ) -> None:
        start = self.start(rule, tied, model, 40)
        fitting = []
        for sram, size in budget_points(start):
            result = refined(
                replace(start.problem, arena_bytes=sram, flash_bytes=size), start.genes
            )
            assert_legal_bits(result)
            fitting.append(assert_never_over_and_maximal(result))
        assert fitting[-1] == 40
        assert any(0 < fit < 40 for fit in fitting)

    def test_deterministic_idempotent_one_by_one(self, rule: str, tied: bool, model: str) -> None:
        start = self.start(rule, tied, model, 15)
        for sram, size in budget_points(start)[1:5]:
            problem = replace(start.problem, arena_bytes=sram, flash_bytes=size)
            first = evaluate(problem, start.genes.copy())
            assert (evaluate(problem, first.genes.copy()).genes == first.genes).all()
            for i in range(15):
                assert (
                    evaluate(problem, start.genes[:, [i]].copy()).genes[:, 0] == first.genes[:, i]
                ).all()

    def test_bitops_limit_keeps_to_the_allowed_pairs(
        self, rule: str, tied: bool, model: str
    ) -> None:
        start = self.start(rule, tied, model, 40)
        limit = float(np.median(start.costs(start.w, start.a)[2])) / 2
        result = refined(replace(start.problem, limits={"bitops": limit}), start.genes)
        assert_legal_bits(result)
        assert assert_never_over_and_maximal(result) > 0


@pytest.mark.parametrize("rule", RAGGED)
def test_rules_that_are_no_product_are_refused_by_refinement_and_kept_by_mutation(
    rule: str,
) -> None:
    start = base(SHIPPED["mobilenet"], "arena", 20, seed=11)
    with pytest.raises(
        InputError,
        match=r"the device forbids w\da\d but allows either width in other pairs; .* add --no-qbr",
    ):
        replace(start.problem, allowed=RAGGED[rule])
    problem = replace(start.problem, allowed=RAGGED[rule], qbr=False)
    _, genes = population(SHIPPED["mobilenet"], 20, seed=11)
    view = GeneView(problem.frame, genes)
    before_w, before_a = view.w_bits.copy(), view.a_bits.copy()
    kept = RAGGED[rule][before_w, before_a] | (before_w == 0)
    assert not kept.all()
    evaluate(problem, genes)
    assert (RAGGED[rule][view.w_bits, view.a_bits] | (view.w_bits == 0)).all()
    assert (view.w_bits[kept] == before_w[kept]).all()
    assert (view.a_bits[kept] == before_a[kept]).all()


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", SPACES)
class TestBitopsLimit:
    @pytest.mark.parametrize("share", [0.15, 0.3, 0.6, 1.5])
    def test_never_over_and_maximal(self, name: str, model: str, share: float) -> None:
        start = base(SPACES[name], model, 40, seed=12)
        limit = share * float(np.median(start.costs(start.w, start.a)[2]))
        for sram, size in budget_points(start)[3::2]:
            problem = replace(
                start.problem, arena_bytes=sram, flash_bytes=size, limits={"bitops": limit}
            )
            result = refined(problem, start.genes)
            assert_legal_bits(result)
            assert_never_over_and_maximal(result)

    def test_deterministic_idempotent_one_by_one(self, name: str, model: str) -> None:
        start = base(SPACES[name], model, 15, seed=13)
        limit = 0.4 * float(np.median(start.costs(start.w, start.a)[2]))
        sram, size = budget_points(start)[5]
        problem = replace(
            start.problem, arena_bytes=sram, flash_bytes=size, limits={"bitops": limit}
        )
        first = evaluate(problem, start.genes.copy())
        assert (evaluate(problem, first.genes.copy()).genes == first.genes).all()
        for i in range(15):
            assert (
                evaluate(problem, start.genes[:, [i]].copy()).genes[:, 0] == first.genes[:, i]
            ).all()

    def test_a_limit_that_does_not_bind_changes_nothing(self, name: str, model: str) -> None:
        start = base(SPACES[name], model, 30, seed=14)
        sram, size = budget_points(start)[4]
        free = replace(start.problem, arena_bytes=sram, flash_bytes=size)
        without = refined(free, start.genes)
        limited = refined(
            replace(free, limits={"bitops": float(without.costs(without.w, without.a)[2].max())}),
            start.genes,
        )
        assert (limited.w == without.w).all()
        assert (limited.a == without.a).all()


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    "alphas",
    [
        (1.0, 0.0, 0.0, 0.0, 0.0),
        (0.0, 0.0, 1000.0, 0.0, 0.0),
        (0.0, 1e6, 0.0, 0.0, 1e-3),
        (0.0, 0.0, 0.0, 0.0, 1.0),
    ],
)
def test_maximal_for_any_stage_weights(alphas: tuple[float, ...], model: str) -> None:
    """Layers that count nothing get what is left all the same."""
    score = ScoreSettings(stage_weights=alphas)
    start = base(SHIPPED["mobilenet"], model, 60, seed=15, score=score)
    for sram, size in budget_points(start)[1:]:
        assert_never_over_and_maximal(
            refined(replace(start.problem, arena_bytes=sram, flash_bytes=size), start.genes)
        )


@pytest.mark.parametrize(
    ("sigma_a", "sigma_w"), [(0.1, 0.1), (1.0, 1.0), (16.0, 16.0), (1000.0, 1000.0)]
)
@pytest.mark.parametrize("model", MODELS)
def test_maximal_for_any_sigma(sigma_a: float, sigma_w: float, model: str) -> None:
    score = ScoreSettings(sigma_a=sigma_a, sigma_w=sigma_w)
    start = base(SHIPPED["mobilenet"], model, 60, seed=16, score=score)
    for sram, size in budget_points(start)[1:]:
        assert_never_over_and_maximal(
            refined(replace(start.problem, arena_bytes=sram, flash_bytes=size), start.genes)
        )


def test_maximal_where_a_bit_more_costs_no_byte() -> None:
    """Layers of a few weights, padded to words: a wider weight may be free, and is taken all the
    same.
    """
    stages = tuple(
        replace(
            stage, kernels=(1,), channels=replace(stage.channels, minimum=2, maximum=16, step=1)
        )
        for stage in SHIPPED["mobilenet-32"].stages
    )
    tiny = replace(SHIPPED["mobilenet-32"], stages=stages)
    start = base(tiny, "arena", 60, seed=17, resolution=16)
    for sram, size in budget_points(start)[1:]:
        assert_never_over_and_maximal(
            refined(replace(start.problem, arena_bytes=sram, flash_bytes=size), start.genes)
        )


def test_every_pair_is_every_pair() -> None:
    assert EVERY_PAIR.sum() == 49
