"""TFLite: ``model.tflite`` and ``model_int4.tflite``.

The first computes the integer reference exactly; the second is smaller and does not.

INT8 containers carry every width: weights as ``w << weight_shift``, so that the accumulators are
the reference's, and activations as they are, held to their range by a fused activation where one
gives that range and by MAXIMUM and MINIMUM otherwise. Why narrower weight containers cannot be
exact stands in docs/integer_model.md: their accumulators are coarser, and so are bias and rounding.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nas_engine.exporters.exporter import ExportError, ExportSubject
from nas_engine.exporters.tflite_file import TfliteFile, missing
from nas_engine.integer.arithmetic import round_half_away
from nas_engine.integer.model import IntegerConvolution, IntegerModel
from nas_engine.names import Format
from nas_engine.network.graph import Node
from nas_engine.quantization.record import QuantisedTensor

EXACT_NAME = "model.tflite"
"""File with INT8 containers."""

INT4_NAME = "model_int4.tflite"
"""File with INT4 weights wherever they fit; written only if they do somewhere."""

METADATA_NAME = "nas_search.quant"
"""Name of the metadata that hold the manifest, compact JSON in UTF-8."""

SIGNATURE, IMAGE, LOGITS = "serving_default", "image", "logits"
"""Name of the one signature, of its input and of its output."""

INT4_BITS = 4
"""Widest weights that an INT4 tensor holds."""


class Side(NamedTuple):
    """One direction of a window, as TFLite has it."""

    kernel: int
    """Elements of the window."""
    stride: int
    """Elements from one window to the next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Window in the form of TFLite.

    It has TFLite's two kinds of padding, and separate sides for rows and columns.
    """

    same: bool
    """SAME padding; otherwise VALID, none."""
    rows: Side
    """Downwards."""
    columns: Side
    """To the right."""


class TfliteExporter:
    """``model.tflite`` and ``model_int4.tflite``."""

    name: str = Format.TFLITE

    def missing(self) -> str | None:
        """Return a line naming the missing package and how to install it, or ``None``.

        ``None`` means that the exporter can run.
        """
        return missing()

    def files(self, subject: ExportSubject) -> Mapping[str, bytes]:
        """Return the files by name; the same subject gives the same bytes.

        Raises:
            ExportError: A pool whose padding TFLite does not know, or a package is missing.
        """
        made = {EXACT_NAME: _Graph(subject, int4=False).write()}
        if int4_layers(subject.model):
            made[INT4_NAME] = _Graph(subject, int4=True).write()
        return made


def int4_layers(model: IntegerModel) -> tuple[str, ...]:
    """Return the names of the layers whose weights fit into INT4.

    If there are none, there is no ``model_int4.tflite``.
    """
    return tuple(
        step.name
        for step in model.nodes
        if isinstance(step, IntegerConvolution) and step.weight_bits <= INT4_BITS
    )


def exceptions(model: IntegerModel) -> tuple[str, ...]:
    """Return the properties that the files cannot represent exactly, one line each.

    Those not represented in their own width are included; the lines are for a report.
    """
    lines = []
    if layers := int4_layers(model):
        coarser = 2 ** (8 - INT4_BITS)
        lines.append(
            f"{INT4_NAME}: weights of {len(layers)} layers ({', '.join(layers)}) are INT4, so that "
            "their biases and accumulators are "
            f"{coarser} times coarser than the reference's; results can differ, and differences "
            "are reported, not refused"
        )
    odd = sorted(
        {step.weight_bits for step in model.nodes if isinstance(step, IntegerConvolution)} - {8}
    )
    if odd:
        lines.append(f"{EXACT_NAME}: exact, but weights of {_listed(odd)} bits take 8 bits each")
    narrow = sorted({model.tensor(step.output).bits for step in model.nodes} - {8})
    if narrow:
        lines.append(
            f"TFLite: activations of {_listed(narrow)} bits take 8 bits each, held to their range"
        )
    return tuple(lines)


def _listed(bits: list[int]) -> str:
    return ", ".join(map(str, bits))


def convolution_window(
    step: IntegerConvolution, source: QuantisedTensor, target: QuantisedTensor
) -> Window | None:
    """Return the window of a convolution, or ``None`` if its padding is neither VALID nor SAME."""
    side = Side(step.kernel_height, step.stride)
    if not any(step.padding):
        return Window(same=False, rows=side, columns=side)
    pads = (step.padding[:2], step.padding[2:])
    same = all(
        _is_same(side, pad, size, out)
        for pad, size, out in zip(pads, source.shape[:2], target.shape[:2], strict=True)
    )
    return Window(same=True, rows=side, columns=side) if same else None


def pool_window(step: Node, source: QuantisedTensor, target: QuantisedTensor) -> Window | None:
    """Return the window of an average pool, or ``None`` if TFLite has none like it.

    Padded elements do not count, so that a single window that reaches over the edge is a smaller
    one that does not.
    """
    side, options = Side(step.kernel_height, step.stride), []
    for pad, size, out in zip(
        (step.padding[:2], step.padding[2:]), source.shape[:2], target.shape[:2], strict=True
    ):
        valid = side if pad == (0, 0) else None
        if out == 1:
            inside = min(size, step.kernel_height - pad[0])
            valid = Side(inside, max(step.stride, size - inside + 1))
        options.append((valid, side if _is_same(side, pad, size, out) else None))
    for same in (False, True):
        rows, columns = (option[same] for option in options)
        if rows and columns:
            return Window(same=same, rows=rows, columns=columns)
    return None


def _is_same(side: Side, padding: tuple[int, ...], size: int, out: int) -> bool:
    """Return whether a padding is SAME, with the odd element at the end.

    TFLite ``ComputePaddingWithOffset`` (padding.h).
    """
    total = max((out - 1) * side.stride + side.kernel - size, 0)
    return out == -(-size // side.stride) and padding == (total // 2, total - total // 2)


def relu6_range(tensor: QuantisedTensor) -> bool:
    """Return whether RELU6 is exactly the range of an unsigned tensor.

    TFLite ``CalculateActivationRangeQuantized`` (kernel_util.cc).
    """
    return (
        not tensor.signed
        and int(round_half_away(np.float32(6) / np.float32(tensor.scale)))
        == tensor.high - tensor.zero_point
    )


class _Graph:
    """One file: the steps of a model, translated one by one."""

    def __init__(self, subject: ExportSubject, *, int4: bool) -> None:
        self.model, self.manifest, self.int4 = subject.model, subject.manifest, int4
        self.metadata = subject.settings.metadata
        self.file = TfliteFile()
        self.activations = self.file.schema.ActivationFunctionType
        self.places = {spec.name: self.activation(spec, spec.name) for spec in self.model.tensors}

    def write(self) -> bytes:
        for step in self.model.nodes:
            if isinstance(step, IntegerConvolution):
                self.convolution(step)
            else:
                self.pool(step)
        # The classifier stays a 1x1 convolution: of FULLY_CONNECTED, which would need no RESHAPE,
        # tflite-runtime 2.14 and TFLite Micro refuse INT4 with a scale per class.
        logits = self.model.tensor(self.model.logits)
        flat = self.file.tensor(
            f"{logits.name} flat", (1, logits.channels), logits.scale, logits.zero_point
        )
        # -1: the batch, which an interpreter may be told to make larger.
        shape = self.file.constant(
            f"{logits.name} shape", np.array([-1, logits.channels], np.int32)
        )
        self.file.operator(
            "RESHAPE",
            [self.places[logits.name], shape],
            flat,
            "Reshape",
            newShape=[-1, logits.channels],
        )
        if self.metadata:
            content = json.dumps(
                dict(self.manifest), ensure_ascii=False, separators=(",", ":"), allow_nan=False
            )
            self.file.metadata(METADATA_NAME, content.encode())
        self.file.signature(SIGNATURE, (IMAGE, self.places[self.model.image]), (LOGITS, flat))
        return self.file.finish(self.places[self.model.image], flat, self.description())

    def description(self) -> str:
        image = self.model.tensor(self.model.image)
        layers = [step for step in self.model.nodes if isinstance(step, IntegerConvolution)]
        kept = (
            f"INT4 weights in {len(int4_layers(self.model))} layers, not exact; {EXACT_NAME} is"
            if self.int4
            else "INT8 containers, equal to the integer reference"
        )
        weights = sorted({step.weight_bits for step in layers})
        return (
            f"nas-search: {image.height} x {image.width} x {image.channels} pixels (value - 128) "
            f"to {len(self.model.classes)} classes; "
            f"{len(layers)} layers, weights of {_listed(weights)} bits; {kept}"
            + (f"; see metadata '{METADATA_NAME}'" if self.metadata else "")
        )

    def activation(self, spec: QuantisedTensor, name: str) -> int:
        return self.file.tensor(name, (1, *spec.shape), spec.scale, spec.zero_point)

    def convolution(self, step: IntegerConvolution) -> None:
        source, target = self.model.tensor(step.input), self.model.tensor(step.output)
        window, place = convolution_window(step, source, target), self.places[source.name]
        if window is None:
            place = self.padded(step, source)
            window = Window(
                same=False,
                rows=Side(step.kernel_height, step.stride),
                columns=Side(step.kernel_height, step.stride),
            )
        depthwise = step.kind == "depthwise"
        inputs = [place, *self.weights(step, source)]
        kind = ("DEPTHWISE_CONV_2D", "DepthwiseConv2D") if depthwise else ("CONV_2D", "Conv2D")
        options = (
            self.window(window)
            | {"dilationHFactor": 1, "dilationWFactor": 1}
            | ({"depthMultiplier": 1} if depthwise else {})
        )
        if step.addition is None or step.shortcut is None:
            self.limited(target, kind, inputs, options)
            return
        alone = self.file.tensor(f"{step.name} alone", (1, *target.shape), step.addition.scale)
        self.file.operator(kind[0], inputs, alone, kind[1], **options)
        # An interpreter may write a sum over its first operand, whatever it was told to keep: let
        # that be the one nobody asks for.
        operands = [alone, self.places[step.shortcut]]
        self.limited(target, ("ADD", "Add"), operands, {})

    def weights(self, step: IntegerConvolution, source: QuantisedTensor) -> list[int]:
        """Add weights and bias; in INT4 with the finest scale possible.

        That is, shifted left by as many zero bits as 4 bits have room for.
        """
        depthwise, int4 = step.kind == "depthwise", self.int4 and step.weight_bits <= INT4_BITS
        shift, lost = (
            (INT4_BITS - step.weight_bits, 8 - INT4_BITS) if int4 else (step.weight_shift, 0)
        )
        carried: npt.NDArray[np.int8] = step.weights << np.int8(shift)
        if depthwise:
            carried = np.ascontiguousarray(carried.transpose(3, 1, 2, 0))
        scale = step.weight_scale * np.float32(2**lost)
        bias = round_half_away(step.bias / 2**lost).astype(np.int32)
        return [
            self.file.constant(
                f"{step.name} weights", carried, scale, axis=3 if depthwise else 0, int4=int4
            ),
            self.file.constant(f"{step.name} bias", bias, np.float32(source.scale) * scale),
        ]

    def padded(self, step: IntegerConvolution, source: QuantisedTensor) -> int:
        """Add an explicit border of zero points, for a padding that TFLite does not know."""
        top, bottom, left, right = step.padding
        shape = (1, source.height + top + bottom, source.width + left + right, source.channels)
        name = f"{step.name} padded"
        made = self.file.tensor(name, shape, source.scale, source.zero_point)
        border = self.file.constant(
            f"{name} by", np.array([[0, 0], [top, bottom], [left, right], [0, 0]], np.int32)
        )
        zero = self.file.constant(
            f"{name} with", np.array([source.zero_point], np.int8), source.scale, source.zero_point
        )
        self.file.operator("PADV2", [self.places[source.name], border, zero], made, "PadV2")
        return made

    def limited(
        self,
        target: QuantisedTensor,
        kind: tuple[str, str],
        inputs: list[int],
        options: dict[str, Any],
    ) -> None:
        """Add an operator whose result is held to the range of a tensor."""
        ends = {"MAXIMUM": target.low} if target.low > -128 else {}
        if target.high < 127 and not relu6_range(target):
            ends["MINIMUM"] = target.high
        fused = self.activations.NONE
        if not target.signed:  # at 8 bits the range of int8 does all of it
            fused = (
                self.activations.RELU6 if target.bits < 8 and not ends else self.activations.RELU
            )
        before_ends = (f"{target.name} unclamped", f"{target.name} unclamped above")[: len(ends)]
        places = [
            *(self.activation(target, name) for name in before_ends),
            self.places[target.name],
        ]
        self.file.operator(
            kind[0], inputs, places[0], kind[1], fusedActivationFunction=fused, **options
        )
        for (name, end), before, after in zip(ends.items(), places, places[1:], strict=False):
            side = "lowest" if name == "MAXIMUM" else "highest"
            limit = self.file.constant(
                f"{target.name} {side}", np.array([end], np.int8), target.scale, target.zero_point
            )
            self.file.operator(name, [before, limit], after, "MaximumMinimum")

    def pool(self, step: Node) -> None:
        source, target = self.model.tensor(step.input), self.model.tensor(step.output)
        window = pool_window(step, source, target)
        if window is None:
            found = (
                f"{step.name}: an average pool of {step.kernel_height} x {step.kernel_width}, "
                f"stride {step.stride}, padding {step.padding}"
            )
            raise ExportError(
                "TFLite",
                f"{found}; it knows only SAME padding and none; use one of them, or export to C",
            )
        sides = {"filterHeight": window.rows.kernel, "filterWidth": window.columns.kernel}
        self.file.operator(
            "AVERAGE_POOL_2D",
            [self.places[source.name]],
            self.places[target.name],
            "Pool2D",
            **sides,
            **self.window(window),
        )

    def window(self, window: Window) -> dict[str, Any]:
        padding = self.file.schema.Padding
        sides = {"strideH": window.rows.stride, "strideW": window.columns.stride}
        return {"padding": padding.SAME if window.same else padding.VALID, **sides}
