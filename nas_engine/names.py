"""Names for options, without their tables, which are too heavy to import for ``--help``.

Tests hold them equal to the tables.
"""

from __future__ import annotations

from typing import Literal, get_args

METHODS = (
    "uniform",
    "random",
    "qbr",
    "greedy",
    "diagonal",
    "hawq",
    "clado",
    "gauss-newton",
    "entropy-window",
)
"""Methods that choose bits: ``ALLOCATORS``."""

ALL = "all"
"""Every method that needs no measured pairs."""

METHODS_AND_ALL = (*METHODS, ALL)
"""Values of ``--method`` of a whole run."""

FORMATS = ("c", "tflite", "onnx")
"""Formats next to the manifest: ``EXPORTERS``."""

BACKENDS = (
    "host-c",
    "cortex-m7",
    "cortex-m4",
    "cortex-m33",
    "cortex-m0",
    "tflite",
    "tflite-micro",
    "tflite-xnnpack",
    "tflite-int4",
    "onnx",
    "onnx-reference",
    "onnx-qcdq",
)
"""Back-ends of a verification."""

MEMORY_MODELS = ("arena", "paper")
"""How SRAM, Flash and BitOps are counted: ``MEMORY_MODELS`` of ``nas_engine.costs.memory``."""

Schedule = Literal["auto", "layers", "rows"]
"""Order in which a network runs, block by block: by layers, by rows wherever a block can, or by
whichever needs less SRAM; see ``nas_engine.costs.schedule``."""

SCHEDULES: tuple[Schedule, ...] = get_args(Schedule)
"""Values of ``--schedule``."""

DEFAULT_SCHEDULE: Schedule = "layers"
"""Schedule of a search that names none."""

ImageInput = Literal["whole", "rows"]
"""How the image comes: as a tensor in the arena, or row by row from the caller, in order."""

IMAGE_INPUTS: tuple[ImageInput, ...] = get_args(ImageInput)
"""Values of ``--input``."""
