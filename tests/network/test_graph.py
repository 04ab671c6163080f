"""The graph record: shapes against counted windows, and each refusal in one line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas_engine.network import KINDS, Graph, NetworkError, Node, Tensor


def tensor(name: str, shape: tuple[int, int, int], bits: int = 8, signed: bool = False) -> Tensor:
    height, width, channels = shape
    return Tensor(
        name=name, height=height, width=width, channels=channels, bits=bits, signed=signed
    )


def two_outputs(**changes: Any) -> Graph[Tensor, Node]:
    """Return a graph of every kind of node, with a shortcut and two outputs."""
    conv = Node(
        name="conv",
        kind="conv",
        inputs=("image",),
        output="a",
        kernel_height=3,
        kernel_width=5,
        padding=(1, 1, 2, 2),
        weight_bits=4,
    )
    nodes = [
        replace(conv, **changes),
        Node(
            name="depthwise", kind="depthwise", inputs=("a",), output="b", weight_bits=2,
            kernel_height=1, kernel_width=3, padding=(0, 0, 0, 2), shortcut="a",
        ),
        Node(name="sum", kind="add", inputs=("a", "b"), output="c"),
        Node(name="limit", kind="clamp", inputs=("c",), output="d"),
        Node(
            name="max", kind="max_pool", inputs=("d",), output="e", kernel_height=2,
            kernel_width=2, stride=2, padding=(0, 1, 0, 0),
        ),
        Node(
            name="mean", kind="average_pool", inputs=("b",), output="f", kernel_height=5,
            kernel_width=6,
        ),
    ]  # fmt: skip
    return Graph(
        tensors=(
            tensor("image", (5, 6, 3), signed=True),
            tensor("a", (5, 6, 4), 5),
            tensor("b", (5, 6, 4), 7),
            tensor("c", (5, 6, 4), 6, signed=True),
            tensor("d", (5, 6, 4), 5),
            tensor("e", (3, 3, 4), 5),
            tensor("f", (1, 1, 4), 7),
        ),
        nodes=tuple(nodes),
        inputs=("image",),
        outputs=("e", "f"),
    )


def test_every_kind_is_in_the_example() -> None:
    assert {node.kind for node in two_outputs().nodes} == set(KINDS)


def test_last_reads() -> None:
    graph = two_outputs()
    assert graph.last_reads() == {
        "image": 0, "a": 2, "b": 5, "c": 3, "d": 4, "e": len(graph.nodes), "f": len(graph.nodes)
    }  # fmt: skip


def test_sizes_against_loops() -> None:
    graph = two_outputs()
    multiplied = {"conv": 0, "depthwise": 0}
    for name in multiplied:
        node = graph.node(name)
        for _ in range(graph.tensor(node.output).elements):
            for _ in range(node.kernel_height * node.kernel_width):
                multiplied[name] += 3 if name == "conv" else 1
    assert {node.name: graph.macs(node) for node in graph.nodes if graph.macs(node)} == multiplied
    assert graph.weights(graph.node("conv")) == 3 * 5 * 3 * 4
    assert graph.weights(graph.node("depthwise")) == 3 * 4
    assert graph.weights(graph.node("sum")) == 0


@given(
    size=st.integers(1, 9),
    kernel=st.integers(1, 5),
    stride=st.integers(1, 4),
    data=st.data(),
    tall=st.booleans(),
)
def test_output_size_is_the_number_of_windows(
    size: int, kernel: int, stride: int, data: st.DataObject, tall: bool
) -> None:
    before, after = (data.draw(st.integers(0, kernel - 1)) for _ in range(2))
    places = 0
    while places * stride + kernel <= size + before + after:
        places += 1

    def graph(out: int) -> Graph[Tensor, Node]:
        pool = Node(
            name="pool",
            kind="max_pool",
            inputs=("x",),
            output="y",
            kernel_height=kernel if tall else 1,
            kernel_width=1 if tall else kernel,
            stride=stride,
            padding=(before, after, 0, 0) if tall else (0, 0, before, after),
        )
        across = 1  # the other side is one element, with a kernel of one
        shapes = [(n, across, 2) if tall else (across, n, 2) for n in (size, out)]
        return Graph(
            tensors=(tensor("x", shapes[0]), tensor("y", shapes[1])),
            nodes=(pool,),
            inputs=("x",),
            outputs=("y",),
        )

    if places:
        assert graph(places).tensor("y").elements == 2 * places
    with pytest.raises(NetworkError, match=r"^pool: 'y' is .* from its input, kernel, stride"):
        graph(places + 1)


def changed(at: int, **changes: Any) -> Graph[Tensor, Node]:
    graph = two_outputs()
    nodes = [*graph.nodes]
    nodes[at] = replace(nodes[at], **changes)
    return replace(graph, nodes=tuple(nodes))


def reshaped(name: str, **changes: Any) -> Graph[Tensor, Node]:
    graph = two_outputs()
    return replace(
        graph,
        tensors=tuple(
            replace(each, **changes) if each.name == name else each for each in graph.tensors
        ),
    )


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "name": (lambda: changed(0, name=""), "step: the name is ''; expected a text of 1 to 100"),
    "kind": (
        lambda: changed(0, kind="softmax"),
        "conv: the kind is 'softmax'; expected one of: conv, depthwise, average_pool, "
        "max_pool, add, clamp",
    ),
    "kind list": (lambda: changed(0, kind=["conv"]), "conv: the kind is ['conv']; expected one of"),
    "inputs": (
        lambda: changed(2, inputs=("a",)),
        "sum: the inputs are ('a',); an addition takes 2",
    ),
    "inputs text": (lambda: changed(0, inputs="image"), "conv: the inputs are 'image'; a convol"),
    "kernel": (
        lambda: changed(0, kernel_width=0),
        "conv: kernel is 0; expected a whole number from 1 to 65,536",
    ),
    "window": (
        lambda: changed(3, kernel_width=2),
        "limit: kernel is 2; expected a whole number from 1 to 1",
    ),
    "stride": (
        lambda: changed(3, stride=2),
        "limit: stride is 2; expected a whole number from 1 to 1",
    ),
    "padding": (
        lambda: changed(0, padding=(1, 1)),
        "conv: padding is (1, 1); expected (top, bottom, left, right)",
    ),
    "padding rows": (
        lambda: changed(0, padding=(3, 1, 2, 2)),
        "conv: padding is 3; expected a whole number from 0 to 2",
    ),
    "padding columns": (
        lambda: changed(0, padding=(1, 1, 2, 5)),
        "conv: padding is 5; expected a whole number from 0 to 4",
    ),
    "weight bits": (
        lambda: changed(0, weight_bits=0),
        "conv: weight bits is 0; expected a whole number from 2 to 8",
    ),
    "no weights": (
        lambda: changed(4, weight_bits=8),
        "max: has weight bits or a shortcut; a max pool has neither",
    ),
    "no shortcut": (
        lambda: changed(3, shortcut="a"),
        "limit: has weight bits or a shortcut; a clamp has neither",
    ),
    "size": (lambda: reshaped("a", height=0), "a: height is 0; expected a whole number from 1"),
    "sign": (lambda: reshaped("a", signed=1), "a: signed is 1; expected true or false"),
    "bits": (lambda: reshaped("a", bits=9), "a: bits is 9; expected a whole number from 2 to 8"),
    "twice": (lambda: changed(1, name="conv"), "conv: two steps have this name; give each its own"),
    "same tensor": (
        lambda: replace(two_outputs(), tensors=(tensor("a", (1, 1, 1)), *two_outputs().tensors)),
        "a: two tensors have this name; give each its own",
    ),
    "order": (
        lambda: changed(0, inputs=("b",)),
        "conv: reads 'b' before a step has made it; put the steps in order",
    ),
    "shortcut order": (
        lambda: changed(0, shortcut="c"),
        "conv: reads 'c' before a step has made it; put the steps in order",
    ),
    "overwrites": (
        lambda: changed(1, output="a"),
        "depthwise: writes 'a'; expected a tensor of the network that no other step writes",
    ),
    "idle": (
        lambda: replace(two_outputs(), tensors=(tensor("x", (1, 1, 1)), *two_outputs().tensors)),
        "x: no step makes this tensor; remove it",
    ),
    "operands": (
        lambda: changed(2, inputs=("a", "image")),
        "sum: 'a' and 'image' differ in shape; expected the same",
    ),
    "shape": (
        lambda: reshaped("c", channels=3),
        "sum: 'c' is 5x6x3; expected 5x6x4 from its input, kernel, stride and padding",
    ),
    "levels": (
        lambda: reshaped("e", bits=4),
        "max: 'd' and 'e' differ in bits or sign; a max pool keeps both",
    ),
    "shortcut": (
        lambda: changed(1, shortcut="image"),
        "depthwise: the shortcut 'image' has another shape than 'b'; expected the same",
    ),
    "no input": (
        lambda: replace(two_outputs(), inputs=()),
        "inputs: are []; expected one or more, each once",
    ),
    "unknown output": (
        lambda: replace(two_outputs(), outputs=("e", "x")),
        "x: is an output but no tensor of the network; add it",
    ),
    "output twice": (
        lambda: replace(two_outputs(), outputs=("e", "e")),
        "outputs: are ['e', 'e']; expected one or more, each once",
    ),
    "passed on": (
        lambda: replace(two_outputs(), outputs=("e", "image")),
        "image: is both an input and an output; expected one of the two",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_in_one_line(case: str) -> None:
    make, message = REFUSED[case]
    with pytest.raises(NetworkError) as caught:
        make()
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_bare_fields_make_an_equal_node() -> None:
    for node in two_outputs().nodes:
        assert Node(**node.as_fields()) == node
