"""Entropies of distributions that are known, and of the tensors that variables stand for."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from nas_engine.errors import InputError
from nas_engine.training.entropies import (
    BINS,
    gaussian_entropy,
    histogram_entropy,
    measure_entropies,
)
from nas_engine.training.loop import prepared
from tests.training.subjects import SIDE, Toy, images_and_labels, perturbed, seeded


def test_known_distributions() -> None:
    even = torch.arange(BINS * 16, dtype=torch.float32)
    assert histogram_entropy(even) == pytest.approx(8, abs=1e-9)
    assert histogram_entropy(torch.tensor([0.0, 1.0]).repeat(5)) == pytest.approx(1)
    assert histogram_entropy(torch.tensor([0.0, 0.0, 0.0, 1.0])) == pytest.approx(
        2 - 0.75 * math.log2(3)
    )
    assert histogram_entropy(torch.full((9,), 3.0)) == 0
    normal = torch.randn(200_000, generator=torch.Generator().manual_seed(0)) * 3 + 1
    assert gaussian_entropy(normal) == pytest.approx(
        0.5 * math.log2(2 * math.pi * math.e * 9), abs=0.01
    )
    bin_width = (
        float(normal.max() - normal.min()) / BINS
    )  # a histogram's entropy is the differential one less that of a bin
    assert histogram_entropy(normal) == pytest.approx(
        gaussian_entropy(normal) - math.log2(bin_width), abs=0.01
    )
    assert math.isfinite(gaussian_entropy(torch.full((9,), 3.0)))


def test_scale_moves_the_gaussian_alone() -> None:
    x = torch.rand(1000, generator=torch.Generator().manual_seed(0))
    assert histogram_entropy(4 * x) == pytest.approx(histogram_entropy(x), abs=1e-9)
    assert gaussian_entropy(4 * x) == pytest.approx(gaussian_entropy(x) + 2)


@torch.no_grad()
def test_tensors_of_variables() -> None:
    """Of weights the output after batch norm and before the activation, of activations the tensor;
    of several the mean.
    """
    network, images = seeded(Toy()), images_and_labels()[0]
    assert isinstance(network, Toy)
    perturbations = perturbed(network, "tied")
    found = measure_entropies(perturbations, images, batches=3)
    assert [record.estimator for record in found] == ["histogram", "gaussian"]
    for record, entropy in zip(found, (histogram_entropy, gaussian_entropy), strict=True):
        assert record.values.shape == (3, 3)
        for batch, part in enumerate((slice(0, 4), slice(4, 7), slice(7, 10))):
            first = network.norm(network.first(prepared(images[part], SIDE)))
            inner = functional.relu(first)
            left = network.left(inner)
            pooled = (inner + functional.relu(left) - network.right(inner)).mean((2, 3))

            def mean(*tensors: Tensor, entropy=entropy) -> float:  # type: ignore[no-untyped-def]
                return float(np.mean([entropy(x) for x in tensors]))

            expected = [mean(first, network.linear(pooled)), mean(left), mean(inner, pooled)]
            np.testing.assert_allclose(record.values[batch], expected, atol=0.05)


@pytest.mark.parametrize("batches", [0, 11])
def test_what_is_refused(batches: int) -> None:
    with pytest.raises(InputError, match=f"{batches} batches of 10 images"):
        measure_entropies(perturbed(), images_and_labels()[0], batches=batches)
