"""Entropies of a network's tensors, batch by batch, by two estimators.

Qin et al., "Mixed precision quantization based on information entropy", Scientific Reports 15,
2025, choose widths by the entropy of each layer's output; how it is estimated is not known to us.
Here: the Shannon entropy of a histogram of 256 bins from the least to the largest value of the
batch, which does not change when a tensor is scaled, and the differential entropy of a normal
distribution of the same variance, ``log2(2 pi e var) / 2``, which does.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from nas_engine.allocation.records import LayerEntropies
from nas_engine.datasets.records import Pixels
from nas_engine.errors import InputError
from nas_engine.training.loop import prepared
from nas_engine.training.perturbation import Perturbations

HISTOGRAM, GAUSSIAN = "histogram", "gaussian"
"""Names of the estimators."""

BINS = 256
"""Bins of a histogram, so that an entropy is at most 8 bits (chosen here)."""

_SMALLEST_VARIANCE = 1e-30
"""Keeps the entropy of a constant finite, about -48 bits."""


@torch.no_grad()
def histogram_entropy(x: Tensor) -> float:
    """Return the entropy in bits, 0 to 8, of a histogram of all values of a tensor.

    It is 0 if all values are the same.
    """
    low, high = (float(end) for end in torch.aminmax(x))
    if low == high:
        return 0.0
    counts = torch.histc(x.float().flatten(), BINS, low, high).double()
    p = counts[counts > 0] / counts.sum()
    return float(-(p * p.log2()).sum())


@torch.no_grad()
def gaussian_entropy(x: Tensor) -> float:
    """Return the differential entropy in bits of a normal distribution fitted to a tensor.

    The distribution has the variance of all values of the tensor.
    """
    variance = float(x.double().var(correction=0))
    return 0.5 * math.log2(2.0 * math.pi * math.e * max(variance, _SMALLEST_VARIANCE))


@torch.no_grad()
def measure_entropies(
    perturbations: Perturbations, images: Pixels, *, batches: int
) -> tuple[LayerEntropies, LayerEntropies]:
    """Return the entropies in the float network, by histogram and by variance.

    Of a variable of weights it is that of its layer's output after batch norm and before the
    activation, of a variable of activations that of the tensor itself; of several layers the mean.

    Args:
        perturbations: The network and its variables; nothing is rounded.
        images: Byte images, ``(N, H, W, c)``.
        batches: Parts that the images are divided into, nearly equal; each is one pass.

    Raises:
        InputError: More batches than images, or none.
    """
    if not 1 <= batches <= len(images):
        raise InputError(
            f"{batches} batches of {len(images)} images; expected at least 1, and an image for each"
        )
    subject, problem = perturbations.subject, perturbations.problem
    places = [
        [position for _, position in perturbations.places(index)]
        for index in range(len(problem.variables))
    ]
    wanted = {position for positions in places for position in positions}
    values = np.zeros((2, batches, len(places)))
    for batch, part in enumerate(np.array_split(np.arange(len(images)), batches)):
        found: dict[int, tuple[float, float]] = {}

        def watch(position: int, x: Tensor, found: dict[int, tuple[float, float]] = found) -> None:
            if position in wanted:
                found[position] = histogram_entropy(x), gaussian_entropy(x)

        subject.forward(prepared(images[part], subject.shape[1], subject.device), watch=watch)
        for index, positions in enumerate(places):
            values[:, batch, index] = np.mean([found[position] for position in positions], axis=0)
    return LayerEntropies(estimator=HISTOGRAM, values=values[0]), LayerEntropies(
        estimator=GAUSSIAN, values=values[1]
    )
