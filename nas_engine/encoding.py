"""Genes: a population of networks as one integer matrix, mapped to and from ``Architecture``.

A gene matrix has shape ``(genes, n)``, int16, one *column* per network, so that every operation of
the engine runs along memory. Rows: stem channels; kernel, bottleneck, channels and depth of each
stage; head channels, 0 without a head; kind of each stage if any stage has a choice, stride and the
stem's stride likewise; then the weight bits and the activation bits of each layer (stem, three
places per unit, head, classifier), compact from input to output, zero where a network has no layer.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nas_engine.architecture import Architecture, Bits, Block, Classifier, Convolution
from nas_engine.block_kinds import BLOCK_KINDS, INVERTED_RESIDUAL, KIND_NAMES, PLACES
from nas_engine.errors import InputError
from nas_engine.names import ImageInput, Schedule
from search_spaces import SearchSpace

Genes = npt.NDArray[np.int16]
"""Matrix of shape ``(genes, n)``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """Common properties of a population; with them, a column of genes is a network."""

    resolution: int
    """Height and width of the input image in pixels."""
    input_channels: int
    """Channels of the input image."""
    stem_kernel: int
    """Kernel size of the stem."""
    stem_strides: tuple[int, ...]
    """Strides that the stem may have; one where it is no gene."""
    kinds: tuple[tuple[str, ...], ...]
    """Kinds that each stage may have; one each where kinds are no genes."""
    strides: tuple[tuple[int, ...], ...]
    """Strides that each stage may have; one each where strides are no genes."""
    max_residuals: int
    """Rows kept for units, all stages together."""
    class_count: int
    """Outputs of the classifier, 0 for none."""
    has_head: bool
    """True if a 1x1 layer follows the last block; else its output is pooled."""
    pooled_shortcut: bool
    """True if stride-2 units with equal channels have a pooled shortcut (kinds without a 1x1
    shortcut of their own)."""
    schedule: Schedule = "layers"
    """How the networks run."""
    image: ImageInput = "whole"
    """How their image comes."""
    room: int | None = None
    """Bytes that an arena may take, as ``Architecture`` has them."""

    @property
    def n_stages(self) -> int:
        """Number of stages."""
        return len(self.strides)

    @property
    def n_layers(self) -> int:
        """Rows of every per-layer array: stem, three per unit, always a head and a classifier."""
        return 3 + PLACES * self.max_residuals

    @property
    def row_behind(self) -> int:
        """Row of the layer that takes the output of the last block: head or classifier."""
        return -2 if self.has_head else -1

    @property
    def n_structure(self) -> int:
        """Rows of a gene matrix that hold no widths; they come first."""
        per_stage = 4 + self.free_kinds + self.free_strides
        return 2 + per_stage * self.n_stages + self.free_stem_stride

    @property
    def n_genes(self) -> int:
        """Rows of a gene matrix."""
        return self.n_structure + 2 * self.n_layers

    @property
    def free_kinds(self) -> bool:
        """True if kinds are genes."""
        return any(len(kinds) > 1 for kinds in self.kinds)

    @property
    def free_strides(self) -> bool:
        """True if strides are genes."""
        return any(len(strides) > 1 for strides in self.strides)

    @property
    def free_stem_stride(self) -> bool:
        """True if the stride of the stem is a gene."""
        return len(self.stem_strides) > 1

    @property
    def all_kinds(self) -> tuple[str, ...]:
        """Kinds that any stage may have, in the order of their table."""
        return _all_kinds(self.kinds)

    @property
    def plain(self) -> bool:
        """True if every unit is an inverted residual, so that every place holds a layer."""
        return self.all_kinds == (INVERTED_RESIDUAL,)

    @property
    def n_score_stages(self) -> int:
        """Most QE-Score stages of a network; the stem and each stride-2 stage begin one."""
        return 1 + sum(2 in strides for strides in self.strides)

    def score_stages(self, stride: Genes) -> npt.NDArray[np.intp]:
        """Return the QE-Score stage of the stem and of each stage.

        A stride-2 stage begins a new one. A network with fewer of them than the frame allows has
        the last ones, so that the ends of all networks count alike (chosen here).

        Args:
            stride: Stride of each stage, ``(stages, n)`` or ``(stages, 1)``.

        Returns:
            Stages, ``(stages + 1, n)`` or ``(stages + 1, 1)``.
        """
        return _score_stages(self, stride) if self.free_strides else _fixed_geometry(self)[1]

    def sizes(self, view: GeneView) -> npt.NDArray[np.int64]:
        """Return height (= width) of the image, behind the stem and behind each stage, in pixels.

        Strides round up as padding does.

        Args:
            view: Genes of ``n`` networks.

        Returns:
            Pixels, ``(stages + 2, n)``, or ``(stages + 2, 1)`` where no stride is a gene.
        """
        if self.free_strides or self.free_stem_stride:
            return _sizes(self, view.stem_stride, view.stride)
        return _fixed_geometry(self)[0]


