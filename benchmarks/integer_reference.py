"""How fast the integer reference is, and that its fast way and its plain way are one function.

python -m benchmarks.integer_reference
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.harness import HERE, Row, best_seconds, main
from nas_engine.architecture import read_architecture
from nas_engine.heap import keep_freed_blocks
from nas_engine.integer.reference import run as run_integers
from nas_engine.integer.reference import trace
from nas_engine.testing.networks import untrained

NETWORK = HERE / "networks" / "mobilenet-32-64k-128k.yaml"
"""Winner of a search for 64 KiB of SRAM and 128 KiB of Flash at 32 x 32 pixels: 23.7 million MACs
per image."""


def pictures(count: int, size: int, channels: int) -> npt.NDArray[np.uint8]:
    """Return the handwritten digits of scikit-learn, enlarged and tinted; noise where that is not
    installed.
    """
    rng = np.random.default_rng(0)
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        return rng.integers(0, 256, (count, size, size, channels), np.uint8)
    digits = load_digits().images[np.arange(count) % 1797] / 16
    places = np.arange(size) * digits.shape[1] // size
    tint = rng.uniform(0.3, 1.0, (count, 1, 1, channels))
    return (255 * tint * digits[:, places][:, :, places][..., None]).astype(np.uint8)


def run(network: Path = NETWORK, images: int = 512, compared: int = 4) -> list[Row]:
    keep_freed_blocks()
    architecture = read_architecture(network)
    model = untrained(architecture)
    batch = pictures(images, architecture.resolution, architecture.input_channels)
    one, two = (
        images / best_seconds(partial(run_integers, model, batch, threads=threads), repeats=3)
        for threads in (1, 2)
    )

    quick, plain = (trace(model, batch[:compared], fast=fast) for fast in (True, False))
    values = sum(array.size for array in plain.values())
    different = sum(int((quick[name] != plain[name]).sum()) for name in plain)
    outputs = [(model.tensor(step.output), plain[step.output]) for step in model.nodes]
    at_ends = np.mean(
        [np.isin(array, (tensor.low, tensor.high)).mean() for tensor, array in outputs]
    )
    return [
        Row(
            what="23.7 million MACs, 32 x 32, one thread",
            measured=f"{one:,.0f} images/s",
            at_least="250 images/s",
            reached=one >= 250,
        ),
        Row(
            what="the same, two threads",
            measured=f"{two:,.0f} images/s",
            at_least="500 images/s",
            reached=two >= 500,
        ),
        Row(
            what=(
                f"values that differ from the plain int64 way, all tensors of {compared} images "
                f"({at_ends:.0%} at an end of their range)"
            ),
            measured=f"{different} of {values:,}",
            at_least="0",
            reached=different == 0,
        ),
    ]


if __name__ == "__main__":
    main("integer_reference", run, network=NETWORK, images=512, compared=4)
