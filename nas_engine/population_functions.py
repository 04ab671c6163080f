"""Functions of the user's own that take whole populations: scores and costs.

    def score(table, w_bits, a_bits):
        return ...  # one number per network, shape (n,)

``table`` is a ``LayerTable`` of ``n`` networks, ``w_bits`` and ``a_bits`` are the widths of every
layer, ``(layers, n)``, 0 where a network has no layer.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from nas_engine.errors import FileFormatError, InputError, shortened
from nas_engine.layers import Floats, LayerTable
from nas_engine.parts import FAILURES, Kind, digest, load, registered, told

Function = Callable[[LayerTable, Any, Any], Any]
"""Function that takes a table and the widths of weights and inputs, and returns ``(n,)``."""


def check_function(kind: Kind, given: str, *, names: Sequence[str] = ()) -> str:
    """Return a function as it is kept: a name, or an absolute path, ``:`` and a function's name.

    Args:
        kind: Kind of the part.
        given: What the user gave.
        names: Other names that the option takes, for the message.

    Raises:
        InputError: No function; or a file without it, or one that fails.
    """
    place, colon, function = given.rpartition(":")
    if not colon and given not in (known := registered(kind)):
        example = f"my_{kind.noun}.py:{kind.noun}"
        others = "".join(f"{name}, " for name in (*names, *known))
        raise InputError(
            f"{kind.option} is '{shortened(given)}'; expected {others}"
            f"{'or ' * bool(others)}FILE.py:FUNCTION such as {example}"
        )
    kept = f"{os.path.abspath(place)}:{function}" if place.endswith(".py") else given
    _function.cache_clear()  # a search runs the text that is there when it is asked for
    _function(kind, kept)
    return kept


def function_digest(kind: Kind, function: str) -> str:
    """Return what tells apart two functions of one name: the digest of the file, if it is one.

    Raises:
        UnreadableError: The file cannot be read.
    """
    return digest(function, _function(kind, function))


def function_values(
    kind: Kind, function: str, table: LayerTable, w_bits: Any, a_bits: Any, *, expected: str
) -> Floats:
    """Return the function's value of each network, ``(n,)``.

    Args:
        kind: Kind of the part.
        function: As ``check_function`` returned it.
        table: The networks.
        w_bits: Widths of weights, ``(layers, n)``.
        a_bits: Widths of inputs, ``(layers, n)``.
        expected: What a number means, for messages.

    Raises:
        FileFormatError: A function that fails, or does not return ``n`` finite numbers.
    """
    place, _, name = function.rpartition(":")

    def failed(problem: str) -> FileFormatError:
        text = f"{name}() {problem}; expected one finite number per network, (n,), {expected}"
        return FileFormatError(place or function, text)

    try:
        values = np.asarray(_function(kind, function)(table, w_bits, a_bits), np.float64)
    except (MemoryError, OSError):
        raise
    except FAILURES as error:
        raise failed(f"fails with {told(error)}") from error
    if values.shape != (table.n,):
        raise failed(f"returns shape {values.shape} for {table.n} networks")
    if not np.isfinite(values).all():
        odd = values[~np.isfinite(values)][0]
        raise failed(f"returns {odd} for {(~np.isfinite(values)).sum()} networks")
    return values


@functools.cache
def _function(kind: Kind, function: str) -> Function:
    found: Function = load(kind, function)
    return found
