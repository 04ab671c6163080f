"""HTML of a cover: it fits any width, because words are outside of what is stretched."""

from __future__ import annotations

from collections.abc import Iterator

from nas_engine.escaping import html_text
from nas_engine.report.html.document import Area, Cover, Lane
from nas_engine.report.html.svg import values_list

_BITS = range(2, 9)
_FEW = ' class="few"'


def cover_figure(cover: Cover, key: str) -> str:
    """Return the figure of a cover; ``key`` names its caption."""
    count = len(cover.lanes[0].values)
    columns = f"grid-template-columns:repeat({count},minmax(0,1fr))"
    bands = "".join(
        f"<span{_FEW if band.last - band.first < 5 else ''} "
        f'style="grid-column:{band.first + 1}/{band.last + 2}">{html_text(band.name)}</span>'
        for band in cover.bands
    )
    lanes = "".join(
        f'<span class="lane">{html_text(lane.name)}</span>'
        f'<div class="strip" style="{columns}">{_cells(lane)}</div>'
        for lane in cover.lanes
    )
    areas = "".join(_rectangle(area, cover.height) for area in cover.areas)
    peak = f'<rect class="peak" x="{cover.marked}" y="0" width="1" height="100" fill="none"></rect>'
    keys = "".join(f'<span class="bit b{bits}">{bits}</span>' for bits in _BITS)
    kinds = " ".join(
        f'<span><span class="key k{place}"></span>{html_text(name)}</span>'
        for place, name in enumerate(cover.kinds)
    )
    return (
        f'<figure class="cover" role="group" aria-labelledby="{key}">\n'
        f'<div class="lanes" role="img" aria-label="{html_text(cover.text)}">'
        f'<span class="lane"></span><div class="bands" style="{columns}">{bands}</div>{lanes}'
        f'<span class="lane">{html_text(cover.name)}<small>{html_text(cover.top)}</small></span>'
        f'<svg class="plan" viewBox="0 0 {count} 100" preserveAspectRatio="none">{areas}{peak}'
        "</svg></div>\n"
        f'<p class="legend"><span>bits {keys}</span> {kinds} '
        '<span><span class="key peak"></span>peak</span></p>\n'
        f'<figcaption id="{key}">{html_text(cover.caption)}</figcaption>\n'
        f"{values_list(_told(cover))}</figure>"
    )


def _told(cover: Cover) -> Iterator[str]:
    for lane in cover.lanes:
        for value, text in zip(lane.values, lane.texts, strict=True):
            if value is not None:
                yield text
    for area in cover.areas:
        yield area.text


def _cells(lane: Lane) -> str:
    return "".join(
        "<span></span>"
        if value is None
        else f'<span class="bit b{value}" title="{html_text(text)}">{value}</span>'
        for value, text in zip(lane.values, lane.texts, strict=True)
    )


def _rectangle(area: Area, height: float) -> str:
    """Return a rectangle in percent of the height, from the bottom."""
    top, size = 100 * (1 - area.high / height), 100 * (area.high - area.low) / height
    return (
        f'<rect class="k{area.kind}" x="{area.first}" y="{top:.3f}" '
        f'width="{area.last - area.first + 1}" height="{size:.3f}">'
        f"<title>{html_text(area.text)}</title></rect>"
    )
