"""Entropy window: smoothing and thresholds by hand, and the lowest thresholds that fit against all
of them.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nas_engine.allocation.entropy_window import (
    EntropyWindow,
    EntropyWindowAllocator,
    assign,
    critical_alphas,
    smooth,
)
from nas_engine.allocation.problem import ACTIVATIONS, WEIGHTS, AllocationProblem, Variable
from nas_engine.allocation.records import Evidence, LayerEntropies
from nas_engine.errors import InputError, UnknownNameError
from nas_engine.testing.problems import PROBLEMS, evidence_for, knapsack, peak

ENTROPIES = arrays(
    np.float64, st.tuples(st.integers(1, 6), st.integers(1, 7)), elements=st.floats(-20, 20)
)


def layers(count: int, bits: tuple[int, ...] = (2, 4, 8), kind: str = WEIGHTS) -> AllocationProblem:
    return AllocationProblem(
        Variable(name=f"l{i} {kind}", kind=kind, layers=(f"l{i}",), bits=bits, elements=10)
        for i in range(count)
    )


def heard(*values: float, estimator: str = "histogram") -> Evidence:
    return Evidence(entropies=(LayerEntropies(estimator=estimator, values=np.array([values])),))


def test_along_batches_the_last_ones_of_each_layer_count() -> None:
    values = np.array([[9.0, 9.0], [1.0, 4.0], [3.0, 8.0]])
    assert smooth(values, 2).tolist() == [2.0, 6.0]
    assert smooth(values, 1).tolist() == [3.0, 8.0]
    assert smooth(values, 50).tolist() == values.mean(axis=0).tolist()


def test_along_depth_the_neighbours_count_fewer_at_the_ends() -> None:
    values = np.array([[1.0, 2.0, 6.0, 10.0], [3.0, 4.0, 8.0, 12.0]])
    assert smooth(values, 1, "depth") == pytest.approx([2, 3, 7, 11])
    assert smooth(values, 3, "depth") == pytest.approx([2.5, 4.0, 7.0, 9.0])
    assert smooth(values, 2, "depth") == pytest.approx(smooth(values, 3, "depth"))
    assert smooth(values, 99, "depth") == pytest.approx([5.75] * 4)


@given(values=ENTROPIES, window=st.integers(1, 9), axis=st.sampled_from(["batches", "depth"]))
def test_smoothed_entropies_stay_within_what_was_heard(values: Any, window: int, axis: str) -> None:
    found = smooth(values, window, axis)
    assert found.shape == (values.shape[1],)
    assert found.min() >= values.min() - 1e-9
    assert found.max() <= values.max() + 1e-9
    assert smooth(values + 3.0, window, axis) == pytest.approx(found + 3.0, abs=1e-9)


def test_thresholds_by_hand() -> None:
    """Entropies 0 to 4, mean 2, range 4; widths 2, 4, 8: thresholds at the mean and half the spread
    to either side.
    """
    problem, evidence = layers(5), heard(0.0, 1.0, 2.0, 3.0, 4.0)
    assert problem.bits(assign(problem, evidence, EntropyWindow(spread=0.5))) == (
        2,
        2,
        4,
        4,
        8,
    )  # at 1 and 3, strictly above
    assert problem.bits(assign(problem, evidence, EntropyWindow(spread=0.0))) == (
        2,
        2,
        2,
        8,
        8,
    )  # both at 2
    assert problem.bits(assign(problem, evidence, EntropyWindow(spread=0.5, weight_alpha=1.2))) == (
        2,
        2,
        4,
        4,
        8,
    )  # at 1.8 and 3.8
    assert problem.bits(assign(problem, evidence, EntropyWindow(spread=0.5, weight_alpha=0.8))) == (
        2,
        4,
        4,
        8,
        8,
    )  # at 0.2 and 2.2
    assert problem.bits(assign(problem, evidence, EntropyWindow(spread=0.5, widths=(4, 8)))) == (
        4,
        4,
        4,
        8,
        8,
    )  # one, at 2
    assert problem.bits(assign(problem, evidence, EntropyWindow(spread=0.5, widths=(3, 7)))) == (
        2,
        2,
        2,
        4,
        4,
    )  # the next below


def test_each_kind_has_its_own_mean_and_alpha() -> None:
    problem = AllocationProblem([*layers(2).variables, *layers(2, kind=ACTIVATIONS).variables])
    evidence = heard(0.0, 1.0, 100.0, 101.0)
    settings = EntropyWindow(spread=0.0)
    assert problem.bits(assign(problem, evidence, settings)) == (2, 8, 2, 8)
    assert problem.bits(assign(problem, evidence, replace(settings, activation_alpha=0.0))) == (
        2,
        8,
        8,
        8,
    )
    assert problem.bits(assign(problem, evidence, replace(settings, weight_alpha=2.0))) == (
        2,
        2,
        2,
        8,
    )


def test_a_depth_window_stays_within_a_kind() -> None:
    problem = AllocationProblem([*layers(3).variables, *layers(3, kind=ACTIVATIONS).variables])
    settings = EntropyWindow(window=3, axis="depth", spread=0.0)
    one = assign(problem, heard(0, 1, 2, 0, 1, 2), settings)
    other = assign(problem, heard(0, 1, 2, 1000, 1001, 1002), settings)
    assert one.tolist() == other.tolist()


@given(
    values=ENTROPIES,
    shift=st.floats(-10, 10),
    scale=st.floats(0.1, 10),
    alpha=st.floats(-0.5, 2.5),
    spread=st.floats(0, 1.5),
)
def test_only_the_places_of_entropies_among_each_other_count(
    values: Any, shift: float, scale: float, alpha: float, spread: float
) -> None:
    """Gaussian entropies move by a constant when tensors are scaled; that moves the threshold, and
    no bits.
    """
    smoothed = smooth(values, 2)
    if np.ptp(smoothed) > 1e-3:
        before = critical_alphas(smoothed, 6, spread)
        assert critical_alphas(scale * smoothed + shift, 6, spread) == pytest.approx(
            before, abs=1e-6
        )


@given(values=ENTROPIES, spread=st.floats(0, 1.5), low=st.floats(-1, 3), high=st.floats(-1, 3))
def test_a_higher_threshold_never_gives_more_bits_and_more_entropy_never_fewer(
    values: Any, spread: float, low: float, high: float
) -> None:
    problem = layers(values.shape[1], (2, 3, 4, 8))
    evidence = Evidence(entropies=(LayerEntropies(estimator="gaussian", values=values),))
    settings = EntropyWindow(estimator="gaussian", window=3, spread=spread)
    low, high = sorted((low, high))
    wide, narrow = (
        assign(problem, evidence, replace(settings, weight_alpha=alpha)) for alpha in (low, high)
    )
    assert (wide >= narrow).all()
    order = np.argsort(smooth(values, 3), kind="stable")
    assert (np.diff(wide[order]) >= 0).all()


def test_alphas_0_and_2_reach_both_ends() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        problem, evidence = layers(6), heard(*rng.normal(size=6))
        assert (
            assign(problem, evidence, EntropyWindow(spread=0.0, weight_alpha=-0.001))
            == problem.widest
        ).all()
        assert (
            assign(problem, evidence, EntropyWindow(spread=0.0, weight_alpha=2.0))
            == problem.narrowest
        ).all()


@pytest.mark.parametrize("value", [0.0, 5.1, -3.7])
def test_equal_entropies_move_together(value: float) -> None:
    problem, evidence = layers(3), heard(value, value, value)
    assert problem.bits(assign(problem, evidence, EntropyWindow(spread=0.5, weight_alpha=0.5))) == (
        8,
        8,
        8,
    )
    assert problem.bits(assign(problem, evidence, EntropyWindow(spread=0.5, weight_alpha=1.0))) == (
        4,
        4,
        4,
    )
    assert problem.bits(assign(problem, evidence, EntropyWindow(spread=0.5, weight_alpha=1.5))) == (
        2,
        2,
        2,
    )


@pytest.mark.parametrize("kind", ["knapsack", "peak"])
@pytest.mark.parametrize("estimator", ["histogram", "gaussian"])
def test_the_allocator_takes_the_best_of_all_pairs_of_alphas(kind: str, estimator: str) -> None:
    for seed in range(3):
        problem = PROBLEMS[kind](seed, 0.4)
        evidence = evidence_for(problem, seed)
        settings = EntropyWindow(estimator=estimator)
        found = EntropyWindowAllocator(settings).allocate(problem, evidence)
        worth = [0.0]
        for weight_alpha, activation_alpha in product(np.linspace(-0.6, 2.6, 16), repeat=2):
            alphas = {
                "weight_alpha": float(weight_alpha),
                "activation_alpha": float(activation_alpha),
            }
            levels = assign(problem, evidence, replace(settings, **alphas))
            if problem.is_feasible(levels):
                worth.append(
                    float(
                        np.nansum(
                            [problem.mean_bits(levels, kind) for kind in (WEIGHTS, ACTIVATIONS)]
                        )
                    )
                )
        mine = float(
            np.nansum([problem.mean_bits(found.levels, kind) for kind in (WEIGHTS, ACTIVATIONS)])
        )
        assert mine >= max(worth) - 1e-9
        kinds = {variable.kind for variable in problem.variables}
        assert {key for key in found.details if key.endswith("alpha")} == {
            f"{kind} alpha" for kind in kinds
        }
        alphas = {
            f"{kind.removesuffix('s')}_alpha": found.details[f"{kind} alpha"] for kind in kinds
        }
        assert (
            assign(problem, evidence, replace(settings, **alphas)).tolist() == found.levels.tolist()
        )


def test_where_no_thresholds_fit_it_says_so() -> None:
    problem = knapsack(0, 0.1)
    allocator = EntropyWindowAllocator(EntropyWindow(widths=(8,)))
    found = allocator.allocate(problem, evidence_for(problem))
    assert problem.is_feasible(found.levels)
    assert found.notes == ("no thresholds fit; the widths are some that do",)


def test_another_estimator_is_refused_by_name() -> None:
    problem = peak(0)
    with pytest.raises(
        UnknownNameError, match="unknown entropy estimator: 'histo'; did you mean 'histogram'"
    ):
        assign(problem, evidence_for(problem), EntropyWindow(estimator="histo"))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"window": 0}, "the entropy window is 0; expected at least 1"),
        ({"spread": -0.1}, "expected finite numbers, spread >= 0"),
        ({"spread": float("nan")}, "expected finite numbers, spread >= 0"),
        ({"weight_alpha": float("inf")}, "expected finite numbers, spread >= 0"),
        (
            {"widths": (4, 2)},
            r"widths of the entropy window are \[4, 2\]; expected some of 2 to 8, ascending",
        ),
        ({"axis": "time"}, "unknown axis of the entropy window: 'time'"),
    ],
)
def test_settings_are_checked(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        EntropyWindow(**wrong)
