"""The fake quantiser against scalar definitions, its gradients against the LSQ formula and against
finite differences.
"""

from __future__ import annotations

import math
from decimal import ROUND_HALF_EVEN, Decimal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nas_engine.quantization.lsq import (
    SMALLEST_STEP,
    ActivationQuantiser,
    WeightQuantiser,
    activation_range,
    fake_quantise,
    least_error_step,
    paper_step,
    step_range,
    weight_limit,
)

BITS = range(2, 9)


def scalar_level(value: float, step: float, low: int, high: int) -> int:
    """Round to nearest, ties to even, within the range; the quotient is a float32 as in the
    vectorised code.
    """
    quotient = float(torch.tensor(value) / torch.tensor(step))
    return min(max(int(Decimal(quotient).to_integral_value(ROUND_HALF_EVEN)), low), high)


def lsq_gradient(value: float, step: float, low: int, high: int) -> tuple[float, float]:
    """Return d/dx and d/ds of one value as Esser et al. write them (eq. 3 and 5)."""
    v = value / step
    if low < v < high:
        return 1.0, round(v) - v
    return 0.0, float(low if v <= low else high)


@pytest.mark.parametrize("bits", BITS)
def test_ranges(bits: int) -> None:
    low, high = activation_range(bits, signed=True)
    assert (low, high) == (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    assert activation_range(bits, signed=False) == (0, 2**bits - 1)
    assert weight_limit(bits) == high


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=12),
    step=st.floats(0.0625, 4.0, width=32),
    bits=st.sampled_from(BITS),
    signed=st.booleans(),
)
def test_levels_are_the_scalar_definition(
    values: list[float], step: float, bits: int, signed: bool
) -> None:
    low, high = activation_range(bits, signed)
    result = fake_quantise(torch.tensor(values), torch.tensor(step), low, high, 1.0)
    expected = torch.tensor(
        [scalar_level(value, step, low, high) for value in values]
    ) * torch.tensor(step)
    assert torch.equal(result, expected)


@pytest.mark.parametrize(("low", "high"), [(0, 15), (-8, 7), (-7, 7), (0, 255)])
def test_gradients_are_the_formula(low: int, high: int) -> None:
    torch.manual_seed(0)
    x = (torch.randn(200) * high * 0.3).requires_grad_()
    step, weights = torch.tensor(0.37, requires_grad=True), torch.randn(200)
    (fake_quantise(x, step, low, high, 0.25) * weights).sum().backward()
    rows = [lsq_gradient(float(value), float(step.detach()), low, high) for value in x.detach()]
    assert torch.allclose(x.grad, weights * torch.tensor([row[0] for row in rows]))  # type: ignore[arg-type]
    expected = 0.25 * float((weights * torch.tensor([row[1] for row in rows])).sum())
    assert float(step.grad) == pytest.approx(expected, rel=1e-4, abs=1e-4)  # type: ignore[arg-type]


@pytest.mark.parametrize("share", [-3.0, -0.4, 0.3, 0.9, 2.5])
def test_step_gradient_is_a_finite_difference(share: float) -> None:
    """With the rounding error held fixed (the straight-through view), x^ = s * (v + error) inside;
    outside x^ = s * end.
    """
    low, high, step, delta = -8, 7, 0.5, 1e-3
    x = share * high * step
    error = scalar_level(x, step, low, high) - x / step

    def value(s: float) -> float:
        v = x / step
        return s * (v + error) if low < v < high else s * min(max(v, low), high)

    numeric = (value(step + delta) - value(step - delta)) / (2 * delta)
    variable = torch.tensor(step, dtype=torch.float64, requires_grad=True)
    fake_quantise(torch.tensor([x], dtype=torch.float64), variable, low, high, 1.0).sum().backward()
    v = x / step
    # LSQ's gradient differs from the plain one inside by v: the value itself moves with the step
    # there (eq. 3)
    expected = numeric - (v if low < v < high else 0.0)
    assert float(variable.grad) == pytest.approx(expected, abs=1e-6)  # type: ignore[arg-type]


def test_gradient_of_the_step_is_scaled_by_the_features_of_a_sample() -> None:
    quantiser = ActivationQuantiser(4, signed=False)
    with torch.no_grad():
        quantiser.step.fill_(0.1)
    x = torch.rand(5, 3, 4, 4) * 3
    quantiser(x).sum().backward()
    plain = torch.tensor(0.1, requires_grad=True)
    fake_quantise(x, plain, 0, 15, 1.0).sum().backward()
    assert float(quantiser.step.grad) == pytest.approx(
        float(plain.grad) / math.sqrt(48 * 15), rel=1e-5
    )  # type: ignore[arg-type]


