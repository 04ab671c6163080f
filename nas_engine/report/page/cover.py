"""The network in one figure: bits of every layer above the memory plan of its steps."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from nas_engine.costs.plan import MemoryPlan
from nas_engine.report.html.document import Area, Band, Cover, Lane
from nas_engine.report.network import NetworkReport
from nas_engine.report.page.words import format_size, share

POOL = "pool"
"""The only step that is no layer."""

KINDS = {
    "stream": "between blocks",
    "bottleneck": "within a block, image, logits",
    "rows": "rows of a tensor",
    "weights": "unpacked weights",
    "scratch": "scratch",
    "tensor": "tensors",
}
"""Words for the kinds of what lies in the arena."""

_NARROW = 3
"""Columns below which there is no room for a name (chosen here)."""


def cover(network: NetworkReport, plan: MemoryPlan, budget: int | None = None) -> Cover:
    """Return the cover of a report.

    Args:
        network: The network.
        plan: Its arena.
        budget: Bytes available for the arena; ``None`` if that is not known.
    """
    columns = columns_of(network.layer_names, plan.steps)
    spans = [_span(step, columns) for step in plan.steps]
    at = {name: i for i, name in enumerate(network.layer_names)}
    lanes = []
    for title, kind, widths in (
        ("weights", "weights", [bits.w for bits in network.bits]),
        ("activations", "input", [bits.a for bits in network.bits]),
    ):
        values = tuple(widths[at[name]] if name in at else None for name in columns)
        texts = tuple(
            f"{name}: {kind} {value} bits" for name, value in zip(columns, values, strict=True)
        )
        lanes.append(Lane(name=title, values=values, texts=texts))
    kinds = [kind for kind in KINDS if any(tensor.kind == kind for tensor in plan.tensors)]
    areas = tuple(
        Area(
            text=(
                f"{tensor.name}: {tensor.size:,} B at address {tensor.offset:,}, "
                f"{KINDS[tensor.kind]}"
            ),
            kind=kinds.index(tensor.kind),
            first=spans[tensor.first_step][0],
            last=spans[tensor.last_step][1],
            low=tensor.offset,
            high=tensor.offset + tensor.size,
        )
        for tensor in plan.tensors
    )
    peak = network.layer_names.index(network.peak_layer)
    w, a = ([bits.w for bits in network.bits], [bits.a for bits in network.bits])
    used = format_size(plan.arena_bytes)
    used += f", {share(plan.arena_bytes, budget)} of the budget" if budget else ""
    return Cover(
        text=(
            f"{len(w)} layers from input to output with weights of {min(w)} to {max(w)} bits and "
            f"inputs of {min(a)} to {max(a)} bits; below them, what lies in the arena of {used}, "
            f"fullest at {network.peak_layer}. The sections below have every number."
        ),
        caption=(
            "From input to output: bits of each layer's weights and input, and what lies where in "
            f"SRAM while it runs; the arena takes {used}."
        ),
        bands=tuple(_bands(columns)),
        lanes=tuple(lanes),
        name="SRAM",
        height=float(plan.arena_bytes),
        top=format_size(plan.arena_bytes).partition(" (")[0],
        areas=areas,
        kinds=tuple(KINDS[kind] for kind in kinds),
        marked=columns.index(network.layer_names[peak]),
    )


def columns_of(layers: Sequence[str], steps: Sequence[str]) -> list[str]:
    """Return the layers and steps that are no layers, in the order they run."""
    found = list(layers)
    if POOL in steps:
        found.insert(found.index("classifier"), POOL)
    return found


def _span(step: str, columns: Sequence[str]) -> tuple[int, int]:
    """Return the first and the last column of a step: a layer, or units that run by rows."""
    if step in columns:
        return (columns.index(step),) * 2
    first, _, last = step.partition("..")
    places = [i for i, name in enumerate(columns) if _unit(name) in (first, last or first)]
    return places[0], places[-1]


def _unit(layer: str) -> str:
    return layer.rpartition(".")[0] or ("head" if layer == POOL else layer)


def _bands(columns: Sequence[str]) -> list[Band]:
    """Return the stages; a few columns have no room for a name."""
    found = []
    for name, group in groupby(range(len(columns)), lambda i: columns[i].partition(".")[0]):
        places = list(group)
        shown = name if len(places) >= _NARROW else ""
        found.append(
            Band(
                name=shown.replace("s", "stage ", 1) if shown[1:].isdigit() else shown,
                first=places[0],
                last=places[-1],
            )
        )
    return found
