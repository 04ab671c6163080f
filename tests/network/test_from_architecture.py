"""The graph of an architecture against the layer table, the memory plan and the widths given."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from nas_engine.architecture import Architecture, Block, Classifier, Convolution, parse_architecture
from nas_engine.costs.plan import plan_memory
from nas_engine.encoding import architecture_frame, encode, layer_rows
from nas_engine.layers import macs_per_layer, output_channels, output_positions, unroll
from nas_engine.network import Graph, Node, Tensor
from nas_engine.network.from_architecture import graph_of
from tests.architectures import GOLDEN, PUBLISHED, W8A8
from tests.populations import EVERY_SPACE, networks, population, resolutions


def sampled(space: str) -> Iterator[Architecture]:
    for classes in (0, 7):
        for resolution in resolutions(EVERY_SPACE[space]):
            frame, genes = population(EVERY_SPACE[space], 6, resolution, resolution, classes)
            yield from networks(frame, genes)


def check(network: Architecture) -> None:
    """Compare a graph with the layer table of the same network, row by row."""
    graph = graph_of(network)
    frame = architecture_frame(network)
    table = unroll(frame, encode(frame, [network]))
    rows = layer_rows(frame, network)
    layers = graph.layers
    assert tuple(node.name for node in layers) == network.layer_names()
    assert [graph.weights(node) for node in layers] == table.weights[rows, 0].tolist()
    assert [graph.macs(node) for node in layers] == macs_per_layer(table)[rows, 0].tolist()
    outputs = [graph.tensor(node.output) for node in layers]
    assert [each.channels for each in outputs] == output_channels(table)[rows, 0].tolist()
    positions = [each.height * each.width for each in outputs]
    assert positions == output_positions(table)[rows, 0].tolist()

    inputs = [graph.tensor(node.input) for node in layers]
    bits = network.layer_bits()
    assert [node.weight_bits for node in layers] == [each.w for each in bits]
    assert [each.bits for each in inputs[1:]] == [each.a for each in bits[1:]]
    assert (inputs[0].bits, outputs[-1].bits) == (8, 8)

    by_name = {node.name: node for node in layers}
    signs = [graph.tensor(node.output).signed for node in layers if node.name.endswith("project")]
    assert all(signs)
    row = 0
    for stage, block in enumerate(network.blocks, 1):
        for unit in range(block.depth):
            names = [f"s{stage}.b{unit + 1}.{layer.name}" for _, layer in block.unit_layers(unit)]
            first, second, last = (by_name[names[i]] for i in (0, len(names) - 2, -1))
            entering = graph.tensor(first.input)
            assert entering.elements == table.area_in[row, 0] * table.c_in[row, 0]
            assert graph.tensor(last.input).elements == table.area_out[row, 0] * table.c_mid[row, 0]
            assert (last.shortcut is not None) == table.shortcut[row, 0]
            pooled = table.pooled is not None and bool(table.pooled[row, 0])
            reshaped = block.kind == "residual" and table.first is not None and table.first[row, 0]
            assert (last.shortcut not in (None, entering.name)) == (pooled or reshaped)
            if block.kind == "residual":
                assert second.input == entering.name
                assert not graph.tensor(last.output).signed
            if reshaped:
                added, made = graph.tensor(str(last.shortcut)), graph.tensor(last.output)
                assert (added.signed, added.shape, added.bits) == (True, made.shape, made.bits)
            row += 1
    if frame.plain:
        check_names(graph, network)


def check_names(graph: Graph[Tensor, Node], network: Architecture) -> None:
    """Compare names and widths of the tensors with those of the memory plan."""
    planned = {
        tensor.name: tensor.bits
        for tensor in plan_memory(network).tensors
        if tensor.kind != "scratch"
    }
    assert {tensor.name: tensor.bits for tensor in graph.tensors} == planned


@pytest.mark.parametrize("space", EVERY_SPACE)
def test_sampled_networks(space: str) -> None:
    for network in sampled(space):
        check(network)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_networks(name: str) -> None:
    network = parse_architecture((GOLDEN / f"{name}.txt").read_text(encoding="utf-8"))
    check(network)
    check(replace(network, resolution=97, classifier=Classifier(class_count=3, bits=W8A8)))


def test_a_stride_has_nothing_to_do_on_one_pixel() -> None:
    block = Block(kernel=3, stride=2, bottleneck=6, channels=4, bits=((W8A8, W8A8, W8A8),))
    network = Architecture(
        resolution=1,
        stem=Convolution(kernel=1, stride=2, channels=4, bits=W8A8),
        blocks=(block, block),
        head=Convolution(kernel=1, stride=1, channels=5, bits=W8A8),
        classifier=None,
    )
    check(network)
    graph = graph_of(network)
    assert graph.node("s1.b1.depthwise").stride == 1
    assert graph.node("s1.b1.project").shortcut == "stem output"
    assert graph.outputs == ("head output",)
