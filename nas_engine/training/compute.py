"""Where torch computes: device and threads."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from nas_engine.errors import InputError
from nas_engine.events import SILENT, Note, Sink, Started
from nas_engine.heap import keep_freed_blocks
from nas_engine.kernels.build import KernelsError, built_library
from nas_engine.kernels.functions import Kernels


def prepare_compute(accelerator: str, threads: int | None = None) -> str:
    """Set torch up and return the name of its device.

    Args:
        accelerator: ``auto`` (CUDA if there), ``cpu`` or ``cuda``.
        threads: CPU threads; ``None`` for torch's own choice, one per core. Results differ in the
            last bits between numbers of threads.

    Raises:
        InputError: ``cuda`` without a CUDA device.
    """
    keep_freed_blocks()
    if threads is not None:
        torch.set_num_threads(threads)
    if accelerator == "cuda" and not torch.cuda.is_available():
        raise InputError(
            "--accelerator: torch finds no CUDA device here; expected one; type --accelerator cpu"
        )
    if accelerator == "cpu" or not torch.cuda.is_available():
        return "cpu"
    torch.backends.cudnn.benchmark = False
    return "cuda"


@contextlib.contextmanager
def threads_of_torch(count: int) -> Iterator[None]:
    """Let torch use so many threads for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def prepare_kernels(choice: str, device: str, watch: Sink = SILENT) -> Kernels | None:
    """Return the kernels in C that a training goes through; ``None`` for torch's own way.

    Args:
        choice: ``auto`` (in C where the CPU trains and they can be built) or ``torch``.
        device: A torch device.
        watch: Sink of the start of a build, and of a note where there are no kernels.
    """
    if choice == "torch" or device != "cpu":
        return None
    try:
        library = built_library(lambda text: watch(Started(text=text)))
        return Kernels(library, torch.get_num_threads())
    except (KernelsError, OSError) as error:
        watch(Note(text=f"training goes torch's own way, at about half the speed: {error}"))
        return None
