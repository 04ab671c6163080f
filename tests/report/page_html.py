"""A strict reader of the report's HTML: every tag closed in order, every name once, nothing
fetched.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser

VOID = {"meta", "link", "img", "br"}
"""Elements without an end tag."""

ALLOWED = {
    *(
        "html",
        "head",
        "meta",
        "title",
        "link",
        "style",
        "body",
        "header",
        "nav",
        "main",
        "footer",
        "section",
        "h1",
        "h2",
        "h3",
        "p",
        "ul",
    ),
    *(
        "li",
        "a",
        "span",
        "strong",
        "div",
        "dl",
        "dt",
        "dd",
        "table",
        "caption",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "figure",
        "figcaption",
    ),
    *("img", "pre", "code", "details", "summary", "small"),
    *("svg", "g", "path", "defs", "use", "clippath", "rect", "image", "pattern"),
}
"""Elements that the report has."""


class Reader(HTMLParser):
    """Reads a page and keeps what tests ask for.

    Args:
        text: The page.

    Raises:
        AssertionError: The page is not well-formed, names something twice, or would fetch
            something.
    """

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.referred: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.drawings: list[dict[str, str | None]] = []
        self.headings: list[dict[str, str | None]] = []
        self.text: list[str] = []
        assert text.startswith("<!DOCTYPE html>\n")
        self.feed(text)
        self.close()
        assert self.open == []
        assert len(set(self.ids)) == len(self.ids)
        assert {*self.links, *self.referred} <= set(self.ids)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in ALLOWED, tag
        values = dict(attrs)
        assert len(values) == len(attrs), f"{tag} says something twice"
        if tag not in VOID:
            self.open.append(tag)
        if tag in ("td", "th"):
            assert self.open[-2] == "tr"
        self.ids += [str(values["id"])] if "id" in values else []
        self.referred += [str(values["aria-labelledby"])] if "aria-labelledby" in values else []
        if tag == "a":
            assert str(values["href"]).startswith("#")
            self.links.append(str(values["href"])[1:])
        for name in ("src", "href", "action", "srcset", "data", "background"):
            if name in values and tag not in ("a", "use"):
                assert str(values[name]).startswith("data:"), (tag, values)
        assert not any(name.startswith("on") for name in values)
        if tag == "use":
            self.links.append(str(values["href"])[1:])
        if tag == "svg" and values.get("class") == "plot":
            self.drawings.append(values)
        if tag == "img":
            self.images.append(values)
        if tag == "th":
            self.headings.append(values)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, tag
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "style":
            assert not re.search(r"@import|url\(", data)
        else:
            self.text.append(data)

    @property
    def words(self) -> str:
        """All text, blanks joined."""
        return " ".join(" ".join(self.text).split())
