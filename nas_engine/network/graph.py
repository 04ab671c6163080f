"""Graph: the topology of one network with its shapes, node kinds and widths, without weights.

Tensors have names and no batch dimension; nodes make one tensor each and are in the order of
execution. ``KINDS`` has one row per kind of node. Records that add numbers derive from these: a
scale per tensor, weights per node (``nas_engine.quantization.record``, ``nas_engine.integer``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from nas_engine.errors import NasEngineError, one_line, shortened

MAX_SIZE = 65536
"""Most rows, columns or channels of a tensor."""


class NetworkError(NasEngineError):
    """Impossible network: a shape, width, value or name that does not fit.

    Attributes:
        name: Node or tensor.
        problem: What came and what was expected.
    """

    def __init__(self, name: str, problem: str) -> None:
        self.name = name
        self.problem = problem
        super().__init__(name, problem)

    def __str__(self) -> str:
        return one_line(f"{shortened(self.name)}: {self.problem}")


def check_name(kind: str, name: object) -> None:
    """Refuse a name that is no printable text in one line.

    Raises:
        NetworkError: It is empty, too long, or not a text.
    """
    if not isinstance(name, str) or not name.strip() or not name.isprintable() or len(name) > 100:
        raise NetworkError(
            kind,
            f"the name is {shortened(repr(name))}; expected a text of 1 to 100 printable "
            "characters",
        )


def check_whole(owner: str, what: str, value: object, low: int, high: int) -> None:
    """Refuse a value that is not a whole number in ``[low, high]``.

    Raises:
        NetworkError: Names the owner, what came and the range.
    """
    if type(value) is not int or not low <= value <= high:
        raise NetworkError(
            owner,
            f"{what} is {shortened(repr(value))}; expected a whole number from {low:,} to {high:,}",
        )


def value_range(bits: int, signed: bool) -> tuple[int, int, int]:
    """Return zero point, lowest and highest value of an activation tensor, as int8 values.

    Example:
        >>> value_range(8, True), value_range(4, False)
        ((0, -128, 127), (-128, -128, -113))
    """
    if signed:
        return 0, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    return -128, -128, -128 + 2**bits - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """Activation tensor of one image: shape, width and sign.

    Raises:
        NetworkError: A wrong name, shape or width; names the tensor.
    """

    name: str
    """Unique name."""
    height: int
    """Rows."""
    width: int
    """Columns."""
    channels: int
    """Channels."""
    bits: int
    """Width, 2 to 8: the tensor has ``2^bits`` levels."""
    signed: bool
    """Levels on both sides of 0; otherwise from 0 upwards, as a ReLU leaves them."""

    def __post_init__(self) -> None:
        check_name("tensor", self.name)
        for what in ("height", "width", "channels"):
            check_whole(self.name, what, getattr(self, what), 1, MAX_SIZE)
        check_whole(self.name, "bits", self.bits, 2, 8)
        if not isinstance(self.signed, bool):
            raise NetworkError(self.name, f"signed is {self.signed!r}; expected true or false")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width, channels."""
        return self.height, self.width, self.channels

    @property
    def elements(self) -> int:
        """Number of values."""
        return self.height * self.width * self.channels


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeKind:
    """Row of the table of node kinds: inputs, weights and the shape rule.

    Rows and columns of the output follow from kernel, stride and padding for every kind; a kind
    without a window has the defaults, a kernel of 1x1.
    """

    summary: str
    """Noun with an article, for messages."""
    inputs: int = 1
    """Number of input tensors, all of one shape."""
    has_window: bool = False
    """True if kernel, stride and padding may differ from the defaults."""
    has_weights: bool = False
    """True if it has weights and a bias, and may add a shortcut to its result."""
    keeps_channels: bool = True
    """True if the output has the channels of the input; otherwise any number."""
    keeps_levels: bool = False
    """True if the output has the width and sign of the input."""
    keeps_scale: bool = False
    """True if the output has the scale of the input."""


