"""Small vision transformer for 32x32 images (Dosovitskiy et al. 2021).

It is a subject of bit allocation in addition to convolutional networks.

Pre-norm blocks, learned positions, the mean over the tokens instead of a class token (their
appendix D.3), no dropout. The sizes are chosen here, to train on one CPU core. Every product
with weights is an ``nn.Linear`` or ``nn.Conv2d`` of its own, so that a quantiser finds all of them,
and ``torch.fx.symbolic_trace`` takes the network whole.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from nas_engine.errors import InputError
from nas_engine.models.state_dict import load_into, unknown_state, without_prefix

RESOLUTION = 32
"""Height and width of the images in pixels."""

PATCH = 4
"""Height and width of a patch in pixels."""

TOKENS = (RESOLUTION // PATCH) ** 2
"""Patches of an image."""

_EXPECTED = "a vision transformer made by vision_transformer"

HEAD_WIDTH = 24
"""Channels of one head of attention; so the number of heads follows from the width, and a state
dict tells all (chosen here)."""


class _Block(nn.Module):
    """Attention between the tokens, then two layers on each token, both added to their input."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.width, self.heads = width, width // HEAD_WIDTH
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.expand = nn.Linear(width, hidden)
        self.reduce = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.project(self._attend(self.qkv(self.norm1(x))))
        y: Tensor = self.reduce(functional.gelu(self.expand(self.norm2(x))))
        return x + y

    def _attend(self, joint: Tensor) -> Tensor:
        """Return softmax attention, ``(n, tokens, width)``.

        ``joint`` has queries, keys and values concatenated, ``(n, tokens, 3 * width)``.
        """
        # In bfloat16 the gradient of attention is six times as slow on a CPU as in the type of the
        # weights (torch 2.13).
        with torch.autocast("cpu", enabled=False):
            split = (
                joint.to(self.norm1.weight.dtype)
                .reshape(-1, TOKENS, 3, self.heads, HEAD_WIDTH)
                .permute(2, 0, 3, 1, 4)
            )
            y = functional.scaled_dot_product_attention(split[0], split[1], split[2])
        return y.transpose(1, 2).reshape(-1, TOKENS, self.width)


class VisionTransformer(nn.Module):
    """The network of one size; made by ``vision_transformer``.

    For derivatives of second order, enter ``torch.nn.attention.sdpa_kernel(SDPBackend.MATH)``
    first: torch's fused attention has them not.
    """

    def __init__(self, class_count: int, width: int, depth: int, hidden: int) -> None:
        super().__init__()
        self.class_count, self.width, self.depth = class_count, width, depth
        self.patches = nn.Conv2d(3, width, PATCH, PATCH)
        self.positions = nn.Parameter(torch.empty(1, TOKENS, width))
        self.blocks = nn.Sequential(*(_Block(width, hidden) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.linear = nn.Linear(width, class_count)
        nn.init.trunc_normal_(self.positions, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def features(self, x: Tensor) -> Tensor:
        """Return the pooled vector, ``(n, width, 1, 1)``, of scaled images ``(n, 3, 32, 32)``.

        One grey channel stands for all three.
        """
        tokens = self.patches(x.expand(-1, 3, -1, -1)).flatten(2).transpose(1, 2) + self.positions
        return self.norm(self.blocks(tokens)).mean(1).reshape(-1, self.width, 1, 1)

    def classify(self, features: Tensor) -> Tensor:
        """Return the logits ``(n, classes)`` of pooled vectors."""
        logits: Tensor = self.linear(features.flatten(1))
        return logits

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits, ``(n, classes)``, of scaled images ``(n, 3, 32, 32)``."""
        return self.classify(self.features(x))


def vision_transformer(
    class_count: int = 10, *, width: int = 96, depth: int = 6, mlp_ratio: int = 2
) -> VisionTransformer:
    """Return a network with random weights.

    Args:
        class_count: Number of outputs.
        width: Channels of a token, a multiple of ``HEAD_WIDTH``.
        depth: Number of blocks.
        mlp_ratio: Channels between the two layers on each token, as a multiple of ``width``.

    Raises:
        InputError: A size out of its range.
    """
    for name, value in (
        ("class_count", class_count),
        ("width", width),
        ("depth", depth),
        ("mlp_ratio", mlp_ratio),
    ):
        if type(value) is not int or value < 1:
            raise InputError(f"{name} is {value!r}; expected a whole number from 1")
    if width % HEAD_WIDTH:
        raise InputError(
            f"width is {width}; expected a multiple of {HEAD_WIDTH}, the channels of one head"
        )
    return VisionTransformer(class_count, width, depth, mlp_ratio * width)


def is_vision_transformer(state_dict: Mapping[str, object]) -> bool:
    """Return True if the keys of a state dict look like those of this network and no other."""
    return any(str(key).removeprefix("module.") == "patches.weight" for key in state_dict)


def load_vision_transformer(state_dict: Mapping[str, Tensor]) -> VisionTransformer:
    """Return the network of a state dict.

    All sizes follow from its tensors; a prefix ``module.`` is ignored.

    Raises:
        InputError: The state dict is of another network; the message shows some of its keys.
    """
    state = without_prefix(state_dict)
    depth = len({key.split(".")[1] for key in state if key.startswith("blocks.")})
    hidden, last = (state.get(key) for key in ("blocks.0.expand.weight", "linear.weight"))
    if not all(
        isinstance(value, Tensor) and value.dim() == 2 and value.numel() for value in (hidden, last)
    ):
        raise unknown_state(state, _EXPECTED)
    assert hidden is not None
    assert last is not None
    (between, width), class_count = hidden.shape, len(last)
    if width % HEAD_WIDTH or between % width:
        raise unknown_state(state, _EXPECTED)
    network = vision_transformer(class_count, width=width, depth=depth, mlp_ratio=between // width)
    load_into(network, state, _EXPECTED)
    return network
