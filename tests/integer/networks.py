"""Small networks with random shapes, widths and scales."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from benchmarks.integer_reference import Untrained
from nas_engine.integer.lowering import lower
from nas_engine.integer.model import IntegerModel
from nas_engine.quantization.record import QuantisedLayer, QuantisedNetwork, QuantisedPool


def random_record(seed: int) -> QuantisedNetwork:
    """Return a network of a stem, a few residuals with and without (pooled) shortcuts, a pool and a
    classifier; some channels are dead.
    """
    rng = np.random.default_rng(seed)

    def bits() -> int:
        return int(rng.integers(2, 9))

    built = Untrained(
        (int(rng.integers(3, 12)), int(rng.integers(3, 12)), int(rng.integers(1, 4))), rng
    )
    channels = int(rng.integers(1, 7))
    kernel, stride = int(rng.choice([1, 3, 5])), int(rng.choice([1, 2]))
    stream = built.layer(
        "stem", channels, kernel, stride, bits(), bits(), signed=bool(rng.integers(2))
    )
    for block in range(int(rng.integers(1, 4))):
        stride, middle, name = int(rng.choice([1, 1, 2])), int(rng.integers(1, 9)), f"b{block}"
        built.layer(f"{name}.expand", middle, 1, 1, bits(), bits(), source=stream)
        filtered = built.layer(
            f"{name}.depthwise",
            middle,
            int(rng.choice([1, 3, 5])),
            stride,
            bits(),
            bits(),
            kind="depthwise",
        )
        shortcut = stream
        if stride == 2:
            uneven = (0, stream.height % 2, 0, stream.width % 2)
            shortcut = built.pool(f"{name}.pool", 2, 2, stream, uneven)
        if rng.integers(2):  # one scale for both operands, where the addition is exact
            stream = built.layer(
                f"{name}.project",
                channels,
                1,
                1,
                bits(),
                bits(),
                source=filtered,
                shortcut=shortcut,
                signed=True,
            )
            built.tensors[-1] = stream = replace(stream, step=shortcut.step)
        else:
            stream = built.layer(
                f"{name}.project",
                channels,
                1,
                1,
                bits(),
                bits(),
                source=filtered,
                shortcut=shortcut,
                signed=bool(rng.integers(2)),
            )
    size = max(stream.height, stream.width)
    down, right = size - stream.height, size - stream.width
    built.pool(
        "pool", size, 1, stream, (down // 2, down - down // 2, right // 2, right - right // 2)
    )
    built.layer("classifier", int(rng.integers(1, 5)), 1, 1, bits(), 8, signed=True)
    built.steps = [
        _with_dead_channel(step, np.random.default_rng((seed, at)))
        for at, step in enumerate(built.steps)
    ]
    return built.network()


def _with_dead_channel(
    step: QuantisedLayer | QuantisedPool, rng: np.random.Generator
) -> QuantisedLayer | QuantisedPool:
    """Return every other layer with one channel that training has silenced: hardly any gain, an
    offset of any size.
    """
    if isinstance(step, QuantisedPool) or rng.integers(2):
        return step
    gain, offset, channel = step.gain.copy(), step.offset.copy(), int(rng.integers(len(step.gain)))
    gain[channel] = rng.choice([0.0, 1e-30, -1e-10])
    offset[channel] *= rng.choice([1.0, 4.0, 1e9])
    return replace(step, gain=gain, offset=offset)


def random_model(seed: int) -> IntegerModel:
    """Return the integers of such a network."""
    return lower(random_record(seed), {"seed": str(seed)})


def random_images(model: IntegerModel, count: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Return noise that reaches both ends of the range."""
    shape = (count, *model.tensor(model.image).shape)
    noise = np.random.default_rng(seed).integers(-40, 296, shape)
    return np.clip(noise, 0, 255).astype(np.uint8)