KINDS: Mapping[str, NodeKind] = MappingProxyType(
    {
        "conv": NodeKind(
            summary="a convolution", has_window=True, has_weights=True, keeps_channels=False
        ),
        "depthwise": NodeKind(
            summary="a depth-wise convolution", has_window=True, has_weights=True
        ),
        "average_pool": NodeKind(
            summary="an average pool", has_window=True, keeps_levels=True, keeps_scale=True
        ),
        "max_pool": NodeKind(
            summary="a max pool", has_window=True, keeps_levels=True, keeps_scale=True
        ),
        "add": NodeKind(summary="an addition", inputs=2),
        "clamp": NodeKind(summary="a clamp", keeps_scale=True),
    }
)
"""Node kinds by name. A dense layer is a 1x1 convolution of a 1x1 tensor. Padded elements count as
0 in a convolution and not at all in a pool. A clamp limits values to the levels of its output."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One operation: the tensors that it reads, the tensor that it makes, and its window.

    The activation is a property of the output: an unsigned tensor is rectified.

    Raises:
        NetworkError: A wrong name, kind, kernel, stride, padding or width; names the node.
    """

    name: str
    """Unique name."""
    kind: str
    """One of ``KINDS``."""
    inputs: tuple[str, ...]
    """Tensors that enter."""
    output: str
    """Tensor that leaves."""
    kernel_height: int = 1
    """Rows of the window."""
    kernel_width: int = 1
    """Columns of the window."""
    stride: int = 1
    """Stride in both directions."""
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    """Rows and columns around the input: top, bottom, left, right; fewer than the kernel has, so
    that every window holds a real element."""
    weight_bits: int = 0
    """Width of the weights, 2 to 8; 0 for a kind without weights."""
    shortcut: str | None = None
    """Tensor that is added before the output is rounded and rectified."""

    def __post_init__(self) -> None:
        check_name("step", self.name)
        row = KINDS.get(self.kind) if isinstance(self.kind, str) else None
        if row is None:
            raise NetworkError(
                self.name, f"the kind is {self.kind!r}; expected one of: {', '.join(KINDS)}"
            )
        if not isinstance(self.inputs, tuple) or len(self.inputs) != row.inputs:
            raise NetworkError(
                self.name,
                f"the inputs are {shortened(repr(self.inputs))}; {row.summary} takes {row.inputs}",
            )
        most = MAX_SIZE if row.has_window else 1
        sides = self.kernel_height, self.kernel_width
        for side in sides:
            check_whole(self.name, "kernel", side, 1, most)
        check_whole(self.name, "stride", self.stride, 1, most)
        if not isinstance(self.padding, tuple) or len(self.padding) != 4:
            raise NetworkError(
                self.name, f"padding is {self.padding!r}; expected (top, bottom, left, right)"
            )
        for side, padding in zip(
            (sides[0], sides[0], sides[1], sides[1]), self.padding, strict=True
        ):
            check_whole(self.name, "padding", padding, 0, side - 1)
        if row.has_weights:
            check_whole(self.name, "weight bits", self.weight_bits, 2, 8)
        elif self.weight_bits or self.shortcut is not None:
            raise NetworkError(
                self.name, f"has weight bits or a shortcut; {row.summary} has neither"
            )

    @property
    def input(self) -> str:
        """First tensor that enters."""
        return self.inputs[0]

    @property
    def reads(self) -> tuple[str, ...]:
        """Tensors that enter, the shortcut included."""
        return self.inputs if self.shortcut is None else (*self.inputs, self.shortcut)

    @property
    def taps(self) -> int:
        """Places of the window."""
        return self.kernel_height * self.kernel_width

    def as_fields(self) -> dict[str, Any]:
        """Return the fields of a bare node by name, to make a record that derives from it."""
        return {field.name: getattr(self, field.name) for field in fields(Node)}


