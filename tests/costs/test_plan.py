"""The memory plan is sound, and its arena is the search's ``arena`` cost to the byte."""

from __future__ import annotations

import itertools
import json
from typing import Literal

import numpy as np
import pytest

from nas_engine.costs.memory import Arena
from nas_engine.costs.plan import (
    MemoryPlan,
    PlannedTensor,
    bytes_in_use,
    live_bytes,
    plan_graph,
    plan_memory,
)
from nas_engine.costs.row_roles import roles_of
from nas_engine.costs.rows import Schedule, cut, units_of
from nas_engine.costs.sram import peak_sram, sram_per_layer
from nas_engine.encoding import GeneView, decode, layer_rows, space_frame
from nas_engine.evolution.operators import sample
from nas_engine.layers import unroll
from nas_engine.network.from_architecture import graph_of
from search_spaces import load_space
from tests.populations import EVERY_SPACE, OTHER_KINDS

CASES = [
    *(("mobilenet", 160), ("mobilenet", 97), ("mobilenet-32", 32), ("qe-score-2022", 225)),
    *((name, resolution) for name in OTHER_KINDS for resolution in (32, 33)),
]


def overlap(a: PlannedTensor, b: PlannedTensor) -> bool:
    return a.offset < b.offset + b.size and b.offset < a.offset + a.size


@pytest.mark.parametrize(("name", "resolution"), CASES)
def test_arena_is_the_cost_and_nothing_collides(name: str, resolution: int) -> None:
    space = EVERY_SPACE[name]
    frame = space_frame(space, resolution, space.class_count)
    genes = sample(space, frame, 24, np.random.default_rng(3))
    a_bits = GeneView(frame, genes).a_bits
    table = unroll(frame, genes)
    peaks, layers = peak_sram(Arena(), table, a_bits), sram_per_layer(Arena(), table, a_bits)
    in_place = 0
    for i in range(genes.shape[1]):
        network = decode(frame, genes[:, i])
        plan = plan_memory(network)
        assert plan.arena_bytes == peaks[i]
        assert len({tensor.name for tensor in plan.tensors}) == len(plan.tensors)
        for tensor in plan.tensors:
            assert 0 <= tensor.offset <= tensor.offset + tensor.size <= plan.arena_bytes
            assert tensor.offset % 4 == tensor.size % 4 == 0
            assert 0 <= tensor.first_step <= tensor.last_step < len(plan.steps)
        for step in range(len(plan.steps)):
            for a, b in itertools.combinations(plan.live(step), 2):
                if overlap(a, b):
                    assert a.in_place_of == b.name or b.in_place_of == a.name
                    in_place += 1
        used = {name: bytes_in_use(plan.live(step)) for step, name in enumerate(plan.steps)}
        rows = layer_rows(frame, network)
        for layer, row in zip(network.layer_names(), rows, strict=True):
            wanted = max(used[layer], used.get("pool", 0)) if layer == "classifier" else used[layer]
            assert wanted == layers[row, i], (layer, i)
    assert in_place > 0


@pytest.mark.parametrize("name", EVERY_SPACE)
@pytest.mark.parametrize("image", ["whole", "rows"])
def test_arena_by_rows_is_the_cost_and_nothing_collides(
    name: str, image: Literal["whole", "rows"]
) -> None:
    space = EVERY_SPACE[name]
    frame = space_frame(space, 33, 7)
    genes = sample(space, frame, 3, np.random.default_rng(5))
    by_rows = 0
    schedules: tuple[Schedule, ...] = ("auto", "rows", "rows")
    for i, schedule in enumerate(schedules):
        network = decode(frame, genes[:, i])
        graph = graph_of(network)
        by_layers = live_bytes(plan_graph(graph))
        segments = cut(graph, by_layers, schedule, image)
        plan = plan_graph(graph, segments)
        assert plan.arena_bytes == max(segment.bytes for segment in segments)
        assert plan.gap_bytes == 0
        assert plan.image_rows is (image == "rows")
        assert len({tensor.name for tensor in plan.tensors}) == len(plan.tensors)
        units = units_of(graph)
        apart = {tensor.name for tensor in graph.tensors} - {one.name for one in plan.tensors}
        sides = {
            roles.side.output
            for roles in (roles_of(unit.nodes) for unit in units)
            if roles and roles.side
        }
        filtered = {
            roles.filtered
            for one in segments
            for stage in one.stages
            if stage.in_pairs and (roles := roles_of(units[stage.unit].nodes))
        }
        # rows of a 1x1 shortcut are made where the sum goes, two rows at once over the ring
        assert apart <= sides | filtered
        for step in range(len(plan.steps)):
            for a, b in itertools.combinations(plan.live(step), 2):
                assert not overlap(a, b) or {a.name, b.name} & {a.in_place_of, b.in_place_of}
        for segment in segments:
            ends = dict.fromkeys(units[at].name for at in (segment.first_unit, segment.last_unit))
            if segment.how == "rows":
                at = plan.steps.index("..".join(ends))
                needed = [tensor for tensor in plan.live(at) if tensor.kind != "weights"]
                assert bytes_in_use(needed) == segment.bytes
                by_rows += 1
        data = json.loads(json.dumps(plan.as_json()))
        assert [PlannedTensor(**tensor) for tensor in data["tensors"]] == list(plan.tensors)
        assert plan_memory(network, segments).arena_bytes == plan.arena_bytes
    assert by_rows > 1


