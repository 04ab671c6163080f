"""The small vision transformer: sizes, what it computes by hand, state dicts recognised, traced
whole.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.vision_transformer import (
    is_vision_transformer,
    load_vision_transformer,
    vision_transformer,
)
from nas_engine.errors import InputError
from nas_engine.models.cifar_resnet import cifar_resnet


def images(n: int = 2) -> Tensor:
    return torch.rand(n, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1


def by_hand(state: dict[str, Tensor], x: Tensor, heads: int) -> Tensor:
    """The logits from the tensors alone: patches cut by loops, one head after the other, softmax
    written out.
    """
    width = state["norm.weight"].numel()
    cut = [
        x[:, :, r : r + 4, c : c + 4].flatten(1) for r in range(0, 32, 4) for c in range(0, 32, 4)
    ]
    tokens = (
        torch.stack(cut, 1) @ state["patches.weight"].flatten(1).T
        + state["patches.bias"]
        + state["positions"]
    )

    def linear(name: str, value: Tensor) -> Tensor:
        return value @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    def norm(name: str, value: Tensor) -> Tensor:
        centred = value - value.mean(-1, keepdim=True)
        return (
            centred
            / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
            * state[f"{name}.weight"]
            + state[f"{name}.bias"]
        )

    for block in sorted({key.split(".")[1] for key in state if key.startswith("blocks.")}):
        name = f"blocks.{block}"
        query, key, value = linear(f"{name}.qkv", norm(f"{name}.norm1", tokens)).split(width, -1)
        size = width // heads
        parts = []
        for head in range(heads):
            q, k, v = (part[..., head * size : (head + 1) * size] for part in (query, key, value))
            weights = (q @ k.transpose(1, 2) / math.sqrt(size)).exp()
            parts.append(weights / weights.sum(-1, keepdim=True) @ v)
        tokens = tokens + linear(f"{name}.project", torch.cat(parts, -1))
        hidden = linear(f"{name}.expand", norm(f"{name}.norm2", tokens))
        tokens = tokens + linear(
            f"{name}.reduce", hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
        )
    return linear("linear", norm("norm", tokens).mean(1))


def test_it_computes_what_the_paper_says() -> None:
    torch.manual_seed(0)
    network = vision_transformer(7, width=48, depth=2).double().eval()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.2)
    x = images().double()
    with torch.no_grad():
        torch.testing.assert_close(
            network(x), by_hand(network.state_dict(), x, heads=2), rtol=1e-9, atol=1e-9
        )


def test_sizes_and_interface() -> None:
    network = vision_transformer().eval()
    # By hand: patches, positions, last norm and layer; per block two norms, and the four layers
    # with their biases.
    w = 96
    block = 4 * w + (3 * w * w + 3 * w) + (w * w + w) + 2 * (2 * w * w) + 2 * w + w
    assert (
        sum(parameter.numel() for parameter in network.parameters())
        == 48 * w + w + 64 * w + 6 * block + 2 * w + 10 * w + 10
    )
    with torch.no_grad():
        features = network.features(images())
        assert features.shape == (2, 96, 1, 1)
        assert torch.equal(network(images()), network.classify(features))
        grey = images()[:, :1]
        assert torch.equal(network(grey), network(grey.repeat(1, 3, 1, 1)))
    assert (network.class_count, network.width, network.depth) == (10, 96, 6)


def test_every_product_with_weights_is_a_module_of_its_own() -> None:
    network = vision_transformer(width=24, depth=3)
    layers = {
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    }
    assert len(layers) == 1 + 3 * 4 + 1
    matrices = {
        name.removesuffix(".weight")
        for name, parameter in network.named_parameters()
        if parameter.dim() > 1
    }
    assert matrices == layers | {"positions"}


def test_it_is_traced_whole_and_for_any_batch() -> None:
    torch.manual_seed(0)
    network = vision_transformer(width=48, depth=2).eval()
    traced = torch.fx.symbolic_trace(network)
    called = {str(node.target) for node in traced.graph.nodes if node.op == "call_module"}
    assert {
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    } <= called
    attention = [
        node
        for node in traced.graph.nodes
        if node.target is functional.scaled_dot_product_attention
    ]
    assert len(attention) == 2
    with torch.no_grad():
        for n in (1, 3):
            assert torch.equal(traced(images(n)), network(images(n)))


def test_attention_keeps_the_type_of_the_weights_in_training_with_bfloat16() -> None:
    torch.manual_seed(0)
    network = vision_transformer(width=24, depth=1)
    seen = []
    network.blocks[0].project.register_forward_pre_hook(
        lambda module, inputs: seen.append(inputs[0].dtype)
    )
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(images())
    logits.float().sum().backward()
    assert (logits.dtype, seen) == (torch.bfloat16, [torch.float32])
    assert all(
        parameter.grad is not None and parameter.grad.isfinite().all()
        for parameter in network.parameters()
    )


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize(
    ("classes", "width", "depth", "ratio"), [(10, 96, 6, 2), (3, 24, 1, 1), (100, 72, 11, 4)]
)
def test_all_sizes_follow_from_the_tensors(
    prefix: str, classes: int, width: int, depth: int, ratio: int
) -> None:
    network = vision_transformer(classes, width=width, depth=depth, mlp_ratio=ratio)
    state = {prefix + key: value for key, value in network.state_dict().items()}
    assert is_vision_transformer(state)
    loaded = load_vision_transformer(state)
    assert all(
        torch.equal(value, loaded.state_dict()[key]) for key, value in network.state_dict().items()
    )
    with torch.no_grad():
        assert torch.equal(loaded(images()), network(images()))


def test_state_dicts_of_other_networks() -> None:
    state = vision_transformer(width=24, depth=2).state_dict()
    others = (
        {},
        cifar_resnet(20).state_dict(),
        {key: value for key, value in state.items() if key != "blocks.1.norm2.bias"},
        {**state, "linear.weight": torch.zeros(10)},
        {**state, "linear.weight": "text"},
        {**state, "linear.weight": torch.zeros(0, 24)},
        {**state, "positions": torch.zeros(1, 65, 24)},
        {**state, "blocks.0.expand.weight": torch.zeros(50, 25)},
        {**state, "blocks.0.expand.weight": torch.zeros(25, 24)},
        {**state, "extra.weight": torch.zeros(1)},
    )
    for other in others:
        with pytest.raises(
            InputError,
            match=(
                r"^the state dict of an unknown network \([^\n]*; expected that of a vision "
                r"transformer "
            ),
        ):
            load_vision_transformer(other)
    assert not is_vision_transformer(cifar_resnet(20).state_dict())


@pytest.mark.parametrize(
    "sizes", [{"class_count": 0}, {"width": 32}, {"depth": 0}, {"mlp_ratio": 0}, {"width": 24.0}]
)
def test_other_sizes(sizes: dict[str, int]) -> None:
    with pytest.raises(InputError, match=rf"^{next(iter(sizes))} is .*; expected "):
        vision_transformer(**sizes)
