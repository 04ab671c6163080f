"""Sampled architectures against scalar references: shapes, padding, rounding of pools."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from nas_engine.architecture import Architecture
from nas_engine.errors import InputError
from nas_engine.models.graph_network import (
    ConvolutionUnit,
    GraphNetwork,
    average_pool,
    scale_images,
)
from nas_engine.network.from_architecture import same_padding
from tests import reference
from tests.populations import SHIPPED, networks, population
from tests.training.networks import small_architecture

CASES = [(name, resolution) for name in SHIPPED for resolution in (32, 33, 57)]


@pytest.mark.parametrize(("space", "resolution"), CASES)
def test_shapes_of_sampled_networks(space: str, resolution: int) -> None:
    check_shapes(
        networks(*population(SHIPPED[space], 2, seed=resolution, resolution=resolution, classes=7)),
        resolution,
    )


@pytest.mark.parametrize("pooled_shortcut", [False, True])
def test_a_stride_over_a_single_pixel_is_none(pooled_shortcut: bool) -> None:
    small = small_architecture(classes=7)
    last = replace(small.blocks[-1], bottleneck=8, channels=8)
    blocks = (*small.blocks[:-1], last)
    check_shapes([replace(small, resolution=2, blocks=blocks, pooled_shortcut=pooled_shortcut)], 2)


def check_shapes(architectures: Iterable[Architecture], resolution: int) -> None:
    torch.manual_seed(0)
    for architecture in architectures:
        network = GraphNetwork(architecture).eval()
        layers = reference.layers(architecture)
        seen: dict[nn.Module, tuple[int, int, int, int]] = {}

        def note(
            unit: nn.Module,
            inputs: tuple[torch.Tensor],
            output: torch.Tensor,
            seen: dict[nn.Module, object] = seen,
        ) -> None:
            seen[unit] = (inputs[0].shape[1], inputs[0].shape[2], output.shape[1], output.shape[2])

        for _, unit in network.units():
            unit.register_forward_hook(note)
        x = torch.rand(1, 3, resolution, resolution) * 2 - 1
        with torch.no_grad():
            features = network.features(x)
            logits = network.classify(features)
            assert features.shape == (1, architecture.feature_channels, 1, 1)
            assert logits.shape == (1, 7)
            assert torch.equal(network(x), logits)
        for (name, unit), layer in zip(network.units(), layers, strict=True):
            assert seen[unit] == (layer.c_in, layer.size_in, layer.c_out, layer.size_out), name
            assert unit.weight.numel() == layer.weights, name
        ends = [node for node in network.graph.layers if network.end_of(node.name)]
        for node, residual in zip(ends, reference.residuals(architecture), strict=True):
            assert (node.shortcut is not None) == (residual.waiting > 0)
            assert ("pooled" in (node.shortcut or "")) == residual.pooled


def test_units_are_named_as_the_layers() -> None:
    for space in SHIPPED.values():
        (architecture,) = networks(*population(space, 1, classes=3))
        network = GraphNetwork(architecture)
        units = dict(network.units())
        assert tuple(units) == architecture.layer_names()
        modules = {module: name for name, module in network.named_modules()}
        index = 0
        for stage, block in enumerate(architecture.blocks, 1):
            for row in range(1, block.depth + 1):
                for part in ("expand", "depthwise", "project"):
                    assert modules[units[f"s{stage}.b{row}.{part}"]] == f"residuals.{index}.{part}"
                index += 1
        assert [modules[units[name]] for name in ("stem", "head", "classifier")] == [
            "stem",
            "head",
            "classifier",
        ]


def test_every_parameter_gets_a_gradient() -> None:
    torch.manual_seed(0)
    (architecture,) = networks(*population(SHIPPED["mobilenet-32"], 1, seed=4, classes=5))
    network = GraphNetwork(architecture)
    functional.cross_entropy(
        network(torch.rand(4, 3, 32, 32) * 2 - 1), torch.tensor([0, 1, 2, 3])
    ).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_an_architecture_without_classifier() -> None:
    (architecture,) = networks(*population(SHIPPED["mobilenet-32"], 1))
    with pytest.raises(InputError, match=r"^the architecture has no classifier[^\n]*--classes N$"):
        GraphNetwork(replace(architecture, classifier=None))


def test_scaled_images_lose_nothing() -> None:
    images = torch.arange(256, dtype=torch.uint8).view(1, 16, 16, 1)
    x = scale_images(images)
    assert x.shape == (1, 1, 16, 16)
    assert (x.min().item(), x.max().item()) == (-1, 127 / 128)
    assert torch.equal((x * 128 + 128).to(torch.uint8).view(-1), images.view(-1))


def tensorflow_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """As TensorFlow documents SAME: by the remainder of the size."""
    total = max(kernel - stride, 0) if size % stride == 0 else max(kernel - size % stride, 0)
    before = total // 2
    return before, total - before


def test_padding_is_tensorflows() -> None:
    for size in range(1, 40):
        for kernel in (1, 3, 5, 7):
            for stride in (1, 2):
                assert same_padding(size, kernel, stride) == tensorflow_padding(
                    size, kernel, stride
                ), (size, kernel, stride)


@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize(
    ("kernel", "stride", "height", "width"),
    [(3, 1, 4, 5), (3, 2, 4, 5), (5, 2, 6, 7), (7, 2, 5, 2), (1, 2, 5, 4), (5, 1, 1, 3)],
)
def test_a_unit_convolves_as_the_scalar_loop(
    kernel: int, stride: int, height: int, width: int, depthwise: bool
) -> None:
    torch.manual_seed(kernel)
    unit = ConvolutionUnit(2, 2, kernel, stride, depthwise=depthwise, relu=False)
    unit.norm = nn.Identity()
    x = torch.randn(1, 2, height, width)
    with torch.no_grad():
        y, weight, values = unit(x)[0].numpy(), unit.weight.numpy(), x[0].numpy()
    top, left = (tensorflow_padding(size, kernel, stride)[0] for size in (height, width))
    rows, columns = -(-height // stride), -(-width // stride)
    assert y.shape == (2, rows, columns)
    for o in range(2):
        for row in range(rows):
            for column in range(columns):
                total = 0.0
                for i in [o] if depthwise else range(2):
                    for dy in range(kernel):
                        for dx in range(kernel):
                            at_y, at_x = row * stride - top + dy, column * stride - left + dx
                            if 0 <= at_y < height and 0 <= at_x < width:
                                total += (
                                    weight[o, 0 if depthwise else i, dy, dx] * values[i, at_y, at_x]
                                )
                assert y[o, row, column] == pytest.approx(total, abs=1e-5)


def pooled_levels(levels: np.ndarray, kernel: int, offset: int) -> np.ndarray:
    """TFLite's AVERAGE_POOL_2D on int8 values, one at a time: half away from zero, division towards
    zero.
    """
    height, width = levels.shape
    result = np.zeros((-(-height // kernel), -(-width // kernel)), int)
    for row, column in np.ndindex(result.shape):
        window = levels[row * kernel : (row + 1) * kernel, column * kernel : (column + 1) * kernel]
        total, count = sum(int(level) - offset for level in window.flat), window.size
        half = count // 2
        result[row, column] = (
            (total + half) // count if total > 0 else -((-total + half) // count)
        ) + offset
    return result


@pytest.mark.parametrize(("low", "high"), [(0, 255), (0, 15), (-128, 127), (-8, 7)])
@pytest.mark.parametrize(
    ("kernel", "height", "width"),
    [(2, 6, 6), (2, 7, 5), (2, 1, 1), (5, 5, 5), (8, 8, 3), (9, 4, 4)],
)
def test_pools_round_as_integers(low: int, high: int, kernel: int, height: int, width: int) -> None:
    generator = torch.Generator().manual_seed(height * width)
    levels = torch.randint(low, high + 1, (2, 3, height, width), generator=generator)
    step = 0.0371
    quantiser = SimpleNamespace(low=low, step=nn.Parameter(torch.tensor(step)))
    x = (levels * torch.tensor(step)).requires_grad_()
    pooled = average_pool(x, kernel, quantiser)  # type: ignore[arg-type]
    found = pooled.detach() / step
    torch.testing.assert_close(found, found.round(), atol=1e-3, rtol=0)
    offset = 128 if low == 0 else 0
    for image, channel in np.ndindex(2, 3):
        expected = pooled_levels(levels[image, channel].numpy(), kernel, offset)
        np.testing.assert_array_equal(found[image, channel].round().numpy(), expected)
    pooled.sum().backward()
    of_rounded, x.grad = x.grad, None
    average_pool(x, kernel).sum().backward()
    assert of_rounded is not None
    assert x.grad is not None
    assert torch.equal(of_rounded, x.grad)
    assert quantiser.step.grad is None


def test_a_pool_over_the_edge_counts_only_what_is_inside() -> None:
    x = torch.arange(9.0).view(1, 1, 3, 3)
    assert torch.equal(average_pool(x, 2), torch.tensor([[[[2.0, 3.5], [6.5, 8.0]]]]))
