"""IntegerModel: a network of integers only.

It is the single source of truth for the reference and for every export.

Everything that follows from something else (requantisation from scales, bounds from weights) is
stored too, for readers without arithmetic of their own, and compared with what it follows from
whenever a model is made.
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
    levels,
    quantize_multiplier,
)
from nas_engine.integer.bounds import AccumulatorBounds, accumulator_bounds, sum_range
from nas_engine.quantization.record import (
    QuantisationError,
    check_graph,
    check_tensor,
    check_window,
    checked_column,
    checked_weights,
    weight_shift,
)


def check_float32(name: str, what: str, scale: object) -> None:
    """Refuse a scale that is not a finite float32 value above 0.

    Raises:
        QuantisationError: Names the owner and what came.
    """
    if (
        not isinstance(scale, float)
        or not math.isfinite(scale)
        or scale <= 0
        or float(np.float32(scale)) != scale
    ):
        raise QuantisationError(
            name, f"{what} is {scale!r}; expected a finite float32 value above 0"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """Activation tensor, ``[height, width, channels]``.

    An int8 tensor in TFLite's sense within ``2^bits`` levels.
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
    """Width, 2 to 8."""
    signed: bool
    """Zero point 0 and levels on both sides of it; otherwise zero point -128 and levels from there
    upwards."""
    scale: float
    """Real value of one level: a float32 value. ``real = scale * (value - zero_point)``."""

    def __post_init__(self) -> None:
        check_tensor(self.name, self.height, self.width, self.channels, self.bits, self.signed)
        check_float32(self.name, "the scale", self.scale)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width, channels."""
        return self.height, self.width, self.channels

    @property
    def zero_point(self) -> int:
        """Value that stands for 0."""
        return levels(self.bits, self.signed)[0]

    @property
    def low(self) -> int:
        """Lowest value."""
        return levels(self.bits, self.signed)[1]

    @property
    def high(self) -> int:
        """Highest value."""
        return levels(self.bits, self.signed)[2]


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
            raise QuantisationError(
                "requantizer",
                f"{found}: the scale of its weights is out of proportion to that of its output",
            )
        wrong = (self.multiplier != 0) & (self.multiplier < LEAST_MULTIPLIER)
        if wrong.any():
            channel = int(wrong.argmax())
            found = f"the multiplier of channel {channel} is {self.multiplier[channel]}"
            raise QuantisationError(
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
    """Shortcut and the constants of its addition to a layer's own result.

    Both operands have scales of their own, and the sum is clamped to the output's levels: from 0 on
    where that is unsigned, which is a fused ReLU. Multiplier and shift of the shortcut, of the
    layer's own result, and of the sum follow from the three scales.
    """

    shortcut: str
    """Tensor that is added."""
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
    def between(shortcut: TensorSpec, scale: float, output: TensorSpec) -> Addition:
        """Return the addition of a shortcut to a result in a scale.

        Raises:
            QuantisationError: An operand's scale is out of proportion, which TFLite refuses too.
        """
        for operand, found in ((repr(shortcut.name), shortcut.scale), ("the result", scale)):
            if found >= 2.0 ** (ADD_LEFT_SHIFT - 1) * output.scale:
                raise QuantisationError(
                    output.name,
                    f"the scale of {operand} ({found:g}) is 2^19 times that of {output.name!r} "
                    f"({output.scale:g}) or more; an addition needs scales of the same order",
                )
        first, second, out = addition_multipliers(shortcut.scale, scale, output.scale)
        return Addition(shortcut=shortcut.name, scale=scale, first=first, second=second, out=out)

    def is_exact(self, shortcut: TensorSpec, output: TensorSpec) -> bool:
        """Return whether the sum needs no rounding: both operands have the output's scale."""
        return shortcut.scale == self.scale == output.scale


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class IntegerConvolution:
    """One convolution: weights, bias, requantisation, and the addition of a shortcut."""

    name: str
    """Unique name."""
    kind: str
    """``"conv"`` or ``"depthwise"``."""
    input: str
    """Tensor that enters."""
    output: str
    """Tensor that leaves."""
    kernel: int
    """Height and width of the kernel."""
    stride: int
    """Stride in both directions."""
    padding: tuple[int, int, int, int]
    """Rows and columns of the input's zero point: top, bottom, left, right."""
    weights: npt.NDArray[np.int8]
    """Weights ``[O, k, k, I]``, depth-wise ``[C, k, k, 1]``, in ``±(2^(weight_bits-1) - 1)``,
    without the carried shift."""
    weight_bits: int
    """Width of the weights, 2 to 8."""
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
        check_window(self.name, self.kernel, self.stride, self.padding)
        weights = checked_weights(self.name, self.kind, self.kernel, self.weights, self.weight_bits)
        object.__setattr__(self, "weights", weights)
        scale = checked_column(
            self.name, "weight_scale", self.weight_scale, len(weights), np.float32
        )
        if not ((scale > 0) & np.isfinite(scale)).all():
            raise QuantisationError(
                self.name,
                f"weight_scale holds {scale.min()}; expected finite float32 numbers above 0",
            )
        object.__setattr__(self, "weight_scale", scale)
        bias = checked_column(self.name, "bias", self.bias, len(weights), np.int64)
        if (np.abs(bias) > INT32_MAX).any():
            raise QuantisationError(
                self.name, f"a bias is {bias[np.abs(bias).argmax()]}; expected at most ±{INT32_MAX}"
            )
        object.__setattr__(
            self, "bias", checked_column(self.name, "bias", bias, len(weights), np.int32)
        )

    @property
    def weight_shift(self) -> int:
        """Zeros carried behind each weight: the accumulator is ``(sum << weight_shift) + bias``."""
        return weight_shift(self.weight_bits)

    @property
    def shortcut(self) -> str | None:
        """Tensor that is added, if any."""
        return self.addition.shortcut if self.addition else None


