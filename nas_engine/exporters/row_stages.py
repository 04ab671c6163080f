"""Stages of a network in C: the ``nas_rows`` record of each unit that runs by rows.

The fields are those of ``runtime/nas_rows.h``; sizes and places are the memory plan's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from nas_engine.costs.plan import MemoryPlan
from nas_engine.costs.row_roles import Roles, roles_of
from nas_engine.costs.rows import Stage, Unit, units_of
from nas_engine.exporters.exporter import ExportError
from nas_engine.integer.model import IntegerModel

ROWS_RECORD_BYTES = 32
"""Bytes of a ``nas_rows`` record."""

ROWS_OF_POOL = "nas_rows_pool"
"""C function that runs a head by rows and its pool: no other kernel of a pool is needed."""

ROW_PARTS = ("nas_rows", ROWS_OF_POOL, "nas_rows_unpack")
"""Parts of the runtime that run stages: chains of units, a head with its pool, and what unpacks
weights for as long as a segment runs."""

ROW_FUNCTIONS = {
    "nas_rows": ("nas_rows_run", "nas_rows_layer"),
    ROWS_OF_POOL: (ROWS_OF_POOL, "nas_rows_layer"),
    "nas_rows_unpack": ("nas_rows_unpack",),
}
"""Functions that a network calls of each part."""

MOST_ROWS = 255
"""Most rows that a ring or a line of waiting rows holds: an uint8 of the record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowStage:
    """One record."""

    unit: Unit
    """Its unit."""
    roles: Roles
    """Roles of the unit's layers."""
    first: int
    """Position of its first layer in the table."""
    offsets: tuple[int, int, int, int, int]
    """First bytes of source, ring, filtered row, scratch, and counter or sums; 0 for none."""
    rows: tuple[int, int]
    """Rows that wait beside the ring, and rows in it."""
    flags: tuple[str, ...]
    """Names of the record's flags."""
    scratch: str
    """Name of its scratch in the memory plan."""
    weights: int
    """First byte of weights that stay unpacked; 0 for none."""
    unpacked: tuple[bool, ...]
    """For each layer: true if its weights stay unpacked."""
    within: tuple[tuple[str, str], ...]
    """Tensors whose rows are made where those of another one lie, and that one: of a 1x1 shortcut
    where those of the sum go, of a depth-wise layer in pairs over its ring."""

    @property
    def layers(self) -> int:
        """Field ``layers_unpacked``: number of layers, and above four bits which are unpacked."""
        return len(self.unpacked) | sum(16 << at for at, kept in enumerate(self.unpacked) if kept)

    @property
    def record(self) -> str:
        """The record as an initialiser in C."""
        numbers = ", ".join(map(str, (*self.offsets, self.weights, *self.rows)))
        return f"{{&layers[{self.first}], {numbers}, {' | '.join(self.flags)}, {self.layers}}}"

    @property
    def parts(self) -> tuple[str, ...]:
        """Parts of the runtime that it needs, of ``ROW_PARTS``."""
        return (ROW_PARTS[self.roles.pools], *ROW_PARTS[2:][: any(self.unpacked)])


def row_stages(model: IntegerModel, plan: MemoryPlan) -> tuple[RowStage, ...]:
    """Return the stages of a plan in the order of execution; none where all runs by layers.

    Raises:
        ExportError: A number that does not fit its field of a record.
    """
    if not plan.segments:
        return ()
    places = {tensor.name: tensor.offset for tensor in plan.tensors}
    over = {tensor.name: tensor.in_place_of for tensor in plan.tensors}
    at = {node.name: number for number, node in enumerate(model.nodes)}
    units, found = units_of(model), []
    for segment in plan.segments:
        name = "..".join(
            dict.fromkeys((units[segment.first_unit].name, units[segment.last_unit].name))
        )
        for stage in segment.stages:
            unit = units[stage.unit]
            roles = roles_of(unit.nodes)
            if roles is None or max(stage.ring_rows, stage.waiting_rows) > MOST_ROWS:
                raise ExportError("C", f"{unit.name!r} cannot run by rows; export it by layers")
            is_first, is_last = stage is segment.stages[0], stage is segment.stages[-1]
            is_over = is_last and over.get(roles.last.output) == roles.source
            flags = {
                "NAS_ROWS_TAKE": roles.take is not None,
                "NAS_ROWS_SIDE": roles.side is not None,
                "NAS_ROWS_PROJECT": roles.project is not None,
                "NAS_ROWS_IMAGE": stage.reads_image,
                "NAS_ROWS_WHOLE": is_first and not stage.reads_image,
                "NAS_ROWS_OVER": is_over,
                "NAS_ROWS_LAST": is_last,
                "NAS_ROWS_POOL": roles.pools,
            }
            kept = [places.get(f"{node.name} weights") for node in unit.nodes]
            found.append(
                RowStage(
                    unit=unit,
                    roles=roles,
                    first=at[unit.nodes[0].name],
                    offsets=_offsets(name, stage, unit, roles, is_first, places),
                    rows=(stage.waiting_rows, stage.ring_rows),
                    flags=tuple(name for name, is_set in flags.items() if is_set) or ("0",),
                    scratch=f"{name} scratch",
                    weights=min((offset for offset in kept if offset is not None), default=0),
                    unpacked=tuple(offset is not None for offset in kept),
                    within=tuple(_within(stage, roles, flags["NAS_ROWS_WHOLE"])),
                )
            )
    return tuple(found)


def _within(stage: Stage, roles: Roles, whole: bool) -> Iterator[tuple[str, str]]:
    if roles.side is not None:
        yield roles.side.output, roles.last.output
    if stage.in_pairs:
        yield roles.filtered, roles.ring(whole=whole)


def _offsets(
    segment: str,
    stage: Stage,
    unit: Unit,
    roles: Roles,
    is_first: bool,
    places: Mapping[str, int],
) -> tuple[int, int, int, int, int]:
    whole = is_first and not stage.reads_image
    held = whole or stage.waiting
    return (
        places[roles.source] if held else 0,
        places[roles.ring(whole=whole)] if stage.ring else 0,
        places[roles.filtered] if stage.filtered else 0,
        places.get(f"{segment} scratch", 0),
        places.get(f"{unit.name} {'sums' if roles.pools else 'counter'}", 0),
    )
