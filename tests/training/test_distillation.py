"""Losses against their formulas, one number at a time."""

from __future__ import annotations

import math

import pytest
import torch

from nas_engine.training.distillation import FeatureHint, hard_loss, soft_loss


def softmax(logits: list[float]) -> list[float]:
    powers = [math.exp(value) for value in logits]
    return [power / sum(powers) for power in powers]


@pytest.fixture
def logits() -> torch.Tensor:
    return torch.randn(5, 4, generator=torch.Generator().manual_seed(0)) * 3


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_soft_loss(logits: torch.Tensor, temperature: float) -> None:
    teacher = logits.flip(0)
    expected = 0.0
    for s, t in zip(logits.tolist(), teacher.tolist(), strict=True):
        q, p = (softmax([value / temperature for value in row]) for row in (s, t))
        expected += (
            temperature**2
            * sum(b * (math.log(b) - math.log(a)) for a, b in zip(q, p, strict=True))
            / 5
        )
    assert soft_loss(logits, teacher, temperature).item() == pytest.approx(expected, rel=1e-5)
    assert soft_loss(logits, logits, temperature).item() == pytest.approx(0, abs=1e-6)


def test_soft_loss_has_no_gradient_for_the_teacher(logits: torch.Tensor) -> None:
    student, teacher = logits.clone().requires_grad_(), logits.flip(0).clone().requires_grad_()
    soft_loss(student, teacher, 2.0).backward()
    assert student.grad is not None
    assert teacher.grad is None


@pytest.mark.parametrize(("smoothing", "lam"), [(0.0, 1.0), (0.1, 1.0), (0.0, 0.3), (0.2, 0.7)])
def test_hard_loss(logits: torch.Tensor, smoothing: float, lam: float) -> None:
    labels, permutation = torch.tensor([0, 3, 1, 2, 2]), torch.tensor([4, 2, 0, 1, 3])
    expected = 0.0
    for i, row in enumerate(logits.tolist()):
        for k, q in enumerate(softmax(row)):
            target = (
                lam * (labels[i] == k).item() + (1 - lam) * (labels[permutation[i]] == k).item()
            )
            expected -= ((1 - smoothing) * target + smoothing / 4) * math.log(q) / 5
    assert hard_loss(logits, labels, smoothing, permutation, lam).item() == pytest.approx(
        expected, rel=1e-5
    )
    if lam == 1:
        assert hard_loss(logits, labels, smoothing).item() == pytest.approx(expected, rel=1e-5)


def test_feature_hint_compares_directions() -> None:
    hint = FeatureHint(3, 3)
    with torch.no_grad():
        hint.projection.weight.copy_(torch.eye(3))
    x = torch.tensor([[1.0, 2, 3], [0, 1, 0]]).view(2, 3, 1, 1)
    assert hint(x, 5 * x).item() == pytest.approx(0, abs=1e-6)
    assert hint(x, -0.1 * x).item() == pytest.approx(4)
    assert hint(x[1:], torch.tensor([[2.0, 0, 0]]).view(1, 3, 1, 1)).item() == pytest.approx(2)


def test_feature_hint_trains_projection_and_student_only() -> None:
    torch.manual_seed(0)
    hint = FeatureHint(6, 10)
    student, teacher = (
        torch.randn(4, 6, 1, 1, requires_grad=True),
        torch.randn(4, 10, 1, 1, requires_grad=True),
    )
    loss = hint(student, teacher)
    assert 0 < loss.item() < 4
    loss.backward()
    assert student.grad is not None
    assert hint.projection.weight.grad is not None
    assert teacher.grad is None


def test_feature_hint_of_nothing_is_finite() -> None:
    """ReLU may leave no feature at all."""
    hint = FeatureHint(2, 2)
    x = torch.zeros(1, 2, 1, 1, requires_grad=True)
    hint(x, torch.zeros(1, 2, 1, 1)).backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
