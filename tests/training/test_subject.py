"""Subjects: any rest of a network gives what the whole gives; choices change their own values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.network_problem import network_problem
from benchmarks.traced import measured_sizes
from benchmarks.vision_transformer import vision_transformer
from nas_engine.allocation.problem import ACTIVATIONS, WEIGHTS, AllocationProblem, Variable
from nas_engine.architecture import Architecture
from nas_engine.block_kinds import BLOCK_KINDS
from nas_engine.errors import InputError
from nas_engine.models.cifar_resnet import cifar_resnet
from nas_engine.models.graph_network import GraphNetwork
from nas_engine.quantization.prepare import insert_quantisers
from nas_engine.training.loop import prepared
from nas_engine.training.perturbation import Perturbations
from nas_engine.training.steps import Values, steps_of
from nas_engine.training.subject import subject_of
from tests.training.networks import block_kinds, small_architecture
from tests.training.subjects import (
    SIDE,
    Attention,
    PlainNetwork,
    Toy,
    any_subject,
    images_and_labels,
    perturbed,
    seeded,
)


def networks() -> list[tuple[nn.Module, int, int]]:
    """Network, channels and side of its images."""
    return [
        (Toy(), 1, SIDE),
        (Attention(), 1, SIDE),
        (cifar_resnet(20), 3, 32),
        (GraphNetwork(small_architecture()), 3, 16),
        (vision_transformer(depth=2, width=24), 3, 32),
    ]


@pytest.mark.parametrize(
    "index", range(5), ids=["toy", "attention", "resnet", "mobilenet", "transformer"]
)
@torch.no_grad()
def test_every_rest_gives_what_the_whole_gives(index: int) -> None:
    network, channels, side = networks()[index]
    subject = any_subject(seeded(network), (channels, side, side))
    x = torch.rand(2, channels, side, side)
    kept: dict[int, Values] = {}
    logits = subject.run(subject.first_values(x), 0, {}, cuts=range(subject.end), kept=kept)
    np.testing.assert_allclose(logits.numpy(), network(x).numpy(), rtol=1e-4, atol=1e-4)
    assert list(kept) == list(range(subject.end))
    for cut in reversed(list(kept)[:: 1 + len(kept) // 40]):
        assert torch.equal(subject.run(kept[cut], cut, {}), logits)


def test_the_network_that_is_given_stays_as_it_is() -> None:
    network = cifar_resnet(20).train()
    state = {key: value.clone() for key, value in network.state_dict().items()}
    subject = any_subject(network, (3, 32, 32))
    subject.forward(torch.rand(1, 3, 32, 32))
    assert network.training
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())


def test_sizes_of_resnet_20() -> None:
    subject = any_subject(cifar_resnet(20), (3, 32, 32))
    sizes = {size.name: size for size in subject.sizes}
    assert list(sizes)[:3] == ["conv1", "layer1.0.conv1", "layer1.0.conv2"]
    assert len(sizes) == 20
    assert (
        sum(size.weights for size in sizes.values())
        == 269_722 - 2 * (7 * 16 + 6 * 32 + 6 * 64) - 10
    )  # without norms and bias
    assert (sizes["conv1"].inputs, sizes["conv1"].macs) == (3 * 32 * 32, 432 * 32 * 32)
    assert (sizes["layer2.0.conv1"].inputs, sizes["layer2.0.conv1"].macs) == (
        16 * 32 * 32,
        16 * 32 * 9 * 16 * 16,
    )
    assert (sizes["linear"].inputs, sizes["linear"].macs) == (64, 640)
    assert subject.shared_inputs() == ()
    assert subject.rest(0) == 1.0
    assert subject.rest(subject.layers["linear"].step) == 640 / sum(
        size.macs for size in sizes.values()
    )


@pytest.mark.parametrize("architecture", [small_architecture(), block_kinds()])
def test_a_mobilenet_has_the_names_and_sizes_of_its_graph(architecture: Architecture) -> None:
    network = GraphNetwork(architecture)
    subject = subject_of(network)
    assert tuple(subject.layers) == tuple(architecture.layer_names())
    assert [size.weights for size in subject.sizes] == [
        unit.weight.numel() for _, unit in network.units()
    ]
    seen: list[int] = []
    for _, unit in network.eval().units():
        unit.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].numel()))
    network(torch.zeros(1, 3, 16, 16))
    assert [size.inputs for size in subject.sizes] == seen
    x = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(subject.forward(x), network(x).detach())


OF_EVERY_KIND = (small_architecture, block_kinds)


def test_networks_of_every_kind() -> None:
    assert {block.kind for make in OF_EVERY_KIND for block in make().blocks} == set(BLOCK_KINDS)


@pytest.mark.parametrize("resolution", [13, 16, 17, 24])
@pytest.mark.parametrize("make", OF_EVERY_KIND)
def test_sizes_of_the_graph_are_those_of_a_run(
    make: Callable[[], Architecture], resolution: int
) -> None:
    """At odd and even resolutions: nothing is run to know them."""
    network = GraphNetwork(replace(make(), resolution=resolution)).eval()
    subject = subject_of(network)
    assert subject.shape == (3, resolution, resolution)
    assert subject.sizes == measured_sizes(steps_of(network), subject.shape, subject.device)


def test_quantisers_of_the_network_are_refused() -> None:
    network = GraphNetwork(small_architecture())
    insert_quantisers(network)
    with pytest.raises(
        InputError, match=r"layer 'stem' has quantisers; expected the float network"
    ):
        subject_of(network)


class InPlace(nn.Module):
    """Writes over what is alive while another layer runs."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.branch = nn.Conv2d(1, 3, 3), nn.Conv2d(1, 3, 3)
        self.activation, self.norm, self.same = (
            nn.ReLU(inplace=True),
            nn.BatchNorm2d(3),
            nn.Identity(),
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        other = self.norm(self.branch(x))
        y = functional.relu(self.same(y)) + y
        y = self.activation(y)
        y += other
        y = functional.relu(y, inplace=True)
        result: Tensor = y.mul_(2).mean((2, 3))
        return result


@torch.no_grad()
def test_what_is_kept_is_never_written_to() -> None:
    network = seeded(InPlace())
    subject, x = any_subject(network, (1, SIDE, SIDE)), torch.rand(2, 1, SIDE, SIDE)
    kept: dict[int, Values] = {}
    logits = subject.run(subject.first_values(x), 0, {}, cuts=range(subject.end), kept=kept)
    np.testing.assert_allclose(logits.numpy(), network(x).numpy(), atol=1e-6)
    for cut in (subject.layers["first"].step, subject.layers["branch"].step):
        for _ in range(2):
            assert torch.equal(subject.run(kept[cut], cut, {}), logits)


class Writing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(x)
        y[:, 0] = 0
        return y


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(SIDE, SIDE)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(self.layer(x))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Branching(), "cannot be cut at its layers"),
        (Writing(), "(cannot be cut at its layers|writes into a tensor)"),
        (Twice(), "layer 'layer' runs more than once"),
    ],
)
def test_networks_that_are_refused(network: nn.Module, message: str) -> None:
    network.register_parameter("more", nn.Parameter(torch.zeros(1)))
    with pytest.raises(InputError, match=message):
        any_subject(network, (1, SIDE, SIDE))


