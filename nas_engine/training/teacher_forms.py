"""Forms in which a teacher answers: as it is, or faster with nearly the same logits.

A training has one form from its first step to its last, which its checkpoint names. Folded norms
change logits by rounding alone; bfloat16 changes them by about 1 % of their range. Time per image
and accuracy of both ways: ``benchmarks.teachers``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch

from nas_engine.models.cifar_resnet import CifarResNet
from nas_engine.models.folding import folded
from nas_engine.models.graph_network import GraphNetwork
from nas_engine.quantization.prepare import is_quantised
from nas_engine.training.teachers import Teacher

GIVEN, FOLDED, HALF = "as it is", "norms folded", "norms folded, bfloat16"
"""Forms."""

FORMS = (GIVEN, FOLDED, HALF)
"""All forms."""


def fastest_form(teacher: Teacher | None, device: str) -> str:
    """Return the fastest form of a teacher on this machine; it does not depend on the load.

    Args:
        teacher: As it was loaded, or ``None``.
        device: A torch device; only the CPU has forms.
    """
    module = None if teacher is None else teacher.module
    foldable = isinstance(module, CifarResNet) or (
        isinstance(module, GraphNetwork) and not is_quantised(module)
    )
    if not foldable or device != "cpu":
        return GIVEN
    return HALF if _computes_in_bfloat16() else FOLDED


def _computes_in_bfloat16() -> bool:
    """Return whether the processor multiplies bfloat16 (AVX-512 BF16, AMX) and torch uses it.

    Elsewhere torch emulates it, which is slower than float32.
    """
    found: Mapping[str, object] = getattr(  # newer versions of torch have it
        torch.cpu, "get_capabilities", dict
    )()
    available: Callable[[], bool] = torch.backends.mkldnn.is_available
    return available() and bool(found.get("avx512_bf16") or found.get("amx_bf16"))


def in_form(teacher: Teacher | None, form: str) -> Teacher | None:
    """Return a teacher in one of ``FORMS``; the one that is given stays as it is."""
    if teacher is None or form == GIVEN:
        return teacher
    assert isinstance(teacher.module, CifarResNet | GraphNetwork)
    module = folded(teacher.module)
    for parameter in module.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        if form == HALF:
            parameter.data = parameter.data.to(torch.bfloat16)
    return replace(teacher, module=module)
