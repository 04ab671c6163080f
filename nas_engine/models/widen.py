"""A larger network with the shape of a searched one, to be its float teacher."""

from __future__ import annotations

from dataclasses import replace

from nas_engine.architecture import MAX_CHANNELS, Architecture, Bits, Block, Convolution

_MULTIPLE = 8
"""Channels are multiples of this, as in MobileNetV2."""

_W8A8 = Bits(8, 8)


def widen(architecture: Architecture, factor: float = 2.0) -> Architecture:
    """Return the same network with more channels and all widths at 8 bits.

    Args:
        architecture: Any network; kernels, strides, depth, resolution, shortcuts and classes stay.
        factor: On the output channels of stem, blocks and head and on every bottleneck; the product
            is rounded to the nearest multiple of 8, within 8 and 8192.
    """

    def channels(count: int) -> int:
        return min(max(int(count * factor / _MULTIPLE + 0.5), 1) * _MULTIPLE, MAX_CHANNELS)

    def convolution(conv: Convolution) -> Convolution:
        return replace(conv, channels=channels(conv.channels), bits=_W8A8)

    stem, blocks = convolution(architecture.stem), list[Block]()
    for row in architecture.blocks:
        entering, wide = (blocks[-1] if blocks else stem).channels, channels(row.channels)
        reshapes = entering != wide or row.stride > 1
        layers = [len(row.row.rows(reshapes=it)) for it in (reshapes, *[False] * (row.depth - 1))]
        bottleneck = channels(row.bottleneck) if row.row.has_bottleneck else 0
        bits = tuple((_W8A8,) * count for count in layers)
        blocks.append(replace(row, bottleneck=bottleneck, channels=wide, bits=bits))
    return replace(
        architecture,
        stem=stem,
        blocks=tuple(blocks),
        head=architecture.head and convolution(architecture.head),
        classifier=architecture.classifier and replace(architecture.classifier, bits=_W8A8),
    )
