"""HTML of a page as one file: style and pictures inside, no script, nothing fetched, text escaped.

A policy in the head forbids the browser every request and every script, so that this holds even if
a text slipped through. Pictures are SVG elements in the colours of the page; their inner names have
the name of the picture in front, and screen readers get one text for each.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files

from nas_engine.errors import NasEngineError
from nas_engine.escaping import html_text
from nas_engine.report.html.cover import cover_figure
from nas_engine.report.html.document import (
    Bar,
    Bars,
    Block,
    Cell,
    Commands,
    Cover,
    Facts,
    Figure,
    Figures,
    Fold,
    Gallery,
    Heading,
    Items,
    Matrix,
    Page,
    Picture,
    Section,
    Sentence,
    Table,
    Thumbnail,
    Tone,
)
from nas_engine.report.html.svg import Drawing, drawing_of, glyph_sheet, svg_element, values_list

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def render_page(page: Page, pictures: Mapping[str, bytes]) -> str:
    """Return the text of the HTML file.

    Args:
        page: Content.
        pictures: SVG of each of its pictures, by name.

    Raises:
        NasEngineError: A picture is missing, or two parts have the same key.
    """
    keys = [section.key for section in page.sections]
    if len(set(keys)) != len(keys) or not all(re.fullmatch(r"[a-z][a-z-]*", key) for key in keys):
        raise NasEngineError(
            f"internal error: parts of the page have the keys {keys}; expected each once, letters "
            "and hyphens"
        )
    missing = sorted(set(page.pictures()) - pictures.keys())
    if missing:
        raise NasEngineError(f"internal error: the page has no drawing of {', '.join(missing)}")
    links = "\n".join(
        f'<li><a href="#{section.key}">{html_text(section.title)}</a></li>'
        for section in page.sections[1:]
    )
    drawings = {name: drawing_of(pictures[name], name) for name in page.pictures()}
    glyphs = {name: rest for one in drawings.values() for name, rest in one.glyphs.items()}
    first, *others = (
        _section(section, drawings, place) for place, section in enumerate(page.sections)
    )
    parts = "\n".join(others)
    return _document(
        page.title,
        f"""{glyph_sheet(glyphs)}
<header>
<p class="kind">nas-search report</p>
<h1>{html_text(page.title)}</h1>
<p class="subtitle">{html_text(page.subtitle)}</p>
</header>
<main>
{first}
<div class="parts">
<nav aria-label="Parts of this page">
<ul>
{links}
</ul>
</nav>
<div>
{parts}
</div>
</div>
</main>
<footer>
<p>{html_text(page.footer)}</p>
</footer>""",
    )


def render_part(section: Section) -> str:
    """Return the text of an HTML file with one section, which has no pictures, and nothing else."""
    return _document(section.title, f"<main>\n{_section(section, {}, 0)}\n</main>")


def _document(title: str, body: str) -> str:
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{html_text(title)}</title>
<link rel="icon" href="data:,">
<style>
{_style()}</style>
</head>
<body>
{body}
</body>
</html>
"""


@cache
def _style() -> str:
    return files(__package__).joinpath("style.css").read_text(encoding="utf-8")


def _section(section: Section, drawings: Mapping[str, Drawing], place: int) -> str:
    """Return a section; all but the first can be folded, and are opened by a link to them."""
    heading, label = f"{section.key}-title", html_text(section.title)
    blocks = _blocks(section.blocks, section.key, drawings)
    if not place:
        return (
            f'<section id="{section.key}" class="first" aria-labelledby="{heading}">\n'
            f'<h2 id="{heading}" class="unseen">{label}</h2>\n{blocks}\n</section>'
        )
    state = "" if section.folded else " open"
    return (
        f'<section aria-labelledby="{heading}">\n<details{state}>\n<summary><h2 '
        f'id="{heading}">{label}</h2></summary>\n<div class="part" id="{section.key}">\n{blocks}\n'
        "</div>\n</details>\n</section>"
    )


def _blocks(blocks: Sequence[Block], key: str, drawings: Mapping[str, Drawing]) -> str:
    return "\n".join(_block(block, f"{key}-{i}", drawings) for i, block in enumerate(blocks, 1))


def _block(block: Block, key: str, drawings: Mapping[str, Drawing]) -> str:
    match block:
        case Sentence():
            return f'<p class="{block.tone}">{html_text(block.text)}</p>'
        case Heading():
            return f"<h3>{html_text(block.text)}</h3>"
        case Table():
            return _table(block, key)
        case Figures():
            return (
                '<ul class="figures">\n'
                + "\n".join(_figure(item) for item in block.items)
                + "\n</ul>"
            )
        case Bars():
            return (
                '<div class="bars">\n'
                + "\n".join(_bar(item) for item in block.items)
                + "\n"
                + _LEGEND
                + "\n</div>"
            )
        case Picture():
            return _picture(block, key, drawings[block.name])
        case Cover():
            return cover_figure(block, key)
        case Matrix():
            return _matrix(block, key)
        case Gallery():
            return _gallery(block, key)
        case Fold():
            return (
                f"<details>\n<summary>{html_text(block.title)}</summary>\n"
                f"{_blocks(block.blocks, key, drawings)}\n</details>"
            )
        case Facts():
            rows = "\n".join(
                f"<div><dt>{html_text(name)}</dt><dd>{html_text(value)}</dd></div>"
                for name, value in block.items
            )
            return f'<dl class="facts">\n{rows}\n</dl>'
        case Commands():
            return (
                f"<pre>{''.join(f'<code>{html_text(line)}</code>' for line in block.lines)}</pre>"
            )
        case Items():
            return (
                '<ul class="notes">\n'
                + "\n".join(f"<li>{html_text(line)}</li>" for line in block.lines)
                + "\n</ul>"
            )


