"""Top-1 accuracy and cost of CIFAR ResNet state dicts as teachers, in every form they may have:
91.73 % and 92.62 % are published for ResNet-20 and -32.

python -m benchmarks.teachers --data DIR FILE...

Prints only; the state dicts are those of github.com/akamaster/pytorch_resnet_cifar10. The forms
take turns; milliseconds are the processor's, median of all batches, on one thread.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from nas_engine.datasets import open_dataset
from nas_engine.models.graph_network import scale_images
from nas_engine.training.compute import prepare_compute
from nas_engine.training.teacher_forms import FORMS, fastest_form, in_form
from nas_engine.training.teachers import Teacher, load_teacher

BATCH = 128


def run(data: str, files: Sequence[Path], limit: int | None = None) -> list[str]:
    """Return one line per file and form."""
    prepare_compute("cpu", 1)
    dataset = open_dataset(data, resolution=32, channels=3, limit=limit)
    images, labels = dataset.test.images, dataset.test.labels
    batches = [
        scale_images(torch.tensor(images[i : i + BATCH])) for i in range(0, len(labels), BATCH)
    ]
    lines = []
    for path in files:
        teacher = load_teacher(path, class_count=len(dataset.classes))
        formed = {form: in_form(teacher, form) or teacher for form in FORMS}
        found: dict[str, list[torch.Tensor]] = {form: [] for form in FORMS}
        seconds: dict[str, list[float]] = {form: [] for form in FORMS}
        for x in batches:
            for form in FORMS:
                answer, elapsed = _timed(formed[form], x)
                found[form].append(answer)
                seconds[form].append(elapsed / len(x))
        for form in FORMS:
            correct = np.mean(torch.cat(found[form]).numpy() == labels)
            taken = ", taken here" if form == fastest_form(teacher, "cpu") else ""
            lines.append(
                f"{teacher.description}, {form}: {correct:.2%} of {len(labels):,} test images, "
                f"{1e3 * np.median(seconds[form]):.2f} ms an image{taken}"
            )
    return lines


def _timed(teacher: Teacher, x: torch.Tensor) -> tuple[torch.Tensor, float]:
    began = time.process_time()
    answer = teacher.logits(x).argmax(1)
    return answer, time.process_time() - began


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.teachers")
    parser.add_argument("--data", required=True, help="folder or file of CIFAR-10")
    parser.add_argument("--limit", type=int, help="most test images (default all)")
    parser.add_argument(
        "files",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="state dict, such as resnet20-12fca82f.th",
    )
    arguments = parser.parse_args()
    print("\n".join(run(arguments.data, arguments.files, arguments.limit)))
