"""Weights that stay unpacked while a unit runs by rows, in what the memory plan leaves free.

By layers weights of odd widths, or of taps that do not come in fours, are unpacked once; by rows
they would be for every row. Where there is room they are unpacked once per segment, and multiplied
as weights of 8 bits in Flash are.
"""

from __future__ import annotations

from collections.abc import Sequence

from nas_engine.costs.memory import WORD_BYTES
from nas_engine.network.graph import Graph, Node, Tensor
from nas_engine.network.kernels import kernel_of


def unpacked_bytes(graph: Graph[Tensor, Node], node: Node) -> int:
    """Return the bytes of a layer's weights at 8 bits, of an output channel whole words.

    0 where they need not be unpacked, or cannot: channels do not come in twos.
    """
    source, target = graph.tensor(node.input), graph.tensor(node.output)
    taps = node.taps * source.channels
    if node.kind != "conv" or (node.weight_bits == 8 and taps % WORD_BYTES == 0):
        return 0
    if target.channels % 2 or not kernel_of(node, source, target).tiled:
        return 0
    return -(-taps // WORD_BYTES) * WORD_BYTES * target.channels


def kept_unpacked(
    graph: Graph[Tensor, Node], nodes: Sequence[Node], room: int
) -> tuple[tuple[Node, int], ...]:
    """Return the layers of a segment whose weights are kept unpacked, with their bytes, in order.

    Those of the most rows come first, as long as there is room.

    Args:
        graph: The network.
        nodes: Layers that run together by rows.
        room: Bytes that are free while they run.
    """
    chosen: dict[str, int] = {}
    for node in sorted(nodes, key=lambda node: -graph.tensor(node.output).height):
        size = unpacked_bytes(graph, node)
        if 0 < size <= room:
            chosen[node.name] = size
            room -= size
    return tuple((node, chosen[node.name]) for node in nodes if node.name in chosen)
