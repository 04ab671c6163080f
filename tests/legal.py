"""Mask of the networks that a search space holds, from its definition."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nas_engine.block_kinds import PLACES
from nas_engine.encoding import (
    KIND_NAMES,
    Frame,
    Genes,
    GeneView,
    active_layers,
    bottleneck_choices,
    has_bottleneck,
    shared_inputs,
    stage_depth_cap,
)
from search_spaces import SearchSpace


def legal(space: SearchSpace, frame: Frame, genes: Genes) -> npt.NDArray[np.bool_]:
    """Return the mask of columns that are networks of the space, ``(n,)``.

    ``sample`` and every mutation only make such.
    """
    view = GeneView(frame, genes)
    ok = _in_range(space.stem_channels, view.stem)
    ok &= _in_range(space.head_channels, view.head) if space.head_channels else view.head == 0
    ok &= np.isin(view.stem_stride, space.stem_strides)
    own = has_bottleneck(view)
    for s, stage in enumerate(space.stages):
        ok &= np.isin(view.kind[s], [KIND_NAMES.index(name) for name in stage.kinds])
        ok &= np.isin(view.stride[s], stage.strides)
        ok &= np.isin(view.kernel[s], stage.kernels) & _in_range(stage.channels, view.channels[s])
        among = (view.bottleneck[s] == bottleneck_choices(space, s, view.channels[s])).any(axis=0)
        ok &= np.where(own[s], among, view.bottleneck[s] == 0)
        ok &= (view.depth[s] >= stage.min_depth) & (view.depth[s] <= stage.max_depth)
    total = view.depth.sum(axis=0, dtype=np.int16)
    ok &= (total <= frame.max_residuals) & (view.depth.max(axis=0) <= stage_depth_cap(space, total))
    if space.non_decreasing:
        ok &= (np.diff(view.channels, axis=0) >= 0).all(axis=0)
    active = active_layers(frame, view)
    for bits, choices in ((view.w_bits, space.weight_bits), (view.a_bits, space.activation_bits)):
        inner = active.copy()
        inner[[0, -1]] = False
        ok &= (np.isin(bits, choices) | ~inner).all(axis=0) & ((bits == 0) | active).all(axis=0)
        ok &= (bits[0] == space.end_bits) & ((bits[-1] == space.end_bits) | ~active[-1])
        for place in range(PLACES - 1) if space.tie_block_bits else ():
            alike = bits[1 + place : -2 : PLACES] == bits[PLACES:-2:PLACES]
            ok &= (alike | ~active[1 + place : -2 : PLACES]).all(axis=0)
    if (shared := shared_inputs(frame, view)) is not None:
        alike = view.a_bits[1:-2:PLACES] == view.a_bits[2:-2:PLACES]
        ok &= (alike | ~(shared & active[1:-2:PLACES])).all(axis=0)
    return np.asarray(ok)


def _in_range(channels: object, values: npt.NDArray[np.int16]) -> npt.NDArray[np.bool_]:
    low, high, step = (getattr(channels, name) for name in ("minimum", "maximum", "step"))
    return np.asarray((values >= low) & (values <= high) & (values % step == 0))
