"""Cost of a training step on a CPU: by the kernels in C against torch's own way, in one process.

python -m benchmarks.training_speed
python -m benchmarks.training_speed --batch 128 --results training_speed_128

All cases take turns, so that ratios hold on a noisy machine; with one thread the processor's time
is taken, else the clock's. Images are scikit-learn's digits at 32 x 32; the network is the searched
one of ``networks/mobilenet-32-64k-128k.yaml``.
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
from nas_engine.errors import NasEngineError
from nas_engine.kernels import Kernels
from nas_engine.models.graph_network import GraphNetwork
from nas_engine.quantization.prepare import bound_steps, calibrate, insert_quantisers
from nas_engine.training.compute import prepare_compute, prepare_kernels
from nas_engine.training.loop import prepared
from nas_engine.training.state import placed

NETWORK = Path(__file__).parent / "networks" / "mobilenet-32-64k-128k.yaml"

STAGES = {"float": 1.4, "quantised": 2.0}
"""Stages of a training, and the least ratio of torch's time to that of the kernels."""


def medians(functions: list[Callable[[], object]], rounds: int, threads: int) -> list[float]:
    """Return the median seconds of one call of each, the calls taking turns."""
    clock = time.process_time if threads == 1 else time.perf_counter
    times: list[list[float]] = [[] for _ in functions]
    for turn in range(rounds + 1):
        for function, seconds in zip(functions, times, strict=True):
            began = clock()
            function()
            if turn:
                seconds.append(clock() - began)
    return [float(np.median(seconds)) for seconds in times]


def step_of(
    stage: str, kernels: Kernels | None, x: torch.Tensor, labels: torch.Tensor
) -> Callable[[], None]:
    """Return a training step: forward, backward, SGD, bounds of quantisation steps."""
    torch.manual_seed(0)
    network = GraphNetwork(read_architecture(NETWORK))
    if stage == "quantised":
        insert_quantisers(network)
        calibrate(network, x)
    placed(network, "cpu").train().kernels = kernels
    optimiser = torch.optim.SGD(network.parameters(), lr=1e-4, momentum=0.9, nesterov=True)

    def step() -> None:
        optimiser.zero_grad()
        functional.cross_entropy(network(x), labels).backward()
        optimiser.step()
        bound_steps(network)

    return step


def run(rounds: int = 15, batch: int = 64, threads: int = 1) -> list[Row]:
    prepare_compute("cpu", threads)
    kernels = prepare_kernels("auto", "cpu")
    if kernels is None:
        raise NasEngineError("there are no kernels here; type nas-search train to see why")
    data = open_dataset("digits", resolution=32, channels=3).train
    x, labels = prepared(data.images[:batch], 32), torch.from_numpy(np.array(data.labels[:batch]))
    cases = [(stage, by) for stage in STAGES for by in (None, kernels)]
    seconds = medians([step_of(stage, by, x, labels) for stage, by in cases], rounds, threads)
    ms = {case: 1e3 * each / batch for case, each in zip(cases, seconds, strict=True)}
    where = f"batch {batch}, {threads} thread{'s' * (threads > 1)}"
    rows = []
    for stage, least in STAGES.items():
        old, new = ms[stage, None], ms[stage, kernels]
        rows.append(
            Row(
                what=(
                    f"{stage} step, {where}: torch's time / that of the kernels, {kernels.name} "
                    f"({old:.2f} / {new:.2f} ms an image)"
                ),
                measured=f"{old / new:.2f}",
                at_least=f"{least:g}",
                reached=old >= least * new,
            )
        )
    ratio = ms["quantised", kernels] / ms["float", kernels]
    rows.append(
        Row(
            what=f"quantised step / float step, {where}, by the kernels",
            measured=f"{ratio:.2f}",
            at_least="1.5 at most",
            reached=ratio <= 1.5,
        )
    )
    return rows


if __name__ == "__main__":
    main("training_speed", run, rounds=15, batch=64, threads=1)
