"""Record of a trained, quantised network.

It holds all that lowering to integers needs, and nothing of the framework that trained it.

A network is a list of steps between named tensors. Each tensor has a width and a step size; each
layer has integer weights with their step sizes and batch norm as an affine map of its output:

    real output = gain * conv(x, weights * weight_step) + offset    (+ shortcut)
                  then rounded to the output tensor's levels

A layer that a shortcut is added to rounds twice, as TFLite's addition does: its own result to
signed 8 bits, and the sum to the output's levels. The former may have a scale of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from nas_engine.errors import NasEngineError, one_line, shortened

KINDS = ("conv", "depthwise")
"""Kinds of layers; a dense layer is a 1x1 convolution of a 1x1 tensor."""

MAX_SIZE = 65536
"""Most rows, columns, channels or classes of a tensor."""


class QuantisationError(NasEngineError):
    """A quantised network that cannot be: a shape, width, value or name that does not fit.

    Attributes:
        name: Layer, pool or tensor.
        problem: What came and what was expected.
    """

    def __init__(self, name: str, problem: str) -> None:
        self.name = name
        self.problem = problem
        super().__init__(name, problem)

    def __str__(self) -> str:
        return one_line(f"{shortened(self.name)}: {self.problem}")


def weight_shift(bits: int) -> int:
    """Return the number of zeros behind weights of a width in the accumulator.

    Every width is carried as 8 bits.

    Sums of narrow weights are small; counted in their units, the bias would be rounded coarsely,
    and gemmlowp's double rounding would be felt. Sums of shifted weights in a finer scale are as
    good as those of 8-bit weights, and a TFLite INT8 tensor holds exactly these values. Ours;
    ``docs/integer_model.md`` has the reason in numbers.
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


def check_name(kind: str, name: object) -> None:
    """Refuse a name that is no printable text in one line.

    Raises:
        QuantisationError: It is empty, too long, or not a text.
    """
    if not isinstance(name, str) or not name.strip() or not name.isprintable() or len(name) > 100:
        raise QuantisationError(
            kind,
            f"the name is {shortened(repr(name))}; expected a text of 1 to 100 printable "
            "characters",
        )


def check_whole(owner: str, what: str, value: object, low: int, high: int) -> None:
    """Refuse a value that is not a whole number in ``[low, high]``.

    Raises:
        QuantisationError: Names the owner, what came and the range.
    """
    if type(value) is not int or not low <= value <= high:
        raise QuantisationError(
            owner,
            f"{what} is {shortened(repr(value))}; expected a whole number from {low:,} to {high:,}",
        )


def check_tensor(
    name: str, height: int, width: int, channels: int, bits: int, signed: bool
) -> None:
    """Refuse a tensor with a wrong name, shape or width.

    Raises:
        QuantisationError: Names the tensor.
    """
    check_name("tensor", name)
    for what, value in (("height", height), ("width", width), ("channels", channels)):
        check_whole(name, what, value, 1, MAX_SIZE)
    check_whole(name, "bits", bits, 2, 8)
    if not isinstance(signed, bool):
        raise QuantisationError(name, f"signed is {signed!r}; expected true or false")


def check_scale(name: str, what: str, scale: object) -> None:
    """Refuse a scale that is not a finite float above 0.

    Raises:
        QuantisationError: Names the owner and what came.
    """
    if not isinstance(scale, float) or not math.isfinite(scale) or scale <= 0:
        raise QuantisationError(name, f"{what} is {scale!r}; expected a finite number above 0")


def check_window(name: str, kernel: int, stride: int, padding: Sequence[int]) -> None:
    """Refuse a wrong name, kernel, stride or padding.

    There is less padding than kernel, so that every window holds a real element.

    Raises:
        QuantisationError: Names the step.
    """
    check_name("step", name)
    check_whole(name, "kernel", kernel, 1, MAX_SIZE)
    check_whole(name, "stride", stride, 1, MAX_SIZE)
    if not isinstance(padding, tuple) or len(padding) != 4:
        raise QuantisationError(
            name, f"padding is {padding!r}; expected (top, bottom, left, right)"
        )
    for side in padding:
        check_whole(name, "padding", side, 0, kernel - 1)


