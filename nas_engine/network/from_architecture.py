"""Graph of an architecture: every layer and pool with the names that all later steps use.

Padding is TFLite's SAME. The image is signed (pixel - 128), a residual stream between blocks is
signed where a block ends without an activation, logits are signed; everything else is rectified.
"""

from __future__ import annotations

from itertools import pairwise

from nas_engine.architecture import Architecture, Bits, Block
from nas_engine.network.graph import Graph, Node, Tensor

IMAGE, LOGITS = "image", "logits"
"""Names of the first and the last tensor; without a classifier the head's output is the last."""

IMAGE_BITS, LOGIT_BITS = 8, 8
"""Widths of the image, of the logits, and of the head's output where there is no classifier."""


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return the zeros before and after one side of ``size``, as TFLite's SAME padding.

    The output has ``ceil(size / stride)``.
    """
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def graph_of(architecture: Architecture) -> Graph[Tensor, Node]:
    """Return the graph of an architecture; its layers have the names of ``layer_names``."""
    draft = _Draft(architecture)
    stem = architecture.stem
    tensor = draft.layer(
        "stem", IMAGE, "stem output", stem.channels, kernel=stem.kernel, stride=stem.stride
    )
    for stage, block in enumerate(architecture.blocks, 1):
        for unit in range(block.depth):
            stride = block.stride if unit == 0 and draft.size(tensor) > 1 else 1
            tensor = _unit(draft, f"s{stage}.b{unit + 1}", tensor, block, unit, stride)
    if architecture.head is not None:
        tensor = draft.layer("head", tensor, "head output", architecture.head.channels)
    if architecture.classifier is not None:
        tensor = draft.pool("pool", tensor, "pooled vector", draft.size(tensor))
        count = architecture.classifier.class_count
        tensor = draft.layer("classifier", tensor, LOGITS, count, signed=True)
    return Graph(
        tensors=tuple(draft.tensors.values()),
        nodes=tuple(draft.nodes),
        inputs=(IMAGE,),
        outputs=(tensor,),
    )


class _Draft:
    """Tensors and nodes so far; layers take their widths from the architecture by their names."""

    def __init__(self, architecture: Architecture) -> None:
        self.pooled_shortcut = architecture.pooled_shortcut
        self.widths: dict[str, Bits] = dict(
            zip(architecture.layer_names(), architecture.layer_bits(), strict=True)
        )
        size = architecture.resolution
        image = Tensor(
            name=IMAGE,
            height=size,
            width=size,
            channels=architecture.input_channels,
            bits=IMAGE_BITS,
            signed=True,
        )
        self.tensors = {IMAGE: image}
        self.nodes: list[Node] = []
        inputs = [bits.a for bits in self.widths.values()]
        self.output_bits = dict(zip(self.widths, [*inputs[1:], LOGIT_BITS], strict=True))

    def size(self, tensor: str) -> int:
        """Return the side of a square tensor."""
        return self.tensors[tensor].height

    def layer(
        self,
        name: str,
        source: str,
        target: str,
        channels: int,
        *,
        kind: str = "conv",
        kernel: int = 1,
        stride: int = 1,
        signed: bool = False,
        shortcut: str | None = None,
        bits: int | None = None,
    ) -> str:
        """Add a layer and return its output, ``bits`` wide or as the input of the next layer."""
        size = self.size(source)
        padding = same_padding(size, kernel, stride)
        self.tensors[target] = Tensor(
            name=target,
            height=-(-size // stride),
            width=-(-size // stride),
            channels=channels,
            bits=self.output_bits[name] if bits is None else bits,
            signed=signed,
        )
        node = Node(
            name=name,
            kind=kind,
            inputs=(source,),
            output=target,
            kernel_height=kernel,
            kernel_width=kernel,
            stride=stride,
            padding=(*padding, *padding),
            weight_bits=self.widths[name].w,
            shortcut=shortcut,
        )
        self.nodes.append(node)
        return target

    def pool(self, name: str, source: str, target: str, kernel: int) -> str:
        """Add an average pool over adjacent windows and return its output."""
        taken = self.tensors[source]
        padding = same_padding(taken.height, kernel, kernel)
        side = -(-taken.height // kernel)
        self.tensors[target] = Tensor(
            name=target,
            height=side,
            width=side,
            channels=taken.channels,
            bits=taken.bits,
            signed=taken.signed,
        )
        node = Node(
            name=name,
            kind="average_pool",
            inputs=(source,),
            output=target,
            kernel_height=kernel,
            kernel_width=kernel,
            stride=kernel,
            padding=(*padding, *padding),
        )
        self.nodes.append(node)
        return target


def _unit(draft: _Draft, name: str, source: str, block: Block, unit: int, stride: int) -> str:
    """Add one unit of a block by the row of its kind and return its output.

    The input is added to the last layer where the shapes allow, through an average pool (behind the
    first layer, so that it can be pooled in place) or a 1x1 layer where the kind has them. Such a
    layer is signed and as wide as the sum that is written over it (chosen here); it runs behind the
    first one, is then the last to read the unit's input, and is made over it.
    """
    layers = [layer for _, layer in block.unit_layers(unit)]
    chain = [layer for layer in layers if not layer.reshaping]
    last, entering = chain[-1], draft.tensors[source].channels
    channels = {"in": entering, "mid": block.bottleneck, "out": block.channels}
    bits = dict.fromkeys(layers, draft.output_bits[f"{name}.{last.name}"])
    bits |= {layer: draft.widths[f"{name}.{after.name}"].a for layer, after in pairwise(chain)}
    same, pools = entering == block.channels, draft.pooled_shortcut and block.row.pools_shortcut
    tensor, shortcut = source, source if same and stride == 1 else None
    for layer in layers:
        made = draft.layer(
            f"{name}.{layer.name}",
            source if layer.reads_input else tensor,
            f"{name} {layer.tensor}",
            channels[layer.outputs],
            kind="depthwise" if layer.kind == "depthwise" else "conv",
            kernel=block.kernel if layer.has_kernel else 1,
            stride=stride if layer.strided else 1,
            signed=layer.reshaping or (layer is last and not block.row.activated),
            shortcut=shortcut if layer is last else None,
            bits=bits[layer],
        )
        if layer.reshaping:
            shortcut = made
            continue
        tensor = made
        if layer is chain[0] and same and stride > 1 and pools:
            shortcut = draft.pool(f"{name}.shortcut", source, f"{name} pooled shortcut", 2)
    return tensor
