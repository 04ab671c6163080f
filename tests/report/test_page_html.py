"""The report as HTML: well-formed, escaped, self-contained."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas_engine.errors import NasEngineError
from nas_engine.report.html.document import (
    Area,
    Band,
    Bar,
    Bars,
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
    Lane,
    Matrix,
    Page,
    Picture,
    Section,
    Sentence,
    Table,
    Thumbnail,
    Tone,
)
from nas_engine.report.html.render import render_page
from nas_engine.report.html.svg import GRAPHICS, WORDS, drawing_of
from nas_engine.report.page import build_page
from tests.report.page_facts import SEARCHED, complete
from tests.report.page_html import Reader

SVG = b"""<?xml version="1.0" encoding="utf-8"?>
<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN"
  "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd">
<svg width="720pt" height="360pt" viewBox="0 0 720 360" xmlns="http://www.w3.org/2000/svg">
 <title>of the file</title>
 <metadata><x/></metadata>
 <!-- a comment -->
 <defs>
  <style type="text/css">*{stroke-linejoin: round}</style>
 </defs>
 <g id="figure_1">
  <defs>
   <path id="DejaVuSans-41" d="M 0 0" transform="scale(0.1)"/>
   <path id="m1" d="M 1 1"/>
   <clipPath id="p1"><rect x="0" y="0" width="1" height="1"/></clipPath>
  </defs>
  <path d="M 0 0" style="fill: #ffffff; stroke: #0072b2; stroke-width: 2"/>
  <g style="fill: #ffffff"><use xlink:href="#DejaVuSans-41"/></g>
  <g clip-path="url(#p1)"><title>stem: 7 B</title><use xlink:href="#m1" x="1" y="2"/></g>
 </g>
</svg>
"""


def render(page: Page) -> str:
    """Return the page with a picture for every name."""
    return render_page(page, dict.fromkeys(page.pictures(), SVG))


def everything(text: str) -> Page:
    """Return a page with each kind of block, all with the same text."""
    blocks = (
        Sentence(text, Tone.BAD),
        Heading(text),
        Table(
            caption=text,
            columns=(text, text),
            rows=((text, Cell(text, Tone.GOOD)),),
            numbers=(1,),
            marked=(0,),
        ),
        Figures((Figure(name=text, value=text, note=text, source=text),)),
        Bars((Bar(name=text, used=1, limit=2, reserved=1, text=text),)),
        Cover(
            text=text,
            caption=text,
            bands=(Band(name=text, first=0, last=0),),
            lanes=(Lane(name=text, values=(8,), texts=(text,)),),
            name=text,
            height=2.0,
            top=text,
            areas=(Area(text=text, kind=0, first=0, last=0, low=0.0, high=1.0),),
            kinds=(text,),
            marked=0,
        ),
        Matrix(caption=text, names=(text,), counts=((3,),)),
        Gallery(caption=text, items=(Thumbnail(png="AAAA", text=text),)),
        Fold(title=text, blocks=(Sentence(text),)),
        Picture(name="a", text=text, caption=text),
        Facts(((text, text),)),
        Commands((text, text)),
        Items((text,)),
    )
    parts = (
        Section(key="top", title=text, blocks=()),
        Section(key="part", title=text, blocks=blocks, folded=True),
    )
    return Page(title=text, subtitle=text, sections=parts, footer=text)


@pytest.mark.parametrize(
    "facts",
    [SEARCHED, complete(), replace(SEARCHED, network=None, plan=None, history=(), front=())],
)
def test_a_page_is_well_formed_and_fetches_nothing(facts: object) -> None:
    page = build_page(facts)  # type: ignore[arg-type]
    text = render(page)
    read = Reader(text)
    assert len(read.drawings) == len(list(page.pictures()))
    assert all(str(drawing["aria-label"]).strip() for drawing in read.drawings)
    assert {heading["scope"] for heading in read.headings} <= {"row", "col"}
    assert '<html lang="en">' in text
    assert "content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\"" in text
    assert "<script" not in text
    outside = re.sub(r'src="data:[^"]*"', "", text)
    assert not re.search(r"https?:|//", outside)


def test_light_dark_narrow_and_print_are_thought_of() -> None:
    text = render(everything("x"))
    assert "@media (prefers-color-scheme: dark)" in text
    assert "@media print" in text
    assert "@media (max-width:" in text
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in text


def luminance(colour: str) -> float:
    """Return the relative luminance of WCAG 2.2 of a colour such as ``#1b2126``."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_text_is_readable_in_light_and_dark() -> None:
    themes = re.findall(r":root \{(.*?)\}", render(everything("x")), re.DOTALL)
    assert len(themes) == 3  # light, dark, print
    for theme in themes:
        colours = {
            name: value if len(value) == 7 else "#" + value[1:] * 2
            for name, value in re.findall(r"--([a-z-]+): (#[0-9a-f]+)", theme)
        }
        pairs = [(ink, ground) for ink in ("ink", "soft", "accent") for ground in ("paper", "card")]
        pairs += [
            (ink, ground) for ink in ("ink", "good", "bad", "warn") for ground in ("card", "mark")
        ]
        pairs += [("ink", "good-back"), ("ink", "bad-back"), ("ink", "warn-back")]
        pairs += [(ink, "card") for ink in WORDS.values()]
        for ink, ground in pairs:
            dark, light = sorted(luminance(colours[name]) for name in (ink, ground))
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (ink, ground)