@dataclass(frozen=True, slots=True, kw_only=True)
class IntegerPool:
    """Average pool of int8 values as they stand; padded elements do not count.

    Its output has the scale and levels of its input.
    """

    name: str
    """Unique name."""
    input: str
    """Tensor that enters."""
    output: str
    """Tensor that leaves."""
    kernel: int
    """Height and width of the window."""
    stride: int
    """Stride in both directions."""
    padding: tuple[int, int, int, int]
    """Rows and columns that do not count: top, bottom, left, right."""

    def __post_init__(self) -> None:
        check_window(self.name, self.kernel, self.stride, self.padding)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class IntegerModel:
    """A whole network. Its input is a uint8 image of which every pixel is taken as ``pixel - 128``.

    Raises:
        QuantisationError: Steps that do not fit together, or stored numbers that do not follow from
            what they stand for.
    """

    image: str
    """Name of the input tensor."""
    tensors: tuple[TensorSpec, ...]
    """All tensors."""
    steps: tuple[IntegerConvolution | IntegerPool, ...]
    """Steps in the order of execution."""
    logits: str
    """Name of the output tensor, 1x1, one channel per class; the prediction is its first largest
    channel."""
    classes: tuple[str, ...]
    """Class names."""
    provenance: Mapping[str, str] = field(default_factory=dict)
    """Where the model comes from: free texts by name; what cannot be read in them (controls, bytes
    that are no UTF-8) becomes escapes."""

    def __post_init__(self) -> None:
        if not all(
            isinstance(text, str) and text.strip()
            for item in self.provenance.items()
            for text in item
        ):
            raise QuantisationError(
                "provenance", f"is {dict(self.provenance)!r}; expected texts by name"
            )
        readable = {
            terminal_line(name): terminal_lines(text) for name, text in self.provenance.items()
        }
        object.__setattr__(self, "provenance", MappingProxyType(readable))
        check_graph(self.image, self.tensors, self.steps, self.logits, self.classes)
        for step in self.steps:
            if isinstance(step, IntegerConvolution):
                self._check_convolution(step)
            elif self.tensor(step.input).scale != self.tensor(step.output).scale:
                raise QuantisationError(
                    step.name,
                    f"{step.input!r} and {step.output!r} differ in scale; a pool keeps it",
                )

    def _check_convolution(self, step: IntegerConvolution) -> None:
        source, target = self.tensor(step.input), self.tensor(step.output)
        scale = step.addition.scale if step.addition else target.scale
        expected = Requantizer.between(source.scale, step.weight_scale, scale)
        for what in ("multiplier", "shift"):
            if not np.array_equal(getattr(step.requantizer, what), getattr(expected, what)):
                raise QuantisationError(
                    step.name,
                    f"{what} of the requantizer does not follow from the scales; lower the network "
                    "again",
                )
        if step.addition and step.addition != Addition.between(
            self.tensor(step.addition.shortcut), scale, target
        ):
            raise QuantisationError(
                step.name, "the addition does not follow from the scales; lower the network again"
            )
        sums = sum_range(
            step.weights, source.low - source.zero_point, source.high - source.zero_point
        )
        bounds = accumulator_bounds(
            step.name, sums, step.weight_shift, step.bias, step.requantizer.shift
        )
        if step.bounds != bounds:
            raise QuantisationError(
                step.name,
                f"the bounds are {step.bounds}, its weights give {bounds}; lower the network again",
            )

    def tensor(self, name: str) -> TensorSpec:
        """Return a tensor by its name."""
        return next(tensor for tensor in self.tensors if tensor.name == name)
