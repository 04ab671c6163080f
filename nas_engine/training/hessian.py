"""HAWQ-V2's cost of each choice: mean Hessian trace of the loss times squared perturbation.

Dong et al., "HAWQ-V2: Hessian Aware trace-Weighted Quantization of Neural Networks", NeurIPS 2020:
``Tr(H_i) / n_i ||Q(W_i) - W_i||^2``, for activations with the Hessian of the loss by the tensor,
one image at a time. They probe the Hessian with random signs on the weights, layer by layer. Here
the signs are on the logits: with ``H = J' (diag p - p p') J`` a probe ``r`` of that middle matrix
gives ``Tr H = E |J' r|^2`` for all tensors in one backward pass, never negative and with less
noise. That is the whole Hessian of a layer where logits are piecewise linear in its weights, as
with ReLU; elsewhere the term with second derivatives of the logits is left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from nas_engine.allocation.problem import ACTIVATIONS, WEIGHTS, Floats
from nas_engine.datasets.records import Labels, Pixels
from nas_engine.errors import InputError
from nas_engine.training.perturbation import Perturbations
from nas_engine.training.steps import Change

PROBES = 16
"""Random vectors (chosen here)."""

_Key = tuple[str, int]
"""Kind and position of a tensor."""


def measure_hessian(
    perturbations: Perturbations,
    images: Pixels,
    labels: Labels,
    *,
    probes: int = PROBES,
    seed: int = 0,
) -> Floats:
    """Return the cost of each choice, ``(n,)``: of several layers the sum, never negative.

    Everything counts from the float network, for either base: it is the one whose loss has a
    Hessian.

    Args:
        perturbations: The network and what choices do to it.
        images: Byte images, ``(N, H, W, c)``; about a hundred.
        labels: Their classes, ``(N,)``; the cost does not depend on them.
        probes: Random vectors for each part of the images.
        seed: Of these.

    Raises:
        InputError: No images or probes, or not as many labels.
    """
    if not len(images) or len(images) != len(labels) or probes < 1:
        raise InputError(
            f"{len(images)} images with {len(labels)} labels and {probes} probes; expected at "
            "least 1, and as many labels"
        )
    problem, subject = perturbations.problem, perturbations.subject
    traces: dict[_Key, float] = {}
    squares: dict[tuple[_Key, int], float] = {}
    generator = torch.Generator(device=subject.device).manual_seed(seed)
    for _, x in perturbations.chunks(images):
        share = len(x) / len(images)
        for key, trace in _traces(perturbations, x, probes, generator).items():
            traces[key] = traces.get(key, 0.0) + share * trace
        for choice, square in _activation_squares(perturbations, x).items():
            squares[choice] = squares.get(choice, 0.0) + share * square
    costs = np.zeros(problem.n)
    sizes = {size.name: size for size in subject.sizes}
    for index, variable in enumerate(problem.variables):
        for level, bits in enumerate(variable.bits):
            for layer, position in perturbations.places(index):
                key = variable.kind, position
                if variable.kind == WEIGHTS:
                    elements = sizes[layer.name].weights
                    square = float(
                        (perturbations.rounded_weight(layer, bits) - layer.weight)
                        .double()
                        .square()
                        .sum()
                    )
                else:
                    elements, square = sizes[layer.name].inputs, squares[key, bits]
                costs[problem.first[index] + level] += traces[key] / elements * square
    return costs


def _traces(
    perturbations: Perturbations, x: Tensor, probes: int, generator: torch.Generator
) -> dict[_Key, float]:
    """Return traces of the Hessian of the loss, by weight and by tensor.

    By each weight it is the trace for the mean loss; by each tensor, the mean of the trace over
    images.
    """
    tensors: dict[_Key, Tensor] = {}
    changes: dict[int, Change] = {}
    with torch.enable_grad():
        for index, variable in enumerate(perturbations.problem.variables):
            for layer, position in perturbations.places(index):
                if variable.kind == ACTIVATIONS:
                    changes[position] = _with_zeros(position, tensors)
                else:
                    weight = tensors[WEIGHTS, position] = layer.weight.clone().requires_grad_()
                    changes[position] = layer.fold(weight)
        logits = perturbations.subject.forward(x, changes)
        p = logits.detach().softmax(1)
        sums = dict.fromkeys(tensors, 0.0)
        for _ in range(probes):
            signs = (
                torch.randint(0, 2, p.shape, generator=generator, device=p.device).to(p.dtype) * 2
                - 1
            )
            rooted = p.sqrt() * signs
            probe = (rooted - p * rooted.sum(1, keepdim=True)) / math.sqrt(
                len(p)
            )  # E probe probe' = (diag p - p p') / n
            gradients = torch.autograd.grad(
                logits, list(tensors.values()), grad_outputs=probe, retain_graph=True
            )
            for key, gradient in zip(tensors, gradients, strict=True):
                sums[key] += float(gradient.square().sum(dtype=torch.float64)) / probes
    return sums


def _with_zeros(position: int, tensors: dict[_Key, Tensor]) -> Change:
    """Return a function that adds zeros to a tensor, to differentiate by.

    The zeros are put into ``tensors``.
    """

    def add(x: Tensor) -> Tensor:
        tensors[ACTIVATIONS, position] = torch.zeros_like(x).requires_grad_()
        return x + tensors[ACTIVATIONS, position]

    return add


@torch.no_grad()
def _activation_squares(
    perturbations: Perturbations, x: Tensor
) -> Mapping[tuple[_Key, int], float]:
    """Return the mean squared norm over images of what each width changes in each tensor."""
    wanted: dict[int, tuple[int, tuple[int, ...]]] = {}
    for index, variable in enumerate(perturbations.problem.variables):
        for layer, position in perturbations.places(index) if variable.kind == ACTIVATIONS else ():
            wanted[position] = layer.tensor, variable.bits
    found: dict[tuple[_Key, int], float] = {}

    def watch(position: int, value: Tensor) -> None:
        tensor, widths = wanted.get(position, (position, ()))
        for bits in widths:
            error = perturbations.quantiser(tensor, bits)(value) - value
            found[(ACTIVATIONS, position), bits] = float(
                error.square().sum(dtype=torch.float64)
            ) / len(value)

    perturbations.subject.forward(x, watch=watch)
    return found