T = TypeVar("T", bound=Tensor, covariant=True)
N = TypeVar("N", bound=Node, covariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph(Generic[T, N]):
    """One network: tensors, nodes in the order of execution, inputs and outputs.

    Raises:
        NetworkError: Nodes that do not fit together, see ``check_graph``.
    """

    tensors: tuple[T, ...]
    """All tensors."""
    nodes: tuple[N, ...]
    """Nodes in the order of execution."""
    inputs: tuple[str, ...]
    """Tensors that are given, at least one."""
    outputs: tuple[str, ...]
    """Tensors that are the result, at least one, each made by a node."""

    def __post_init__(self) -> None:
        check_graph(self.tensors, self.nodes, self.inputs, self.outputs)

    def tensor(self, name: str) -> T:
        """Return a tensor by its name."""
        return next(tensor for tensor in self.tensors if tensor.name == name)

    def node(self, name: str) -> N:
        """Return a node by its name."""
        return next(node for node in self.nodes if node.name == name)

    @property
    def layers(self) -> tuple[N, ...]:
        """Nodes with weights, in order."""
        return tuple(node for node in self.nodes if KINDS[node.kind].has_weights)

    def last_reads(self) -> dict[str, int]:
        """Return the position of the last node that reads each tensor.

        An output counts as read behind the last node, at ``len(nodes)``; a tensor that nothing
        reads is left out.
        """
        last = {name: at for at, node in enumerate(self.nodes) for name in node.reads}
        return last | dict.fromkeys(self.outputs, len(self.nodes))

    def weights(self, node: Node) -> int:
        """Return the number of weights of a node, 0 for a kind without."""
        if not KINDS[node.kind].has_weights:
            return 0
        inputs = 1 if KINDS[node.kind].keeps_channels else self.tensor(node.input).channels
        return node.taps * inputs * self.tensor(node.output).channels

    def macs(self, node: Node) -> int:
        """Return the multiply-accumulates of a node, taps in the padding included."""
        output = self.tensor(node.output)
        return output.height * output.width * self.weights(node)


def check_graph(
    tensors: Sequence[Tensor], nodes: Sequence[Node], inputs: Sequence[str], outputs: Sequence[str]
) -> None:
    """Refuse nodes that do not fit together.

    Raises:
        NetworkError: A name twice or unknown, a tensor read before it is made or never made, a
            shape, width or sign that does not follow from the inputs'.
    """
    table: dict[str, Tensor] = {}
    for tensor in tensors:
        if tensor.name in table:
            raise NetworkError(tensor.name, "two tensors have this name; give each its own")
        table[tensor.name] = tensor
    for what, names in (("input", inputs), ("output", outputs)):
        if not names or len(set(names)) != len(names):
            raise NetworkError(f"{what}s", f"are {list(names)}; expected one or more, each once")
        for name in names:
            if name not in table:
                raise NetworkError(str(name), f"is an {what} but no tensor of the network; add it")
    made, known = set(inputs), set[str]()
    for node in nodes:
        if node.name in known:
            raise NetworkError(node.name, "two steps have this name; give each its own")
        known.add(node.name)
        for source in node.reads:
            if source not in made:
                raise NetworkError(
                    node.name, f"reads {source!r} before a step has made it; put the steps in order"
                )
        if node.output not in table or node.output in made:
            raise NetworkError(
                node.name,
                f"writes {node.output!r}; expected a tensor of the network that no other step "
                "writes",
            )
        made.add(node.output)
        _check_shapes(node, table)
    if table.keys() - made:
        raise NetworkError(min(table.keys() - made), "no step makes this tensor; remove it")
    if given := [name for name in outputs if name in inputs]:
        raise NetworkError(given[0], "is both an input and an output; expected one of the two")


def _check_shapes(node: Node, table: Mapping[str, Tensor]) -> None:
    row, source, target = KINDS[node.kind], table[node.input], table[node.output]
    for other in node.inputs[1:]:
        if table[other].shape != source.shape:
            raise NetworkError(
                node.name, f"{node.input!r} and {other!r} differ in shape; expected the same"
            )
    if row.keeps_levels and (source.bits, source.signed) != (target.bits, target.signed):
        raise NetworkError(
            node.name,
            f"{node.input!r} and {node.output!r} differ in bits or sign; {row.summary} keeps both",
        )
    top, bottom, left, right = node.padding
    expected = (
        (source.height + top + bottom - node.kernel_height) // node.stride + 1,
        (source.width + left + right - node.kernel_width) // node.stride + 1,
        source.channels if row.keeps_channels else target.channels,
    )
    if target.shape != expected:
        shapes = f"{'x'.join(map(str, target.shape))}; expected {'x'.join(map(str, expected))}"
        raise NetworkError(
            node.name, f"{node.output!r} is {shapes} from its input, kernel, stride and padding"
        )
    if node.shortcut is not None and table[node.shortcut].shape != target.shape:
        raise NetworkError(
            node.name,
            f"the shortcut {node.shortcut!r} has another shape than {node.output!r}; expected the "
            "same",
        )
