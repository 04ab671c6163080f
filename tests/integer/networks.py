"""Small networks with random shapes, widths and scales."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.integer_reference import Untrained, residual_record
from nas_engine.integer.lowering import lower
from nas_engine.integer.model import IntegerModel
from nas_engine.network.graph import Node
from nas_engine.quantization.record import QuantisedLayer, QuantisedNetwork, QuantisedTensor

RESIDUAL = (1001, 1003, 1005, 1007, 1013)
"""Seeds of networks of residual blocks: all odd ones from 1000 on are."""


def random_record(seed: int) -> QuantisedNetwork:
    """Return a network of a stem, a few inverted residuals with and without (pooled) shortcuts, or
    residual blocks, a pool and a classifier; some channels are dead.
    """
    rng = np.random.default_rng(seed)
    if seed > 1000 and seed % 2:
        network = residual_record(rng)
        steps = tuple(
            _with_dead_channel(step, np.random.default_rng((seed, at)))
            for at, step in enumerate(network.nodes)
        )
        return replace(network, nodes=steps)

    def bits() -> int:
        return int(rng.integers(2, 9))

    built = Untrained(
        (int(rng.integers(3, 12)), int(rng.integers(3, 12)), int(rng.integers(1, 4))), rng
    )
    channels = int(rng.integers(1, 7))
    kernel, stride = int(rng.choice([1, 3, 5])), int(rng.choice([1, 2]))
    stream = built.layer(
        "stem", channels, kernel, stride, bits(), bits(), signed=bool(rng.integers(2))
    )
    for block in range(int(rng.integers(1, 4))):
        stride, middle, name = int(rng.choice([1, 1, 2])), int(rng.integers(1, 9)), f"b{block}"
        built.layer(f"{name}.expand", middle, 1, 1, bits(), bits(), source=stream)
        filtered = built.layer(
            f"{name}.depthwise",
            middle,
            int(rng.choice([1, 3, 5])),
            stride,
            bits(),
            bits(),
            kind="depthwise",
        )
        shortcut = stream
        if stride == 2:
            uneven = (0, stream.height % 2, 0, stream.width % 2)
            shortcut = built.pool(f"{name}.pool", 2, 2, stream, uneven)
        if rng.integers(2):  # one scale for both operands, where the addition is exact
            stream = built.layer(
                f"{name}.project",
                channels,
                1,
                1,
                bits(),
                bits(),
                source=filtered,
                shortcut=shortcut,
                signed=True,
            )
            built.tensors[-1] = stream = replace(stream, scale=shortcut.scale)
        else:
            stream = built.layer(
                f"{name}.project",
                channels,
                1,
                1,
                bits(),
                bits(),
                source=filtered,
                shortcut=shortcut,
                signed=bool(rng.integers(2)),
            )
    size = max(stream.height, stream.width)
    down, right = size - stream.height, size - stream.width
    built.pool(
        "pool", size, 1, stream, (down // 2, down - down // 2, right // 2, right - right // 2)
    )
    built.layer("classifier", int(rng.integers(1, 5)), 1, 1, bits(), 8, signed=True)
    built.steps = [
        _with_dead_channel(step, np.random.default_rng((seed, at)))
        for at, step in enumerate(built.steps)
    ]
    return built.network()


def _with_dead_channel(step: Node, rng: np.random.Generator) -> Node:
    """Return every other layer with one channel that training has silenced: hardly any gain, an
    offset of any size.
    """
    if not isinstance(step, QuantisedLayer) or rng.integers(2):
        return step
    gain, offset, channel = step.gain.copy(), step.offset.copy(), int(rng.integers(len(step.gain)))
    gain[channel] = rng.choice([0.0, 1e-30, -1e-10])
    offset[channel] *= rng.choice([1.0, 4.0, 1e9])
    return replace(step, gain=gain, offset=offset)


def random_model(seed: int) -> IntegerModel:
    """Return the integers of such a network."""
    return lower(random_record(seed), {"seed": str(seed)})


def random_images(model: IntegerModel, count: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Return noise that reaches both ends of the range."""
    shape = (count, *model.tensor(model.image).shape)
    noise = np.random.default_rng(seed).integers(-40, 296, shape)
    return np.clip(noise, 0, 255).astype(np.uint8)


def branching_record(seed: int) -> QuantisedNetwork:
    """Return a network of every kind of node that is no chain: branches that an addition joins,
    windows that are not square, and one or two outputs; with one it is a classifier.
    """
    rng = np.random.default_rng(seed)

    def whole(low: int, high: int) -> int:
        return int(rng.integers(low, high + 1))

    built = Untrained((whole(2, 9), whole(2, 9), whole(1, 3)), rng)

    def add(kind: str, name: str, *sources: QuantisedTensor, **changes: Any) -> QuantisedTensor:
        source, kernel, stride, pads = sources[0], (1, 1), 1, [0, 0, 0, 0]
        if kind.endswith("pool"):
            kernel = (whole(1, min(3, source.height)), whole(1, min(3, source.width)))
            stride, pads = whole(1, 2), [whole(0, side - 1) for side in kernel for _ in range(2)]
        height, width = (
            (size + sum(pads[2 * i : 2 * i + 2]) - kernel[i]) // stride + 1
            for i, size in enumerate(source.shape[:2])
        )
        made = replace(source, name=f"{name} output", height=height, width=width, **changes)
        node = Node(
            name=name,
            kind=kind,
            inputs=tuple(each.name for each in sources),
            output=made.name,
            kernel_height=kernel[0],
            kernel_width=kernel[1],
            stride=stride,
            padding=(pads[0], pads[1], pads[2], pads[3]),
        )
        built.steps.append(node)
        built.tensors.append(made)
        return made

    def levels() -> dict[str, Any]:
        return {"bits": whole(2, 8), "signed": bool(rng.integers(2))}

    def layer(
        name: str, source: QuantisedTensor, kind: str = "conv", stride: int = 1
    ) -> QuantisedTensor:
        channels = source.channels if kind == "depthwise" else whole(1, 6)
        out = levels()
        return built.layer(
            name, channels, (whole(1, 4), whole(1, 4)), stride, whole(2, 8), out["bits"],
            kind=kind, signed=out["signed"], source=source,
        )  # fmt: skip

    stem = layer("stem", built.tensors[0], stride=whole(1, 2))
    other = layer("other", stem, "depthwise")
    pooled = add("max_pool", "largest", other)
    scale, operands = float(rng.uniform(0.5, 2.0)) * stem.scale, (stem, other)
    total = add("add", "sum", *operands[:: rng.choice([-1, 1])], **levels(), scale=scale)
    twice = add("add", "twice", total, total, **levels(), scale=scale * 1.5)
    limited = add("clamp", "limit", twice, **levels())
    mean = add("average_pool", "mean", limited)
    if rng.integers(2):
        outputs = (pooled.name, mean.name) if rng.integers(2) else (mean.name, pooled.name)
        return QuantisedNetwork(
            tensors=tuple(built.tensors),
            nodes=tuple(built.steps),
            inputs=("image",),
            outputs=outputs,
            classes=(),
        )
    side = max(mean.height, mean.width)
    down, right = side - mean.height, side - mean.width
    whole_map = built.pool(
        "pool", side, 1, mean, (down // 2, down - down // 2, right // 2, right - right // 2)
    )
    built.layer("classifier", whole(1, 5), 1, 1, whole(2, 8), 8, signed=True, source=whole_map)
    return built.network()
