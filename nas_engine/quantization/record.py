"""Record of a trained, quantised network: its graph with scales, integer weights and batch norms.

It holds everything that lowering to integers needs, and nothing of the framework that trained it.
Each tensor has a scale; each layer has integer weights with their scales and batch norm as an
affine map of its output:

    real output = gain * conv(x, weights * weight_scale) + offset    (+ shortcut)
                  then rounded to the output tensor's levels

A layer that a shortcut is added to rounds twice, as TFLite's addition does: its own result to
signed 8 bits, and the sum to the output's levels. The former may have a scale of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nas_engine.network.graph import (
    KINDS,
    Graph,
    NetworkError,
    Node,
    Tensor,
    check_name,
    value_range,
)


def check_scale(name: str, what: str, scale: object) -> None:
    """Refuse a scale that is not a finite float above 0.

    Raises:
        NetworkError: Names the owner and what came.
    """
    if not isinstance(scale, float) or not math.isfinite(scale) or scale <= 0:
        raise NetworkError(name, f"{what} is {scale!r}; expected a finite number above 0")


def weight_shift(bits: int) -> int:
    """Return the number of zeros behind weights of a width in the accumulator.

    Every width is carried as 8 bits.

    Sums of narrow weights are small; counted in their units, the bias would be rounded coarsely,
    and gemmlowp's double rounding would be felt. Sums of shifted weights in a finer scale are as
    good as those of 8-bit weights, and a TFLite INT8 tensor holds exactly these values (chosen
    here; ``docs/integer_model.md`` has the reason in numbers).
    """
    return 8 - bits


CONSTANT_LEVELS = 2.0**-10
"""A channel whose convolution can never move the output by this many levels is a constant: its
offset, rounded."""


def is_constant(reach: Any) -> Any:
    """Return which channels are constants (an array or a tensor).

    Decided from how many levels their convolution can move the output.
    """
    return reach < CONSTANT_LEVELS


def checked_weights(node: Node, weights: npt.ArrayLike) -> npt.NDArray[np.int8]:
    """Return the integer weights of a node as a read-only int8 array.

    The shape is ``[O, kernel height, kernel width, I]`` (depth-wise ``[C, ..., 1]``).

    Raises:
        NetworkError: A node without weights, another shape, no integers, or values beyond
            ``±(2^(bits-1) - 1)``.
    """
    name, row = node.name, KINDS[node.kind]
    if not row.has_weights:
        raise NetworkError(name, f"has weights; {row.summary} has none")
    array = np.asarray(weights)
    kernel = (node.kernel_height, node.kernel_width)
    if (
        array.ndim != 4
        or array.shape[1:3] != kernel
        or array.size == 0
        or (row.keeps_channels and array.shape[3] != 1)
    ):
        expected = f"[O, {kernel[0]}, {kernel[1]}, {1 if row.keeps_channels else 'I'}]"
        raise NetworkError(name, f"the weights have shape {list(array.shape)}; expected {expected}")
    bits = node.weight_bits
    most = 2 ** (bits - 1) - 1
    if not np.issubdtype(array.dtype, np.integer) or array.min() < -most or array.max() > most:
        raise NetworkError(
            name,
            f"the weights ({array.dtype}) are not whole numbers from {-most} to {most} ({bits} "
            "bits)",
        )
    return read_only(array.astype(np.int8))


def checked_column(
    name: str, what: str, values: npt.ArrayLike, length: int, dtype: Any
) -> npt.NDArray[Any]:
    """Return one finite number per output channel as a read-only array.

    Raises:
        NetworkError: Another shape, or a number that is not finite.
    """
    array, whole = np.asarray(values), np.issubdtype(dtype, np.integer)
    if (
        array.shape != (length,)
        or array.dtype.kind not in ("iu" if whole else "fiu")
        or not np.isfinite(array).all()
    ):
        found = f"shape {list(array.shape)} of {array.dtype}"
        raise NetworkError(
            name,
            f"{what} has {found}; expected {length} {'whole' if whole else 'finite'} numbers, one "
            "per channel",
        )
    return read_only(array.astype(dtype))


def read_only(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return a freshly made array, C-contiguous and not writeable."""
    array = np.ascontiguousarray(array)
    array.flags.writeable = False
    return array


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantisedTensor(Tensor):
    """Activation tensor with its scale; its values are int8 in TFLite's sense."""

    scale: float
    """Real value of one level: ``real = scale * (value - zero_point)``."""

    def __post_init__(self) -> None:
        Tensor.__post_init__(self)
        check_scale(self.name, "the scale", self.scale)

    @property
    def zero_point(self) -> int:
        """Value that represents 0."""
        return value_range(self.bits, self.signed)[0]

    @property
    def low(self) -> int:
        """Lowest value."""
        return value_range(self.bits, self.signed)[1]

    @property
    def high(self) -> int:
        """Highest value."""
        return value_range(self.bits, self.signed)[2]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class QuantisedLayer(Node):
    """Convolution with its batch norm, and the shortcut that is added to it."""

    weights: npt.NDArray[np.int8]
    """Integer weights ``[O, kernel height, kernel width, I]``, depth-wise ``[C, ..., 1]``, in
    ``±(2^(weight_bits-1) - 1)``."""
    weight_scale: npt.NDArray[np.float64]
    """Real value of one weight level, above 0, ``[O]``."""
    gain: npt.NDArray[np.float64]
    """Factor of the batch norm, ``[O]``; 1 without one."""
    offset: npt.NDArray[np.float64]
    """Offset of the batch norm (or the bias), in real units, ``[O]``."""
    own_scale: float | None = None
    """Real value of one level of the layer's own result, signed 8 bits, that a shortcut is added
    to; ``None``: that of the output."""

    def __post_init__(self) -> None:
        Node.__post_init__(self)
        if self.own_scale is not None:
            if self.shortcut is None:
                raise NetworkError(
                    self.name, "own_scale is given without a shortcut; its result has the output's"
                )
            check_scale(self.name, "own_scale", self.own_scale)
        weights = checked_weights(self, self.weights)
        object.__setattr__(self, "weights", weights)
        for what in ("weight_scale", "gain", "offset"):
            object.__setattr__(
                self,
                what,
                checked_column(self.name, what, getattr(self, what), len(weights), np.float64),
            )
        if (self.weight_scale <= 0).any():
            raise NetworkError(
                self.name, f"weight_scale holds {self.weight_scale.min()}; expected numbers above 0"
            )

    __eq__ = object.__eq__
    __hash__ = object.__hash__


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class QuantisedNetwork(Graph[QuantisedTensor, Node]):
    """A whole trained network: the nodes with weights are ``QuantisedLayer``.

    The image is signed 8 bits (pixel - 128), the logits are signed 8 bits.
    """

    classes: tuple[str, ...]
    """Class names; empty if the network is no classifier."""

    def __post_init__(self) -> None:
        Graph.__post_init__(self)
        check_quantised(self, self.classes, QuantisedLayer)

    __eq__ = object.__eq__
    __hash__ = object.__hash__


