"""Mistakes of the network by class: which classes are right, what is taken for what, and images."""

from __future__ import annotations

import binascii
from base64 import b64decode

from nas_engine.report.html.document import (
    Block,
    Fold,
    Gallery,
    Matrix,
    Section,
    Sentence,
    Table,
    Thumbnail,
    Tone,
)
from nas_engine.report.page.facts import RunFacts
from nas_engine.report.page.words import NONE, percent, plural
from nas_engine.training.by_class import ByClass

MOST = 20
"""Classes up to which the whole matrix is drawn, and rows of the tables beyond (chosen here)."""


def mistakes(facts: RunFacts) -> Section | None:
    """Return the classes and what they are taken for; ``None`` where that is not recorded."""
    result = facts.result
    found = None if result is None else result.accuracy.by_class
    if result is None or found is None or found.confusion is None or found.classes is None:
        return None
    wrong = result.accuracy.images - sum(row[i] for i, row in enumerate(found.confusion))
    data = f"{result.accuracy.images:,} {result.accuracy.split} images of {result.dataset}"
    blocks: list[Block] = [
        Sentence(f"The integer model is wrong about {wrong:,} of {data}.{_worst(found)}"),
        _classes(found),
    ]
    if len(found.classes) <= MOST:
        matrix = Matrix(
            caption="Images by their class (rows) and by what the integer model says (columns)",
            names=found.classes,
            counts=found.confusion,
        )
        blocks.append(matrix)
    elif wrong:
        blocks.append(_pairs(found))
    shown = tuple(
        Thumbnail(png=one.png, text=f"{one.is_class}, taken for {one.said}")
        for one in found.shown or ()
        if _is_png(one.png)
    )
    if shown:
        blocks.append(
            Gallery(caption=f"The first {plural(len(shown), 'wrong image')}", items=shown)
        )
    elif wrong and found.shown is None:
        text = "No images: the training was recorded by a version that kept none; train again."
        blocks.append(Sentence(text, Tone.FAINT))
    return Section(key="mistakes", title="Mistakes", blocks=tuple(blocks))


def _is_png(text: str) -> bool:
    try:
        return b64decode(text, validate=True).startswith(b"\x89PNG")
    except (binascii.Error, ValueError):
        return False


def _shares(found: ByClass) -> list[tuple[int, float]]:
    """Return the classes that have images with the share that is right, in percent, worst first."""
    assert found.confusion is not None
    known = [(i, 100.0 * row[i] / sum(row)) for i, row in enumerate(found.confusion) if any(row)]
    return sorted(known, key=lambda pair: pair[1])


def _worst(found: ByClass) -> str:
    assert found.classes is not None
    place, right = _shares(found)[0]
    return f" It knows '{found.classes[place]}' least: {percent(right)} are right."


def _classes(found: ByClass) -> Block:
    """Return the table of accuracy by class; folded where it is long."""
    assert found.confusion is not None
    assert found.classes is not None
    shares = _shares(found)
    rows = []
    for place, right in shares[:MOST]:
        row = found.confusion[place]
        others = [(count, -i) for i, count in enumerate(row) if i != place and count]
        most = max(others, default=None)
        said = NONE if most is None else f"{found.classes[-most[1]]} ({most[0]:,})"
        rows.append((found.classes[place], f"{row[place]:,} of {sum(row):,}", percent(right), said))
    many = f"; the {MOST} worst of {len(shares):,}" if len(shares) > MOST else ", worst first"
    table = Table(
        caption=f"Accuracy of the integer model by class{many}",
        columns=("class", "right", "accuracy", "most often taken for"),
        rows=tuple(rows),
        numbers=(1, 2),
    )
    return Fold(title=table.caption, blocks=(table,)) if len(rows) > MOST // 2 else table


def _pairs(found: ByClass) -> Table:
    """Return the table of the classes that are mixed up most often."""
    assert found.confusion is not None
    assert found.classes is not None
    pairs = [
        (count, i, j)
        for i, row in enumerate(found.confusion)
        for j, count in enumerate(row)
        if i != j and count
    ]
    return Table(
        caption="What is taken for what most often",
        columns=("class", "taken for", "images"),
        rows=tuple(
            (found.classes[i], found.classes[j], f"{count:,}")
            for count, i, j in sorted(pairs, key=lambda pair: (-pair[0], pair[1:]))[:MOST]
        ),
        numbers=(2,),
    )
