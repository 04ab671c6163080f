"""LayerTable: a whole population unrolled to per-layer columns, without bits.

Three kinds of arrays, one network per column: ``(stages, n)``, ``(residuals, n)`` for the units one
by one, and ``(layers, n)`` for all layers (stem, three places per unit, head, classifier). Numbers
are float64 that hold exact integers; rows a network does not have are zero, so that sums over
layers need no mask. Bits stay apart (``GeneView.w_bits``, ``a_bits``): refinement tries many bits
on one table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from nas_engine.block_kinds import (
    BLOCK_KINDS,
    INVERTED_RESIDUAL,
    KIND_NAMES,
    PLACES,
    BlockKind,
    BlockLayer,
)
from nas_engine.encoding import (
    Frame,
    Genes,
    GeneView,
    first_layers,
    first_of_stage,
    of_units,
    reshaping,
    unit_stages,
)

Floats = npt.NDArray[np.float64]
"""Array of float64."""

Bools = npt.NDArray[np.bool_]
"""Array of bool."""

KINDS = ("conv", "pointwise", "depthwise", "dense")
"""Layer kinds of device profiles: k x k and stem; 1x1 and head; depth-wise; classifier."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LayerTable:
    """Sizes of every layer of ``n`` networks that share a frame."""

    frame: Frame
    """Common properties of the networks."""
    stem_channels: Floats
    """Stem output channels, ``(n,)``."""
    depth: Floats
    """Units of each stage, ``(stages, n)``."""
    stage_kernel: Floats
    """Kernel size of each stage, ``(stages, n)``."""
    stage_bottleneck: Floats
    """Bottleneck channels of each stage, ``(stages, n)``; 0 where its kind has none of its own."""
    stage_channels: Floats
    """Output channels of each stage, ``(stages, n)``; the last row enters the head, or the pool."""
    head_channels: Floats
    """Channels behind the last convolution, ``(n,)``: of the head, or, without one, of the last
    stage."""
    stem_area: Floats
    """Height times width behind the stem, in pixels, ``(n,)``, or ``(1,)`` where no stride is a
    gene."""
    head_area: Floats
    """Height times width behind the last stage, in pixels, ``(n,)``."""
    score_stage: npt.NDArray[np.intp]
    """QE-Score stage of the stem and of each stage, ``(stages + 1, n)``, or ``(stages + 1, 1)``
    where strides are no genes."""
    stage_kind: npt.NDArray[np.intp]
    """Kind of each stage, its position in ``KIND_NAMES``, ``(stages, n)``, or ``(stages, 1)`` where
    kinds are no genes."""
    reshapes: Bools | None
    """True where the first unit of a stage changes the shape of its input, ``(stages, n)``;
    ``None`` where every unit is an inverted residual."""
    kind: npt.NDArray[np.int8] | None
    """Kind of each unit, likewise, ``(residuals, n)``; unused rows hold any. ``None`` where all
    units of the frame are of one kind."""
    active: Bools
    """Mask of units that exist, ``(residuals, n)``."""
    first: Bools | None
    """Mask of units with a layer at their first place, ``(residuals, n)``; ``None`` where all that
    exist have."""
    stage: npt.NDArray[np.intp]
    """Stage index of each unit, ``(residuals, n)``; unused rows hold the number of stages."""
    kernel: Floats
    """Kernel size, ``(residuals, n)``."""
    c_in: Floats
    """Input channels, ``(residuals, n)``."""
    c_mid: Floats
    """Channels between the second and the third layer, ``(residuals, n)``."""
    c_out: Floats
    """Output channels, ``(residuals, n)``."""
    area_in: Floats
    """Input height times width in pixels, ``(residuals, n)``."""
    area_out: Floats
    """Output height times width in pixels, ``(residuals, n)``."""
    shortcut: Bools
    """Mask of units that add their input to their output, as it is, pooled, or through a 1x1 layer
    at their first place, ``(residuals, n)``."""
    projected: Bools | None
    """Mask of shortcuts that are 1x1 layers at the first place, ``(residuals, n)``; ``None``
    where no kind of the frame has such."""
    pooled: Bools | None
    """Mask of shortcuts through a 2x2 average pool, ``(residuals, n)``; ``None`` where
    the frame has none."""
    weights: Floats
    """Number of weights of each layer, ``(layers, n)``."""

    @property
    def n(self) -> int:
        """Number of networks."""
        return int(self.active.shape[1])

    @property
    def last_row(self) -> npt.NDArray[np.intp]:
        """Number of units of each network: the row behind its last one, ``(n,)``."""
        return np.asarray(self.depth.sum(axis=0), np.intp)

    @property
    def kinds(self) -> tuple[int, ...]:
        """Kinds that its units may have, positions in ``KIND_NAMES``."""
        return tuple(KIND_NAMES.index(name) for name in self.frame.all_kinds)

    def of_kind(self, kind: int) -> Bools | bool:
        """Return which units are of a kind, ``(residuals, n)``, or ``True`` where all are."""
        return True if self.kind is None else np.asarray(self.kind == kind)

    def take(self, columns: npt.NDArray[np.intp]) -> LayerTable:
        """Return the table of some of the networks, in the order of ``columns``."""

        def some(values: Any) -> Any:
            wide = isinstance(values, np.ndarray) and values.shape[-1:] == (self.n,)
            return values[..., columns] if wide else values

        taken: dict[str, Any] = {name: some(getattr(self, name)) for name in LayerTable.__slots__}
        return LayerTable(**taken)


