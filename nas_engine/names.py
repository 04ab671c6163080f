"""Names of what options choose among, without the tables, too heavy to import for ``--help``.

Tests hold them equal to the tables.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, get_args


class Name(StrEnum):
    """Word that is written and shown as its text, so that digests and messages do not change."""

    def __repr__(self) -> str:
        """Return the text in quotes."""
        return repr(self.value)


class Method(Name):
    """Methods that choose bits, rows of ``ALLOCATORS``."""

    UNIFORM = "uniform"
    RANDOM = "random"
    QBR = "qbr"
    GREEDY = "greedy"
    DIAGONAL = "diagonal"
    HAWQ = "hawq"
    CLADO = "clado"
    GAUSS_NEWTON = "gauss-newton"
    ENTROPY_WINDOW = "entropy-window"


ALL = "all"
"""Every method that needs no measured pairs."""

METHODS_AND_ALL = (*Method, ALL)
"""Values of ``--method`` of a whole run."""


class Format(Name):
    """Formats next to the manifest, rows of ``EXPORTERS``."""

    C = "c"
    TFLITE = "tflite"
    ONNX = "onnx"


class BackEnd(Name):
    """Back-ends of a verification, in the order in which they run."""

    HOST_C = "host-c"
    CORTEX_M7 = "cortex-m7"
    CORTEX_M4 = "cortex-m4"
    CORTEX_M33 = "cortex-m33"
    CORTEX_M0 = "cortex-m0"
    TFLITE = "tflite"
    TFLITE_MICRO = "tflite-micro"
    TFLITE_XNNPACK = "tflite-xnnpack"
    TFLITE_INT4 = "tflite-int4"
    ONNX = "onnx"
    ONNX_REFERENCE = "onnx-reference"
    ONNX_QCDQ = "onnx-qcdq"


class Memory(Name):
    """How SRAM, Flash and BitOps are counted, rows of ``MEMORY_MODELS``."""

    ARENA = "arena"
    PAPER = "paper"


Schedule = Literal["auto", "layers", "rows"]
"""Order in which a network runs, block by block: by layers, by rows wherever a block can, or by
whichever needs less SRAM; see ``nas_engine.costs.schedule``."""

SCHEDULES: tuple[Schedule, ...] = get_args(Schedule)
"""Values of ``--schedule``."""

DEFAULT_SCHEDULE: Schedule = "auto"
"""Schedule of a search that names none."""

ImageInput = Literal["whole", "rows"]
"""How the image comes: as a tensor in the arena, or row by row from the caller, in order."""

IMAGE_INPUTS: tuple[ImageInput, ...] = get_args(ImageInput)
"""Values of ``--input``."""

BEFORE_ROWS: dict[str, str] = {"schedule": "layers", "input": "whole"}
"""Values of options that files of version 0.1.0 lack."""