def test_weights_have_a_step_per_channel() -> None:
    torch.manual_seed(1)
    weight = torch.randn(6, 4, 3, 3)
    quantiser = WeightQuantiser(3, 6)
    with torch.no_grad():
        quantiser.step.copy_(least_error_step(weight, -3, 3))
    levels, result = quantiser.levels(weight), quantiser(weight)
    for channel in range(6):
        step = quantiser.step[channel, 0, 0, 0]
        assert torch.equal(result[channel], fake_quantise(weight[channel], step, -3, 3, 1.0))
        assert torch.equal(levels[channel], levels[channel].round())
    assert levels.abs().max() <= 3
    assert torch.allclose(levels * quantiser.step, result)
    result.sum().backward()
    assert quantiser.step.grad is not None
    assert quantiser.step.grad.shape == (6, 1, 1, 1)


def test_narrow_has_an_int8_range_in_the_same_step() -> None:
    quantiser = ActivationQuantiser(4, signed=True)
    with torch.no_grad():
        quantiser.step.fill_(0.5)
    x = torch.tensor([[-100.0, -5.3, 0.24, 9.9, 100.0]])
    assert quantiser(x).tolist() == [[-4.0, -4.0, 0.0, 3.5, 3.5]]
    assert quantiser.narrow(x).tolist() == [[-64.0, -5.5, 0.0, 10.0, 63.5]]


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("signed", [True, False])
def test_least_error_step_is_the_best_of_its_candidates(bits: int, signed: bool) -> None:
    """A loop over the 60 candidates, geometric from a tenth of the step that just holds the largest
    value.
    """
    torch.manual_seed(bits)
    x = torch.randn(3, 4000) * torch.tensor([[0.1], [1.0], [7.0]])
    x = x if signed else x.clamp(min=0)
    low, high = activation_range(bits, signed)
    best = least_error_step(x, low, high)
    assert best.shape == (3, 1)
    for row, found in zip(x, best[:, 0].tolist(), strict=True):
        widest = max(float(row.max()) / high, float(-row.min()) / -low if low else 0.0)
        candidates = [widest * 10 ** (number / 59 - 1) for number in range(60)]
        errors = [
            float(((row / step).round().clamp(low, high) * step - row).square().mean())
            for step in candidates
        ]
        assert found == pytest.approx(candidates[errors.index(min(errors))], rel=1e-5)


def test_least_error_step_beats_the_papers_at_few_bits() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 4000)
    for bits in (2, 3, 4, 5):
        limit = weight_limit(bits)
        steps = least_error_step(x, -limit, limit), paper_step(x, limit)
        errors = [
            ((x / step).round().clamp(-limit, limit) * step - x).square().mean() for step in steps
        ]
        assert errors[0] <= errors[1]


def test_paper_step() -> None:
    x = torch.tensor([[1.0, -2.0, 3.0, -2.0], [0.0, 0.0, 0.0, 0.0]])
    assert paper_step(x, 4)[:, 0].tolist() == pytest.approx([2.0, 1e-8])


def test_a_tensor_of_zeros_has_a_positive_step() -> None:
    assert (least_error_step(torch.zeros(2, 5), -7, 7) > 0).all()


@settings(max_examples=60, deadline=None)
@given(
    weights=st.lists(
        st.lists(st.floats(-8, 8, width=32), min_size=3, max_size=3), min_size=1, max_size=4
    ),
    steps=st.lists(st.floats(0, 2.0**100, width=32), min_size=4, max_size=4),
    bits=st.sampled_from(BITS),
)
def test_bounds_of_steps(weights: list[list[float]], steps: list[float], bits: int) -> None:
    """Within bounds nothing changes; a channel of zeros gets neither a step of 0 nor one that is no
    number.
    """
    weight = torch.tensor(weights)[:, :, None, None]
    quantiser = WeightQuantiser(bits, len(weight))
    with torch.no_grad():
        quantiser.step.copy_(torch.tensor(steps[: len(weight)])[:, None, None, None])
    quantiser.bound_step(weight)
    low, high = step_range(bits)
    for row, before, step in zip(weights, steps, quantiser.step.flatten().tolist(), strict=False):
        widest = max(map(abs, row)) / weight_limit(bits)
        assert (
            max(low * widest * (1 - 1e-5), SMALLEST_STEP * 0.999)
            <= step
            <= max(high * widest * (1 + 1e-5), SMALLEST_STEP * 1.001)
        )
        if max(low * widest, SMALLEST_STEP) * (1 + 1e-5) < before < high * widest * (1 - 1e-5):
            assert step == before
    assert quantiser(weight).isfinite().all()