def space_frame(space: SearchSpace, resolution: int, class_count: int) -> Frame:
    """Return the frame of every network of a space.

    Raises:
        InputError: A resolution or class count outside the space.
    """
    if not space.min_resolution <= resolution <= space.max_resolution:
        raise InputError(
            f"resolution {resolution} is outside space '{space.name}'; expected "
            f"{space.min_resolution} to {space.max_resolution} pixels"
        )
    if space.head_channels is None and class_count == 0:
        raise InputError(
            f"classes is 0, and space '{space.name}' has no head; give --classes 1 or more, or "
            "another --space"
        )
    if not 0 <= class_count <= 65536:
        raise InputError(f"classes is {class_count}; expected 1 to 65,536, or 0 for no classifier")
    return Frame(
        resolution=resolution,
        input_channels=space.input_channels,
        stem_kernel=space.stem_kernel,
        stem_strides=space.stem_strides,
        kinds=tuple(stage.kinds for stage in space.stages),
        strides=tuple(stage.strides for stage in space.stages),
        max_residuals=space.max_residuals,
        class_count=class_count,
        has_head=space.head_channels is not None,
        pooled_shortcut=space.pooled_shortcut,
    )


def architecture_frame(architecture: Architecture) -> Frame:
    """Return the tightest frame that holds one network."""
    return Frame(
        resolution=architecture.resolution,
        input_channels=architecture.input_channels,
        stem_kernel=architecture.stem.kernel,
        stem_strides=(architecture.stem.stride,),
        kinds=tuple((block.kind,) for block in architecture.blocks),
        strides=tuple((block.stride,) for block in architecture.blocks),
        max_residuals=sum(block.depth for block in architecture.blocks),
        class_count=architecture.classifier.class_count if architecture.classifier else 0,
        has_head=architecture.head is not None,
        pooled_shortcut=architecture.pooled_shortcut,
        schedule=architecture.schedule,
        image=architecture.image,
        room=architecture.room,
    )


class GeneView:
    """Named views into a gene matrix; writing to a view writes to the matrix.

    Attributes:
        stem: Stem channels, ``(n,)``.
        kernel, bottleneck, channels, depth: Of each stage, ``(stages, n)``; the bottleneck is 0
            where the kind has none of its own.
        head: Head channels, ``(n,)``, 0 without a head.
        kind: Kind of each stage, its position in ``KIND_NAMES``, ``(stages, n)``; a constant of
            shape ``(stages, 1)``, which cannot be written to, where kinds are no genes.
        stride: Stride of each stage, shaped likewise.
        stem_stride: Stride of the stem, ``(n,)``, or a constant ``(1,)``.
        w_bits, a_bits: Widths of each layer, ``(layers, n)``; rows as in the module's description.
    """

    __slots__ = (
        "a_bits",
        "bottleneck",
        "channels",
        "depth",
        "head",
        "kernel",
        "kind",
        "stem",
        "stem_stride",
        "stride",
        "w_bits",
    )

    def __init__(self, frame: Frame, genes: Genes) -> None:
        stages, layers = frame.n_stages, frame.n_layers
        self.stem = genes[0]
        self.kernel, self.bottleneck, self.channels, self.depth = (
            genes[1 + i * stages : 1 + (i + 1) * stages] for i in range(4)
        )
        self.head = genes[1 + 4 * stages]
        first = 2 + 4 * stages
        kind, stride = _constants(frame)
        if kind is None:
            kind = genes[first : first + stages]
            first += stages
        if stride is None:
            stride = genes[first : first + stages]
            first += stages
        if frame.free_stem_stride:
            self.stem_stride = genes[first]
            first += 1
        else:
            self.stem_stride = _constant_stem(frame)
        self.kind, self.stride = kind, stride
        self.w_bits, self.a_bits = (
            genes[first : first + layers],
            genes[first + layers : first + 2 * layers],
        )