def test_layers_that_read_one_tensor() -> None:
    assert any_subject(Toy(), (1, SIDE, SIDE)).shared_inputs() == (("left", "right"),)
    subject = any_subject(Attention(), (1, SIDE, SIDE))
    assert subject.shared_inputs() == (("q", "k", "v"),)
    assert len({subject.layers[name].own_tensor for name in "qkv"}) == 3


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Compute in float64: batch norms are folded on one side only, and float32 would put values
    near a border on different levels.
    """

    def in_double(*arguments: Any) -> Tensor:
        return prepared(*arguments).double()

    monkeypatch.setattr("nas_engine.training.perturbation.prepared", in_double)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("kinds", ["weights", "activations", "both", "tied"])
@pytest.mark.parametrize("base", ["widest", "float"])
def test_allocations_are_those_of_the_plain_network(kinds: str, base: str) -> None:
    options: dict[str, Any] = {"default_activation_bits": 8} if kinds == "weights" else {}
    perturbations = perturbed(kinds=kinds, base=base, **options)
    images, _ = images_and_labels()
    plain = PlainNetwork(seeded(Toy()), perturbations)
    rng = np.random.default_rng(0)
    for _ in range(4):
        levels = rng.integers(0, perturbations.problem.counts)
        plain.set_choices(dict(enumerate(levels)))
        expected = plain.run(prepared(images, SIDE).double()).numpy()
        np.testing.assert_allclose(perturbations.logits(levels, images), expected, atol=1e-9)


@pytest.mark.usefixtures("double")
def test_allocations_of_a_mobilenet_are_those_of_the_plain_network() -> None:
    network = seeded(GraphNetwork(small_architecture()))
    subject = subject_of(network)
    images, _ = images_and_labels(4, 16, 3)
    problem = network_problem(
        subject.sizes, weight_bits=(2, 8), activation_bits=(4, 8), fixed=("stem", "classifier")
    )
    ends = {"stem": (8, 8), "classifier": (8, 8)}
    perturbations = Perturbations(subject, problem, images, fixed=ends)
    plain = PlainNetwork(network, perturbations)
    for levels in (problem.narrowest, problem.widest):
        plain.set_choices(dict(enumerate(levels)))
        expected = plain.run(prepared(images, 16).double()).numpy()
        np.testing.assert_allclose(perturbations.logits(levels, images), expected, atol=1e-9)


@torch.no_grad()
def test_rounding_by_hand() -> None:
    """The tensor between is rounded for the shortcut too; its two readers share a width."""
    network = seeded(Toy())
    assert isinstance(network, Toy)
    perturbations = perturbed(network, "tied", weight_rule="per-tensor")
    images, labels = images_and_labels()
    x = prepared(images, SIDE)
    layers = perturbations.subject.layers
    inner = perturbations.quantiser(layers["left"].tensor, 2)
    last = perturbations.quantiser(layers["linear"].tensor, 2)
    weight = {name: perturbations.rounded_weight(layers[name], 3) for name in ("first", "linear")}
    assert all(
        len(torch.unique((value / value.abs().max() * 3).round())) <= 7 for value in weight.values()
    )
    y = functional.relu(network.norm(functional.conv2d(x, weight["first"], padding=1)))
    left = perturbations.rounded_weight(layers["left"], 8)
    y = inner(y)
    assert len(torch.unique(y)) <= 4  # not negative: 0 to 3 steps
    y = (
        y
        + functional.relu(functional.conv2d(y, left, network.left.bias, padding=1))
        - network.right(y)
    )
    pooled = last(y.mean((2, 3)))
    assert len(torch.unique(pooled)) <= 4
    expected = functional.linear(pooled, weight["linear"], network.linear.bias)
    levels = perturbations.problem.levels([3, 8, 2])
    np.testing.assert_allclose(perturbations.logits(levels, images), expected.numpy(), atol=1e-5)
    loss, accuracy = perturbations.evaluate(levels, images, labels)
    assert loss == pytest.approx(
        float(functional.cross_entropy(expected, torch.from_numpy(labels))), abs=1e-5
    )
    assert accuracy == 100 * np.mean(expected.argmax(1).numpy() == labels)


@pytest.mark.usefixtures("double")
@torch.no_grad()
def test_readers_with_widths_of_their_own_each_round_what_they_read() -> None:
    network = seeded(Attention())
    perturbations = perturbed(network, "activations")
    problem, layers = perturbations.problem, perturbations.subject.layers
    starts = {
        variable.layers[0]: start
        for variable, start in zip(problem.variables, perturbations.starts, strict=True)
    }
    assert [starts[name] for name in "qkv"] == [layers[name].own_tensor for name in "qkv"]
    assert starts["patches"] == layers["patches"].tensor
    images, _ = images_and_labels()
    plain = PlainNetwork(network, perturbations)
    for narrow in range(len(problem.variables)):
        levels = problem.widest.copy()
        levels[narrow] = 0
        plain.set_choices(dict(enumerate(levels)))
        expected = plain.run(prepared(images, SIDE).double()).numpy()
        np.testing.assert_allclose(perturbations.logits(levels, images), expected, atol=1e-9)


def test_fixed_widths_always_hold() -> None:
    network = seeded(Toy())
    subject, (images, _) = any_subject(network, (1, SIDE, SIDE)), images_and_labels()
    problem = network_problem(subject.sizes, weight_bits=(8,), fixed=("first", "linear"))
    alone = Perturbations(subject, problem, images)
    held = Perturbations(
        subject, problem, images, fixed={"first": (2, 8)}, default_activation_bits=3
    )
    by_hand = AllocationProblem(
        [
            *(
                Variable(name=f"{name} w", kind=WEIGHTS, layers=(name,), bits=(bits,), elements=1)
                for name, bits in (("left", 8), ("right", 8), ("first", 2))
            ),
            Variable(name="first a", kind=ACTIVATIONS, layers=("first",), bits=(8,), elements=1),
            Variable(
                name="other a",
                kind=ACTIVATIONS,
                layers=("left", "right", "linear"),
                bits=(3,),
                elements=1,
            ),
        ]
    )
    expected = Perturbations(subject, by_hand, images)
    np.testing.assert_array_equal(
        held.logits(problem.widest, images), expected.logits(by_hand.widest, images)
    )
    assert not np.allclose(
        held.logits(problem.widest, images), alone.logits(problem.widest, images)
    )


def _problem(*layers: str) -> AllocationProblem:
    return AllocationProblem(
        Variable(name=f"{number} {name}", kind=WEIGHTS, layers=(name,), bits=(2,), elements=1)
        for number, name in enumerate(layers)
    )


@pytest.mark.parametrize(
    ("layers", "options", "message"),
    [
        (("left", "last"), {}, "no layer 'last'; expected one of: first, left, right, linear"),
        (("left", "left"), {}, "the weights of layer 'left' belong to two variables"),
        (("left",), {"fixed": {"last": (8, 8)}}, "no layer 'last'"),
        (("left",), {"fixed": {"first": (8, 9)}}, "fixed widths of layer 'first' are"),
        (("left",), {"base": "narrowest"}, "base is 'narrowest'; expected one of: widest, float"),
        (("left",), {"weight_rule": "per-row"}, "weight rule is 'per-row'"),
        (("left",), {"chunk": 0}, "chunks of 0"),
        (("left",), {"default_activation_bits": 1}, "width of other activations is 1"),
    ],
)
def test_what_is_refused(layers: tuple[str, ...], options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Perturbations(
            any_subject(Toy(), (1, SIDE, SIDE)),
            _problem(*layers),
            images_and_labels()[0],
            **options,
        )