def check_quantised(
    graph: Graph[QuantisedTensor, Node], classes: Sequence[str], layer: type[Any]
) -> None:
    """Refuse scales, weights, an image or logits that do not fit the graph.

    Args:
        graph: A network with scales.
        classes: Class names; empty if it is no classifier.
        layer: Record that nodes with weights must be; it has ``weights``.

    Raises:
        NetworkError: Names the node or tensor.
    """
    if len(graph.inputs) != 1:
        raise NetworkError("inputs", f"are {list(graph.inputs)}; expected one, the image")
    image = graph.tensor(graph.inputs[0])
    if not image.signed or image.bits != 8:
        raise NetworkError(image.name, "the image must be signed, 8 bits wide")
    for node in graph.nodes:
        source, target, row = graph.tensor(node.input), graph.tensor(node.output), KINDS[node.kind]
        if row.keeps_scale and source.scale != target.scale:
            raise NetworkError(
                node.name,
                f"the scales are {source.scale!r} in and {target.scale!r} out; {row.summary} keeps "
                "its input's scale",
            )
        if not row.has_weights:
            continue
        if not isinstance(node, layer):
            raise NetworkError(node.name, f"has no weights; {row.summary} needs them")
        outputs, _, _, inputs = node.weights.shape
        inputs = outputs if row.keeps_channels else inputs
        if inputs != source.channels:
            raise NetworkError(
                node.name,
                f"the weights take {inputs} channels; {node.input!r} has {source.channels}",
            )
        if outputs != target.channels:
            raise NetworkError(
                node.name,
                f"the weights give {outputs} channels; {node.output!r} has {target.channels}",
            )
    for name in classes:
        check_name("class", name)
    if classes:
        _check_logits(graph, len(classes))


def _check_logits(graph: Graph[QuantisedTensor, Node], class_count: int) -> None:
    if graph.outputs != (graph.nodes[-1].output,):
        raise NetworkError(
            ", ".join(graph.outputs), "the logits must be what the last step makes, and all of it"
        )
    last = graph.tensor(graph.outputs[0])
    if (*last.shape, last.signed, last.bits) != (1, 1, class_count, True, 8):
        sign = "signed" if last.signed else "unsigned"
        raise NetworkError(
            last.name,
            f"is {'x'.join(map(str, last.shape))}, {sign} {last.bits} bits; expected "
            f"1x1x{class_count} (one channel per class), signed 8 bits",
        )