@functools.cache
def _constants(frame: Frame) -> tuple[Genes | None, Genes | None]:
    """Return kind and stride of each stage, ``(stages, 1)``, ``None`` where they are genes."""
    codes = [tuple(map(KIND_NAMES.index, kinds)) for kinds in frame.kinds]
    found: list[Genes | None] = []
    for choices, is_gene in ((codes, frame.free_kinds), (frame.strides, frame.free_strides)):
        constant = None if is_gene else np.array([[only] for (only,) in choices], np.int16)
        if constant is not None:
            constant.flags.writeable = False
        found.append(constant)
    return found[0], found[1]


@functools.cache
def _constant_stem(frame: Frame) -> Genes:
    constant = np.array(frame.stem_strides, np.int16)
    constant.flags.writeable = False
    return constant


@functools.cache
def _all_kinds(kinds: tuple[tuple[str, ...], ...]) -> tuple[str, ...]:
    return tuple(name for name in KIND_NAMES if any(name in choices for choices in kinds))


@functools.cache
def _fixed_geometry(frame: Frame) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.intp]]:
    """Return ``sizes`` and ``score_stages`` of a frame whose strides are no genes."""
    stride = _constants(frame)[1]
    assert stride is not None
    stem = np.array(frame.stem_strides[:1], np.int16)
    return _sizes(frame, stem, stride), _score_stages(frame, stride)


