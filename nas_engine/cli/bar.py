"""The bar that every long command shows on a terminal."""

from __future__ import annotations

import os
import sys
from typing import Any

WIDTH = 100
"""Columns of a bar, fewer in a narrow terminal."""


def open_bar(look: str, total: int, *, done: int = 0, text: str = "") -> Any:
    """Return a bar on standard error, which must be a terminal.

    Args:
        look: What it shows, in the terms of ``tqdm``.
        total: Units of all.
        done: Units that are done already.
        text: What is done.
    """
    from tqdm import tqdm

    columns = (
        os.get_terminal_size(sys.stderr.fileno()).columns or WIDTH
    )  # 0 where a terminal does not know
    return tqdm(
        total=total,
        initial=done,
        desc=text,
        bar_format=look,
        ncols=min(WIDTH, columns),
        nrows=20,
        mininterval=0.2,
    )
