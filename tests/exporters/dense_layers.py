"""Models with one dense layer under test: an image, a layer that makes its input, perhaps one that
makes its shortcut, the layer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from nas_engine.integer.bounds import accumulator_bounds, sum_range
from nas_engine.integer.lowering import lower
from nas_engine.integer.model import IntegerConvolution, IntegerModel
from nas_engine.quantization.record import QuantisedLayer, QuantisedTensor, weight_shift
from nas_engine.testing.networks import Untrained


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """Layer under test."""

    height: int = 3
    width: int = 3
    channels: int = 8
    outputs: int = 8
    kernel: int = 1
    stride: int = 1
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    weight_bits: int = 8
    in_bits: int = 8
    out_bits: int = 8
    in_signed: bool = False
    out_signed: bool = False
    shortcut_bits: int = 0
    shortcut_signed: bool = True
    same_scale: bool = False
    own: float = 0.0
    largest_weights: bool = False
    largest_inputs: bool = False
    largest_bias: bool = False
    coarser: float = 1.0
    seed: int = 0

    def model(self) -> IntegerModel:
        """Return the integers; the layer is called ``tested``."""
        built = Untrained((self.height, self.width, 3), np.random.default_rng(self.seed))
        image = built.tensors[0]
        source = built.layer("source", self.channels, 1, 1, 8, self.in_bits, signed=self.in_signed)
        if self.largest_inputs:
            self._change(built, gain=built.steps[-1].gain * 1000)
        shortcut = None
        if self.shortcut_bits:
            shortcut = built.layer(
                "shortcut",
                self.outputs,
                self.kernel,
                self.stride,
                8,
                self.shortcut_bits,
                source=image,
                signed=self.shortcut_signed,
            )
            shortcut = self._padded(built)
        out = built.layer(
            "tested",
            self.outputs,
            self.kernel,
            self.stride,
            self.weight_bits,
            self.out_bits,
            source=source,
            signed=self.out_signed,
            shortcut=shortcut,
        )
        out = self._padded(built)
        if self.largest_weights:
            most = 2 ** (self.weight_bits - 1) - 1
            signs = np.where(np.arange(self.outputs) % 2, -1, 1)
            self._change(
                built,
                weights=np.broadcast_to(
                    signs[:, None, None, None] * most, built.steps[-1].weights.shape
                ),
            )
        if (
            self.largest_bias
        ):  # sums reach int32's ends, and the factor behind them is the largest below 1
            scales = (
                np.float32(0.01) + np.arange(4000, dtype=np.float32) * np.float32(2.0**-30)
            ).astype(np.float64)
            products = float(np.float32(source.scale)) * scales
            steps = np.nextafter(products.astype(np.float32), np.float32(1))
            best = int(np.argmin((steps - products) / steps))
            ones = np.ones(self.outputs)
            self._change(
                built,
                weight_scale=scales[best] * 2.0 ** (8 - self.weight_bits) * ones,
                gain=ones,
                offset=0 * ones,
            )
            out = replace(out, scale=float(steps[best]))
        out = replace(
            out, scale=shortcut.scale if shortcut and self.same_scale else out.scale * self.coarser
        )
        built.tensors[-1] = out
        if self.own:  # scale of the operand, in those of the sum
            layer = built.steps[-1]
            assert isinstance(layer, QuantisedLayer)
            self._change(
                built,
                own_scale=out.scale * self.own,
                gain=layer.gain * self.own,
                offset=layer.offset * self.own,
            )
        built.layer("end", 1, 1, max(out.height, out.width), 8, 8, signed=True)
        model = lower(built.network())
        return self._with_largest_bias(model) if self.largest_bias else model

    def _with_largest_bias(self, model: IntegerModel) -> IntegerModel:
        """Return a model with biases as large as int32 allows; a trained channel that far from its
        range is lowered to a constant.
        """
        tested = layer_under_test(model)
        source = model.tensor(tested.input)
        sums = sum_range(
            tested.weights, source.low - source.zero_point, source.high - source.zero_point
        )
        shift, signs = (
            weight_shift(tested.weight_bits),
            np.where(np.arange(self.outputs) % 2, -1, 1),
        )
        bias = (signs * (2**31 - 1 - (np.maximum(-sums[0], sums[1]) << shift))).astype(np.int32)
        bounds = accumulator_bounds(tested.name, sums, shift, bias, tested.requantizer.shift)
        changed = replace(tested, bias=bias, bounds=bounds)
        return replace(
            model, nodes=tuple(changed if step is tested else step for step in model.nodes)
        )

    def _padded(self, built: Untrained) -> QuantisedTensor:
        """Give the layer added last the padding of this one; return its output."""
        self._change(built, padding=self.padding)
        top, bottom, left, right = self.padding
        height = (self.height + top + bottom - self.kernel) // self.stride + 1
        width = (self.width + left + right - self.kernel) // self.stride + 1
        built.tensors[-1] = replace(built.tensors[-1], height=height, width=width)
        return built.tensors[-1]

    def _change(self, built: Untrained, **fields: object) -> None:
        step = built.steps[-1]
        assert isinstance(step, QuantisedLayer)
        built.steps[-1] = replace(step, **fields)  # type: ignore[arg-type]


def layer_under_test(model: IntegerModel) -> IntegerConvolution:
    """Return the layer under test."""
    return next(
        step
        for step in model.nodes
        if isinstance(step, IntegerConvolution) and step.name == "tested"
    )
