"""Cost of a network by a function of the user's own, such as energy."""

from __future__ import annotations

from typing import Any

import numpy as np

from nas_engine.errors import FileFormatError
from nas_engine.layers import Floats, LayerTable
from nas_engine.parts import COST
from nas_engine.population_functions import check_function, function_digest, function_values

EXPECTED = "0 or more, in a unit of yours"
"""Meaning of its numbers, for messages."""


def check_cost(given: str) -> str:
    """Return a cost as it is kept: a name, or an absolute path, ``:`` and a function's name.

    Raises:
        InputError: Neither; or a file without such a function, or one that fails.
    """
    return check_function(COST, given)


def cost_digest(cost: str) -> str:
    """Return what tells apart two costs of one name: the digest of the file, if it is one.

    Raises:
        UnreadableError: The file cannot be read.
    """
    return function_digest(COST, cost)


def cost_values(cost: str, table: LayerTable, w_bits: Any, a_bits: Any) -> Floats:
    """Return the cost of each network, ``(n,)``.

    Raises:
        FileFormatError: A function that fails, or does not return ``n`` numbers from 0 on.
    """
    values = function_values(COST, cost, table, w_bits, a_bits, expected=EXPECTED)
    if (values < 0).any():
        place, _, name = cost.rpartition(":")
        least = np.min(values)
        problem = f"{name}() returns {least:g}; expected one finite number per network, (n,), "
        raise FileFormatError(place or cost, problem + EXPECTED)
    return values
