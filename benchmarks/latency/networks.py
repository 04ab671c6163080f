"""Multiply-accumulates by kind of layer of the networks whose latencies are published.

Geometry is that of the papers (MobileNetV1: Howard et al. 2017, table 1; MobileNetV2: Sandler et
al. 2018, table 2; ResNet-8, DS-CNN and the autoencoder: Banbury et al. 2021, MLPerf Tiny). A
network that is not built here has no kinds, and its latencies are printed without a claim.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import pairwise

KINDS = ("first", "pointwise", "depthwise", "dense", "convolution")
"""Kinds: first convolution, 1x1, depth-wise, dense, and k x k convolutions behind the first."""

Work = Iterator[tuple[str, int]]
"""Kind and multiply-accumulates of each layer."""

_MOBILENET_V1 = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5]
_MOBILENET_V1 += [(1024, 2), (1024, 1)]
_MOBILENET_V2 = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2)]
_MOBILENET_V2 += [(6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]

_CLASSES = {"Flowers": 5, "ImageNet": 1000, "MLPerf Tiny vww / Visual Wake Words": 2}


def macs_by_kind(network: str, image: str, task: str) -> Counter[str] | None:
    """Return the multiply-accumulates of each kind; ``None`` for a network that is not built here.

    Args:
        network: Name as in ``rows.csv``, such as ``MobileNetV2-0.35``.
        image: Input such as ``96x96x3``; may be empty.
        task: Column ``task``; it decides the classes.
    """
    match = re.fullmatch(r"MobileNetV([12])-([\d.]+)", network)
    layers: Iterable[tuple[str, int]]
    if match and image and task in _CLASSES:
        side, _, channels = map(int, image.split("x"))
        build = _mobilenet_v1 if match[1] == "1" else _mobilenet_v2
        layers = build(float(match[2]), side, channels, _CLASSES[task])
    elif network in _OF_MLPERF:
        layers = _OF_MLPERF[network]()
    else:
        return None
    found: Counter[str] = Counter()
    for kind, macs in layers:
        found[kind] += macs
    return found


def _rounded(channels: float) -> int:
    """Return channels in eights, at least nine tenths of what is asked (MobileNetV2's code)."""
    found = max(8, int(channels + 4) // 8 * 8)
    return found + 8 if found < 0.9 * channels else found


def _mobilenet_v1(width: float, side: int, channels: int, classes: int) -> Work:
    inputs, side = int(32 * width), -(-side // 2)
    yield "first", side * side * 9 * channels * inputs
    for outputs, stride in _MOBILENET_V1:
        outputs, side = int(outputs * width), -(-side // stride)
        yield "depthwise", side * side * 9 * inputs
        yield "pointwise", side * side * inputs * outputs
        inputs = outputs
    yield "dense", inputs * classes


def _mobilenet_v2(width: float, side: int, channels: int, classes: int) -> Work:
    inputs, side = _rounded(32 * width), -(-side // 2)
    yield "first", side * side * 9 * channels * inputs
    for expansion, outputs, units, stride in _MOBILENET_V2:
        outputs = _rounded(outputs * width)
        for unit in range(units):
            middle = inputs * expansion
            if expansion > 1:
                yield "pointwise", side * side * inputs * middle
            side = -(-side // (stride if unit == 0 else 1))
            yield "depthwise", side * side * 9 * middle
            yield "pointwise", side * side * middle * outputs
            inputs = outputs
    last = max(_rounded(1280 * width), 1280)
    yield "pointwise", side * side * inputs * last
    yield "dense", last * classes


def _resnet8() -> Work:
    yield "first", 32 * 32 * 9 * 3 * 16
    inputs, side = 16, 32
    for outputs, stride in ((16, 1), (32, 2), (64, 2)):
        side //= stride
        yield "convolution", side * side * 9 * (inputs + outputs) * outputs
        if stride > 1:
            yield "pointwise", side * side * inputs * outputs
        inputs = outputs
    yield "dense", 64 * 10


def _ds_cnn() -> Work:
    positions = 25 * 5
    yield "first", positions * 10 * 4 * 64
    for _ in range(4):
        yield "depthwise", positions * 9 * 64
        yield "pointwise", positions * 64 * 64
    yield "dense", 64 * 12


def _autoencoder() -> Work:
    widths = [640, *[128] * 4, 8, *[128] * 4, 640]
    for inputs, outputs in pairwise(widths):
        yield "dense", inputs * outputs


_OF_MLPERF = {"ResNet-8": _resnet8, "DS-CNN": _ds_cnn, "FC autoencoder": _autoencoder}
