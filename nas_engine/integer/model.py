"""IntegerModel: a network of integers only, its graph with every constant of the arithmetic.

It is the single source of truth for the reference and for every export.

Everything that follows from something else (requantisation from scales, bounds from weights) is
stored too, for readers without arithmetic of their own, and compared with its source whenever a
model is made.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from nas_engine.escaping import terminal_line, terminal_lines
from nas_engine.integer.arithmetic import (
    ADD_LEFT_SHIFT,
    INT32_MAX,
    addition_multipliers,
    quantize_multiplier,
)
from nas_engine.integer.bounds import AccumulatorBounds, accumulator_bounds, sum_range
from nas_engine.network.graph import Graph, NetworkError, Node
from nas_engine.quantization.record import (
    QuantisedTensor,
    check_quantised,
    checked_column,
    checked_weights,
    weight_shift,
)


def check_float32(name: str, what: str, scale: object) -> None:
    """Refuse a scale that is not a finite float32 value above 0.

    Raises:
        NetworkError: Names the owner and what came.
    """
    if (
        not isinstance(scale, float)
        or not math.isfinite(scale)
        or scale <= 0
        or float(np.float32(scale)) != scale
    ):
        raise NetworkError(name, f"{what} is {scale!r}; expected a finite float32 value above 0")


LEAST_SHIFT, LARGEST_SHIFT = -31, 30
"""Shifts of a requantisation that its C executes: to the right by up to 31, to the left as far as 1
stays an int32."""

LEAST_MULTIPLIER = 2**30
"""Least multiplier (Q31) besides 0."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Requantizer:
    """Requantisation from accumulators to levels, rounded as TFLite does.

    Per channel ``accumulator * multiplier / 2^31 * 2^shift``.
    """

    multiplier: npt.NDArray[np.int32]
    """Multipliers (Q31), 0 or in ``[2^30, 2^31 - 1]``, ``[O]``."""
    shift: npt.NDArray[np.int32]
    """Shifts, positive to the left, ``LEAST_SHIFT`` to ``LARGEST_SHIFT``, ``[O]``."""

    def __post_init__(self) -> None:
        for what in ("multiplier", "shift"):
            array = np.asarray(getattr(self, what))
            object.__setattr__(
                self, what, checked_column("requantizer", what, array, array.size, np.int32)
            )
        outside = (self.shift < LEAST_SHIFT) | (self.shift > LARGEST_SHIFT)
        if outside.any():
            channel = int(outside.argmax())
            found = (
                f"the shift of channel {channel} is {self.shift[channel]}; expected {LEAST_SHIFT} "
                f"to {LARGEST_SHIFT}"
            )
            raise NetworkError(
                "requantizer",
                f"{found}: the scale of its weights is out of proportion to that of its output",
            )
        wrong = (self.multiplier != 0) & (self.multiplier < LEAST_MULTIPLIER)
        if wrong.any():
            channel = int(wrong.argmax())
            found = f"the multiplier of channel {channel} is {self.multiplier[channel]}"
            raise NetworkError(
                "requantizer", f"{found}; expected 0, or {LEAST_MULTIPLIER} and above"
            )

    @staticmethod
    def between(
        input_scale: float, weight_scale: npt.NDArray[np.float32], output_scale: float
    ) -> Requantizer:
        """Return the requantisation from accumulators to an output scale.

        The accumulators have the scale ``input_scale * weight_scale``.

        TFLite ``PopulateConvolutionQuantizationParams`` (kernel_util.cc): float32 scales,
        multiplied and divided as doubles.
        """
        multiplier, shift = quantize_multiplier(
            input_scale * weight_scale.astype(np.float64) / output_scale
        )
        return Requantizer(multiplier=multiplier.astype(np.int32), shift=shift.astype(np.int32))


