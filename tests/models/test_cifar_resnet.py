"""CIFAR ResNets: sizes as published, state dicts recognised, shortcuts without weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nas_engine.errors import InputError
from nas_engine.models.cifar_resnet import cifar_resnet, load_cifar_resnet, to_unit_range
from nas_engine.models.graph_network import scale_images

# He et al. 2016, table 6, gives them in millions: 0.27, 0.46, 0.66, 0.85. To the unit: the sum over
# the layers by hand.
PARAMETERS = {20: 269_722, 32: 464_154, 44: 658_586, 56: 853_018}


@pytest.mark.parametrize("depth", PARAMETERS)
def test_sizes(depth: int) -> None:
    network = cifar_resnet(depth).eval()
    assert sum(parameter.numel() for parameter in network.parameters()) == PARAMETERS[depth]
    convolutions = sum(parameter.dim() == 4 for parameter in network.parameters())
    assert convolutions + 1 == depth == network.depth
    x = torch.zeros(2, 3, 32, 32)
    with torch.no_grad():
        features = network.features(x)
        assert features.shape == (2, 64, 1, 1)
        assert torch.equal(network(x), network.classify(features))
        assert network(x).shape == (2, 10)
        assert torch.equal(network(x[:, :1]), network(x))


def test_images_are_normalised_as_imagenet_has_them() -> None:
    network = cifar_resnet(20).eval()
    seen = []
    network.conv1.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    images = torch.randint(
        0, 256, (2, 8, 8, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    network(scale_images(images))
    expected = (images.numpy() / 255 - np.array([0.485, 0.456, 0.406])) / np.array(
        [0.229, 0.224, 0.225]
    )
    np.testing.assert_allclose(seen[0].permute(0, 2, 3, 1).numpy(), expected, atol=1e-5)
    np.testing.assert_allclose(
        to_unit_range(scale_images(images)).permute(0, 2, 3, 1).numpy(),
        images.numpy() / 255,
        atol=1e-6,
    )


def test_a_shortcut_takes_every_other_pixel_and_adds_channels_of_zeros_on_both_sides() -> None:
    block = cifar_resnet(20).layer2[0].eval()
    for convolution in (block.conv1, block.conv2):
        torch.nn.init.zeros_(convolution.weight)
    x = torch.rand(1, 16, 6, 6)
    with torch.no_grad():
        y = block(x)
    assert y.shape == (1, 32, 3, 3)
    assert torch.equal(y[:, 8:24], x[:, :, ::2, ::2])
    assert y[:, :8].abs().sum() == y[:, 24:].abs().sum() == 0


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize(("depth", "classes"), [(20, 10), (32, 2), (44, 100), (56, 10)])
def test_depth_and_classes_follow_from_the_keys(prefix: str, depth: int, classes: int) -> None:
    network = cifar_resnet(depth, classes)
    loaded = load_cifar_resnet({prefix + key: value for key, value in network.state_dict().items()})
    assert (loaded.depth, loaded.class_count) == (depth, classes)
    assert all(
        torch.equal(value, loaded.state_dict()[key]) for key, value in network.state_dict().items()
    )


def test_the_state_dict_has_the_public_keys() -> None:
    keys = list(cifar_resnet(20).state_dict())
    assert keys[:7] == [
        *(
            "conv1.weight",
            "bn1.weight",
            "bn1.bias",
            "bn1.running_mean",
            "bn1.running_var",
            "bn1.num_batches_tracked",
        ),
        "layer1.0.conv1.weight",
    ]
    assert keys[-3:] == ["layer3.2.bn2.num_batches_tracked", "linear.weight", "linear.bias"]


def test_state_dicts_from_before_batches_were_counted() -> None:
    """Public files were written by torch 0.4 and older."""
    state = cifar_resnet(20).state_dict()
    assert (
        load_cifar_resnet(
            {key: value for key, value in state.items() if "num_batches" not in key}
        ).depth
        == 20
    )


def test_state_dicts_of_other_networks() -> None:
    state = cifar_resnet(20).state_dict()
    others = (
        {},
        {"fc.weight": torch.zeros(10, 64)},
        {key: value for key, value in state.items() if key != "layer2.1.bn1.bias"},
        {**state, "layer3.2.shortcut.weight": torch.zeros(1)},
        {**state, "conv1.weight": torch.zeros(16, 1, 3, 3)},
        {**state, "linear.weight": torch.zeros(10)},
        {**state, "layer1.0.conv1.weight": "text"},
        {**state, **{f"layer1.{i}.conv1.weight": torch.zeros(1) for i in range(18)}},
    )
    for other in others:
        with pytest.raises(
            InputError,
            match=(
                r"^the state dict of an unknown network \([^\n]*; expected that of a CIFAR ResNet "
                r"\(20, 32, 44, 56\)$"
            ),
        ):
            load_cifar_resnet(other)
    with pytest.raises(
        InputError, match=r"\(116 keys: 'conv1\.weight', 'bn1\.weight', 'bn1\.bias' \.\.\.\)"
    ):
        load_cifar_resnet({**state, "linear.weight": torch.zeros(10)})


@pytest.mark.parametrize("depth", [18, 110, 0])
def test_other_depths(depth: int) -> None:
    with pytest.raises(InputError, match=rf"^depth is {depth}; expected one of: 20, 32, 44, 56$"):
        cifar_resnet(depth)
