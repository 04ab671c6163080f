"""Genes: a population of networks as one integer matrix, and the mapping to and from ``Architecture``.

A gene matrix has shape ``(genes, n)``, int16, one *column* per network, so that every operation of
the engine runs along memory. Rows: stem channels; kernel, bottleneck, channels and depth of each
stage; head channels; then the weight bits and the activation bits of each layer (stem, three
convolutions per inverted residual, head, classifier), compact from input to output, zero where a
network is shallower.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from nas_engine.architecture import Architecture, Bits, Block, Classifier, Convolution
from nas_engine.errors import InputError
from search_spaces import SearchSpace

Genes = npt.NDArray[np.int16]
"""Matrix of shape ``(genes, n)``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What all networks of one population have in common; with it, a column of genes is a network."""

    resolution: int
    """Height and width of the input image in pixels."""
    input_channels: int
    """Channels of the input image."""
    stem_kernel: int
    """Kernel size of the stem."""
    stem_stride: int
    """Stride of the stem."""
    strides: tuple[int, ...]
    """Stride of each stage of inverted residuals."""
    max_residuals: int
    """Rows kept for inverted residuals, all stages together."""
    classes: int
    """Outputs of the classifier, 0 for none."""
    pooled_shortcut: bool
    """Whether stride-2 residuals with equal channels have a pooled shortcut."""

    @property
    def n_stages(self) -> int:
        """Number of stages of inverted residuals."""
        return len(self.strides)

    @property
    def n_layers(self) -> int:
        """Rows of every per-layer array: stem, three per inverted residual, head, classifier (kept even if there is none)."""
        return 3 + 3 * self.max_residuals

    @property
    def n_genes(self) -> int:
        """Rows of a gene matrix."""
        return 2 + 4 * self.n_stages + 2 * self.n_layers

    @property
    def score_stages(self) -> tuple[int, ...]:
        """QE-Score stage of each stage of inverted residuals; the stem is in stage 0, a stride-2 stage begins a new one."""
        return tuple(int(stage) for stage in np.cumsum([stride == 2 for stride in self.strides]))

    def resolutions(self) -> tuple[tuple[int, int], ...]:
        """Return height (= width) in and out of the stem and of each stage, in pixels; strides round up as padding does."""
        sizes = [self.resolution]
        for stride in (self.stem_stride, *self.strides):
            sizes.append(-(-sizes[-1] // stride))
        return tuple(pairwise(sizes))


def space_frame(space: SearchSpace, resolution: int, classes: int) -> Frame:
    """Return the frame of every network of a space.

    Raises:
        InputError: A resolution or class count outside the space.
    """
    if not space.min_resolution <= resolution <= space.max_resolution:
        raise InputError(
            f"resolution {resolution} is outside space '{space.name}'; expected "
            f"{space.min_resolution} to {space.max_resolution} pixels"
        )
    if not 0 <= classes <= 65536:
        raise InputError(f"classes is {classes}; expected 1 to 65,536, or 0 for no classifier")
    return Frame(
        resolution=resolution,
        input_channels=space.input_channels,
        stem_kernel=space.stem_kernel,
        stem_stride=space.stem_stride,
        strides=tuple(stage.stride for stage in space.stages),
        max_residuals=space.max_residuals,
        classes=classes,
        pooled_shortcut=space.pooled_shortcut,
    )


def architecture_frame(architecture: Architecture) -> Frame:
    """Return the tightest frame that holds one network."""
    return Frame(
        resolution=architecture.resolution,
        input_channels=architecture.input_channels,
        stem_kernel=architecture.stem.kernel,
        stem_stride=architecture.stem.stride,
        strides=tuple(block.stride for block in architecture.blocks),
        max_residuals=sum(block.depth for block in architecture.blocks),
        classes=architecture.classifier.classes if architecture.classifier else 0,
        pooled_shortcut=architecture.pooled_shortcut,
    )


class GeneView:
    """Named views into a gene matrix; writing to a view writes to the matrix.

    Attributes:
        stem: Stem channels, ``(n,)``.
        kernel, bottleneck, channels, depth: Of each stage, ``(stages, n)``.
        head: Head channels, ``(n,)``.
        w_bits, a_bits: Widths of each layer, ``(layers, n)``; rows as in the module's description.
    """

    __slots__ = ("a_bits", "bottleneck", "channels", "depth", "head", "kernel", "stem", "w_bits")

    def __init__(self, frame: Frame, genes: Genes) -> None:
        stages, layers = frame.n_stages, frame.n_layers
        self.stem = genes[0]
        self.kernel, self.bottleneck, self.channels, self.depth = (
            genes[1 + i * stages : 1 + (i + 1) * stages] for i in range(4)
        )
        self.head = genes[1 + 4 * stages]
        first = 2 + 4 * stages
        self.w_bits, self.a_bits = (
            genes[first : first + layers],
            genes[first + layers : first + 2 * layers],
        )


def active_layers(frame: Frame, depth: npt.NDArray[np.int16]) -> npt.NDArray[np.bool_]:
    """Return which rows of the per-layer arrays a network has.

    Args:
        frame: What the networks have in common.
        depth: Inverted residuals of each stage, ``(stages, n)``.

    Returns:
        Mask of shape ``(layers, n)``.
    """
    total = depth.sum(axis=0, dtype=np.int16)
    active = np.ones((frame.n_layers, depth.shape[1]), bool)
    residuals = np.arange(frame.max_residuals, dtype=np.int16)[:, None] < total
    for part in range(3):
        active[1 + part : -2 : 3] = residuals
    active[-1] = frame.classes > 0
    return active


def encode(frame: Frame, architectures: Sequence[Architecture]) -> Genes:
    """Return the gene matrix of networks that share a frame, shape ``(genes, n)``.

    Raises:
        InputError: A network that the frame does not hold.
    """
    genes = np.zeros((frame.n_genes, len(architectures)), np.int16)
    view = GeneView(frame, genes)
    for i, net in enumerate(architectures):
        own = architecture_frame(net)
        if own.max_residuals > frame.max_residuals or any(
            getattr(own, name) != getattr(frame, name)
            for name in Frame.__dataclass_fields__
            if name != "max_residuals"
        ):
            raise InputError(
                f"a network with frame {own} cannot be encoded in frame {frame}; expected equal "
                "but for a smaller max_residuals"
            )
        view.stem[i], view.head[i] = net.stem.channels, net.head.channels
        for row, name in (
            (view.kernel, "kernel"),
            (view.bottleneck, "bottleneck"),
            (view.channels, "channels"),
            (view.depth, "depth"),
        ):
            row[:, i] = [getattr(block, name) for block in net.blocks]
        bits = net.layer_bits()
        convolutions = len(bits) - 1 - (net.classifier is not None)
        rows = [
            *range(convolutions),
            frame.n_layers - 2,
            *([frame.n_layers - 1] if net.classifier else []),
        ]
        view.w_bits[rows, i] = [width.w for width in bits]
        view.a_bits[rows, i] = [width.a for width in bits]
    return genes


def decode(frame: Frame, column: Genes) -> Architecture:
    """Return the network of one column of genes, shape ``(genes,)``."""
    view = GeneView(frame, column[:, None])
    bits = [
        Bits(int(w), int(a)) if w and a else None
        for w, a in zip(view.w_bits[:, 0], view.a_bits[:, 0], strict=True)
    ]
    blocks, row = [], 1
    for stage, stride in enumerate(frame.strides):
        depth = int(view.depth[stage, 0])
        rows = tuple((bits[r], bits[r + 1], bits[r + 2]) for r in range(row, row + 3 * depth, 3))
        row += 3 * depth
        blocks.append(
            Block(
                kernel=int(view.kernel[stage, 0]),
                stride=stride,
                bottleneck=int(view.bottleneck[stage, 0]),
                channels=int(view.channels[stage, 0]),
                bits=rows,  # type: ignore[arg-type]  # a column of a legal matrix has bits wherever a layer is
            )
        )
    stem_bits, head_bits, classifier_bits = bits[0], bits[-2], bits[-1]
    assert stem_bits is not None
    assert head_bits is not None
    return Architecture(
        resolution=frame.resolution,
        input_channels=frame.input_channels,
        pooled_shortcut=frame.pooled_shortcut,
        stem=Convolution(
            kernel=frame.stem_kernel,
            stride=frame.stem_stride,
            channels=int(view.stem[0]),
            bits=stem_bits,
        ),
        blocks=tuple(blocks),
        head=Convolution(kernel=1, stride=1, channels=int(view.head[0]), bits=head_bits),
        classifier=Classifier(classes=frame.classes, bits=classifier_bits)
        if classifier_bits and frame.classes
        else None,
    )


def bottleneck_choices(space: SearchSpace, stage: int, channels: npt.NDArray[np.int16]) -> Genes:
    """Return the bottleneck of every expansion ratio, rounded to the channel step, for given output channels.

    Args:
        space: The space.
        stage: Index of the stage.
        channels: Output channels, ``(n,)``.

    Returns:
        Channels, ``(ratios, n)``, at least one step.
    """
    step = space.stages[stage].channels.step
    ratios = np.asarray(space.stages[stage].expansions)[:, None]
    return np.asarray(np.maximum(np.floor(ratios * channels / step + 0.5) * step, step), np.int16)


def stage_depth_cap(space: SearchSpace, total: npt.NDArray[np.int16]) -> npt.NDArray[np.int16]:
    """Return the most inverted residuals one stage may hold of ``total``, the depth guard: ``ceil(max_stage_share * total)``, ``(n,)``."""
    return np.asarray(np.ceil(space.max_stage_share * total - 1e-9), np.int16)


def legal(space: SearchSpace, frame: Frame, genes: Genes) -> npt.NDArray[np.bool_]:
    """Return which columns are networks of the space, ``(n,)``; ``sample`` and every mutation only make such."""
    view = GeneView(frame, genes)
    ok = _in_range(space.stem_channels, view.stem) & _in_range(space.head_channels, view.head)
    for s, stage in enumerate(space.stages):
        ok &= np.isin(view.kernel[s], stage.kernels) & _in_range(stage.channels, view.channels[s])
        ok &= (view.bottleneck[s] == bottleneck_choices(space, s, view.channels[s])).any(axis=0)
        ok &= (view.depth[s] >= stage.min_depth) & (view.depth[s] <= stage.max_depth)
    total = view.depth.sum(axis=0, dtype=np.int16)
    ok &= (total <= frame.max_residuals) & (view.depth.max(axis=0) <= stage_depth_cap(space, total))
    if space.non_decreasing:
        ok &= (np.diff(view.channels, axis=0) >= 0).all(axis=0)
    active = active_layers(frame, view.depth)
    for bits, choices in ((view.w_bits, space.weight_bits), (view.a_bits, space.activation_bits)):
        inner = active.copy()
        inner[[0, -1]] = False
        ok &= (np.isin(bits, choices) | ~inner).all(axis=0) & ((bits == 0) | active).all(axis=0)
        ok &= (bits[0] == space.end_bits) & ((bits[-1] == space.end_bits) | ~active[-1])
        if space.tie_block_bits:
            ok &= (bits[1:-2:3] == bits[2:-2:3]).all(axis=0) & (bits[1:-2:3] == bits[3:-2:3]).all(
                axis=0
            )
    return np.asarray(ok)


def _in_range(channels: object, values: npt.NDArray[np.int16]) -> npt.NDArray[np.bool_]:
    low, high, step = (getattr(channels, name) for name in ("minimum", "maximum", "step"))
    return np.asarray((values >= low) & (values <= high) & (values % step == 0))
