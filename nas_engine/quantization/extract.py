"""Trained, quantised network as plain numbers: ``MobileNet`` to ``QuantisedNetwork``.

A ``QuantisedNetwork`` is the input of lowering to integers.

Batch norm is handed over as the affine map that it is at evaluation, ``gain * x + offset``; folding
it into the integers is exact, because weights have one step per output channel
(``nas_engine.integer.lowering``).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from nas_engine.models.mobilenet import IMAGE_SCALE, ConvolutionUnit, MobileNet
from nas_engine.network.from_architecture import same_padding
from nas_engine.quantization.lsq import ActivationQuantiser, WeightQuantiser
from nas_engine.quantization.record import (
    QuantisedLayer,
    QuantisedNetwork,
    QuantisedPool,
    QuantisedTensor,
)
from nas_engine.quantization.requantise import affine


@torch.no_grad()
def extract(network: MobileNet, classes: Sequence[str]) -> QuantisedNetwork:
    """Return the record of a network with quantisers; tensors carry the names of the memory plan.

    Raises:
        QuantisationError: A weight, step or norm that is not finite.
    """
    walk = _Walk(network)
    tensor = walk.layer("stem", network.stem, "image", "stem output", network.stem.output)
    for name, block in network.named_blocks():
        expanded = walk.layer(
            f"{name}.expand", block.expand, tensor, f"{name} expanded", block.expand.output
        )
        shortcut = None
        if block.shortcut:  # pooled behind the expansion, so that it can be pooled in place
            shortcut = (
                walk.pool(f"{name}.shortcut", tensor, f"{name} pooled shortcut", 2)
                if block.pooled
                else tensor
            )
        filtered = walk.layer(
            f"{name}.depthwise",
            block.depthwise,
            expanded,
            f"{name} filtered",
            block.depthwise.output,
        )
        tensor = walk.layer(
            f"{name}.project", block.project, filtered, f"{name} output", block.output, shortcut
        )
    tensor = walk.layer("head", network.head, tensor, "head output", network.head.output)
    tensor = walk.pool("pool", tensor, "pooled vector", walk.tensors[tensor].height)
    walk.layer("classifier", network.classifier, tensor, "logits", network.classifier.output)
    return QuantisedNetwork(
        image="image",
        tensors=tuple(walk.tensors.values()),
        steps=tuple(walk.steps),
        logits="logits",
        classes=tuple(classes),
    )


class _Walk:
    """Tensors and steps so far."""

    def __init__(self, network: MobileNet) -> None:
        size, channels = network.architecture.resolution, network.architecture.input_channels
        image = QuantisedTensor(
            name="image",
            height=size,
            width=size,
            channels=channels,
            bits=8,
            signed=True,
            step=IMAGE_SCALE,
        )
        self.tensors = {"image": image}
        self.steps: list[QuantisedLayer | QuantisedPool] = []

    def _put(
        self,
        name: str,
        source: QuantisedTensor,
        stride: int,
        channels: int,
        bits: int,
        signed: bool,
        step: float,
    ) -> None:
        height, width = -(-source.height // stride), -(-source.width // stride)
        self.tensors[name] = QuantisedTensor(
            name=name,
            height=height,
            width=width,
            channels=channels,
            bits=bits,
            signed=signed,
            step=step,
        )

    def layer(
        self,
        name: str,
        unit: ConvolutionUnit,
        source: str,
        target: str,
        output: nn.Module,
        shortcut: str | None = None,
    ) -> str:
        quantiser = unit.weight_quantiser
        assert isinstance(quantiser, WeightQuantiser)
        assert isinstance(output, ActivationQuantiser)
        taken = self.tensors[source]
        self._put(
            target,
            taken,
            unit.stride,
            unit.weight.shape[0],
            output.bits,
            output.signed,
            float(output.step),
        )
        gain, offset = map(_array, affine(unit))
        self.steps.append(
            QuantisedLayer(
                name=name,
                kind="depthwise" if unit.depthwise else "conv",
                input=source,
                output=target,
                kernel=unit.kernel,
                stride=unit.stride,
                padding=(
                    *same_padding(taken.height, unit.kernel, unit.stride),
                    *same_padding(taken.width, unit.kernel, unit.stride),
                ),
                weights=_array(quantiser.levels(unit.weight)).transpose(0, 2, 3, 1).astype(np.int8),
                weight_bits=quantiser.bits,
                weight_step=_array(quantiser.step).reshape(-1),
                gain=gain,
                offset=offset,
                shortcut=shortcut,
            )
        )
        return target

    def pool(self, name: str, source: str, target: str, kernel: int) -> str:
        taken = self.tensors[source]
        self._put(target, taken, kernel, taken.channels, taken.bits, taken.signed, taken.step)
        padding = same_padding(taken.height, kernel, kernel)
        self.steps.append(
            QuantisedPool(
                name=name,
                input=source,
                output=target,
                kernel=kernel,
                stride=kernel,
                padding=padding * 2,
            )
        )
        return target


def _array(values: Tensor) -> npt.NDArray[np.float64]:
    result: npt.NDArray[np.float64] = values.detach().to("cpu", torch.float64).numpy()
    return result
