"""Cost of a training step on a CPU: quantised against float, depth-wise gradients against torch's.

python -m benchmarks.training_speed

Steps of both kinds take turns, so that the ratios hold on a noisy machine. Images are
scikit-learn's digits at 32 x 32 in batches of 64; the network is the searched one of
``networks/mobilenet-32-64k-128k.yaml``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from benchmarks.harness import Row, main
from nas_engine.architecture import read_architecture
from nas_engine.datasets import open_dataset
from nas_engine.models.depthwise import depthwise_conv2d
from nas_engine.models.mobilenet import MobileNet
from nas_engine.quantization.prepare import calibrate, insert_quantisers
from nas_engine.training.compute import prepare_compute
from nas_engine.training.loop import prepared

NETWORK = Path(__file__).parent / "networks" / "mobilenet-32-64k-128k.yaml"


def medians(functions: list[Callable[[], object]], rounds: int) -> list[float]:
    """Return the median seconds of one call of each, the calls taking turns."""
    times: list[list[float]] = [[] for _ in functions]
    for turn in range(rounds + 1):
        for function, seconds in zip(functions, times, strict=True):
            began = time.perf_counter()
            function()
            if turn:
                seconds.append(time.perf_counter() - began)
    return [float(np.median(seconds)) for seconds in times]


def step_of(network: MobileNet, x: torch.Tensor, labels: torch.Tensor) -> Callable[[], None]:
    """Return a training step: forward, backward, SGD."""
    optimiser = torch.optim.SGD(network.parameters(), lr=1e-4, momentum=0.9)
    network.train()

    def step() -> None:
        optimiser.zero_grad()
        functional.cross_entropy(network(x), labels).backward()
        optimiser.step()

    return step


def gradient_of(function: Callable[..., torch.Tensor], batch: int) -> Callable[[], None]:
    """Return forward and backward of one depth-wise 5x5 layer with 96 channels at 16x16."""
    generator = torch.Generator().manual_seed(0)
    x = (
        torch.randn(batch, 96, 16, 16, generator=generator)
        .contiguous(memory_format=torch.channels_last)
        .requires_grad_()
    )
    weight = torch.randn(96, 1, 5, 5, generator=generator).requires_grad_()
    upstream = torch.randn(batch, 96, 16, 16, generator=generator).contiguous(
        memory_format=torch.channels_last
    )

    def once() -> None:
        torch.autograd.grad(function(x, weight), [x, weight], upstream)

    return once


def run(rounds: int = 15, batch: int = 64, threads: int = 0) -> list[Row]:
    prepare_compute("cpu", threads or None)
    torch.manual_seed(0)
    data = open_dataset("digits", resolution=32, channels=3).train
    x, labels = prepared(data.images[:batch], 32), torch.from_numpy(np.array(data.labels[:batch]))
    plain, quantised = (
        MobileNet(read_architecture(NETWORK)).to(memory_format=torch.channels_last)
        for _ in range(2)
    )
    insert_quantisers(quantised)
    calibrate(quantised, x)
    float_s, quantised_s = medians(
        [step_of(plain, x, labels), step_of(quantised, x, labels)], rounds
    )
    ours, theirs = medians(
        [
            gradient_of(lambda x, w: depthwise_conv2d(x, w, 1, 2), batch),
            gradient_of(lambda x, w: functional.conv2d(x, w, None, 1, 2, 1, 96), batch),
        ],
        rounds,
    )
    cores = torch.get_num_threads()
    return [
        Row(
            what=(
                f"quantised step / float step, batch {batch}, {cores} threads (float: "
                f"{batch / float_s:.0f} images/s)"
            ),
            measured=f"{quantised_s / float_s:.2f}",
            at_least="2.0 at most (aim: 1.5)",
            reached=quantised_s <= 2.0 * float_s,
        ),
        Row(
            what="depth-wise 5x5, 96 channels at 16x16, forward and backward: "
            "torch's time / this project's",
            measured=f"{theirs / ours:.2f}",
            at_least="1",
            reached=theirs >= ours,
        ),
    ]


if __name__ == "__main__":
    main("training_speed", run, rounds=15, batch=64, threads=0)
