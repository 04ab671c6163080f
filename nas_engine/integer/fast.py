"""Fast execution of an integer model.

Floating point is used where it is proven exact, int64 where it is not.

Tensors are kept as float32 ``[channels, images, height, width]`` of values minus their zero point,
so that padding is 0.

*Sums.* Every partial sum of a convolution, in any order, is a whole number of at most the bound
that follows from the weights (``bounds.py``). Up to 2^24 float32 holds all of them, so BLAS
computes exactly; beyond that float64 does. A depth-wise convolution is a product with a banded
matrix per channel: a few rows of a tile of the image times all places of the kernel.

*Requantisation.* TFLite rounds twice. With ``x = acc * m / 2^31`` (a left shift put into ``acc``)
and ``n = 2^right``, it computes ``k = floor(x + 1/2)`` and then ``k / n`` rounded to nearest,
halves away from zero. Since ``floor(floor(a) / n) = floor(a / n)`` for whole ``n``, both collapse
into one floor of ``u = x / n``:

    n = 1:           floor(u + 1/2)
    n > 1, k >= 0:   floor((k + n/2) / n)     = floor(u + 1/2 + h),    h = 1 / (2n)
    n > 1, k < 0:    floor((k + n/2 - 1) / n) = floor(u + 1/2 - h)

and where the signs of ``u`` and ``k`` differ, ``-h <= u < 0``, both lines are 0: the sign of ``u``
decides. All of this is exact in float64 as long as ``acc * m`` and the constants, in units of
``2^-31 / n``, stay below 2^53 (``_fits_float64``). Where they do not, what is floored has an error
of at most ``_doubt``; the few values that lie so close to a whole number are computed again in
int64.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Collection, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from nas_engine.integer.arithmetic import add, multiply_by_quantized_multiplier, rounded_mean
from nas_engine.integer.bounds import sum_range
from nas_engine.integer.model import IntegerConvolution, IntegerModel, IntegerSum
from nas_engine.network.graph import Node
from nas_engine.quantization.record import QuantisedTensor

_BLOCK = 2**15
"""Elements requantised at once: few enough for the second-level cache, enough to hide the cost of a
call."""

_BLAS_ALONE = 2**18
"""Multiply-adds up to which OpenBLAS stays on the thread that calls it (interface/gemm.c), so that
the threads of this module do not compete with its."""

_TILE = 16
"""Widest tile of a depth-wise convolution."""


def images_at_once(model: IntegerModel, images: int) -> int:
    """Return how many images to compute together, 1 to 8.

    Few enough that the largest tensor stays near the cache.
    """
    largest = max(math.prod(tensor.shape) for tensor in model.tensors)
    return max(1, min(8, images, 2**20 // largest))


class FastProgram:
    """A model prepared for a number of images at once, with all its buffers; for one thread.

    Args:
        model: The network.
        n: Most images in one call.
        keep: Names of the tensors to return.
    """

    def __init__(self, model: IntegerModel, n: int, keep: Collection[str]) -> None:
        self._model, self._n, self._keep = model, n, frozenset(keep)
        self._scratch: dict[str, npt.NDArray[Any]] = {}
        self._values = self._place()
        self._steps: list[tuple[str, Callable[[], None]]] = [
            (node.output, self._node(node)) for node in model.nodes
        ]

    def __call__(self, images: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[np.int8]]:
        """Return the kept tensors of up to ``n`` images, of the same form.

        The form is ``[N, height, width, channels]``.
        """
        count, image = len(images), self._model.image
        np.subtract(
            images.transpose(3, 0, 1, 2), np.float32(128), out=self._values[image][:, :count]
        )
        kept = {image: self._levels(image, count)} if image in self._keep else {}
        with _unbuffered_rows():
            for name, step in self._steps:
                step()
                if name in self._keep:
                    kept[name] = self._levels(name, count)
        return kept

    def _levels(self, name: str, count: int) -> npt.NDArray[np.int8]:
        return (
            self._values[name][:, :count].transpose(1, 2, 3, 0)
            + self._model.tensor(name).zero_point
        ).astype(np.int8)

    def _place(self) -> dict[str, npt.NDArray[np.float32]]:
        """Give each tensor a buffer.

        The buffer of a tensor that is read for the last time is reused, while it is still in the
        cache.
        """
        model = self._model
        last = {name: i for i, node in enumerate(model.nodes) for name in node.reads}
        largest = max(math.prod(tensor.shape) for tensor in model.tensors) * self._n
        free: list[npt.NDArray[np.float32]] = []
        held: dict[str, npt.NDArray[np.float32]] = {}
        values = {}
        made = [(model.image, ()), *((node.output, node.reads) for node in model.nodes)]
        for i, (name, sources) in enumerate(made, -1):
            height, width, channels = model.tensor(name).shape
            held[name] = free.pop() if free else np.zeros(largest, np.float32)
            values[name] = held[name][: channels * self._n * height * width].reshape(
                channels, self._n, height, width
            )
            free += [held.pop(source) for source in dict.fromkeys(sources) if last[source] == i]
        return values

    def _temporary(self, purpose: str, shape: tuple[int, ...], dtype: Any) -> npt.NDArray[Any]:
        """Return a buffer that all steps share: what it holds is of no use after the step."""
        size, key = math.prod(shape), f"{purpose} {np.dtype(dtype)}"
        if key not in self._scratch or self._scratch[key].size < size:
            self._scratch[key] = np.empty(size, dtype)
        return self._scratch[key][:size].reshape(shape)

    def _node(self, node: Node) -> Callable[[], None]:
        """Return what computes a node."""
        if isinstance(node, IntegerConvolution):
            return self._convolution(node)
        if isinstance(node, IntegerSum):
            return self._sum(node)
        return {
            "average_pool": self._average_pool,
            "max_pool": self._max_pool,
            "clamp": self._clamp,
        }[node.kind](node)

    def _padded(
        self, step: Node, padding: int = 0
    ) -> tuple[npt.NDArray[np.float32], Callable[[], None]]:
        """Return the input of a step with its padding, and what fills it in."""
        values = self._values[step.input]
        if not any(step.padding):
            return values, _nothing
        top, bottom, left, right = step.padding
        channels, n, height, width = values.shape
        shape = (channels, n, height + top + bottom, width + left + right)
        padded = np.full(shape, padding, np.float32)
        inside = padded[:, :, top : top + height, left : left + width]
        return padded, lambda: np.copyto(inside, values)

    def _convolution(self, step: IntegerConvolution) -> Callable[[], None]:
        source, target = self._model.tensor(step.input), self._model.tensor(step.output)
        least, most = sum_range(
            step.weights, source.low - source.zero_point, source.high - source.zero_point
        )
        dtype: Any = np.float32 if max(-int(least.min()), int(most.max())) <= 2**24 else np.float64
        accumulate, sums = (self._depthwise if step.kind == "depthwise" else self._dense)(
            step, target, dtype
        )
        requantise = self._requantiser(step, target, sums, np.maximum(-least, most).tolist())

        def run() -> None:
            accumulate()
            requantise()

        return run

    def _dense(
        self, step: IntegerConvolution, target: QuantisedTensor, dtype: Any
    ) -> tuple[Callable[[], None], npt.NDArray[Any]]:
        """Return the function for the sums of a convolution, and its output ``(O, places)``."""
        s, places = step.stride, self._n * target.height * target.width
        kh, kw = step.kernel_height, step.kernel_width
        weights = step.weights.reshape(len(step.weights), -1).astype(dtype)
        padded, fill = self._padded(step)
        if kh == kw == s == 1 and padded is self._values[step.input] and dtype is np.float32:
            patches, gather = padded.reshape(len(padded), places), _nothing
        else:
            patches = self._temporary("patches", (weights.shape[1], places), dtype)
            parts = patches.reshape(kh, kw, len(padded), self._n, target.height, target.width)

            def gather() -> None:
                for i, j in itertools.product(range(kh), range(kw)):
                    rows, columns = (
                        slice(t, t + s * (size - 1) + 1, s)
                        for t, size in ((i, target.height), (j, target.width))
                    )
                    np.copyto(parts[i, j], padded[:, :, rows, columns])

        sums = self._temporary("sums", (len(weights), places), dtype)
        width = max(16, _BLAS_ALONE // weights.size // 16 * 16)
        whole = places // width * width
        blocks, results = (
            part[:, :whole].reshape(len(part), -1, width).transpose(1, 0, 2)
            for part in (patches, sums)
        )

        def run() -> None:
            fill()
            gather()
            if whole:
                _multiply(weights, blocks, results)
            if whole < places:
                _multiply(weights, patches[:, whole:], sums[:, whole:])

        return run, sums

    def _depthwise(
        self, step: IntegerConvolution, target: QuantisedTensor, dtype: Any
    ) -> tuple[Callable[[], None], npt.NDArray[Any]]:
        """Return the function that computes the sums of a depth-wise convolution, and its output.

        The output is ``(C, n, rows / r, r, columns / t, t)``.

        A tile of ``r x t`` places sees ``(r - 1) * stride + kernel height`` rows and ``(t - 1) *
        stride + kernel width`` columns of its channel; the banded matrix holds the weight of each
        of them for each place.
        """
        s, channels, n = step.stride, target.channels, self._n
        kh, kw = step.kernel_height, step.kernel_width
        t = _largest_divisor(target.width, _TILE)
        r = _largest_divisor(target.height, max(1, 2 * _TILE // t))
        rows, columns = (r - 1) * s + kh, (t - 1) * s + kw
        band = np.zeros((channels, rows, columns, r, t), dtype)
        for i in range(r):
            for j in range(t):
                band[:, i * s : i * s + kh, j * s : j * s + kw, i, j] = step.weights[..., 0]
        matrix = band.reshape(channels, rows * columns, r * t)

        padded, fill = self._padded(step)
        tiles = (channels, n, target.height // r, target.width // t)
        dc, dn, dh, dw = padded.strides
        view = np.lib.stride_tricks.as_strided(
            padded,
            (*tiles, rows, columns),
            (dc, dn, dh * r * s, dw * t * s, dh, dw),
            writeable=False,
        )
        gathered = self._temporary("patches", view.shape, dtype)
        together = _largest_divisor(
            n, max(1, _BLAS_ALONE // (matrix[0].size * tiles[2] * tiles[3]))
        )
        factors = gathered.reshape(channels, n // together, -1, rows * columns)
        products = self._temporary("sums", (*factors.shape[:3], r * t), dtype)

        def run() -> None:
            fill()
            np.copyto(gathered, view)
            _multiply(factors, matrix[:, None], products)

        return run, products.reshape(*tiles, r, t).transpose(0, 1, 2, 4, 3, 5)

    def _requantiser(
        self,
        step: IntegerConvolution,
        target: QuantisedTensor,
        sums: npt.NDArray[Any],
        largest: list[int],
    ) -> Callable[[], None]:
        """Return what turns sums into the output tensor, some channels at a time."""
        multiplier, shift, bias = (
            array.astype(np.int64)
            for array in (step.requantizer.multiplier, step.requantizer.shift, step.bias)
        )
        values = self._values[step.output].reshape(target.channels, -1)
        places = values.shape[1]
        channels = max(1, min(target.channels, _BLOCK // places))
        real, more = (
            self._temporary(name, (channels, *sums.shape[1:]), np.float64)
            for name in ("real", "more")
        )
        index = self._temporary("index", (channels, places), np.int64)

        is_exact = all(
            map(
                _fits_float64,
                largest,
                [step.weight_shift] * len(bias),
                bias.tolist(),
                shift.tolist(),
            )
        )
        doubt = _doubt(
            largest, step.weight_shift, bias.tolist(), multiplier.tolist(), shift.tolist()
        )
        halves = np.where(shift < 0, np.ldexp(0.5, np.minimum(shift, 0)), 0.0)[:, None]
        factor = np.ldexp(multiplier.astype(np.float64), shift - 31 + step.weight_shift)[:, None]
        constant = np.ldexp((bias * multiplier).astype(np.float64), shift - 31)[:, None]
        has_negative = target.signed or step.addition is not None
        if not has_negative:  # what is below 0 is cut off, so that its rounding does not matter
            constant = constant + halves + 0.5
        low, high = (
            (-128, 127)
            if step.addition
            else (target.low - target.zero_point, target.high - target.zero_point)
        )
        table, shortcut, origin = self._addition(step, target)

        def run() -> None:
            for first in range(0, target.channels, channels):
                part = slice(first, first + channels)
                source, out = sums[part], values[part]
                np.copyto(real[: len(source)], source)
                d = real[: len(source)].reshape(out.shape)
                spare = more[: len(source)].reshape(out.shape)
                np.multiply(d, factor[part], out=d)
                np.add(d, constant[part], out=d)
                if has_negative:
                    np.add(d, np.copysign(halves[part], d, out=spare), out=d)
                    np.add(d, 0.5, out=d)
                doubtful = () if is_exact else _near_whole_numbers(d, doubt, spare)
                np.floor(d, out=d)
                if len(doubtful):
                    channel, place = np.divmod(doubtful, places)
                    acc = (
                        source.reshape(out.shape)[channel, place].astype(np.int64)
                        << step.weight_shift
                    ) + bias[part][channel]
                    exact = multiply_by_quantized_multiplier(
                        acc, multiplier[part][channel], shift[part][channel]
                    )
                    d[channel, place] = exact
                np.clip(d, low, high, out=d)
                if shortcut is None:
                    np.copyto(out, d, casting="same_kind")
                    continue
                operand, place = spare, index[: len(source)]
                np.copyto(operand, shortcut[part])
                np.multiply(operand, 256.0, out=operand)
                np.add(operand, d, out=operand)
                np.subtract(operand, origin, out=operand)
                np.copyto(place, operand, casting="unsafe")
                np.take(table, place, out=out, mode="clip")

        return run

    def _addition(
        self, step: IntegerConvolution, target: QuantisedTensor
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32] | None, float]:
        """Return sums of all pairs of operands as a table, the shortcut's values, and an offset.

        The offset is ``256 * first + second`` of the table's first entry.
        """
        if step.addition is None or step.shortcut is None:
            return np.zeros(0, np.float32), None, 0.0
        shortcut = self._model.tensor(step.shortcut)
        first = np.arange(shortcut.low, shortcut.high + 1)[:, None] - shortcut.zero_point
        second = np.arange(-128, 128)
        total = add(first, second, step.addition.constants) + target.zero_point
        table = (
            (np.clip(total, target.low, target.high) - target.zero_point)
            .astype(np.float32)
            .reshape(-1)
        )
        return (
            table,
            self._values[shortcut.name].reshape(shortcut.channels, -1),
            float(256 * first[0, 0] + second[0]),
        )

    def _windows(self, step: Node, padded: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the windows of a pool, ``(C, n, rows, columns, kernel height, kernel width)``."""
        target, s, (dc, dn, dh, dw) = self._model.tensor(step.output), step.stride, padded.strides
        places = (len(padded), self._n, target.height, target.width)
        return np.lib.stride_tricks.as_strided(
            padded,
            (*places, step.kernel_height, step.kernel_width),
            (dc, dn, dh * s, dw * s, dh, dw),
            writeable=False,
        )

    def _average_pool(self, step: Node) -> Callable[[], None]:
        source, target = self._model.tensor(step.input), self._model.tensor(step.output)
        padded, fill = self._padded(step)
        windows, s = self._windows(step, padded), step.stride
        top, _, left, _ = step.padding
        rows, columns = (
            np.array(
                [min(p * s - before + k, size) - max(p * s - before, 0) for p in range(places)]
            )
            for places, before, size, k in (
                (target.height, top, source.height, step.kernel_height),
                (target.width, left, source.width, step.kernel_width),
            )
        )
        count, values = rows[:, None] * columns, self._values[step.output]

        def run() -> None:
            fill()
            total = (
                windows.sum(axis=(4, 5), dtype=np.float64).astype(np.int64)
                + count * source.zero_point
            )
            np.copyto(
                values,
                np.clip(rounded_mean(total, count), target.low, target.high) - target.zero_point,
                casting="same_kind",
            )

        return run

    def _max_pool(self, step: Node) -> Callable[[], None]:
        source = self._model.tensor(step.input)
        padded, fill = self._padded(step, source.low - source.zero_point)
        windows, values = self._windows(step, padded), self._values[step.output]

        def run() -> None:
            fill()
            windows.max(axis=(4, 5), out=values)

        return run

    def _clamp(self, step: Node) -> Callable[[], None]:
        target = self._model.tensor(step.output)
        low, high = target.low - target.zero_point, target.high - target.zero_point
        source, values = self._values[step.input], self._values[step.output]
        return lambda: np.copyto(values, np.clip(source, low, high))

    def _sum(self, step: IntegerSum) -> Callable[[], None]:
        target, constants = self._model.tensor(step.output), step.addition.constants
        low, high = target.low - target.zero_point, target.high - target.zero_point
        first, second = (self._values[name] for name in step.inputs)
        values = self._values[step.output]

        def run() -> None:
            total = add(first.astype(np.int64), second.astype(np.int64), constants)
            np.copyto(values, np.clip(total, low, high), casting="same_kind")

        return run


