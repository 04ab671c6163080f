"""Kernels as several tests want them."""

from __future__ import annotations

import functools

import pytest

from nas_engine.kernels import Kernels, KernelsError, built_library


@functools.cache
def _built(threads: int) -> Kernels | str:
    try:
        return Kernels(built_library(), threads)
    except KernelsError as error:
        return str(error)


def kernels(threads: int = 1) -> Kernels:
    """Return the kernels of this machine; skips the test where they cannot be built."""
    found = _built(threads)
    return found if isinstance(found, Kernels) else pytest.skip(found)