def test_json_holds_every_tensor_and_step() -> None:
    space = load_space("mobilenet-32")
    frame = space_frame(space, 32, 10)
    plan = plan_memory(decode(frame, sample(space, frame, 2, np.random.default_rng(0))[:, 1]))
    data = json.loads(json.dumps(plan.as_json()))
    assert (
        data["arena_bytes"] == plan.arena_bytes == max(step["used_bytes"] for step in data["steps"])
    )
    assert [step["name"] for step in data["steps"]] == list(plan.steps)
    assert [PlannedTensor(**tensor) for tensor in data["tensors"]] == list(plan.tensors)


def test_bytes_in_use_counts_shared_bytes_once() -> None:
    def tensor(offset: int, size: int) -> PlannedTensor:
        return PlannedTensor(name="t", offset=offset, size=size, bits=8, first_step=0, last_step=0)

    assert bytes_in_use([]) == 0
    assert bytes_in_use([tensor(0, 8), tensor(4, 8), tensor(20, 4), tensor(5, 2)]) == 16


def test_room_ends_at_the_next_tensor_that_lives_with_one() -> None:
    def tensor(name: str, offset: int, size: int, first: int, last: int) -> PlannedTensor:
        return PlannedTensor(
            name=name, offset=offset, size=size, bits=8, first_step=first, last_step=last
        )

    tensors = tensor("low", 0, 8, 0, 2), tensor("mid", 8, 4, 1, 1), tensor("top", 40, 8, 1, 2)
    plan = MemoryPlan(arena_bytes=48, steps=("a", "b", "c"), tensors=tensors)
    assert [plan.room(each.name) for each in tensors] == [8, 32, 8]
    apart = (*tensors[:2], tensor("top", 40, 8, 2, 2))
    assert MemoryPlan(arena_bytes=64, steps=plan.steps, tensors=apart).room("mid") == 56


def row_order_is_safe(
    pixels: int,
    channels: int,
    kernel: int,
    stride: int,
    b_bits: int,
    c_bits: int,
    *,
    forwards: bool,
) -> bool:
    """Walk a depth-wise layer row by row over buffers that end at the same address, with a ring of
    ``kernel`` input rows, all in bits.
    """
    out_pixels, pad = -(-pixels // stride), kernel // 2
    in_row, out_row = pixels * channels * b_bits, out_pixels * channels * c_bits
    in_start, out_start = -pixels * in_row, -out_pixels * out_row
    order = range(out_pixels) if forwards else range(out_pixels - 1, -1, -1)
    written: list[tuple[int, int]] = []
    loaded: set[int] = set()
    for row in order:
        needed = {i for i in range(stride * row - pad, stride * row + pad + 1) if 0 <= i < pixels}
        for i in needed - loaded:
            start = in_start + i * in_row
            if any(low < start + in_row and start < high for low, high in written):
                return False
        loaded = needed  # the ring: nothing older is kept
        written.append((out_start + row * out_row, out_start + (row + 1) * out_row))
    return True


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_depthwise_in_place_has_a_safe_row_order_at_every_pair_of_widths(
    kernel: int, stride: int
) -> None:
    for pixels, b_bits, c_bits in itertools.product((3, 4, 7, 8, 13), range(2, 9), range(2, 9)):
        safe = [
            row_order_is_safe(pixels, 8, kernel, stride, b_bits, c_bits, forwards=forwards)
            for forwards in (True, False)
        ]
        assert any(safe), (pixels, b_bits, c_bits)


def test_the_row_order_matters() -> None:
    assert not row_order_is_safe(8, 8, 3, 1, 8, 2, forwards=True)
    assert not row_order_is_safe(8, 8, 3, 1, 2, 8, forwards=False)
