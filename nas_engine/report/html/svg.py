"""Pictures of matplotlib as elements of a page: they follow its colours and tell values on hover.

Colours of ``nas_engine.report.plots.style`` become variables of the style sheet, names that a
picture refers to get the name of the picture in front, and letters are kept once for the page.
"""

from __future__ import annotations

import html
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from nas_engine.errors import NasEngineError
from nas_engine.escaping import html_text

GRAPHICS = {"#222222": "ink", "#666666": "soft", "#dddddd": "line", "#eeeeee": "line"} | {
    "#f2f2f2": "free",
    "#ffffff": "card",
    "#0072b2": "blue",
    "#e69f00": "orange",
    "#d55e00": "vermillion",
    "#009e73": "green",
    "#56b4e9": "sky",
    "#cc79a7": "purple",
}
"""Variable of the style sheet for each colour of lines and areas."""

WORDS = {
    "#222222": "ink",
    "#666666": "soft",
    "#0072b2": "blue-text",
    "#e69f00": "orange-text",
    "#d55e00": "vermillion-text",
    "#009e73": "green-text",
    "#cc79a7": "purple-text",
}
"""Variable for each colour of words; white and black stand on coloured cells and stay."""

_ELEMENTS = {"svg", "g", "path", "defs", "use", "clipPath", "rect", "title", "image", "pattern"}
_POINT = re.compile(r' (width|height)="([0-9.]+)pt"')
_COLOUR = re.compile(r"(fill|stroke): (#[0-9a-f]{6})")
_GLYPH = re.compile(r'<path id="(DejaVu[A-Za-z]*-[^"]*)" ([^>]*)/>')


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """A picture that can stand in a page."""

    width: int
    """Pixels of 1/96 inch."""
    height: int
    """Pixels likewise."""
    content: str
    """Everything within the ``svg`` element."""
    glyphs: dict[str, str]
    """Letters by name, which the page has to define."""
    view: str
    """The ``viewBox``."""
    values: tuple[str, ...]
    """Values of its marks, in their order."""


def drawing_of(svg: bytes, key: str) -> Drawing:
    """Return the drawing of a picture of matplotlib.

    Args:
        svg: The picture.
        key: Prefix of its names, unique in the page.

    Raises:
        NasEngineError: Not the SVG of matplotlib.
    """
    text = svg.decode("utf-8", "replace")
    for pattern, instead in (
        (r"(?s)^.*?(?=<svg\b)", ""),
        (r"(?s)<metadata>.*?</metadata>", ""),
        (r"(?s)<!--.*?-->", ""),
        (r"(?s)<style\b.*?</style>", ""),
        (r"(?s)^(<svg\b[^>]*>)\s*<title>[^<]*</title>", r"\1"),
        (r"\s*\n\s*", " "),
        (r"<defs> *</defs>", ""),
        (r"> +<", "><"),
    ):
        text = re.sub(pattern, instead, text)
    head, _, body = text.strip().partition(">")
    sizes = {name: float(value) * 96 / 72 for name, value in _POINT.findall(head)}
    view = re.search(r'viewBox="([0-9. ]+)"', head)
    if sizes.keys() != {"width", "height"} or view is None or not body.endswith("</svg>"):
        raise NasEngineError("internal error: a picture without width and height in points")
    body = body.removesuffix("</svg>")
    unknown = {name for name in re.findall(r"<([^\s/>]+)", body) if name not in _ELEMENTS}
    if unknown or re.search(r"<[^>]*\son[a-z]+=", body):
        raise NasEngineError(f"internal error: a picture with {', '.join(sorted(unknown))}")
    glyphs = dict(_GLYPH.findall(body))
    body = _GLYPH.sub("", body).replace("<defs></defs>", "")
    body = re.sub(r"<(path|use|g|rect)\b([^>]*)>", _in_colours, body)
    return Drawing(
        width=round(sizes["width"]),
        height=round(sizes["height"]),
        content=_renamed(body, key, glyphs.keys()),
        glyphs=glyphs,
        view=view[1],
        values=tuple(map(html.unescape, re.findall(r"<title>([^<]*)</title>", body))),
    )


def svg_element(drawing: Drawing, text: str) -> str:
    """Return the element of a drawing, with a description for screen readers."""
    return (
        f'<svg class="plot" role="img" aria-label="{html_text(text)}" viewBox="{drawing.view}" '
        f'style="--natural:{drawing.width}px">{drawing.content}</svg>'
    )


def values_list(values: Iterable[str]) -> str:
    """Return values that show on hover as a list that opens by keyboard; nothing without values."""
    items = "".join(f"<li>{html_text(value)}</li>" for value in dict.fromkeys(values))
    if not items:
        return ""
    return (
        '<details class="values">\n<summary>Values of this figure</summary>\n'
        f"<ul>{items}</ul>\n</details>\n"
    )


def glyph_sheet(glyphs: dict[str, str]) -> str:
    """Return the invisible element that defines the letters of all drawings of a page."""
    paths = "".join(f'<path id="{name}" {rest}/>' for name, rest in sorted(glyphs.items()))
    return f'<svg class="glyphs" aria-hidden="true"><defs>{paths}</defs></svg>' if glyphs else ""


def _in_colours(match: re.Match[str]) -> str:
    """Return an element with variables for the colours of the pictures; a group holds words."""
    table = WORDS if match[1] == "g" else GRAPHICS

    def named(colour: re.Match[str]) -> str:
        name = table.get(colour[2])
        return f"{colour[1]}: var(--{name})" if name else colour[0]

    return f"<{match[1]}{_COLOUR.sub(named, match[2])}>"


def _renamed(body: str, key: str, glyphs: Collection[str]) -> str:
    """Return the drawing with names for what it refers to alone, each behind the key."""
    used = {name for name in re.findall(r'(?:url\(#|href="#)([^")]+)', body) if name not in glyphs}
    body = re.sub(
        r' id="([^"]*)"', lambda found: f' id="{key}-{found[1]}"' if found[1] in used else "", body
    )
    return re.sub(
        r'(url\(#|href="#)([^")]+)',
        lambda found: found[1] + (f"{key}-{found[2]}" if found[2] in used else found[2]),
        body,
    ).replace("xlink:href", "href")
