"""A whole run of seconds and the same few pictures in every format of data, for studies that start
commands by the hundred.
"""

from __future__ import annotations

import gzip
import pickle
import struct
from pathlib import Path

import numpy as np

SPACE = """
name: two-stages
title: Networks such as digits_architecture
source: Chosen here, for tests.
input_channels: 1
resolution: {default: 8, min: 8, max: 16}
classes: 10
stage_weights: [0, 1]
stem: {kernel: 3, stride: 2, channels: {min: 8, max: 8}}
stages:
  - {stride: 1, kernels: [3, 5], channels: {min: 8, max: 16}, expansions: [2, 3],
     depth: {min: 1, max: 2}}
  - {stride: 2, kernels: [3, 5], channels: {min: 8, max: 16}, expansions: [2, 3],
     depth: {min: 1, max: 2}}
head: {channels: {min: 32, max: 32}}
bits: {weights: [2, 4, 8], activations: [2, 4, 8], stem_and_classifier: 8, tie_blocks: false}
max_layers: 20
max_stage_share: 1
"""

CLASSES = tuple(f"digit {number}" for number in range(10))
TRAIN, TEST = 300, 60

CONFIG = """
search: {{space: {space}, resolution: 8, candidates: 2000, sram: 5448, flash: 37492}}
data: {{source: {data}}}
shortlist: {{count: 2, epochs: 2}}
train: {{epochs: 2, batch_size: 64}}
refine: {{images: 64, swaps: 1}}
verify: {{images: 2, emulated_images: 1, backends: [{backends}]}}
"""


def write_data(folder: Path) -> dict[str, Path]:
    """Write 360 digits as an .npz, image folder, IDX and CIFAR files below a folder; return the
    paths by format.
    """
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.minimum(digits.images * 16, 255).astype(np.uint8)
    train, test = slice(0, TRAIN), slice(TRAIN, TRAIN + TEST)
    paths = {"npz": folder / "small.npz", "images": folder / "images", "idx": folder / "idx"}
    paths |= {"cifar": folder / "cifar-10-batches-py", "split": folder / "split"}
    for path in paths.values():
        (path.parent if path.suffix else path).mkdir(parents=True, exist_ok=True)
    parts = {
        "train": (images[train], digits.target[train]),
        "test": (images[test], digits.target[test]),
    }
    arrays = {
        f"{axis}_{name}": part[at] for name, part in parts.items() for at, axis in enumerate("xy")
    }
    np.savez(paths["npz"], classes=np.array(CLASSES), **arrays)
    for name, (pixels, labels) in parts.items():
        for number, (picture, label) in enumerate(zip(pixels, labels, strict=True)):
            for place in (paths["images"] / name, paths["split"]):
                own = place / CLASSES[label]
                own.mkdir(parents=True, exist_ok=True)
                Image.fromarray(picture).save(own / f"{name}{number:03}.png")
        _write_idx(paths["idx"], "t10k" if name == "test" else name, pixels, labels)
        _write_cifar(paths["cifar"], name, pixels, labels)
    labels = {"label_names": list(CLASSES), "num_cases_per_batch": TRAIN, "num_vis": 3072}
    (paths["cifar"] / "batches.meta").write_bytes(pickle.dumps(labels))
    return paths


def _write_idx(folder: Path, name: str, pixels: np.ndarray, labels: np.ndarray) -> None:
    for kind, values in (("images-idx3", pixels), ("labels-idx1", labels.astype(np.uint8))):
        head = struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
        (folder / f"{name}-{kind}-ubyte.gz").write_bytes(
            gzip.compress(head + values.tobytes(), mtime=0)
        )


def _write_cifar(folder: Path, name: str, pixels: np.ndarray, labels: np.ndarray) -> None:
    large = np.repeat(pixels.repeat(4, 1).repeat(4, 2)[:, None], 3, 1).reshape(len(pixels), -1)
    batches = (
        [f"data_batch_{number}" for number in range(1, 6)] if name == "train" else ["test_batch"]
    )
    for batch, rows, own in zip(
        batches,
        np.array_split(large, len(batches)),
        np.array_split(labels, len(batches)),
        strict=True,
    ):
        content = {"data": rows, "labels": own.tolist(), "batch_label": batch, "filenames": []}
        (folder / batch).write_bytes(pickle.dumps(content))


def write_config(folder: Path, data: Path, backends: str = "host-c, onnx") -> Path:
    """Write the config of the small run, and its space next to it."""
    space, config = folder / "space.yaml", folder / "small.yaml"
    space.write_text(SPACE, encoding="utf-8")
    config.write_text(CONFIG.format(space=space, data=data, backends=backends), encoding="utf-8")
    return config
