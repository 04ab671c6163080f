"""Integer-exact ONNX graph: standard operators on integers only.

Every value is equal to that of the integer reference.

Tensors keep the names of the model. They are uint8, ``[N, channels, height, width]``, and hold
*stored* values, ``value - low`` in ``0 .. 2^bits - 1``, as the C code does: a byte of an image is
its stored value, no conversion is needed. The output is the int8 value of the logits, ``[N,
classes]``.

Weights of 2 to 4 bits are stored as INT4, others as INT8. DequantizeLinear with a scale of 1
unpacks INT4: the whole numbers -7 to 7 as float32. ONNX Runtime 1.19 to 1.21 has that for INT4 and
no Cast.

Accumulators come from ConvInteger (int32, exact), to which weights go as uint8 with a zero point of
128: with int8 weights, kernels for x86-64 processors without VNNI instructions add two products in
16 bits and saturate (``vpmaddubsw``), and ONNX Runtime 1.19 has none at all.

Requantisation is in int64, so that no product and no sum can overflow: ``|accumulator << left| *
multiplier < 2^62``. Division truncates in ONNX, so what is divided is made positive first.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nas_engine.exporters.exporter import ExportSubject
from nas_engine.exporters.onnx_graph import OnnxGraph, channel_first, groups, image_shape, window
from nas_engine.integer.arithmetic import ADD_LEFT_SHIFT, Ints
from nas_engine.integer.model import IntegerConvolution, IntegerModel
from nas_engine.network.graph import Node
from nas_engine.quantization.record import QuantisedTensor

FILE_NAME = "model_int.onnx"
"""Name in the export directory."""

OPSET = 21
"""The first with INT4."""

IR_VERSION = 10
"""The first with INT4."""

_WEIGHT_ZERO = 128
"""Zero point of weights as uint8."""

_WHAT = (
    "Integers only; every value equals the integer reference. Tensors hold stored values: value - "
    "low, 0 .. 2^bits - 1."
)


def integer_file(subject: ExportSubject) -> bytes:
    """Return the bytes of ``model_int.onnx``.

    Raises:
        ExportError: The onnx package is missing, or refuses the graph.
    """
    writer = _Writer(subject.model)
    writer.write()
    return writer.graph.file(
        subject,
        what=_WHAT,
        opset=OPSET,
        ir=IR_VERSION,
        image=(np.uint8, "pixels, channels first"),
        logits=(np.int8, "logits; the class is that of the first largest"),
    )


class _Writer:
    """Writes the steps of a model one after the other."""

    def __init__(self, model: IntegerModel) -> None:
        self.model = model
        self.graph = OnnxGraph(tensor.name for tensor in model.tensors)
        self.stored = {model.image: model.image}
        """Graph tensor with the stored values of each tensor; only the logits' has another name."""

    def write(self) -> None:
        image = self.model.tensor(self.model.image)
        self.graph.width(image.name, image.bits, signed=False)
        for step in self.model.nodes:
            target = self.model.tensor(step.output)
            is_last = step.output == self.model.logits
            name = self.graph.unique(f"{target.name}/stored") if is_last else target.name
            self.stored[target.name] = name
            if not isinstance(step, IntegerConvolution):
                self._pool(step, target, name)
            else:
                self._convolution(step, target, name)
            self.graph.width(name, target.bits, signed=False)
            self.graph.describe(name, np.uint8, image_shape(target))
        self._logits()

    def _name(self, owner: str, part: str) -> str:
        return self.graph.unique(f"{owner}/{part}")

    def _logits(self) -> None:
        """Turn the stored values of the logits into int8, one row per image."""
        logits = self.model.tensor(self.model.logits)
        wide = self.graph.cast(self.stored[logits.name], np.int32, self._name(logits.name, "wide"))
        values = self._add(wide, logits.low, np.int32, self._name(logits.name, "values"))
        narrow = self.graph.cast(values, np.int8, self._name(logits.name, "int8"))
        self.graph.node("Flatten", [narrow], logits.name, axis=1)
        self.graph.width(logits.name, logits.bits, signed=True)

    def _add(self, value: str, number: int, dtype: type, output: str) -> str:
        return self.graph.node("Add", [value, self.graph.scalar(number, dtype)], output)

    def _convolution(self, step: IntegerConvolution, target: QuantisedTensor, name: str) -> None:
        """Write one convolution; its stored values are called ``name``."""
        graph, result = self.graph, self._multiplied(step, self._accumulator(step))
        if step.addition is not None:
            result = self._shortcut(step, target, result)
        value = self._add(
            result, target.zero_point - target.low, np.int64, self._name(step.name, "value")
        )
        bounds = [graph.scalar(bound, np.int64) for bound in (0, target.high - target.low)]
        clamped = graph.node("Clip", [value, *bounds], self._name(step.name, "clamped"))
        graph.cast(clamped, np.uint8, name)

    def _accumulator(self, step: IntegerConvolution) -> str:
        """Return the int32 accumulators: ``(sum << weight_shift) + bias``."""
        graph, source = self.graph, self.model.tensor(step.input)
        zero_point = graph.scalar(source.zero_point - source.low, np.uint8)
        inputs = [
            self.stored[source.name],
            self._weights(step),
            zero_point,
            graph.scalar(_WEIGHT_ZERO, np.uint8),
        ]
        acc = graph.node(
            "ConvInteger",
            inputs,
            self._name(step.name, "sum"),
            group=groups(step),
            **window(step),
        )
        if step.weight_shift:
            acc = graph.node(
                "Mul",
                [acc, graph.scalar(1 << step.weight_shift, np.int32)],
                self._name(step.name, "shifted"),
            )
        bias = graph.constant(f"{step.name}.bias", _per_channel(step.bias), np.int32)
        graph.width(bias, 32, signed=True)
        return graph.node("Add", [acc, bias], self._name(step.name, "accumulator"))

    def _weights(self, step: IntegerConvolution) -> str:
        """Return the weights as uint8 with a zero point; the file holds them in INT4 or INT8."""
        graph, weights, name = self.graph, channel_first(step), f"{step.name}.weights"
        if step.weight_bits <= 4:
            stored = graph.constant_int4(name, weights)
            one = graph.scalar(1, np.float32)
            plain = graph.node("DequantizeLinear", [stored, one], self._name(name, "plain"))
        else:
            stored = plain = graph.constant(name, weights, np.int8)
        graph.width(stored, step.weight_bits, signed=True)
        wide = graph.cast(plain, np.int32, self._name(name, "wide"))
        return graph.cast(
            self._add(wide, _WEIGHT_ZERO, np.int32, self._name(name, "moved")),
            np.uint8,
            self._name(name, "uint8"),
        )

    def _multiplied(self, step: IntegerConvolution, acc: str) -> str:
        """Return accumulators in the output's scale, int64."""
        wide = self.graph.cast(acc, np.int64, self._name(step.name, "wide"))
        multiplier, shift = (
            column.astype(np.int64)
            for column in (step.requantizer.multiplier, step.requantizer.shift)
        )
        return self._requantised(step.name, wide, _per_channel(multiplier), _per_channel(shift))

    def _requantised(
        self, owner: str, value: str, multiplier: Ints, shift: Ints, carried: int = 0
    ) -> str:
        """Return ``(value << carried) * multiplier / 2^31 * 2^shift``, rounded twice.

        This is ``MultiplyByQuantizedMultiplier``.

        Args:
            owner: Whose nodes these are.
            value: int64 tensor.
            multiplier: Multipliers, whose shape broadcasts to the tensor's.
            shift: Shifts, the same.
            carried: Bits by which the value is shifted to the left first.
        """
        graph = self.graph
        left, right = np.maximum(shift, 0), np.maximum(-shift, 0)
        factor = graph.constant(f"{owner}.factor", multiplier << left + carried, np.int64)
        product = graph.node("Mul", [value, factor], self._name(owner, "product"))
        # high = floor((product + 2^30) / 2^31), with 2^31 * 2^31 added before the division and 2^31
        # taken away behind it.
        positive = self._add(product, 2**62 + 2**30, np.int64, self._name(owner, "positive"))
        quotient = graph.node(
            "Div", [positive, graph.scalar(2**31, np.int64)], self._name(owner, "quotient")
        )
        high = self._add(quotient, -(2**31), np.int64, self._name(owner, "high"))
        if not right.any():
            return high
        # high / 2^right, halves away from zero: the size is rounded, the sign stays.
        half = graph.constant(f"{owner}.half", (np.int64(1) << right) >> 1, np.int64)
        divisor = graph.constant(f"{owner}.divisor", np.int64(1) << right, np.int64)
        size = graph.node("Abs", [high], self._name(owner, "size"))
        more = graph.node("Add", [size, half], self._name(owner, "more"))
        rounded = graph.node("Div", [more, divisor], self._name(owner, "rounded"))
        return graph.node(
            "Mul",
            [rounded, graph.node("Sign", [high], self._name(owner, "sign"))],
            self._name(owner, "result"),
        )

    def _shortcut(self, step: IntegerConvolution, target: QuantisedTensor, result: str) -> str:
        """Return the int64 sum of a layer's result and its shortcut.

        The output's zero point is not included.
        """
        assert step.addition is not None
        assert step.shortcut is not None
        graph, addition = self.graph, step.addition
        shortcut = self.model.tensor(step.shortcut)
        limits = [graph.scalar(bound, np.int64) for bound in (-128, 127)]
        own = graph.node("Clip", [result, *limits], self._name(step.name, "own"))
        wide = graph.cast(self.stored[shortcut.name], np.int64, self._name(step.name, "shortcut"))
        operand = self._add(
            wide, shortcut.low - shortcut.zero_point, np.int64, self._name(step.name, "operand")
        )
        if addition.is_exact(shortcut, target):  # what the three multiplications come to, exactly
            return graph.node("Add", [operand, own], self._name(step.name, "total"))

        def scaled(part: str, value: str, constants: tuple[int, int], carried: int) -> str:
            multiplier, shift = (np.asarray(number, np.int64) for number in constants)
            return self._requantised(f"{step.name}.{part}", value, multiplier, shift, carried)

        first = scaled("first", operand, addition.first, ADD_LEFT_SHIFT)
        second = scaled("second", own, addition.second, ADD_LEFT_SHIFT)
        return scaled(
            "out",
            graph.node("Add", [first, second], self._name(step.name, "total")),
            addition.out,
            0,
        )

    def _pool(self, step: Node, target: QuantisedTensor, name: str) -> None:
        """Write one average pool; its stored values are called ``name``.

        The mean of whole numbers within a range, rounded, stays within it, so that nothing is
        clamped.
        """
        graph, source = self.graph, self.model.tensor(step.input)
        whole = (target.height, target.width) == (1, 1) and step.kernel_height >= max(
            source.height, source.width
        )
        stored, total = self.stored[source.name], self._name(step.name, "stored sum")
        if whole and _taps(step, source, target).item() == source.height * source.width:
            wide = graph.cast(stored, np.int32, self._name(step.name, "wide"))
            axes = graph.constant(f"{step.name}.axes", [2, 3], np.int64)
            graph.node("ReduceSum", [wide, axes], total, keepdims=1)
        else:  # a padded element is a stored 0, which adds nothing
            ones = graph.constant(
                f"{step.name}.ones",
                np.ones((source.channels, 1, step.kernel_height, step.kernel_height)),
                np.uint8,
            )
            graph.node(
                "ConvInteger",
                [stored, ones],
                total,
                group=source.channels,
                **window(step),
            )
        counts = _taps(step, source, target)
        low = graph.constant(f"{step.name}.low", counts * source.low, np.int32)
        half = graph.constant(f"{step.name}.half", counts // 2, np.int32)
        divisor = graph.constant(f"{step.name}.count", counts, np.int32)
        values = graph.node("Add", [total, low], self._name(step.name, "sum"))
        # (sum + n/2) / n, halves away from the stored 0: the size is rounded, the sign stays.
        size = graph.node("Abs", [values], self._name(step.name, "size"))
        more = graph.node("Add", [size, half], self._name(step.name, "more"))
        rounded = graph.node("Div", [more, divisor], self._name(step.name, "rounded"))
        mean = graph.node(
            "Mul",
            [rounded, graph.node("Sign", [values], self._name(step.name, "sign"))],
            self._name(step.name, "mean"),
        )
        graph.cast(
            self._add(mean, -target.low, np.int32, self._name(step.name, "value")), np.uint8, name
        )


def _per_channel(column: npt.NDArray[np.signedinteger]) -> npt.NDArray[np.signedinteger]:
    """Return one number per channel, ``[O]``, in a shape that broadcasts to NCHW.

    NCHW is ``[N, O, height, width]``.
    """
    return column.reshape(1, -1, 1, 1)


def _taps(step: Node, source: QuantisedTensor, target: QuantisedTensor) -> Ints:
    """Return how many elements of each window are not padding, ``[1, 1, height, width]``."""
    top, _, left, _ = step.padding

    def along(size: int, out: int, before: int) -> Ints:
        start = np.arange(out, dtype=np.int64) * step.stride - before
        return np.asarray(
            np.minimum(start + step.kernel_height, size) - np.maximum(start, 0), np.int64
        )

    counts = along(source.height, target.height, top)[:, None] * along(
        source.width, target.width, left
    )
    return np.asarray(counts[None, None], np.int64)
