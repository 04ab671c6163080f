"""The back-ends. A new one is a file and a row here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from device_profiles import DeviceProfile
from nas_engine.names import BackEnd
from nas_engine.parts import BACK_END, adopt
from nas_engine.verification.backend import Backend
from nas_engine.verification.claims import stand_in
from nas_engine.verification.cortex_m import CortexM
from nas_engine.verification.host_c import HostC
from nas_engine.verification.onnx import OnnxReference, OnnxRuntimeInteger, OnnxRuntimeQcdq
from nas_engine.verification.tflite import LiteRT, LiteRTDefault, TfliteInt4, TfliteMicro

CORES = (
    BackEnd.CORTEX_M7,
    BackEnd.CORTEX_M4,
    BackEnd.CORTEX_M33,
    BackEnd.CORTEX_M0,
)
"""Emulated cores: three with DSP instructions, for which the runtime has fast paths, and one on
which the portable C runs."""

FEW_CORES, FEW_IMAGES = (BackEnd.CORTEX_M33, BackEnd.CORTEX_M0), 2
"""Cores that get this many images unless they represent the device's own core (chosen here): a
Cortex-M0 takes eight times as long."""

SLOW_IMAGES = 1
"""Images for the reference evaluator of the onnx package, which takes half a minute for each
(chosen here)."""


FOREIGN: dict[str, Any] = {}
"""Back-ends of users; beside what all have, ``file`` is the file of the export that they run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One back-end with what it takes."""

    name: str
    """Name on the command line."""
    backend: Backend
    """The back-end."""
    file: str
    """File of the export without which it has nothing to run."""
    images: int
    """Images at most."""
    core: str | None = None
    """Emulated core, whose memory is measured."""
    by_default: bool = True
    """True if the back-end runs without being named."""


def foreign_row(given: str, images: int) -> Row:
    """Return the row of a back-end of the user's own.

    Args:
        given: ``FILE.py:NAME``, ``module:NAME``, or the name that a package registers.
        images: Images for back-ends of this machine.

    Raises:
        UnknownNameError: Neither a program nor registered.
        InputError: No back-end, or one that cannot be loaded.
    """
    backend = FOREIGN[adopt(BACK_END, given, FOREIGN)]
    return Row(name=backend.name, backend=backend, file=backend.file, images=images)


def back_ends(device: DeviceProfile, images: int, emulated_images: int) -> tuple[Row, ...]:
    """Return every back-end that ships, in the order in which they run.

    Args:
        device: Its SRAM and Flash bound the emulated memory, and its core gets all
            ``emulated_images``.
        images: Images for back-ends of this machine.
        emulated_images: Images for emulated cores.
    """
    slow = min(images, SLOW_IMAGES)
    own = stand_in(device.core)
    counts = {
        core: min(emulated_images, FEW_IMAGES)
        if core in FEW_CORES and core != own
        else emulated_images
        for core in CORES
    }
    emulated = tuple(
        Row(
            name=core,
            backend=CortexM(
                core=core,
                sram_bytes=device.sram_bytes,
                flash_bytes=device.flash_bytes,
                images_limit=count,
            ),
            file="c/main.c",
            images=count,
            core=core,
        )
        for core, count in counts.items()
    )
    return (
        Row(
            name=BackEnd.HOST_C,
            backend=HostC(sanitized_images=images),
            file="c/main.c",
            images=images,
        ),
        *emulated,
        Row(name=BackEnd.TFLITE, backend=LiteRT(), file="model.tflite", images=images),
        Row(name=BackEnd.TFLITE_MICRO, backend=TfliteMicro(), file="model.tflite", images=images),
        Row(
            name=BackEnd.TFLITE_XNNPACK, backend=LiteRTDefault(), file="model.tflite", images=images
        ),
        Row(
            name=BackEnd.TFLITE_INT4, backend=TfliteInt4(), file="model_int4.tflite", images=images
        ),
        Row(name=BackEnd.ONNX, backend=OnnxRuntimeInteger(), file="model_int.onnx", images=images),
        Row(
            name=BackEnd.ONNX_REFERENCE,
            backend=OnnxReference(),
            file="model_int.onnx",
            images=slow,
            by_default=False,
        ),
        Row(
            name=BackEnd.ONNX_QCDQ, backend=OnnxRuntimeQcdq(), file="model_qcdq.onnx", images=images
        ),
    )
