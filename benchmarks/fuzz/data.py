"""Cases of spoilt data in every format."""

from __future__ import annotations

import io
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.fuzz.maker import Case, Maker


def data(make: Maker) -> Case:
    """Data of any format, spoilt."""
    kind = make.chance.choice(("npz", "npz", "images", "images", "split", "idx", "cifar", "tar"))
    if kind == "npz":
        at = make.folder / make.chance.choice(
            ("mine.npz", "a\udce9b.npz", "new\nline.npz", "x*\\ y.npz")
        )
        what = _npz(make, at)
    elif kind == "tar":
        at = make.folder / "cifar-10-python.tar.gz"
        data = (make.world.folder / at.name).read_bytes()
        cut = make.chance.random() < 0.5
        at.write_bytes(data[: make.chance.randrange(len(data))] if cut else make.flipped(data))
        what = "cut" if cut else "bytes"
    else:
        at = make.folder / make.world.data[kind].name
        shutil.copytree(make.world.data[kind], at)
        what = _folder(make, at, kind)
    run = make.folder / "run"
    shutil.copytree(make.world.whole / ("network" if make.chance.random() < 0.3 else "final"), run)
    final = (run / "integer").exists()
    commands = [
        ["train", str(run), "--data", str(at), "--epochs", "2", "--threads", "1", "--force"]
    ]
    if final:
        commands = [["evaluate", str(run), "--data", str(at), "--threads", "1"]]
        commands += [["verify", str(run), "--data", str(at), "--backend", "onnx", "--images", "2"]]
    else:
        commands += [
            [
                "refine",
                str(run),
                "--data",
                str(at),
                "--images",
                "64",
                "--swaps",
                "0",
                "--threads",
                "1",
                "--force",
            ]
        ]
    return Case(kind="data", words=make.chance.choice(commands), what=f"{kind}: {what}")


def _npz(make: Maker, at: Path) -> str:
    import numpy as np

    arrays = dict(np.load(make.world.data["npz"]))
    way = make.chance.choice(
        ("array", "array", "array", "array", "key", "bytes", "cut", "bomb", "thing", "name")
    )
    if way == "thing":
        return make.thing(at)
    if way == "array":
        key = make.chance.choice(sorted(arrays))
        value = arrays[key]
        changes: dict[str, Callable[[], Any]] = {
            "object": lambda: np.array([None, 1], object),
            "text": lambda: value.astype(str),
            "nan": lambda: np.full(value.shape, np.nan),
            "negative": lambda: -np.ones(value.shape),
            "float 1.0004": lambda: np.full(value.shape, 1.0004),
            "huge": lambda: np.full(value.shape, 2**40),
            "bool": lambda: np.ones(value.shape, bool),
            "complex": lambda: np.ones(value.shape, complex),
            "scalar": lambda: np.array(3),
            "none": lambda: value[:0],
            "one": lambda: value[:1],
            "longer": lambda: np.concatenate([value, value]),
            "other shape": lambda: value.reshape(-1),
            "one more axis": lambda: value[..., None, None],
            "zeros": lambda: np.zeros_like(value),
            "dates": lambda: np.zeros(value.shape, "datetime64[s]"),
            "records": lambda: np.zeros(len(value), [("a", int)]),
            "bytes of text": lambda: np.full(value.shape, b"\xff"),
            "strange text": lambda: np.array(
                ["a\nb\x1b[0m", "\ud800", "x" * 5000, "é", "e\u0301", "", " ", "1", "<b>", "*/"]
            ),
        }
        way = make.chance.choice(sorted(changes))
        try:
            arrays[key] = changes[way]()
        except (ValueError, TypeError, UnicodeError):
            return "nothing"
        way = f"{key} {way}"
    elif way == "key":
        key = make.chance.choice(sorted(arrays))
        arrays[make.chance.choice(("x", "", "é/..", "x_val", "../x"))] = arrays.pop(key)
        way = f"without {key}"
    buffer = io.BytesIO()
    try:
        np.savez(buffer, **arrays)
    except (UnicodeError, ValueError):
        return "nothing"
    data = buffer.getvalue()
    if way == "bytes":
        data = make.flipped(data)
    elif way == "cut":
        data = data[: make.chance.randrange(len(data))]
    elif way == "bomb":
        data = _npz_bomb(arrays)
    at.write_bytes(data)
    return way


