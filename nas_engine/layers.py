"""LayerTable: a whole population unrolled to per-layer columns, without bits.

Three kinds of arrays, one network per column: ``(stages, n)``, ``(residuals, n)`` for the inverted
residuals one by one, and ``(layers, n)`` for all layers (stem, three rows per inverted residual,
head, classifier). Numbers are float64 that hold exact integers; rows a network does not have are
zero, so that sums over layers need no mask. Bits stay apart (``GeneView.w_bits``, ``a_bits``):
refinement tries many bits on one table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nas_engine.encoding import Frame, Genes, GeneView

Floats = npt.NDArray[np.float64]
"""Array of float64."""

Bools = npt.NDArray[np.bool_]
"""Array of bool."""

KINDS = ("conv", "pointwise", "depthwise", "dense")
"""Layer kinds that device profiles price: stem; expand, project and head; depth-wise; classifier.
"""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LayerTable:
    """Sizes of every layer of ``n`` networks that share a frame."""

    frame: Frame
    """What the networks have in common."""
    stem_channels: Floats
    """Stem output channels, ``(n,)``."""
    depth: Floats
    """Inverted residuals of each stage, ``(stages, n)``."""
    stage_kernel: Floats
    """Depth-wise kernel size of each stage, ``(stages, n)``."""
    stage_bottleneck: Floats
    """Bottleneck channels of each stage, ``(stages, n)``."""
    stage_channels: Floats
    """Output channels of each stage, ``(stages, n)``; the last row enters the head."""
    head_channels: Floats
    """Head output channels, ``(n,)``."""
    active: Bools
    """Which inverted residuals exist, ``(residuals, n)``."""
    stage: npt.NDArray[np.intp]
    """Stage index of each inverted residual, ``(residuals, n)``; unused rows hold the number of
    stages."""
    kernel: Floats
    """Depth-wise kernel size, ``(residuals, n)``."""
    c_in: Floats
    """Input channels, ``(residuals, n)``."""
    c_mid: Floats
    """Bottleneck channels, ``(residuals, n)``."""
    c_out: Floats
    """Output channels, ``(residuals, n)``."""
    area_in: Floats
    """Input height times width in pixels, ``(residuals, n)``."""
    area_out: Floats
    """Output height times width in pixels, ``(residuals, n)``."""
    shortcut: Bools
    """Which inverted residuals add their input to their output, ``(residuals, n)``."""
    pooled: Bools | None
    """Which of these shortcuts go through a 2x2 average pool, ``(residuals, n)``; ``None`` where
    the frame has none."""
    weights: Floats
    """Number of weights of each layer, ``(layers, n)``."""

    @property
    def n(self) -> int:
        """Number of networks."""
        return int(self.active.shape[1])

    @property
    def last_row(self) -> npt.NDArray[np.intp]:
        """Number of inverted residuals of each network: the row behind its last one, ``(n,)``."""
        return np.asarray(self.depth.sum(axis=0), np.intp)

    def take(self, columns: npt.NDArray[np.intp]) -> LayerTable:
        """Return the table of some of the networks, in the order of ``columns``."""
        arrays = {name: getattr(self, name) for name in LayerTable.__slots__ if name != "frame"}
        taken: dict[str, Any] = {
            name: None if array is None else array[..., columns] for name, array in arrays.items()
        }
        return LayerTable(frame=self.frame, **taken)


def interleave(
    like: LayerTable,
    stem: Any,
    expand: Any,
    depthwise: Any,
    project: Any,
    head: Any,
    classifier: Any,
) -> Floats:
    """Return one ``(layers, n)`` array from its parts: ``(n,)`` or scalars for the ends, ``(residuals, n)`` for the three in between."""
    rows = np.empty((like.frame.n_layers, like.n))
    rows[0], rows[-2], rows[-1] = stem, head, classifier
    rows[1:-2:3], rows[2:-2:3], rows[3:-2:3] = expand, depthwise, project
    return rows


def output_positions(table: LayerTable) -> Floats:
    """Return the output positions (height times width) of each layer, ``(layers, n)``."""
    sizes, classes = table.frame.resolutions(), table.frame.classes
    return interleave(
        table,
        sizes[0][1] ** 2,
        table.area_in,
        table.area_out,
        table.area_out,
        sizes[-1][1] ** 2,
        classes > 0,
    )


def output_channels(table: LayerTable) -> Floats:
    """Return the output channels of each layer, ``(layers, n)``."""
    return interleave(
        table,
        table.stem_channels,
        table.c_mid,
        table.c_mid,
        table.c_out,
        table.head_channels,
        table.frame.classes,
    )


def macs_per_layer(table: LayerTable) -> Floats:
    """Return the multiply-accumulates of each layer, ``(layers, n)``."""
    return table.weights * output_positions(table)


def unroll(frame: Frame, genes: Genes) -> LayerTable:
    """Return the layer table of a gene matrix of shape ``(genes, n)``.

    Example:
        >>> from nas_engine.architecture import Bits, Block, Convolution, Architecture
        >>> from nas_engine.encoding import architecture_frame, encode
        >>> b = Bits(8, 8)
        >>> block = Block(kernel=3, stride=2, bottleneck=32, channels=16, bits=((b, b, b),))
        >>> conv = lambda k, s, c: Convolution(kernel=k, stride=s, channels=c, bits=b)
        >>> net = Architecture(resolution=32, stem=conv(3, 2, 8), blocks=(block,), head=conv(1, 1, 64), classifier=None)
        >>> table = unroll(architecture_frame(net), encode(architecture_frame(net), [net]))
        >>> table.weights[:, 0].tolist()
        [216.0, 256.0, 288.0, 512.0, 1024.0, 0.0]
    """
    view, n = GeneView(frame, genes), genes.shape[1]
    stem, head, kernels, bottlenecks, channels, depth = (
        part.astype(np.float64)
        for part in (view.stem, view.head, view.kernel, view.bottleneck, view.channels, view.depth)
    )
    # the stage of each inverted residual; rows a network does not have get the stage behind the
    # last, whose sizes are zero
    row = np.arange(frame.max_residuals, dtype=np.int16)[:, None]
    passed = np.zeros((frame.max_residuals, n), np.int8)
    for end in np.cumsum(view.depth, axis=0, dtype=np.int16):
        passed += (row >= end).view(np.int8)
    stage = passed.astype(np.intp)
    active = passed < frame.n_stages
    first = np.ones((frame.max_residuals, n), bool)
    np.not_equal(passed[1:], passed[:-1], out=first[1:])

    # mode="clip" skips the bounds check of take, which costs more than the gather itself
    areas = np.square(np.array([*frame.resolutions()[1:], (0, 0)], np.float64).T)
    area_out = areas[1].take(stage, mode="clip")
    area_in = areas[0].take(stage, mode="clip")
    np.copyto(area_in, area_out, where=~first)
    column = stage * n
    column += np.arange(n)
    nothing = np.zeros((1, n))
    kernel, c_mid, c_out = (
        np.concatenate([part, nothing]).take(column, mode="clip")
        for part in (kernels, bottlenecks, channels)
    )
    c_in = np.empty_like(c_out)
    c_in[0], c_in[1:] = stem, c_out[:-1]
    c_in *= active
    shortcut = c_in == c_out
    shortcut &= active
    strided = area_in != area_out
    pooled = shortcut & strided if frame.pooled_shortcut else None
    if not frame.pooled_shortcut:
        shortcut &= ~strided

    weights = np.empty((frame.n_layers, n))
    weights[0], weights[-2], weights[-1] = (
        frame.stem_kernel**2 * frame.input_channels * stem,
        channels[-1] * head,
        head * frame.classes,
    )
    np.multiply(c_in, c_mid, out=weights[1:-2:3])
    np.multiply(np.square(kernel), c_mid, out=weights[2:-2:3])
    np.multiply(c_mid, c_out, out=weights[3:-2:3])
    return LayerTable(
        frame=frame,
        stem_channels=stem,
        depth=depth,
        stage_kernel=kernels,
        stage_bottleneck=bottlenecks,
        stage_channels=channels,
        head_channels=head,
        active=active,
        stage=stage,
        kernel=kernel,
        c_in=c_in,
        c_mid=c_mid,
        c_out=c_out,
        area_in=area_in,
        area_out=area_out,
        shortcut=shortcut,
        pooled=pooled,
        weights=weights,
    )
