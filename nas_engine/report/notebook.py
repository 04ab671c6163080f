"""Records as notebooks show them: a figure and a few numbers, in a frame of their own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import singledispatch
from importlib import import_module
from typing import Any

from matplotlib.figure import Figure

from nas_engine.costs.plan import plan_memory
from nas_engine.errors import InputError, UnknownNameError
from nas_engine.escaping import html_text
from nas_engine.report.html.document import Block, Section, Tone
from nas_engine.report.html.document import Figure as Tile
from nas_engine.report.html.document import Figures as Tiles
from nas_engine.report.html.render import render_part
from nas_engine.report.network import NetworkReport
from nas_engine.report.page.cover import cover
from nas_engine.report.page.words import format_count, share
from nas_engine.report.plots import bit_map_data, draw_bit_map
from nas_engine.report.run_plots import PLOTS, plot_of
from nas_engine.report.search_record import SearchRecord
from nas_engine.units import format_latency

_HEIGHT = 520
"""Pixels of the frame (chosen here)."""


@singledispatch
def html_of(record: object) -> str:
    """Return the HTML that a notebook shows of a record; each kind registers its own.

    Raises:
        NotImplementedError: A record of no such kind.
    """
    raise NotImplementedError(type(record))


@singledispatch
def frame_of(record: object) -> Any:
    """Return the rows of a record as a ``pandas.DataFrame``.

    Raises:
        InputError: pandas is not installed.
        FileFormatError: A damaged file.
        NotImplementedError: A record of no such kind.
    """
    raise NotImplementedError(type(record))


@singledispatch
def figure_of(record: object, name: str) -> Figure:
    """Return a picture of a record.

    Raises:
        UnknownNameError: No such picture.
        FileFormatError: A damaged file.
        NotImplementedError: A record of no such kind.
    """
    raise NotImplementedError(type(record))


@html_of.register
def _(report: NetworkReport) -> str:
    plan = plan_memory(report.architecture)
    return _frame("Network", (Tiles(_tiles(report)), cover(report, plan)))


@html_of.register
def _(record: SearchRecord) -> str:
    device, best = record.device, record.best
    state = f"{record.evaluated:,} of {record.config.candidates:,} networks"
    trained = record.training.accuracy if record.training else None
    tiles = _tiles(best, device.arena_bytes, device.storage_bytes, state)
    if trained is not None and trained.judged is not None:
        value = f"{trained.judged:.2f} %"
        note = f"{trained.images:,} {trained.split} images"
        tiles = (Tile(name="accuracy", value=value, note=note, source="measured"), *tiles[1:])
    plan = plan_memory(best.architecture)
    return _frame(device.title, (Tiles(tiles), cover(best, plan, device.arena_bytes)))


@frame_of.register
def _(report: NetworkReport) -> Any:
    columns = {
        "layer": report.layer_names,
        "w_bits": [bits.w for bits in report.bits],
        "a_bits": [bits.a for bits in report.bits],
        "sram_bytes": report.sram_bytes,
        "flash_bytes": report.flash_bytes,
        "macs": report.macs,
    }
    return _data_frame(columns)


@frame_of.register
def _(record: SearchRecord) -> Any:
    rows = record.directory.front.read()
    names = list(rows[0]) if rows else []
    columns = {name: [row[name] for row in rows] for name in names}
    return _data_frame({"pick": range(1, len(rows) + 1), **columns})


@figure_of.register
def _(report: NetworkReport, name: str) -> Figure:
    if name != "bit_map":
        raise UnknownNameError("picture of a network", name, ["bit_map"])
    return draw_bit_map(bit_map_data(report))


@figure_of.register
def _(record: SearchRecord, name: str) -> Figure:
    if name not in PLOTS:
        raise UnknownNameError("picture", name, PLOTS)
    return plot_of(record, name)


def _data_frame(columns: Mapping[str, Iterable[Any]]) -> Any:
    try:
        pandas = import_module("pandas")
    except ImportError as error:
        raise InputError(
            "to_frame() needs pandas, which is not installed; type: pip install "
            "'nas-search[notebook]'"
        ) from error
    return pandas.DataFrame({name: list(column) for name, column in columns.items()})


def _tiles(
    report: NetworkReport, sram: int | None = None, flash: int | None = None, state: str = ""
) -> tuple[Tile, ...]:
    """Return score, time, SRAM and Flash of a network."""

    def size(name: str, used: float, budget: int | None) -> Tile:
        of = f", {share(used, budget)} of the budget" if budget else ""
        over = budget is not None and used > budget
        return Tile(
            name=name,
            value=f"{used / 1024:,.1f} KiB",
            note=f"{used:,.0f} B{of}",
            source="predicted",
            tone=Tone.BAD if over else Tone.PLAIN,
        )

    macs = f"{format_count(report.total_macs)} MACs"
    time = macs if report.latency is None else format_latency(report.latency)
    return (
        Tile(name="QE-Score", value=f"{report.qe_score:,.2f}", note=state, source="no accuracy"),
        Tile(
            name="MACs" if report.latency is None else "time per image",
            value=time,
            note="" if report.latency is None else macs,
            source="counted" if report.latency is None else "estimated",
        ),
        size("peak SRAM", report.peak_sram_bytes, sram),
        size("Flash", report.total_flash_bytes, flash),
    )


def _frame(title: str, blocks: tuple[Block, ...]) -> str:
    """Return blocks as a page within a page: its style touches nothing around it."""
    section = Section(key="network", title=title, blocks=blocks)
    # the line ends of the page are no hidden characters of a name
    page = "&#10;".join(html_text(line) for line in render_part(section).split("\n"))
    return (
        f'<iframe srcdoc="{page}" width="100%" height="{_HEIGHT}" '
        f'style="border:0" title="{html_text(title)}"></iframe>'
    )
