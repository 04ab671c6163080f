"""Cuts of populations: those of each network alone, unit by unit, whatever the room."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nas_engine.architecture import Architecture
from nas_engine.costs.chains import peak_in_chains
from nas_engine.costs.cuts import MODEL, Cuts, cuts
from nas_engine.costs.plan import segments_of
from nas_engine.costs.sram import peak_sram, sram_per_layer
from nas_engine.encoding import GeneView, decode, space_frame
from nas_engine.errors import InputError
from nas_engine.evolution.operators import sample
from nas_engine.layers import unroll
from nas_engine.names import ImageInput, Schedule
from nas_engine.network.from_architecture import graph_of
from tests.populations import EVERY_SPACE

WAYS: tuple[tuple[Schedule, ImageInput], ...] = (
    ("auto", "whole"),
    ("auto", "rows"),
    ("rows", "whole"),
    ("rows", "rows"),
    ("layers", "rows"),
)

Unit = tuple[int, bool, bool, int, bool]
"""Number, first and last of its segment, bytes of that, and two rows at once."""

HEAD = -1
"""Number of the head."""


def of_one(network: Architecture, units: int, room: int | None) -> tuple[int, list[Unit]]:
    """Return the arena and the units by rows of a network with so many units of blocks."""
    segments = segments_of(graph_of(network), network.schedule, network.image, room)
    found = [
        (
            stage.unit if stage.unit <= units else HEAD,
            stage.unit == one.first_unit,
            stage.unit == one.last_unit,
            one.bytes,
            stage.in_pairs,
        )
        for one in segments
        for stage in one.stages
    ]
    return max(one.bytes for one in segments), found


def of_column(found: Cuts, units: int, column: int) -> tuple[float, list[Unit]]:
    """Return the same of a network of a population."""
    return float(found.arena[column]), [
        (
            at,
            bool(found.first[at, column]),
            bool(found.last[at, column]),
            int(found.used[at, column]),
            bool(found.pairs[at, column]),
        )
        for at in (*range(units + 1), HEAD)
        if found.by_rows[at, column]
    ]


@pytest.mark.parametrize("name", EVERY_SPACE)
def test_a_population_is_cut_as_its_networks_are(name: str) -> None:
    """With one width and with mixed ones; never more than single units need."""
    space = EVERY_SPACE[name]
    for seed, (schedule, image) in enumerate(WAYS):
        frame = space_frame(space, max(space.min_resolution, 33), 7)
        frame = replace(frame, schedule=schedule, image=image)
        rng = np.random.default_rng(seed)
        genes = sample(space, frame, 6, rng)
        view = GeneView(frame, genes)
        inner = view.a_bits[1:-1, :3]
        inner[:] = np.where(inner > 0, 8, 0)
        table = unroll(frame, genes)
        whole = replace(table, frame=replace(frame, schedule="layers", image="whole"))
        live = sram_per_layer(MODEL, whole, view.a_bits)
        if schedule != "layers":
            least = peak_in_chains(MODEL, table, view.a_bits)
            assert (least <= peak_sram(MODEL, table, view.a_bits)).all()
        for room in (0, int(np.median(live.max(axis=0)) * rng.uniform(0.3, 0.9))):
            found = cuts(table, view.a_bits, live, room)
            for column in range(table.n):
                network, units = decode(frame, genes[:, column]), int(table.last_row[column])
                try:
                    wanted = of_one(network, units, room or None)
                except InputError:  # rows of the stem's output that cannot be packed
                    assert np.isinf(found.arena[column])
                else:
                    assert of_column(found, units, column) == wanted
