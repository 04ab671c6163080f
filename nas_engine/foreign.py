"""Models of other programs, which are refused by the ending of their name."""

from __future__ import annotations

import os

from nas_engine.errors import InputError, PathError

ENDINGS = (".onnx", ".tflite", ".h5", ".keras", ".pb", ".pt", ".pth", ".th", ".safetensors")
"""Endings of models that other programs wrote."""

NOT_TAKEN = (
    "models of other programs are not taken: nas-search trains networks of its own blocks; give a "
    "run directory such as runs/NAME, or write the structure as an architecture file "
    "(docs/how_to/own_network.md)"
)
"""Answer to whoever brings one."""


def refuse_foreign(path: str | os.PathLike[str]) -> None:
    """Refuse a file that ends like a model; a folder may be called so.

    Raises:
        PathError: Names what is taken.
        InputError: No path at all.
    """
    if not isinstance(path, str | os.PathLike):
        raise InputError(f"got {path!r} of type {type(path).__name__}; expected the path of a file")
    if os.fspath(path).lower().endswith(ENDINGS) and not os.path.isdir(path):
        raise PathError(path, NOT_TAKEN)
