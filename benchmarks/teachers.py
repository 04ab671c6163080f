"""Top-1 accuracy of CIFAR ResNet state dicts through our loaders: 91.73 % and 92.62 % are published
for ResNet-20 and -32.

python -m benchmarks.teachers --data DIR FILE...

Prints only; the state dicts are those of github.com/akamaster/pytorch_resnet_cifar10.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from nas_engine.datasets import open_dataset
from nas_engine.models.graph_network import scale_images
from nas_engine.training.teachers import load_teacher

BATCH = 500


def run(data: str, files: Sequence[Path]) -> list[str]:
    """Return one line per file."""
    dataset = open_dataset(data, resolution=32, channels=3)
    images, labels = dataset.test.images, dataset.test.labels
    lines = []
    for path in files:
        teacher = load_teacher(path, class_count=len(dataset.classes))
        parts = [
            teacher.logits(scale_images(torch.tensor(images[i : i + BATCH]))).argmax(1)
            for i in range(0, len(labels), BATCH)
        ]
        correct = np.mean(torch.cat(parts).numpy() == labels)
        lines.append(f"{teacher.description}: {correct:.2%} of {len(labels):,} test images")
    return lines


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.teachers")
    parser.add_argument("--data", required=True, help="folder or file of CIFAR-10")
    parser.add_argument(
        "files",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="state dict, such as resnet20-12fca82f.th",
    )
    arguments = parser.parse_args()
    print("\n".join(run(arguments.data, arguments.files)))