def checked_weights(
    name: str, kind: str, kernel: int, weights: npt.ArrayLike, bits: int
) -> npt.NDArray[np.int8]:
    """Return integer weights as a read-only int8 array.

    The shape is ``[O, k, k, I]`` (depth-wise ``[C, k, k, 1]``).

    Raises:
        QuantisationError: Another kind or shape, no integers, or values beyond ``±(2^(bits-1) -
            1)``.
    """
    if kind not in KINDS:
        raise QuantisationError(name, f"the kind is {kind!r}; expected one of: {', '.join(KINDS)}")
    check_whole(name, "weight bits", bits, 2, 8)
    array = np.asarray(weights)
    if (
        array.ndim != 4
        or array.shape[1:3] != (kernel, kernel)
        or array.size == 0
        or (kind == "depthwise" and array.shape[3] != 1)
    ):
        expected = f"[O, {kernel}, {kernel}, {1 if kind == 'depthwise' else 'I'}]"
        raise QuantisationError(
            name, f"the weights have shape {list(array.shape)}; expected {expected}"
        )
    most = 2 ** (bits - 1) - 1
    if not np.issubdtype(array.dtype, np.integer) or array.min() < -most or array.max() > most:
        raise QuantisationError(
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
        QuantisationError: Another shape, or a number that is not finite.
    """
    array, whole = np.asarray(values), np.issubdtype(dtype, np.integer)
    if (
        array.shape != (length,)
        or array.dtype.kind not in ("iu" if whole else "fiu")
        or not np.isfinite(array).all()
    ):
        found = f"shape {list(array.shape)} of {array.dtype}"
        raise QuantisationError(
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
class QuantisedTensor:
    """One activation tensor: its shape and its levels."""

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
    """Levels ``-2^(bits-1) .. 2^(bits-1) - 1``; otherwise ``0 .. 2^bits - 1`` (after ReLU)."""
    step: float
    """Real value of one level."""

    def __post_init__(self) -> None:
        check_tensor(self.name, self.height, self.width, self.channels, self.bits, self.signed)
        check_scale(self.name, "the step", self.step)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class QuantisedLayer:
    """One convolution with its batch norm, and the shortcut that is added to it."""

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
    """Rows and columns of zeros: top, bottom, left, right."""
    weights: npt.NDArray[np.int8]
    """Integer weights ``[O, k, k, I]``, depth-wise ``[C, k, k, 1]``, in ``±(2^(weight_bits-1) -
    1)``."""
    weight_bits: int
    """Width of the weights, 2 to 8."""
    weight_step: npt.NDArray[np.float64]
    """Real value of one weight level, above 0, ``[O]``."""
    gain: npt.NDArray[np.float64]
    """Factor of the batch norm, ``[O]``; 1 without one."""
    offset: npt.NDArray[np.float64]
    """Offset of the batch norm (or the bias), in real units, ``[O]``."""
    shortcut: str | None
    """Tensor that is added before the output is quantised."""
    own_scale: float | None = None
    """Real value of one level of the layer's own result, signed 8 bits, that a shortcut is added
    to; ``None``: that of the output."""

    def __post_init__(self) -> None:
        check_window(self.name, self.kernel, self.stride, self.padding)
        if self.own_scale is not None:
            if self.shortcut is None:
                raise QuantisationError(
                    self.name, "own_scale is given without a shortcut; its result has the output's"
                )
            check_scale(self.name, "own_scale", self.own_scale)
        weights = checked_weights(self.name, self.kind, self.kernel, self.weights, self.weight_bits)
        object.__setattr__(self, "weights", weights)
        for what in ("weight_step", "gain", "offset"):
            object.__setattr__(
                self,
                what,
                checked_column(self.name, what, getattr(self, what), len(weights), np.float64),
            )
        if (self.weight_step <= 0).any():
            raise QuantisationError(
                self.name, f"weight_step holds {self.weight_step.min()}; expected numbers above 0"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantisedPool:
    """Average pool; its output has the levels of its input. Padded elements do not count."""

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
class QuantisedNetwork:
    """A whole trained network.

    The image is signed 8 bits (pixel - 128), the logits are signed 8 bits.
    """

    image: str
    """Name of the input tensor."""
    tensors: tuple[QuantisedTensor, ...]
    """All tensors."""
    steps: tuple[QuantisedLayer | QuantisedPool, ...]
    """Layers and pools in the order of execution."""
    logits: str
    """Name of the output tensor, 1x1, one channel per class."""
    classes: tuple[str, ...]
    """Class names."""

    def __post_init__(self) -> None:
        check_graph(self.image, self.tensors, self.steps, self.logits, self.classes)
        tensors = {tensor.name: tensor for tensor in self.tensors}
        for step in self.steps:
            if (
                isinstance(step, QuantisedPool)
                and tensors[step.input].step != tensors[step.output].step
            ):
                found = f"{tensors[step.input].step!r} in and {tensors[step.output].step!r} out"
                raise QuantisationError(
                    step.name, f"the steps are {found}; a pool keeps its input's step"
                )


class TensorShape(Protocol):
    """Attributes of a tensor that a graph check needs."""

    @property
    def name(self) -> str:
        """Unique name."""

    @property
    def height(self) -> int:
        """Rows."""

    @property
    def width(self) -> int:
        """Columns."""

    @property
    def channels(self) -> int:
        """Channels."""

    @property
    def bits(self) -> int:
        """Width."""

    @property
    def signed(self) -> bool:
        """True if there are levels below zero."""


class StepShape(Protocol):
    """Attributes of a step that a graph check needs.

    A layer also has ``kind``, ``weights`` and ``shortcut``, a pool has not.
    """

    @property
    def name(self) -> str:
        """Unique name."""

    @property
    def input(self) -> str:
        """Tensor that enters."""

    @property
    def output(self) -> str:
        """Tensor that leaves."""

    @property
    def kernel(self) -> int:
        """Height and width of the window."""

    @property
    def stride(self) -> int:
        """Stride in both directions."""

    @property
    def padding(self) -> tuple[int, int, int, int]:
        """Top, bottom, left, right."""


def check_graph(
    image: str,
    tensors: Iterable[TensorShape],
    steps: Sequence[StepShape],
    logits: str,
    classes: Sequence[str],
) -> None:
    """Refuse steps that do not fit together.

    Raises:
        QuantisationError: A name twice or unknown, a tensor read before it is made or never made, a
            shape that does not follow from the input's, an image or logits of another form.
    """
    table: dict[str, TensorShape] = {}
    for tensor in tensors:
        if tensor.name in table:
            raise QuantisationError(tensor.name, "two tensors have this name; give each its own")
        table[tensor.name] = tensor
    if image not in table or not table[image].signed or table[image].bits != 8:
        raise QuantisationError(
            str(image), "the image must be a tensor of the network, signed, 8 bits wide"
        )
    made = {image}
    names: set[str] = set()
    for step in steps:
        if step.name in names:
            raise QuantisationError(step.name, "two steps have this name; give each its own")
        names.add(step.name)
        for source in (step.input, getattr(step, "shortcut", None)):
            if source is not None and source not in made:
                raise QuantisationError(
                    step.name, f"reads {source!r} before a step has made it; put the steps in order"
                )
        if step.output not in table or step.output in made:
            raise QuantisationError(
                step.name,
                f"writes {step.output!r}; expected a tensor of the network that no other step "
                "writes",
            )
        made.add(step.output)
        _check_step(step, table)
    if table.keys() - made:
        raise QuantisationError(min(table.keys() - made), "no step makes this tensor; remove it")
    if not steps or steps[-1].output != logits:
        raise QuantisationError(str(logits), "the logits must be what the last step makes")
    last = table[logits]
    if (last.height, last.width, last.channels, last.signed, last.bits) != (
        1,
        1,
        len(classes),
        True,
        8,
    ):
        found = (
            f"{last.height}x{last.width}x{last.channels}, "
            f"{'signed' if last.signed else 'unsigned'} {last.bits} bits"
        )
        raise QuantisationError(
            logits,
            f"is {found}; expected 1x1x{len(classes)} (one channel per class), signed 8 bits",
        )
    for name in classes:
        check_name("class", name)


def _check_step(step: StepShape, table: dict[str, TensorShape]) -> None:
    source, target = table[step.input], table[step.output]
    weights, shortcut = getattr(step, "weights", None), getattr(step, "shortcut", None)
    top, bottom, left, right = step.padding
    height = (source.height + top + bottom - step.kernel) // step.stride + 1
    width = (source.width + left + right - step.kernel) // step.stride + 1
    channels = source.channels
    if weights is None:
        if (source.bits, source.signed) != (target.bits, target.signed):
            raise QuantisationError(
                step.name,
                f"{step.input!r} and {step.output!r} differ in bits or sign; a pool keeps both",
            )
    else:
        depthwise = getattr(step, "kind", None) == "depthwise"
        channels, inputs = weights.shape[0], weights.shape[0] if depthwise else weights.shape[3]
        if inputs != source.channels:
            raise QuantisationError(
                step.name,
                f"the weights take {inputs} channels; {step.input!r} has {source.channels}",
            )
    found = (target.height, target.width, target.channels)
    if found != (height, width, channels):
        shapes = (
            f"{'x'.join(map(str, found))}; expected {height}x{width}x{channels} from its input, "
            "kernel, stride and padding"
        )
        raise QuantisationError(step.name, f"{step.output!r} is {shapes}")
    if (
        shortcut is not None
        and (table[shortcut].height, table[shortcut].width, table[shortcut].channels) != found
    ):
        raise QuantisationError(
            step.name,
            f"the shortcut {shortcut!r} has another shape than {step.output!r}; expected the same",
        )
