"""Genuine small files of every format, made by the tests."""

from __future__ import annotations

import gzip
import io
import pickle
import struct
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from nas_engine.datasets import Dataset, open_dataset

Pixels = npt.NDArray[np.uint8]


def pixels(*shape: int, seed: int = 0) -> Pixels:
    """Return random pixels."""
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def labels(count: int, classes: int) -> npt.NDArray[np.int64]:
    """Return labels that go round all classes."""
    return np.arange(count) % classes


def read(location: str | Path, **arguments: Any) -> Dataset:
    """Return a data set, 8 x 8 in colour unless said otherwise."""
    return open_dataset(location, **{"resolution": 8, "channels": 3, **arguments})


def write_idx(
    folder: Path, *, images: Pixels, numbers: Any, split: str = "train", packed: bool = True
) -> None:
    """Write the two IDX files of one split; images are ``[N, H, W]``."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers = np.asarray(numbers, np.uint8)
    for name, data in (
        ("images-idx3", struct.pack(">4I", 0x803, *images.shape) + images.tobytes()),
        ("labels-idx1", struct.pack(">2I", 0x801, len(numbers)) + numbers.tobytes()),
    ):
        path = folder / f"{split}-{name}-ubyte{'.gz' if packed else ''}"
        path.write_bytes(gzip.compress(data, mtime=0) if packed else data)


def write_mnist(
    folder: Path, *, classes: int = 3, side: int = 8, packed: bool = True
) -> tuple[Pixels, Pixels]:
    """Write all four IDX files and return the images of train and test."""
    train, test = pixels(12, side, side), pixels(6, side, side, seed=1)
    write_idx(folder, images=train, numbers=labels(12, classes), packed=packed)
    write_idx(folder, images=test, numbers=labels(6, classes), split="t10k", packed=packed)
    return train, test


def cifar_rows(images: Pixels) -> Pixels:
    """Return ``[N, 3072]`` planes of images ``[N, 32, 32, 3]``."""
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2)).reshape(len(images), -1)


def python2_pickle(rows: Pixels, numbers: list[int], key: bytes = b"labels") -> bytes:
    """Return the bytes that Python 2 with NumPy 1 wrote for a batch, protocol 2: texts are byte
    strings, and so is the array's content.
    """

    def text(value: bytes) -> bytes:
        return (
            b"U" + bytes([len(value)]) + value
            if len(value) < 256
            else b"T" + struct.pack("<I", len(value)) + value
        )

    def whole(value: int) -> bytes:
        return b"J" + struct.pack("<i", value)

    kind = (
        b"cnumpy\ndtype\n"
        + text(b"u1")
        + whole(0)
        + whole(1)
        + b"\x87R("
        + whole(3)
        + text(b"|")
        + b"NNN"
        + whole(-1)
        + whole(-1)
    )
    kind += whole(0) + b"tb"
    start = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n"
        + whole(0)
        + b"\x85"
        + text(b"b")
        + b"\x87R"
    )
    shape = whole(rows.shape[0]) + whole(rows.shape[1]) + b"\x86"
    array = start + b"(" + whole(1) + shape + kind + b"\x89" + text(rows.tobytes()) + b"tb"
    listing = b"](" + b"".join(whole(number) for number in numbers) + b"e"
    return b"\x80\x02}(" + text(b"data") + array + text(key) + listing + b"u."


def dump(path: Path, content: object, protocol: int = 2) -> None:
    """Write a pickle."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol=protocol))


def write_cifar10(
    folder: Path, *, protocol: int = 2, as_text: bool = False
) -> tuple[Pixels, Pixels]:
    """Write a CIFAR-10 folder of 4 images per batch and 2 classes, and return the images of train
    and test.
    """
    train, test = pixels(20, 32, 32, 3), pixels(4, 32, 32, 3, seed=1)

    def key(text: str) -> str | bytes:
        return text if as_text else text.encode()

    for number in range(5):
        part = train[4 * number : 4 * number + 4]
        batch = {
            key("data"): cifar_rows(part),
            key("labels"): [0, 1, 0, 1],
            key("batch_label"): b"training batch",
        }
        dump(folder / f"data_batch_{number + 1}", batch, protocol)
    dump(
        folder / "test_batch",
        {key("data"): cifar_rows(test), key("labels"): [1, 0, 1, 0]},
        protocol,
    )
    dump(
        folder / "batches.meta",
        {key("label_names"): [key("cat"), key("dog")], key("num_vis"): 3072},
        protocol,
    )
    return train, test


def write_cifar100(folder: Path) -> Pixels:
    """Write a CIFAR-100 folder of 2 fine classes and return the training images."""
    train = pixels(6, 32, 32, 3)
    for name in ("train", "test"):
        dump(
            folder / name,
            {
                b"data": cifar_rows(train),
                b"fine_labels": [0, 1] * 3,
                b"coarse_labels": [0] * 6,
                b"filenames": [b"a"] * 6,
            },
        )
    dump(
        folder / "meta", {b"fine_label_names": [b"apple", b"bear"], b"coarse_label_names": [b"all"]}
    )
    return train


def write_archive(path: Path, folder: Path) -> None:
    """Pack a folder as the authors of CIFAR do."""
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, arcname=folder.name)


def write_image(path: Path, image: Pixels | Image.Image, **options: Any) -> None:
    """Write one image file in the format its name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, **options)


def jpeg(image: Pixels, **options: Any) -> bytes:
    """Return the bytes of a JPEG."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", **options)
    return file.getvalue()


def write_folders(
    root: Path,
    *,
    splits: tuple[str, ...] = ("train", "test"),
    classes: tuple[str, ...] = ("cat", "dog"),
    count: int = 4,
) -> Path:
    """Write an image folder of 8 x 8 PNG files; ``splits=("",)`` for one without splits."""
    for number, split in enumerate(splits):
        for index, name in enumerate(classes):
            for image in range(count):
                write_image(
                    root / split / name / f"{image:03d}.png",
                    pixels(8, 8, 3, seed=10_000 * number + 100 * index + image),
                )
    return root
