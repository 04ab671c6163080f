"""Writing pictures."""

from __future__ import annotations

import io
import os
from pathlib import Path

from matplotlib.figure import Figure

from nas_engine.errors import InputError
from nas_engine.files import write_atomically
from nas_engine.report.plots.style import picture_style
from nas_engine.report.plots.tips import with_tips


@picture_style()
def save_figure(figure: Figure, folder: str | os.PathLike[str], stem: str) -> tuple[Path, Path]:
    """Write ``folder/stem.png`` (130 dots per inch) and ``folder/stem.svg``; return both paths.

    Equal records give byte-identical files with the same matplotlib. Each file appears whole or not
    at all, and replaces an older one.

    Args:
        figure: What a ``draw_`` function returned.
        folder: Where to write; made if it does not exist.
        stem: File name without ending.

    Raises:
        InputError: A stem that is empty or holds a path.
        StorageError: The folder cannot be made or written; an older file is kept.
    """
    if not stem or stem in (".", "..") or any(mark in stem for mark in "/\\\0"):
        raise InputError(
            f"picture name {stem!r} cannot be used; expected a file name without folder and "
            "ending, such as bit_map"
        )
    target = Path(folder)
    paths = []
    for kind, metadata in (
        ("png", {"Software": None, "Title": stem}),
        ("svg", {"Date": None, "Title": stem}),
    ):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, metadata=metadata)
        path = target / f"{stem}.{kind}"
        data = buffer.getvalue()
        write_atomically(path, with_tips(data.decode()).encode() if kind == "svg" else data)
        paths.append(path)
    return paths[0], paths[1]
