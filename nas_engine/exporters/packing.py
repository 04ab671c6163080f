"""Weights and constants as the C kernels read them.

Every layout is dense: ``ceil(weights * bits / 32)`` little-endian words, no padding but at the end.
Taps are the inputs of one output channel in the order kernel row, kernel column, input channel. The
dense kernels multiply taps in pairs, (0, 2) and (1, 3) of every four, because that is how the DSP
instructions take bytes from a word; the layouts below put the weights where this asks for no work
at run time. The order depends on the weight width only, never on that of the input.

``stream``
    Depth-wise. A bit stream of two's complement numbers in the order of the weights, ``[C, k, k]``.
``stream-pairs``
    A bit stream of two's complement numbers: for each two output channels, four taps of the one,
    four of the other, and so on; what is left of the taps (1 to 3) stands at the end in the same
    way. A last channel without a partner stands alone.
``words-w8``
    The same order at 8 bits with taps in multiples of 8 and an even number of channels: words of
    four weights, two channels alternating.
``words-w4``
    4 bits with the same shapes: words of eight taps, two channels alternating. Weights are stored
    as ``w + 8``. The lower half of a word holds the first taps of its pairs (0, 1, 4, 5), the upper
    half the second ones (2, 3, 6, 7): shifted to the right by a multiple of 4 and masked, a word
    gives a pair of 16-bit numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nas_engine.integer.model import Addition, IntegerConvolution
from nas_engine.network.kernels import Kernel, kernel_of
from nas_engine.quantization.record import QuantisedTensor

Words = npt.NDArray[np.uint32]
"""Little-endian words of 32 bits."""

FAST_SHIFTS = range(-20, 0)
"""Shifts for which the quick form of requantisation is proven, runtime/nas_requantise.h."""

FAST_SHIFTS_FROM_ZERO = range(-20, 9)
"""The same for depth-wise layers whose results begin at a stored 0: weights of a byte may be
shifted to the left by 8 bits in halves of words."""

FAST_ACCUMULATOR = 2**30
"""Accumulators below this, after a shift to the left, may be doubled in 32 bits, the same file."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PackedLayer:
    """Weights and constants of one layer for the C runtime."""

    kernel: Kernel
    """C function that runs the layer, and layout of the weights, see the module's text."""
    weights: Words
    """Packed weights, ``[ceil(weights * bits / 32)]``."""
    constants: Words
    """Bias ``[O]``, multiplier ``[O]``, int8 shift ``[O]`` padded with -1, a shift that any kernel
    may take: ``[ceil(9 * O / 4)]``."""
    fast_rounding: bool
    """True if the fast form of requantisation is exact for every channel."""


def pack_layer(
    step: IntegerConvolution,
    source: QuantisedTensor,
    target: QuantisedTensor,
    *,
    in_place: bool = False,
) -> PackedLayer:
    """Return a layer's kernel, packed weights and constants.

    The stored bias is the model's with the offset of the stored input folded in, modulo 2^32:
    ``bias + (((low - zero_point) * sum(w)) << weight_shift)`` with the input's ``low`` and
    ``zero_point``. Kernels then multiply the stored, unsigned inputs. A channel with multiplier 0
    has shift 0 in the model; -1 is stored, which gives the same 0 in both forms of requantisation.

    Args:
        step: The layer.
        source: Its input tensor.
        target: Its output tensor.
        in_place: Whether the output is written over the input.

    Raises:
        ValueError: The tensors are not the layer's.
    """
    for what, tensor, name in (("input", source, step.input), ("output", target, step.output)):
        if tensor.name != name:
            raise ValueError(f"{step.name}: got {tensor.name!r} as its {what}; expected {name!r}")
    shift = np.where(step.requantizer.multiplier == 0, -1, step.requantizer.shift)
    kernel = kernel_of(step, source, target, in_place=in_place)
    return PackedLayer(
        kernel=kernel,
        weights=_packed(step, kernel.layout),
        constants=_constants(step, source, shift),
        fast_rounding=step.bounds.shifted < FAST_ACCUMULATOR
        and all(value in fast_shifts(step, target) for value in shift.tolist()),
    )


