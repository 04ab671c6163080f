"""Where torch computes: device and threads."""

from __future__ import annotations

import torch

from nas_engine.errors import InputError
from nas_engine.heap import keep_freed_blocks


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
