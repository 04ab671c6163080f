"""HAWQ's cost against the Hessian as autograd gives it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.network_problem import network_problem
from benchmarks.vision_transformer import vision_transformer
from nas_engine.errors import InputError
from nas_engine.models.graph_network import GraphNetwork
from nas_engine.training.hessian import measure_hessian
from nas_engine.training.loop import prepared
from nas_engine.training.perturbation import Perturbations
from tests.training.networks import small_architecture
from tests.training.subjects import SIDE, Toy, any_subject, images_and_labels, perturbed, seeded


def trace_by_weight(network: nn.Module, name: str, x: Tensor, labels: Tensor) -> float:
    parameter = network.get_parameter(name)

    def loss(weight: Tensor) -> Tensor:
        return functional.cross_entropy(
            torch.func.functional_call(network, {name: weight}, (x,)), labels
        )

    hessian = torch.autograd.functional.hessian(loss, parameter.detach())
    return float(hessian.reshape(parameter.numel(), -1).trace())


def trace_by_input(network: nn.Module, x: Tensor, labels: Tensor) -> float:
    """Return the mean over images of the trace by the image."""
    traces = []
    for image, label in zip(x, labels, strict=True):
        hessian = torch.autograd.functional.hessian(
            lambda y, label=label: functional.cross_entropy(network(y[None]), label[None]), image
        )
        traces.append(float(hessian.reshape(image.numel(), -1).trace()))
    return float(np.mean(traces))


def test_traces_are_those_of_autograd() -> None:
    network, (images, labels) = seeded(Toy()), images_and_labels(6)
    perturbations = perturbed(network, chunk=5)
    found = measure_hessian(perturbations, images, labels, probes=150)
    problem, x, truth = perturbations.problem, prepared(images, SIDE), torch.from_numpy(labels)
    sizes = {size.name: size for size in perturbations.subject.sizes}
    for index, name in enumerate(("first", "left", "right", "linear")):
        layer = perturbations.subject.layers[name]
        trace = trace_by_weight(network, f"{name}.weight", x, truth)
        for level, bits in enumerate(problem.variables[index].bits):
            square = float(
                (perturbations.rounded_weight(layer, bits) - layer.weight).square().sum()
            )
            assert found[problem.first[index] + level] == pytest.approx(
                trace / sizes[name].weights * square, rel=0.15
            )
    image = next(
        index
        for index, variable in enumerate(problem.variables)
        if variable.name == "first activations"
    )
    tensor = perturbations.subject.layers["first"].tensor
    square = float((perturbations.quantiser(tensor, 3)(x) - x).square().sum()) / len(x)
    assert found[problem.first[image]] == pytest.approx(
        trace_by_input(network, x, truth) / SIDE**2 * square, rel=0.15
    )


def test_layers_of_one_variable_add_up_and_narrower_costs_more() -> None:
    network, (images, labels) = seeded(Toy()), images_and_labels(6)
    apart, tied = perturbed(network, "both"), perturbed(network, "tied")
    alone, together = (measure_hessian(each, images, labels, probes=100) for each in (apart, tied))
    first, linear = (apart.problem.first[index] for index in (0, 3))
    assert together[0] == pytest.approx(alone[first] + alone[linear], rel=0.15)
    assert together[2] == pytest.approx(alone[first + 2] + alone[linear + 2], rel=0.15)
    for index in range(len(apart.problem.variables)):
        at = apart.problem.first[index]
        costs = alone[at : at + apart.problem.counts[index]]
        assert (np.diff(costs) < 0).all()
        assert costs[0] > 0
        assert costs[-1] >= 0  # an image has 8 bits itself


def test_a_seed_gives_the_same_again() -> None:
    images, labels = images_and_labels(6)
    first, again, other = (
        measure_hessian(perturbed(), images, labels, probes=2, seed=seed) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_networks_of_the_project() -> None:
    for network, side in (
        (GraphNetwork(small_architecture()), 16),
        (vision_transformer(depth=1, width=24), 32),
    ):
        subject, (images, labels) = (
            any_subject(seeded(network), (3, side, side)),
            images_and_labels(3, side, 3),
        )
        problem = network_problem(subject.sizes, weight_bits=(2, 8), activation_bits=(2, 8))
        found = measure_hessian(Perturbations(subject, problem, images), images, labels, probes=1)
        assert np.isfinite(found).all()
        assert (found >= 0).all()
        assert found.max() > 0


def test_what_is_refused() -> None:
    images, labels = images_and_labels(6)
    for arguments in (
        {"probes": 0},
        {"labels": labels[1:]},
        {"images": images[:0], "labels": labels[:0]},
    ):
        with pytest.raises(InputError, match="expected at least 1"):
            measure_hessian(
                **{"perturbations": perturbed(), "images": images, "labels": labels} | arguments
            )
