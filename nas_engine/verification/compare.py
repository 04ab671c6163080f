"""Comparison of back-ends with the integer reference, and of measured with predicted memory."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nas_engine.integer.model import IntegerModel
from nas_engine.integer.reference import Images, trace
from nas_engine.verification.backend import Backend, BackendError, BackendRun, Footprint
from nas_engine.verification.result import Comparison, MemoryLine, Verdict

RAM_TOLERANCE = 256
"""Bytes by which total RAM may differ from its prediction: the stack depends on the compiler (the
project's own goal)."""

FLASH_TOLERANCE = 0.01
"""Share of total Flash by which it may differ from its prediction (the project's own goal)."""


def checksums(model: IntegerModel, image: Images) -> dict[str, int]:
    """Return the CRC-32 of every tensor of one image, in the order of execution.

    The image is ``[1, height, width, channels]``.
    """
    return {
        name: zlib.crc32(np.ascontiguousarray(values).tobytes())
        for name, values in trace(model, image).items()
    }


def compare(
    backend: Backend, run: BackendRun, expected: npt.NDArray[np.int8], tensors: Mapping[str, int]
) -> Comparison:
    """Return how a back-end's results compare with the reference's.

    Args:
        backend: Who computed them.
        run: What it computed, for the first ``len(run.logits)`` images.
        expected: Logits of the reference, ``[N, classes]``.
        tensors: Checksums of the reference's tensors of the first image, in the order of execution.
    """
    if run.logits.shape[1:] != expected.shape[1:] or not 0 < len(run.logits) <= len(expected):
        problem = (
            f"gave logits of shape {list(run.logits.shape)}; expected [1..{len(expected)}, "
            f"{expected.shape[1]}]"
        )
        return Comparison(
            backend=backend.name, verdict=Verdict.FAILED, version=run.version, note=problem
        )
    wanted = expected[: len(run.logits)]
    difference = np.abs(run.logits.astype(np.int16) - wanted)
    wrong = tuple(name for name, crc in tensors.items() if run.checksums.get(name, crc) != crc)
    differing = int(np.count_nonzero(difference))
    equal = not differing and not wrong
    return Comparison(
        backend=backend.name,
        verdict=Verdict.EQUAL if equal else Verdict.DIFFERS if backend.exact else Verdict.CLOSE,
        version=run.version,
        images=len(wanted),
        values=wanted.size,
        differing=differing,
        largest=int(difference.max()),
        predictions=int(np.count_nonzero(run.logits.argmax(1) != wanted.argmax(1))),
        tensors=len(tensors.keys() & run.checksums.keys()),
        differing_tensors=wrong,
        seconds=run.seconds,
    )


def run_backend(
    backend: Backend,
    export: Path,
    model: IntegerModel,
    images: Images,
    work: Path,
    expected: npt.NDArray[np.int8],
    tensors: Mapping[str, int],
) -> tuple[Comparison, BackendRun | None]:
    """Run a back-end and compare it; what is missing or goes wrong becomes a line of the report.

    Args:
        backend: The back-end.
        export: The export directory.
        model: The network.
        images: Images as uint8.
        work: An empty folder.
        expected: Logits of the reference.
        tensors: Checksums of the reference's tensors of the first image.
    """
    if (missing := backend.missing()) is not None:
        return Comparison(backend=backend.name, verdict=Verdict.SKIPPED, note=missing), None
    try:
        run = backend.run(export, model, images, work)
    except BackendError as error:
        return Comparison(backend=backend.name, verdict=Verdict.FAILED, note=error.problem), None
    return compare(backend, run, expected, tensors), run


def memory_lines(
    backend: str,
    measured: Footprint,
    *,
    arena: int,
    packed: int,
    code: int | None,
    static_ram: int | None,
    stack: int | None,
) -> tuple[MemoryLine, ...]:
    """Return predicted beside measured memory of one firmware image, in bytes.

    Args:
        backend: Where it was measured.
        measured: The linked image and its painted stack.
        arena: Predicted arena.
        packed: Predicted weights, constants and layer table.
        code: Predicted rest of Flash; ``None`` where there are no code sizes to go by.
        static_ram: Predicted data beside the arena; ``None`` likewise.
        stack: Predicted stack; ``None`` likewise.
    """
    ram = None if static_ram is None or stack is None else arena + static_ram + stack
    flash = None if code is None else packed + code
    rows = [
        ("arena", arena, measured.arena, 0),
        ("weights, constants, layer table", packed, measured.packed, 0),
        ("total RAM (arena, data, stack)", ram, measured.ram, RAM_TOLERANCE),
        ("total Flash", flash, measured.flash, int(FLASH_TOLERANCE * measured.flash)),
    ]
    return tuple(
        MemoryLine(
            backend=backend, what=what, predicted=predicted, measured=found, tolerance=tolerance
        )
        for what, predicted, found, tolerance in rows
    )