def _fits_float64(largest: int, carried_shift: int, bias: int, shift: int) -> bool:
    """Return whether float64 requantises a channel exactly, see above.

    ``largest`` bounds its sums before bias and carried shift.
    """
    acc = ((largest << carried_shift) + abs(bias)) << max(shift, 0)
    return (acc << 31) + (2 ** (30 - shift) if shift < 0 else 2**30) + 2**30 <= 2**53


def _doubt(
    largest: list[int], carried_shift: int, bias: list[int], multiplier: list[int], shift: list[int]
) -> float:
    """Return a bound of the error of the value that is floored.

    Four roundings of at most 2^-53 of the largest operand, with room.
    """
    channels = zip(largest, bias, multiplier, shift, strict=True)
    return (
        max(
            ((most << carried_shift) + abs(b)) * m * 2.0 ** (s - 31) + 1.0
            for most, b, m, s in channels
        )
        * 2.0**-49
    )


def _near_whole_numbers(
    values: npt.NDArray[np.float64], distance: float, spare: npt.NDArray[np.float64]
) -> npt.NDArray[np.intp]:
    """Return the flat indices of values within a distance of a whole number.

    ``spare`` is overwritten.
    """
    np.rint(values, out=spare)
    np.subtract(values, spare, out=spare)
    np.absolute(spare, out=spare)
    return np.flatnonzero(spare <= distance)


def _largest_divisor(number: int, most: int) -> int:
    return max(divisor for divisor in range(1, min(number, most) + 1) if number % divisor == 0)


@contextlib.contextmanager
def _unbuffered_rows() -> Iterator[None]:
    """Let numpy take rows as they are.

    It copies operands that it repeats along rows shorter than its buffer, three times slower.
    """
    before = np.setbufsize(512)
    try:
        yield
    finally:
        np.setbufsize(before)


def _multiply(first: npt.NDArray[Any], second: npt.NDArray[Any], product: npt.NDArray[Any]) -> None:
    """Put the matrix product of whole numbers in its place.

    BLAS also multiplies what happens to lie in the unused places of its own vectors, and leaves the
    flag of an invalid operation where that is no number; no result depends on it.
    """
    with np.errstate(invalid="ignore"):
        np.matmul(first, second, out=product)


def _nothing() -> None:
    """Do nothing."""
