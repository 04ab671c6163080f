"""Values that a picture tells when the pointer rests on a mark: titles in its SVG."""

from __future__ import annotations

import re
from collections.abc import Sequence

from matplotlib.artist import Artist

from nas_engine.escaping import terminal_line

_TIP, _BETWEEN = "tip ", "\N{BROKEN BAR}"
"""Start of the name of a group that has values to tell, and what stands between them."""


def tip(artist: Artist, *values: str) -> None:
    """Let an artist tell a value, or each of its marks one, in their order."""
    texts = [terminal_line(value).replace(_BETWEEN, "|") for value in values]
    artist.set_gid(_TIP + _BETWEEN.join(texts))


def with_tips(svg: str) -> str:
    """Return a picture whose groups that have a value to tell have a title instead of a name.

    Several values go to the marks that follow, one each.
    """
    parts = re.split(rf'<g id="{_TIP}([^"]*)">', svg)
    found = parts[0]
    for values, rest in zip(parts[1::2], parts[2::2], strict=True):
        found += "<g>" + _titled(values.split(_BETWEEN), rest)
    return found


def _titled(values: Sequence[str], rest: str) -> str:
    if len(values) == 1:
        return f"<title>{values[0]}</title>{rest}"
    left = iter(values)
    return re.sub(
        r"<use ([^>]*)/>",
        lambda mark: f"<use {mark[1]}><title>{next(left)}</title></use>",
        rest,
        count=len(values),
    )
