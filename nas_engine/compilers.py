"""Compilers of C for this machine: the system's, or the one in pip's ``ziglang``."""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import sys

from nas_engine.errors import InputError, shortened

ZIG = (sys.executable, "-m", "ziglang", "cc")
"""Command of the compiler in ``ziglang``."""


def find_compiler() -> tuple[str, ...]:
    """Return the command of a C compiler; empty if there is none.

    The candidates are ``$CC``, cc, gcc or clang of the system, and the one in ziglang.

    Raises:
        InputError: ``$CC`` cannot be taken apart into words.
    """
    given = os.environ.get("CC", "")
    try:
        if chosen := shlex.split(given, posix=os.name != "nt"):
            return tuple(chosen)
    except ValueError as error:
        problem = (
            f"CC is {shortened(repr(given))}, which cannot be taken apart into words ({error})"
        )
        raise InputError(f"{problem}; set it to a command such as gcc, or unset it") from error
    for name in ("cc", "gcc", "clang"):
        if path := shutil.which(name):
            return (path,)
    return ZIG if importlib.util.find_spec("ziglang") else ()