def first_units(table: LayerTable) -> LayerTable:
    """Return the table of the first unit of each network alone, arrays of units ``(1, n)``.

    What belongs to stages and layers stays that of the whole network.
    """
    units = ("kind", "active", "first", "stage", "kernel", "c_in", "c_mid", "c_out")
    others = ("area_in", "area_out", "shortcut", "projected", "pooled")
    values = {name: getattr(table, name) for name in (*units, *others)}
    return replace(
        table, **{name: value[:1] for name, value in values.items() if value is not None}
    )


def interleave(
    like: LayerTable,
    stem: Any,
    first: Any,
    second: Any,
    third: Any,
    head: Any,
    classifier: Any,
) -> Floats:
    """Return one ``(layers, n)`` array from its parts.

    The ends are ``(n,)`` or scalars, the three places of the units ``(residuals, n)`` or scalars.
    """
    rows = np.empty((like.frame.n_layers, like.n))
    rows[0], rows[-2], rows[-1] = stem, head, classifier
    for place, values in enumerate((first, second, third)):
        rows[1 + place : -2 : PLACES] = values
    return rows


def of_first(table: LayerTable, values: Floats) -> Floats:
    """Return values of the units' first layers, ``(residuals, n)``, zero where a unit has none."""
    return values if table.first is None else values * table.first


def by_kind(table: LayerTable, place: int, value: Callable[[BlockLayer], Any]) -> Floats:
    """Return a value of the layer at one place of each unit, ``(residuals, n)``, zero for none.

    Args:
        table: ``n`` networks.
        place: Place in the unit.
        value: Its value for a layer of the table of kinds, ``(residuals, n)``.
    """
    found: Floats | None = None
    for kind in table.kinds:
        layer = BLOCK_KINDS[KIND_NAMES[kind]].layers[place]
        values = np.zeros_like(table.c_in) if layer is None else value(layer)
        found = values if found is None else np.where(table.of_kind(kind), values, found)
    assert found is not None
    return found


