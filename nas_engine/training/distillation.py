"""Losses: hard labels (smoothing, mixup), soft labels of a teacher, a hint from its features."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


def soft_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """Return ``T^2 * KL(teacher || student)`` of the softened labels, mean over the batch.

    Source: Hinton et al. 2015, section 2.

    Args:
        student_logits: ``(n, classes)``.
        teacher_logits: ``(n, classes)``, a constant.
        temperature: ``T``; the factor ``T^2`` keeps the size of the gradient about the same for
            every ``T``.

    Returns:
        A scalar in nats, 0 where both agree.
    """
    student = functional.log_softmax(student_logits / temperature, 1)
    teacher = functional.log_softmax(teacher_logits.detach() / temperature, 1)
    return (
        functional.kl_div(student, teacher, reduction="batchmean", log_target=True) * temperature**2
    )


def hard_loss(
    logits: Tensor,
    labels: Tensor,
    smoothing: float,
    permutation: Tensor | None = None,
    lam: float = 1.0,
) -> Tensor:
    """Return the cross entropy with the labels, mean over the batch.

    Args:
        logits: ``(n, classes)``.
        labels: ``(n,)`` of int64.
        smoothing: Probability spread evenly over all classes (Szegedy et al. 2016, section 7), 0 to
            1.
        permutation: The partners that ``mixup`` gave, ``(n,)``.
        lam: Share of the first image that ``mixup`` gave.

    Returns:
        A scalar in nats.
    """
    loss = functional.cross_entropy(logits, labels, label_smoothing=smoothing)
    if permutation is None:
        return loss
    return torch.lerp(
        functional.cross_entropy(logits, labels[permutation], label_smoothing=smoothing), loss, lam
    )


class FeatureHint(nn.Module):
    """Distance between a linear projection of the student's pooled features and the teacher's.

    Source: Romero et al. 2015, section 2.2.

    Both are scaled to length 1 first (chosen here), so that the loss does not depend on the size of
    the teacher's features. The projection is trained with the student and dropped.
    """

    def __init__(self, student_channels: int, teacher_channels: int) -> None:
        super().__init__()
        self.projection = nn.Linear(student_channels, teacher_channels, bias=False)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the squared distance, mean over the batch, 0 to 4.

        Args:
            student: ``(n, student channels, 1, 1)``.
            teacher: ``(n, teacher channels, 1, 1)``, a constant.
        """
        projected = functional.normalize(self.projection(student.flatten(1)), dim=1)
        target = functional.normalize(teacher.detach().flatten(1), dim=1)
        return (projected - target).square().sum(1).mean()