def fast_shifts(step: IntegerConvolution, target: QuantisedTensor) -> range:
    """Return the shifts of requantisation for which a layer's kernel has a quick form."""
    from_zero = step.kind == "depthwise" and target.zero_point == target.low
    return FAST_SHIFTS_FROM_ZERO if from_zero else FAST_SHIFTS


def addition_flags(
    addition: Addition, shortcut: QuantisedTensor, output: QuantisedTensor
) -> tuple[str, ...]:
    """Return the flags of a layer that adds a shortcut, nas_runtime.h and nas_dense_add.c.

    The quick form of an addition is exact where one operand, the one with the larger scale, is
    halved, which takes no rounding, and where the other one, unless it is halved too, and the sum
    have shifts for which the quick form of requantisation is proven.
    """
    half, operands = (2**30, 0), {addition.first, addition.second}
    zeros = {tensor.zero_point - tensor.low for tensor in (shortcut, output)}
    if addition.is_exact(shortcut, output) and len(zeros) == 1:
        return "NAS_ADD_SHORTCUT", "NAS_SAME_SCALE"
    others = [*(operands - {half}), addition.out]
    if half in operands and all(shift in FAST_SHIFTS for _, shift in others):
        return "NAS_ADD_SHORTCUT", "NAS_QUICK_ADDITION"
    return ("NAS_ADD_SHORTCUT",)


def _packed(step: IntegerConvolution, layout: str) -> Words:
    bits = step.weight_bits
    flat = step.weights.reshape(len(step.weights), -1).astype(np.int64)
    if layout == "stream":
        return _stream(flat.reshape(-1), bits)
    if layout in ("stream-pairs", "words-w8"):
        return _stream(_in_pairs(flat), bits)
    at_once = 32 // bits
    order = (
        np.arange(at_once).reshape(-1, 2, 2).transpose(1, 0, 2).reshape(-1)
    )  # 0 1 4 5 ... 2 3 6 7 ...
    words = flat.reshape(-1, 2, flat.shape[1] // at_once, at_once)[..., order].transpose(0, 2, 1, 3)
    return _stream(words.reshape(-1) + 2 ** (bits - 1), bits)


def _in_pairs(flat: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return weights ``[O, taps]`` in the order of ``stream-pairs``, ``[O * taps]``."""
    channel, tap = (index.reshape(-1) for index in np.indices(flat.shape))
    return flat.reshape(-1)[
        np.lexsort((tap, channel, tap // 4, channel // 2))
    ]  # by pair, then four, then channel, then tap


def _stream(values: npt.NDArray[np.int64], bits: int) -> Words:
    """Return numbers modulo 2^bits as a little-endian bit stream.

    The stream is padded with zeros to whole words.
    """
    digits = (values[:, None] >> np.arange(bits)) & 1
    packed = np.packbits(digits.astype(np.uint8).reshape(-1), bitorder="little")
    return np.frombuffer(packed.tobytes() + bytes(-len(packed) % 4), "<u4").astype(np.uint32)


def _constants(
    step: IntegerConvolution, source: QuantisedTensor, shift: npt.NDArray[np.int32]
) -> Words:
    sums = step.weights.reshape(len(step.weights), -1).astype(np.int64).sum(axis=1)
    bias = (
        step.bias + (((source.low - source.zero_point) * sums) << step.weight_shift)
    ) & 0xFFFFFFFF
    shifts = shift.astype(np.int8).tobytes()
    content = (
        bias.astype("<u4").tobytes()
        + step.requantizer.multiplier.astype("<u4").tobytes()
        + shifts
        + b"\xff" * (-len(shifts) % 4)
    )
    return np.frombuffer(content, "<u4").astype(np.uint32)