@dataclass(frozen=True, slots=True, kw_only=True)
class Addition:
    """Constants of the addition of a shortcut to a layer's own result.

    Both operands have scales of their own, and the sum is clamped to the output's levels: from 0 on
    where that is unsigned, which is a fused ReLU. Multiplier and shift of the shortcut, of the
    layer's own result, and of the sum follow from the three scales.
    """

    scale: float
    """Real value of one level of the layer's own result, signed 8 bits with zero point 0: a float32
    value. It is an operand only, never a tensor of the network."""
    first: tuple[int, int]
    """Of the shortcut."""
    second: tuple[int, int]
    """Of the layer's own result."""
    out: tuple[int, int]
    """Of the sum."""

    def __post_init__(self) -> None:
        check_float32("addition", "the scale", self.scale)

    @staticmethod
    def between(shortcut: QuantisedTensor, scale: float, output: QuantisedTensor) -> Addition:
        """Return the addition of a shortcut to a result in a scale.

        Raises:
            NetworkError: An operand's scale is out of proportion, which TFLite refuses too.
        """
        for operand, found in ((repr(shortcut.name), shortcut.scale), ("the result", scale)):
            if found >= 2.0 ** (ADD_LEFT_SHIFT - 1) * output.scale:
                raise NetworkError(
                    output.name,
                    f"the scale of {operand} ({found:g}) is 2^19 times that of {output.name!r} "
                    f"({output.scale:g}) or more; an addition needs scales of the same order",
                )
        first, second, out = addition_multipliers(shortcut.scale, scale, output.scale)
        return Addition(scale=scale, first=first, second=second, out=out)

    @property
    def constants(self) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
        """Multiplier and shift of both operands and of the sum."""
        return self.first, self.second, self.out

    def is_exact(self, shortcut: QuantisedTensor, output: QuantisedTensor) -> bool:
        """Return whether the sum needs no rounding: both operands have the output's scale."""
        return shortcut.scale == self.scale == output.scale