def _folder(make: Maker, at: Path, kind: str) -> str:
    files = sorted(path for path in at.rglob("*") if path.is_file())
    path = make.chance.choice(files)
    ways: dict[str, Callable[[], object]] = {
        "bytes": lambda: path.write_bytes(make.flipped(path.read_bytes())),
        "cut": lambda: path.write_bytes(
            path.read_bytes()[: make.chance.randrange(path.stat().st_size)]
        ),
        "thing": lambda: make.thing(path),
        "gone": lambda: path.unlink(),
        "renamed": lambda: path.rename(
            path.with_name(os.fsdecode(b"a\xe9\n" + os.fsencode(path.name)))
        ),
        "all of one": lambda: [
            other.write_bytes(b"") for other in files if other.parent == path.parent
        ],
        "more files": lambda: [(path.parent / f"more{n}.txt").write_text("x") for n in range(50)],
    }
    if kind in ("images", "split"):
        ways |= {
            "no class": lambda: shutil.rmtree(path.parent),
            "class renamed": lambda: path.parent.rename(
                path.parent.with_name(os.fsdecode(b"cl\xe9"))
            ),
            "class a fifo": lambda: (shutil.rmtree(path.parent), os.mkfifo(path.parent)),
            "large image": lambda: path.write_bytes(_large_png()),
            "odd image": lambda: _odd_image(make, path),
            "split renamed": lambda: path.parent.parent.rename(
                path.parent.parent.with_name("Training")
            ),
        }
    if kind == "cifar":
        ways["program"] = lambda: path.write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    if kind == "idx":
        ways["header"] = lambda: path.write_bytes(_idx_of(make.chance))
    way = make.chance.choice(sorted(ways))
    ways[way]()
    return f"{path.relative_to(at)}: {way}"


def _odd_image(make: Maker, path: Path) -> None:
    from PIL import Image

    mode = make.chance.choice(("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F"))
    size = make.chance.choice(((1, 1), (1, 5000), (3000, 3000), (17, 9)))
    form = make.chance.choice(("PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF", "PPM"))
    try:
        Image.new(mode, size).save(path, form, exif=b"Exif\x00\x00" + make.chance.randbytes(40))
    except (OSError, ValueError, KeyError):
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + make.chance.randbytes(60))


def _large_png() -> bytes:
    """Return a PNG whose head says 60,000 x 60,000 pixels."""
    import struct
    import zlib

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(bytes(1000)))
        + chunk(b"IEND", b"")
    )


def _idx_of(chance: random.Random) -> bytes:
    import gzip
    import struct

    axes = chance.choice((0, 1, 3, 4, 200))
    sizes = [chance.choice((0, 1, 8, 300, 2**31, 2**32 - 1)) for _ in range(axes)]
    content = struct.pack(f">BBBB{axes}I", 0, 0, chance.choice((8, 13, 99)), axes, *sizes) + bytes(
        chance.choice((0, 19200))
    )
    return gzip.compress(content) if chance.random() < 0.8 else content


def _npz_bomb(arrays: dict[str, Any]) -> bytes:
    """Return an .npz whose training images are 8 GiB of zeros in a few MB."""
    import zipfile

    import numpy as np

    buffer = io.BytesIO()
    np.savez(buffer, **{name: value for name, value in arrays.items() if name != "x_train"})
    head = io.BytesIO()
    shape = (2**27, 8, 8)
    np.lib.format.write_array_header_1_0(
        head, {"descr": "|u1", "fortran_order": False, "shape": shape}
    )
    with (
        zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("x_train.npy", "w") as file,
    ):
        file.write(head.getvalue())
        zeros = bytes(2**24)
        for _ in range(32):  # half a GiB is enough to tell: the head says eight
            file.write(zeros)
    return buffer.getvalue()