@given(st.text(max_size=30))
def test_any_text_is_escaped(text: str) -> None:
    read = Reader(render(everything(text)))
    assert (len(read.images), len(read.drawings)) == (1, 1)


def test_markup_in_texts_stays_text() -> None:
    evil = "</style><script>alert('1')</script><img src=x onerror=y>\" onload=\"z & <b>"
    text = render(everything(evil))
    assert "<script" not in text
    read = Reader(text)
    assert read.drawings[0]["aria-label"] == evil
    assert evil in read.words
    assert read.words.count("<script>") == 41  # every place that shows a text


def test_what_html_forbids_is_shown_as_escapes() -> None:
    text = render(everything("a\x00b\ud800c\x1b"))
    assert "\x00" not in text
    assert "a\\x00b\\ud800c\\x1b" in text
    text.encode()


def test_bars_fill_the_track() -> None:
    def widths(bar: Bar) -> list[float]:
        page = Page(
            title="t",
            subtitle="s",
            sections=(Section(key="k", title="t", blocks=(Bars((bar,)),)),),
            footer="f",
        )
        return [float(width) for width in re.findall(r'style="width:([0-9.]+)%"', render(page))]

    assert widths(Bar(name="n", used=20, limit=60, reserved=40, text="")) == [20, 40, 40]
    assert widths(Bar(name="n", used=90, limit=60, reserved=40, text="")) == [60, 0, 40]
    assert widths(Bar(name="n", used=5, limit=10, reserved=0, text="")) == [50, 50, 0]


def test_pictures_become_part_of_the_page() -> None:
    found = drawing_of(SVG, "a")
    assert found.content == (
        '<g><defs><path id="a-m1" d="M 1 1"/><clipPath id="a-p1">'
        '<rect x="0" y="0" width="1" height="1"/></clipPath></defs>'
        '<path d="M 0 0" style="fill: var(--card); stroke: var(--blue); stroke-width: 2"/>'
        '<g style="fill: #ffffff"><use href="#DejaVuSans-41"/></g>'
        '<g clip-path="url(#a-p1)"><title>stem: 7 B</title><use href="#a-m1" x="1" y="2"/></g></g>'
    )
    assert (found.width, found.height, found.view) == (960, 480, "0 0 720 360")
    assert found.values == ("stem: 7 B",)
    assert found.glyphs == {"DejaVuSans-41": 'd="M 0 0" transform="scale(0.1)"'}
    page = everything("x")
    twice = replace(page.sections[1], key="again", blocks=(Picture(name="b", text="", caption=""),))
    text = render(replace(page, sections=(*page.sections, twice)))
    read = Reader(text)
    assert len(read.drawings) == 2
    assert text.count('id="DejaVuSans-41"') == 1  # letters are kept once


def test_values_on_hover_are_reached_by_keyboard_too() -> None:
    """A list that opens by keyboard names all that figures tell on hover, and nothing else."""
    text = render(build_page(complete()))
    figures = re.findall(r"(?s)<figure.*?</figure>", text)
    assert figures
    told = 0
    for figure in figures:
        drawn, _, rest = figure.partition("</figcaption>")
        hover = re.findall(r"<title>([^<]*)</title>", drawn)
        hover += re.findall(r'<span class="bit[^>]* title="([^"]*)"', drawn)
        values = re.findall(r"<li>([^<]*)</li>", rest)
        assert sorted(values) == sorted(set(hover))
        assert rest.startswith('\n<details class="values">\n<summary>') == bool(hover)
        told += len(values)
    assert told > 2 * len(figures)


def test_a_picture_brings_no_program_along() -> None:
    for bad in (b"<script>alert(1)</script>", b'<g onload="alert(1)"/>', b"<foreignObject/>"):
        with pytest.raises(NasEngineError, match="a picture with"):
            drawing_of(SVG.replace(b"</svg>", bad + b"</svg>"), "a")


def test_every_colour_of_the_pictures_is_one_of_the_page() -> None:
    style = render(everything("x"))
    for name in {*GRAPHICS.values(), *WORDS.values()}:
        assert style.count(f"--{name}: #") == 3  # light, dark, print


def test_errors_of_the_programmer_are_told() -> None:
    page = everything("x")
    with pytest.raises(NasEngineError, match="no drawing of a"):
        render_page(page, {})
    with pytest.raises(NasEngineError, match="each once"):
        render(replace(page, sections=page.sections * 2))
    with pytest.raises(NasEngineError, match="without width"):
        drawing_of(b"<svg/>", "a")


def test_equal_pages_are_equal_to_the_byte() -> None:
    assert render(build_page(complete())) == render(build_page(complete()))
