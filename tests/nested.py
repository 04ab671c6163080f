"""Nested data, as files hold them, to be spoiled by tests."""

from __future__ import annotations

from typing import Any


def change(data: Any, where: tuple[Any, ...], value: object) -> Any:
    """Set (or, with ``...``, delete) the value at a place of nested data."""
    part = data
    for key in where[:-1]:
        part = part[key]
    if value is ...:
        del part[where[-1]]
    else:
        part[where[-1]] = value
    return data
