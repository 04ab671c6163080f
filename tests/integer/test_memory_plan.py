"""The plan of an integer model is the plan of its architecture, to the byte, and nothing collides
in it.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas_engine.architecture import Architecture
from nas_engine.costs import plan as costs
from nas_engine.costs.memory import Arena
from nas_engine.costs.plan import plan_graph
from nas_engine.costs.sram import peak_sram
from nas_engine.encoding import GeneView, architecture_frame, decode, encode, space_frame
from nas_engine.evolution.operators import sample
from nas_engine.exporters.exporter import ExportSubject
from nas_engine.exporters.to_c import CExporter
from nas_engine.integer.lowering import lower
from nas_engine.integer.store import GoldenVectors
from nas_engine.layers import unroll
from nas_engine.network.graph import Graph, Node, Tensor
from nas_engine.testing.networks import (
    RESIDUAL,
    Untrained,
    branching_record,
    random_images,
    random_model,
    untrained,
)
from tests.populations import EVERY_SPACE, OTHER_KINDS


def places(plan: costs.MemoryPlan) -> list[tuple[int, int, int, str]]:
    return sorted((tensor.offset, tensor.size, tensor.bits, tensor.kind) for tensor in plan.tensors)


@pytest.mark.parametrize(
    ("name", "resolution"),
    [
        ("mobilenet", 49),
        ("mobilenet-32", 16),
        ("mobilenet-32", 27),
        *(
            (name, size)
            for name, space in OTHER_KINDS.items()
            for size in ((16, 27) if space.min_resolution <= 16 else (33, 40))
        ),
    ],
)
def test_it_is_the_plan_of_the_architecture_and_the_cost_of_the_search(
    name: str, resolution: int
) -> None:
    space = EVERY_SPACE[name]
    frame = space_frame(space, resolution, 7)
    genes = sample(space, frame, 6, np.random.default_rng(resolution))
    peaks = peak_sram(Arena(), unroll(frame, genes), GeneView(frame, genes).a_bits)
    for i in range(genes.shape[1]):
        network = decode(frame, genes[:, i])
        model, drafted = untrained(network, seed=i), costs.plan_memory(network)
        plan = plan_graph(model)
        assert plan.arena_bytes == drafted.arena_bytes == peaks[i]
        assert places(plan) == places(drafted)
        subject = ExportSubject(
            model=model,
            golden=GoldenVectors.of(model, random_images(model, 1)),
            plan=plan,
            manifest={},
        )
        CExporter().files(subject)  # the kernels can work where the plan puts things


def test_pooled_shortcuts_of_a_network_of_torch() -> None:
    import torch

    from nas_engine.models.graph_network import GraphNetwork
    from nas_engine.quantization.extract import extract
    from nas_engine.quantization.prepare import calibrate, insert_quantisers
    from tests.training.networks import small_architecture

    small = small_architecture()
    strided = replace(small.blocks[1], channels=small.blocks[0].channels)
    network = replace(small, blocks=(small.blocks[0], strided), pooled_shortcut=True)
    torch.manual_seed(0)
    module = GraphNetwork(network)
    insert_quantisers(module)
    calibrate(module, torch.rand(4, 3, 16, 16))
    plan, drafted = (
        plan_graph(lower(extract(module, ("a", "b", "c", "d")))),
        costs.plan_memory(network),
    )
    assert "s2.b1 pooled shortcut" in {tensor.name for tensor in plan.tensors}
    assert by_name(plan) == by_name(drafted)


def by_name(plan: costs.MemoryPlan) -> dict[str, tuple[int, int, int, str, str | None]]:
    return {
        tensor.name: (tensor.offset, tensor.size, tensor.bits, tensor.kind, tensor.in_place_of)
        for tensor in plan.tensors
    }


@pytest.mark.parametrize("seed", [*range(30), *RESIDUAL])
def test_random_networks(seed: int) -> None:
    model = random_model(seed)
    plan = plan_graph(model)
    assert plan.steps == tuple(step.name for step in model.nodes)
    planned = {tensor.name: tensor for tensor in plan.tensors}
    for tensor in model.tensors:
        elements = tensor.height * tensor.width * tensor.channels
        assert planned[tensor.name].size == 4 * -(-elements * tensor.bits // 32)
    for number, step in enumerate(model.nodes):
        live = {tensor.name for tensor in plan.live(number)}
        assert {step.input, step.output} <= live
        shortcut = getattr(step, "shortcut", None)
        if shortcut is not None:
            assert shortcut in live
            assert planned[shortcut].offset == planned[step.output].offset
    assert plan.arena_bytes == max(
        costs.bytes_in_use(plan.live(number)) for number in range(len(plan.steps))
    )


def assert_sound(graph: Graph[Tensor, Node], plan: costs.MemoryPlan) -> None:
    """Check that what lives at once is apart, unless one is written over the other."""
    assert plan.steps == tuple(node.name for node in graph.nodes)
    planned = {tensor.name: tensor for tensor in plan.tensors}
    assert {tensor.name for tensor in graph.tensors} <= planned.keys()
    for step, node in enumerate(graph.nodes):
        live = plan.live(step)
        assert {*node.reads, node.output} <= {tensor.name for tensor in live}
        for a, b in itertools.combinations(live, 2):
            if a.offset < b.offset + b.size and b.offset < a.offset + a.size:
                pair = {a.name, b.name}
                assert pair in ({a.name, a.in_place_of}, {b.name, b.in_place_of})
                assert node.output in pair, "only what is made at a step is made in place"
    for tensor in plan.tensors:
        assert 0 <= tensor.offset <= tensor.offset + tensor.size <= plan.arena_bytes
        assert tensor.offset % 4 == 0
    for name in graph.outputs:
        assert planned[name].last_step == len(graph.nodes) - 1
    assert plan.arena_bytes == plan.bound_bytes + plan.gap_bytes >= plan.bound_bytes


@pytest.mark.parametrize("seed", range(60))
def test_graphs_that_are_no_chains(seed: int) -> None:
    graph = branching_record(seed)
    plan = plan_graph(graph)
    assert_sound(graph, plan)
    assert {tensor.kind for tensor in plan.tensors} >= {"scratch"}
    assert plan.gap_bytes == 0


def test_a_long_shortcut_stays_in_its_place() -> None:
    built = Untrained((4, 4, 2), np.random.default_rng(0))
    first = built.layer("first", 4, 1, 1, 8, 8)
    built.layer("second", 4, 1, 1, 8, 8)
    third = built.layer("third", 4, 3, 1, 8, 8)
    built.layer("fourth", 4, 1, 1, 8, 8, source=third, shortcut=first)
    built.pool("pool", 4, 1)
    built.layer("classifier", 3, 1, 1, 8, 8, signed=True)
    model = lower(built.network())
    plan = plan_graph(model)
    assert_sound(model, plan)
    planned = {tensor.name: tensor for tensor in plan.tensors}
    assert planned["fourth output"].in_place_of == "first output"
    assert planned["fourth output"].offset == planned["first output"].offset


@st.composite
def buffers(draw: st.DrawFn) -> tuple[int, list[costs.PlannedTensor]]:
    """Return a number of steps and up to five tensors with lives of their own."""
    steps = draw(st.integers(2, 5))
    made = []
    for i in range(draw(st.integers(1, 5))):
        first = draw(st.integers(0, steps - 1))
        made.append(
            costs.PlannedTensor(
                name=str(i),
                offset=0,
                size=4 * draw(st.integers(1, 6)),
                bits=8,
                first_step=first,
                last_step=draw(st.integers(first, steps - 1)),
            )
        )
    return steps, made


@settings(max_examples=60, deadline=None)
@given(buffers())
def test_branch_and_bound_against_every_placement(
    case: tuple[int, list[costs.PlannedTensor]],
) -> None:
    steps, tensors = case
    plan = costs.packed(tuple(map(str, range(steps))), tensors)

    def apart(placed: list[costs.PlannedTensor]) -> bool:
        return all(
            a.last_step < b.first_step
            or b.last_step < a.first_step
            or a.offset + a.size <= b.offset
            or b.offset + b.size <= a.offset
            for a, b in itertools.combinations(placed, 2)
        )

    assert apart(list(plan.tensors))
    bound = max(
        sum(t.size for t in tensors if t.first_step <= step <= t.last_step) for step in range(steps)
    )
    assert plan.bound_bytes == bound
    if plan.gap_bytes:  # then no order of first-fit placements does better
        for order in itertools.permutations(tensors):
            placed: list[costs.PlannedTensor] = []
            for tensor in order:
                near = [t for t in placed if not apart([t, replace(tensor, offset=t.offset)])]
                starts = sorted({0, *(t.offset + t.size for t in near)})
                at = next(x for x in starts if apart([*near, replace(tensor, offset=x)]))
                placed.append(replace(tensor, offset=at))
            assert max(t.offset + t.size for t in placed) >= plan.arena_bytes


def test_a_whole_architecture_survives_encoding() -> None:
    """The drafts above start from genes; this one from a record as a run directory holds it."""
    from tests.training.networks import small_architecture

    network: Architecture = small_architecture()
    frame = architecture_frame(network)
    assert (
        plan_graph(untrained(network)).arena_bytes
        == costs.plan_memory(decode(frame, encode(frame, [network])[:, 0])).arena_bytes
    )


@pytest.mark.parametrize("seed", range(1001, 1041, 2))
def test_rows_of_residual_blocks(seed: int) -> None:
    """The arena is the largest row of what docs/memory.md says of each step."""
    model = random_model(seed)

    def size(name: str) -> int:
        tensor = model.tensor(name)
        return 4 * -(-tensor.elements * tensor.bits // 32)

    rows, steps = [], {step.name: step for step in model.nodes}
    for step in model.nodes:
        source, target = model.tensor(step.input), model.tensor(step.output)
        block, _, part = step.name.partition(".")
        windows = step.kernel_height > 1
        taps = step.kernel_height**2 * source.channels
        channels = min(target.channels + target.channels % 2, 16)
        scratch = 4 * -(-taps // 4) * (channels + (6 if windows else 4))
        live = size(step.input) + size(step.output)
        if step.kind == "average_pool":
            scratch = 0
        elif part == "shortcut":
            lines = [tensor.width * tensor.channels * tensor.bits for tensor in (source, target)]
            whole = any(bits % 8 for bits in lines)
            scratch += size(step.output) if whole else 4 * -(-lines[1] // 32)
            live = max(size(step.input), size(step.output))
            live += size(steps[f"{block}.conv1"].output)
        elif step.shortcut is not None:
            live = size(step.input) + max(size(step.shortcut), size(step.output))
        rows.append(live + scratch)
    assert plan_graph(model).arena_bytes == max(rows)
