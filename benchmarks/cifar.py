"""A searched network on CIFAR-10: float, quantised, distilled; integers against fake quantisation;
against MLPerf Tiny's ResNet-8.

python -m benchmarks.cifar --data cifar-10-batches-py --teacher resnet20-12fca82f.th

Slow (hours); stop it whenever you like, the same command goes on. The teacher is a state dict of
github.com/akamaster/pytorch_resnet_cifar10.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from benchmarks.harness import Row, main
from benchmarks.trained import searched, trained
from nas_engine.integer.reference import predict
from nas_engine.integer.store import load
from nas_engine.pipeline.data import read_data
from nas_engine.training.compute import prepare_compute
from nas_engine.training.loop import prepared
from nas_engine.training.networks import load_network

BATCH = 250

RESNET8_ACCURACY = 87.2
"""MLPerf Tiny's ResNet-8, float, on the CIFAR-10 test images, measured with its published tflite
file."""

RESNET8_FILE_BYTES = 98_496
"""Size of its int8 tflite file."""


def agreement_rounding_once(run: Path, data: str, limit: int | None) -> float:
    """Return the share of test images, in percent, that a trained network predicts as its integers
    do if it rounds as in training.
    """
    network = load_network(run / "training" / "network.pt").train()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    images = read_data(data, network.architecture, limit=limit).test.images
    with torch.no_grad():
        logits = [
            network(prepared(images[i : i + BATCH], network.architecture.resolution))
            for i in range(0, len(images), BATCH)
        ]
    return float(
        100.0
        * np.mean(
            torch.cat(logits).argmax(1).numpy() == predict(load(run / "integer").model, images)
        )
    )


def run(
    data: str = "digits",
    teacher: str = "none",
    epochs: int = 20,
    folder: str = "runs/benchmark-cifar",
    sram: int = 64,
    flash: int = 128,
    macs: float = 10e6,
    candidates: int = 500_000,
    resolution: int = 32,
    threads: int = 0,
    limit: int = 0,
) -> list[Row]:
    device = prepare_compute("auto", threads or None)
    place = Path(folder)
    options = {
        "space": "mobilenet-32",
        "sram": sram * 1024,
        "flash": flash * 1024,
        "max_macs": macs,
    }
    record = searched(place, {**options, "candidates": candidates, "resolution": resolution})
    request = {"data": data, "device": device, "limit": limit or None}
    plain = trained(place, "float", "cifar", request, epochs=epochs, float_share=1.0).accuracy
    distilled = trained(
        place, "distilled", "cifar", {**request, "teacher": teacher}, epochs=epochs
    ).accuracy
    quantised = trained(place, "quantised", "cifar", request, epochs=epochs).accuracy
    assert plain.floating is not None
    rows = []
    for name, accuracy in (
        ("quantised and distilled", distilled),
        ("quantised without a teacher", quantised),
    ):
        assert accuracy.quantised is not None
        assert accuracy.integer is not None
        assert accuracy.agreement is not None
        loss, gap = plain.floating - accuracy.integer, abs(accuracy.integer - accuracy.quantised)
        rows += [
            Row(
                what=(
                    f"{name}, {epochs} epochs: top-1 of the integers (float, the same epochs "
                    f"without a teacher: {plain.floating:.2f} %)"
                ),
                measured=f"{accuracy.integer:.2f} %",
                at_least="at most 1.0 point below float"
                if accuracy is distilled
                else "for comparison",
                reached=accuracy is not distilled or loss <= 1.0,
            ),
            Row(
                what=(
                    f"{name}: integers against fake quantisation ({accuracy.quantised:.2f} %), "
                    f"{accuracy.images:,} test images"
                ),
                measured=f"{gap:.2f} points apart, {accuracy.agreement:.2f} % equal predictions",
                at_least="0.2 points, 99.5 %",
                reached=gap <= 0.2 and accuracy.agreement >= 99.5,
            ),
        ]
    rows.append(
        Row(
            what=(
                "quantised and distilled: predictions equal to the integers' if evaluation rounds "
                "once, as training does"
            ),
            measured=f"{agreement_rounding_once(place / 'distilled', data, limit or None):.2f} %",
            at_least="for comparison",
            reached=True,
        )
    )
    best = record.best
    rows.append(
        Row(
            what=(
                f"accuracy, Flash, peak SRAM (ResNet-8 of MLPerf Tiny: {RESNET8_ACCURACY} %, int8 "
                f"file of {RESNET8_FILE_BYTES:,} B)"
            ),
            measured=(
                f"{distilled.integer:.2f} %, {best.total_flash_bytes:,.0f} B, "
                f"{best.peak_sram_bytes:,.0f} B"
            ),
            at_least=f"{RESNET8_ACCURACY} %",
            reached=(distilled.integer or 0.0) >= RESNET8_ACCURACY,
        )
    )
    return rows


if __name__ == "__main__":
    main(
        "cifar",
        run,
        data="digits",
        teacher="none",
        epochs=20,
        folder="runs/benchmark-cifar",
        threads=0,
    )