_NUMBER, _MARKED = ' class="number"', ' class="marked"'

SHORT = 14
"""Rows of a table that is kept on one page in print (chosen here)."""

LONG = 40
"""Characters of a row's heading from which on headings wrap (chosen here)."""


def _table(table: Table, key: str) -> str:
    """Return a table in a box that scrolls by keyboard too; a row's first field is its heading."""

    def field(i: int, cell: Cell | str, heading: bool) -> str:
        tone = cell.tone if isinstance(cell, Cell) else Tone.PLAIN
        kinds = [
            *(["number"] if i in table.numbers else []),
            *([tone.value] if tone is not Tone.PLAIN else []),
        ]
        style = f' class="{" ".join(kinds)}"' if kinds else ""
        text = html_text(cell.text if isinstance(cell, Cell) else cell)
        return f'<th scope="row"{style}>{text}</th>' if heading else f"<td{style}>{text}</td>"

    numbers = [_NUMBER if i in table.numbers else "" for i in range(len(table.columns))]
    titles = "".join(
        f'<th scope="col"{kind}>{html_text(title)}</th>'
        for kind, title in zip(numbers, table.columns, strict=True)
    )
    rows = "\n".join(
        f"<tr{_MARKED if number in table.marked else ''}>"
        f"{''.join(field(i, cell, i == 0) for i, cell in enumerate(row))}</tr>"
        for number, row in enumerate(table.rows)
    )
    heads = [row[0].text if isinstance(row[0], Cell) else row[0] for row in table.rows]
    kinds = ["short"] if len(heads) <= SHORT else []
    kinds += ["long"] if max(map(len, heads), default=0) >= LONG else []
    style = f' class="{" ".join(kinds)}"' if kinds else ""
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-labelledby="{key}">\n<table{style}>\n'
        "<caption "
        f'id="{key}">{html_text(table.caption)}</caption>\n<thead>\n<tr>{titles}</tr>\n</thead>\n'
        f"<tbody>\n{rows}\n</tbody>\n</table>\n</div>"
    )


def _figure(item: Figure) -> str:
    return (
        f'<li class="{item.tone}"><span class="name">{html_text(item.name)}</span> <span '
        f'class="value">{html_text(item.value)}</span> '
        f'<span class="note">{html_text(item.note)}</span> <span '
        f'class="source">{html_text(item.source)}</span></li>'
    )


_LEGEND = (
    '<p class="legend"><span class="key used"></span>used by the network <span class="key '
    'free"></span>free '
    '<span class="key reserved"></span>reserved for firmware</p>'
)


def _bar(bar: Bar) -> str:
    """Return a bar in parts of a hundred; use beyond the limit fills it and is said in the text."""
    total = bar.limit + bar.reserved
    used = 100 * min(bar.used, bar.limit) / total
    reserved = 100 * bar.reserved / total
    over = " over" if bar.used > bar.limit else ""
    return (
        f'<div class="bar"><p><strong>{html_text(bar.name)}</strong> {html_text(bar.text)}</p>\n'
        f'<div class="track" aria-hidden="true"><span class="used{over}" '
        f'style="width:{used:.3f}%"></span>'
        f'<span class="free" style="width:{100 - used - reserved:.3f}%"></span>'
        f'<span class="reserved" style="width:{reserved:.3f}%"></span></div></div>'
    )


def _picture(picture: Picture, key: str, drawing: Drawing) -> str:
    """Return a figure; it scrolls in its own box where it would get too small to read."""
    return (
        f'<figure>\n<div class="sheet" role="region" tabindex="0" aria-labelledby="{key}">\n'
        f"{svg_element(drawing, picture.text)}\n</div>\n"
        f'<figcaption id="{key}">{html_text(picture.caption)}</figcaption>\n'
        f"{values_list(drawing.values)}</figure>"
    )


def _matrix(matrix: Matrix, key: str) -> str:
    """Return a table whose fields are the darker, the larger their share of the row."""
    titles = "".join(f'<th scope="col">{html_text(name)}</th>' for name in matrix.names)
    rows = []
    for place, (name, counts) in enumerate(zip(matrix.names, matrix.counts, strict=True)):
        total = sum(counts) or 1
        fields = "".join(
            f'<td class="{"right" if place == column else "wrong"}" '
            f'style="--share:{100 * count / total:.1f}%" '
            f'title="{html_text(f"{name}, taken for {other}: {count:,}")}">'
            f"{f'{count:,}' if count else ''}</td>"
            for column, (other, count) in enumerate(zip(matrix.names, counts, strict=True))
        )
        rows.append(f'<tr><th scope="row">{html_text(name)}</th>{fields}</tr>')
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-labelledby="{key}">\n'
        f'<table class="matrix">\n<caption id="{key}">{html_text(matrix.caption)}</caption>\n'
        f"<thead>\n<tr><td></td>{titles}</tr>\n</thead>\n<tbody>\n"
        + "\n".join(rows)
        + "\n</tbody>\n</table>\n</div>"
    )


def _gallery(gallery: Gallery, key: str) -> str:
    items = "\n".join(_thumbnail(one) for one in gallery.items)
    return (
        f'<figure role="group" aria-labelledby="{key}">\n<ul class="gallery">\n{items}\n</ul>\n'
        f'<figcaption id="{key}">{html_text(gallery.caption)}</figcaption>\n</figure>'
    )


def _thumbnail(one: Thumbnail) -> str:
    return (
        f'<li><img alt="" src="data:image/png;base64,{html_text(one.png)}">'
        f"<span>{html_text(one.text)}</span></li>"
    )
