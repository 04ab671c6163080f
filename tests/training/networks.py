"""Networks that several tests of training need."""

from __future__ import annotations

from dataclasses import replace

from nas_engine.architecture import Architecture, Bits, Block, Classifier, Convolution


def small_architecture(classes: int = 4, input_channels: int = 3) -> Architecture:
    """Two stages, a shortcut, mixed widths; takes any image of 8 pixels or more."""
    w8a8, w4a4 = Bits(8, 8), Bits(4, 4)
    return Architecture(
        resolution=16,
        input_channels=input_channels,
        stem=Convolution(kernel=3, stride=2, channels=8, bits=w8a8),
        blocks=(
            Block(
                kernel=3,
                stride=1,
                bottleneck=16,
                channels=8,
                bits=((w4a4, w8a8, w4a4), (w4a4, w4a4, w4a4)),
            ),
            Block(kernel=5, stride=2, bottleneck=24, channels=16, bits=((w8a8, w4a4, w8a8),)),
        ),
        head=Convolution(kernel=1, stride=1, channels=32, bits=w8a8),
        classifier=Classifier(class_count=classes, bits=w8a8),
    )


def block_kinds(classes: int = 4) -> Architecture:
    """Residual blocks with and without a layer in the shortcut, a separable one, no head."""
    w8a8, w4a8, w5a6 = Bits(8, 8), Bits(4, 8), Bits(5, 6)
    return replace(
        small_architecture(classes),
        blocks=(
            Block(
                kind="residual",
                kernel=3,
                stride=1,
                bottleneck=0,
                channels=8,
                bits=((w8a8, w5a6),),
            ),
            Block(
                kind="residual",
                kernel=3,
                stride=2,
                bottleneck=0,
                channels=12,
                bits=((w5a6, w5a6, w4a8), (w4a8, w4a8)),
            ),
            Block(
                kind="depthwise-separable",
                kernel=5,
                stride=1,
                bottleneck=0,
                channels=12,
                bits=((w4a8, w5a6), (w8a8, w4a8)),
            ),
        ),
        head=None,
    )