def unit_inputs(table: LayerTable, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the values of the layers that take each unit's input, ``(residuals, n)``.

    Args:
        table: ``n`` networks.
        values: Values of all layers, ``(layers, n)``.
    """
    first, second = values[1:-2:PLACES], values[2:-2:PLACES]
    return first if table.frame.plain else np.where(_reads_late(table), second, first)


def rectified_inputs(table: LayerTable) -> Bools:
    """Return the mask of units whose input went through an activation, ``(residuals, n)``."""
    rectified = np.zeros(table.active.shape, bool)
    rectified[0] = True  # the stem's output
    rectified[1:] = activated_units(table)[:-1]
    return rectified


def activated_units(table: LayerTable) -> Bools:
    """Return the mask of units whose output goes through an activation, ``(residuals, n)``."""
    flags = np.array([kind.activated for kind in BLOCK_KINDS.values()])
    if table.kind is None:
        return np.full(table.active.shape, flags[table.kinds[0]])
    return np.asarray(flags[table.kind])


def _reads_late(table: LayerTable) -> Bools | bool:
    """Return the mask of units whose second layer takes their input, or one value for all."""
    late = np.array([_second(kind).reads_input for kind in BLOCK_KINDS.values()])
    return bool(late[table.kinds[0]]) if table.kind is None else np.asarray(late[table.kind])


def _second(kind: BlockKind) -> BlockLayer:
    layer = kind.layers[1]
    assert layer is not None
    return layer


def output_positions(table: LayerTable) -> Floats:
    """Return the output positions (height times width) of each layer, ``(layers, n)``."""
    first = by_kind(table, 0, lambda layer: table.area_out if layer.strided else table.area_in)
    return interleave(
        table,
        table.stem_area,
        of_first(table, first),
        table.area_out,
        table.area_out,
        table.head_area * table.frame.has_head,
        table.frame.class_count > 0,
    )


def output_channels(table: LayerTable) -> Floats:
    """Return the output channels of each layer, ``(layers, n)``."""
    return interleave(
        table,
        table.stem_channels,
        of_first(table, table.c_mid),
        table.c_mid,
        table.c_out,
        table.head_channels * table.frame.has_head,
        table.frame.class_count,
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
        >>> stem, head = conv(3, 2, 8), conv(1, 1, 64)
        >>> net = Architecture(
        ...     resolution=32, stem=stem, blocks=(block,), head=head, classifier=None
        ... )
        >>> table = unroll(architecture_frame(net), encode(architecture_frame(net), [net]))
        >>> table.weights[:, 0].tolist()
        [216.0, 256.0, 288.0, 512.0, 1024.0, 0.0]
    """
    view, n = GeneView(frame, genes), genes.shape[1]
    stem, head, kernels, bottlenecks, channels, depth = (
        part.astype(np.float64)
        for part in (view.stem, view.head, view.kernel, view.bottleneck, view.channels, view.depth)
    )
    # rows a network does not have get the stage behind the last, whose sizes are zero
    passed = unit_stages(frame, view.depth)
    stage = passed.astype(np.intp)
    active = passed < frame.n_stages
    column = stage * n
    column += np.arange(n)
    sizes = np.square(frame.sizes(view).astype(np.float64))
    areas = np.zeros((2, frame.n_stages + 1, sizes.shape[1]))
    areas[0, :-1], areas[1, :-1] = sizes[1:-1], sizes[2:]

    # mode="clip" skips the bounds check of take, which costs more than the gather itself
    place = stage if sizes.shape[1] == 1 else column
    area_in, area_out = (part.take(place, mode="clip") for part in areas)
    np.copyto(area_in, area_out, where=~first_of_stage(passed))
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

    first, kind = first_layers(frame, view, passed), None
    if len(frame.all_kinds) > 1:
        kind = of_units(view.kind, passed, frame.n_stages).astype(np.int8)
    table = LayerTable(
        frame=frame,
        stem_channels=stem,
        depth=depth,
        stage_kernel=kernels,
        stage_bottleneck=bottlenecks,
        stage_channels=channels,
        head_channels=head if frame.has_head else channels[-1],
        stem_area=sizes[1],
        head_area=np.broadcast_to(sizes[-1], (n,)),
        score_stage=frame.score_stages(view.stride),
        stage_kind=view.kind.astype(np.intp),
        reshapes=None if frame.plain else reshaping(view),
        kind=kind,
        active=active,
        first=first,
        stage=stage,
        kernel=kernel,
        c_in=c_in,
        c_mid=c_mid,
        c_out=c_out,
        area_in=area_in,
        area_out=area_out,
        shortcut=shortcut,
        projected=_projected(frame, first, kind),
        pooled=pooled,
        weights=np.empty((frame.n_layers, n)),
    )
    _fill_units(table)
    table.weights[0], table.weights[-2], table.weights[-1] = (
        frame.stem_kernel**2 * frame.input_channels * stem,
        channels[-1] * head,
        table.head_channels * frame.class_count,
    )
    return table


def _projected(
    frame: Frame, first: Bools | None, kind: npt.NDArray[np.int8] | None
) -> Bools | None:
    """Return the mask of units with a layer in their shortcut, ``(residuals, n)``."""
    flags = np.array([BLOCK_KINDS[name].reshapes_shortcut for name in KIND_NAMES])
    if first is None or not flags[[KIND_NAMES.index(name) for name in frame.all_kinds]].any():
        return None
    return first if kind is None else first & flags[kind]


def _fill_units(table: LayerTable) -> None:
    """Set bottlenecks, shortcuts and weights of units by their kinds, in place."""
    for code in table.kinds:
        kind, mask = BLOCK_KINDS[KIND_NAMES[code]], table.of_kind(code)
        if not kind.has_bottleneck:
            own = {"in": table.c_in, "out": table.c_out}[kind.bottleneck]
            np.copyto(table.c_mid, own, where=mask)
        if table.pooled is not None and not kind.pools_shortcut:
            np.copyto(table.shortcut, False, where=table.pooled & mask)
            np.copyto(table.pooled, False, where=mask)
    if table.projected is not None:
        np.logical_or(table.shortcut, table.projected, out=table.shortcut)
    channels = {"in": table.c_in, "mid": table.c_mid, "out": table.c_out}
    area = np.square(table.kernel)

    def weights(layer: BlockLayer, out: Floats) -> Floats:
        inputs, outputs = channels[layer.inputs], channels[layer.outputs]
        np.multiply(area if layer.kind == "depthwise" else inputs, outputs, out=out)
        if layer.kind == "conv":
            out *= area
        return out

    for place in range(PLACES):
        rows = table.weights[1 + place : -2 : PLACES]
        if table.frame.plain:
            layer = BLOCK_KINDS[INVERTED_RESIDUAL].layers[place]
            assert layer is not None
            weights(layer, rows)
        else:
            rows[:] = by_kind(table, place, lambda one: weights(one, np.empty_like(area)))
    if table.first is not None:
        table.weights[1:-2:PLACES] *= table.first
