"""How fast the integer reference is, and that its fast way and its plain way are one function.

python -m benchmarks.integer_reference
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.harness import HERE, Row, best_seconds, main
from nas_engine.architecture import Architecture, read_architecture
from nas_engine.heap import keep_freed_blocks
from nas_engine.integer.lowering import lower
from nas_engine.integer.model import IntegerModel
from nas_engine.integer.reference import run as run_integers
from nas_engine.integer.reference import trace
from nas_engine.network.from_architecture import graph_of
from nas_engine.network.graph import Node
from nas_engine.quantization.record import QuantisedLayer, QuantisedNetwork, QuantisedTensor

NETWORK = HERE / "networks" / "mobilenet-32-64k-128k.yaml"
"""Winner of a search for 64 KiB of SRAM and 128 KiB of Flash at 32 x 32 pixels: 23.7 million MACs
per image."""


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
    ) -> QuantisedTensor:
        """Add a layer and return its output; without a source it reads the tensor added last.

        ``scale`` is that of the output, drawn if it is not given. ``own`` is that of the layer's
        own result, which a shortcut is added to, in those of the output.
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
            weights=weights,
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


def untrained(net: Architecture, seed: int = 0) -> IntegerModel:
    """Return an integer model of an architecture's shape."""
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
            own=rng.uniform(0.3, 1.5) if shortcut is not None and not target.signed else None,
        )
    return lower(built.network(), {"weights": f"random, seed {seed}"})


def pictures(count: int, size: int, channels: int) -> npt.NDArray[np.uint8]:
    """Return the handwritten digits of scikit-learn, enlarged and tinted; noise where that is not
    installed.
    """
    rng = np.random.default_rng(0)
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        return rng.integers(0, 256, (count, size, size, channels), np.uint8)
    digits = load_digits().images[np.arange(count) % 1797] / 16
    places = np.arange(size) * digits.shape[1] // size
    tint = rng.uniform(0.3, 1.0, (count, 1, 1, channels))
    return (255 * tint * digits[:, places][:, :, places][..., None]).astype(np.uint8)


def run(network: Path = NETWORK, images: int = 512, compared: int = 4) -> list[Row]:
    keep_freed_blocks()
    architecture = read_architecture(network)
    model = untrained(architecture)
    batch = pictures(images, architecture.resolution, architecture.input_channels)
    one, two = (
        images / best_seconds(partial(run_integers, model, batch, threads=threads), repeats=3)
        for threads in (1, 2)
    )

    quick, plain = (trace(model, batch[:compared], fast=fast) for fast in (True, False))
    values = sum(array.size for array in plain.values())
    different = sum(int((quick[name] != plain[name]).sum()) for name in plain)
    outputs = [(model.tensor(step.output), plain[step.output]) for step in model.nodes]
    at_ends = np.mean(
        [np.isin(array, (tensor.low, tensor.high)).mean() for tensor, array in outputs]
    )
    return [
        Row(
            what="23.7 million MACs, 32 x 32, one thread",
            measured=f"{one:,.0f} images/s",
            at_least="250 images/s",
            reached=one >= 250,
        ),
        Row(
            what="the same, two threads",
            measured=f"{two:,.0f} images/s",
            at_least="500 images/s",
            reached=two >= 500,
        ),
        Row(
            what=(
                f"values that differ from the plain int64 way, all tensors of {compared} images "
                f"({at_ends:.0%} at an end of their range)"
            ),
            measured=f"{different} of {values:,}",
            at_least="0",
            reached=different == 0,
        ),
    ]


if __name__ == "__main__":
    main("integer_reference", run, network=NETWORK, images=512, compared=4)
