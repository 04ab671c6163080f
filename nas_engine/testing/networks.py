"""Small networks with random shapes, widths and scales."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from nas_engine.architecture import Architecture
from nas_engine.integer.lowering import lower
from nas_engine.integer.model import IntegerModel
from nas_engine.network.from_architecture import graph_of
from nas_engine.network.graph import Node
from nas_engine.quantization.record import QuantisedLayer, QuantisedNetwork, QuantisedTensor

RESIDUAL = (1001, 1003, 1005, 1007, 1013)
"""Seeds of networks of residual blocks: all odd ones from 1000 on are."""


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int, int]:
    """Return the output size and the padding before and after (TFLite's SAME)."""
    out = -(-size // stride)
    total = max((out - 1) * stride + kernel - size, 0)
    return out, total // 2, total - total // 2


class Untrained:
    """A network with random weights whose scales spread each tensor over its levels."""

    def __init__(self, image: tuple[int, int, int], rng: np.random.Generator) -> None:
        height, width, channels = image
        self.rng = rng
        self.tensors = [
            QuantisedTensor(
                name="image",
                height=height,
                width=width,
                channels=channels,
                bits=8,
                signed=True,
                scale=1 / 128,
            )
        ]
        self.steps: list[Node] = []

    def layer(
        self,
        name: str,
        channels: int,
        kernel: int | tuple[int, int],
        stride: int,
        w_bits: int,
        out_bits: int,
        *,
        kind: str = "conv",
        signed: bool = False,
        source: QuantisedTensor | None = None,
        shortcut: QuantisedTensor | None = None,
        scale: float | None = None,
        own: float | None = None,
        steep: bool = False,
    ) -> QuantisedTensor:
        """Add a layer and return its output; without a source it reads the tensor added last.

        ``scale`` is that of the output, drawn if it is not given. ``own`` is that of the layer's
        own result, which a shortcut is added to, in those of the output. ``steep`` gives about a
        quarter of the channels weights of -1 to 1 and scales them by 1/2 to 8 in requantisation,
        as training leaves depth-wise channels whose input is nearly always zero.
        """
        source = source or self.tensors[-1]
        rows, columns = (kernel, kernel) if isinstance(kernel, int) else kernel
        height, top, bottom = same_padding(source.height, rows, stride)
        width, left, right = same_padding(source.width, columns, stride)
        most = 2 ** (w_bits - 1) - 1
        weights = self.rng.integers(
            -most,
            most + 1,
            (channels, rows, columns, 1 if kind == "depthwise" else source.channels),
        )
        out = QuantisedTensor(
            name=f"{name} output",
            height=height,
            width=width,
            channels=channels,
            bits=out_bits,
            signed=signed,
            scale=self.rng.uniform(0.01, 0.05),
        )
        if scale is not None:
            out = replace(out, scale=scale)
        spread = (
            np.sqrt(weights[0].size * most * (most + 1) / 3) * 2**source.bits / 5
        )  # of the sum, in levels
        own_scale = None if own is None else own * out.scale
        level = out.scale if own_scale is None else own_scale
        if own is not None:
            out_bits, signed = 8, True
        unit = (
            self.rng.uniform(0.5, 1.0, channels)
            * 2**out_bits
            / (8 if signed else 4)
            * level
            / spread
            / source.scale
        )
        if steep:
            few = self.rng.integers(4, size=channels) == 0
            weights[few] = np.sign(weights[few])
            unit[few] = 2 ** self.rng.uniform(-1, 3, few.sum()) * level / source.scale
        gain = self.rng.uniform(0.5, 2.0, channels) * self.rng.choice([-1.0, 1.0], channels)
        step = QuantisedLayer(
            name=name,
            kind=kind,
            inputs=(source.name,),
            output=out.name,
            kernel_height=rows,
            kernel_width=columns,
            stride=stride,
            padding=(top, bottom, left, right),
            weights=weights.astype(np.int8),
            weight_bits=w_bits,
            weight_scale=unit / np.abs(gain),
            gain=gain,
            offset=self.rng.normal(0, 0.2, channels) * 2**out_bits / 4 * level,
            shortcut=shortcut.name if shortcut else None,
            own_scale=own_scale,
        )
        self.steps.append(step)
        self.tensors.append(out)
        return out

    def pool(
        self,
        name: str,
        kernel: int,
        stride: int,
        source: QuantisedTensor | None = None,
        padding: tuple[int, int, int, int] = (0, 0, 0, 0),
    ) -> QuantisedTensor:
        """Add an average pool and return its output."""
        source = source or self.tensors[-1]
        sizes = (source.height + padding[0] + padding[1], source.width + padding[2] + padding[3])
        height, width = ((size - kernel) // stride + 1 for size in sizes)
        out = replace(source, name=f"{name} output", height=height, width=width)
        self.steps.append(
            Node(
                kind="average_pool",
                name=name,
                inputs=(source.name,),
                output=out.name,
                kernel_height=kernel,
                kernel_width=kernel,
                stride=stride,
                padding=padding,
            )
        )
        self.tensors.append(out)
        return out

    def network(self) -> QuantisedNetwork:
        """Return all of it; the tensor added last holds the logits."""
        logits = self.tensors[-1]
        classes = tuple(f"class {i}" for i in range(logits.channels))
        return QuantisedNetwork(
            tensors=tuple(self.tensors),
            nodes=tuple(self.steps),
            inputs=("image",),
            outputs=(logits.name,),
            classes=classes,
        )


def residual_record(
    rng: np.random.Generator, pair: tuple[int, int] | None = None, most: int = 12
) -> QuantisedNetwork:
    """Return a network of a stem, one to four residual blocks, a pool and a classifier.

    A block is ``act(conv2(act(conv1 x)) + shortcut x)`` of He et al. 2016, the shortcut identity
    or a 1x1 convolution. The scales of both operands and of the sum are of the same order in most
    blocks and as far apart as TFLite's addition allows in some.

    Args:
        rng: Random numbers.
        pair: Bits of the weights and of the inputs of all layers of the blocks; drawn for each if
            it is not given.
        most: Rows and columns of the image, and channels, at most.
    """

    def whole(low: int, high: int) -> int:
        return int(rng.integers(low, high + 1))

    def w_bits() -> int:
        return pair[0] if pair else whole(2, 8)

    def a_bits() -> int:
        return pair[1] if pair else whole(2, 8)

    built = Untrained((whole(3, most), whole(3, most), whole(1, 3)), rng)
    x = built.layer("stem", whole(1, most), 3, 1, 8, a_bits())
    for block in range(whole(1, 4)):
        name, stride, kernel = f"b{block}", int(rng.choice([1, 1, 2])), int(rng.choice([3, 3, 5]))
        channels = x.channels if rng.integers(2) else whole(1, most)
        middle = built.layer(
            f"{name}.conv1", whole(1, most), kernel, stride, w_bits(), a_bits(), source=x
        )
        shortcut = x
        if stride > 1 or channels != x.channels or rng.integers(4) == 0:
            shortcut = built.layer(
                f"{name}.shortcut",
                channels,
                1,
                stride,
                w_bits(),
                whole(2, 8),
                source=x,
                signed=True,
            )
        # Operands up to just below 2^19 times the scale of the sum, and down to nothing of it.
        far, scale = float(rng.choice([1.0, 1.0, 1.0, 2.0**-18.9, 2.0**18.9, 2.0**30])), None
        if not 1e-6 < shortcut.scale < 1e6:
            scale = shortcut.scale
        elif far != 1.0 or shortcut.scale > 1.0 or rng.integers(3) == 0:
            scale = shortcut.scale * far
        x = built.layer(
            f"{name}.conv2",
            channels,
            int(rng.choice([3, 3, 1])),
            1,
            w_bits(),
            a_bits(),
            source=middle,
            shortcut=shortcut,
            scale=scale,
            own=float(
                rng.choice([1.0, 0.2, 1.7, 2.0**18.9, 2.0**-30], p=[0.3, 0.3, 0.3, 0.05, 0.05])
            ),
        )
    side = max(x.height, x.width)
    down, right = side - x.height, side - x.width
    built.pool("pool", side, 1, x, (down // 2, down - down // 2, right // 2, right - right // 2))
    built.layer("classifier", whole(2, 5), 1, 1, w_bits(), 8, signed=True)
    return built.network()


def untrained(
    net: Architecture, seed: int = 0, *, alike: bool = False, steep: bool = False
) -> IntegerModel:
    """Return an integer model of an architecture's shape.

    Args:
        net: The architecture.
        seed: Of the random weights and scales.
        alike: True for sums with the scale of the tensor that is added, where training leaves it
            so: both signed and of one width. All scales are random otherwise.
        steep: True for depth-wise layers with some steep channels, see ``Untrained.layer``.
    """
    graph, rng = graph_of(net), np.random.default_rng(seed)
    built = Untrained((net.resolution, net.resolution, net.input_channels), rng)
    made = dict(zip(graph.inputs, built.tensors, strict=True))
    for node in graph.nodes:
        source, target = made[node.input], graph.tensor(node.output)
        if node.kind == "average_pool":
            made[node.output] = built.pool(
                node.name, node.kernel_height, node.stride, source, node.padding
            )
            continue
        shortcut = made[node.shortcut] if node.shortcut is not None else None
        scale = None
        if alike and shortcut is not None and target.signed and shortcut.signed:
            scale = shortcut.scale if shortcut.bits == target.bits else None
        made[node.output] = built.layer(
            node.name,
            target.channels,
            node.kernel_height,
            node.stride,
            node.weight_bits,
            target.bits,
            kind=node.kind,
            signed=target.signed,
            source=source,
            shortcut=shortcut,
            scale=scale,
            own=rng.uniform(0.3, 1.5) if shortcut is not None and not target.signed else None,
            steep=steep and node.kind == "depthwise",
        )
    return lower(built.network(), {"weights": f"random, seed {seed}"})


def random_record(seed: int) -> QuantisedNetwork:
    """Return a network of a stem, a few blocks, a pool and a classifier; some channels are dead.

    Blocks are inverted residuals with and without (pooled) shortcuts, or residual blocks.
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
    """Return every other layer with one channel that training has silenced.

    It has hardly any gain, and an offset of any size.
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
    """Return a network of every kind of node that is no chain.

    It has branches that an addition joins, windows that are not square, and one or two outputs;
    with one it is a classifier.
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