def _sizes(frame: Frame, stem: Genes, stride: Genes) -> npt.NDArray[np.int64]:
    found = np.empty((frame.n_stages + 2, max(stem.size, stride.shape[1])), np.int64)
    found[0], found[1] = frame.resolution, -(-frame.resolution // stem.astype(np.int64))
    for stage, step in enumerate(stride):
        found[stage + 2] = -(-found[stage + 1] // step)
    return found


def _score_stages(frame: Frame, stride: Genes) -> npt.NDArray[np.intp]:
    begun = np.zeros((frame.n_stages + 1, stride.shape[1]), np.intp)
    np.cumsum(stride == 2, axis=0, out=begun[1:])
    return np.asarray(begun + (frame.n_score_stages - 1 - begun[-1]))


def unit_stages(frame: Frame, depth: Genes) -> npt.NDArray[np.int8]:
    """Return the stage of each unit, ``(residuals, n)``; unused rows hold the number of stages.

    Args:
        frame: Common properties of the networks.
        depth: Units of each stage, ``(stages, n)``.
    """
    row = np.arange(frame.max_residuals, dtype=np.int16)[:, None]
    passed = np.zeros((frame.max_residuals, depth.shape[1]), np.int8)
    for end in np.cumsum(depth, axis=0, dtype=np.int16):
        passed += (row >= end).view(np.int8)
    return passed


def first_of_stage(stage: npt.NDArray[np.int8]) -> npt.NDArray[np.bool_]:
    """Return the mask of first units of their stage, ``(residuals, n)``, from ``unit_stages``."""
    first = np.ones(stage.shape, bool)
    np.not_equal(stage[1:], stage[:-1], out=first[1:])
    return first


def of_units(
    per_stage: npt.NDArray[Any], stage: npt.NDArray[np.int8], n_stages: int
) -> npt.NDArray[Any]:
    """Return the value of each unit's stage, ``(residuals, n)``, zero in unused rows.

    Args:
        per_stage: Values, ``(stages, n)`` or ``(stages, 1)``.
        stage: As from ``unit_stages``.
        n_stages: Number of stages.
    """
    n = stage.shape[1]
    padded = np.zeros((n_stages + 1, n), per_stage.dtype)
    padded[:-1] = per_stage
    column = stage.astype(np.intp) * n
    column += np.arange(n)
    return np.asarray(padded.take(column, mode="clip"))


def reshaping(view: GeneView) -> npt.NDArray[np.bool_]:
    """Return whether the first unit of each stage changes the shape of its input, ``(stages, n)``.

    By its channels or a stride. A stride counts on a 1x1 map too, so that the layers of a network
    do not depend on its resolution.
    """
    changes = np.empty(view.channels.shape, bool)
    np.not_equal(view.channels[0], view.stem, out=changes[0])
    np.not_equal(view.channels[1:], view.channels[:-1], out=changes[1:])
    return np.asarray(changes | (view.stride > 1))


_FIRST = [kind.layers[0] for kind in BLOCK_KINDS.values()]
_ALWAYS_FIRST = np.array([layer is not None and not layer.reshaping for layer in _FIRST])
_RESHAPING_FIRST = np.array([layer is not None and layer.reshaping for layer in _FIRST])
_HAS_BOTTLENECK = np.array([kind.has_bottleneck for kind in BLOCK_KINDS.values()])
_SHARES_INPUT = np.array(
    [
        sum(layer is not None and layer.reads_input for layer in kind.layers) > 1
        for kind in BLOCK_KINDS.values()
    ]
)
"""Facts by the position of a kind in the table."""


def first_layers(
    frame: Frame, view: GeneView, stage: npt.NDArray[np.int8]
) -> npt.NDArray[np.bool_] | None:
    """Return the mask of units with a layer at their first place, ``None`` where all have one.

    Args:
        frame: Common properties of the networks.
        view: Their genes.
        stage: As from ``unit_stages``.
    """
    if frame.plain:
        return None
    found = first_of_stage(stage)
    found &= of_units(_RESHAPING_FIRST[view.kind] & reshaping(view), stage, frame.n_stages)
    found |= of_units(_ALWAYS_FIRST[view.kind], stage, frame.n_stages)
    return found


def has_bottleneck(view: GeneView) -> npt.NDArray[np.bool_]:
    """Return the mask of stages whose bottleneck is a gene, shaped as ``view.kind``."""
    return np.asarray(_HAS_BOTTLENECK.take(view.kind, mode="clip"))


def shared_inputs(frame: Frame, view: GeneView) -> npt.NDArray[np.bool_] | None:
    """Return the mask of units that read their input at two places, ``None`` where none can.

    Both layers, at the first place and the second, then have the same input width.
    The mask has shape ``(residuals, n)``.
    """
    if not _SHARES_INPUT[[KIND_NAMES.index(name) for name in frame.all_kinds]].any():
        return None
    stage = unit_stages(frame, view.depth)
    return of_units(_SHARES_INPUT[view.kind], stage, frame.n_stages)


def active_layers(frame: Frame, view: GeneView) -> npt.NDArray[np.bool_]:
    """Return the mask of layers that each network has, ``(layers, n)``."""
    total = view.depth.sum(axis=0, dtype=np.int16)
    active = np.ones((frame.n_layers, total.size), bool)
    units = np.arange(frame.max_residuals, dtype=np.int16)[:, None] < total
    for place in range(PLACES):
        active[1 + place : -2 : PLACES] = units
    first = None if frame.plain else first_layers(frame, view, unit_stages(frame, view.depth))
    if first is not None:
        active[1:-2:PLACES] = first
    active[-2:] = np.array([[frame.has_head], [frame.class_count > 0]])
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
        if (
            own.max_residuals > frame.max_residuals
            or any(
                getattr(own, name) != getattr(frame, name)
                for name in Frame.__dataclass_fields__
                if name not in ("max_residuals", "kinds", "strides", "stem_strides", "room")
            )
            or not (_within(own.kinds, frame.kinds) and _within(own.strides, frame.strides))
            or not set(own.stem_strides) <= set(frame.stem_strides)
        ):
            raise InputError(
                f"a network with frame {own} cannot be encoded in frame {frame}; expected equal "
                "but for room, a smaller max_residuals, one of its kinds and strides per stage"
            )
        view.stem[i], view.head[i] = net.stem.channels, net.head.channels if net.head else 0
        for row, name in (
            (view.kernel, "kernel"),
            (view.bottleneck, "bottleneck"),
            (view.channels, "channels"),
            (view.depth, "depth"),
        ):
            row[:, i] = [getattr(block, name) for block in net.blocks]
        if frame.free_kinds:
            view.kind[:, i] = [KIND_NAMES.index(block.kind) for block in net.blocks]
        if frame.free_strides:
            view.stride[:, i] = [block.stride for block in net.blocks]
        if frame.free_stem_stride:
            view.stem_stride[i] = net.stem.stride
        rows = layer_rows(frame, net)
        view.w_bits[rows, i] = [width.w for width in net.layer_bits()]
        view.a_bits[rows, i] = [width.a for width in net.layer_bits()]
    return genes


def _within(own: Sequence[tuple[object, ...]], choices: Sequence[tuple[object, ...]]) -> bool:
    return len(own) == len(choices) and all(
        set(mine) <= set(allowed) for mine, allowed in zip(own, choices, strict=True)
    )


def layer_rows(frame: Frame, network: Architecture) -> list[int]:
    """Return the row of each layer in per-layer arrays, in the order of ``layer_names``."""
    rows, unit = [0], 0
    for block in network.blocks:
        for index in range(block.depth):
            rows += [1 + PLACES * unit + place for place, _ in block.unit_layers(index)]
            unit += 1
    ends = (network.head, network.classifier)
    return [*rows, *(frame.n_layers - 2 + at for at, end in enumerate(ends) if end is not None)]


def decode(frame: Frame, column: Genes) -> Architecture:
    """Return the network of one column of genes, shape ``(genes,)``."""
    view = GeneView(frame, column[:, None])
    bits = [
        Bits(int(w), int(a)) if w and a else None
        for w, a in zip(view.w_bits[:, 0], view.a_bits[:, 0], strict=True)
    ]
    blocks, row = [], 1
    for stage in range(frame.n_stages):
        end = row + PLACES * int(view.depth[stage, 0])
        kind = KIND_NAMES[view.kind[stage, 0]]
        order = BLOCK_KINDS[kind].order
        units = [[bits[first + place] for place in order] for first in range(row, end, PLACES)]
        row = end
        blocks.append(
            Block(
                kind=kind,
                kernel=int(view.kernel[stage, 0]),
                stride=int(view.stride[stage, 0]),
                bottleneck=int(view.bottleneck[stage, 0]),
                channels=int(view.channels[stage, 0]),
                bits=tuple(tuple(width for width in unit if width) for unit in units),
            )
        )
    stem_bits, head_bits, classifier_bits = bits[0], bits[-2], bits[-1]
    assert stem_bits is not None
    head = None
    if frame.has_head:
        assert head_bits is not None
        head = Convolution(kernel=1, stride=1, channels=int(view.head[0]), bits=head_bits)
    return Architecture(
        resolution=frame.resolution,
        input_channels=frame.input_channels,
        pooled_shortcut=frame.pooled_shortcut,
        schedule=frame.schedule,
        image=frame.image,
        room=frame.room,
        stem=Convolution(
            kernel=frame.stem_kernel,
            stride=int(view.stem_stride[0]),
            channels=int(view.stem[0]),
            bits=stem_bits,
        ),
        blocks=tuple(blocks),
        head=head,
        classifier=Classifier(class_count=frame.class_count, bits=classifier_bits)
        if classifier_bits and frame.class_count
        else None,
    )


def bottleneck_choices(space: SearchSpace, stage: int, channels: npt.NDArray[np.int16]) -> Genes:
    """Return the bottleneck of every expansion ratio, rounded to the channel step.

    Args:
        space: The space.
        stage: Index of the stage.
        channels: Output channels, ``(n,)``.

    Returns:
        Channels, ``(ratios, n)``, at least one step; zeros, ``(1, n)``, for a stage without ratios.
    """
    step = space.stages[stage].channels.step
    if not space.stages[stage].expansions:
        return np.zeros((1, channels.size), np.int16)
    ratios = np.asarray(space.stages[stage].expansions)[:, None]
    return np.asarray(np.maximum(np.floor(ratios * channels / step + 0.5) * step, step), np.int16)


def stage_depth_cap(space: SearchSpace, total: npt.NDArray[np.int16]) -> npt.NDArray[np.int16]:
    """Return the depth guard ``ceil(max_stage_share * total)``: most units of a stage, ``(n,)``."""
    return np.asarray(np.ceil(space.max_stage_share * total - 1e-9), np.int16)
