"""Interface of the back-ends that run an exported network, and of their results.

A back-end is one file and one row of ``nas_engine.verification.table``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from nas_engine.errors import NasEngineError, PathError, one_line
from nas_engine.integer.model import IntegerModel
from nas_engine.integer.reference import Images
from nas_engine.reading import LARGE_FILE, UnreadableError, read_regular


class BackendError(NasEngineError):
    """Failure of a back-end to run an exported network.

    Causes are a compiler's error, a fault of the emulated core or a budget exceeded.

    Attributes:
        backend: Its name.
        problem: What happened, and what to do.
    """

    exit_code = 1

    def __init__(self, backend: str, problem: str) -> None:
        self.backend = backend
        self.problem = problem
        super().__init__(backend, problem)

    def __str__(self) -> str:
        return one_line(f"{self.backend}: {self.problem}")


def read_exported(backend: str, path: Path) -> bytes:
    """Return the content of a file of an export.

    Args:
        backend: Who reads it, for messages.
        path: The file.

    Raises:
        BackendError: It is missing, or no regular file.
        UnreadableError: The operating system refuses.
    """
    try:
        return read_regular(path, LARGE_FILE, "export the network again")
    except PathError as error:
        if isinstance(error, UnreadableError) and not error.missing:
            raise
        raise BackendError(backend, str(error)) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """Memory of a linked firmware image, in bytes."""

    packed: int
    """Weights, constants and layer table."""
    code: int
    """Everything else in Flash: runtime, start-up, vector table, initial values of data."""
    arena: int
    """The static arena."""
    static_ram: int
    """Initialised and zeroed data beside arena and stack."""
    stack: int
    """Deepest stack use measured by painting."""

    @property
    def flash(self) -> int:
        """All of Flash."""
        return self.packed + self.code

    @property
    def ram(self) -> int:
        """All of RAM."""
        return self.arena + self.static_ram + self.stack


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BackendRun:
    """Results computed by a back-end."""

    logits: npt.NDArray[np.int8]
    """Logits as int8, ``[N, classes]``."""
    seconds: float
    """Wall time of the run, without compiling or loading."""
    version: str
    """Program or package that ran, and its version, on one line."""
    checksums: Mapping[str, int] = field(default_factory=dict)
    """CRC-32 of the int8 bytes of tensors of the first image, ``[height, width, channels]`` order,
    as far as the back-end shows them."""
    footprint: Footprint | None = None
    """Memory of the image, if it is a firmware's."""
    instructions: Mapping[str, int] = field(default_factory=dict)
    """Instructions per step for the first image, if they were counted."""


class Backend(Protocol):
    """One way to run an export."""

    @property
    def name(self) -> str:
        """Name in the table and on the command line."""

    @property
    def exact(self) -> bool:
        """True if every value must equal the integer reference.

        Otherwise differences are reported, not refused.
        """

    def missing(self) -> str | None:
        """Return a line that says what is missing and how to install it, or ``None``.

        ``None`` means that the back-end can run.
        """

    def run(self, export: Path, model: IntegerModel, images: Images, work: Path) -> BackendRun:
        """Run images through an export.

        Args:
            export: The export directory.
            model: The network that it holds, for shapes and names.
            images: Images as uint8, ``[N, height, width, channels]``.
            work: An empty folder for what is built.

        Raises:
            BackendError: It cannot be built or run.
        """