@dataclass(frozen=True, slots=True, kw_only=True)
class IntegerSum(Node):
    """Free-standing addition of two tensors."""

    addition: Addition
    """Constants; the first input is the shortcut."""

    @staticmethod
    def between(node: Node, tensors: Mapping[str, QuantisedTensor]) -> IntegerSum:
        """Return the addition of a node, with the constants that follow from the scales.

        Raises:
            NetworkError: An operand's scale is out of proportion, which TFLite refuses too.
        """
        first, second = (tensors[name] for name in node.inputs)
        addition = Addition.between(first, second.scale, tensors[node.output])
        return IntegerSum(**node.as_fields(), addition=addition)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class IntegerConvolution(Node):
    """Convolution: weights, bias, requantisation, and the addition of a shortcut."""

    weights: npt.NDArray[np.int8]
    """Weights ``[O, kernel height, kernel width, I]``, depth-wise ``[C, ..., 1]``, in
    ``±(2^(weight_bits-1) - 1)``, without the carried shift."""
    weight_scale: npt.NDArray[np.float32]
    """Real value of 1 in the shifted weights: ``real = weight_scale * (weights << weight_shift)``,
    ``[O]``."""
    bias: npt.NDArray[np.int32]
    """Biases in the scale of the accumulator, input scale times weight scale, ``[O]``."""
    requantizer: Requantizer
    """From accumulators to the scale of the result: the output's, or that of the addition."""
    addition: Addition | None
    """Addition of a shortcut, or ``None``."""
    bounds: AccumulatorBounds
    """Range of the accumulators."""

    def __post_init__(self) -> None:
        Node.__post_init__(self)
        if (self.shortcut is None) != (self.addition is None):
            raise NetworkError(
                self.name,
                f"the shortcut {self.shortcut!r} has no addition; lower the network again",
            )
        weights = checked_weights(self, self.weights)
        object.__setattr__(self, "weights", weights)
        scale = checked_column(
            self.name, "weight_scale", self.weight_scale, len(weights), np.float32
        )
        if not ((scale > 0) & np.isfinite(scale)).all():
            raise NetworkError(
                self.name,
                f"weight_scale holds {scale.min()}; expected finite float32 numbers above 0",
            )
        object.__setattr__(self, "weight_scale", scale)
        bias = checked_column(self.name, "bias", self.bias, len(weights), np.int64)
        if (np.abs(bias) > INT32_MAX).any():
            raise NetworkError(
                self.name, f"a bias is {bias[np.abs(bias).argmax()]}; expected at most ±{INT32_MAX}"
            )
        object.__setattr__(
            self, "bias", checked_column(self.name, "bias", bias, len(weights), np.int32)
        )

    @property
    def weight_shift(self) -> int:
        """Zeros carried behind each weight: the accumulator is ``(sum << weight_shift) + bias``."""
        return weight_shift(self.weight_bits)

    __eq__ = object.__eq__
    __hash__ = object.__hash__


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class IntegerModel(Graph[QuantisedTensor, Node]):
    """A whole network. Its input is a uint8 image of which every pixel is taken as ``pixel - 128``.

    Nodes with weights are ``IntegerConvolution``, free-standing additions ``IntegerSum``.

    Raises:
        NetworkError: Nodes that do not fit together, or stored numbers that do not follow from
            their source.
    """

    classes: tuple[str, ...]
    """Class names, one per channel of the logits; empty if the network is no classifier."""
    provenance: Mapping[str, str] = field(default_factory=dict)
    """Where the model comes from: free texts by name; what cannot be read in them (controls, bytes
    that are no UTF-8) becomes escapes."""

    def __post_init__(self) -> None:
        if not all(
            isinstance(text, str) and text.strip()
            for item in self.provenance.items()
            for text in item
        ):
            raise NetworkError(
                "provenance", f"is {dict(self.provenance)!r}; expected texts by name"
            )
        readable = {
            terminal_line(name): terminal_lines(text) for name, text in self.provenance.items()
        }
        object.__setattr__(self, "provenance", MappingProxyType(readable))
        Graph.__post_init__(self)
        for tensor in self.tensors:
            check_float32(tensor.name, "the scale", tensor.scale)
        check_quantised(self, self.classes, IntegerConvolution)
        tensors = {tensor.name: tensor for tensor in self.tensors}
        for node in self.nodes:
            if isinstance(node, IntegerConvolution):
                self._check_convolution(node)
            elif node.kind == "add" and node != IntegerSum.between(node, tensors):
                raise NetworkError(
                    node.name,
                    "the addition does not follow from the scales; lower the network again",
                )

    @property
    def image(self) -> str:
        """Name of the input tensor."""
        return self.inputs[0]

    @property
    def logits(self) -> str:
        """Name of the output tensor of a classifier, 1x1, one channel per class.

        The prediction is its first largest channel.

        Raises:
            NetworkError: The network is no classifier.
        """
        if not self.classes:
            found = ", ".join(map(repr, self.outputs))
            raise NetworkError(
                "classes", f"are none, the outputs are {found}; expected a classifier"
            )
        return self.outputs[0]

    def _check_convolution(self, node: IntegerConvolution) -> None:
        source, target = self.tensor(node.input), self.tensor(node.output)
        scale = node.addition.scale if node.addition else target.scale
        expected = Requantizer.between(source.scale, node.weight_scale, scale)
        for what in ("multiplier", "shift"):
            if not np.array_equal(getattr(node.requantizer, what), getattr(expected, what)):
                raise NetworkError(
                    node.name,
                    f"{what} of the requantizer does not follow from the scales; lower the network "
                    "again",
                )
        if node.shortcut is not None and node.addition != Addition.between(
            self.tensor(node.shortcut), scale, target
        ):
            raise NetworkError(
                node.name, "the addition does not follow from the scales; lower the network again"
            )
        sums = sum_range(
            node.weights, source.low - source.zero_point, source.high - source.zero_point
        )
        bounds = accumulator_bounds(
            node.name, sums, node.weight_shift, node.bias, node.requantizer.shift
        )
        if node.bounds != bounds:
            raise NetworkError(
                node.name,
                f"the bounds are {node.bounds}, its weights give {bounds}; lower the network again",
            )

    __eq__ = object.__eq__
    __hash__ = object.__hash__
